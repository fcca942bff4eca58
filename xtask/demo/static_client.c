/* Sends an event through Xen's event channels from one port to another, with nothing but system calls.
 * Nothing here knows of ioctlab: on a Xen machine the same program does the same. */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BIND_INTERDOMAIN _IOC(_IOC_NONE, 'E', 1, 8)
#define BIND_UNBOUND_PORT _IOC(_IOC_NONE, 'E', 2, 4)
#define NOTIFY _IOC(_IOC_NONE, 'E', 4, 4)
#define DOMID_SELF 0x7ff0u

/* Clears what is pending (binding an interdomain port raises an event on it) and unmasks it again. */
static unsigned next_event(int fd)
{
	unsigned port;
	if (read(fd, &port, sizeof port) != sizeof port || write(fd, &port, sizeof port) != sizeof port)
		err(1, "event");
	return port;
}

int main(void)
{
	int fd = open("/dev/xen/evtchn", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		err(1, "/dev/xen/evtchn");
	unsigned self = DOMID_SELF;
	int listening = ioctl(fd, BIND_UNBOUND_PORT, &self);
	if (listening < 0)
		err(1, "BIND_UNBOUND_PORT");
	unsigned peer[2] = { DOMID_SELF, (unsigned)listening };
	int sending = ioctl(fd, BIND_INTERDOMAIN, peer);
	if (sending < 0)
		err(1, "BIND_INTERDOMAIN");
	if (next_event(fd) != (unsigned)sending)
		errx(1, "the event that comes with binding is missing");
	printf("Port %d is connected to port %d.\n", sending, listening);
	if (ioctl(fd, NOTIFY, &sending) != 0)
		err(1, "NOTIFY");
	unsigned arrived = next_event(fd);
	printf("An event was sent from port %d and arrived at port %u.\n", sending, arrived);
	return arrived == (unsigned)listening ? 0 : 1;
}
