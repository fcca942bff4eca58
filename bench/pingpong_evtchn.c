/* Ping-pong over one interdomain event channel whose two ends are held by two processes of the same domain.
 * A port is masked once it was read, so each side unmasks it (by writing it back) before it answers, as drivers do. */
#include "pingpong.h"

#include <fcntl.h>
#include <poll.h>

#include "evtchn.h"

static void notify(struct player *self)
{
	if (ioctl(self->out, EVTCHN_NOTIFY, &self->port) != 0)
		err(1, "NOTIFY");
}

static void wait_for_event(struct player *self)
{
	unsigned port;
	if (read(self->in, &port, sizeof port) != sizeof port || port != self->port)
		err(1, "read");
}

static void unmask_and_notify(struct player *self)
{
	if (write(self->in, &self->port, sizeof self->port) != sizeof self->port)
		err(1, "write");
	notify(self);
}

static int open_evtchn(void)
{
	int fd = open("/dev/xen/evtchn", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		err(1, "/dev/xen/evtchn");
	return fd;
}

/* Binding an interdomain port raises an event on it at once; it must not be taken for the first ping. */
static void drain(int fd)
{
	struct pollfd readable = { .fd = fd, .events = POLLIN };
	unsigned port;
	while (poll(&readable, 1, 50) == 1)
		if (read(fd, &port, sizeof port) != sizeof port || write(fd, &port, sizeof port) != sizeof port)
			err(1, "drain");
}

int main(int argc, char **argv)
{
	int ready[2];
	char byte;
	if (pipe(ready) != 0)
		err(1, "pipe");
	struct court *court = make_court();
	int fd = open_evtchn();
	struct player first = { unmask_and_notify, wait_for_event, fd, fd, evtchn_bind_unbound(fd, EVTCHN_SELF) };
	pid_t other = fork();
	if (other < 0)
		err(1, "fork");
	take_place(argc, argv, other == 0);
	if (other == 0) {
		close(fd);
		fd = open_evtchn();
		struct player second = { unmask_and_notify, wait_for_event, fd, fd, 0 };
		second.port = evtchn_bind_interdomain(fd, EVTCHN_SELF, first.port);
		drain(fd);
		if (write(ready[1], "", 1) != 1)
			err(1, "write");
		answer_pings(&second, court);
		_exit(0);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		errx(1, "the other side failed");
	drain(fd);
	return begin_pings(&first, court, other);
}
