/* An ioctl that umockdev emulates from a recording: it fills 8 bytes of the caller's memory.
 * Run under `umockdev-run` with the device and recording of bench/umockdev. Prints `umockdev`. */
#include <fcntl.h>
#include <linux/usbdevice_fs.h>
#include <sys/ioctl.h>

#include "measure.h"

static void connection_info(void *fd)
{
	struct usbdevfs_connectinfo info;
	if (ioctl(*(int *)fd, USBDEVFS_CONNECTINFO, &info) != 0 || info.devnum != 11)
		err(1, "USBDEVFS_CONNECTINFO");
}

int main(void)
{
	int fd = open("/dev/bus/usb/001/011", O_RDWR);
	if (fd < 0)
		err(1, "/dev/bus/usb/001/011");
	measure_calls("umockdev", 100, connection_info, &fd);
	return 0;
}
