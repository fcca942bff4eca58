/* open, openat, openat2 and creat: every flag, every spelling of the path. Subtests by argv[1]. */
#include "check.h"
#include <limits.h>
#include <linux/openat2.h>

#define LARGEFILE 0100000 /* O_LARGEFILE as the kernel has it; glibc's is 0 here */

static char dir[PATH_MAX], base[NAME_MAX + 1];         /* /dev/xen, evtchn */
static char parent[PATH_MAX], dir_base[NAME_MAX + 1];  /* /dev, xen */

static void split(const char *path, char *d, char *b)
{
	const char *slash = strrchr(path, '/');
	snprintf(d, PATH_MAX, "%.*s", (int)(slash - path), path);
	snprintf(b, NAME_MAX + 1, "%s", slash + 1);
	if (!*d)
		strcpy(d, "/");
}

/* It is the device: an ioctl that any access mode allows. */
static void is_evtchn(int fd)
{
	CHECK(fd >= 0);
	GIVES(ioctl(fd, EVTCHN_RESET, 0), 0);
	int port = bind_unbound(fd, self_dom);
	CHECK(port > 0);
	GIVES(unbind(fd, port), 0);
	GIVES(close(fd), 0);
}

static int sys_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	struct open_how how = { .flags = flags, .mode = mode, .resolve = resolve };
	return syscall(SYS_openat2, dirfd, path, &how, sizeof how);
}

static void t_flags(void)
{
	static const int accept[] = { 0, O_CLOEXEC, O_NONBLOCK, O_CLOEXEC | O_NONBLOCK, O_TRUNC, O_APPEND, O_CREAT, O_NOFOLLOW,
				      O_NOCTTY, O_SYNC, O_NOATIME, O_EXCL, O_CREAT | O_TRUNC | O_APPEND };
	static const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR };
	const int shown = O_ACCMODE | O_NONBLOCK | O_APPEND;

	for (unsigned i = 0; i < sizeof accept / sizeof *accept; i++)
		for (unsigned m = 0; m < 3; m++)
			for (int how = 0; how < 3; how++) {
				int flags = modes[m] | accept[i];
				int fd = how == 0 ? (int)syscall(SYS_open, device, flags, 0600)
				       : how == 1 ? openat(AT_FDCWD, device, flags, 0600)
						  : sys_openat2(AT_FDCWD, device, flags, flags & O_CREAT ? 0600 : 0, 0);
				if (fd < 0)
					dprintf(2, "flags %#o by %d\n", flags, how);
				CHECK(fd >= 0);
				GIVES(fcntl(fd, F_GETFL) & shown, flags & shown);
				GIVES(fcntl(fd, F_GETFD), flags & O_CLOEXEC ? FD_CLOEXEC : 0);
				is_evtchn(fd);
			}
	is_evtchn(syscall(SYS_creat, device, 0600));
}
static void t_getfl_exact(void)
{
	int fd = evtchn_open(O_NONBLOCK | O_CLOEXEC | O_TRUNC | O_CREAT);
	GIVES(fcntl(fd, F_GETFL), O_RDWR | O_NONBLOCK | LARGEFILE);
	close(fd);
	CHECK((fd = open(device, O_RDONLY | O_APPEND)) >= 0);
	GIVES(fcntl(fd, F_GETFL), O_RDONLY | O_APPEND | LARGEFILE);
}
static void t_refused(void)
{
	FAILS(open(device, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
	FAILS(open(device, O_RDWR | O_DIRECTORY), ENOTDIR);
	FAILS(open(device, O_PATH | O_DIRECTORY), ENOTDIR);
	FAILS(open(device, O_RDWR | O_DIRECT), EINVAL);
	int fd = evtchn_open(0);
	FAILS(fcntl(fd, F_SETFL, O_DIRECT), EINVAL);
}
static void t_modes(void)
{
	char buf[8] = { 0 };
	int fd = open(device, O_RDONLY | O_NONBLOCK);
	CHECK(fd >= 0);
	FAILS(write(fd, buf, 4), EBADF);
	FAILS(write(fd, buf, 0), EBADF);
	FAILS(write(fd, (void *)8, 4), EBADF);
	FAILS(read(fd, buf, 4), EAGAIN);
	GIVES(revents(fd, 0), POLLOUT | POLLWRNORM);
	is_evtchn(fd);

	CHECK((fd = open(device, O_WRONLY | O_NONBLOCK)) >= 0);
	FAILS(read(fd, buf, 4), EBADF);
	FAILS(read(fd, buf, 0), EBADF);
	GIVES(write(fd, buf, 4), 4);
	GIVES(revents(fd, 0), POLLOUT | POLLWRNORM);
	is_evtchn(fd);
}
static void t_mode3(void) /* access mode 3: neither read nor write, but ioctl */
{
	char buf[8] = { 0 };
	int fd = open(device, O_ACCMODE);
	CHECK(fd >= 0);
	FAILS(read(fd, buf, 4), EBADF);
	FAILS(write(fd, buf, 4), EBADF);
	is_evtchn(fd);
}
static void t_opath(void)
{
	char buf[8] = { 0 };
	struct stat st;
	int fd = open(device, O_PATH);
	CHECK(fd >= 0);
	CHECK(fstat(fd, &st) == 0 && S_ISCHR(st.st_mode));
	GIVES(fcntl(fd, F_GETFL), O_PATH);
	FAILS(ioctl(fd, EVTCHN_RESET, 0), EBADF);
	FAILS(read(fd, buf, 4), EBADF);
	FAILS(write(fd, buf, 4), EBADF);
	FAILS(mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0), EBADF);
	GIVES(revents(fd, 0), POLLNVAL);
	FAILS(openat(fd, "x", O_RDONLY), ENOTDIR);
	GIVES(close(fd), 0);
}
static void t_lowest(void) /* open gives the lowest free number */
{
	int a = evtchn_open(0), b = evtchn_open(0), c = evtchn_open(0);
	GIVES(b, a + 1);
	GIVES(c, a + 2);
	GIVES(close(b), 0);
	GIVES(evtchn_open(0), b);
	GIVES(close(0), 0);
	GIVES(evtchn_open(0), 0);
	is_evtchn(0);
}
static void t_separate(void) /* each open has a state of its own */
{
	int f = evtchn_open(O_NONBLOCK), g = evtchn_open(O_NONBLOCK);
	struct pair p = pair(f);
	FAILS(notify(g, p.a), ENOTCONN);
	FAILS(unbind(g, p.a), ENOTCONN);
	GIVES(notify(f, p.a), 0);
	CHECK(pending(f, 1000));
	CHECK(!pending(g, 0));
	GIVES(unmask(g, p.b), 0);
	EXPECT_EVENT(f, p.b);
}
static void t_reopen(void) /* /proc/self/fd/N of the device is the node once more, not a dup */
{
	char path[64];
	int f = evtchn_open(O_NONBLOCK);
	struct pair p = pair(f);
	snprintf(path, sizeof path, "/proc/self/fd/%d", f);
	int g = open(path, O_RDWR);
	CHECK(g >= 0);
	FAILS(notify(g, p.a), ENOTCONN);
	is_evtchn(g);
	is_evtchn(openat(AT_FDCWD, path, O_RDONLY));
	WORKS(f, p);
}
static void t_reopen_opath(void)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", open(device, O_PATH));
	is_evtchn(open(path, O_RDWR));
	is_evtchn(openat(AT_FDCWD, path, O_RDONLY));
}
static void t_spelling(void)
{
	char path[3 * PATH_MAX];
	snprintf(path, sizeof path, "%s/./%s/../%s/%s", parent, dir_base, dir_base, base);
	is_evtchn(open(path, O_RDWR));
	snprintf(path, sizeof path, "%s//%s///%s", parent, dir_base, base);
	is_evtchn(open(path, O_RDWR));
	snprintf(path, sizeof path, "/%s", device);
	is_evtchn(open(path, O_RDWR));
	snprintf(path, sizeof path, "/..%s", device);
	is_evtchn(open(path, O_RDWR));
	snprintf(path, sizeof path, "/proc/self/root%s", device);
	is_evtchn(open(path, O_RDWR));
	snprintf(path, sizeof path, "%s/", device);
	FAILS(open(path, O_RDWR), ENOTDIR);
	snprintf(path, sizeof path, "%s/.", device);
	FAILS(open(path, O_RDWR), ENOTDIR);
	snprintf(path, sizeof path, "%s/x", device);
	FAILS(open(path, O_RDWR), ENOTDIR);
	snprintf(path, sizeof path, "%s/../%s", device, base);
	FAILS(open(path, O_RDWR), ENOTDIR);
	snprintf(path, sizeof path, "%sx", device);
	FAILS(open(path, O_RDWR), ENOENT);
	FAILS(open("", O_RDWR), ENOENT);
	memset(path, '/', PATH_MAX + 8);
	strcpy(path + PATH_MAX + 8, device);
	FAILS(open(path, O_RDWR), ENAMETOOLONG);
}
static void t_chdir(void) /* the directory of the device */
{
	char path[2 * NAME_MAX + 16];
	CHECK(chdir(dir) == 0);
	is_evtchn(open(base, O_RDWR));
	snprintf(path, sizeof path, "./%s", base);
	is_evtchn(open(path, O_RDWR));
	snprintf(path, sizeof path, "../%s/%s", dir_base, base);
	is_evtchn(open(path, O_RDWR));
	is_evtchn(openat(AT_FDCWD, base, O_RDWR));
	snprintf(path, sizeof path, "%s/", base);
	FAILS(open(path, O_RDWR), ENOTDIR);
}
static void t_chdir_above(void) /* the one above */
{
	char path[2 * NAME_MAX + 16];
	CHECK(chdir(parent) == 0);
	snprintf(path, sizeof path, "%s/%s", dir_base, base);
	is_evtchn(open(path, O_RDWR));
	FAILS(open(base, O_RDWR), ENOENT);
}
static void t_dirfd(void)
{
	char path[2 * NAME_MAX + 16];
	int d = open(dir, O_RDONLY | O_DIRECTORY), q = open(parent, O_PATH | O_DIRECTORY);
	CHECK(d >= 0 && q >= 0);
	is_evtchn(openat(d, base, O_RDWR));
	snprintf(path, sizeof path, "%s/%s", dir_base, base);
	is_evtchn(openat(q, path, O_RDWR));
	snprintf(path, sizeof path, "../%s/%s", dir_base, base);
	is_evtchn(openat(d, path, O_RDWR));
	is_evtchn(openat(-1, device, O_RDWR)); /* an absolute path doesn't look at it */
	FAILS(openat(-1, base, O_RDWR), EBADF);
	FAILS(openat(d, "", O_RDWR), ENOENT);
	int f = evtchn_open(0);
	FAILS(openat(f, base, O_RDWR), ENOTDIR);
	CHECK(fchdir(d) == 0);
	is_evtchn(open(base, O_RDWR));
}

static char temp[64], link_path[96];
static void make_link(const char *target)
{
	const char *t = getenv("TMPDIR");
	snprintf(temp, sizeof temp, "%.40s/evtchn.XXXXXX", t ? t : "/tmp");
	CHECK(mkdtemp(temp));
	snprintf(link_path, sizeof link_path, "%s/link", temp);
	CHECK(symlink(target, link_path) == 0);
}
static void drop_link(void) { unlink(link_path); rmdir(temp); }
static void t_symlink(void)
{
	char path[256];
	make_link(device);
	is_evtchn(open(link_path, O_RDWR));
	is_evtchn(open(link_path, O_RDWR | O_CREAT, 0600));
	FAILS(open(link_path, O_RDWR | O_NOFOLLOW), ELOOP);
	FAILS(open(link_path, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
	int t = open(temp, O_PATH);
	is_evtchn(openat(t, "link", O_RDWR));
	drop_link();
	make_link(dir); /* a link to the directory */
	snprintf(path, sizeof path, "%s/%.100s", link_path, base);
	is_evtchn(open(path, O_RDWR | O_NOFOLLOW)); /* only the last part counts */
	drop_link();
}
static void t_bad_pointer(void)
{
	char *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED && munmap(page + 4096, 4096) == 0);
	void *none = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t n = strlen(device);
	FAILS(syscall(SYS_open, NULL, O_RDWR), EFAULT);
	FAILS(syscall(SYS_open, 8L, O_RDWR), EFAULT);
	FAILS(syscall(SYS_openat, AT_FDCWD, 0xffffffff81000000L, O_RDWR), EFAULT);
	FAILS(syscall(SYS_openat, AT_FDCWD, none, O_RDWR), EFAULT);
	memcpy(page + 4096 - n, device, n); /* its NUL would be on the unmapped page */
	FAILS(syscall(SYS_open, page + 4096 - n, O_RDWR), EFAULT);
	memcpy(page + 4096 - n - 1, device, n + 1);
	is_evtchn(syscall(SYS_open, page + 4096 - n - 1, O_RDWR));
}
static void t_openat2(void)
{
	char path[2 * NAME_MAX + 16];
	int d = open(dir, O_RDONLY | O_DIRECTORY), q = open(parent, O_PATH);
	is_evtchn(sys_openat2(AT_FDCWD, device, O_RDWR, 0, 0));
	is_evtchn(sys_openat2(-1, device, O_RDWR, 0, 0));
	is_evtchn(sys_openat2(d, base, O_RDWR, 0, 0));
	snprintf(path, sizeof path, "%s/%s", dir_base, base);
	is_evtchn(sys_openat2(q, path, O_RDWR, 0, 0));
	FAILS(sys_openat2(AT_FDCWD, device, O_RDWR | O_CREAT | O_EXCL, 0600, 0), EEXIST);
	FAILS(sys_openat2(AT_FDCWD, device, O_RDWR | O_DIRECTORY, 0, 0), ENOTDIR);
	make_link(device);
	int g = sys_openat2(AT_FDCWD, link_path, O_RDWR, 0, 0);
	drop_link();
	is_evtchn(g);
}
static void t_openat2_resolve(void)
{
	char path[2 * NAME_MAX + 16];
	int d = open(dir, O_PATH), q = open(parent, O_PATH);
	is_evtchn(sys_openat2(AT_FDCWD, device, O_RDWR, 0, RESOLVE_NO_SYMLINKS));
	is_evtchn(sys_openat2(AT_FDCWD, device, O_RDWR, 0, RESOLVE_NO_MAGICLINKS));
	is_evtchn(sys_openat2(d, base, O_RDWR, 0, RESOLVE_BENEATH));
	snprintf(path, sizeof path, "%s/%s", dir_base, base);
	is_evtchn(sys_openat2(q, path, O_RDWR, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS));
	snprintf(path, sizeof path, "/%s/%s", dir_base, base);
	is_evtchn(sys_openat2(q, path, O_RDWR, 0, RESOLVE_IN_ROOT));
	FAILS(sys_openat2(q, path, O_RDWR, 0, RESOLVE_BENEATH), EXDEV);
	snprintf(path, sizeof path, "../%s/%s", dir_base, base);
	FAILS(sys_openat2(d, path, O_RDWR, 0, RESOLVE_BENEATH), EXDEV);
	int fd = sys_openat2(AT_FDCWD, device, O_RDWR, 0, RESOLVE_CACHED);
	if (fd < 0)
		CHECK(errno == EAGAIN);
	else
		is_evtchn(fd);
	make_link(device);
	fd = sys_openat2(AT_FDCWD, link_path, O_RDWR, 0, RESOLVE_NO_SYMLINKS);
	int e = errno;
	drop_link();
	CHECK(fd == -1 && e == ELOOP);
	char magic[64];
	snprintf(magic, sizeof magic, "/proc/self/fd/%d", evtchn_open(0));
	FAILS(sys_openat2(AT_FDCWD, magic, O_RDWR, 0, RESOLVE_NO_MAGICLINKS), ELOOP);
}
static void t_openat2_how(void)
{
	struct { struct open_how how; uint64_t more; } h = { .how = { .flags = O_RDWR } };
	FAILS(syscall(SYS_openat2, AT_FDCWD, device, &h, sizeof h.how - 1), EINVAL);
	FAILS(syscall(SYS_openat2, AT_FDCWD, device, &h, 0), EINVAL);
	FAILS(syscall(SYS_openat2, AT_FDCWD, device, &h, 4097), E2BIG);
	is_evtchn(syscall(SYS_openat2, AT_FDCWD, device, &h, sizeof h));
	h.more = 1;
	FAILS(syscall(SYS_openat2, AT_FDCWD, device, &h, sizeof h), E2BIG);
	FAILS(syscall(SYS_openat2, AT_FDCWD, device, NULL, sizeof h.how), EFAULT);
	FAILS(syscall(SYS_openat2, AT_FDCWD, device, 8L, sizeof h.how), EFAULT);
	FAILS(sys_openat2(AT_FDCWD, (void *)8, O_RDWR, 0, 0), EFAULT);
	FAILS(sys_openat2(AT_FDCWD, device, O_RDWR | 1ull << 40, 0, 0), EINVAL);
	FAILS(sys_openat2(AT_FDCWD, device, O_RDWR, 0, 1ull << 40), EINVAL);
	FAILS(sys_openat2(AT_FDCWD, device, O_RDWR, 0600, 0), EINVAL);
	FAILS(sys_openat2(AT_FDCWD, device, O_RDWR | O_CREAT, 010000, 0), EINVAL);
	FAILS(sys_openat2(AT_FDCWD, device, O_PATH | O_RDWR, 0, 0), EINVAL);
	FAILS(sys_openat2(AT_FDCWD, device, O_RDWR, 0, RESOLVE_BENEATH | RESOLVE_IN_ROOT), EINVAL);
}

int main(int argc, char **argv)
{
	static const struct subtest t[] = {
		{ "flags", t_flags }, { "getfl-exact", t_getfl_exact }, { "refused", t_refused }, { "modes", t_modes }, { "mode3", t_mode3 },
		{ "opath", t_opath }, { "lowest", t_lowest }, { "separate", t_separate }, { "reopen", t_reopen },
		{ "reopen-opath", t_reopen_opath }, { "spelling", t_spelling }, { "chdir", t_chdir }, { "chdir-above", t_chdir_above },
		{ "dirfd", t_dirfd }, { "symlink", t_symlink }, { "bad-pointer", t_bad_pointer }, { "openat2", t_openat2 },
		{ "openat2-resolve", t_openat2_resolve }, { "openat2-how", t_openat2_how }, { 0 } };
	start(&argc, argv);
	split(device, dir, base);
	split(dir, parent, dir_base);
	run_subtests("open", t, argc, argv);
	return 0;
}
