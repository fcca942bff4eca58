/* The thin slice, in a static program: open, bind both ways, read, write, notify, read. */
#include "check.h"

int main(int argc, char **argv)
{
	start(&argc, argv);
	int fd = open(device, O_RDWR | O_CLOEXEC), a, b;
	port_t port = 0;
	CHECK(fd >= 0);
	CHECK((a = bind_unbound(fd, self_dom)) > 0);
	CHECK((b = bind_interdomain(fd, self_dom, a)) > 0);
	GIVES(read(fd, &port, 4), 4); /* binding raises an event on b */
	GIVES(port, b);
	GIVES(write(fd, &port, 4), 4);
	GIVES(notify(fd, a), 0);
	GIVES(read(fd, &port, 4), 4);
	GIVES(port, b);
	GIVES(unbind(fd, b), 0);
	GIVES(unbind(fd, a), 0);
	GIVES(close(fd), 0);
	printf("ok static\n");
	return 0;
}
