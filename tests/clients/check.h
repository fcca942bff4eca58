/* What every client shares: CHECK, the evtchn calls, and a loopback pair.
 * argv[1] (if it starts with '/') is the device, else $XEN_EVTCHN, else /dev/xen/evtchn; $XEN_SELF is our domain (0). */
#ifndef CHECK_H
#define CHECK_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wunused-function"
/* bad pointers are what we are here for */
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wnonnull"
#pragma GCC diagnostic ignored "-Wstringop-overread"
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#pragma GCC diagnostic ignored "-Wunused-result"

/* where failures are printed: elsewhere while 2 is the device */
static int log_fd = 2;

static void fail(const char *file, int line, const char *what, int err)
{
	dprintf(log_fd, "%s:%d: pid %d: failed: %s (errno %d, %s)\n", file, line, getpid(), what, err, strerror(err));
	_exit(1);
}
#define CHECK(cond) do { if (!(cond)) fail(__FILE__, __LINE__, #cond, errno); } while (0)
/* the call fails with exactly this errno */
#define FAILS(call, err) do { \
	errno = 0; long r__ = (long)(call); int e__ = errno; \
	if (r__ != -1 || e__ != (err)) { \
		dprintf(log_fd, "%s:%d: pid %d: %s gave %ld, errno %d (%s), not %s\n", __FILE__, __LINE__, getpid(), #call, r__, e__, \
			strerror(e__), #err); \
		_exit(1); \
	} } while (0)
/* the call gives exactly this number */
#define GIVES(call, want) do { \
	errno = 0; long r__ = (long)(call), w__ = (long)(want); int e__ = errno; \
	if (r__ != w__) { \
		dprintf(log_fd, "%s:%d: pid %d: %s gave %ld, errno %d (%s), not %ld\n", __FILE__, __LINE__, getpid(), #call, r__, e__, \
			strerror(e__), w__); \
		_exit(1); \
	} } while (0)

/* The ioctls. All are _IOC_NONE; the size is that of the struct. */
#define EVTCHN_BIND_VIRQ _IOC(_IOC_NONE, 'E', 0, 4)
#define EVTCHN_BIND_INTERDOMAIN _IOC(_IOC_NONE, 'E', 1, 8)
#define EVTCHN_BIND_UNBOUND_PORT _IOC(_IOC_NONE, 'E', 2, 4)
#define EVTCHN_UNBIND _IOC(_IOC_NONE, 'E', 3, 4)
#define EVTCHN_NOTIFY _IOC(_IOC_NONE, 'E', 4, 4)
#define EVTCHN_RESET _IOC(_IOC_NONE, 'E', 5, 0)
#define EVTCHN_RESTRICT_DOMID _IOC(_IOC_NONE, 'E', 6, 2)
#define EVTCHN_BIND_STATIC _IOC(_IOC_NONE, 'E', 7, 4)

typedef uint32_t port_t;

static const char *device = "/dev/xen/evtchn";
static uint32_t self_dom;

/* Call first in main: finds the device and the domain, takes the device out of argv. */
static void start(int *argc, char **argv)
{
	const char *s = getenv("XEN_EVTCHN");
	if (s && *s)
		device = s;
	if (*argc > 1 && argv[1][0] == '/') {
		device = argv[1];
		memmove(&argv[1], &argv[2], (*argc - 1) * sizeof *argv);
		--*argc;
	}
	s = getenv("XEN_SELF");
	self_dom = s && *s ? strtoul(s, 0, 0) : 0;
	setvbuf(stdout, 0, _IOLBF, 0);
}

static int evtchn_open(int flags)
{
	int fd = open(device, O_RDWR | flags);
	CHECK(fd >= 0);
	return fd;
}
static int bind_unbound(int fd, uint32_t dom) { return ioctl(fd, EVTCHN_BIND_UNBOUND_PORT, &dom); }
static int bind_interdomain(int fd, uint32_t dom, port_t port)
{
	struct { uint32_t dom, port; } arg = { dom, port };
	return ioctl(fd, EVTCHN_BIND_INTERDOMAIN, &arg);
}
static int unbind(int fd, port_t port) { return ioctl(fd, EVTCHN_UNBIND, &port); }
static int notify(int fd, port_t port) { return ioctl(fd, EVTCHN_NOTIFY, &port); }
static int unmask(int fd, port_t port) { return write(fd, &port, 4) == 4 ? 0 : -1; }

/* The poll bits set at this moment, or within ms if there is no event yet. */
static int revents(int fd, int ms)
{
	struct pollfd p = { fd, POLLIN | POLLOUT | POLLPRI | POLLRDNORM | POLLWRNORM, 0 };
	CHECK(poll(&p, 1, 0) >= 0);
	if (!(p.revents & (POLLIN | POLLERR)) && ms) {
		struct pollfd q = { fd, POLLIN, 0 };
		CHECK(poll(&q, 1, ms) >= 0);
		CHECK(poll(&p, 1, 0) >= 0);
	}
	return p.revents;
}
static int pending(int fd, int ms) { return !!(revents(fd, ms) & POLLIN); }

/* Reads one event, which must come within 5 s, and gives its port. */
static port_t next_event(int fd)
{
	port_t port = 0;
	CHECK(pending(fd, 5000));
	GIVES(read(fd, &port, 4), 4);
	return port;
}
/* The next event is for this port; unmask it again. */
#define EXPECT_EVENT(fd, port) do { GIVES(next_event(fd), port); CHECK(unmask(fd, port) == 0); } while (0)
#define EXPECT_QUIET(fd) do { CHECK(!pending(fd, 30)); } while (0)

struct pair { port_t a, b; };

/* b is bound to a, across two files. The event that bind_interdomain raises on b is drained. */
static struct pair pair_across(int fa, int fb)
{
	struct pair p;
	int r;
	CHECK((r = bind_unbound(fa, self_dom)) > 0);
	p.a = r;
	CHECK((r = bind_interdomain(fb, self_dom, p.a)) > 0);
	p.b = r;
	EXPECT_EVENT(fb, p.b);
	return p;
}
/* A loopback pair on one file: notify(fd, a) raises b and the reverse. */
static struct pair pair(int fd) { return pair_across(fd, fd); }

/* The whole set of calls, on a pair of which nothing is pending: an ioctl, poll, a read, an unmask. */
#define WORKS(fd, p) do { \
	CHECK(notify(fd, (p).a) == 0); \
	CHECK(pending(fd, 2000)); \
	EXPECT_EVENT(fd, (p).b); \
	CHECK(revents(fd, 0) == (POLLOUT | POLLWRNORM)); \
	} while (0)

/* A file whose release can be seen: it holds a port meant for us, that nobody is bound to. */
static port_t witness(int fd)
{
	int r = bind_unbound(fd, self_dom);
	CHECK(r > 0);
	return r;
}
/* Whether the witness's file is released: then its port is free and can't be bound to. (Binding to it uses it up.) */
static int released(port_t w)
{
	int peer = evtchn_open(O_CLOEXEC), r;
	r = bind_interdomain(peer, self_dom, w);
	if (r < 0)
		CHECK(errno == EINVAL);
	CHECK(close(peer) == 0); /* closing the peer makes w unbound, meant for us, as before */
	return r < 0;
}
static int released_within(port_t w, int ms)
{
	for (;;) {
		if (released(w))
			return 1;
		if (ms <= 0)
			return 0;
		usleep(10000);
		ms -= 10;
	}
}

static void ms_sleep(int ms) { usleep(ms * 1000); }

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* The child of a fork must exit with this. */
#define CHILD_OK(pid) do { \
	int st__; \
	CHECK(waitpid(pid, &st__, 0) == (pid)); \
	if (!WIFEXITED(st__) || WEXITSTATUS(st__)) { \
		dprintf(log_fd, "%s:%d: child %d: wait status %#x\n", __FILE__, __LINE__, (int)(pid), st__); \
		_exit(1); \
	} } while (0)

/* One byte through a pipe: how two processes take turns. */
struct gate { int fd[2]; };
static struct gate gate_new(void)
{
	struct gate g;
	CHECK(pipe2(g.fd, O_CLOEXEC) == 0);
	return g;
}
static void gate_open(struct gate g) { CHECK(write(g.fd[1], "x", 1) == 1); }
static void gate_wait(struct gate g)
{
	char c;
	CHECK(read(g.fd[0], &c, 1) == 1);
}

/* Waits until the task sleeps, so that its call has most likely begun to block. (D is a call that is parked killably.) */
static void wait_asleep(pid_t tid)
{
	char path[64], line[256];
	for (int i = 0; i < 300; i++) {
		snprintf(path, sizeof path, "/proc/%d/stat", tid);
		FILE *f = fopen(path, "r");
		if (f) {
			char *q = fgets(line, sizeof line, f) ? strrchr(line, ')') : 0;
			fclose(f);
			if (q && q[1] && (q[2] == 'S' || q[2] == 'D') && i >= 2)
				break;
		}
		ms_sleep(10);
	}
	ms_sleep(30);
}

/* Subtests: all of the table in order, each in a process of its own; or those that the arguments name; or, if these begin with '-', all but
 * those. */
struct subtest { const char *name; void (*run)(void); };
static int wanted(const char *name, int argc, char **argv)
{
	int w = argc < 2 || argv[1][0] == '-';
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i] + (argv[i][0] == '-'), name))
			w = argv[i][0] != '-';
	return w;
}
static void all_known(const struct subtest *t, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const struct subtest *s = t;
		while (s->name && strcmp(argv[i] + (argv[i][0] == '-'), s->name))
			s++;
		if (!s->name) {
			dprintf(log_fd, "no subtest is named %s\n", argv[i]);
			exit(2);
		}
	}
}
static void run_subtests(const char *name, const struct subtest *t, int argc, char **argv)
{
	int bad = 0, ran = 0;
	all_known(t, argc, argv);
	for (; t->name; t++) {
		if (!wanted(t->name, argc, argv))
			continue;
		ran++;
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (!pid) {
			setpgid(0, 0);
			alarm(60);
			t->run();
			_exit(0);
		}
		int st;
		CHECK(waitpid(pid, &st, 0) == pid);
		kill(-pid, SIGKILL); /* the children that a failure left behind */
		if (st) {
			dprintf(log_fd, "%s: %s failed (wait status %#x)\n", name, t->name, st);
			bad++;
		}
	}
	CHECK(ran);
	if (bad)
		exit(1);
	printf("ok %s\n", name);
}
#endif
