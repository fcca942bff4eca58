/* Two calls on /dev/xen/evtchn: RESET, which carries no data, and NOTIFY, which reads four bytes of the caller's memory.
 * The port that is notified isn't connected, so that no event is delivered and only the call itself is measured.
 * Prints `reset` and `notify`. */
#include <fcntl.h>
#include <sys/ioctl.h>

#include "evtchn.h"
#include "measure.h"

struct target {
	int fd;
	unsigned port;
};

static void reset(void *target)
{
	if (ioctl(((struct target *)target)->fd, EVTCHN_RESET, 0) != 0)
		err(1, "RESET");
}

static void notify(void *target)
{
	if (ioctl(((struct target *)target)->fd, EVTCHN_NOTIFY, &((struct target *)target)->port) != 0)
		err(1, "NOTIFY");
}

int main(void)
{
	struct target target = { .fd = open("/dev/xen/evtchn", O_RDWR | O_CLOEXEC) };
	if (target.fd < 0)
		err(1, "/dev/xen/evtchn");
	measure_calls("reset", 2000, reset, &target);
	target.port = evtchn_bind_unbound(target.fd, EVTCHN_SELF);
	measure_calls("notify", 2000, notify, &target);
	return 0;
}
