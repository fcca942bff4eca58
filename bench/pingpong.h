/* Ping-pong between two processes, over whatever means the including program brings.
 *
 * Two figures come out, each a median: `oneway`, from just before the sender's call to just after the receiver's wait has
 * returned, and `half`, half of a whole round trip, which also counts what each side does between the two.
 *
 * A wake-up on the same processor is ten times as quick as one on another, and which of the two happens is the scheduler's
 * choice. `apart` as an argument puts each process on a processor of its own; for one processor, use taskset.
 */
#ifndef IOCTLAB_BENCH_PINGPONG_H
#define IOCTLAB_BENCH_PINGPONG_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

enum { WARM_UP = 500, ROUNDS = 5000 };

/* What the two processes share apart from the means that is measured. */
struct court {
	_Atomic uint64_t sent_at;
	double oneway[ROUNDS];
};

struct player {
	void (*send)(struct player *);
	void (*wait)(struct player *);
	int in, out;
	unsigned port;
};

static inline struct court *make_court(void)
{
	struct court *court = mmap(NULL, sizeof *court, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (court == MAP_FAILED)
		err(1, "mmap");
	return court;
}

/* Moves this process to the side-th processor that it may use, if that is asked for. */
static inline void take_place(int argc, char **argv, int side)
{
	cpu_set_t allowed, one;
	if (argc < 2 || strcmp(argv[1], "apart") != 0)
		return;
	if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2)
		errx(1, "two processors are needed");
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || side-- != 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		if (sched_setaffinity(0, sizeof one, &one) != 0)
			err(1, "sched_setaffinity");
		return;
	}
}

static inline void send_stamped(struct player *self, struct court *court)
{
	atomic_store(&court->sent_at, now_ns());
	self->send(self);
}

/* The side that answers. It alone takes `oneway`, so that the two sides differ in nothing else. */
static inline void answer_pings(struct player *self, struct court *court)
{
	for (int round = -WARM_UP; round < ROUNDS; round++) {
		self->wait(self);
		uint64_t arrived = now_ns();
		if (round >= 0)
			court->oneway[round] = (double)(arrived - atomic_load(&court->sent_at));
		self->send(self);
	}
}

/* The side that begins; it prints both figures once the other has ended. */
static inline int begin_pings(struct player *self, struct court *court, pid_t other)
{
	static double half[ROUNDS];
	int status;
	for (int round = -WARM_UP; round < ROUNDS; round++) {
		uint64_t start = now_ns();
		send_stamped(self, court);
		self->wait(self);
		if (round >= 0)
			half[round] = (double)(now_ns() - start) / 2;
	}
	if (waitpid(other, &status, 0) != other || status != 0)
		errx(1, "the other side failed");
	printf("oneway %.0f\nhalf %.0f\n", median(court->oneway, ROUNDS), median(half, ROUNDS));
	return 0;
}

#endif
