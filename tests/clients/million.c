/* N events back and forth between two processes, each with a file of its own, none lost and none too many.
 * Usage: million [DEVICE] [N (1000000)] */
#include "check.h"
#include <sys/prctl.h>

/* Blocks for the next event, which must be for port, and unmasks it. */
static void wait_for(int fd, port_t port)
{
	port_t got = 0;
	GIVES(read(fd, &got, 4), 4);
	GIVES(got, port);
	GIVES(write(fd, &got, 4), 4);
}

int main(int argc, char **argv)
{
	start(&argc, argv);
	long n = argc > 1 ? atol(argv[1]) : 1000000, rounds = n / 2;
	int ours = evtchn_open(0), theirs = evtchn_open(0);
	struct pair p = pair_across(ours, theirs);
	double t = now();

	pid_t c = fork();
	CHECK(c >= 0);
	if (!c) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		CHECK(close(ours) == 0);
		for (long i = 0; i < rounds; i++) {
			wait_for(theirs, p.b);
			GIVES(notify(theirs, p.b), 0);
		}
		EXPECT_QUIET(theirs);
		_exit(0);
	}
	CHECK(close(theirs) == 0);
	for (long i = 0; i < rounds; i++) {
		GIVES(notify(ours, p.a), 0);
		wait_for(ours, p.a);
	}
	EXPECT_QUIET(ours);
	CHILD_OK(c);
	t = now() - t;
	printf("%ld events in %.1f s, %.1f us each\n", rounds * 2, t, t * 1e6 / (rounds * 2));
	printf("ok million\n");
	return 0;
}
