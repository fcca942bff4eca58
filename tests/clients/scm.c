/* The file sent to another process by SCM_RIGHTS. Subtests by argv[1]. */
#include "check.h"
#include <sys/socket.h>

static void send_fds(int sock, const int *fds, int n, const void *data, size_t len)
{
	struct iovec iov = { (void *)data, len };
	union { char b[CMSG_SPACE(8 * sizeof(int))]; struct cmsghdr h; } u;
	memset(&u, 0, sizeof u);
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.b, .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	CHECK(sendmsg(sock, &m, 0) == (ssize_t)len);
}
static int recv_fds(int sock, int *fds, int n, void *data, size_t len, int flags)
{
	struct iovec iov = { data, len };
	union { char b[CMSG_SPACE(8 * sizeof(int))]; struct cmsghdr h; } u;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.b, .msg_controllen = sizeof u.b };
	CHECK(recvmsg(sock, &m, flags) == (ssize_t)len);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	CHECK(c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(n * sizeof(int)));
	memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	return fds[0];
}
static void sockets(int s[2]) { CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0); }

/* The child has no descriptor but what it gets: it is forked before the open. */
static pid_t receiver(int s[2], int flags)
{
	sockets(s);
	pid_t c = fork();
	if (c)
		return close(s[0]), c;
	close(s[1]);
	struct pair p;
	int fd;
	recv_fds(s[0], &fd, 1, &p, sizeof p, flags);
	GIVES(fcntl(fd, F_GETFD), flags & MSG_CMSG_CLOEXEC ? FD_CLOEXEC : 0);
	WORKS(fd, p);
	GIVES(write(s[0], "y", 1), 1);
	char x;
	GIVES(read(s[0], &x, 1), 1);
	GIVES(next_event(fd), p.b); /* one that the sender raised */
	GIVES(unbind(fd, bind_unbound(fd, self_dom)), 0);
	CHECK(unmask(fd, p.b) == 0);
	_exit(0);
}
static void shared_with(int flags)
{
	int s[2];
	char y;
	pid_t c = receiver(s, flags);
	int fd = evtchn_open(0);
	struct pair p = pair(fd);
	port_t w = witness(fd);
	send_fds(s[1], &fd, 1, &p, sizeof p);
	GIVES(read(s[1], &y, 1), 1);
	GIVES(notify(fd, p.a), 0);
	GIVES(write(s[1], "x", 1), 1);
	CHILD_OK(c);
	WORKS(fd, p);
	GIVES(close(fd), 0);
	CHECK(released_within(w, 2000));
}
static void t_shared(void) { shared_with(0); }
static void t_cloexec(void) { shared_with(MSG_CMSG_CLOEXEC); }

static void t_in_flight(void) /* the sender closes first: only the message holds the file */
{
	int s[2];
	struct pair p, q;
	sockets(s);
	int fd = evtchn_open(0), peer = evtchn_open(0);
	p = pair_across(fd, peer);
	port_t w = witness(fd);
	send_fds(s[1], &fd, 1, &p, sizeof p);
	GIVES(close(fd), 0);
	ms_sleep(100);
	CHECK(!released(w));
	GIVES(notify(peer, p.b), 0); /* an event while nobody has a descriptor */
	pid_t c = fork();
	if (!c) {
		recv_fds(s[0], &fd, 1, &q, sizeof q, 0);
		CHECK(!memcmp(&p, &q, sizeof p));
		CHECK(pending(fd, 1000));
		EXPECT_EVENT(fd, p.a);
		GIVES(notify(fd, p.a), 0);
		_exit(0);
	}
	CHILD_OK(c);
	EXPECT_EVENT(peer, p.b);
	CHECK(released_within(w, 2000)); /* received and gone with the child */
}
static void t_sender_dies(void)
{
	int s[2], fd;
	struct { struct pair p; port_t w; } m;
	sockets(s);
	pid_t c = fork();
	if (!c) {
		fd = evtchn_open(0);
		m.p = pair(fd);
		m.w = witness(fd);
		send_fds(s[1], &fd, 1, &m, sizeof m);
		_exit(0);
	}
	CHILD_OK(c);
	recv_fds(s[0], &fd, 1, &m, sizeof m, 0);
	CHECK(!released(m.w));
	WORKS(fd, m.p);
	GIVES(close(fd), 0);
	CHECK(released_within(m.w, 2000));
}
static void t_dropped(void) /* a message that nobody receives releases the file with the socket */
{
	int s[2], fd = evtchn_open(0);
	port_t w = witness(fd);
	sockets(s);
	send_fds(s[1], &fd, 1, "m", 1);
	GIVES(close(fd), 0);
	CHECK(!released(w));
	GIVES(close(s[0]), 0);
	GIVES(close(s[1]), 0);
	CHECK(released_within(w, 2000));
}
static void t_many(void) /* two files and a copy in one message */
{
	int s[2], f = evtchn_open(0), g = evtchn_open(0), fds[3], in[3];
	struct pair p = pair(f), q = pair(g);
	sockets(s);
	fds[0] = f, fds[1] = g, fds[2] = f;
	send_fds(s[1], fds, 3, "m", 1);
	GIVES(close(f), 0);
	GIVES(close(g), 0);
	char m;
	recv_fds(s[0], in, 3, &m, 1, 0);
	WORKS(in[0], p);
	WORKS(in[1], q);
	GIVES(close(in[0]), 0);
	WORKS(in[2], p);
	FAILS(notify(in[1], p.a), ENOTCONN);
}

int main(int argc, char **argv)
{
	static const struct subtest t[] = { { "shared", t_shared }, { "cloexec", t_cloexec }, { "in-flight", t_in_flight },
		{ "sender-dies", t_sender_dies }, { "dropped", t_dropped }, { "many", t_many }, { 0 } };
	start(&argc, argv);
	run_subtests("scm", t, argc, argv);
	return 0;
}
