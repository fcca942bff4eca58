/* libxenvchan's packets: of every size up to the ring's, in some order; what there is room for, what is ready; and the end, as the other sees it.
 *   vchan_packet server|client REMOTE_DOMID XENSTORE_PATH [RING]
 * The path, and the same with -2 after it, are in the server's part of the store. Prints "ok vchan_packet ROLE". */
#include "vchan.h"

static uint8_t *packet, *expected;
static int ring;

/* Every size from 1 to the ring's once: a step that has no divisor in common with a power of two goes round. */
static int size_of(int i) { return (i * 1597 + 5) % ring + 1; }
static void make(uint8_t *p, int i, int size)
{
	for (int k = 0; k < size; k++)
		p[k] = stream_byte(i, k);
}
static void send_all(struct libxenvchan *c)
{
	for (int i = 0; i < ring; i++) {
		make(packet, i, size_of(i));
		GIVES(libxenvchan_send(c, packet, size_of(i)), size_of(i));
	}
}
static void receive_all(struct libxenvchan *c)
{
	for (int i = 0; i < ring; i++) {
		int size = size_of(i);
		memset(packet, 0, size);
		GIVES(libxenvchan_recv(c, packet, size), size);
		make(expected, i, size);
		CHECK(!memcmp(packet, expected, size));
	}
}
/* One byte, to take turns by. */
static void turn_over(struct libxenvchan *c) { GIVES(libxenvchan_send(c, "t", 1), 1); }
static void my_turn(struct libxenvchan *c)
{
	char t;
	GIVES(libxenvchan_recv(c, &t, 1), 1);
	CHECK(t == 't');
}
/* A ring that is filled while nobody reads. */
static void fill(struct libxenvchan *c)
{
	c->blocking = 0;
	make(packet, 9, ring);
	GIVES(libxenvchan_buffer_space(c), ring);
	GIVES(libxenvchan_send(c, packet, ring + 1), 0); /* never fits */
	GIVES(libxenvchan_send(c, packet, 100), 100);
	GIVES(libxenvchan_buffer_space(c), ring - 100);
	GIVES(libxenvchan_send(c, packet + 100, ring - 99), 0); /* whole or not at all */
	GIVES(libxenvchan_buffer_space(c), ring - 100);
	GIVES(libxenvchan_send(c, packet + 100, ring - 100), ring - 100);
	GIVES(libxenvchan_buffer_space(c), 0);
	GIVES(libxenvchan_send(c, packet, 1), 0);
	GIVES(libxenvchan_write(c, packet, 1), 0);
	c->blocking = 1;
	GIVES(libxenvchan_send(c, packet, ring + 1), -1); /* doesn't wait for what can't be */
}
static void drain(struct libxenvchan *c)
{
	c->blocking = 0;
	while (libxenvchan_data_ready(c) < ring)
		vchan_wait(c);
	ms_sleep(500); /* the other looks at its full ring meanwhile; there is no room in it to say when it's done */
	make(expected, 9, ring);
	GIVES(libxenvchan_recv(c, packet, ring + 1), 0);
	GIVES(libxenvchan_data_ready(c), ring);
	GIVES(libxenvchan_recv(c, packet, 100), 100);
	GIVES(libxenvchan_data_ready(c), ring - 100);
	GIVES(libxenvchan_recv(c, packet + 100, ring - 99), 0);
	GIVES(libxenvchan_recv(c, packet + 100, ring - 100), ring - 100);
	CHECK(!memcmp(packet, expected, ring));
	GIVES(libxenvchan_data_ready(c), 0);
	GIVES(libxenvchan_recv(c, packet, 1), 0);
	GIVES(libxenvchan_read(c, packet, ring), 0);
	c->blocking = 1;
}
/* The last packet, and then the end. */
static void leave(struct libxenvchan *c)
{
	GIVES(libxenvchan_send(c, "the rest", 8), 8);
	libxenvchan_close(c);
}
/* What was sent before the end is still to be had; then nothing goes any more. */
static void see_the_end(struct libxenvchan *c)
{
	char rest[8];
	while (libxenvchan_is_open(c))
		vchan_wait(c);
	GIVES(libxenvchan_data_ready(c), 8);
	GIVES(libxenvchan_send(c, "x", 1), -1);
	GIVES(libxenvchan_recv(c, rest, 8), 8);
	CHECK(!memcmp(rest, "the rest", 8));
	GIVES(libxenvchan_recv(c, rest, 1), -1);
	GIVES(libxenvchan_read(c, rest, 1), -1);
	GIVES(libxenvchan_write(c, rest, 1), -1);
	libxenvchan_close(c);
}

int main(int argc, char **argv)
{
	char second[256];
	start(&argc, argv);
	if (argc < 4) {
		dprintf(2, "usage: vchan_packet server|client REMOTE_DOMID XENSTORE_PATH [RING]\n");
		return 2;
	}
	uint32_t remote = strtoul(argv[2], 0, 0);
	ring = argc > 4 ? atoi(argv[4]) : 4096;
	packet = malloc(ring + 1);
	expected = malloc(ring + 1);
	CHECK(packet && expected && ring >= 4096 && !(ring & (ring - 1)));
	snprintf(second, sizeof second, "%.200s-2", argv[3]);
	alarm(120);
	if (!strcmp(argv[1], "server")) {
		struct libxenvchan *c = vchan_server(remote, argv[3], ring, ring), *d;
		GIVES(libxenvchan_is_open(c), 2);
		c->blocking = 1;
		wait_for_client(c);
		receive_all(c);
		turn_over(c);
		my_turn(c);
		send_all(c);
		my_turn(c);
		turn_over(c);
		drain(c);
		turn_over(c);
		d = vchan_server(remote, second, 100, 100); /* two rings in one page, 1024 and 2048 bytes */
		d->blocking = 1;
		see_the_end(c);
		wait_for_client(d);
		my_turn(d);
		leave(d);
	} else {
		struct libxenvchan *c = vchan_client(remote, argv[3]);
		GIVES(libxenvchan_is_open(c), 1);
		c->blocking = 1;
		send_all(c);
		my_turn(c);
		turn_over(c);
		receive_all(c);
		turn_over(c);
		my_turn(c);
		fill(c);
		my_turn(c);
		GIVES(libxenvchan_buffer_space(c), ring);
		leave(c);
		c = vchan_client(remote, second);
		c->blocking = 1;
		turn_over(c);
		see_the_end(c);
	}
	printf("ok vchan_packet %s\n", argv[1]);
	return 0;
}
