/* Sixteen threads call at once, on one file and on files of their own: bind, notify, read, unbind, N times each.
 * Usage: threads [DEVICE] [N (2000)] [THREADS (16)] */
#include "check.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

static int loops = 2000, nthreads = 16;
static int shared_fd;
static atomic_int seen[1 << 17]; /* events read for a port and not yet taken by its owner */

/* Reads what is there, whosever it is, unmasks it and hands it to its owner. */
static void deliver(int fd)
{
	port_t got[16];
	int n = read(fd, got, sizeof got);
	if (n < 0) {
		CHECK(errno == EAGAIN);
		sched_yield();
		return;
	}
	CHECK(n > 0 && n % 4 == 0);
	GIVES(write(fd, got, n), n); /* before it is counted: its owner may unbind it then */
	for (int i = 0; i < n / 4; i++) {
		CHECK(got[i] < sizeof seen / sizeof *seen);
		atomic_fetch_add(&seen[got[i]], 1);
	}
}
static void take(int fd, port_t port)
{
	for (double t = now(); !atomic_load(&seen[port]); deliver(fd))
		CHECK(now() - t < 60);
	CHECK(atomic_fetch_sub(&seen[port], 1) == 1);
}
static void *worker(void *own)
{
	int fd = own ? evtchn_open(O_NONBLOCK) : shared_fd;
	for (int i = 0; i < loops; i++) {
		int a = bind_unbound(fd, self_dom);
		CHECK(a > 0);
		int b = bind_interdomain(fd, self_dom, a);
		CHECK(b > 0 && b != a);
		take(fd, b); /* the one that binding raises */
		GIVES(notify(fd, a), 0);
		take(fd, b);
		GIVES(notify(fd, b), 0);
		take(fd, a);
		GIVES(unbind(fd, b), 0);
		GIVES(unbind(fd, a), 0);
		CHECK(!atomic_load(&seen[a]) || !own);
	}
	if (own)
		GIVES(close(fd), 0);
	return 0;
}
static void all(int own)
{
	pthread_t t[64];
	double start = now();
	shared_fd = evtchn_open(O_NONBLOCK);
	for (int i = 0; i < nthreads; i++)
		CHECK(pthread_create(&t[i], 0, worker, own ? "own" : 0) == 0);
	for (int i = 0; i < nthreads; i++)
		CHECK(pthread_join(t[i], 0) == 0);
	CHECK(!pending(shared_fd, 30));
	for (unsigned i = 0; i < sizeof seen / sizeof *seen; i++)
		CHECK(!seen[i]);
	GIVES(close(shared_fd), 0);
	printf("%s: %.1f s\n", own ? "files of their own" : "one file", now() - start);
}

int main(int argc, char **argv)
{
	start(&argc, argv);
	if (argc > 1)
		loops = atoi(argv[1]);
	if (argc > 2)
		nthreads = atoi(argv[2]) < 64 ? atoi(argv[2]) : 64;
	all(0);
	all(1);
	printf("ok threads\n");
	return 0;
}
