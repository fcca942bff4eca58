/* A read that blocks: woken, interrupted, restarted, stopped, killed, its descriptor closed. Subtests by argv[1]. */
#include "check.h"
#include <pthread.h>
#include <sys/time.h>

static int fd, peer;   /* two files; an event on fd is raised by notify(peer, p.b) and has port p.a */
static struct pair p;

static void two_files(void)
{
	fd = evtchn_open(0);
	peer = evtchn_open(0);
	p = pair_across(fd, peer);
}
static void reads_one(int f, port_t want)
{
	port_t port = 0;
	GIVES(read(f, &port, 4), 4);
	GIVES(port, want);
}
/* A process that reads one event from fd. */
static pid_t reader(void)
{
	pid_t c = fork();
	CHECK(c >= 0);
	if (!c) {
		reads_one(fd, p.a);
		CHECK(unmask(fd, p.a) == 0);
		_exit(0);
	}
	wait_asleep(c);
	CHECK(waitpid(c, 0, WNOHANG) == 0);
	return c;
}
static pid_t notify_after(int ms)
{
	pid_t c = fork();
	CHECK(c >= 0);
	if (!c) {
		ms_sleep(ms);
		GIVES(notify(peer, p.b), 0);
		_exit(0);
	}
	return c;
}
static volatile sig_atomic_t hits;
static void on_signal(int s) { (void)s; hits++; }
static void handle(int sig, int flags)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = flags };
	CHECK(sigaction(sig, &sa, 0) == 0);
}
static void timer(int first_ms, int every_ms)
{
	struct itimerval t = { { 0, every_ms * 1000 }, { 0, first_ms * 1000 } };
	CHECK(setitimer(ITIMER_REAL, &t, 0) == 0);
}

static void t_woken(void)
{
	two_files();
	for (int i = 0; i < 3; i++) {
		double t = now();
		pid_t c = notify_after(100);
		reads_one(fd, p.a);
		CHECK(now() - t > 0.09);
		CHECK(unmask(fd, p.a) == 0);
		CHILD_OK(c);
	}
}
static void t_seven_bytes(void)
{
	port_t got[2] = { 0, 0x55555555 };
	two_files();
	pid_t c = notify_after(100);
	GIVES(read(fd, got, 7), 4);
	CHECK(got[0] == p.a && got[1] == 0x55555555);
	CHILD_OK(c);
}
static void t_readv(void) /* the second part blocks too; interrupted, it gives what there was */
{
	port_t got[2];
	struct iovec v[2] = { { got, 4 }, { got + 1, 4 } };
	two_files();
	handle(SIGALRM, 0);
	GIVES(notify(peer, p.b), 0);
	CHECK(pending(fd, 1000));
	timer(200, 200);
	GIVES(readv(fd, v, 2), 4);
	timer(0, 0);
	CHECK(got[0] == p.a && hits >= 1);
}
static void t_eintr(void)
{
	port_t got;
	two_files();
	handle(SIGALRM, 0);
	double t = now();
	timer(200, 200);
	FAILS(read(fd, &got, 4), EINTR);
	timer(0, 0);
	CHECK(hits >= 1 && now() - t < 5);
	GIVES(notify(peer, p.b), 0); /* and nothing was lost */
	EXPECT_EVENT(fd, p.a);
}
static void t_restart(void)
{
	two_files();
	handle(SIGALRM, SA_RESTART);
	timer(100, 0);
	pid_t c = notify_after(400);
	double t = now();
	reads_one(fd, p.a);
	CHECK(now() - t > 0.3);
	GIVES(hits, 1);
	CHILD_OK(c);
}
static void t_storm(void) /* a signal each millisecond while the read is restarted over and over; each event comes once */
{
	two_files();
	handle(SIGALRM, SA_RESTART);
	pid_t c = fork();
	if (!c) {
		for (int i = 0; i < 200; i++) {
			ms_sleep(3);
			GIVES(notify(peer, p.b), 0);
			EXPECT_EVENT(peer, p.b); /* the answer: one event in flight at a time */
		}
		_exit(0);
	}
	timer(1, 1);
	for (int i = 0; i < 200; i++) {
		port_t port = 0;
		GIVES(read(fd, &port, 4), 4);
		GIVES(port, p.a);
		GIVES(write(fd, &port, 4), 4);
		GIVES(notify(fd, p.a), 0);
	}
	timer(0, 0);
	int st;
	while (waitpid(c, &st, 0) < 0)
		CHECK(errno == EINTR);
	GIVES(st, 0);
	CHECK(!pending(fd, 50) && hits > 10);
}
static void t_storm_eintr(void) /* the same without SA_RESTART: EINTR or an event, never both, none lost */
{
	two_files();
	handle(SIGALRM, 0);
	pid_t c = fork();
	if (!c) {
		for (int i = 0; i < 200; i++) {
			ms_sleep(3);
			GIVES(notify(peer, p.b), 0);
			EXPECT_EVENT(peer, p.b);
		}
		_exit(0);
	}
	timer(1, 1);
	for (int i = 0; i < 200; ) {
		port_t port = 0;
		int n = read(fd, &port, 4);
		if (n < 0) {
			CHECK(errno == EINTR);
			continue;
		}
		CHECK(n == 4 && port == p.a);
		GIVES(write(fd, &port, 4), 4);
		GIVES(notify(fd, p.a), 0);
		i++;
	}
	timer(0, 0);
	int st;
	while (waitpid(c, &st, 0) < 0)
		CHECK(errno == EINTR);
	GIVES(st, 0);
}
static void t_masked_signal(void) /* a signal that is blocked or ignored doesn't interrupt */
{
	sigset_t s;
	two_files();
	pid_t c = fork();
	if (!c) {
		handle(SIGUSR1, 0);
		signal(SIGUSR2, SIG_IGN);
		sigemptyset(&s), sigaddset(&s, SIGUSR1);
		sigprocmask(SIG_BLOCK, &s, 0);
		reads_one(fd, p.a);
		GIVES(hits, 0);
		sigprocmask(SIG_UNBLOCK, &s, 0);
		GIVES(hits, 1);
		_exit(0);
	}
	wait_asleep(c);
	for (int i = 0; i < 5; i++) {
		GIVES(kill(c, SIGUSR1), 0);
		GIVES(kill(c, SIGUSR2), 0);
		GIVES(kill(c, SIGCHLD), 0);
		ms_sleep(50);
		CHECK(waitpid(c, 0, WNOHANG) == 0);
	}
	GIVES(notify(peer, p.b), 0);
	CHILD_OK(c);
}
static void t_killed(void)
{
	int fds[2];
	port_t w;
	CHECK(pipe(fds) == 0);
	pid_t c = fork();
	if (!c) {
		int f = evtchn_open(0);
		w = witness(f);
		CHECK(write(fds[1], &w, sizeof w) == sizeof w);
		read(f, &w, 4);
		_exit(1);
	}
	GIVES(read(fds[0], &w, sizeof w), sizeof w);
	wait_asleep(c);
	CHECK(!released(w));
	GIVES(kill(c, SIGKILL), 0);
	int st;
	CHECK(waitpid(c, &st, 0) == c && WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
	CHECK(released_within(w, 2000));
}
static void t_terminated(void) /* a signal without a handler ends a blocked process; its event isn't eaten */
{
	two_files();
	pid_t c = reader();
	GIVES(kill(c, SIGTERM), 0);
	int st;
	CHECK(waitpid(c, &st, 0) == c && WIFSIGNALED(st) && WTERMSIG(st) == SIGTERM);
	GIVES(notify(peer, p.b), 0);
	EXPECT_EVENT(fd, p.a);
}
static void t_stopped(void)
{
	int st;
	two_files();
	pid_t c = reader();
	for (int i = 0; i < 3; i++) {
		GIVES(kill(c, SIGSTOP), 0);
		CHECK(waitpid(c, &st, WUNTRACED) == c && WIFSTOPPED(st));
		if (i == 2)
			GIVES(notify(peer, p.b), 0); /* the third time the event comes while it is stopped */
		ms_sleep(100);
		GIVES(kill(c, SIGCONT), 0);
		if (i < 2) {
			wait_asleep(c);
			CHECK(waitpid(c, &st, WNOHANG) == 0);
		}
	}
	CHILD_OK(c);
	c = reader(); /* and after a stop in the middle, an event that comes later */
	GIVES(kill(c, SIGSTOP), 0);
	CHECK(waitpid(c, &st, WUNTRACED) == c && WIFSTOPPED(st));
	GIVES(kill(c, SIGCONT), 0);
	ms_sleep(100);
	GIVES(notify(peer, p.b), 0);
	CHILD_OK(c);
}

static pid_t tids[2];
static volatile int done[2];
static void *thread_read(void *arg)
{
	int i = (long)arg;
	port_t port = 0;
	tids[i] = syscall(SYS_gettid);
	GIVES(read(fd, &port, 4), 4);
	GIVES(port, p.a);
	done[i] = 1;
	return 0;
}
static pthread_t blocked_thread(long i)
{
	pthread_t t;
	CHECK(pthread_create(&t, 0, thread_read, (void *)i) == 0);
	while (!*(volatile pid_t *)&tids[i])
		ms_sleep(1);
	wait_asleep(tids[i]);
	CHECK(!done[i]);
	return t;
}
static void t_closed(void) /* the read goes on with the file, and a later event comes to it; then the file is released */
{
	two_files();
	port_t w = witness(fd);
	pthread_t t = blocked_thread(0);
	GIVES(close(fd), 0);
	ms_sleep(100);
	CHECK(!done[0] && !released(w));
	FAILS(ioctl(fd, EVTCHN_RESET, 0), EBADF);
	GIVES(notify(peer, p.b), 0);
	CHECK(pthread_join(t, 0) == 0);
	CHECK(released_within(w, 2000));
}
static void t_replaced(void) /* the number is another file's by now: the read is the old one's still */
{
	two_files();
	pthread_t t = blocked_thread(0);
	GIVES(dup2(open("/dev/null", O_RDWR), fd), fd);
	ms_sleep(50);
	CHECK(!done[0]);
	GIVES(notify(peer, p.b), 0);
	CHECK(pthread_join(t, 0) == 0);
}
static void t_two_threads(void)
{
	two_files();
	pthread_t t = blocked_thread(0), u = blocked_thread(1);
	GIVES(notify(peer, p.b), 0);
	for (int i = 0; i < 500 && !done[0] && !done[1]; i++)
		ms_sleep(10);
	ms_sleep(50);
	CHECK(done[0] + done[1] == 1); /* one event wakes one of them to good purpose */
	GIVES(unmask(fd, p.a), 0);
	GIVES(notify(peer, p.b), 0);
	CHECK(pthread_join(t, 0) == 0 && pthread_join(u, 0) == 0);
}
static void t_same_file(void) /* the other calls of the file work while one blocks */
{
	two_files();
	pthread_t t = blocked_thread(0);
	struct pair q = { 0, 0 };
	GIVES(notify(fd, p.a), 0);
	EXPECT_EVENT(peer, p.b);
	CHECK((q.a = bind_unbound(fd, self_dom)) > 0);
	GIVES(unbind(fd, q.a), 0);
	GIVES(write(fd, &p.a, 4), 4);
	GIVES(ioctl(fd, EVTCHN_RESET, 0), 0);
	GIVES(revents(fd, 0), POLLOUT | POLLWRNORM);
	ms_sleep(50);
	CHECK(!done[0]);
	GIVES(notify(peer, p.b), 0);
	CHECK(pthread_join(t, 0) == 0);
}
static void t_own_notify(void) /* and a notify by the same file wakes it */
{
	fd = evtchn_open(0);
	struct pair q = pair(fd);
	p = (struct pair){ q.b, q.a };
	pthread_t t = blocked_thread(0);
	GIVES(notify(fd, q.a), 0);
	CHECK(pthread_join(t, 0) == 0);
}
static void t_many_blocked(void) /* a hundred processes that block don't hinder another */
{
	pid_t c[100];
	two_files();
	for (int i = 0; i < 100; i++) {
		c[i] = fork();
		if (!c[i]) {
			port_t port;
			read(evtchn_open(0), &port, 4);
			_exit(1);
		}
		CHECK(c[i] > 0);
	}
	wait_asleep(c[99]);
	for (int i = 0; i < 100; i++) {
		GIVES(notify(peer, p.b), 0);
		EXPECT_EVENT(fd, p.a);
	}
	for (int i = 0; i < 100; i++)
		kill(c[i], SIGKILL);
	for (int i = 0; i < 100; i++)
		CHECK(waitpid(c[i], 0, 0) == c[i]);
	GIVES(notify(peer, p.b), 0);
	EXPECT_EVENT(fd, p.a);
}

int main(int argc, char **argv)
{
	static const struct subtest t[] = { { "woken", t_woken }, { "seven-bytes", t_seven_bytes }, { "readv", t_readv }, { "eintr", t_eintr },
		{ "restart", t_restart }, { "storm", t_storm }, { "storm-eintr", t_storm_eintr }, { "masked-signal", t_masked_signal },
		{ "killed", t_killed }, { "terminated", t_terminated }, { "stopped", t_stopped }, { "closed", t_closed },
		{ "replaced", t_replaced }, { "two-threads", t_two_threads }, { "same-file", t_same_file }, { "own-notify", t_own_notify },
		{ "many-blocked", t_many_blocked }, { 0 } };
	start(&argc, argv);
	run_subtests("block", t, argc, argv);
	return 0;
}
