/* What mapping memory for a device and unmapping it costs (MAP_DMA, UNMAP_DMA), by how much it is and by how many mappings there are
 * meanwhile: 4 KiB, 2 MiB and 1 GiB, next to 10, 10,000 and 1,000,000 mappings of a page each.
 *
 * Prints `SIZE, LIVE` for each, as in `4KiB,10`. The last needs a lab that allows so many. */
#include "vfio.h"

enum { PAGE = 4096, SIZES = 3, CALLS = 200 };

/* Where the many mappings begin, and what is measured: well apart, as IOVAs go. */
#define MANY_AT (1ull << 32)
#define MEASURED_AT (1ull << 37)

static const struct {
	const char *name;
	uint64_t bytes;
} SIZE[SIZES] = { { "4KiB", PAGE }, { "2MiB", 2 << 20 }, { "1GiB", 1 << 30 } };

struct target {
	struct vfio vfio;
	char *memory;
	uint64_t size;
};

static void map_and_unmap(void *argument)
{
	const struct target *target = argument;
	map_dma(&target->vfio, target->memory, MEASURED_AT, target->size);
	unmap_dma(&target->vfio, MEASURED_AT, target->size);
}

int main(void)
{
	static const unsigned LIVE[] = { 10, 10000, 1000000 };
	struct target target = { .vfio = open_device(), .memory = private_memory(SIZE[SIZES - 1].bytes, MAP_NORESERVE) };
	unsigned live = 0;
	for (unsigned step = 0; step < sizeof LIVE / sizeof *LIVE; step++) {
		/* Every second page, so that no two mappings adjoin. */
		for (; live < LIVE[step]; live++)
			map_dma(&target.vfio, target.memory, MANY_AT + live * 2ull * PAGE, PAGE);
		for (unsigned size = 0; size < SIZES; size++) {
			char name[32];
			snprintf(name, sizeof name, "%s,%u", SIZE[size].name, live);
			target.size = SIZE[size].bytes;
			measure_calls(name, CALLS, map_and_unmap, &target);
		}
	}
	return 0;
}
