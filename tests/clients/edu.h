/* VFIO as programs use it, and QEMU's educational device (edu): what the clients of VFIO share.
 * $VFIO_DEVICE is the device's address, 0000:00:05.0 by default; its group is $VFIO_GROUP, else where its iommu_group points. */
#ifndef EDU_H
#define EDU_H
#include "check.h"
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stddef.h>
#include <sys/eventfd.h>

#define CONTAINER "/dev/vfio/vfio"
#define PAGE 4096ul
#define BAR0 0ul
#define CONFIG (7ul << 40)

/* Registers of edu in BAR 0, and its own memory as its DMA engine sees it. */
enum { ID = 0x00, LIVENESS = 0x04, FACTORIAL = 0x08, STATUS = 0x20, IRQ_STATUS = 0x24, IRQ_RAISE = 0x60, IRQ_ACK = 0x64,
	DMA_SRC = 0x80, DMA_DST = 0x88, DMA_COUNT = 0x90, DMA_COMMAND = 0x98 };
enum { DMA_START = 1, DMA_TO_MEMORY = 2, DMA_IRQ = 4, DMA_DONE = 0x100 };
#define EDU_ID 0x010000edu
#define EDU_MEMORY 0x40000ul

static const char *bdf = "0000:00:05.0";
static char group_path[64];

/* Call first in main: finds the device's group. */
static void edu_start(void)
{
	char link[128], to[256];
	const char *s = getenv("VFIO_DEVICE");
	if (s && *s)
		bdf = s;
	setvbuf(stdout, 0, _IOLBF, 0);
	s = getenv("VFIO_GROUP");
	if (s && *s) {
		snprintf(group_path, sizeof group_path, "/dev/vfio/%s", s);
		return;
	}
	snprintf(link, sizeof link, "/sys/bus/pci/devices/%s/iommu_group", bdf);
	ssize_t n = readlink(link, to, sizeof to - 1);
	CHECK(n > 0);
	to[n] = 0;
	CHECK(strstr(to, "/kernel/iommu_groups/"));
	snprintf(group_path, sizeof group_path, "/dev/vfio/%s", strrchr(to, '/') + 1);
}

/* The descriptors that a program has. */
struct vfio { int container, group, device; };

static int open_rw(const char *path)
{
	int fd = open(path, O_RDWR);
	CHECK(fd >= 0);
	return fd;
}
static int set_container(int group, int container) { return ioctl(group, VFIO_GROUP_SET_CONTAINER, &container); }
static int get_device(int group) { return ioctl(group, VFIO_GROUP_GET_DEVICE_FD, bdf); }
/* The group's flags. */
static int group_flags(int group)
{
	struct vfio_group_status s = { .argsz = sizeof s };
	GIVES(ioctl(group, VFIO_GROUP_GET_STATUS, &s), 0);
	return s.flags;
}
/* Container and group, with an IOMMU of this type. */
static struct vfio connected(int type)
{
	struct vfio v = { open_rw(CONTAINER), open_rw(group_path), -1 };
	GIVES(ioctl(v.container, VFIO_GET_API_VERSION), VFIO_API_VERSION);
	GIVES(ioctl(v.container, VFIO_CHECK_EXTENSION, type), 1);
	GIVES(group_flags(v.group), VFIO_GROUP_FLAGS_VIABLE);
	GIVES(set_container(v.group, v.container), 0);
	GIVES(ioctl(v.container, VFIO_SET_IOMMU, type), 0);
	return v;
}
static void config_write(int device, unsigned at, uint32_t value, int size)
{
	GIVES(pwrite(device, &value, size, CONFIG + at), size);
}
static uint32_t config_read(int device, unsigned at, int size)
{
	uint32_t value = 0;
	GIVES(pread(device, &value, size, CONFIG + at), size);
	return value;
}
/* All three, with memory decoding and bus mastering on. */
static struct vfio opened(int type)
{
	struct vfio v = connected(type);
	CHECK((v.device = get_device(v.group)) >= 0);
	config_write(v.device, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	return v;
}
static void closed(struct vfio v)
{
	GIVES(close(v.device), 0);
	GIVES(close(v.group), 0);
	GIVES(close(v.container), 0);
}
/* Whether the group can be opened within ms: everything of an earlier opening is gone. */
static int group_free_within(int ms)
{
	for (;; ms -= 10) {
		int fd = open(group_path, O_RDWR);
		if (fd >= 0)
			return close(fd), 1;
		CHECK(errno == EBUSY);
		if (ms <= 0)
			return 0;
		usleep(10000);
	}
}

static int map_dma(int container, void *at, uint64_t iova, uint64_t size, uint32_t flags)
{
	struct vfio_iommu_type1_dma_map m = { sizeof m, flags, (uintptr_t)at, iova, size };
	return ioctl(container, VFIO_IOMMU_MAP_DMA, &m);
}
#define DMA_RW (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)
/* How many bytes were unmapped, or -1. */
static long unmap_dma(int container, uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_unmap u = { .argsz = sizeof u, .iova = iova, .size = size };
	return ioctl(container, VFIO_IOMMU_UNMAP_DMA, &u) ? -1 : (long)u.size;
}
static void *pages(size_t n)
{
	void *p = mmap(0, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	return p;
}

static uint32_t reg_read(int device, unsigned at)
{
	uint32_t value;
	GIVES(pread(device, &value, 4, BAR0 + at), 4);
	return value;
}
static void reg_write(int device, unsigned at, uint32_t value) { GIVES(pwrite(device, &value, 4, BAR0 + at), 4); }
/* Starts a copy by edu's DMA engine. */
static void dma_start(int device, uint32_t from, uint32_t to, uint32_t count, uint32_t command)
{
	reg_write(device, DMA_SRC, from);
	reg_write(device, DMA_DST, to);
	reg_write(device, DMA_COUNT, count);
	reg_write(device, DMA_COMMAND, command | DMA_START);
}
static void dma(int device, uint32_t from, uint32_t to, uint32_t count, uint32_t command)
{
	dma_start(device, from, to, count, command);
	for (int i = 0; reg_read(device, DMA_COMMAND) & DMA_START; i++) {
		CHECK(i < 500);
		ms_sleep(10);
	}
}
/* Memory to the device and back to another place: the copy is right. Two pages are mapped at iova. */
static void round_trip(int device, uint8_t *memory, uint32_t iova, uint8_t seed)
{
	for (int i = 0; i < 100; i++)
		memory[i] = seed + 3 * i;
	memset(memory + PAGE, 0, 100);
	dma(device, iova, EDU_MEMORY, 100, 0);
	dma(device, EDU_MEMORY, iova + PAGE, 100, DMA_TO_MEMORY);
	CHECK(!memcmp(memory, memory + PAGE, 100));
}

/* SET_IRQS with these flags, and descriptors as data if fds isn't null. */
static int set_irqs(int device, uint32_t flags, uint32_t index, uint32_t count, const int *fds)
{
	union { struct vfio_irq_set set; char room[sizeof(struct vfio_irq_set) + 4 * sizeof(int)]; } u;
	CHECK(!fds || count <= 4);
	u.set = (struct vfio_irq_set){ sizeof u.set + (fds ? count * sizeof *fds : 0), flags, index, 0, count };
	if (fds)
		memcpy(u.set.data, fds, count * sizeof *fds);
	return ioctl(device, VFIO_DEVICE_SET_IRQS, &u.set);
}
static int irq_enable(int device, uint32_t index, int fd)
{
	return set_irqs(device, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, index, 1, &fd);
}
static int irq_disable(int device, uint32_t index)
{
	return set_irqs(device, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, index, 0, 0);
}
static int irq_do(int device, uint32_t action, uint32_t index)
{
	return set_irqs(device, VFIO_IRQ_SET_DATA_NONE | action, index, 1, 0);
}
static int event_new(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(fd >= 0);
	return fd;
}
/* How often the eventfd was signalled since it was last asked: waits up to 5 s for the first time. */
static long events(int fd)
{
	uint64_t n = 0;
	struct pollfd p = { fd, POLLIN, 0 };
	CHECK(poll(&p, 1, 5000) >= 0);
	return read(fd, &n, 8) == 8 ? (long)n : 0;
}
static int is_quiet(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };
	return poll(&p, 1, 50) == 0;
}
#endif
