/* What the helper programs for VFIO share: a device and its container, mappings for it, and its registers. The device is the one
 * for tests (docs/device-model.md), $VFIO_DEVICE in group $VFIO_GROUP. */
#ifndef IOCTLAB_BENCH_VFIO_H
#define IOCTLAB_BENCH_VFIO_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "measure.h"

/* Where BAR 0 and the configuration space are in a device's file. */
#define BAR0 ((off_t)VFIO_PCI_BAR0_REGION_INDEX << 40)
#define CONFIG ((off_t)VFIO_PCI_CONFIG_REGION_INDEX << 40)

/* The command register, and its bits for memory and for bus mastering. */
enum { CONFIG_COMMAND = 4, MEMORY_AND_MASTER = 6 };

/* Registers of the device for tests, its commands, and its status. */
enum { REGISTER_RAISE = 0x18, REGISTER_SOURCE = 0x20, REGISTER_DESTINATION = 0x28, REGISTER_LENGTH = 0x30,
	REGISTER_COMMAND = 0x38, REGISTER_STATUS = 0x40 };
enum { COPY = 1, BUSY = 1, DONE = 2, FAULTED = 4 };

struct vfio {
	int container, device;
};

static inline int open_node(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

static inline void write_register(int device, off_t at, uint64_t value, size_t size)
{
	if (pwrite(device, &value, size, at) != (ssize_t)size)
		err(1, "pwrite of a register");
}

static inline uint32_t read_register(int device, off_t at)
{
	uint32_t value;
	if (pread(device, &value, sizeof value, at) != sizeof value)
		err(1, "pread of a register");
	return value;
}

/* Opens the device. It answers, and may reach what is mapped for it. */
static inline struct vfio open_device(void)
{
	const char *name = getenv("VFIO_DEVICE"), *number = getenv("VFIO_GROUP");
	char path[64];
	struct vfio vfio = { .container = open_node("/dev/vfio/vfio") };
	snprintf(path, sizeof path, "/dev/vfio/%s", number ? number : "6");
	int group = open_node(path);
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &vfio.container) != 0)
		err(1, "SET_CONTAINER");
	if (ioctl(vfio.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) != 0)
		err(1, "SET_IOMMU");
	vfio.device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name ? name : "0000:00:06.0");
	if (vfio.device < 0)
		err(1, "GET_DEVICE_FD");
	write_register(vfio.device, CONFIG + CONFIG_COMMAND, MEMORY_AND_MASTER, 2);
	return vfio;
}

static inline void map_dma(const struct vfio *vfio, const void *memory, uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_map arg = { .argsz = sizeof arg, .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)memory, .iova = iova, .size = size };
	if (ioctl(vfio->container, VFIO_IOMMU_MAP_DMA, &arg) != 0)
		err(1, "MAP_DMA");
}

static inline void unmap_dma(const struct vfio *vfio, uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_unmap arg = { .argsz = sizeof arg, .iova = iova, .size = size };
	if (ioctl(vfio->container, VFIO_IOMMU_UNMAP_DMA, &arg) != 0 || arg.size != size)
		err(1, "UNMAP_DMA");
}

/* So many bytes of the program's own memory. */
static inline char *private_memory(size_t size, int flags)
{
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	if (memory == MAP_FAILED)
		err(1, "mmap");
	return memory;
}

#endif
