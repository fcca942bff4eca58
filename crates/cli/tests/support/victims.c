/* Clients that are killed in the middle of things: starts them a few at a time and kills each with SIGKILL at a random moment, N in all.
 * Usage: victims SEED N   (each line of output: how many were killed so far)
 *        victims SEED     (is a victim itself, until somebody kills it; says "ready" first) */
#include "check.h"
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define AT_ONCE 4

static uint64_t state;
static unsigned below(unsigned n) /* xorshift */
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 11) % n;
}

static int shared;
static void *reader(void *arg)
{
	port_t got[8];
	(void)arg;
	for (;;) {
		int n = read(shared, got, sizeof got);
		if (n > 0)
			write(shared, got, n);
	}
	return 0;
}
static void talk(int fd, struct pair p)
{
	port_t got[8];
	for (;;) {
		notify(fd, p.a);
		int n = read(fd, got, sizeof got);
		if (n > 0)
			write(fd, got, n);
	}
}
static void live(void)
{
	port_t got[8];
	pthread_t t;
	int fd = evtchn_open(below(2) ? O_CLOEXEC : 0), other;
	struct pair p = pair(fd);
	uint32_t virq = 3;
	switch (below(8)) {
	case 0: /* blocked in a read */
		read(fd, got, 4);
		break;
	case 1: /* in a poll, with several files and many ports */
		other = evtchn_open(O_NONBLOCK);
		for (int i = 0; i < 50; i++)
			bind_unbound(other, self_dom);
		poll((struct pollfd[2]){ { fd, POLLIN, 0 }, { other, POLLIN, 0 } }, 2, -1);
		break;
	case 2: /* busy */
		talk(fd, p);
		break;
	case 3: /* a reader among threads, and a caller */
		shared = fd;
		for (int i = 0; i < 3; i++)
			pthread_create(&t, 0, reader, 0);
		for (;;)
			notify(fd, p.a);
	case 4: /* two processes on one file, one of them blocked */
		if (fork() == 0)
			for (;;)
				read(fd, got, 4);
		for (;;)
			unbind(fd, bind_unbound(fd, self_dom));
	case 5: /* opening and closing */
		for (;;)
			close(evtchn_open(0));
	case 6: { /* a descriptor in flight that nobody will receive */
		int s[2];
		char control[CMSG_SPACE(sizeof(int))] = { 0 };
		struct iovec v = { "x", 1 };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
		CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
		CHECK(sendmsg(s[0], &m, 0) == 1);
		close(fd);
		pause();
	}
	case 7: /* a VIRQ, if it is free, and an epoll */
		ioctl(fd, EVTCHN_BIND_VIRQ, &virq);
		other = epoll_create1(0);
		epoll_ctl(other, EPOLL_CTL_ADD, fd, &(struct epoll_event){ .events = EPOLLIN | EPOLLET });
		for (;;)
			epoll_wait(other, &(struct epoll_event){ 0 }, 1, -1);
	}
	pause();
}

static pid_t born(void)
{
	uint64_t seed = state ^ (uint64_t)below(1 << 30) << 20;
	pid_t c = fork();
	CHECK(c >= 0);
	if (!c) {
		setpgid(0, 0);
		state = seed | 1;
		live();
		_exit(1);
	}
	setpgid(c, c);
	return c;
}

int main(int argc, char **argv)
{
	start(&argc, argv);
	state = strtoull(argv[1], 0, 0) * 0x9e3779b97f4a7c15 | 1;
	for (int i = 0; i < 10; i++)
		below(2);
	if (argc < 3) {
		printf("ready\n");
		live();
	}
	int n = atoi(argv[2]);
	pid_t victims[AT_ONCE] = { 0 };
	for (int i = 0; i < n + AT_ONCE; i++) {
		pid_t *v = &victims[i % AT_ONCE];
		if (*v) {
			usleep(below(6000));
			CHECK(kill(-*v, SIGKILL) == 0);
			int status;
			CHECK(waitpid(*v, &status, 0) == *v);
			if (!WIFSIGNALED(status)) {
				dprintf(2, "a victim ended by itself: %#x\n", status);
				return 1;
			}
		}
		*v = i < n ? born() : 0;
	}
	printf("killed %d\n", n);
	return 0;
}
