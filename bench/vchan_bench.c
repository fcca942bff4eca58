/* vchan_bench [apart]: a channel over libxenvchan, with rings of $RING bytes (64 KiB), between two processes of the domain that this is run in ($XEN_SELF, or 0). It
 * starts a xenstored of its own, which libxenvchan needs to find the other side, unless $XENSTORED_PATH says where there is one.
 * Prints `stream`, `oneway` and `half`. */
#include "channel.h"

#include <glob.h>
#include <libxenvchan.h>
#include <signal.h>
#include <sys/prctl.h>
#include <xenstore.h>

static struct libxenvchan *channel;

static void send_bytes(struct player *self, const void *bytes, size_t count)
{
	(void)self;
	if (libxenvchan_write(channel, bytes, count) != (int)count)
		err(1, "libxenvchan_write");
}

static void receive_bytes(struct player *self, void *bytes, size_t count)
{
	(void)self;
	for (size_t at = 0; at < count;) {
		int done = libxenvchan_read(channel, (char *)bytes + at, count - at);
		if (done <= 0)
			err(1, "libxenvchan_read");
		at += (size_t)done;
	}
}

/* Where a xenstored works, and which process it is (0: not ours). */
static char directory[] = "/tmp/vchan_bench.XXXXXX", socket_path[64];

static pid_t start_xenstored(void)
{
	glob_t found;
	if (getenv("XENSTORED_PATH"))
		return 0;
	if (glob("/usr/lib/xen-4*/bin/xenstored", 0, NULL, &found) != 0)
		errx(1, "there is no xenstored: install xen-utils-4.17");
	if (!mkdtemp(directory))
		err(1, "mkdtemp");
	snprintf(socket_path, sizeof socket_path, "%s/socket", directory);
	setenv("XENSTORED_RUNDIR", directory, 1);
	setenv("XENSTORED_PATH", socket_path, 1);
	pid_t store = fork();
	if (store == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(found.gl_pathv[0], "xenstored", "-N", "-I", (char *)NULL);
		err(127, "%s", found.gl_pathv[0]);
	}
	if (store < 0)
		err(1, "fork");
	return store;
}

static void stop_xenstored(pid_t store)
{
	if (store == 0)
		return;
	kill(store, SIGTERM);
	waitpid(store, NULL, 0);
	unlink(socket_path);
	rmdir(directory);
}

/* libxenvchan's server looks for the number of its domain, which a toolstack has left there. */
static void name_domain(unsigned domain)
{
	char number[16];
	struct xs_handle *store = NULL;
	for (int tries = 0; !(store = xs_open(0)); tries++) {
		if (tries == 1000)
			err(1, "xs_open");
		usleep(10000);
	}
	snprintf(number, sizeof number, "%u", domain);
	if (!xs_write(store, XBT_NULL, "domid", number, (unsigned)strlen(number)))
		err(1, "xenstored doesn't answer");
	xs_close(store);
}

int main(int argc, char **argv)
{
	const char *self = getenv("XEN_SELF");
	unsigned domain = self ? (unsigned)strtoul(self, NULL, 0) : 0;
	char path[64], byte = 0;
	int ready[2];
	const char *size = getenv("RING");
	size_t ring = size ? strtoul(size, NULL, 0) : PIECE;
	pid_t store = start_xenstored();
	name_domain(domain);
	snprintf(path, sizeof path, "/local/domain/%u/data/vchan_bench", domain);
	struct player player = { send_ball, wait_for_ball, -1, -1, 0 };
	struct court *court = make_court();
	if (pipe(ready) != 0)
		err(1, "pipe");
	pid_t other = fork();
	if (other < 0)
		err(1, "fork");
	take_place(argc, argv, other == 0);
	if (other == 0) {
		if (read(ready[0], &byte, 1) != 1)
			errx(1, "the other side failed");
		channel = libxenvchan_client_init(NULL, (int)domain, path);
	} else {
		channel = libxenvchan_server_init(NULL, (int)domain, path, ring, ring);
		if (write(ready[1], "", 1) != 1)
			err(1, "write");
	}
	if (!channel)
		err(1, "libxenvchan");
	channel->blocking = 1;
	if (other == 0) {
		second_side(&player, court);
		/* The channel is the other side's to end. */
		_exit(0);
	}
	while (libxenvchan_is_open(channel) == 2)
		if (libxenvchan_wait(channel) != 0)
			err(1, "libxenvchan_wait");
	int status = first_side(&player, court, other);
	libxenvchan_close(channel);
	stop_xenstored(store);
	return status;
}
