/* Waits for a VIRQ three times, and says before and after each. Usage: virq NUMBER */
#include "check.h"

int main(int argc, char **argv)
{
	start(&argc, argv);
	uint32_t virq = atoi(argv[1]);
	int fd = evtchn_open(0), port = ioctl(fd, EVTCHN_BIND_VIRQ, &virq);
	CHECK(port > 0);
	for (int i = 1; i <= 3; i++) {
		port_t got = 0;
		printf("waiting %d\n", i);
		GIVES(read(fd, &got, 4), 4);
		GIVES(got, port);
		CHECK(unmask(fd, port) == 0);
		printf("event %d\n", i);
	}
	return 0;
}
