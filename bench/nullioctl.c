/* The cost of an ioctl that nobody intercepts: it enters the kernel, finds no such request, and fails.
 * Prints `null`. */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include "measure.h"

static void fail_with_enotty(void *fd)
{
	if (ioctl(*(int *)fd, _IO('E', 5), 0) != -1 || errno != ENOTTY)
		errx(1, "/dev/null answered an ioctl that it doesn't have");
}

int main(void)
{
	int fd = open("/dev/null", O_RDWR);
	if (fd < 0)
		err(1, "/dev/null");
	measure_calls("null", 20000, fail_with_enotty, &fd);
	return 0;
}
