/* A channel of bytes between two processes, over whatever means the including program brings: how long 64 KiB take that are one of many, written in
 * pieces of that size (`stream`), and ping-pong of 64 bytes (`oneway` and `half`, as in pingpong.h). */
#ifndef IOCTLAB_BENCH_CHANNEL_H
#define IOCTLAB_BENCH_CHANNEL_H

#include "pingpong.h"

enum { PIECE = 65536, PIECES_IN_BATCH = 32, BATCHES = 21, BALL = 64 };

/* Sends and receives all of it. A player is a process's end of the channel. */
static void send_bytes(struct player *self, const void *bytes, size_t count);
static void receive_bytes(struct player *self, void *bytes, size_t count);

static char piece[PIECE];

static inline void send_ball(struct player *self)
{
	send_bytes(self, piece, BALL);
}

static inline void wait_for_ball(struct player *self)
{
	receive_bytes(self, piece, BALL);
}

/* The side that sends the stream and answers. */
static inline void second_side(struct player *self, struct court *court)
{
	for (int i = 0; i < (BATCHES + 1) * PIECES_IN_BATCH; i++)
		send_bytes(self, piece, PIECE);
	answer_pings(self, court);
}

static inline int first_side(struct player *self, struct court *court, pid_t other)
{
	double samples[BATCHES];
	for (int batch = -1; batch < BATCHES; batch++) {
		uint64_t start = now_ns();
		for (int i = 0; i < PIECES_IN_BATCH; i++)
			receive_bytes(self, piece, PIECE);
		if (batch >= 0)
			samples[batch] = (double)(now_ns() - start) / PIECES_IN_BATCH;
	}
	printf("stream %.0f\n", median(samples, BATCHES));
	return begin_pings(self, court, other);
}

#endif
