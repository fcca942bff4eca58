/* Misbehaviour: hundreds of opens left open, descriptors closed and replaced under other threads' calls, exec among running threads.
 * Subtests by argv[1]. */
#include "check.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

static char **self_argv;

static void t_many_open(void) /* two hundred files, none closed: the exit does */
{
	int fd[200];
	struct pair p[200];
	for (int i = 0; i < 200; i++) {
		fd[i] = evtchn_open(i & 1 ? O_NONBLOCK : 0);
		p[i] = pair(fd[i]);
	}
	for (int i = 0; i < 200; i += 7) {
		WORKS(fd[i], p[i]);
		FAILS(notify(fd[i], p[(i + 1) % 200].a), ENOTCONN);
	}
	for (int i = 0; i < 200; i++)
		GIVES(notify(fd[i], p[i].a), 0);
	for (int i = 0; i < 200; i++)
		CHECK(pending(fd[i], 1000));
}
static void t_open_close(void) /* nothing leaks: each file is gone before the next, with the same ports */
{
	int first = 0, number = 0;
	for (int i = 0; i < 3000; i++) {
		int fd = evtchn_open(0);
		struct pair p = pair(fd);
		if (!i)
			first = p.a, number = fd;
		GIVES(p.a, first);
		GIVES(fd, number);
		GIVES(close(fd), 0);
	}
}
static void t_fd_limit(void) /* EMFILE at the limit, and the device survives it */
{
	int fd, n = 0, last = -1;
	while ((fd = open(device, O_RDWR)) >= 0) {
		last = fd;
		CHECK(n++ < 100000);
		if (n > 20000)
			return; /* the limit is far away: let it be */
	}
	CHECK(errno == EMFILE || errno == ENFILE);
	GIVES(close(last), 0);
	GIVES(evtchn_open(0), last);
}

static atomic_int stop, calls;
static int target = -1; /* a descriptor number that is the device at some moments */
static int ours[4];

/* What may come out of a call on a number that others close and replace. */
static void among(long r, const char *what, int null_too)
{
	int e = errno;
	atomic_fetch_add(&calls, 1);
	if (r >= 0 || e == EBADF || e == EINVAL || e == ENOTCONN || e == EAGAIN)
		return;
	if (null_too && e == ENOTTY)
		return;
	dprintf(log_fd, "%s: errno %d (%s)\n", what, e, strerror(e));
	_exit(1);
}
static void *caller(void *arg)
{
	unsigned k = (long)arg;
	int null_too = *(volatile int *)&ours[3];
	while (!atomic_load(&stop)) {
		port_t got[4] = { 1, 2, 3, 4 };
		struct pollfd q = { target, POLLIN, 0 };
		switch (k++ % 6) {
		case 0: among(notify(target, k % 20), "notify", null_too); break;
		case 1: among(read(target, got, 16), "read", null_too); break;
		case 2: among(write(target, got, 16), "write", null_too); break;
		case 3: {
			int a = bind_unbound(target, self_dom);
			among(a, "bind", null_too);
			if (a > 0)
				among(unbind(target, a), "unbind", null_too);
			break;
		}
		case 4: among(poll(&q, 1, 0), "poll", null_too); break;
		case 5: among(ioctl(target, EVTCHN_RESET, 0), "reset", null_too); break;
		}
	}
	return 0;
}
static void race(void (*turn)(int), int null_too)
{
	pthread_t t[6];
	ours[3] = null_too;
	for (long i = 0; i < 6; i++)
		CHECK(pthread_create(&t[i], 0, caller, (void *)i) == 0);
	for (int i = 0; i < 5000; i++)
		turn(i);
	atomic_store(&stop, 1);
	for (int i = 0; i < 6; i++)
		CHECK(pthread_join(t[i], 0) == 0);
	CHECK(calls > 100);
	int fd = evtchn_open(0); /* and all is well after it */
	struct pair p = pair(fd);
	WORKS(fd, p);
}
static void close_turn(int i)
{
	(void)i;
	target = evtchn_open(O_NONBLOCK);
	if (i % 4 == 0)
		sched_yield();
	GIVES(close(target), 0);
}
static void t_close_race(void) { race(close_turn, 0); }

static void dup2_turn(int i) { GIVES(dup2(ours[i % 3], target), target); }
static void t_dup2_race(void) /* one number, three files in turn; /dev/null is the third */
{
	ours[0] = evtchn_open(O_NONBLOCK);
	ours[1] = evtchn_open(O_NONBLOCK);
	ours[2] = open("/dev/null", O_RDWR);
	GIVES(dup2(ours[0], 50), 50);
	target = 50;
	race(dup2_turn, 1);
	struct pair p = pair(ours[0]); /* the copies' closes didn't close the files */
	WORKS(ours[0], p);
	p = pair(ours[1]);
	WORKS(ours[1], p);
}
static void mixed_turn(int i)
{
	if (i % 3 == 0)
		close(target);
	else
		GIVES(dup2(ours[i % 2], target), target);
}
static void t_mixed_race(void)
{
	ours[0] = evtchn_open(O_NONBLOCK);
	ours[1] = evtchn_open(O_NONBLOCK);
	target = 50;
	race(mixed_turn, 0);
}

static struct pair exec_pair;
static void *busy(void *arg)
{
	port_t got[4];
	for (;;) {
		if (arg)
			read(target, got, 4); /* these block */
		else {
			notify(target, exec_pair.b);
			int a = bind_unbound(target, self_dom);
			if (a > 0)
				unbind(target, a);
			close(open(device, O_RDWR | O_CLOEXEC));
		}
	}
	return 0;
}
static void *exec_here(void *arg)
{
	char fd[16], a[16], b[16];
	snprintf(fd, 16, "%d", target);
	snprintf(a, 16, "%u", exec_pair.a);
	snprintf(b, 16, "%u", exec_pair.b);
	ms_sleep(5 + (long)arg * 3);
	setenv("XEN_EVTCHN", device, 1);
	execl("/proc/self/exe", self_argv[0], "--exec", fd, a, b, (char *)0);
	CHECK(!"exec");
	return 0;
}
static void t_exec(void) /* another thread than the first execs; the others are in the middle of calls, or blocked */
{
	for (long i = 0; i < 20; i++) {
		pid_t c = fork();
		if (!c) {
			pthread_t t;
			target = evtchn_open(0);
			exec_pair = pair(target);
			for (long k = 0; k < 6; k++)
				CHECK(pthread_create(&t, 0, busy, k < 3 ? "block" : 0) == 0);
			CHECK(pthread_create(&t, 0, exec_here, (void *)i) == 0);
			busy(0);
		}
		CHECK(c > 0);
		CHILD_OK(c);
	}
}
static int after_exec(char **argv)
{
	int fd = atoi(argv[0]);
	struct pair p = { atoi(argv[1]), atoi(argv[2]) };
	port_t got[64];
	int n;
	GIVES(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	CHECK(unmask(fd, p.a) == 0 && unmask(fd, p.b) == 0);
	while (pending(fd, 50)) { /* what the threads of before have left */
		CHECK((n = read(fd, got, sizeof got)) > 0);
		GIVES(write(fd, got, n), n);
	}
	WORKS(fd, p);
	return 0;
}
static void t_exit_race(void) /* exit_group while others call */
{
	for (int i = 0; i < 20; i++) {
		pid_t c = fork();
		if (!c) {
			pthread_t t;
			target = evtchn_open(0);
			exec_pair = pair(target);
			for (long k = 0; k < 6; k++)
				CHECK(pthread_create(&t, 0, busy, k < 3 ? "block" : 0) == 0);
			ms_sleep(i);
			_exit(0);
		}
		CHILD_OK(c);
	}
	int fd = evtchn_open(0);
	struct pair p = pair(fd);
	WORKS(fd, p);
}

int main(int argc, char **argv)
{
	static const struct subtest t[] = { { "many-open", t_many_open }, { "open-close", t_open_close }, { "fd-limit", t_fd_limit },
		{ "close-race", t_close_race }, { "dup2-race", t_dup2_race }, { "mixed-race", t_mixed_race }, { "exec", t_exec },
		{ "exit-race", t_exit_race }, { 0 } };
	start(&argc, argv);
	self_argv = argv;
	if (argc > 4 && !strcmp(argv[1], "--exec"))
		return after_exec(argv + 2);
	run_subtests("x", t, argc, argv);
	return 0;
}
