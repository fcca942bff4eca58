/* A 32-bit program (-m32). Linux opens the device for it, reads and writes work, and every ioctl of the driver is ENOTTY, since evtchn has
 * no compat_ioctl. Refusing the open is accepted too, but cleanly. */
#include "check.h"

int main(int argc, char **argv)
{
	_Static_assert(sizeof(long) == 4, "build with -m32");
	start(&argc, argv);
	int fd = open(device, O_RDWR | O_NONBLOCK);
	if (fd < 0) {
		CHECK(errno == ENOENT || errno == ENODEV || errno == ENXIO || errno == ENOSYS || errno == EPERM || errno == EACCES);
		printf("the open is refused: %s\n", strerror(errno));
		printf("ok compat32\n");
		return 0;
	}
	port_t buf[2] = { 0 };
	struct stat st;
	CHECK(fstat(fd, &st) == 0 && S_ISCHR(st.st_mode));
	FAILS(bind_unbound(fd, self_dom), ENOTTY);
	FAILS(bind_interdomain(fd, self_dom, 1), ENOTTY);
	FAILS(unbind(fd, 1), ENOTTY);
	FAILS(notify(fd, 1), ENOTTY);
	FAILS(ioctl(fd, EVTCHN_RESET, 0), ENOTTY);
	FAILS(ioctl(fd, EVTCHN_BIND_VIRQ, 8), ENOTTY);
	FAILS(ioctl(fd, 0x5401, buf), ENOTTY);
	FAILS(read(fd, buf, 4), EAGAIN);
	GIVES(read(fd, buf, 3), 0);
	GIVES(write(fd, buf, 8), 8);
	GIVES(revents(fd, 0), POLLOUT | POLLWRNORM);
	FAILS(lseek(fd, 0, SEEK_CUR), ESPIPE);
	int off = 0;
	GIVES(ioctl(fd, FIONBIO, &off), 0); /* the kernel's own ioctls work */
	GIVES(close(fd), 0);
	FAILS(ioctl(fd, EVTCHN_RESET, 0), EBADF);
	printf("ok compat32\n");
	return 0;
}
