/* libxenvchan's streams: N bytes each way at once, checked byte by byte, through rings of a given size.
 *   vchan_stream server|client REMOTE_DOMID XENSTORE_PATH N [RING [SEED]]
 * The path is in the server's part of the store. Prints what was sent and received, how fast, and "ok vchan_stream ROLE". */
#include "vchan.h"

enum { CHUNK = 65536 };

int main(int argc, char **argv)
{
	start(&argc, argv);
	if (argc < 5) {
		dprintf(2, "usage: vchan_stream server|client REMOTE_DOMID XENSTORE_PATH N [RING [SEED]]\n");
		return 2;
	}
	int server = !strcmp(argv[1], "server");
	uint32_t remote = strtoul(argv[2], 0, 0);
	uint64_t n = strtoull(argv[4], 0, 0), seed = argc > 6 ? strtoull(argv[6], 0, 0) : 1;
	size_t ring = argc > 5 ? strtoul(argv[5], 0, 0) : 65536;
	uint64_t mine = seed * 2 + server, theirs = seed * 2 + !server; /* each side has a stream of its own */
	struct libxenvchan *c = server ? vchan_server(remote, argv[3], ring, ring) : vchan_client(remote, argv[3]);
	c->blocking = 0;
	if (server)
		wait_for_client(c);
	static uint8_t out[CHUNK], in[CHUNK];
	uint64_t sent = 0, received = 0, sum_out = NO_DATA, sum_in = NO_DATA;
	size_t full = 0, at = 0; /* of `out`: what is in it, and what of that is sent */
	double begin = now();
	while (sent < n || received < n) {
		int did = 0, r;
		if (at == full && sent < n) {
			full = n - sent < CHUNK ? n - sent : CHUNK;
			for (at = 0; at < full; at++)
				out[at] = stream_byte(mine, sent + at);
			at = 0;
		}
		if (at < full) {
			r = libxenvchan_write(c, out + at, full - at);
			CHECK(r >= 0);
			sum_out = checksum(sum_out, out + at, r);
			at += r;
			sent += r;
			did |= r;
		}
		if (received < n) {
			r = libxenvchan_read(c, in, n - received < CHUNK ? n - received : CHUNK);
			CHECK(r >= 0);
			for (int i = 0; i < r; i++)
				if (in[i] != stream_byte(theirs, received + i)) {
					dprintf(2, "vchan_stream %s: byte %llu is wrong\n", argv[1], (unsigned long long)received + i);
					return 1;
				}
			sum_in = checksum(sum_in, in, r);
			received += r;
			did |= r;
		}
		if (!did)
			vchan_wait(c);
	}
	double took = now() - begin;
	/* Until the other has read all that we have written; then the client goes first. */
	if (server) {
		while (libxenvchan_is_open(c))
			vchan_wait(c);
	} else {
		while (libxenvchan_buffer_space(c) < 1 << c->write.order)
			vchan_wait(c);
	}
	GIVES(libxenvchan_data_ready(c), 0);
	libxenvchan_close(c);
	printf("sent %llu %016llx\nreceived %llu %016llx\n", (unsigned long long)sent, (unsigned long long)sum_out, (unsigned long long)received,
		(unsigned long long)sum_in);
	printf("%.1f MB/s each way\nok vchan_stream %s\n", n / took / 1e6, argv[1]);
	return 0;
}
