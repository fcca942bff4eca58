/* Every other call on the descriptor: reads and writes of all sorts and sizes, and what the device doesn't do. Subtests by argv[1].
 * The file has .read and .write only: no seeking, no iterators, no splice, no mmap, no fsync.
 * EXPECT_IO_URING=works: as on plain Linux; else io_uring must be refused, since it goes round the interception. */
#include "check.h"
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <termios.h>

static port_t buf[4096];

/* ---- counts ---- */
#define WANT 1040 /* more than the 1024 events that one read gives */
static port_t ports[WANT];
static int nports;

static void many_ports(int fd)
{
	for (nports = 0; nports < WANT; nports += 2) {
		int a = bind_unbound(fd, self_dom), b;
		if (a < 0 && errno == ENOSPC) /* a guest's limit is 1023 */
			break;
		CHECK(a > 0);
		b = bind_interdomain(fd, self_dom, a);
		if (b < 0 && errno == ENOSPC)
			break;
		CHECK(b > 0);
		ports[nports] = a;
		ports[nports + 1] = b;
	}
	CHECK(nports >= 64);
}
/* Empties the ring, unmasks everything. */
static void drain(int fd)
{
	int n;
	ms_sleep(20);
	while ((n = read(fd, buf, 4096)) > 0)
		GIVES(write(fd, buf, n), n);
	CHECK(errno == EAGAIN);
}
static void all_pending(int fd)
{
	drain(fd);
	for (int i = 0; i < nports; i++)
		GIVES(notify(fd, ports[i]), 0);
	ms_sleep(20);
}
static void t_read_counts(void)
{
	static const int counts[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 4095, 4096, 4097, 8192, 12 };
	static uint8_t seen[1 << 17];
	int fd = evtchn_open(O_NONBLOCK);
	many_ports(fd);
	for (unsigned i = 0; i < sizeof counts / sizeof *counts; i++) {
		int n, total = 0, want = counts[i] & ~3;
		all_pending(fd);
		if (want > 4096)
			want = 4096;
		if (want > 4 * nports)
			want = 4 * nports;
		memset(buf, 0xee, sizeof buf);
		GIVES(read(fd, buf, counts[i]), want);
		GIVES(((uint8_t *)buf)[want], 0xee); /* and not a byte more */
		memset(seen, 0, sizeof seen);
		for (n = want;; ) { /* together with the rest, each port once */
			for (int k = 0; k < n / 4; k++) {
				CHECK(buf[k] < sizeof seen && !seen[buf[k]]);
				seen[buf[k]] = 1;
			}
			total += n / 4;
			GIVES(write(fd, buf, n), n);
			n = read(fd, buf, 4096);
			if (n < 0)
				break;
		}
		CHECK(errno == EAGAIN);
		GIVES(total, nports);
		for (int k = 0; k < nports; k++)
			CHECK(seen[ports[k]]);
	}
}
static void t_write_counts(void)
{
	int fd = evtchn_open(O_NONBLOCK);
	struct pair p = pair(fd);
	for (int unknown = 0; unknown < 2; unknown++) {
		memset(buf, unknown ? 0xff : 0, sizeof buf); /* ports that aren't ours are ignored */
		for (int n = 0; n <= 8; n++)
			GIVES(write(fd, buf, n), n & ~3);
		GIVES(write(fd, buf, 4095), 4092);
		GIVES(write(fd, buf, 4096), 4096);
		GIVES(write(fd, buf, 4097), 4096);
		GIVES(write(fd, buf, 8192), 4096);
	}
	GIVES(notify(fd, p.a), 0);
	GIVES(next_event(fd), p.b);
	GIVES(notify(fd, p.a), 0);
	buf[1024] = p.b; /* past the 4096 bytes that count */
	GIVES(write(fd, buf, 8192), 4096);
	EXPECT_QUIET(fd);
	buf[1023] = p.b;
	GIVES(write(fd, buf, 4096), 4096);
	EXPECT_EVENT(fd, p.b);
	GIVES(write(fd, &p.b, 4), 4); /* what isn't masked may be unmasked */
	EXPECT_QUIET(fd);
}
static void t_empty(void)
{
	int fd = evtchn_open(O_NONBLOCK);
	for (int n = 0; n < 4; n++)
		GIVES(read(fd, buf, n), 0);
	for (int n = 4; n <= 8; n++)
		FAILS(read(fd, buf, n), EAGAIN);
	GIVES(read(fd, (void *)8, 0), 0);
	GIVES(read(fd, (void *)8, 3), 0);
	FAILS(read(fd, (void *)8, 4), EAGAIN);
	FAILS(read(fd, buf, -1), EFAULT);
}
/* ---- vectors ---- */
static void two_events(int fd, struct pair *p, struct pair *q)
{
	CHECK(unmask(fd, p->b) == 0 && unmask(fd, q->b) == 0);
	drain(fd);
	GIVES(notify(fd, p->a), 0);
	GIVES(notify(fd, q->a), 0);
	ms_sleep(20);
}
static void t_readv(void)
{
	int fd = evtchn_open(O_NONBLOCK);
	struct pair p = pair(fd), q = pair(fd);
#define V(...) (struct iovec[]){ __VA_ARGS__ }, sizeof((struct iovec[]){ __VA_ARGS__ }) / sizeof(struct iovec)
	two_events(fd, &p, &q);
	GIVES(readv(fd, V({ buf, 4 }, { buf + 8, 4 })), 8); /* a call of .read for each part */
	CHECK(buf[0] == p.b && buf[8] == q.b);
	two_events(fd, &p, &q);
	GIVES(readv(fd, V({ buf, 2 }, { buf + 8, 6 })), 0);
	GIVES(readv(fd, V({ buf, 6 }, { buf + 8, 4 })), 4); /* a short part ends it */
	CHECK(buf[0] == p.b);
	GIVES(readv(fd, V({ buf, 4 }, { buf + 8, 4 })), 4); /* EAGAIN at the second is a short count */
	CHECK(buf[0] == q.b);
	FAILS(readv(fd, V({ buf, 4 }, { buf + 8, 4 })), EAGAIN);
	two_events(fd, &p, &q);
	GIVES(readv(fd, V({ buf, 0 }, { buf, 4 }, { (void *)8, 4 })), 4); /* so is EFAULT */
	FAILS(readv(fd, V({ (void *)8, 4 }, { buf, 4 })), EFAULT);
	EXPECT_EVENT(fd, q.b);
	GIVES(readv(fd, (struct iovec *)8, 0), 0);
	FAILS(readv(fd, (struct iovec *)8, 1), EFAULT);
	FAILS(syscall(SYS_readv, fd, (struct iovec[]){ { buf, 4 } }, 1025L), EINVAL);
	FAILS(syscall(SYS_readv, fd, (struct iovec[]){ { buf, 4 } }, -1L), EINVAL);
	FAILS(readv(fd, V({ buf, (size_t)-1 })), EINVAL);
}
static void t_writev(void)
{
	int fd = evtchn_open(O_NONBLOCK);
	struct pair p = pair(fd), q = pair(fd);
	two_events(fd, &p, &q);
	GIVES(read(fd, buf, 8), 8);
	GIVES(notify(fd, p.a), 0);
	GIVES(notify(fd, q.a), 0);
	GIVES(writev(fd, V({ &p.b, 2 }, { &q.b, 6 })), 0);
	EXPECT_QUIET(fd);
	GIVES(writev(fd, V({ &p.b, 4 }, { (void *)8, 4 })), 4);
	EXPECT_EVENT(fd, p.b);
	GIVES(writev(fd, V({ &p.b, 4 }, { &q.b, 4 })), 8);
	EXPECT_EVENT(fd, q.b);
	GIVES(writev(fd, V({ buf, 5 }, { buf, 4 })), 4);
	FAILS(writev(fd, V({ (void *)8, 4 }, { buf, 4 })), EFAULT);
}
static long sys_v2(long nr, int fd, void *base, size_t len, long pos, int flags)
{
	struct iovec v = { base, len };
	return syscall(nr, fd, &v, 1L, pos, pos >> 63, flags);
}
static void t_preadv2(void)
{
	int fd = evtchn_open(O_NONBLOCK);
	struct pair p = pair(fd);
	GIVES(notify(fd, p.a), 0);
	CHECK(pending(fd, 1000));
	FAILS(sys_v2(SYS_preadv2, fd, buf, 4, -1, RWF_NOWAIT), EOPNOTSUPP);
	FAILS(sys_v2(SYS_preadv2, fd, buf, 4, -1, 1 << 30), EOPNOTSUPP);
	FAILS(sys_v2(SYS_preadv2, fd, buf, 4, 0, 0), ESPIPE);
	FAILS(sys_v2(SYS_preadv2, fd, buf, 4, -2, 0), EINVAL);
	GIVES(sys_v2(SYS_preadv2, fd, buf, 4, -1, 0), 4);
	GIVES(buf[0], p.b);
	GIVES(notify(fd, p.a), 0);
	FAILS(sys_v2(SYS_pwritev2, fd, &p.b, 4, -1, RWF_APPEND), EOPNOTSUPP);
	FAILS(sys_v2(SYS_pwritev2, fd, &p.b, 4, -1, RWF_DSYNC), EOPNOTSUPP);
	FAILS(sys_v2(SYS_pwritev2, fd, &p.b, 4, 0, 0), ESPIPE);
	EXPECT_QUIET(fd);
	GIVES(sys_v2(SYS_pwritev2, fd, &p.b, 4, -1, 0), 4);
	CHECK(pending(fd, 1000));
	GIVES(sys_v2(SYS_preadv2, fd, buf, 4, -1, RWF_HIPRI), 4);
}
static void t_positions(void)
{
	int fd = evtchn_open(O_NONBLOCK);
	struct iovec v = { buf, 4 };
	FAILS(pread(fd, buf, 4, 0), ESPIPE);
	FAILS(pwrite(fd, buf, 4, 0), ESPIPE);
	FAILS(pread(fd, buf, 0, 100), ESPIPE);
	FAILS(pread(fd, buf, 4, -1), EINVAL);
	FAILS(pwrite(fd, buf, 4, -1), EINVAL);
	FAILS(preadv(fd, &v, 1, 0), ESPIPE);
	FAILS(pwritev(fd, &v, 1, 0), ESPIPE);
	FAILS(preadv(fd, &v, 1, -1), EINVAL);
	for (int whence = SEEK_SET; whence <= SEEK_HOLE; whence++)
		for (int off = -4; off <= 4; off += 4)
			FAILS(lseek(fd, off, whence), ESPIPE);
	FAILS(lseek(fd, 0, 5), EINVAL);
}
/* ---- what it doesn't do ---- */
static void t_transfers(void)
{
	int fd = evtchn_open(O_NONBLOCK), pipes[2], pipes2[2], mem = memfd_create("m", 0), null = open("/dev/null", O_RDWR);
	struct pair p = pair(fd);
	off_t off = 0;
	loff_t loff = 0;
	CHECK(pipe(pipes) == 0 && pipe(pipes2) == 0 && mem >= 0 && write(mem, "12345678", 8) == 8 && write(pipes[1], "12345678", 8) == 8);
	CHECK(lseek(mem, 0, SEEK_SET) == 0);
	GIVES(notify(fd, p.a), 0);
	CHECK(pending(fd, 1000));

	FAILS(sendfile(pipes2[1], fd, 0, 4), EINVAL);
	FAILS(sendfile(mem, fd, 0, 4), EINVAL);
	FAILS(sendfile(null, fd, 0, 4), EINVAL);
	FAILS(sendfile(pipes2[1], fd, &off, 4), ESPIPE);
	FAILS(sendfile(fd, mem, 0, 4), EINVAL);
	off = 0;
	FAILS(sendfile(fd, mem, &off, 4), EINVAL);
	FAILS(sendfile(fd, fd, 0, 4), EINVAL);

	FAILS(splice(fd, 0, pipes2[1], 0, 4, 0), EINVAL);
	FAILS(splice(fd, 0, pipes2[1], 0, 4, SPLICE_F_NONBLOCK), EINVAL);
	FAILS(splice(pipes[0], 0, fd, 0, 4, 0), EINVAL);
	FAILS(splice(fd, &loff, pipes2[1], 0, 4, 0), EINVAL);
	FAILS(splice(pipes[0], 0, fd, &loff, 4, 0), EINVAL);
	FAILS(splice(fd, 0, mem, 0, 4, 0), EINVAL);

	FAILS(copy_file_range(fd, 0, mem, 0, 4, 0), EINVAL);
	FAILS(copy_file_range(mem, 0, fd, 0, 4, 0), EINVAL);
	FAILS(tee(fd, pipes2[1], 4, 0), EINVAL);
	FAILS(tee(pipes[0], fd, 4, 0), EINVAL);
	FAILS(vmsplice(fd, &(struct iovec){ buf, 4 }, 1, 0), EBADF);
	EXPECT_EVENT(fd, p.b); /* it is still there */
	GIVES(read(pipes[0], buf, 8), 8); /* and so are the pipe's bytes */
}
static void t_mmap(void)
{
	int fd = evtchn_open(0), ro = open(device, O_RDONLY), wo = open(device, O_WRONLY);
#define MAP(prot, flags, f) (mmap(0, 4096, prot, flags, f, 0) == MAP_FAILED ? -1 : 0)
	FAILS(MAP(PROT_READ, MAP_SHARED, fd), ENODEV);
	FAILS(MAP(PROT_READ | PROT_WRITE, MAP_SHARED, fd), ENODEV);
	FAILS(MAP(PROT_READ, MAP_PRIVATE, fd), ENODEV);
	FAILS(MAP(PROT_READ | PROT_WRITE, MAP_PRIVATE, fd), ENODEV);
	FAILS(MAP(PROT_NONE, MAP_SHARED, fd), ENODEV);
	FAILS(MAP(PROT_READ, MAP_SHARED, ro), ENODEV);
	FAILS(MAP(PROT_READ | PROT_WRITE, MAP_SHARED, ro), EACCES);
	FAILS(MAP(PROT_READ, MAP_SHARED, wo), EACCES);
	FAILS(MAP(PROT_READ, MAP_PRIVATE, wo), EACCES);
	FAILS(mmap(0, 0, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0, EINVAL);
	FAILS(mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 1) == MAP_FAILED ? -1 : 0, EINVAL);
}
static void t_file_ops(void)
{
	int fd = evtchn_open(0);
	FAILS(ftruncate(fd, 0), EINVAL);
	FAILS(ftruncate(fd, 100), EINVAL);
	FAILS(fsync(fd), EINVAL);
	FAILS(fdatasync(fd), EINVAL);
	FAILS(sync_file_range(fd, 0, 0, 0), ESPIPE);
	FAILS(fallocate(fd, 0, 0, 4096), ENODEV);
	FAILS(fchdir(fd), ENOTDIR);
	FAILS(syscall(SYS_getdents64, fd, buf, sizeof buf), ENOTDIR);
	GIVES(isatty(fd), 0);
	GIVES(flock(fd, LOCK_EX | LOCK_NB), 0);
	GIVES(flock(fd, LOCK_UN), 0);
	FAILS(fcntl(fd, F_GETPIPE_SZ), EBADF);
	FAILS(fcntl(fd, F_GET_SEALS), EINVAL);
	FAILS(fcntl(fd, 9999), EINVAL);
}
static void t_truncate(void) { FAILS(truncate(device, 0), EINVAL); }
static void t_socket_ops(void)
{
	int fd = evtchn_open(0), v = 0;
	socklen_t len = sizeof v;
	struct sockaddr_in sa;
	socklen_t salen = sizeof sa;
	struct msghdr m = { 0 };
	FAILS(recv(fd, buf, 4, 0), ENOTSOCK);
	FAILS(recv(fd, buf, 4, MSG_DONTWAIT | MSG_PEEK), ENOTSOCK);
	FAILS(send(fd, buf, 4, MSG_NOSIGNAL), ENOTSOCK);
	FAILS(recvmsg(fd, &m, 0), ENOTSOCK);
	FAILS(sendmsg(fd, &m, 0), ENOTSOCK);
	FAILS(recvfrom(fd, buf, 4, 0, (struct sockaddr *)&sa, &salen), ENOTSOCK);
	FAILS(syscall(SYS_sendmmsg, fd, buf, 1, 0), ENOTSOCK);
	FAILS(syscall(SYS_recvmmsg, fd, buf, 1, 0, 0), ENOTSOCK);
	FAILS(getsockopt(fd, SOL_SOCKET, SO_TYPE, &v, &len), ENOTSOCK);
	FAILS(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &v, sizeof v), ENOTSOCK);
	FAILS(getsockname(fd, (struct sockaddr *)&sa, &salen), ENOTSOCK);
	FAILS(getpeername(fd, (struct sockaddr *)&sa, &salen), ENOTSOCK);
	FAILS(bind(fd, (struct sockaddr *)&sa, sizeof sa), ENOTSOCK);
	FAILS(connect(fd, (struct sockaddr *)&sa, sizeof sa), ENOTSOCK);
	FAILS(listen(fd, 1), ENOTSOCK);
	FAILS(accept(fd, 0, 0), ENOTSOCK);
	FAILS(shutdown(fd, SHUT_RDWR), ENOTSOCK);
	struct pair p = pair(fd);
	WORKS(fd, p); /* shutdown did nothing */
}
static void t_ioctls(void)
{
	int fd = evtchn_open(0), v = 0;
	struct termios t;
	FAILS(ioctl(fd, TCGETS, &t), ENOSYS);
	FAILS(ioctl(fd, FIONREAD, &v), ENOSYS);
	FAILS(ioctl(fd, TIOCGWINSZ, buf), ENOSYS);
	FAILS(ioctl(fd, 0, 0), ENOSYS);
	FAILS(ioctl(fd, 0xffffffff, 0), ENOSYS);
	FAILS(ioctl(fd, _IOC(_IOC_NONE, 'E', 99, 0), 0), ENOSYS);
	FAILS(ioctl(fd, _IOC(_IOC_NONE, 'E', 0, 8), buf), ENOSYS);
	FAILS(ioctl(fd, _IOC(_IOC_NONE, 'E', 8, 4), buf), ENOSYS);
	FAILS(ioctl(fd, _IOC(_IOC_WRITE, 'E', 0, 4), buf), ENOSYS);
	FAILS(ioctl(fd, _IOC(_IOC_READ | _IOC_WRITE, 'E', 5, 0), buf), ENOSYS);
	FAILS(ioctl(fd, _IOC(_IOC_NONE, 'G', 0, 24), buf), ENOSYS);
	FAILS(ioctl(fd, _IOC(_IOC_NONE, 'P', 0, 16), buf), ENOSYS);
	/* the command is 32 bits: what is above doesn't count */
	GIVES(syscall(SYS_ioctl, fd, 0x100000000l | EVTCHN_RESET, 0), 0);
	FAILS(ioctl(open("/dev/null", O_RDWR), EVTCHN_RESET, 0), ENOTTY); /* another device's affair */
	FAILS(ioctl(-1, EVTCHN_RESET, 0), EBADF);
	FAILS(ioctl(4000, EVTCHN_RESET, 0), EBADF);
}
/* ---- asynchronous ---- */
static void t_aio(void)
{
	int fd = evtchn_open(O_NONBLOCK);
	struct pair p = pair(fd);
	aio_context_t ctx = 0;
	struct iocb cb = { 0 }, *list[1] = { &cb };
	struct io_event ev;
	struct timespec ts = { 2, 0 };
	if (syscall(SYS_io_setup, 4, &ctx) < 0) {
		CHECK(errno == ENOSYS || errno == EPERM); /* no aio here: fine */
		return;
	}
	static const int ops[] = { IOCB_CMD_PREAD, IOCB_CMD_PWRITE, IOCB_CMD_PREADV, IOCB_CMD_PWRITEV, IOCB_CMD_FSYNC, IOCB_CMD_FDSYNC };
	for (unsigned i = 0; i < sizeof ops / sizeof *ops; i++) {
		struct iovec v = { buf, 4 };
		cb = (struct iocb){ .aio_fildes = fd, .aio_lio_opcode = ops[i], .aio_buf = (uintptr_t)buf, .aio_nbytes = 4 };
		if (ops[i] == IOCB_CMD_PREADV || ops[i] == IOCB_CMD_PWRITEV)
			cb.aio_buf = (uintptr_t)&v, cb.aio_nbytes = 1;
		if (ops[i] == IOCB_CMD_FSYNC || ops[i] == IOCB_CMD_FDSYNC)
			cb.aio_buf = cb.aio_nbytes = 0;
		FAILS(syscall(SYS_io_submit, ctx, 1L, list), EINVAL);
	}
	for (int before = 0; before < 2; before++) { /* the event comes after or before the request */
		if (before)
			GIVES(notify(fd, p.a), 0);
		cb = (struct iocb){ .aio_fildes = fd, .aio_lio_opcode = IOCB_CMD_POLL, .aio_buf = POLLIN };
		GIVES(syscall(SYS_io_submit, ctx, 1L, list), 1);
		if (!before) {
			struct timespec none = { 0, 50000000 };
			GIVES(syscall(SYS_io_getevents, ctx, 1L, 1L, &ev, &none), 0);
			GIVES(notify(fd, p.a), 0);
		}
		GIVES(syscall(SYS_io_getevents, ctx, 1L, 1L, &ev, &ts), 1);
		GIVES(ev.res & (POLLIN | POLLERR | POLLHUP | POLLNVAL), POLLIN);
		EXPECT_EVENT(fd, p.b);
	}
	GIVES(syscall(SYS_io_destroy, ctx), 0);
}
static void t_io_uring(void)
{
	static struct io_uring_params par;
	const char *e = getenv("EXPECT_IO_URING");
	int r = syscall(SYS_io_uring_setup, 4, &par);
	if (r >= 0)
		CHECK(e && !strcmp(e, "works"));
	else
		CHECK(errno == ENOSYS || errno == EPERM);
}

int main(int argc, char **argv)
{
	static const struct subtest t[] = { { "read-counts", t_read_counts }, { "write-counts", t_write_counts }, { "empty", t_empty },
		{ "readv", t_readv }, { "writev", t_writev }, { "preadv2", t_preadv2 }, { "positions", t_positions },
		{ "transfers", t_transfers }, { "mmap", t_mmap }, { "file-ops", t_file_ops }, { "truncate", t_truncate }, { "socket-ops", t_socket_ops },
		{ "ioctls", t_ioctls }, { "aio", t_aio }, { "io-uring", t_io_uring }, { 0 } };
	start(&argc, argv);
	run_subtests("io", t, argc, argv);
	return 0;
}
