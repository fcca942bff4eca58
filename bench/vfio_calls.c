/* What using a device costs: reading 4 bytes of its configuration space and of a register, and having it copy 64 MiB of the program's
 * memory, next to memcpy of the same.
 *
 * Prints `config`, `register`, `copy` and `memcpy`. */
#include "vfio.h"

/* Where source and destination are for the device. */
enum { COPIED = 64 << 20, SOURCE_AT = 1 << 28, DESTINATION_AT = 2 << 28 };

struct target {
	struct vfio vfio;
	char *source, *destination;
};

static void read_config(void *argument)
{
	const struct target *target = argument;
	read_register(target->vfio.device, CONFIG);
}

static void read_bar(void *argument)
{
	const struct target *target = argument;
	read_register(target->vfio.device, BAR0 + REGISTER_STATUS);
}

static void copy_by_device(void *argument)
{
	const struct target *target = argument;
	int device = target->vfio.device;
	uint32_t status;
	write_register(device, BAR0 + REGISTER_SOURCE, SOURCE_AT, 8);
	write_register(device, BAR0 + REGISTER_DESTINATION, DESTINATION_AT, 8);
	write_register(device, BAR0 + REGISTER_LENGTH, COPIED, 8);
	write_register(device, BAR0 + REGISTER_COMMAND, COPY, 4);
	while ((status = read_register(device, BAR0 + REGISTER_STATUS)) & BUSY)
		continue;
	if (status != DONE)
		errx(1, "the device's copy failed: status %#x", status);
}

static void copy_by_program(void *argument)
{
	const struct target *target = argument;
	memcpy(target->destination, target->source, COPIED);
	/* What was copied counts as used. */
	__asm__ volatile("" : : "r"(target->destination) : "memory");
}

int main(void)
{
	struct target target = { .vfio = open_device(), .source = private_memory(COPIED, 0), .destination = private_memory(COPIED, 0) };
	memset(target.source, 1, COPIED);
	memset(target.destination, 2, COPIED);
	map_dma(&target.vfio, target.source, SOURCE_AT, COPIED);
	map_dma(&target.vfio, target.destination, DESTINATION_AT, COPIED);
	measure_calls("config", 2000, read_config, &target);
	measure_calls("register", 2000, read_bar, &target);
	copy_by_device(&target);
	if (memcmp(target.source, target.destination, COPIED) != 0)
		errx(1, "the device copied something else");
	measure_calls("copy", 1, copy_by_device, &target);
	measure_calls("memcpy", 1, copy_by_program, &target);
	return 0;
}
