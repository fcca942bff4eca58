/* The part of Xen's <xen/sys/gntdev.h> and <xen/sys/gntalloc.h> that the benchmark needs, so that it builds without Xen's headers. */
#ifndef IOCTLAB_BENCH_GRANTS_H
#define IOCTLAB_BENCH_GRANTS_H

#include <stdint.h>
#include <sys/ioctl.h>

#define GNTDEV_MAP _IOC(_IOC_NONE, 'G', 0, 24)
#define GNTDEV_UNMAP _IOC(_IOC_NONE, 'G', 1, 16)
#define GNTALLOC_ALLOC _IOC(_IOC_NONE, 'G', 5, 24)
#define GNTDEV_COPY _IOC(_IOC_NONE, 'G', 8, 16)

struct gntdev_map {
	uint32_t count, pad;
	uint64_t index;
	struct {
		uint32_t domid, ref;
	} refs[64];
};

struct gntdev_unmap {
	uint64_t index;
	uint32_t count, pad;
};

struct gntalloc_alloc {
	uint16_t domid, flags;
	uint32_t count;
	uint64_t index;
	uint32_t refs[64];
};

struct gntdev_segment {
	void *from;
	struct {
		uint32_t ref;
		uint16_t offset, domid;
	} to;
	uint16_t len, flags;
	int16_t status;
};

struct gntdev_copy {
	uint32_t count;
	struct gntdev_segment *segments;
};

/* Of gntalloc: the other side may write. Of a copy: it goes to a grant. */
enum { GRANT_WRITABLE = 1, COPY_TO_GRANT = 2 };

#endif
