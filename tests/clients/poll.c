/* poll, ppoll, select, pselect, epoll. Subtests by argv[1]. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/select.h>

#define IDLE (POLLOUT | POLLWRNORM)
#define READY (POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM)

/* Another process, with a file of its own, notifies after 100 ms. */
static pid_t notifier(int fd, port_t port)
{
	pid_t c = fork();
	if (!c) {
		ms_sleep(100);
		GIVES(notify(fd, port), 0);
		_exit(0);
	}
	CHECK(c > 0);
	return c;
}
static int one_epoll(int ep, int ms, uint32_t *events)
{
	struct epoll_event e[4];
	int n = epoll_wait(ep, e, 4, ms);
	CHECK(n >= 0);
	if (events)
		*events = n ? e[0].events : 0;
	return n;
}
static int epoll_for(int fd, uint32_t events)
{
	int ep = epoll_create1(0);
	struct epoll_event e = { .events = events, .data.fd = fd };
	CHECK(ep >= 0);
	GIVES(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e), 0);
	return ep;
}

static void t_poll(void)
{
	int fd = evtchn_open(0);
	struct pair p = pair(fd);
	GIVES(revents(fd, 0), IDLE);
	struct pollfd q = { fd, 0, 0 };
	GIVES(poll(&q, 1, 0), 0);
	q.events = POLLIN;
	double t = now();
	GIVES(poll(&q, 1, 100), 0);
	CHECK(now() - t > 0.09);
	GIVES(notify(fd, p.a), 0);
	GIVES(poll(&q, 1, 1000), 1);
	GIVES(q.revents, POLLIN);
	GIVES(revents(fd, 0), READY);
	GIVES(next_event(fd), p.b);
	GIVES(revents(fd, 0), IDLE);
	GIVES(notify(fd, p.a), 0);
	GIVES(poll(&q, 1, 50), 0); /* masked */
	GIVES(unmask(fd, p.b), 0);
	GIVES(poll(&q, 1, 1000), 1);
	EXPECT_EVENT(fd, p.b);
}
static void t_poll_reset(void) /* RESET takes an event back that poll has shown */
{
	int fd = evtchn_open(0);
	struct pair p = pair(fd);
	GIVES(notify(fd, p.a), 0);
	CHECK(pending(fd, 1000));
	GIVES(ioctl(fd, EVTCHN_RESET, 0), 0);
	GIVES(revents(fd, 0), IDLE);
}
static void t_ppoll(void)
{
	int fd = evtchn_open(0), other = evtchn_open(0);
	struct pair p = pair_across(fd, other);
	struct pollfd q[2] = { { fd, POLLIN, 0 }, { other, POLLIN, 0 } };
	struct timespec ts = { 5, 0 };
	sigset_t set;
	sigfillset(&set);
	pid_t c = notifier(other, p.b);
	GIVES(ppoll(q, 2, &ts, &set), 1);
	CHECK(q[0].revents == POLLIN && q[1].revents == 0);
	CHILD_OK(c);
}
static void t_select(void)
{
	int fd = evtchn_open(0);
	struct pair p = pair(fd);
	fd_set r, w, x;
	struct timeval tv = { 0, 50000 };
	FD_ZERO(&r);
	FD_SET(fd, &r);
	GIVES(select(fd + 1, &r, 0, 0, &tv), 0);
	GIVES(notify(fd, p.a), 0);
	CHECK(pending(fd, 1000));
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_ZERO(&x);
	FD_SET(fd, &r);
	FD_SET(fd, &w);
	FD_SET(fd, &x);
	GIVES(select(fd + 1, &r, &w, &x, 0), 2);
	CHECK(FD_ISSET(fd, &r) && FD_ISSET(fd, &w) && !FD_ISSET(fd, &x));
}
static void t_pselect(void)
{
	int fd = evtchn_open(0), other = evtchn_open(0);
	struct pair p = pair_across(fd, other);
	struct timespec ts = { 5, 0 };
	fd_set r;
	pid_t c = notifier(other, p.b);
	FD_ZERO(&r);
	FD_SET(fd, &r);
	GIVES(pselect(fd + 1, &r, 0, 0, &ts, 0), 1);
	CHILD_OK(c);
}
static void t_woken(void)
{
	int fd = evtchn_open(0), other = evtchn_open(0);
	struct pair p = pair_across(fd, other);
	struct pollfd q = { fd, POLLIN, 0 };
	for (int i = 0; i < 3; i++) {
		pid_t c = notifier(other, p.b);
		double t = now();
		GIVES(poll(&q, 1, 10000), 1);
		CHECK(now() - t > 0.05 && now() - t < 8);
		EXPECT_EVENT(fd, p.a);
		CHILD_OK(c);
	}
}
static void t_unmask_wakes(void) /* a pending event that another process unmasks */
{
	int fd = evtchn_open(0);
	struct pair p = pair(fd);
	struct pollfd q = { fd, POLLIN, 0 };
	GIVES(notify(fd, p.a), 0);
	GIVES(next_event(fd), p.b);
	GIVES(notify(fd, p.a), 0);
	pid_t c = fork();
	if (!c) {
		ms_sleep(100);
		GIVES(unmask(fd, p.b), 0);
		_exit(0);
	}
	GIVES(poll(&q, 1, 10000), 1);
	CHILD_OK(c);
	EXPECT_EVENT(fd, p.b);
}
static void t_level(void)
{
	int fd = evtchn_open(0), ep = epoll_for(fd, EPOLLIN);
	struct pair p = pair(fd);
	uint32_t ev;
	GIVES(one_epoll(ep, 50, 0), 0);
	GIVES(notify(fd, p.a), 0);
	for (int i = 0; i < 3; i++) { /* as long as it isn't read */
		GIVES(one_epoll(ep, 1000, &ev), 1);
		GIVES(ev, EPOLLIN);
	}
	EXPECT_EVENT(fd, p.b);
	GIVES(one_epoll(ep, 50, 0), 0);
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLPRI };
	GIVES(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e), 0);
	GIVES(one_epoll(ep, 0, &ev), 1);
	GIVES(ev, EPOLLOUT);
	FAILS(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e), EEXIST);
	GIVES(epoll_ctl(ep, EPOLL_CTL_DEL, fd, 0), 0);
	GIVES(notify(fd, p.a), 0);
	GIVES(one_epoll(ep, 50, 0), 0);
	e.events = EPOLLIN; /* added while an event is pending */
	GIVES(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e), 0);
	GIVES(one_epoll(ep, 1000, 0), 1);
}
static void t_edge(void)
{
	int fd = evtchn_open(0);
	struct pair p = pair(fd), q = pair(fd);
	int ep = epoll_for(fd, EPOLLIN | EPOLLET);
	uint32_t ev;
	port_t buf[8];
	GIVES(one_epoll(ep, 0, 0), 0);
	GIVES(notify(fd, p.a), 0);
	GIVES(one_epoll(ep, 1000, &ev), 1); /* empty to non-empty: an edge */
	GIVES(ev, EPOLLIN);
	GIVES(one_epoll(ep, 50, 0), 0);
	GIVES(notify(fd, q.a), 0); /* another event while the first is unread: none */
	GIVES(one_epoll(ep, 50, 0), 0);
	GIVES(read(fd, buf, sizeof buf), 8);
	CHECK(buf[0] == p.b && buf[1] == q.b);
	GIVES(one_epoll(ep, 50, 0), 0); /* a read is never an edge */
	GIVES(write(fd, buf, 8), 8);
	GIVES(one_epoll(ep, 50, 0), 0);
	GIVES(notify(fd, q.a), 0); /* all was read: an edge */
	GIVES(one_epoll(ep, 1000, 0), 1);
	GIVES(one_epoll(ep, 50, 0), 0);
	struct epoll_event e = { .events = EPOLLIN | EPOLLET };
	GIVES(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e), 0); /* MOD looks again */
	GIVES(one_epoll(ep, 1000, 0), 1);
	GIVES(one_epoll(ep, 50, 0), 0);
	int late = epoll_for(fd, EPOLLIN | EPOLLET); /* so does ADD */
	GIVES(one_epoll(late, 1000, 0), 1);
	GIVES(one_epoll(late, 50, 0), 0);
}
static void t_edge_partial(void) /* a read that leaves events behind is no edge, nor is the next event then */
{
	int fd = evtchn_open(0);
	struct pair p = pair(fd), q = pair(fd);
	int ep = epoll_for(fd, EPOLLIN | EPOLLET);
	port_t buf[8];
	GIVES(notify(fd, p.a), 0);
	GIVES(one_epoll(ep, 1000, 0), 1);
	GIVES(notify(fd, q.a), 0);
	GIVES(read(fd, buf, 4), 4);
	GIVES(one_epoll(ep, 50, 0), 0);
	GIVES(unmask(fd, p.b), 0);
	GIVES(notify(fd, p.a), 0);
	GIVES(one_epoll(ep, 50, 0), 0);
	GIVES(read(fd, buf, sizeof buf), 8);
	CHECK(buf[0] == q.b && buf[1] == p.b);
	GIVES(write(fd, buf, 8), 8);
	GIVES(one_epoll(ep, 50, 0), 0);
}
static void t_edge_inout(void) /* EPOLLOUT is always there, and is reported with each edge */
{
	int fd = evtchn_open(0);
	struct pair p = pair(fd);
	int ep = epoll_for(fd, EPOLLIN | EPOLLOUT | EPOLLET);
	uint32_t ev;
	GIVES(one_epoll(ep, 1000, &ev), 1);
	GIVES(ev, EPOLLOUT);
	GIVES(one_epoll(ep, 50, 0), 0);
	GIVES(notify(fd, p.a), 0);
	GIVES(one_epoll(ep, 1000, &ev), 1);
	GIVES(ev, EPOLLIN | EPOLLOUT);
	EXPECT_EVENT(fd, p.b);
	GIVES(one_epoll(ep, 50, 0), 0); /* neither read nor write is an edge */
}
static void t_edge_many(void) /* every empty-to-non-empty change is one edge */
{
	int fd = evtchn_open(0);
	struct pair p = pair(fd);
	int ep = epoll_for(fd, EPOLLIN | EPOLLET);
	for (int i = 0; i < 1000; i++) {
		GIVES(notify(fd, p.a), 0);
		GIVES(one_epoll(ep, 2000, 0), 1);
		GIVES(one_epoll(ep, 0, 0), 0);
		EXPECT_EVENT(fd, p.b);
	}
	GIVES(one_epoll(ep, 50, 0), 0);
}
static void t_oneshot(void)
{
	int fd = evtchn_open(0);
	struct pair p = pair(fd);
	int ep = epoll_for(fd, EPOLLIN | EPOLLONESHOT);
	GIVES(notify(fd, p.a), 0);
	GIVES(one_epoll(ep, 1000, 0), 1);
	GIVES(one_epoll(ep, 50, 0), 0);
	EXPECT_EVENT(fd, p.b);
	GIVES(notify(fd, p.a), 0);
	GIVES(one_epoll(ep, 50, 0), 0); /* until armed again */
	struct epoll_event e = { .events = EPOLLIN | EPOLLONESHOT };
	GIVES(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e), 0);
	GIVES(one_epoll(ep, 1000, 0), 1);
	GIVES(one_epoll(ep, 50, 0), 0);
}
static void t_epoll_dup(void)
{
	int fd = evtchn_open(0), d = dup(fd), ep = epoll_for(d, EPOLLIN);
	struct pair p = pair(fd);
	struct epoll_event e = { .events = EPOLLIN };
	GIVES(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e), 0); /* each descriptor counts for itself */
	GIVES(notify(fd, p.a), 0);
	GIVES(one_epoll(ep, 1000, 0), 2);
	EXPECT_EVENT(d, p.b);
	GIVES(epoll_ctl(ep, EPOLL_CTL_DEL, fd, 0), 0);
	GIVES(close(d), 0); /* the entry lives as long as the file */
	GIVES(notify(fd, p.a), 0);
	GIVES(one_epoll(ep, 1000, 0), 1);
	EXPECT_EVENT(fd, p.b);
	GIVES(close(fd), 0);
	GIVES(one_epoll(ep, 50, 0), 0);
}
static void t_epoll_woken(void)
{
	int fd = evtchn_open(0), other = evtchn_open(0), ep = epoll_for(fd, EPOLLIN | EPOLLET);
	struct pair p = pair_across(fd, other);
	for (int i = 0; i < 3; i++) {
		pid_t c = notifier(other, p.b);
		GIVES(one_epoll(ep, 10000, 0), 1);
		CHILD_OK(c);
		EXPECT_EVENT(fd, p.a);
	}
	int outer = epoll_for(ep, EPOLLIN); /* an epoll in an epoll */
	pid_t c = notifier(other, p.b);
	GIVES(one_epoll(outer, 10000, 0), 1);
	CHILD_OK(c);
}
static void t_overflow(void) /* stale events fill the ring; then POLLERR only, EFBIG, and RESET mends it */
{
	int fd = evtchn_open(0), ep = epoll_for(fd, EPOLLIN), n = 0;
	uint32_t ev;
	port_t buf[4];
	for (; n < 3000 && revents(fd, 0) != POLLERR; n++) { /* each leaves one event in the ring */
		int a = bind_unbound(fd, self_dom), b = bind_interdomain(fd, self_dom, a);
		CHECK(a > 0 && b > 0);
		if (n == 0)
			CHECK(pending(fd, 1000));
		GIVES(unbind(fd, b), 0);
		GIVES(unbind(fd, a), 0);
	}
	CHECK(n >= 65); /* the ring has 64 places; with several CPUs an unbind may overtake an event */
	GIVES(revents(fd, 0), POLLERR);
	GIVES(one_epoll(ep, 0, &ev), 1);
	GIVES(ev, EPOLLERR);
	FAILS(read(fd, buf, 4), EFBIG);
	GIVES(read(fd, buf, 3), 0);
	GIVES(write(fd, buf, 0), 0);
	GIVES(ioctl(fd, EVTCHN_RESET, 0), 0);
	GIVES(revents(fd, 0), IDLE);
	struct pair p = pair(fd);
	WORKS(fd, p);
}

int main(int argc, char **argv)
{
	static const struct subtest t[] = { { "poll", t_poll }, { "poll-reset", t_poll_reset }, { "ppoll", t_ppoll }, { "select", t_select },
		{ "pselect", t_pselect }, { "woken", t_woken }, { "unmask-wakes", t_unmask_wakes }, { "level", t_level },
		{ "edge", t_edge }, { "edge-partial", t_edge_partial }, { "edge-inout", t_edge_inout }, { "edge-many", t_edge_many },
		{ "oneshot", t_oneshot }, { "epoll-dup", t_epoll_dup }, { "epoll-woken", t_epoll_woken },
		{ "overflow", t_overflow }, { 0 } };
	start(&argc, argv);
	run_subtests("poll", t, argc, argv);
	return 0;
}
