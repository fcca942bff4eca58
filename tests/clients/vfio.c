/* A device of VFIO from the first open to the last close: containers, groups, DMA, registers, interrupts, and descriptors that
 * are copied, inherited, sent and lost. On edu (see edu.h). Subtests by argv[1]. */
#include "edu.h"
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>

static char **self_argv;
static const int BOTH = VFIO_GROUP_FLAGS_VIABLE | VFIO_GROUP_FLAGS_CONTAINER_SET;

/* The device answers: config space, a register both ways, and what it says of itself. */
static void device_works(int device)
{
	struct vfio_device_info info = { .argsz = sizeof info };
	struct vfio_region_info bar = { .argsz = sizeof bar, .index = VFIO_PCI_BAR0_REGION_INDEX };
	static uint32_t value;
	GIVES(config_read(device, PCI_VENDOR_ID, 4), 0x11e81234);
	GIVES(ioctl(device, VFIO_DEVICE_GET_INFO, &info), 0);
	GIVES(info.num_regions, VFIO_PCI_NUM_REGIONS);
	GIVES(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &bar), 0);
	GIVES(bar.size, 0x100000);
	GIVES(bar.offset, BAR0);
	value += 0x01020304u + getpid();
	reg_write(device, LIVENESS, value);
	GIVES(reg_read(device, LIVENESS), ~value);
}
static void container_works(int container)
{
	uint8_t *p = pages(2);
	GIVES(ioctl(container, VFIO_CHECK_EXTENSION, VFIO_TYPE1_IOMMU), 1);
	GIVES(map_dma(container, p, 0x7000000, 2 * PAGE, DMA_RW), 0);
	FAILS(map_dma(container, p, 0x7001000, PAGE, DMA_RW), EEXIST);
	GIVES(unmap_dma(container, 0x7000000, 2 * PAGE), 2 * PAGE);
	CHECK(munmap(p, 2 * PAGE) == 0);
}
static void all_work(struct vfio v)
{
	container_works(v.container);
	GIVES(group_flags(v.group), BOTH);
	device_works(v.device);
	int again = get_device(v.group);
	CHECK(again >= 0);
	device_works(again);
	GIVES(close(again), 0);
}

static void t_container(void)
{
	int c = open_rw(CONTAINER), g = open_rw(group_path);
	GIVES(ioctl(c, VFIO_GET_API_VERSION), 0);
	GIVES(ioctl(c, VFIO_CHECK_EXTENSION, VFIO_TYPE1_IOMMU), 1);
	GIVES(ioctl(c, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU), 1);
	GIVES(ioctl(c, VFIO_CHECK_EXTENSION, VFIO_NOIOMMU_IOMMU), 0);
	FAILS(ioctl(c, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), EINVAL); /* no group yet */
	GIVES(group_flags(g), VFIO_GROUP_FLAGS_VIABLE);
	FAILS(get_device(g), EINVAL);
	FAILS(ioctl(g, VFIO_GROUP_UNSET_CONTAINER), EINVAL);
	FAILS(set_container(g, -1), EBADF);
	FAILS(set_container(g, 0x7fff), EBADF);
	FAILS(set_container(g, g), EBADFD);
	GIVES(set_container(g, c), 0);
	FAILS(set_container(g, c), EINVAL);
	GIVES(group_flags(g), BOTH);
	FAILS(get_device(g), EINVAL); /* no IOMMU yet */
	FAILS(ioctl(c, VFIO_SET_IOMMU, 99), ENODEV);
	GIVES(ioctl(c, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), 0);
	FAILS(ioctl(c, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), EINVAL);
	GIVES(ioctl(c, VFIO_CHECK_EXTENSION, VFIO_UPDATE_VADDR), 1);
	FAILS(ioctl(g, VFIO_GROUP_GET_DEVICE_FD, "0000:ff:1f.7"), ENODEV);
	GIVES(ioctl(g, VFIO_GROUP_UNSET_CONTAINER), 0);
	GIVES(group_flags(g), VFIO_GROUP_FLAGS_VIABLE);
	GIVES(set_container(g, c), 0); /* once more, and with the other type */
	GIVES(ioctl(c, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), 0);
	GIVES(close(g), 0);
	GIVES(close(c), 0);
}
static void names(int fd, const char *name)
{
	char link[64], to[256];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, to, sizeof to - 1);
	CHECK(n > 0);
	to[n] = 0;
	if (strcmp(to, name)) {
		dprintf(log_fd, "%s is %s, not %s\n", link, to, name);
		_exit(1);
	}
}
static void t_names(void) /* what /proc/self/fd says, and what kind of file they are */
{
	struct vfio v = opened(VFIO_TYPE1_IOMMU);
	names(v.container, CONTAINER);
	names(v.group, group_path);
	names(v.device, "anon_inode:[vfio-device]");
	GIVES(fcntl(v.device, F_GETFD), FD_CLOEXEC);
	GIVES(fcntl(v.device, F_GETFL) & O_ACCMODE, O_RDWR);
	FAILS(lseek(v.device, 0, SEEK_SET), ESPIPE);
	FAILS(lseek(v.container, 0, SEEK_SET), ESPIPE);
	closed(v);
}
static void t_stat(void)
{
	struct vfio v = opened(VFIO_TYPE1_IOMMU);
	struct stat st, node;
	GIVES(fstat(v.container, &st), 0);
	CHECK(S_ISCHR(st.st_mode) && st.st_rdev == makedev(10, 196));
	GIVES(fstat(v.group, &st), 0);
	GIVES(stat(group_path, &node), 0);
	CHECK(S_ISCHR(st.st_mode) && st.st_rdev == node.st_rdev && st.st_ino == node.st_ino);
	GIVES(fstat(v.device, &st), 0);
	GIVES(st.st_mode, 0600);
	closed(v);
}
static void t_busy(void) /* one opening of a group at a time */
{
	int g = open_rw(group_path);
	FAILS(open(group_path, O_RDWR), EBUSY);
	int d = dup(g);
	GIVES(close(g), 0);
	FAILS(open(group_path, O_RDWR), EBUSY);
	GIVES(close(d), 0);
	g = open_rw(group_path);
	GIVES(close(g), 0);
}

/* The capability with this id, of those that GET_INFO gives when asked with enough room. */
static const struct vfio_info_cap_header *capability(const uint8_t *info, uint32_t at, int id)
{
	while (at) {
		const struct vfio_info_cap_header *h = (const void *)(info + at);
		if (h->id == id)
			return h;
		at = h->next;
	}
	return 0;
}
static void t_iommu_info(void)
{
	struct vfio v = connected(VFIO_TYPE1v2_IOMMU);
	struct vfio_iommu_type1_info small = { .argsz = offsetof(struct vfio_iommu_type1_info, cap_offset) };
	GIVES(ioctl(v.container, VFIO_IOMMU_GET_INFO, &small), 0);
	CHECK(small.argsz > sizeof small && small.flags & VFIO_IOMMU_INFO_PGSIZES && small.iova_pgsizes & PAGE);
	uint8_t *room = calloc(1, small.argsz);
	struct vfio_iommu_type1_info *info = (void *)room;
	info->argsz = small.argsz;
	GIVES(ioctl(v.container, VFIO_IOMMU_GET_INFO, info), 0);
	CHECK(info->flags & VFIO_IOMMU_INFO_CAPS);
	const struct vfio_iommu_type1_info_cap_iova_range *ranges =
		(const void *)capability(room, info->cap_offset, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE);
	CHECK(ranges && ranges->nr_iovas >= 1 && ranges->iova_ranges[0].start == 0);
	const struct vfio_iommu_type1_info_dma_avail *avail =
		(const void *)capability(room, info->cap_offset, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL);
	CHECK(avail && avail->avail == 65535);
	GIVES(map_dma(v.container, pages(1), 0x100000, PAGE, DMA_RW), 0);
	info->argsz = small.argsz;
	GIVES(ioctl(v.container, VFIO_IOMMU_GET_INFO, info), 0);
	GIVES(avail->avail, 65534);
}
static void t_map(void) /* version 2: a mapping is unmapped whole or not at all */
{
	struct vfio v = connected(VFIO_TYPE1v2_IOMMU);
	uint8_t *p = pages(8);
	GIVES(map_dma(v.container, p, 0x100000, 4 * PAGE, DMA_RW), 0);
	FAILS(map_dma(v.container, p, 0x103000, PAGE, DMA_RW), EEXIST);
	GIVES(map_dma(v.container, p, 0x104000, PAGE, DMA_RW), 0);
	FAILS(map_dma(v.container, p, 0x200000, PAGE, 0), EINVAL);
	FAILS(map_dma(v.container, p, 0x200000, 0, DMA_RW), EINVAL);
	FAILS(map_dma(v.container, p, 0x200001, PAGE, DMA_RW), EINVAL);
	FAILS(map_dma(v.container, p + 8, 0x200000, PAGE, DMA_RW), EINVAL);
	FAILS(map_dma(v.container, p, 0xfee00000, PAGE, DMA_RW), EINVAL);
	FAILS(map_dma(v.container, 0, 0x200000, PAGE, DMA_RW), EFAULT);
	FAILS(map_dma(v.container, mmap(0, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 0x200000, PAGE, DMA_RW), EFAULT);
	FAILS(unmap_dma(v.container, 0x101000, PAGE), EINVAL);
	GIVES(unmap_dma(v.container, 0x0, 0x200000), 5 * PAGE);
	GIVES(unmap_dma(v.container, 0x0, 0x200000), 0);
	GIVES(map_dma(v.container, p, 0x100000, 8 * PAGE, VFIO_DMA_MAP_FLAG_READ), 0);
	struct vfio_iommu_type1_dma_unmap all = { .argsz = sizeof all, .flags = VFIO_DMA_UNMAP_FLAG_ALL };
	GIVES(ioctl(v.container, VFIO_IOMMU_UNMAP_DMA, &all), 0);
	GIVES(all.size, 8 * PAGE);
}
static void t_map_v1(void) /* version 1: the first address of a mapping unmaps it whole, others nothing */
{
	struct vfio v = connected(VFIO_TYPE1_IOMMU);
	GIVES(map_dma(v.container, pages(4), 0x100000, 4 * PAGE, DMA_RW), 0);
	GIVES(unmap_dma(v.container, 0x102000, PAGE), 0);
	GIVES(unmap_dma(v.container, 0x100000, PAGE), 4 * PAGE);
}

static void t_device(void) /* what the device says of itself, its regions and interrupts */
{
	struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
	struct vfio_device_info info = { .argsz = sizeof info };
	GIVES(ioctl(v.device, VFIO_DEVICE_GET_INFO, &info), 0);
	GIVES(info.flags, VFIO_DEVICE_FLAGS_PCI); /* it can't be reset */
	GIVES(info.num_regions, VFIO_PCI_NUM_REGIONS);
	GIVES(info.num_irqs, VFIO_PCI_NUM_IRQS);
	for (uint32_t i = 0; i < VFIO_PCI_NUM_REGIONS; i++) {
		struct vfio_region_info r = { .argsz = sizeof r, .index = i };
		if (i == VFIO_PCI_VGA_REGION_INDEX) {
			FAILS(ioctl(v.device, VFIO_DEVICE_GET_REGION_INFO, &r), EINVAL);
			continue;
		}
		GIVES(ioctl(v.device, VFIO_DEVICE_GET_REGION_INFO, &r), 0);
		GIVES(r.offset, (uint64_t)i << 40);
		GIVES(r.size, i == VFIO_PCI_BAR0_REGION_INDEX ? 0x100000 : i == VFIO_PCI_CONFIG_REGION_INDEX ? 0x100 : 0);
		GIVES(r.flags, i == VFIO_PCI_BAR0_REGION_INDEX ? VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
			VFIO_REGION_INFO_FLAG_MMAP : i == VFIO_PCI_CONFIG_REGION_INDEX ?
			VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE : 0);
	}
	static const struct { uint32_t count, flags; } irqs[] = { { 1, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE |
		VFIO_IRQ_INFO_AUTOMASKED }, { 1, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE },
		{ 0, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE } };
	for (uint32_t i = 0; i < 3; i++) {
		struct vfio_irq_info q = { .argsz = sizeof q, .index = i };
		GIVES(ioctl(v.device, VFIO_DEVICE_GET_IRQ_INFO, &q), 0);
		GIVES(q.count, irqs[i].count);
		GIVES(q.flags, irqs[i].flags);
	}
	FAILS(ioctl(v.device, VFIO_DEVICE_RESET), EINVAL);
	FAILS(ioctl(v.device, VFIO_GET_API_VERSION), ENOTTY);
	FAILS(ioctl(v.group, VFIO_GET_API_VERSION), ENOTTY);
}
static void t_config(void)
{
	struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
	uint8_t all[256];
	GIVES(pread(v.device, all, 256, CONFIG), 256);
	CHECK(all[0] == 0x34 && all[1] == 0x12 && all[2] == 0xe8 && all[3] == 0x11);
	GIVES(config_read(v.device, PCI_CLASS_REVISION, 4) >> 8, 0xff00);
	GIVES(config_read(v.device, PCI_CAPABILITY_LIST, 1), 0x40);
	GIVES(config_read(v.device, 0x40, 1), PCI_CAP_ID_MSI);
	config_write(v.device, PCI_COMMAND, 0, 2);
	GIVES(config_read(v.device, PCI_COMMAND, 2), 0);
	config_write(v.device, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	GIVES(config_read(v.device, PCI_COMMAND, 2), PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	config_write(v.device, PCI_VENDOR_ID, 0xffffffff, 4); /* read-only */
	GIVES(config_read(v.device, PCI_VENDOR_ID, 4), 0x11e81234);
	uint32_t bar = config_read(v.device, PCI_BASE_ADDRESS_0, 4); /* sizing, as firmware does it */
	config_write(v.device, PCI_BASE_ADDRESS_0, 0xffffffff, 4);
	GIVES(config_read(v.device, PCI_BASE_ADDRESS_0, 4), 0xfff00000);
	config_write(v.device, PCI_BASE_ADDRESS_0, bar, 4);
	GIVES(config_read(v.device, PCI_BASE_ADDRESS_0, 4), bar);
	FAILS(pread(v.device, all, 1, CONFIG + 256), EFAULT);
	FAILS(pread(v.device, (void *)8, 4, CONFIG), EFAULT);
	GIVES(pread(v.device, all, 0, CONFIG), 0);
	FAILS(pread(v.device, all, 4, 9ul << 40), EINVAL);
}
static void t_registers(void)
{
	struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
	GIVES(reg_read(v.device, ID), EDU_ID);
	reg_write(v.device, LIVENESS, 0x12345678);
	GIVES(reg_read(v.device, LIVENESS), ~0x12345678u);
	reg_write(v.device, FACTORIAL, 10);
	while (reg_read(v.device, STATUS) & 1)
		ms_sleep(1);
	GIVES(reg_read(v.device, FACTORIAL), 3628800);
	uint32_t value = ~0u;
	GIVES(pread(v.device, &value, 1, ID), 1); /* narrow accesses don't get to the device */
	GIVES(pread(v.device, (char *)&value + 2, 2, ID), 2);
	GIVES(value, 0xff00);
	value = 0;
	GIVES(pwrite(v.device, &value, 2, LIVENESS), 2);
	GIVES(reg_read(v.device, LIVENESS), ~0x12345678u);
	FAILS(pread(v.device, &value, 4, 0x100000), EINVAL); /* past the end */
	FAILS(pread(v.device, &value, 4, 1ul << 40), EINVAL); /* no such BAR */
	config_write(v.device, PCI_COMMAND, 0, 2);
	FAILS(pread(v.device, &value, 4, BAR0), EIO);
	FAILS(pwrite(v.device, &value, 4, BAR0), EIO);
	config_write(v.device, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	GIVES(reg_read(v.device, ID), EDU_ID);
}
static volatile uint32_t *mapped(int device)
{
	void *bar = mmap(0, 0x100000, PROT_READ | PROT_WRITE, MAP_SHARED, device, BAR0);
	CHECK(bar != MAP_FAILED);
	return bar;
}
static void t_mapped(void) /* BAR 0 as memory */
{
	struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
	FAILS(mmap(0, PAGE, PROT_READ, MAP_PRIVATE, v.device, BAR0), EINVAL);
	FAILS(mmap(0, PAGE, PROT_READ, MAP_SHARED, v.device, CONFIG), EINVAL);
	FAILS(mmap(0, 2 * PAGE, PROT_READ, MAP_SHARED, v.device, 0xff000), EINVAL); /* past the end */
	volatile uint32_t *bar = mapped(v.device);
	GIVES(bar[ID / 4], EDU_ID);
	bar[LIVENESS / 4] = 0x0badcafe;
	GIVES(reg_read(v.device, LIVENESS), ~0x0badcafeu);
	GIVES(bar[LIVENESS / 4], ~0x0badcafeu);
	reg_write(v.device, LIVENESS, 77);
	GIVES(bar[LIVENESS / 4], ~77u);
	bar[FACTORIAL / 4] = 5;
	while (reg_read(v.device, STATUS) & 1)
		;
	GIVES(bar[FACTORIAL / 4], 120);
	bar[IRQ_RAISE / 4] = 4;
	GIVES(reg_read(v.device, IRQ_STATUS), 4);
	reg_write(v.device, IRQ_ACK, 4);
	GIVES(reg_read(v.device, IRQ_STATUS), 0); /* what was stored has acted once */
	static const uint32_t nothing[] = { 0x0c, IRQ_RAISE, IRQ_ACK, 0xa0, 0x1000, 0x40000, 0xffffc };
	for (size_t i = 0; i < sizeof nothing / 4; i++) { /* what is no register */
		GIVES(bar[nothing[i] / 4], ~0u);
		GIVES(reg_read(v.device, nothing[i]), ~0u);
	}
	CHECK(munmap((void *)bar, 0x100000) == 0);
}
static void t_mapped_at_once(void) /* what is written there acts before it is read there */
{
	struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
	volatile uint32_t *bar = mapped(v.device);
	bar[LIVENESS / 4] = 0x0badcafe;
	GIVES(bar[LIVENESS / 4], ~0x0badcafeu);
	bar[FACTORIAL / 4] = 5;
	while (bar[STATUS / 4] & 1)
		;
	GIVES(bar[FACTORIAL / 4], 120);
	CHECK(munmap((void *)bar, 0x100000) == 0);
}
static void t_mapped_outlives(void) /* a mapping holds the device like a descriptor */
{
	struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
	volatile uint32_t *bar = mapped(v.device);
	GIVES(close(v.device), 0);
	FAILS(ioctl(v.group, VFIO_GROUP_UNSET_CONTAINER), EBUSY);
	GIVES(bar[ID / 4], EDU_ID);
	CHECK(munmap((void *)bar, 0x100000) == 0);
	GIVES(ioctl(v.group, VFIO_GROUP_UNSET_CONTAINER), 0);
}

static void t_dma(void) /* private anonymous memory, which is written to only after it is mapped */
{
	struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
	uint8_t *p = pages(2);
	GIVES(map_dma(v.container, p, 0x100000, 2 * PAGE, DMA_RW), 0);
	round_trip(v.device, p, 0x100000, 1);
	round_trip(v.device, p, 0x100000, 100);
	p[PAGE] = 0x5a;
	config_write(v.device, PCI_COMMAND, PCI_COMMAND_MEMORY, 2); /* no bus master: nothing arrives */
	dma(v.device, EDU_MEMORY, 0x101000, 16, DMA_TO_MEMORY);
	GIVES(p[PAGE], 0x5a);
	config_write(v.device, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	GIVES(unmap_dma(v.container, 0x100000, 2 * PAGE), 2 * PAGE);
	dma(v.device, EDU_MEMORY, 0x101000, 16, DMA_TO_MEMORY); /* no mapping: nothing either */
	GIVES(p[PAGE], 0x5a);
	GIVES(map_dma(v.container, p, 0x100000, 2 * PAGE, VFIO_DMA_MAP_FLAG_READ), 0);
	dma(v.device, EDU_MEMORY, 0x101000, 16, DMA_TO_MEMORY); /* a mapping to be read only */
	GIVES(p[PAGE], 0x5a);
	closed(v);
}
static void t_dma_shared(void) /* memory of a file, of two mappings, seen by another process */
{
	struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
	int fd = memfd_create("buffer", MFD_CLOEXEC);
	CHECK(fd >= 0 && ftruncate(fd, 2 * PAGE) == 0);
	uint8_t *p = mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	GIVES(map_dma(v.container, p, 0x200000, PAGE, DMA_RW), 0);
	GIVES(map_dma(v.container, p + PAGE, 0x201000, PAGE, DMA_RW), 0);
	round_trip(v.device, p, 0x200000, 9);
	pid_t c = fork();
	if (!c) {
		CHECK(p[PAGE] == 9 && p[PAGE + 99] == (uint8_t)(9 + 3 * 99));
		p[0] = 0xa7;
		_exit(0);
	}
	CHILD_OK(c);
	dma(v.device, 0x200000, EDU_MEMORY, 1, 0);
	dma(v.device, EDU_MEMORY, 0x201fff, 1, DMA_TO_MEMORY);
	GIVES(p[2 * PAGE - 1], 0xa7);
}

static void t_msi(void)
{
	struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
	int e = event_new(), f = event_new();
	FAILS(irq_do(v.device, VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_PCI_MSI_IRQ_INDEX), EINVAL); /* not set up */
	GIVES(irq_enable(v.device, VFIO_PCI_MSI_IRQ_INDEX, e), 0);
	CHECK(is_quiet(e));
	for (int i = 0; i < 20; i++) {
		reg_write(v.device, IRQ_RAISE, 1 << i);
		GIVES(events(e), 1);
		GIVES(reg_read(v.device, IRQ_STATUS), 1 << i);
		reg_write(v.device, IRQ_ACK, 1 << i);
		GIVES(reg_read(v.device, IRQ_STATUS), 0);
	}
	GIVES(irq_do(v.device, VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_PCI_MSI_IRQ_INDEX), 0); /* loopback */
	GIVES(events(e), 1);
	FAILS(irq_do(v.device, VFIO_IRQ_SET_ACTION_MASK, VFIO_PCI_MSI_IRQ_INDEX), ENOTTY);
	FAILS(irq_enable(v.device, VFIO_PCI_INTX_IRQ_INDEX, f), EINVAL); /* one kind at a time */
	GIVES(irq_enable(v.device, VFIO_PCI_MSI_IRQ_INDEX, f), 0); /* another eventfd in its place */
	reg_write(v.device, IRQ_RAISE, 1);
	GIVES(events(f), 1);
	CHECK(is_quiet(e));
	reg_write(v.device, IRQ_ACK, 1);
	GIVES(irq_disable(v.device, VFIO_PCI_MSI_IRQ_INDEX), 0);
	FAILS(irq_disable(v.device, VFIO_PCI_MSI_IRQ_INDEX), EINVAL);
	closed(v);
}
static void t_msi_dma(void) /* the end of a copy, by epoll */
{
	struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
	uint8_t *p = pages(2);
	int e = event_new(), ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event want = { .events = EPOLLIN | EPOLLET, .data.u32 = 42 }, got;
	GIVES(map_dma(v.container, p, 0x300000, 2 * PAGE, DMA_RW), 0);
	GIVES(epoll_ctl(ep, EPOLL_CTL_ADD, e, &want), 0);
	GIVES(irq_enable(v.device, VFIO_PCI_MSI_IRQ_INDEX, e), 0);
	for (uint32_t i = 0; i < 4; i++) {
		memset(p, 0x11 * (i + 1), 64);
		dma_start(v.device, 0x300000, EDU_MEMORY + 256, 64, DMA_IRQ);
		GIVES(epoll_wait(ep, &got, 1, 5000), 1);
		GIVES(got.data.u32, 42);
		GIVES(events(e), 1);
		GIVES(reg_read(v.device, IRQ_STATUS), DMA_DONE);
		reg_write(v.device, IRQ_ACK, DMA_DONE);
		dma_start(v.device, EDU_MEMORY + 256, 0x301000, 64, DMA_TO_MEMORY | DMA_IRQ);
		GIVES(epoll_wait(ep, &got, 1, 5000), 1);
		GIVES(events(e), 1);
		reg_write(v.device, IRQ_ACK, DMA_DONE);
		CHECK(!memcmp(p, p + PAGE, 64));
	}
	GIVES(epoll_wait(ep, &got, 1, 0), 0);
}
static void t_intx(void) /* a line: masked when it fires, and as long as the device pulls it, it fires again */
{
	struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
	int e = event_new();
	GIVES(irq_enable(v.device, VFIO_PCI_INTX_IRQ_INDEX, e), 0);
	FAILS(irq_enable(v.device, VFIO_PCI_MSI_IRQ_INDEX, e), EINVAL);
	reg_write(v.device, IRQ_RAISE, 1);
	GIVES(events(e), 1);
	CHECK(is_quiet(e)); /* masked */
	GIVES(irq_do(v.device, VFIO_IRQ_SET_ACTION_UNMASK, VFIO_PCI_INTX_IRQ_INDEX), 0);
	GIVES(events(e), 1); /* not acknowledged */
	reg_write(v.device, IRQ_ACK, 1);
	GIVES(irq_do(v.device, VFIO_IRQ_SET_ACTION_UNMASK, VFIO_PCI_INTX_IRQ_INDEX), 0);
	CHECK(is_quiet(e));
	GIVES(irq_do(v.device, VFIO_IRQ_SET_ACTION_MASK, VFIO_PCI_INTX_IRQ_INDEX), 0);
	reg_write(v.device, IRQ_RAISE, 2);
	CHECK(is_quiet(e));
	GIVES(irq_do(v.device, VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_PCI_INTX_IRQ_INDEX), 0); /* loopback, masked or not */
	GIVES(events(e), 1);
	GIVES(irq_do(v.device, VFIO_IRQ_SET_ACTION_UNMASK, VFIO_PCI_INTX_IRQ_INDEX), 0);
	GIVES(events(e), 1);
	reg_write(v.device, IRQ_ACK, 2);
	GIVES(irq_disable(v.device, VFIO_PCI_INTX_IRQ_INDEX), 0);
	closed(v);
}
static void t_intx_unmask_fd(void) /* another eventfd unmasks, as virtual machines have it */
{
	struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
	int e = event_new(), u = event_new();
	uint64_t one = 1;
	GIVES(irq_enable(v.device, VFIO_PCI_INTX_IRQ_INDEX, e), 0);
	GIVES(set_irqs(v.device, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK, VFIO_PCI_INTX_IRQ_INDEX, 1, &u), 0);
	reg_write(v.device, IRQ_RAISE, 1);
	GIVES(events(e), 1);
	GIVES(write(u, &one, 8), 8);
	GIVES(events(e), 1);
	reg_write(v.device, IRQ_ACK, 1);
	GIVES(write(u, &one, 8), 8);
	CHECK(is_quiet(e));
	reg_write(v.device, IRQ_RAISE, 1);
	GIVES(events(e), 1);
	reg_write(v.device, IRQ_ACK, 1);
}

static void t_dup(void)
{
	struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
	struct vfio d = { dup(v.container), fcntl(v.group, F_DUPFD, 300), dup2(v.device, 1000) };
	GIVES(d.device, 1000);
	GIVES(fcntl(d.device, F_GETFD), 0);
	all_work(d);
	closed(v);
	all_work(d);
	FAILS(open(group_path, O_RDWR), EBUSY);
	closed(d);
	CHECK(group_free_within(0));
}
static void t_fork(void) /* a child uses, closes and leaves what it inherits */
{
	struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
	volatile uint32_t *bar = mapped(v.device);
	pid_t c = fork();
	if (!c) {
		all_work(v);
		GIVES(bar[ID / 4], EDU_ID); /* mappings are inherited, too */
		bar[LIVENESS / 4] = 99;
		closed(v);
		_exit(0);
	}
	CHILD_OK(c);
	GIVES(reg_read(v.device, LIVENESS), ~99u);
	GIVES(bar[LIVENESS / 4], ~99u);
	all_work(v);
	c = fork();
	if (!c) {
		ms_sleep(200);
		all_work(v);
		_exit(0);
	}
	CHECK(munmap((void *)bar, 0x100000) == 0);
	closed(v);
	FAILS(open(group_path, O_RDWR), EBUSY);
	CHILD_OK(c);
	CHECK(group_free_within(2000));
}
/* argv of the new program: --exec CONTAINER GROUP DEVICE COPY */
static int after_exec(char **argv)
{
	struct vfio v = { atoi(argv[2]), atoi(argv[3]), atoi(argv[4]) };
	int copy = atoi(argv[5]);
	FAILS(fcntl(v.device, F_GETFD), EBADF); /* the kernel opens devices so that exec closes them */
	FAILS(ioctl(v.device, VFIO_DEVICE_RESET), EBADF);
	GIVES(fcntl(copy, F_GETFD), 0);
	device_works(copy);
	v.device = get_device(v.group);
	CHECK(v.device >= 0);
	all_work(v);
	return 0;
}
static void t_exec(void)
{
	struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
	int copy = dup(v.device);
	pid_t c = fork();
	if (!c) {
		char n[4][16], *args[] = { self_argv[0], "--exec", n[0], n[1], n[2], n[3], 0 };
		const int fds[] = { v.container, v.group, v.device, copy };
		for (int i = 0; i < 4; i++)
			snprintf(n[i], sizeof n[i], "%d", fds[i]);
		execv("/proc/self/exe", args);
		_exit(9);
	}
	CHILD_OK(c);
	all_work(v);
	GIVES(close(copy), 0);
	closed(v);
	CHECK(group_free_within(2000));
}
static void send_fds(int sock, struct vfio v)
{
	struct iovec iov = { "m", 1 };
	union { char b[CMSG_SPACE(sizeof v)]; struct cmsghdr h; } u;
	memset(&u, 0, sizeof u);
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.b, .msg_controllen = sizeof u.b };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof v);
	memcpy(CMSG_DATA(c), &v, sizeof v);
	GIVES(sendmsg(sock, &m, 0), 1);
}
static struct vfio recv_fds(int sock)
{
	struct vfio v;
	char x;
	struct iovec iov = { &x, 1 };
	union { char b[CMSG_SPACE(sizeof v)]; struct cmsghdr h; } u;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.b, .msg_controllen = sizeof u.b };
	GIVES(recvmsg(sock, &m, 0), 1);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	CHECK(c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof v));
	memcpy(&v, CMSG_DATA(c), sizeof v);
	return v;
}
static void t_scm(void) /* another process gets all three by message, and nothing else */
{
	int s[2];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
	pid_t c = fork();
	if (!c) {
		struct vfio v = recv_fds(s[0]);
		int e = event_new();
		names(v.container, CONTAINER);
		names(v.group, group_path);
		names(v.device, "anon_inode:[vfio-device]");
		GIVES(fcntl(v.device, F_GETFD), 0);
		all_work(v);
		GIVES(irq_enable(v.device, VFIO_PCI_MSI_IRQ_INDEX, e), 0); /* the receiver's eventfd */
		reg_write(v.device, IRQ_RAISE, 1);
		GIVES(events(e), 1);
		reg_write(v.device, IRQ_ACK, 1);
		volatile uint32_t *bar = mapped(v.device);
		GIVES(bar[ID / 4], EDU_ID);
		GIVES(write(s[0], "y", 1), 1);
		char x;
		GIVES(read(s[0], &x, 1), 1); /* the sender has closed its own */
		all_work(v);
		_exit(0);
	}
	struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
	char y;
	send_fds(s[1], v);
	GIVES(read(s[1], &y, 1), 1);
	all_work(v);
	closed(v);
	FAILS(open(group_path, O_RDWR), EBUSY);
	GIVES(write(s[1], "x", 1), 1);
	CHILD_OK(c);
	CHECK(group_free_within(2000));
}
static void t_in_flight(void) /* only a message holds them; then nothing does */
{
	int s[2];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
	struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
	send_fds(s[1], v);
	closed(v);
	ms_sleep(50);
	FAILS(open(group_path, O_RDWR), EBUSY);
	v = recv_fds(s[0]);
	all_work(v);
	send_fds(s[1], v);
	closed(v);
	GIVES(close(s[0]), 0);
	GIVES(close(s[1]), 0);
	CHECK(group_free_within(2000));
}

static void t_close_orders(void)
{
	struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
	GIVES(close(v.container), 0); /* the group holds the container */
	device_works(v.device);
	GIVES(group_flags(v.group), BOTH);
	GIVES(close(v.group), 0); /* and the device the group */
	device_works(v.device);
	FAILS(open(group_path, O_RDWR), EBUSY);
	GIVES(close(v.device), 0);
	v = opened(VFIO_TYPE1v2_IOMMU);
	GIVES(close(v.group), 0);
	container_works(v.container);
	GIVES(close(v.device), 0); /* the last of the group: its container has no IOMMU any more */
	FAILS(map_dma(v.container, pages(1), 0x100000, PAGE, DMA_RW), EINVAL);
	int g = open_rw(group_path);
	GIVES(group_flags(g), VFIO_GROUP_FLAGS_VIABLE);
	GIVES(set_container(g, v.container), 0);
	GIVES(ioctl(v.container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), 0);
	int device = get_device(g);
	CHECK(device >= 0);
	FAILS(ioctl(g, VFIO_GROUP_UNSET_CONTAINER), EBUSY);
	GIVES(close(device), 0);
	GIVES(ioctl(g, VFIO_GROUP_UNSET_CONTAINER), 0);
	GIVES(close(g), 0);
	GIVES(close(v.container), 0);
}
static void t_reopened(void) /* what one opening leaves behind is gone in the next */
{
	struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
	int e = event_new();
	GIVES(irq_enable(v.device, VFIO_PCI_MSI_IRQ_INDEX, e), 0);
	GIVES(map_dma(v.container, pages(1), 0x100000, PAGE, DMA_RW), 0);
	closed(v);
	v = connected(VFIO_TYPE1v2_IOMMU);
	CHECK((v.device = get_device(v.group)) >= 0);
	CHECK(!(config_read(v.device, PCI_COMMAND, 2) & PCI_COMMAND_MASTER));
	GIVES(unmap_dma(v.container, 0, 0x10000000), 0);
	FAILS(irq_disable(v.device, VFIO_PCI_MSI_IRQ_INDEX), EINVAL);
	CHECK(is_quiet(e));
	closed(v);
}
static void t_killed(void) /* a process killed at any moment leaves a device that the next can use */
{
	for (int i = 0; i < 20; i++) {
		struct gate g = gate_new();
		pid_t c = fork();
		if (!c) {
			struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
			uint8_t *p = pages(2);
			int e = event_new();
			volatile uint32_t *bar = mapped(v.device);
			GIVES(map_dma(v.container, p, 0x100000, 2 * PAGE, DMA_RW), 0);
			GIVES(irq_enable(v.device, i % 2 ? VFIO_PCI_MSI_IRQ_INDEX : VFIO_PCI_INTX_IRQ_INDEX, e), 0);
			gate_open(g);
			for (;;) {
					CHECK(bar[ID / 4] == EDU_ID);
				dma_start(v.device, 0x100000, EDU_MEMORY, 2048, DMA_IRQ);
				reg_write(v.device, IRQ_ACK, DMA_DONE);
			}
		}
		gate_wait(g);
		usleep(1000 * (i % 5));
		CHECK(kill(c, SIGKILL) == 0 && waitpid(c, 0, 0) == c);
		CHECK(group_free_within(2000));
	}
	struct vfio v = opened(VFIO_TYPE1v2_IOMMU);
	uint8_t *p = pages(2);
	GIVES(map_dma(v.container, p, 0x100000, 2 * PAGE, DMA_RW), 0);
	ms_sleep(150); /* a copy that was under way may still end */
	round_trip(v.device, p, 0x100000, 3);
}

int main(int argc, char **argv)
{
	static const struct subtest t[] = { { "container", t_container }, { "names", t_names }, { "stat", t_stat }, { "busy", t_busy },
		{ "iommu-info", t_iommu_info }, { "map", t_map }, { "map-v1", t_map_v1 }, { "device", t_device }, { "config", t_config },
		{ "registers", t_registers }, { "mapped", t_mapped }, { "mapped-at-once", t_mapped_at_once },
		{ "mapped-outlives", t_mapped_outlives }, { "dma", t_dma },
		{ "dma-shared", t_dma_shared }, { "msi", t_msi }, { "msi-dma", t_msi_dma }, { "intx", t_intx },
		{ "intx-unmask-fd", t_intx_unmask_fd }, { "dup", t_dup }, { "fork", t_fork }, { "exec", t_exec }, { "scm", t_scm },
		{ "in-flight", t_in_flight }, { "close-orders", t_close_orders }, { "reopened", t_reopened }, { "killed", t_killed }, { 0 } };
	self_argv = argv;
	edu_start();
	if (argc > 1 && !strcmp(argv[1], "--exec"))
		return after_exec(argv);
	run_subtests("vfio", t, argc, argv);
	return 0;
}
