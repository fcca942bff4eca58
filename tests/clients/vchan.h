/* What the clients of libxenvchan share: both ends of a channel, and a stream of bytes that is told by a seed. */
#ifndef VCHAN_H
#define VCHAN_H
#include "check.h"
#include <libxenvchan.h>

/* The n-th byte of a stream. */
static uint8_t stream_byte(uint64_t seed, uint64_t n)
{
	uint64_t z = seed + (n / 8 + 1) * 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (z ^ z >> 31) >> (n % 8 * 8);
}
static uint64_t checksum(uint64_t sum, const uint8_t *p, size_t n) /* FNV-1a */
{
	while (n--)
		sum = (sum ^ *p++) * 0x100000001b3;
	return sum;
}
#define NO_DATA 0xcbf29ce484222325

/* The server makes the channel; the client waits until it is there. */
static struct libxenvchan *vchan_server(uint32_t remote, const char *path, size_t left, size_t right)
{
	struct libxenvchan *c = libxenvchan_server_init(NULL, remote, path, left, right);
	CHECK(c);
	return c;
}
static struct libxenvchan *vchan_client(uint32_t remote, const char *path)
{
	struct libxenvchan *c;
	for (double t = now(); !(c = libxenvchan_client_init(NULL, remote, path)); ms_sleep(20))
		CHECK(now() - t < 30);
	return c;
}
/* Waits for a change, for 30 s at most. */
static void vchan_wait(struct libxenvchan *c)
{
	struct pollfd q = { libxenvchan_fd_for_select(c), POLLIN, 0 };
	GIVES(poll(&q, 1, 30000), 1);
	GIVES(libxenvchan_wait(c), 0);
}
static void wait_for_client(struct libxenvchan *c)
{
	while (libxenvchan_is_open(c) == 2)
		vchan_wait(c);
	GIVES(libxenvchan_is_open(c), 1);
}
#endif
