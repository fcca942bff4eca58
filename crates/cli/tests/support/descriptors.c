/* Very many descriptors. Subtests by argv[1]. */
#include "check.h"
#include <sys/resource.h>

#define MANY 600

static void raise_limit(void)
{
	struct rlimit r;
	CHECK(getrlimit(RLIMIT_NOFILE, &r) == 0);
	r.rlim_cur = r.rlim_max < 8192 ? r.rlim_max : 8192;
	CHECK(setrlimit(RLIMIT_NOFILE, &r) == 0);
	CHECK(r.rlim_cur > 1200);
}
static void open_many(int n)
{
	static int fd[MANY];
	static struct pair p[MANY];
	for (int i = 0; i < n; i++) {
		fd[i] = evtchn_open(i & 1 ? O_NONBLOCK : 0);
		p[i] = pair(fd[i]);
	}
	for (int i = 0; i < n; i += 3)
		WORKS(fd[i], p[i]);
	for (int i = 0; i < n; i++)
		GIVES(notify(fd[i], p[i].a), 0);
	for (int i = 0; i < n; i++) {
		CHECK(pending(fd[i], 1000));
		EXPECT_EVENT(fd[i], p[i].b);
	}
	for (int i = 0; i < n; i++)
		GIVES(close(fd[i]), 0);
}
static void t_two_hundred(void) { open_many(200); }
static void t_six_hundred(void) /* more than the numbers that devices are given */
{
	raise_limit();
	open_many(MANY);
}
static void t_crowded(void) /* ordinary files wherever the next free number is */
{
	raise_limit();
	static int own[2000];
	int null = open("/dev/null", O_RDWR), last = 0, n = 0;
	CHECK(null >= 0);
	while (last < 900)
		CHECK((own[n++] = last = dup(null)) >= 0);
	open_many(200);
	for (int i = 0; i < n; i++) { /* nothing was taken from them */
		char c;
		GIVES(read(own[i], &c, 1), 0);
		GIVES(write(own[i], "12345", 5), 5);
	}
	while (last < 1100)
		CHECK((own[n++] = last = dup(null)) >= 0);
	open_many(20);
}
static void t_every_number(void) /* a copy at each number works, ordinary or not */
{
	raise_limit();
	int fd = evtchn_open(0);
	struct pair p = pair(fd);
	for (int n = 3; n < 1100; n++) {
		if (n == fd || n == log_fd)
			continue;
		GIVES(dup2(fd, n), n);
		if (n % 7 == 0 || (n > 760 && n < 776) || n > 1016)
			WORKS(n, p);
	}
	for (int n = 3; n < 1100; n++)
		if (n != fd)
			GIVES(close(n), 0);
	WORKS(fd, p);
}

int main(int argc, char **argv)
{
	static const struct subtest t[] = { { "two-hundred", t_two_hundred }, { "six-hundred", t_six_hundred }, { "crowded", t_crowded },
		{ "every-number", t_every_number }, { 0 } };
	start(&argc, argv);
	run_subtests("descriptors", t, argc, argv);
	return 0;
}
