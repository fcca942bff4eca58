/* Two domains, by libxenevtchn:
 *   domains server REMOTE_DOMID PORTFILE N    binds an unbound port for the remote, writes its number to the file, answers N pings
 *   domains client REMOTE_DOMID PORTFILE N    waits for the file, binds to that port of the remote, pings N times */
#include "check.h"
#include <xenevtchn.h>

static xenevtchn_handle *xce;
static int port;

static void wait_event(void)
{
	struct pollfd q = { xenevtchn_fd(xce), POLLIN, 0 };
	GIVES(poll(&q, 1, 20000), 1);
	GIVES(xenevtchn_pending(xce), port);
	GIVES(xenevtchn_unmask(xce, port), 0);
}
static void server(uint32_t remote, const char *file, long n)
{
	char temp[4096];
	CHECK((port = xenevtchn_bind_unbound_port(xce, remote)) > 0);
	snprintf(temp, sizeof temp, "%.4000s.%d", file, getpid());
	FILE *f = fopen(temp, "w");
	CHECK(f && fprintf(f, "%d\n", port) > 0 && fclose(f) == 0);
	CHECK(rename(temp, file) == 0); /* it is there at once or not at all */
	for (long i = 0; i < n; i++) {
		wait_event();
		GIVES(xenevtchn_notify(xce, port), 0);
	}
}
static void client(uint32_t remote, const char *file, long n)
{
	FILE *f;
	int remote_port;
	for (double t = now(); !(f = fopen(file, "r")); ms_sleep(5))
		CHECK(errno == ENOENT && now() - t < 20);
	CHECK(fscanf(f, "%d", &remote_port) == 1);
	CHECK((port = xenevtchn_bind_interdomain(xce, remote, remote_port)) > 0);
	wait_event(); /* binding raises one here, and none there */
	for (long i = 0; i < n; i++) {
		GIVES(xenevtchn_notify(xce, port), 0);
		wait_event();
	}
	EXPECT_QUIET(xenevtchn_fd(xce));
}

int main(int argc, char **argv)
{
	start(&argc, argv);
	if (argc < 5) {
		dprintf(2, "usage: domains server|client REMOTE_DOMID PORTFILE N\n");
		return 2;
	}
	CHECK((xce = xenevtchn_open(NULL, 0)));
	(strcmp(argv[1], "server") ? client : server)(strtoul(argv[2], 0, 0), argv[3], atol(argv[4]));
	GIVES(xenevtchn_close(xce), 0);
	printf("ok domains %s\n", argv[1]);
	return 0;
}
