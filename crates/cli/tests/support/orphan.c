/* A client whose server goes away: what it does then must fail, and nothing may hang. Usage: orphan blocked|calling|asleep
 * It ends by itself once it has noticed; within 20 s, or it has failed. */
#include "check.h"

static void all_fails(int fd)
{
	port_t buf[2] = { 1, 2 };
	CHECK(bind_unbound(fd, self_dom) == -1);
	CHECK(notify(fd, 1) == -1);
	CHECK(ioctl(fd, EVTCHN_RESET, 0) == -1);
	CHECK(read(fd, buf, 4) <= 0);
	CHECK(write(fd, buf, 4) == -1);
	CHECK(open(device, O_RDWR) == -1);
	struct pollfd q = { fd, POLLIN, 0 };
	CHECK(poll(&q, 1, 1000) == 1 && q.revents);
	if (close(fd)) /* this too is a device call */
		CHECK(errno == ENOSYS);
}

int main(int argc, char **argv)
{
	start(&argc, argv);
	signal(SIGPIPE, SIG_IGN);
	alarm(20);
	int fd = evtchn_open(0), ready = 0;
	struct pair p = pair(fd);
	double began = now();
	port_t got;
	if (!strcmp(argv[1], "blocked")) {
		printf("ready\n");
		int n = read(fd, &got, 4);
		CHECK(n <= 0);
	} else if (!strcmp(argv[1], "calling")) {
		for (;;) {
			if (notify(fd, p.a))
				break;
			if (read(fd, &got, 4) != 4 || write(fd, &got, 4) != 4)
				break;
			if (!ready++)
				printf("ready\n");
		}
	} else {
		struct pollfd q = { fd, POLLIN, 0 };
		printf("ready\n");
		GIVES(poll(&q, 1, 20000), 1);
	}
	CHECK(now() - began < 19);
	all_fails(fd);
	struct gate g = gate_new(); /* what has nothing to do with devices, nor opens files, works as before */
	gate_open(g);
	gate_wait(g);
	printf("ok orphan\n");
	return 0;
}
