/* O_NONBLOCK at open, by fcntl and by FIONBIO; it belongs to the open file, not to the descriptor. Subtests by argv[1]. */
#include "check.h"

static port_t buf[4];

static void never_blocks(int fd)
{
	CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
	FAILS(read(fd, buf, 4), EAGAIN);
	FAILS(read(fd, buf, 7), EAGAIN);
	GIVES(read(fd, buf, 3), 0);
	GIVES(read(fd, buf, 0), 0);
}
static volatile sig_atomic_t alarms;
static void on_alarm(int s) { (void)s; alarms++; }
static void blocks(int fd) /* until the alarm interrupts it; no SA_RESTART */
{
	struct sigaction sa = { .sa_handler = on_alarm };
	sigaction(SIGALRM, &sa, 0);
	CHECK(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
	ualarm(150000, 150000); /* repeatedly, in case that the first comes too early */
	FAILS(read(fd, buf, 4), EINTR);
	ualarm(0, 0);
}

static void t_open(void)
{
	int fd = evtchn_open(O_NONBLOCK);
	never_blocks(fd);
	struct pair p = pair(fd);
	WORKS(fd, p);
	never_blocks(fd);
	never_blocks(open(device, O_RDONLY | O_NONBLOCK));
	never_blocks(open(device, O_RDWR | O_NDELAY));
}
static void t_fcntl(void)
{
	int fd = evtchn_open(0);
	blocks(fd);
	GIVES(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	never_blocks(fd);
	GIVES(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
	GIVES(fcntl(fd, F_SETFL, 0), 0);
	blocks(fd);
	GIVES(fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK | O_RDONLY | O_CREAT), 0); /* the rest is ignored */
	GIVES(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_RDWR | O_APPEND | O_NONBLOCK);
	never_blocks(fd);
}
static void t_dup(void)
{
	int fd = evtchn_open(0), d = dup(fd), other = evtchn_open(0);
	GIVES(fcntl(d, F_SETFL, O_NONBLOCK), 0);
	never_blocks(fd);
	never_blocks(d);
	CHECK(!(fcntl(other, F_GETFL) & O_NONBLOCK)); /* another open isn't concerned */
	GIVES(fcntl(fd, F_SETFL, 0), 0);
	blocks(d);
}
static void t_fork(void)
{
	int fd = evtchn_open(0);
	pid_t c = fork();
	if (!c) {
		GIVES(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
		_exit(0);
	}
	CHILD_OK(c);
	never_blocks(fd);
}
static void t_fionbio(void)
{
	int fd = evtchn_open(0), d = dup(fd), on = 1, off = 0;
	GIVES(ioctl(fd, FIONBIO, &on), 0);
	never_blocks(fd);
	never_blocks(d);
	GIVES(ioctl(d, FIONBIO, &off), 0);
	blocks(fd);
	FAILS(ioctl(fd, FIONBIO, 8L), EFAULT);
	FAILS(ioctl(fd, FIONBIO, NULL), EFAULT);
	blocks(fd);
	on = 77;
	GIVES(ioctl(fd, FIONBIO, &on), 0);
	never_blocks(fd);
}
static void t_while_blocked(void) /* a read that blocks goes on blocking when the flag comes */
{
	int fd = evtchn_open(0);
	struct pair p = pair(fd);
	pid_t c = fork();
	if (!c) {
		GIVES(read(fd, buf, 4), 4);
		GIVES(buf[0], p.b);
		_exit(0);
	}
	wait_asleep(c);
	GIVES(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	ms_sleep(100);
	CHECK(waitpid(c, 0, WNOHANG) == 0);
	GIVES(notify(fd, p.a), 0);
	CHILD_OK(c);
}

int main(int argc, char **argv)
{
	static const struct subtest t[] = { { "open", t_open }, { "fcntl", t_fcntl }, { "dup", t_dup }, { "fork", t_fork },
		{ "fionbio", t_fionbio }, { "while-blocked", t_while_blocked }, { 0 } };
	start(&argc, argv);
	run_subtests("nonblock", t, argc, argv);
	return 0;
}
