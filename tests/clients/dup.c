/* Every way to copy a descriptor: each copy is the same file, and only the last close releases it. Subtests by argv[1]. */
#include "check.h"

/* A copy of a fresh file shares its state, works after the original is gone, and its close releases. */
static void copy_works(int fd, int copy)
{
	CHECK(fd >= 0 && copy >= 0 && fd != copy);
	struct pair p = pair(fd);
	port_t w = witness(copy), port;
	WORKS(copy, p);
	WORKS(fd, p);
	GIVES(notify(fd, p.a), 0); /* raised by one, polled, read and unmasked by the other */
	CHECK(pending(copy, 1000));
	GIVES(read(copy, &port, 4), 4);
	GIVES(port, p.b);
	CHECK(!pending(fd, 0));
	GIVES(notify(copy, p.a), 0);
	EXPECT_QUIET(fd); /* it is masked */
	GIVES(unmask(copy, p.b), 0);
	EXPECT_EVENT(fd, p.b);

	GIVES(close(fd), 0);
	CHECK(!released(w));
	FAILS(notify(fd, p.a), EBADF);
	WORKS(copy, p);
	GIVES(close(copy), 0);
	CHECK(released(w));
}

static void t_dup(void)
{
	int fd = evtchn_open(O_CLOEXEC), d = dup(fd);
	GIVES(fcntl(d, F_GETFD), 0);
	GIVES(fcntl(fd, F_GETFD), FD_CLOEXEC);
	copy_works(fd, d);
}
static void dup2_to(int target)
{
	if (target == 2)
		CHECK((log_fd = fcntl(2, F_DUPFD_CLOEXEC, 600)) >= 0);
	int fd = evtchn_open(0);
	GIVES(dup2(fd, target), target);
	copy_works(fd, target);
}
static void t_dup2_0(void) { dup2_to(0); }
static void t_dup2_1(void) { dup2_to(1); }
static void t_dup2_2(void) { dup2_to(2); }
static void t_dup2_500(void) { dup2_to(500); }
static void t_dup3(void)
{
	int fd = evtchn_open(0);
	GIVES(dup3(fd, 40, O_CLOEXEC), 40);
	GIVES(fcntl(40, F_GETFD), FD_CLOEXEC);
	FAILS(dup3(fd, fd, 0), EINVAL);
	copy_works(fd, 40);
}
static void t_dupfd(void)
{
	int fd = evtchn_open(0), d = fcntl(fd, F_DUPFD, 10);
	GIVES(d, 10);
	GIVES(fcntl(fd, F_DUPFD, 10), 11);
	GIVES(close(11), 0);
	copy_works(fd, d);
}
static void t_dupfd_cloexec(void)
{
	int fd = evtchn_open(0), d = fcntl(fd, F_DUPFD_CLOEXEC, 300);
	GIVES(d, 300);
	GIVES(fcntl(d, F_GETFD), FD_CLOEXEC);
	copy_works(fd, d);
}
static void t_dup2_self(void)
{
	int fd = evtchn_open(0);
	struct pair p = pair(fd);
	GIVES(dup2(fd, fd), fd);
	WORKS(fd, p);
}
static void t_chain(void) /* a copy of a copy of a copy */
{
	int fd = evtchn_open(0), d[20], last = fd;
	struct pair p = pair(fd);
	port_t w = witness(fd);
	for (int i = 0; i < 20; i++)
		CHECK((d[i] = last = dup(last)) >= 0);
	GIVES(close(fd), 0);
	for (int i = 0; i < 20; i++) {
		CHECK(!released(w));
		WORKS(d[i], p);
		GIVES(close(d[i]), 0);
	}
	CHECK(released(w));
}
static void t_replaced(void) /* dup2 over the last descriptor is a last close */
{
	int fd = evtchn_open(0), null = open("/dev/null", O_RDWR);
	port_t w = witness(fd), w2;
	GIVES(dup2(null, fd), fd);
	CHECK(released(w));
	FAILS(ioctl(fd, EVTCHN_RESET, 0), ENOTTY); /* it is /dev/null now */
	GIVES(write(fd, "abc", 3), 3);
	int f = evtchn_open(0), g = evtchn_open(0);
	w = witness(f);
	w2 = witness(g);
	GIVES(dup2(f, g), g); /* one evtchn over another */
	CHECK(released(w2) && !released(w));
	GIVES(close(f), 0);
	CHECK(!released(w));
	struct pair p = pair(g);
	WORKS(g, p);
	GIVES(close(g), 0);
	CHECK(released(w));
}
static void t_close_range(void)
{
	int fd = evtchn_open(0);
	port_t w = witness(fd);
	GIVES(dup2(fd, 100), 100);
	GIVES(dup2(fd, 101), 101);
	GIVES(close(fd), 0);
	GIVES(syscall(SYS_close_range, 100, 100, 0), 0);
	CHECK(!released(w));
	GIVES(syscall(SYS_close_range, 100, 200, 0), 0);
	CHECK(released(w));
}
static void t_reuse(void) /* the number of a closed file, used by another kind of file, isn't the device any more */
{
	int fd = evtchn_open(0);
	GIVES(close(fd), 0);
	FAILS(ioctl(fd, EVTCHN_RESET, 0), EBADF);
	FAILS(read(fd, (char[4]){ 0 }, 4), EBADF);
	int n = open("/dev/null", O_RDWR);
	GIVES(n, fd);
	FAILS(ioctl(n, EVTCHN_RESET, 0), ENOTTY);
	GIVES(read(n, (char[4]){ 0 }, 4), 0);
}

static void t_dup2_modes(void) /* the access mode holds for every copy */
{
	char b[8] = { 0 };
	int r = open(device, O_RDONLY | O_NONBLOCK), w = open(device, O_WRONLY | O_NONBLOCK);
	GIVES(dup2(r, 50), 50);
	FAILS(write(50, b, 4), EBADF);
	FAILS(read(50, b, 4), EAGAIN);
	GIVES(dup2(w, 51), 51);
	FAILS(read(51, b, 4), EBADF);
	GIVES(write(51, b, 4), 4);
}
static void t_dup2_counts(void) /* counts that are no multiple of 4, for a copy */
{
	port_t b[8] = { 0 };
	int fd = evtchn_open(O_NONBLOCK);
	struct pair p = pair(fd);
	GIVES(dup2(fd, 50), 50);
	GIVES(read(50, b, 3), 0);
	GIVES(write(50, b, 3), 0);
	GIVES(write(50, b, 7), 4);
	GIVES(notify(fd, p.a), 0);
	CHECK(pending(50, 1000));
	GIVES(read(50, b, 7), 4);
}

int main(int argc, char **argv)
{
	static const struct subtest t[] = { { "dup", t_dup }, { "dup2-0", t_dup2_0 }, { "dup2-1", t_dup2_1 }, { "dup2-2", t_dup2_2 },
		{ "dup2-500", t_dup2_500 }, { "dup3", t_dup3 }, { "dupfd", t_dupfd }, { "dupfd-cloexec", t_dupfd_cloexec },
		{ "dup2-self", t_dup2_self }, { "chain", t_chain }, { "replaced", t_replaced }, { "close-range", t_close_range },
		{ "reuse", t_reuse }, { "dup2-modes", t_dup2_modes }, { "dup2-counts", t_dup2_counts }, { 0 } };
	start(&argc, argv);
	run_subtests("dup", t, argc, argv);
	return 0;
}
