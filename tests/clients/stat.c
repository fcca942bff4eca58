/* What stat and its kin, access and /proc/self/fd say. EXPECT_RDEV=any: the major number need not be 10. Subtests by argv[1]. */
#include "check.h"
#include <limits.h>
#include <linux/stat.h>
#include <sys/sysmacros.h>

static void is_node(const struct stat *st)
{
	CHECK(S_ISCHR(st->st_mode));
	GIVES(st->st_mode & 07777, 0600);
	GIVES(st->st_size, 0);
}
static void has_major(unsigned maj)
{
	const char *e = getenv("EXPECT_RDEV");
	if (!e || strcmp(e, "any"))
		GIVES(maj, 10);
}

static void t_path(void)
{
	struct stat st, l, at;
	CHECK(stat(device, &st) == 0);
	is_node(&st);
	CHECK(lstat(device, &l) == 0);
	is_node(&l);
	CHECK(fstatat(AT_FDCWD, device, &at, AT_SYMLINK_NOFOLLOW) == 0);
	is_node(&at);
	CHECK(st.st_ino == l.st_ino && st.st_dev == l.st_dev && st.st_rdev == l.st_rdev && st.st_ino == at.st_ino);
	FAILS(readlink(device, (char[8]){ 0 }, 8), EINVAL);
	FAILS(syscall(SYS_stat, device, 8L), EFAULT);
	FAILS(syscall(SYS_stat, 8L, &st), EFAULT);
}
static void t_fstat(void)
{
	struct stat st, at;
	int fd = evtchn_open(0);
	CHECK(fstat(fd, &st) == 0);
	is_node(&st);
	has_major(major(st.st_rdev));
	CHECK(syscall(SYS_newfstatat, fd, "", &at, AT_EMPTY_PATH) == 0);
	is_node(&at);
	CHECK(st.st_ino == at.st_ino && st.st_dev == at.st_dev && st.st_rdev == at.st_rdev);
	FAILS(fstatat(fd, "", &at, 0), ENOENT);
	FAILS(fstatat(fd, "x", &at, 0), ENOTDIR);
	FAILS(syscall(SYS_fstat, fd, 8L), EFAULT);
}
static void t_statx(void)
{
	struct statx x;
	int fd = evtchn_open(0);
	CHECK(syscall(SYS_statx, AT_FDCWD, device, 0, STATX_BASIC_STATS, &x) == 0);
	CHECK(S_ISCHR(x.stx_mode) && (x.stx_mode & 07777) == 0600);
	CHECK(syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &x) == 0);
	CHECK(S_ISCHR(x.stx_mode) && (x.stx_mode & 07777) == 0600 && x.stx_size == 0);
	CHECK((x.stx_mask & (STATX_TYPE | STATX_MODE | STATX_INO)) == (STATX_TYPE | STATX_MODE | STATX_INO));
	has_major(x.stx_rdev_major);
}
static void t_same(void) /* two opens, a dup and the path are one node */
{
	struct stat a, b, c, p;
	int f = evtchn_open(0), g = evtchn_open(O_NONBLOCK);
	CHECK(fstat(f, &a) == 0 && fstat(g, &b) == 0 && fstat(dup(f), &c) == 0 && stat(device, &p) == 0);
	CHECK(a.st_ino == b.st_ino && a.st_dev == b.st_dev && a.st_rdev == b.st_rdev);
	CHECK(a.st_ino == c.st_ino && a.st_dev == c.st_dev && a.st_rdev == c.st_rdev);
	CHECK(a.st_uid == b.st_uid && a.st_gid == b.st_gid);
}
static void t_same_as_path(void)
{
	struct stat a, p;
	int f = evtchn_open(0);
	CHECK(fstat(f, &a) == 0 && stat(device, &p) == 0);
	CHECK(a.st_ino == p.st_ino && a.st_dev == p.st_dev);
}
static void t_same_rdev_as_path(void)
{
	struct stat a, p;
	int f = evtchn_open(0);
	CHECK(fstat(f, &a) == 0 && stat(device, &p) == 0);
	CHECK(a.st_rdev == p.st_rdev);
}
static void t_access(void)
{
	int fd = evtchn_open(0);
	GIVES(access(device, F_OK), 0);
	GIVES(access(device, R_OK | W_OK), 0);
	FAILS(access(device, X_OK), EACCES);
	GIVES(faccessat(AT_FDCWD, device, R_OK | W_OK, 0), 0);
	GIVES(faccessat(AT_FDCWD, device, R_OK | W_OK, AT_EACCESS), 0);
	GIVES(syscall(SYS_access, device, R_OK | W_OK), 0);
	GIVES(syscall(SYS_faccessat2, AT_FDCWD, device, R_OK | W_OK, AT_EACCESS), 0);
	GIVES(syscall(SYS_faccessat2, fd, "", R_OK | W_OK, AT_EMPTY_PATH), 0);
	FAILS(access(device, 8), EINVAL);
	FAILS(syscall(SYS_access, 8L, R_OK), EFAULT);
}

static void names_device(int fd)
{
	char link[64], buf[PATH_MAX];
	size_t n = strlen(device);
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	memset(buf, '#', sizeof buf);
	GIVES(readlink(link, buf, sizeof buf), n);
	CHECK(!memcmp(buf, device, n) && buf[n] == '#');
	memset(buf, '#', sizeof buf);
	GIVES(readlink(link, buf, n), n);
	CHECK(!memcmp(buf, device, n) && buf[n] == '#');
	memset(buf, '#', sizeof buf);
	GIVES(readlink(link, buf, 4), 4); /* truncated, no error */
	CHECK(!memcmp(buf, device, 4) && buf[4] == '#');
	GIVES(readlink(link, buf, 1), 1);
	FAILS(syscall(SYS_readlink, link, buf, 0), EINVAL);
	FAILS(syscall(SYS_readlink, link, 8L, 100), EFAULT);
	snprintf(link, sizeof link, "/proc/%d/fd/%d", getpid(), fd);
	GIVES(readlink(link, buf, sizeof buf), n);
	int d = open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
	snprintf(link, sizeof link, "%d", fd);
	memset(buf, 0, sizeof buf);
	GIVES(readlinkat(d, link, buf, sizeof buf), n);
	CHECK(!strcmp(buf, device));
	GIVES(close(d), 0);
}
static void t_readlink(void)
{
	int fd = evtchn_open(0), d = dup(fd), e;
	names_device(fd);
	names_device(d);
	GIVES(close(fd), 0);
	names_device(d);
	CHECK((e = dup2(d, 77)) == 77);
	names_device(77);
}
static void t_realpath(void)
{
	char link[64], buf[PATH_MAX];
	struct stat st;
	snprintf(link, sizeof link, "/proc/self/fd/%d", evtchn_open(0));
	CHECK(realpath(link, buf) && !strcmp(buf, device));
	CHECK(lstat(link, &st) == 0 && S_ISLNK(st.st_mode));
}
static void t_stat_link(void) /* stat follows /proc/self/fd/N to the node */
{
	char link[64];
	struct stat st;
	snprintf(link, sizeof link, "/proc/self/fd/%d", evtchn_open(0));
	CHECK(stat(link, &st) == 0);
	is_node(&st);
	snprintf(link, sizeof link, "/dev/fd/%d", evtchn_open(0));
	if (access("/dev/fd", F_OK) == 0) {
		CHECK(stat(link, &st) == 0);
		is_node(&st);
	}
}
static void t_fdinfo(void)
{
	char path[64], line[256];
	unsigned flags = 0;
	int pos = -1;
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", evtchn_open(O_NONBLOCK | O_CLOEXEC));
	FILE *f = fopen(path, "r");
	CHECK(f);
	while (fgets(line, sizeof line, f)) {
		sscanf(line, "flags: %o", &flags);
		sscanf(line, "pos: %d", &pos);
	}
	GIVES(flags & (O_ACCMODE | O_NONBLOCK | O_CLOEXEC), O_RDWR | O_NONBLOCK | O_CLOEXEC);
	GIVES(pos, 0);
}

int main(int argc, char **argv)
{
	static const struct subtest t[] = { { "path", t_path }, { "fstat", t_fstat }, { "statx", t_statx }, { "same", t_same },
		{ "same-as-path", t_same_as_path }, { "same-rdev-as-path", t_same_rdev_as_path }, { "access", t_access },
		{ "readlink", t_readlink }, { "realpath", t_realpath }, { "stat-link", t_stat_link }, { "fdinfo", t_fdinfo }, { 0 } };
	start(&argc, argv);
	run_subtests("stat", t, argc, argv);
	return 0;
}
