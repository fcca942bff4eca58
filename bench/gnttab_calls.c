/* What using another domain's pages costs: mapping and unmapping 1 and 64 of them (MAP_GRANT_REF, mmap, munmap, UNMAP_GRANT_REF), and having the driver
 * copy 4 KiB into one. The pages are granted to the domain that grants them ($XEN_SELF, or 0).
 *
 * gnttab_calls [LIVE [mapped]]: while so many other grants exist (100 by default), and are mapped. More than 1024 need a lab that allows it.
 * Prints `map1`, `map64` and `copy4k`. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "grants.h"
#include "measure.h"

enum { PAGE = 4096, MOST = 64 };

struct target {
	int dev;
	unsigned domain, count;
	uint32_t refs[MOST];
	void *buffer;
};

static void grant(int alloc, struct target *target, unsigned count)
{
	struct gntalloc_alloc arg = { .domid = (uint16_t)target->domain, .flags = GRANT_WRITABLE, .count = count };
	if (ioctl(alloc, GNTALLOC_ALLOC, &arg) != 0)
		err(1, "ALLOC_GREF");
	memcpy(target->refs, arg.refs, count * sizeof *arg.refs);
}

static uint64_t map_refs(const struct target *target, unsigned count)
{
	struct gntdev_map arg = { .count = count };
	for (unsigned i = 0; i < count; i++) {
		arg.refs[i].domid = target->domain;
		arg.refs[i].ref = target->refs[i];
	}
	if (ioctl(target->dev, GNTDEV_MAP, &arg) != 0)
		err(1, "MAP_GRANT_REF");
	return arg.index;
}

static void *map_pages(const struct target *target, unsigned count, uint64_t index)
{
	void *pages = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, target->dev, (off_t)index);
	if (pages == MAP_FAILED)
		err(1, "mmap");
	return pages;
}

static void map_and_unmap(void *argument)
{
	const struct target *target = argument;
	uint64_t index = map_refs(target, target->count);
	struct gntdev_unmap arg = { .index = index, .count = target->count };
	if (munmap(map_pages(target, target->count, index), target->count * PAGE) != 0)
		err(1, "munmap");
	if (ioctl(target->dev, GNTDEV_UNMAP, &arg) != 0)
		err(1, "UNMAP_GRANT_REF");
}

static void copy(void *argument)
{
	const struct target *target = argument;
	struct gntdev_segment segment = { .from = target->buffer, .len = PAGE, .flags = COPY_TO_GRANT, .status = 1 };
	struct gntdev_copy arg = { 1, &segment };
	segment.to.ref = target->refs[0];
	segment.to.domid = (uint16_t)target->domain;
	if (ioctl(target->dev, GNTDEV_COPY, &arg) != 0 || segment.status != 0)
		err(1, "GRANT_COPY");
}

static int open_node(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

int main(int argc, char **argv)
{
	const char *self = getenv("XEN_SELF");
	unsigned live = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 100;
	int mapped = argc > 2 && strcmp(argv[2], "mapped") == 0;
	struct target target = { .dev = open_node("/dev/xen/gntdev"), .domain = self ? (unsigned)strtoul(self, NULL, 0) : 0 };
	int alloc = open_node("/dev/xen/gntalloc");
	if (posix_memalign(&target.buffer, PAGE, PAGE) != 0)
		err(1, "posix_memalign");
	memset(target.buffer, 1, PAGE);
	while (live > 0) {
		unsigned count = live < MOST ? live : MOST;
		grant(alloc, &target, count);
		if (mapped)
			map_pages(&target, count, map_refs(&target, count));
		live -= count;
	}
	grant(alloc, &target, MOST);
	target.count = 1;
	measure_calls("map1", 200, map_and_unmap, &target);
	target.count = MOST;
	measure_calls("map64", 50, map_and_unmap, &target);
	measure_calls("copy4k", 500, copy, &target);
	return 0;
}
