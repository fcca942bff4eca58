/* What the clients of /dev/xen/gntdev and /dev/xen/gntalloc share: the ioctls, pages that are granted, and mappings of them.
 * $XEN_GNTDEV and $XEN_GNTALLOC are other paths to the nodes. See check.h for the rest. */
#ifndef GRANT_H
#define GRANT_H
#include "check.h"

#define PAGE 4096ul
#define RW (PROT_READ | PROT_WRITE)

struct gntdev_map { uint32_t count, pad; uint64_t index; struct { uint32_t domid, ref; } refs[1]; };
struct gntdev_unmap { uint64_t index; uint32_t count, pad; };
struct gntdev_offset { uint64_t vaddr, offset; uint32_t count, pad; };
struct grant_notify { uint64_t index; uint32_t action, port; };
struct gntalloc_alloc { uint16_t domid, flags; uint32_t count; uint64_t index; uint32_t refs[1]; };
struct gntalloc_dealloc { uint64_t index; uint32_t count; };
struct gntdev_segment {
	union { void *virt; struct { uint32_t ref; uint16_t offset, domid; } foreign; } from, to;
	uint16_t len, flags;
	int16_t status;
};
struct gntdev_copy { uint32_t count; struct gntdev_segment *segments; };

#define GNTDEV_MAP _IOC(_IOC_NONE, 'G', 0, sizeof(struct gntdev_map))
#define GNTDEV_UNMAP _IOC(_IOC_NONE, 'G', 1, sizeof(struct gntdev_unmap))
#define GNTDEV_OFFSET _IOC(_IOC_NONE, 'G', 2, sizeof(struct gntdev_offset))
#define GNTALLOC_ALLOC _IOC(_IOC_NONE, 'G', 5, sizeof(struct gntalloc_alloc))
#define GNTALLOC_DEALLOC _IOC(_IOC_NONE, 'G', 6, sizeof(struct gntalloc_dealloc))
#define GRANT_NOTIFY _IOC(_IOC_NONE, 'G', 7, sizeof(struct grant_notify)) /* on both */
#define GNTDEV_COPY _IOC(_IOC_NONE, 'G', 8, sizeof(struct gntdev_copy))

enum { CLEAR_BYTE = 1, SEND_EVENT = 2 };      /* what a notification does */
enum { FROM_GRANT = 1, TO_GRANT = 2 };        /* which side of a copy is a grant */
enum { READ_ONLY = 0, WRITABLE = 1 };         /* what a grant allows */
enum { MOST_REFS = 1024 };                    /* gntalloc's limit, over all files of a domain */

static int node_open(const char *variable, const char *path, int flags)
{
	const char *other = getenv(variable);
	int fd = open(other && *other ? other : path, O_RDWR | flags);
	CHECK(fd >= 0);
	return fd;
}
static int gntdev_open(int flags) { return node_open("XEN_GNTDEV", "/dev/xen/gntdev", flags); }
static int gntalloc_open(int flags) { return node_open("XEN_GNTALLOC", "/dev/xen/gntalloc", flags); }

/* Grants pages to a domain: their references, and the offset to map them at. */
static int alloc_refs(int fd, uint32_t domid, int flags, uint32_t count, uint32_t *refs, uint64_t *index)
{
	struct gntalloc_alloc *a = calloc(1, sizeof *a + count * sizeof *refs);
	CHECK(a);
	a->domid = domid;
	a->flags = flags;
	a->count = count;
	int r = ioctl(fd, GNTALLOC_ALLOC, a), e = errno;
	if (r == 0) {
		memcpy(refs, a->refs, count * sizeof *refs);
		*index = a->index;
	}
	free(a);
	errno = e;
	return r;
}
static int dealloc_refs(int fd, uint64_t index, uint32_t count)
{
	struct gntalloc_dealloc d = { index, count };
	return ioctl(fd, GNTALLOC_DEALLOC, &d);
}

/* Asks for a domain's pages: the offset to map them at. */
static int map_refs(int fd, uint32_t domid, const uint32_t *refs, uint32_t count, uint64_t *index)
{
	struct gntdev_map *m = calloc(1, sizeof *m + count * sizeof m->refs[0]);
	CHECK(m);
	m->count = count;
	for (uint32_t i = 0; i < count; i++) {
		m->refs[i].domid = domid;
		m->refs[i].ref = refs[i];
	}
	int r = ioctl(fd, GNTDEV_MAP, m), e = errno;
	*index = m->index;
	free(m);
	errno = e;
	return r;
}
static int unmap_refs(int fd, uint64_t index, uint32_t count)
{
	struct gntdev_unmap u = { index, count, 0 };
	return ioctl(fd, GNTDEV_UNMAP, &u);
}
static int set_notify(int fd, uint64_t at, int action, port_t port)
{
	struct grant_notify n = { at, action, port };
	return ioctl(fd, GRANT_NOTIFY, &n);
}
static uint8_t *map_at(int fd, uint32_t count, int prot, uint64_t index)
{
	return mmap(0, count * PAGE, prot, MAP_SHARED, fd, index);
}
/* Both steps of mapping somebody's pages. */
static uint8_t *map_grants(int fd, uint32_t domid, const uint32_t *refs, uint32_t count, int prot, uint64_t *index)
{
	CHECK(map_refs(fd, domid, refs, count, index) == 0);
	uint8_t *p = map_at(fd, count, prot, *index);
	CHECK(p != MAP_FAILED);
	return p;
}

/* How many pages can still be granted: the limit, less what anybody of this domain has. */
static unsigned free_pages(uint32_t domid)
{
	static uint32_t refs[MOST_REFS];
	unsigned can = 0, step = MOST_REFS;
	for (; step; step /= 2) {
		uint64_t index;
		int fd = gntalloc_open(O_CLOEXEC);
		if (can + step <= MOST_REFS) {
			if (alloc_refs(fd, domid, WRITABLE, can + step, refs, &index) == 0)
				can += step;
			else
				CHECK(errno == ENOSPC);
		}
		CHECK(close(fd) == 0);
	}
	return can;
}
/* There are that many again. (A moment later, since a kernel may put off freeing.) */
static int all_free(uint32_t domid, unsigned before)
{
	for (int tries = 0; free_pages(domid) < before; tries++, ms_sleep(20))
		if (tries == 100)
			return 0;
	return 1;
}
#endif
