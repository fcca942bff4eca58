/* What every helper program of the benchmark shares: a clock, a median, and one way to fail.
 *
 * Each program prints lines of `name nanoseconds`, which `cargo xtask bench` reads.
 */
#ifndef IOCTLAB_BENCH_MEASURE_H
#define IOCTLAB_BENCH_MEASURE_H

#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static inline double median(double *samples, size_t count)
{
	qsort(samples, count, sizeof *samples, by_value);
	return count % 2 ? samples[count / 2] : (samples[count / 2 - 1] + samples[count / 2]) / 2;
}

/* Prints the median cost of `call(argument)` over batches, so that one preempted batch doesn't count.
 * A batch rather than a single call is timed because the cheapest calls cost about as much as the clock. */
static inline void measure_calls(const char *name, unsigned calls_in_batch, void (*call)(void *), void *argument)
{
	enum { BATCHES = 21 };
	double samples[BATCHES];
	for (unsigned i = 0; i < calls_in_batch / 4; i++)
		call(argument);
	for (int batch = 0; batch < BATCHES; batch++) {
		uint64_t start = now_ns();
		for (unsigned i = 0; i < calls_in_batch; i++)
			call(argument);
		samples[batch] = (double)(now_ns() - start) / calls_in_batch;
	}
	printf("%s %.0f\n", name, median(samples, BATCHES));
}

#endif
