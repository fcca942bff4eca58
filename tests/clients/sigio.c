/* Asynchronous notification: F_SETOWN, O_ASYNC, F_SETSIG. One signal for each empty-to-non-empty change. Subtests by argv[1]. */
#include "check.h"

static int rt;

static void block(int sig)
{
	sigset_t s;
	sigemptyset(&s), sigaddset(&s, sig);
	CHECK(sigprocmask(SIG_BLOCK, &s, 0) == 0);
}
/* How many of sig are queued, the first within ms. */
static int signals(int sig, int ms, siginfo_t *info)
{
	sigset_t s;
	int n = 0;
	siginfo_t i;
	sigemptyset(&s), sigaddset(&s, sig);
	for (;;) {
		int wait = n ? 50 : ms;
		struct timespec t = { wait / 1000, wait % 1000 * 1000000 };
		if (sigtimedwait(&s, &i, &t) < 0) {
			CHECK(errno == EAGAIN || errno == EINTR);
			return n;
		}
		if (info && !n)
			*info = i;
		n++;
	}
}
static void async(int fd, int on)
{
	int fl = fcntl(fd, F_GETFL);
	GIVES(fcntl(fd, F_SETFL, on ? fl | O_ASYNC : fl & ~O_ASYNC), 0);
	GIVES(!!(fcntl(fd, F_GETFL) & O_ASYNC), !!on);
}

static void t_sigio(void)
{
	int fd = evtchn_open(O_NONBLOCK);
	struct pair p = pair(fd);
	siginfo_t i;
	block(SIGIO);
	GIVES(notify(fd, p.a), 0); /* not yet asked for */
	EXPECT_EVENT(fd, p.b);
	GIVES(fcntl(fd, F_SETOWN, getpid()), 0);
	GIVES(fcntl(fd, F_GETOWN), getpid());
	GIVES(signals(SIGIO, 50, 0), 0);
	async(fd, 1);
	GIVES(signals(SIGIO, 50, 0), 0);
	GIVES(notify(fd, p.a), 0);
	GIVES(signals(SIGIO, 2000, &i), 1);
	GIVES(i.si_signo, SIGIO);
	EXPECT_EVENT(fd, p.b);
	async(fd, 0);
	GIVES(notify(fd, p.a), 0);
	GIVES(signals(SIGIO, 100, 0), 0);
	EXPECT_EVENT(fd, p.b);
}
static void t_count(void)
{
	int fd = evtchn_open(O_NONBLOCK);
	struct pair p = pair(fd);
	siginfo_t i;
	block(rt);
	GIVES(fcntl(fd, F_SETOWN, getpid()), 0);
	GIVES(fcntl(fd, F_SETSIG, rt), 0);
	GIVES(fcntl(fd, F_GETSIG), rt);
	async(fd, 1);
	GIVES(notify(fd, p.a), 0);
	GIVES(signals(rt, 2000, &i), 1);
	GIVES(i.si_fd, fd);
	GIVES(i.si_code, POLL_IN);
	GIVES(i.si_band, POLLIN | POLLRDNORM);
	EXPECT_EVENT(fd, p.b);
	GIVES(signals(rt, 50, 0), 0);
	for (int k = 0; k < 20; k++) { /* they queue */
		GIVES(notify(fd, p.a), 0);
		EXPECT_EVENT(fd, p.b);
	}
	GIVES(signals(rt, 2000, 0), 20);
}
static void t_count_two(void) /* two events, one signal */
{
	int fd = evtchn_open(O_NONBLOCK);
	struct pair p = pair(fd), q = pair(fd);
	port_t buf[8];
	block(rt);
	GIVES(fcntl(fd, F_SETOWN, getpid()), 0);
	GIVES(fcntl(fd, F_SETSIG, rt), 0);
	async(fd, 1);
	GIVES(notify(fd, p.a), 0);
	GIVES(signals(rt, 2000, 0), 1);
	GIVES(notify(fd, q.a), 0); /* the first is unread: none */
	GIVES(signals(rt, 100, 0), 0);
	GIVES(read(fd, buf, sizeof buf), 8);
	GIVES(write(fd, buf, 8), 8);
	GIVES(signals(rt, 50, 0), 0);
}
static void t_count_reset(void)
{
	int fd = evtchn_open(O_NONBLOCK);
	struct pair p = pair(fd);
	block(rt);
	GIVES(fcntl(fd, F_SETOWN, getpid()), 0);
	GIVES(fcntl(fd, F_SETSIG, rt), 0);
	async(fd, 1);
	GIVES(notify(fd, p.a), 0);
	CHECK(pending(fd, 1000));
	GIVES(signals(rt, 2000, 0), 1);
	GIVES(ioctl(fd, EVTCHN_RESET, 0), 0); /* empty again, though masked */
	GIVES(notify(fd, p.a), 0);
	GIVES(signals(rt, 50, 0), 0);
	GIVES(unmask(fd, p.b), 0);
	GIVES(signals(rt, 2000, 0), 1);
}
static void t_count_partial(void) /* a read that leaves events behind brings no signal, nor does the next event then */
{
	int fd = evtchn_open(O_NONBLOCK);
	struct pair p = pair(fd), q = pair(fd);
	port_t buf[8];
	block(rt);
	GIVES(fcntl(fd, F_SETOWN, getpid()), 0);
	GIVES(fcntl(fd, F_SETSIG, rt), 0);
	async(fd, 1);
	GIVES(notify(fd, p.a), 0);
	GIVES(signals(rt, 2000, 0), 1);
	GIVES(notify(fd, q.a), 0);
	GIVES(read(fd, buf, 4), 4);
	GIVES(unmask(fd, buf[0]), 0);
	GIVES(signals(rt, 100, 0), 0);
	GIVES(notify(fd, p.a), 0);
	GIVES(signals(rt, 100, 0), 0);
	GIVES(read(fd, buf, sizeof buf), 8);
	GIVES(write(fd, buf, 8), 8);
	GIVES(signals(rt, 50, 0), 0);
}
static void t_fioasync(void)
{
	int fd = evtchn_open(O_NONBLOCK), on = 1, off = 0;
	struct pair p = pair(fd);
	block(rt);
	GIVES(fcntl(fd, F_SETOWN, getpid()), 0);
	GIVES(fcntl(fd, F_SETSIG, rt), 0);
	GIVES(ioctl(fd, FIOASYNC, &on), 0);
	CHECK(fcntl(fd, F_GETFL) & O_ASYNC);
	GIVES(notify(fd, p.a), 0);
	GIVES(signals(rt, 2000, 0), 1);
	EXPECT_EVENT(fd, p.b);
	GIVES(ioctl(fd, FIOASYNC, &off), 0);
	CHECK(!(fcntl(fd, F_GETFL) & O_ASYNC));
	GIVES(notify(fd, p.a), 0);
	GIVES(signals(rt, 100, 0), 0);
	FAILS(ioctl(fd, FIOASYNC, 8L), EFAULT);
}
static void t_no_owner(void)
{
	int fd = evtchn_open(O_NONBLOCK);
	struct pair p = pair(fd);
	block(SIGIO);
	async(fd, 1);
	GIVES(fcntl(fd, F_GETOWN), 0);
	GIVES(notify(fd, p.a), 0);
	GIVES(signals(SIGIO, 100, 0), 0);
}
static void t_other_owner(void) /* the signal goes to the owner, whoever holds the file */
{
	int fd = evtchn_open(O_NONBLOCK), peer = evtchn_open(0);
	struct pair p = pair_across(fd, peer);
	struct gate g = gate_new();
	block(rt);
	pid_t c = fork();
	if (!c) {
		close(fd);
		gate_open(g);
		GIVES(signals(rt, 5000, 0), 1);
		_exit(0);
	}
	gate_wait(g);
	GIVES(fcntl(fd, F_SETOWN, c), 0);
	GIVES(fcntl(fd, F_SETSIG, rt), 0);
	async(fd, 1);
	GIVES(notify(peer, p.b), 0);
	CHILD_OK(c);
	GIVES(signals(rt, 50, 0), 0);
	EXPECT_EVENT(fd, p.a);
}
static void t_group(void)
{
	int fd = evtchn_open(O_NONBLOCK);
	struct pair p = pair(fd);
	block(SIGIO);
	CHECK(setpgid(0, 0) == 0 || errno == EPERM);
	GIVES(fcntl(fd, F_SETOWN, -getpgrp()), 0);
	async(fd, 1);
	GIVES(notify(fd, p.a), 0);
	GIVES(signals(SIGIO, 2000, 0), 1);
}
static void t_closed(void) /* no signal from a file that is closed; but from a dup of it */
{
	int fd = evtchn_open(O_NONBLOCK), peer = evtchn_open(0);
	struct pair p = pair_across(fd, peer);
	block(rt);
	GIVES(fcntl(fd, F_SETOWN, getpid()), 0);
	GIVES(fcntl(fd, F_SETSIG, rt), 0);
	async(fd, 1);
	int d = dup(fd);
	GIVES(close(fd), 0);
	GIVES(notify(peer, p.b), 0);
	GIVES(signals(rt, 2000, 0), 1);
	EXPECT_EVENT(d, p.a);
	GIVES(close(d), 0);
	GIVES(notify(peer, p.b), 0);
	GIVES(signals(rt, 100, 0), 0);
}
static volatile sig_atomic_t handled;
static void handler(int s) { (void)s; handled++; }
static void t_handler(void) /* delivered to a handler, even from the notify of the process itself */
{
	int fd = evtchn_open(O_NONBLOCK);
	struct pair p = pair(fd);
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART };
	sigaction(SIGIO, &sa, 0);
	GIVES(fcntl(fd, F_SETOWN, getpid()), 0);
	async(fd, 1);
	for (int i = 1; i <= 20; i++) {
		GIVES(notify(fd, p.a), 0);
		for (int k = 0; k < 200 && handled < i; k++)
			ms_sleep(10);
		GIVES(handled, i);
		EXPECT_EVENT(fd, p.b);
	}
}

int main(int argc, char **argv)
{
	static const struct subtest t[] = { { "sigio", t_sigio }, { "count", t_count }, { "count-two", t_count_two },
		{ "count-partial", t_count_partial }, { "count-reset", t_count_reset }, { "fioasync", t_fioasync },
		{ "no-owner", t_no_owner }, { "other-owner", t_other_owner }, { "group", t_group }, { "closed", t_closed },
		{ "handler", t_handler }, { 0 } };
	rt = SIGRTMIN + 3;
	start(&argc, argv);
	run_subtests("sigio", t, argc, argv);
	return 0;
}
