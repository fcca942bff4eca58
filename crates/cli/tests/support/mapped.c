/* mapped FILE: shares a page with itself, by a descriptor outside of the window, and says "ready"; when there is a FILE it uses and unmaps all, and
 * says "unmapped". */
#include "check.h"

int main(int argc, char **argv)
{
	struct { uint16_t domid, flags; uint32_t count; uint64_t index; uint32_t refs[2]; } alloc = { 0, 1, 1, 0, { 0 } };
	struct { uint32_t count, pad; uint64_t index; uint32_t domid, ref; } map = { 1, 0, 0, 0, 0 };
	char *own, *mapped;
	int fd = open("/dev/xen/gntalloc", O_RDWR);
	GIVES(ioctl(fd, 0x184705, &alloc), 0);
	GIVES(dup2(fd, 20), 20);
	CHECK(close(fd) == 0);
	own = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 20, (off_t)alloc.index);
	CHECK(own != MAP_FAILED);
	fd = open("/dev/xen/gntdev", O_RDWR);
	map.ref = alloc.refs[0];
	GIVES(ioctl(fd, 0x184700, &map), 0);
	mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)map.index);
	CHECK(mapped != MAP_FAILED);
	own[1] = 'x';
	CHECK(mapped[1] == 'x');
	printf("ready\n");
	fflush(stdout);
	while (access(argv[argc - 1], F_OK) != 0)
		usleep(2000);
	mapped[2] = 'y';
	CHECK(own[2] == 'y' && own[1] == 'x');
	CHECK(munmap(mapped, 4096) == 0 && munmap(own, 4096) == 0);
	printf("unmapped\n");
	return 0;
}
