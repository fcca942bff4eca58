/* channel_plain pipe|socket [apart]: a channel over pipes or a pair of Unix sockets, which is what a vchan is compared to. Prints `stream`, `oneway` and
 * `half`. */
#include "channel.h"

#include <sys/socket.h>

static void send_bytes(struct player *self, const void *bytes, size_t count)
{
	for (size_t at = 0; at < count;) {
		ssize_t done = write(self->out, (const char *)bytes + at, count - at);
		if (done <= 0)
			err(1, "write");
		at += (size_t)done;
	}
}

static void receive_bytes(struct player *self, void *bytes, size_t count)
{
	for (size_t at = 0; at < count;) {
		ssize_t done = read(self->in, (char *)bytes + at, count - at);
		if (done <= 0)
			err(1, "read");
		at += (size_t)done;
	}
}

int main(int argc, char **argv)
{
	int there[2], back[2];
	if (argc < 2 || (strcmp(argv[1], "pipe") != 0 && strcmp(argv[1], "socket") != 0))
		errx(2, "usage: channel_plain pipe|socket [apart]");
	struct player first = { send_ball, wait_for_ball, -1, -1, 0 }, second = first;
	if (strcmp(argv[1], "pipe") == 0) {
		if (pipe(there) != 0 || pipe(back) != 0)
			err(1, "pipe");
		first.in = back[0];
		first.out = there[1];
		second.in = there[0];
		second.out = back[1];
	} else {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, there) != 0)
			err(1, "socketpair");
		first.in = first.out = there[0];
		second.in = second.out = there[1];
	}
	struct court *court = make_court();
	pid_t other = fork();
	if (other < 0)
		err(1, "fork");
	take_place(argc - 1, argv + 1, other == 0);
	if (other == 0) {
		second_side(&second, court);
		_exit(0);
	}
	return first_side(&first, court, other);
}
