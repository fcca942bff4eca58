/* The file across fork, vfork, posix_spawn and exec, and its release when the last process goes. Subtests by argv[1]. */
#include "check.h"
#include <spawn.h>

static char **self_argv;
#define SELF "/proc/self/exe"

/* argv of the new program: works FD A B | closed FD | unmasked FD PORT */
static int after_exec(char **argv)
{
	int fd = atoi(argv[2]);
	if (!strcmp(argv[1], "works")) {
		struct pair p = { atoi(argv[3]), atoi(argv[4]) };
		WORKS(fd, p);
		GIVES(unbind(fd, bind_unbound(fd, self_dom)), 0);
	} else if (!strcmp(argv[1], "closed")) {
		FAILS(fcntl(fd, F_GETFD), EBADF);
		FAILS(ioctl(fd, EVTCHN_RESET, 0), EBADF);
		FAILS(read(fd, argv, 4), EBADF);
		if (argv[3])
			CHECK(released_within(atoi(argv[3]), 2000));
	}
	return 0;
}
static char **exec_args(const char *what, int fd, uint32_t a, uint32_t b)
{
	static char s[3][16], *v[7];
	snprintf(s[0], 16, "%d", fd);
	snprintf(s[1], 16, "%u", a);
	snprintf(s[2], 16, "%u", b);
	v[0] = self_argv[0], v[1] = "--exec", v[2] = (char *)what, v[3] = s[0], v[4] = s[1], v[5] = s[2];
	setenv("XEN_EVTCHN", device, 1);
	return v;
}

static void t_both_sides(void)
{
	int fd = evtchn_open(0);
	struct pair p = pair(fd);
	struct gate g = gate_new(), h = gate_new();
	pid_t c = fork();
	if (!c) {
		WORKS(fd, p);
		gate_open(g);
		gate_wait(h);
		GIVES(next_event(fd), p.b); /* raised by the parent */
		gate_open(g);
		_exit(0);
	}
	gate_wait(g);
	WORKS(fd, p);
	GIVES(notify(fd, p.a), 0);
	gate_open(h);
	gate_wait(g);
	GIVES(notify(fd, p.a), 0);
	EXPECT_QUIET(fd); /* the child's read masked it */
	GIVES(unmask(fd, p.b), 0);
	EXPECT_EVENT(fd, p.b);
	CHILD_OK(c);
	WORKS(fd, p);
}
static void t_child_binds(void) /* a port bound by the child belongs to the file */
{
	int fd = evtchn_open(0), pipefd[2];
	struct pair p;
	CHECK(pipe(pipefd) == 0);
	pid_t c = fork();
	if (!c) {
		p = pair(fd);
		CHECK(write(pipefd[1], &p, sizeof p) == sizeof p);
		_exit(0);
	}
	CHECK(read(pipefd[0], &p, sizeof p) == sizeof p);
	CHILD_OK(c);
	WORKS(fd, p);
}
static void t_child_closes(void)
{
	int fd = evtchn_open(0);
	struct pair p = pair(fd);
	port_t w = witness(fd);
	pid_t c = fork();
	if (!c) {
		GIVES(close(fd), 0);
		FAILS(ioctl(fd, EVTCHN_RESET, 0), EBADF);
		CHECK(!released(w));
		_exit(0);
	}
	CHILD_OK(c);
	WORKS(fd, p);
	CHECK(!released(w));
	GIVES(close(fd), 0);
	CHECK(released_within(w, 2000));
}
static void t_parent_closes(void)
{
	int fd = evtchn_open(0);
	struct pair p = pair(fd);
	port_t w = witness(fd);
	struct gate g = gate_new(), h = gate_new();
	pid_t c = fork();
	if (!c) {
		gate_wait(g);
		WORKS(fd, p);
		gate_open(h);
		gate_wait(g);
		_exit(0); /* without closing */
	}
	GIVES(close(fd), 0);
	FAILS(ioctl(fd, EVTCHN_RESET, 0), EBADF);
	gate_open(g);
	gate_wait(h);
	CHECK(!released(w));
	gate_open(g);
	CHILD_OK(c);
	CHECK(released_within(w, 2000));
}
static void t_grandchild(void) /* the middle one is gone; the last one has it still */
{
	int fd = evtchn_open(0), fds[2];
	struct pair p = pair(fd);
	port_t w = witness(fd);
	struct gate g = gate_new();
	CHECK(pipe(fds) == 0);
	pid_t c = fork();
	if (!c) {
		if (fork())
			_exit(0);
		close(fds[0]);
		gate_wait(g);
		WORKS(fd, p);
		CHECK(write(fds[1], "y", 1) == 1);
		gate_wait(g);
		_exit(0);
	}
	close(fds[1]);
	CHILD_OK(c);
	GIVES(close(fd), 0);
	CHECK(!released(w));
	gate_open(g);
	char y;
	GIVES(read(fds[0], &y, 1), 1);
	CHECK(!released(w));
	gate_open(g);
	GIVES(read(fds[0], &y, 1), 0); /* it has exited */
	CHECK(released_within(w, 2000));
}
static void t_sigkill(void)
{
	int pipefd[2];
	port_t w;
	CHECK(pipe(pipefd) == 0);
	pid_t c = fork();
	if (!c) {
		w = witness(evtchn_open(0));
		CHECK(write(pipefd[1], &w, sizeof w) == sizeof w);
		pause();
	}
	CHECK(read(pipefd[0], &w, sizeof w) == sizeof w);
	CHECK(!released(w));
	GIVES(kill(c, SIGKILL), 0);
	CHECK(waitpid(c, 0, 0) == c);
	CHECK(released_within(w, 2000));
}
static void t_sigkill_shared(void) /* the killed one wasn't the last */
{
	int fd = evtchn_open(0);
	struct pair p = pair(fd);
	port_t w = witness(fd);
	pid_t c = fork();
	if (!c) {
		dup(fd);
		pause();
		_exit(1);
	}
	wait_asleep(c);
	GIVES(kill(c, SIGKILL), 0);
	CHECK(waitpid(c, 0, 0) == c);
	ms_sleep(100);
	CHECK(!released(w));
	WORKS(fd, p);
	GIVES(close(fd), 0);
	CHECK(released_within(w, 2000));
}
static void t_exit(void) /* the only holder exits without closing */
{
	int pipefd[2];
	port_t w;
	CHECK(pipe(pipefd) == 0);
	pid_t c = fork();
	if (!c) {
		w = witness(evtchn_open(0));
		CHECK(write(pipefd[1], &w, sizeof w) == sizeof w);
		_exit(0);
	}
	CHECK(read(pipefd[0], &w, sizeof w) == sizeof w);
	CHILD_OK(c);
	CHECK(released_within(w, 2000));
}

static void t_exec(void)
{
	int fd = evtchn_open(0);
	struct pair p = pair(fd);
	pid_t c = fork();
	if (!c) {
		execv(SELF, exec_args("works", fd, p.a, p.b));
		CHECK(!"exec");
	}
	CHILD_OK(c);
	WORKS(fd, p);
}
static void t_exec_pending(void) /* no fork: state and an event go through the exec */
{
	int fd = evtchn_open(0);
	struct pair p = pair(fd);
	GIVES(unmask(fd, p.b), 0);
	execv(SELF, exec_args("works", fd, p.a, p.b));
	CHECK(!"exec");
}
static void t_exec_cloexec(void)
{
	int fd = evtchn_open(O_CLOEXEC);
	struct pair p = pair(fd);
	pid_t c = fork();
	if (!c) {
		char **v = exec_args("closed", fd, 0, 0);
		v[4] = 0;
		execv(SELF, v);
		CHECK(!"exec");
	}
	CHILD_OK(c);
	WORKS(fd, p);
	port_t w = witness(fd); /* and when it was the only one, exec releases the file */
	execv(SELF, exec_args("closed", fd, w, 0));
	CHECK(!"exec");
}
static void t_exec_fcntl(void) /* FD_CLOEXEC set and cleared later; one copy goes, the other stays */
{
	int fd = evtchn_open(O_CLOEXEC), d = dup(fd);
	struct pair p = pair(fd);
	GIVES(fcntl(fd, F_SETFD, 0), 0);
	GIVES(fcntl(d, F_SETFD, FD_CLOEXEC), 0);
	pid_t c = fork();
	if (!c) {
		execv(SELF, exec_args("works", fd, p.a, p.b));
		CHECK(!"exec");
	}
	CHILD_OK(c);
	c = fork();
	if (!c) {
		char **v = exec_args("closed", d, 0, 0);
		v[4] = 0;
		execv(SELF, v);
		CHECK(!"exec");
	}
	CHILD_OK(c);
	GIVES(ioctl(fd, FIOCLEX), 0);
	GIVES(fcntl(fd, F_GETFD), FD_CLOEXEC);
	GIVES(ioctl(fd, FIONCLEX), 0);
	GIVES(fcntl(fd, F_GETFD), 0);
}
static void t_vfork(void)
{
	int fd = evtchn_open(0);
	struct pair p = pair(fd);
	char **v = exec_args("works", fd, p.a, p.b);
	pid_t c = vfork();
	if (!c) {
		execv(SELF, v);
		_exit(1);
	}
	CHECK(c > 0);
	CHILD_OK(c);
	WORKS(fd, p);
}
static void t_spawn(void)
{
	int fd = evtchn_open(O_CLOEXEC);
	struct pair p = pair(fd);
	posix_spawn_file_actions_t fa;
	pid_t c;
	CHECK(posix_spawn_file_actions_init(&fa) == 0 && posix_spawn_file_actions_adddup2(&fa, fd, 7) == 0);
	char **v = exec_args("works", 7, p.a, p.b);
	GIVES(posix_spawn(&c, SELF, &fa, 0, v, environ), 0);
	CHILD_OK(c);
	CHECK(posix_spawn_file_actions_init(&fa) == 0 && posix_spawn_file_actions_addopen(&fa, 9, device, O_RDWR, 0) == 0);
	v = exec_args("works", 9, p.a, p.b);
	v[2] = "open"; /* opened by the spawn itself: enough that it starts */
	GIVES(posix_spawn(&c, SELF, &fa, 0, v, environ), 0);
	CHILD_OK(c);
	WORKS(fd, p);
}

int main(int argc, char **argv)
{
	static const struct subtest t[] = { { "both-sides", t_both_sides }, { "child-binds", t_child_binds },
		{ "child-closes", t_child_closes }, { "parent-closes", t_parent_closes }, { "grandchild", t_grandchild },
		{ "sigkill", t_sigkill }, { "sigkill-shared", t_sigkill_shared }, { "exit", t_exit }, { "exec", t_exec },
		{ "exec-pending", t_exec_pending }, { "exec-cloexec", t_exec_cloexec }, { "exec-fcntl", t_exec_fcntl },
		{ "vfork", t_vfork }, { "spawn", t_spawn }, { 0 } };
	start(&argc, argv);
	self_argv = argv;
	if (argc > 3 && !strcmp(argv[1], "--exec"))
		return after_exec(argv + 1);
	run_subtests("fork", t, argc, argv);
	return 0;
}
