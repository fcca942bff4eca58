/* What becomes of a mapping of granted pages, on the side that maps them (`dev-`, gntdev) and on the side that grants them (`alloc-`, gntalloc),
 * through fork, exec, exit, mremap, mprotect, madvise and partial or covering unmapping; and when the notification goes off that was asked for
 * on its unmapping. What is expected is what a paravirtualised domain does. */
#include "grant.h"
#include <setjmp.h>
#include <sys/prctl.h>

enum { PAGES = 4, AT = PAGE + 5 }; /* the byte that is to be cleared is in the second page */

static sigjmp_buf back;
static void on_fault(int sig) { siglongjmp(back, sig); }
/* What is read there, or minus the signal. */
static int peek(const uint8_t *p)
{
	int sig = sigsetjmp(back, 1);
	return sig ? -sig : *(const volatile uint8_t *)p;
}
static int poke(uint8_t *p, uint8_t value)
{
	int sig = sigsetjmp(back, 1);
	if (sig)
		return -sig;
	*(volatile uint8_t *)p = value;
	return 0;
}

/* The granted pages, seen by their owner, and the event channel on which it learns of the end of a mapping. */
static int ev, dev, alloc;
static struct pair ports;
static uint32_t refs[PAGES];
static uint64_t alloc_index, dev_index;
static uint8_t *own, *mapped;

static void watch(void)
{
	struct sigaction sa = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
	sigaction(SIGSEGV, &sa, 0);
	sigaction(SIGBUS, &sa, 0);
	ev = evtchn_open(O_CLOEXEC);
	ports = pair(ev);
}
static void fill(uint8_t *p)
{
	for (unsigned i = 0; i < PAGES; i++)
		memset(p + i * PAGE, 10 + i, PAGE);
}
static void grant(void)
{
	alloc = gntalloc_open(O_CLOEXEC);
	CHECK(alloc_refs(alloc, self_dom, WRITABLE, PAGES, refs, &alloc_index) == 0);
	own = map_at(alloc, PAGES, RW, alloc_index);
	CHECK(own != MAP_FAILED);
	fill(own);
}
static void map(void)
{
	mapped = map_grants(dev, self_dom, refs, PAGES, RW, &dev_index);
	CHECK(set_notify(dev, dev_index + AT, CLEAR_BYTE | SEND_EVENT, ports.a) == 0);
}
/* A mapping with its notification set. `own` is how its owner sees the pages. */
static void mapping(int flags)
{
	watch();
	grant();
	dev = gntdev_open(flags);
	map();
}
#define BYTE_LEFT() CHECK(own[AT] == 11)
#define BYTE_CLEARED() CHECK(own[AT] == 0 && own[AT - 1] == 11 && own[AT + 1] == 11)
#define NO_EVENT() EXPECT_QUIET(ev)
#define EVENT() EXPECT_EVENT(ev, ports.b)
/* Byte cleared by now, event not sent; then it is, as the map is given up. */
#define ENDS_BY_UNMAP() do { BYTE_CLEARED(); NO_EVENT(); CHECK(unmap_refs(dev, dev_index, PAGES) == 0); EVENT(); } while (0)

static void dev_munmap(void)
{
	mapping(O_CLOEXEC);
	CHECK(munmap(mapped, PAGES * PAGE) == 0);
	ENDS_BY_UNMAP();
	CHECK(peek(mapped) == -SIGSEGV);
}
static void dev_munmap_parts(void)
{
	mapping(O_CLOEXEC);
	CHECK(munmap(mapped, PAGE) == 0);
	CHECK(peek(mapped) == -SIGSEGV && peek(mapped + PAGE) == 11 && peek(mapped + 3 * PAGE) == 13);
	BYTE_LEFT();
	CHECK(munmap(mapped + 3 * PAGE, PAGE) == 0);
	BYTE_LEFT();
	CHECK(munmap(mapped + PAGE, PAGE) == 0); /* the one with the byte */
	BYTE_CLEARED();
	CHECK(peek(mapped + 2 * PAGE) == 12);
	CHECK(poke(mapped + 2 * PAGE, 99) == 0 && own[2 * PAGE] == 99);
	CHECK(unmap_refs(dev, dev_index, PAGES) == 0);
	NO_EVENT(); /* one page is left */
	CHECK(peek(mapped + 2 * PAGE) == 99);
	CHECK(munmap(mapped + 2 * PAGE, PAGE) == 0);
	EVENT();
}
static void dev_covered(void)
{
	mapping(O_CLOEXEC);
	CHECK(mmap(mapped + 2 * PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == mapped + 2 * PAGE);
	CHECK(peek(mapped + 2 * PAGE) == 0 && peek(mapped + 3 * PAGE) == 13);
	BYTE_LEFT();
	CHECK(mmap(mapped, PAGES * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == mapped);
	CHECK(peek(mapped) == 0);
	ENDS_BY_UNMAP();
	CHECK(munmap(mapped, PAGES * PAGE) == 0);
	map(); /* and covered by another map of the same pages */
	uint64_t first = dev_index;
	CHECK(map_refs(dev, self_dom, refs, PAGES, &dev_index) == 0);
	CHECK(mmap(mapped, PAGES * PAGE, RW, MAP_SHARED | MAP_FIXED, dev, dev_index) == mapped);
	CHECK(own[AT] == 0 && peek(mapped) == 10);
	CHECK(poke(mapped + AT, 11) == 0);
	NO_EVENT();
	CHECK(unmap_refs(dev, first, PAGES) == 0);
	EVENT();
	CHECK(peek(mapped + AT) == 11);
}
static void dev_close(void)
{
	mapping(O_CLOEXEC);
	int copy = dup(dev);
	CHECK(close(dev) == 0 && close(copy) == 0);
	CHECK(peek(mapped) == 10 && poke(mapped, 77) == 0 && own[0] == 77);
	BYTE_LEFT();
	NO_EVENT();
	CHECK(munmap(mapped, PAGES * PAGE) == 0);
	BYTE_CLEARED();
	EVENT();
}
/* A child has the file, but not the mapping. */
static void dev_fork(void)
{
	mapping(O_CLOEXEC);
	pid_t c = fork();
	CHECK(c >= 0);
	if (!c) {
		CHECK(peek(mapped) == -SIGSEGV);
		CHECK(munmap(mapped, PAGES * PAGE) == 0); /* of nothing */
		uint64_t index;
		uint8_t *m = map_grants(dev, self_dom, refs, 1, RW, &index);
		CHECK(peek(m) == 10 && poke(m, 55) == 0);
		_exit(0);
	}
	CHILD_OK(c);
	CHECK(own[0] == 55);
	BYTE_LEFT();
	NO_EVENT();
	CHECK(peek(mapped) == 55 && poke(mapped + AT, 66) == 0 && own[AT] == 66);
	struct gate g = gate_new();
	CHECK((c = fork()) >= 0);
	if (!c) {
		gate_wait(g);
		_exit(0);
	}
	CHECK(munmap(mapped, PAGES * PAGE) == 0);
	BYTE_CLEARED();
	CHECK(close(dev) == 0);
	NO_EVENT(); /* the child still has the file */
	gate_open(g);
	CHILD_OK(c);
	EVENT();
}
static void dev_exit(void)
{
	for (int how = 0; how < 3; how++) {
		watch();
		grant();
		pid_t c = fork();
		CHECK(c >= 0);
		if (!c) {
			dev = gntdev_open(0);
			map();
			CHECK(poke(mapped + 3 * PAGE, 100 + how) == 0);
			if (how == 1)
				kill(getpid(), SIGKILL);
			if (how == 2)
				abort();
			_exit(0);
		}
		int st;
		CHECK(waitpid(c, &st, 0) == c);
		EVENT();
		BYTE_CLEARED();
		CHECK(own[3 * PAGE] == 100 + how);
		close(ev);
		close(alloc);
		munmap(own, PAGES * PAGE);
	}
}
/* The process ends while another still has the file. */
static void dev_exit_file_left(void)
{
	watch();
	grant();
	struct gate g = gate_new();
	pid_t c = fork();
	CHECK(c >= 0);
	if (!c) {
		dev = gntdev_open(0);
		map();
		if (fork() == 0) {
			gate_wait(g);
			_exit(0);
		}
		_exit(0);
	}
	CHILD_OK(c);
	BYTE_CLEARED();
	NO_EVENT();
	gate_open(g);
	EVENT();
}
/* exec ends the mapping at once, and the file if it is to be closed. The program is a cat that waits for the end of its input. */
static void dev_exec(void)
{
	for (int keep = 0; keep < 2; keep++) {
		watch();
		grant();
		int in[2];
		CHECK(pipe2(in, O_CLOEXEC) == 0);
		pid_t c = fork();
		CHECK(c >= 0);
		if (!c) {
			dup2(in[0], 0);
			dev = gntdev_open(keep ? 0 : O_CLOEXEC);
			map();
			execlp("cat", "cat", (char *)0);
			_exit(9);
		}
		if (keep) {
			for (int i = 0; own[AT] && i < 500; i++)
				ms_sleep(10);
			NO_EVENT();
		} else {
			EVENT();
		}
		BYTE_CLEARED();
		close(in[0]);
		close(in[1]);
		CHILD_OK(c);
		if (keep)
			EVENT();
		close(ev);
		close(alloc);
		munmap(own, PAGES * PAGE);
	}
}
static void dev_mremap(void)
{
	mapping(O_CLOEXEC);
	FAILS(mremap(mapped, PAGES * PAGE, 2 * PAGES * PAGE, MREMAP_MAYMOVE), EFAULT);
	CHECK(peek(mapped + AT) == 11);
	CHECK(mremap(mapped, PAGES * PAGE, 2 * PAGE, 0) == mapped); /* shorter */
	CHECK(peek(mapped) == 10 && peek(mapped + 2 * PAGE) == -SIGSEGV);
	BYTE_LEFT();
	CHECK(mremap(mapped, 2 * PAGE, PAGE, 0) == mapped);
	BYTE_CLEARED();
	NO_EVENT();
	CHECK(munmap(mapped, PAGE) == 0);
	CHECK(unmap_refs(dev, dev_index, PAGES) == 0);
	EVENT();
}
/* Another place ends it, other than with common files: what was there is unmapped, and what is here can't be touched. */
static void dev_mremap_move(void)
{
	mapping(O_CLOEXEC);
	uint8_t *room = mmap(0, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(room != MAP_FAILED);
	CHECK(mremap(mapped, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room) == room);
	CHECK(peek(mapped) == -SIGSEGV && peek(room) == -SIGBUS && poke(room + 3 * PAGE, 1) == -SIGBUS);
	BYTE_CLEARED();
	NO_EVENT();
	CHECK(munmap(room, PAGES * PAGE) == 0);
	ENDS_BY_UNMAP();
}
/* So does another protection, for the pages that get it. */
static void dev_mprotect(void)
{
	mapping(O_CLOEXEC);
	CHECK(mprotect(mapped, PAGES * PAGE, RW) == 0); /* not another one */
	CHECK(peek(mapped) == 10 && poke(mapped, 21) == 0 && own[0] == 21);
	CHECK(mprotect(mapped, PAGE, PROT_READ) == 0);
	CHECK(peek(mapped) == -SIGBUS && poke(mapped, 1) == -SIGSEGV && poke(mapped + 2 * PAGE, 20) == 0 && own[2 * PAGE] == 20);
	BYTE_LEFT();
	CHECK(mprotect(mapped, PAGE, RW) == 0);
	CHECK(peek(mapped) == -SIGBUS);
	CHECK(mprotect(mapped + PAGE, PAGE, PROT_NONE) == 0);
	CHECK(peek(mapped + PAGE) == -SIGSEGV && peek(mapped + 3 * PAGE) == 13);
	BYTE_CLEARED();
	NO_EVENT();
	CHECK(munmap(mapped, PAGES * PAGE) == 0);
	ENDS_BY_UNMAP();
}
static void dev_madvise(void)
{
	mapping(O_CLOEXEC);
	CHECK(madvise(mapped, PAGE, MADV_DONTNEED) == 0);
	CHECK(peek(mapped) == -SIGBUS && peek(mapped + PAGE) == 11 && own[0] == 10);
	BYTE_LEFT();
	CHECK(madvise(mapped + PAGE, PAGE, MADV_DONTNEED) == 0);
	CHECK(peek(mapped + PAGE) == -SIGBUS && peek(mapped + 2 * PAGE) == 12);
	BYTE_CLEARED();
	NO_EVENT();
	CHECK(munmap(mapped, PAGES * PAGE) == 0);
	ENDS_BY_UNMAP();
}
/* As a buffer of other calls. */
static void dev_buffer(void)
{
	int p[2];
	mapping(O_CLOEXEC);
	CHECK(pipe(p) == 0);
	GIVES(write(p[1], mapped + PAGE - 2, 4), 4);
	uint8_t got[4];
	GIVES(read(p[0], got, 4), 4);
	CHECK(got[0] == 10 && got[1] == 10 && got[2] == 11 && got[3] == 11);
	GIVES(write(p[1], "abcd", 4), 4);
	GIVES(read(p[0], mapped + 3 * PAGE - 2, 4), 4);
	CHECK(!memcmp(own + 3 * PAGE - 2, "abcd", 4));
	GIVES(write(p[1], own, 8), 8);
	GIVES(read(p[0], own + 100, 8), 8);
}

/* The side that grants: the mapping is that of the pages themselves. The notification is the same. */
static void granting(int flags)
{
	watch();
	alloc = gntalloc_open(flags);
	CHECK(alloc_refs(alloc, self_dom, WRITABLE, PAGES, refs, &alloc_index) == 0);
	mapped = map_at(alloc, PAGES, RW, alloc_index);
	CHECK(mapped != MAP_FAILED);
	fill(mapped);
	CHECK(set_notify(alloc, alloc_index + AT, CLEAR_BYTE | SEND_EVENT, ports.a) == 0);
}
/* Another's view of the pages. */
static void view(void)
{
	dev = gntdev_open(O_CLOEXEC);
	own = map_grants(dev, self_dom, refs, PAGES, RW, &dev_index);
}
static void alloc_munmap(void)
{
	granting(O_CLOEXEC);
	view();
	CHECK(munmap(mapped, PAGES * PAGE) == 0);
	BYTE_LEFT(); /* it can be mapped again */
	NO_EVENT();
	mapped = map_at(alloc, PAGES, RW, alloc_index);
	CHECK(mapped != MAP_FAILED && mapped[2 * PAGE] == 12);
	CHECK(dealloc_refs(alloc, alloc_index, PAGES) == 0);
	BYTE_LEFT();
	NO_EVENT();
	CHECK(munmap(mapped, PAGES * PAGE) == 0);
	BYTE_CLEARED();
	EVENT();
}
static void alloc_munmap_parts(void)
{
	granting(O_CLOEXEC);
	view();
	CHECK(dealloc_refs(alloc, alloc_index, PAGES) == 0);
	CHECK(munmap(mapped + PAGE, PAGE) == 0);
	CHECK(peek(mapped) == 10 && peek(mapped + PAGE) == -SIGSEGV && peek(mapped + 2 * PAGE) == 12);
	BYTE_LEFT(); /* pages go together */
	CHECK(mmap(mapped, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == mapped);
	CHECK(munmap(mapped + 2 * PAGE, PAGE) == 0);
	BYTE_LEFT();
	NO_EVENT();
	CHECK(munmap(mapped + 3 * PAGE, PAGE) == 0);
	BYTE_CLEARED();
	EVENT();
}
/* A child has the mapping, too. */
static void alloc_fork(void)
{
	granting(O_CLOEXEC);
	view();
	struct gate g = gate_new();
	pid_t c = fork();
	CHECK(c >= 0);
	if (!c) {
		CHECK(peek(mapped + 3 * PAGE) == 13 && poke(mapped, 55) == 0);
		gate_wait(g);
		CHECK(peek(mapped) == 56);
		_exit(0);
	}
	for (int i = 0; mapped[0] != 55 && i < 500; i++)
		ms_sleep(10);
	CHECK(own[0] == 55);
	CHECK(poke(mapped, 56) == 0);
	CHECK(dealloc_refs(alloc, alloc_index, PAGES) == 0 && munmap(mapped, PAGES * PAGE) == 0);
	BYTE_LEFT();
	NO_EVENT();
	gate_open(g);
	CHILD_OK(c);
	BYTE_CLEARED();
	EVENT();
}
static void alloc_exit(void)
{
	unsigned before = free_pages(self_dom);
	for (int how = 0; how < 2; how++) {
		struct gate g = gate_new(), h = gate_new();
		static struct { uint32_t refs[PAGES]; } *shared;
		shared = mmap(0, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		CHECK(shared != MAP_FAILED);
		watch(); /* the ports are ours, and the notification names one: it must be the child's own */
		int w = bind_unbound(ev, self_dom);
		CHECK(w > 0);
		pid_t c = fork();
		CHECK(c >= 0);
		if (!c) {
			close(ev);
			ev = evtchn_open(0);
			int p = bind_interdomain(ev, self_dom, w);
			CHECK(p > 0);
			ports.a = p;
			alloc = gntalloc_open(0);
			CHECK(alloc_refs(alloc, self_dom, WRITABLE, PAGES, refs, &alloc_index) == 0);
			mapped = map_at(alloc, PAGES, RW, alloc_index);
			CHECK(mapped != MAP_FAILED);
			fill(mapped);
			CHECK(set_notify(alloc, alloc_index + AT, CLEAR_BYTE | SEND_EVENT, ports.a) == 0);
			memcpy(shared->refs, refs, sizeof refs);
			gate_open(g);
			gate_wait(h);
			if (how)
				kill(getpid(), SIGKILL);
			_exit(0);
		}
		gate_wait(g);
		memcpy(refs, shared->refs, sizeof refs);
		view();
		BYTE_LEFT();
		gate_open(h);
		CHECK(waitpid(c, 0, 0) == c);
		EXPECT_EVENT(ev, (port_t)w);
		BYTE_CLEARED();
		CHECK(own[3 * PAGE] == 13 && poke(own, 1) == 0); /* as long as they are mapped */
		CHECK(munmap(own, PAGES * PAGE) == 0 && close(dev) == 0 && close(ev) == 0);
		CHECK(all_free(self_dom, before));
	}
}
static void alloc_mremap(void)
{
	granting(O_CLOEXEC);
	view();
	FAILS(mremap(mapped, PAGES * PAGE, 2 * PAGES * PAGE, MREMAP_MAYMOVE), EFAULT);
	uint8_t *room = mmap(0, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(mremap(mapped, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room) == room);
	CHECK(peek(mapped) == -SIGSEGV && peek(room + AT) == 11 && poke(room, 91) == 0 && own[0] == 91);
	CHECK(dealloc_refs(alloc, alloc_index, PAGES) == 0);
	BYTE_LEFT();
	NO_EVENT();
	CHECK(munmap(room, PAGES * PAGE) == 0);
	BYTE_CLEARED();
	EVENT();
}
static void alloc_mprotect(void)
{
	granting(O_CLOEXEC);
	view();
	CHECK(mprotect(mapped, PAGE, PROT_READ) == 0);
	CHECK(peek(mapped) == 10 && poke(mapped, 1) == -SIGSEGV && poke(mapped + PAGE, 20) == 0);
	CHECK(mprotect(mapped, PAGE, PROT_NONE) == 0);
	CHECK(peek(mapped) == -SIGSEGV);
	CHECK(mprotect(mapped, PAGE, RW) == 0);
	CHECK(poke(mapped, 21) == 0 && own[0] == 21);
}
static void alloc_madvise(void)
{
	granting(O_CLOEXEC);
	view();
	CHECK(madvise(mapped, 2 * PAGE, MADV_DONTNEED) == 0);
	CHECK(peek(mapped) == -SIGBUS && peek(mapped + 2 * PAGE) == 12);
	BYTE_LEFT();
	CHECK(own[0] == 10); /* the page itself is still there */
	uint8_t *again = map_at(alloc, PAGES, RW, alloc_index);
	CHECK(again != MAP_FAILED && peek(again) == 10);
	NO_EVENT();
}

int main(int argc, char **argv)
{
	static const struct subtest subtests[] = {
		{ "dev-munmap", dev_munmap }, { "dev-munmap-parts", dev_munmap_parts }, { "dev-covered", dev_covered }, { "dev-close", dev_close },
		{ "dev-fork", dev_fork }, { "dev-exit", dev_exit }, { "dev-exit-file-left", dev_exit_file_left }, { "dev-exec", dev_exec },
		{ "dev-mremap", dev_mremap }, { "dev-mremap-move", dev_mremap_move }, { "dev-mprotect", dev_mprotect }, { "dev-madvise", dev_madvise }, { "dev-buffer", dev_buffer },
		{ "alloc-munmap", alloc_munmap }, { "alloc-munmap-parts", alloc_munmap_parts }, { "alloc-fork", alloc_fork }, { "alloc-exit", alloc_exit },
		{ "alloc-mremap", alloc_mremap }, { "alloc-mprotect", alloc_mprotect }, { "alloc-madvise", alloc_madvise },
		{ 0, 0 },
	};
	start(&argc, argv);
	run_subtests("mapping", subtests, argc, argv);
	return 0;
}
