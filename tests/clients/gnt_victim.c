/* Programs that are killed while they share memory, and the one on the other side, who must notice and lose nothing.
 *   gnt_victim map REMOTE REF PORT      maps the page, asks for byte and event at its end, unmaps it, and so on
 *   gnt_victim write REMOTE REF PORT    maps it likewise, and writes to it
 *   gnt_victim own REMOTE PORT          grants a page of its own, and writes to it; says "page REF"
 *       Each says "armed" on standard output once its end will be noticed, and goes on until it is killed. PORT is the other's, meant for us.
 *   gnt_victim keeper REMOTE            the other side. What it hears, and says:
 *       begin                   begin               first of all: it has counted the pages that can be granted
 *       give                    page REF PORT       a page and a port for a `map` or `write`
 *       died ARMED              fine                it is dead: the byte is cleared and the event comes (if it was armed), the page is as it was
 *       port                    port PORT           a port for an `own`
 *       take REF                taken               its page, which is mapped and read
 *       orphaned ARMED          fine                it is dead: the same, and its page can still be used
 *       end                     end                 nothing is left: as many pages can be granted as at the beginning
 *   gnt_victim killer REMOTE SEED N     starts victims, kills each at a random moment, and talks to a keeper through standard input and output
 *   gnt_victim SEED N                   killer and keeper at once, of one domain
 * `pair.sh` connects killer and keeper, in two domains. At the end: "killed N" and "ok gnt_victim". */
#include "grant.h"
#include "talk.h"
#include <sys/prctl.h>

/* In each page: a byte that lives as long as the victim, one that it writes, and a signature of its owner. */
enum { ALIVE = 8, WRITTEN = 100, SIGNED = 2000 };

static uint64_t state;
static unsigned below(unsigned n) /* xorshift */
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 11) % n;
}

/* The victims */

static volatile int *armed_flag; /* where the killer looks, if there is one */
static void armed(int first)
{
	if (armed_flag)
		*armed_flag = 1;
	else if (first)
		say("armed");
}
static port_t bind_peer(int ev, uint32_t remote, port_t port)
{
	int r = bind_interdomain(ev, remote, port);
	CHECK(r > 0);
	EXPECT_EVENT(ev, (port_t)r); /* binding raises one */
	return r;
}
static void user(uint32_t remote, uint32_t ref, port_t peer, int keep)
{
	int ev = evtchn_open(O_CLOEXEC), dev = gntdev_open(O_CLOEXEC);
	port_t port = bind_peer(ev, remote, peer);
	uint64_t index;
	for (int i = 0;; i++) {
		uint8_t *p = map_grants(dev, remote, &ref, 1, RW, &index);
		/* In this order: whoever is killed in between hasn't set what nobody would clear. */
		CHECK(set_notify(dev, index + ALIVE, CLEAR_BYTE | SEND_EVENT, port) == 0);
		p[ALIVE] = 1;
		/* Once is enough: after the first event it can't be told whether there was another. */
		armed(i == 0);
		do
			for (int k = 0; k < 1000; k++)
				p[WRITTEN + k] = k;
		while (keep);
		CHECK(munmap(p, PAGE) == 0);
		CHECK(unmap_refs(dev, index, 1) == 0);
	}
}
static void owner(uint32_t remote, port_t peer, volatile uint32_t *ref_to)
{
	int ev = evtchn_open(O_CLOEXEC), alloc = gntalloc_open(O_CLOEXEC);
	port_t port = bind_peer(ev, remote, peer);
	uint32_t ref;
	uint64_t index;
	CHECK(alloc_refs(alloc, remote, WRITABLE, 1, &ref, &index) == 0);
	uint8_t *p = map_at(alloc, 1, RW, index);
	CHECK(p != MAP_FAILED);
	p[SIGNED] = 0x5a;
	CHECK(set_notify(alloc, index + ALIVE, CLEAR_BYTE | SEND_EVENT, port) == 0);
	p[ALIVE] = 1;
	if (ref_to)
		*ref_to = ref;
	else
		say("page %u", ref);
	armed(1);
	for (;;)
		for (int k = 0; k < 1000; k++)
			p[WRITTEN + k] = k;
}

/* The keeper */

static int ev, alloc, dev;
static port_t port;
static int event_within(int ms)
{
	port_t got;
	if (!pending(ev, ms))
		return 0;
	GIVES(read(ev, &got, 4), 4);
	GIVES(got, port);
	CHECK(unmask(ev, got) == 0);
	return 1;
}
static void new_port(uint32_t remote)
{
	ev = evtchn_open(O_CLOEXEC);
	int r = bind_unbound(ev, remote);
	CHECK(r > 0);
	port = r;
}
/* The byte's page, after the death: the end has been noticed if it was to be. */
static void mourn(volatile uint8_t *page, int was_armed)
{
	if (was_armed) {
		CHECK(event_within(5000));
		for (int i = 0; page[ALIVE] && i < 500; i++)
			ms_sleep(10);
		CHECK(page[ALIVE] == 0);
	}
	CHECK(page[SIGNED] == 0x5a);
	page[0] = 42; /* it's still to be written to, too */
	CHECK(page[0] == 42);
}
/* A page whose owner has died and that nobody maps any more can't be mapped again (a while later: a kernel puts off freeing, and then frees ten a second). */
static int gone(uint32_t remote, uint32_t ref)
{
	for (int tries = 0; tries < 1200; tries++, ms_sleep(50)) {
		uint64_t index;
		int fd = gntdev_open(O_CLOEXEC);
		CHECK(map_refs(fd, remote, &ref, 1, &index) == 0);
		uint8_t *p = map_at(fd, 1, RW, index);
		if (p == MAP_FAILED)
			return close(fd) == 0;
		CHECK(munmap(p, PAGE) == 0 && close(fd) == 0);
	}
	return 0;
}
static void keeper(uint32_t remote)
{
	uint8_t *page = 0, *taken = 0;
	uint64_t index = 0;
	uint32_t ref = 0, orphan = 0;
	char *line;
	hear("begin");
	unsigned before = free_pages(remote);
	say("begin");
	while (*(line = hear_line())) {
		unsigned number;
		if (!strcmp(line, "give")) {
			new_port(remote);
			alloc = gntalloc_open(O_CLOEXEC);
			CHECK(alloc_refs(alloc, remote, WRITABLE, 1, &ref, &index) == 0);
			page = map_at(alloc, 1, RW, index);
			CHECK(page != MAP_FAILED && page[ALIVE] == 0 && page[SIGNED] == 0);
			page[SIGNED] = 0x5a;
			say("page %u %u", ref, port);
		} else if (sscanf(line, "died %u", &number) == 1) {
			mourn(page, number);
			CHECK(munmap(page, PAGE) == 0 && close(alloc) == 0 && close(ev) == 0);
			say("fine");
		} else if (!strcmp(line, "port")) {
			new_port(remote);
			say("port %u", port);
		} else if (sscanf(line, "take %u", &number) == 1) {
			ref = number;
			dev = gntdev_open(O_CLOEXEC);
			taken = map_grants(dev, remote, &ref, 1, RW, &index);
			CHECK(taken[SIGNED] == 0x5a);
			say("taken");
		} else if (sscanf(line, "orphaned %u", &number) == 1) {
			if (taken) {
				mourn(taken, number);
				CHECK(munmap(taken, PAGE) == 0 && close(dev) == 0);
				taken = 0;
				orphan = ref;
			}
			CHECK(close(ev) == 0);
			say("fine");
		} else if (!strcmp(line, "end")) {
			CHECK(all_free(remote, before));
			if (orphan)
				CHECK(gone(remote, orphan));
			say("end");
			return;
		} else {
			dprintf(2, "keeper: heard \"%s\"\n", line);
			_exit(1);
		}
	}
	CHECK(!"the other side has said end");
}

/* The killer */

static void killer(uint32_t remote, long n)
{
	struct { volatile int armed; volatile uint32_t ref; } *shared = mmap(0, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	unsigned before = free_pages(remote);
	say("begin");
	hear("begin");
	for (long i = 0; i < n; i++) {
		unsigned kind = below(3), ref = 0, peer, late = below(8);
		shared->armed = 0;
		shared->ref = 0;
		say(kind < 2 ? "give" : "port");
		if (kind < 2)
			hear_numbers("page", 2, &ref, &peer);
		else
			hear_numbers("port", 1, &peer);
		pid_t c = fork();
		CHECK(c >= 0);
		if (!c) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			armed_flag = &shared->armed;
			if (kind < 2)
				user(remote, ref, peer, kind);
			owner(remote, peer, &shared->ref);
		}
		int took = 0;
		if (late) /* most are well on their way */
			for (int k = 0; !shared->armed && k < 20000; k++)
				usleep(500);
		if (kind == 2 && shared->armed) {
			say("take %u", shared->ref);
			hear("taken");
			took = 1;
		}
		usleep(below(3000));
		/* A page that nobody took while the owner lived is nobody's business. */
		CHECK(kill(c, SIGKILL) == 0);
		int st;
		CHECK(waitpid(c, &st, 0) == c);
		CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
		if (kind < 2)
			say("died %d", shared->armed);
		else
			say("orphaned %d", took);
		hear("fine");
	}
	CHECK(all_free(remote, before));
	say("end");
	hear("end");
	dprintf(2, "killed %ld\n", n);
}
static void both(long n)
{
	int there[2], back[2];
	CHECK(pipe2(there, O_CLOEXEC) == 0 && pipe2(back, O_CLOEXEC) == 0);
	int out = dup(1);
	fcntl(out, F_SETFD, FD_CLOEXEC);
	pid_t c = fork();
	CHECK(c >= 0);
	if (!c) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(there[0], 0);
		dup2(back[1], 1);
		close(there[1]);
		keeper(self_dom);
		_exit(0);
	}
	dup2(back[0], 0);
	dup2(there[1], 1);
	close(back[1]);
	killer(self_dom, n);
	CHILD_OK(c);
	fflush(stdout);
	dup2(out, 1);
	printf("killed %ld\nok gnt_victim\n", n);
}

int main(int argc, char **argv)
{
	start(&argc, argv);
	uint32_t remote = argc > 2 ? strtoul(argv[2], 0, 0) : 0;
	if (argc == 5 && (!strcmp(argv[1], "map") || !strcmp(argv[1], "write"))) {
		user(remote, strtoul(argv[3], 0, 0), strtoul(argv[4], 0, 0), argv[1][0] == 'w');
	} else if (argc == 4 && !strcmp(argv[1], "own")) {
		owner(remote, strtoul(argv[3], 0, 0), 0);
	} else if (argc == 3 && !strcmp(argv[1], "keeper")) {
		keeper(remote);
		dprintf(2, "ok gnt_victim keeper\n");
	} else if (argc == 5 && !strcmp(argv[1], "killer")) {
		state = strtoull(argv[3], 0, 0) * 0x9e3779b97f4a7c15 | 1;
		killer(remote, atol(argv[4]));
		dprintf(2, "ok gnt_victim killer\n");
	} else if (argc == 3) {
		state = strtoull(argv[1], 0, 0) * 0x9e3779b97f4a7c15 | 1;
		both(atol(argv[2]));
	} else {
		dprintf(2, "usage: gnt_victim map|write REMOTE REF PORT | own REMOTE PORT | keeper REMOTE | killer REMOTE SEED N | SEED N\n");
		return 2;
	}
	return 0;
}
