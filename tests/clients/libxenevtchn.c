/* Debian's libxenevtchn, two processes: one binds an unbound port, the other binds to it; events go back and forth. */
#include "check.h"
#include <sys/prctl.h>
#include <xenevtchn.h>

static int wait_port(xenevtchn_handle *xce)
{
	struct pollfd q = { xenevtchn_fd(xce), POLLIN, 0 };
	GIVES(poll(&q, 1, 10000), 1);
	return xenevtchn_pending(xce);
}

int main(int argc, char **argv)
{
	const int rounds = 1000;
	int fds[2], port;
	start(&argc, argv);
	CHECK(pipe(fds) == 0);
	pid_t c = fork(); /* before the open: a handle must not be used on both sides */
	CHECK(c >= 0);
	if (!c) {
		int remote, port;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(fds[1]);
		xenevtchn_handle *xce = xenevtchn_open(NULL, 0);
		CHECK(xce);
		GIVES(fcntl(xenevtchn_fd(xce), F_GETFD), FD_CLOEXEC);
		GIVES(read(fds[0], &remote, sizeof remote), sizeof remote);
		CHECK((port = xenevtchn_bind_interdomain(xce, self_dom, remote)) > 0);
		GIVES(wait_port(xce), port); /* binding raises it */
		GIVES(xenevtchn_unmask(xce, port), 0);
		GIVES(xenevtchn_notify(xce, port), 0);
		for (int i = 0; i < rounds; i++) {
			GIVES(wait_port(xce), port);
			GIVES(xenevtchn_unmask(xce, port), 0);
			GIVES(xenevtchn_notify(xce, port), 0);
		}
		GIVES(xenevtchn_unbind(xce, port), 0);
		GIVES(xenevtchn_close(xce), 0);
		_exit(0);
	}
	close(fds[0]);
	xenevtchn_handle *xce = xenevtchn_open(NULL, XENEVTCHN_NO_CLOEXEC);
	CHECK(xce);
	GIVES(fcntl(xenevtchn_fd(xce), F_GETFD), 0);
	CHECK((port = xenevtchn_bind_unbound_port(xce, self_dom)) > 0);
	CHECK(write(fds[1], &port, sizeof port) == sizeof port);
	GIVES(wait_port(xce), port); /* the child is there */
	GIVES(xenevtchn_unmask(xce, port), 0);
	for (int i = 0; i < rounds; i++) {
		GIVES(xenevtchn_notify(xce, port), 0);
		GIVES(xenevtchn_pending(xce), port); /* blocks */
		GIVES(xenevtchn_unmask(xce, port), 0);
	}
	CHILD_OK(c);

	FAILS(xenevtchn_notify(xce, port + 1), ENOTCONN);
	FAILS(xenevtchn_bind_interdomain(xce, self_dom, port + 1), EINVAL);
	FAILS(xenevtchn_bind_virq(xce, 99), EINVAL);
	xenevtchn_handle *again = xenevtchn_fdopen(NULL, dup(xenevtchn_fd(xce)), 0); /* as after a re-exec */
	CHECK(again);
	GIVES(xenevtchn_notify(again, port), 0);
	GIVES(xenevtchn_unbind(again, port), 0);
	GIVES(xenevtchn_close(again), 0);
	FAILS(xenevtchn_unbind(xce, port), ENOTCONN);
	FAILS(xenevtchn_restrict(xce, 0), EINVAL);
	GIVES(xenevtchn_restrict(xce, 5), 0);
	FAILS(xenevtchn_restrict(xce, 5), EACCES);
	FAILS(xenevtchn_bind_unbound_port(xce, 5), EACCES);
	FAILS(xenevtchn_bind_interdomain(xce, self_dom, 1), EACCES);
	GIVES(xenevtchn_close(xce), 0);
	printf("ok libxenevtchn\n");
	return 0;
}
