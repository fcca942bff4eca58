/* Ping-pong over a pair of pipes: what a wake-up of another process costs on this machine without any interception. */
#include "pingpong.h"

static void send_byte(struct player *self)
{
	if (write(self->out, "", 1) != 1)
		err(1, "write");
}

static void wait_for_byte(struct player *self)
{
	char byte;
	if (read(self->in, &byte, 1) != 1)
		err(1, "read");
}

int main(int argc, char **argv)
{
	int there[2], back[2];
	if (pipe(there) != 0 || pipe(back) != 0)
		err(1, "pipe");
	struct court *court = make_court();
	struct player first = { send_byte, wait_for_byte, back[0], there[1], 0 };
	struct player second = { send_byte, wait_for_byte, there[0], back[1], 0 };
	pid_t other = fork();
	if (other < 0)
		err(1, "fork");
	take_place(argc, argv, other == 0);
	if (other == 0) {
		answer_pings(&second, court);
		_exit(0);
	}
	return begin_pings(&first, court, other);
}
