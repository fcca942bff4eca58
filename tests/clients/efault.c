/* Bad pointers, for each ioctl with an argument and for read and write, at every byte: EFAULT, and nothing has changed.
 * Subtests by argv[1]. */
#include "check.h"

static char *edge;      /* the first byte of a page that isn't mapped; the page below is readable and writable */
static char *edge_none; /* the same with a page that is PROT_NONE */
static char *readonly;  /* a page that can only be read */
static void *unmapped;

static char *two_pages(void)
{
	char *m = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	memset(m, 0, 8192);
	return m + 4096;
}
static void pages(void)
{
	edge = two_pages();
	CHECK(munmap(edge, 4096) == 0);
	unmapped = edge;
	edge_none = two_pages();
	CHECK(mprotect(edge_none, 4096, PROT_NONE) == 0);
	readonly = two_pages();
}
static void make_readonly(void) { CHECK(mprotect(readonly, 4096, PROT_READ) == 0); }

#define KERNEL 0xffffffff81000000ul
#define NBAD 9
static void *bad(int i)
{
	void *const list[NBAD] = { 0, (void *)8, (void *)KERNEL, (void *)0x8000000000000000ul, (void *)0x00007ffffffff000ul, (void *)-4ul,
				   (void *)-1ul, unmapped, edge_none };
	return list[i];
}

/* The calls of cmd that must fail: every bad pointer; every straddle, with the argument's own bytes before the edge. */
static void refuses(int fd, unsigned cmd, const void *arg, int size)
{
	for (int i = 0; i < NBAD; i++)
		FAILS(ioctl(fd, cmd, bad(i)), EFAULT);
	for (int k = 1; k < size; k++) {
		memcpy(edge - k, arg, k);
		FAILS(ioctl(fd, cmd, edge - k), EFAULT);
		memcpy(edge_none - k, arg, k);
		FAILS(ioctl(fd, cmd, edge_none - k), EFAULT);
	}
}
/* The call that must work: the argument right before the edge, at odd addresses, on a read-only page. */
static void *at_edge(const void *arg, int size) { return memcpy(edge - size, arg, size); }

static void t_binds(void)
{
	int fd = evtchn_open(0);
	uint32_t dom = self_dom, virq = 0;
	int base = bind_unbound(fd, self_dom); /* a free port is the lowest: a bind that went through would show */
	CHECK(base > 0);
	int next = bind_unbound(fd, self_dom);
	GIVES(unbind(fd, next), 0);
	struct { uint32_t dom, port; } inter = { self_dom, base };

	refuses(fd, EVTCHN_BIND_UNBOUND_PORT, &dom, 4);
	refuses(fd, EVTCHN_BIND_INTERDOMAIN, &inter, 8);
	refuses(fd, EVTCHN_BIND_VIRQ, &virq, 4);
	refuses(fd, EVTCHN_BIND_STATIC, &base, 4);
	EXPECT_QUIET(fd);

	GIVES(ioctl(fd, EVTCHN_BIND_UNBOUND_PORT, at_edge(&dom, 4)), next);
	GIVES(unbind(fd, next), 0);
	memcpy(edge - 5, &dom, 4);
	GIVES(ioctl(fd, EVTCHN_BIND_UNBOUND_PORT, edge - 5), next);
	GIVES(unbind(fd, next), 0);
	memcpy(readonly + 1, &inter, 8);
	make_readonly();
	GIVES(ioctl(fd, EVTCHN_BIND_INTERDOMAIN, readonly + 1), next);
	EXPECT_EVENT(fd, next);
}
static void t_crossing(void) /* a struct over two good pages is a good struct */
{
	int fd = evtchn_open(0);
	char *m = two_pages();
	int a = bind_unbound(fd, self_dom);
	for (int k = 0; k <= 8; k++) {
		struct { uint32_t dom, port; } inter = { self_dom, a };
		memcpy(m - k, &inter, 8);
		int b = ioctl(fd, EVTCHN_BIND_INTERDOMAIN, m - k);
		CHECK(b > 0);
		EXPECT_EVENT(fd, b);
		memcpy(m - k, &b, 4);
		GIVES(ioctl(fd, EVTCHN_UNBIND, m - k), 0);
	}
}
static void t_ports(void)
{
	int fd = evtchn_open(0);
	struct pair p = pair(fd);
	refuses(fd, EVTCHN_NOTIFY, &p.a, 4);
	EXPECT_QUIET(fd);
	refuses(fd, EVTCHN_UNBIND, &p.a, 4);
	WORKS(fd, p);
	GIVES(ioctl(fd, EVTCHN_NOTIFY, at_edge(&p.a, 4)), 0);
	EXPECT_EVENT(fd, p.b);
	memcpy(readonly, &p.b, 4);
	make_readonly();
	GIVES(ioctl(fd, EVTCHN_UNBIND, readonly), 0);
	FAILS(notify(fd, p.b), ENOTCONN);
}
static void t_restrict(void)
{
	int fd = evtchn_open(0);
	uint16_t dom = 1;
	refuses(fd, EVTCHN_RESTRICT_DOMID, &dom, 2);
	struct pair p = pair(fd); /* not restricted */
	GIVES(ioctl(fd, EVTCHN_RESTRICT_DOMID, at_edge(&dom, 2)), 0);
	FAILS(bind_unbound(fd, self_dom), EACCES);
	FAILS(ioctl(fd, EVTCHN_RESTRICT_DOMID, bad(1)), EACCES); /* from now on they say EACCES before they look */
	FAILS(ioctl(fd, EVTCHN_BIND_VIRQ, bad(1)), EACCES);
	FAILS(ioctl(fd, EVTCHN_BIND_UNBOUND_PORT, bad(1)), EACCES);
	FAILS(ioctl(fd, EVTCHN_BIND_INTERDOMAIN, bad(1)), EFAULT);
	WORKS(fd, p);
}
static void t_reset(void) /* it has no argument */
{
	int fd = evtchn_open(0);
	for (int i = 0; i < NBAD; i++)
		GIVES(ioctl(fd, EVTCHN_RESET, bad(i)), 0);
}
static void t_unknown(void) /* ENOSYS without a look at the argument */
{
	int fd = evtchn_open(0);
	for (int i = 0; i < NBAD; i++)
		FAILS(ioctl(fd, _IOC(_IOC_NONE, 'E', 42, 4), bad(i)), ENOSYS);
}
static int in_user_range(const void *p) { return (uintptr_t)p < 0x7ffffffff000ul; }

static void t_read(void)
{
	int fd = evtchn_open(O_NONBLOCK);
	struct pair p = pair(fd);
	make_readonly();
	for (int i = 0; i < NBAD; i++) { /* nothing pending: only an address outside the user's range is looked at */
		FAILS(read(fd, bad(i), 4), in_user_range(bad(i)) ? EAGAIN : EFAULT);
		if (in_user_range(bad(i)))
			GIVES(read(fd, bad(i), 3), 0);
		else
			FAILS(read(fd, bad(i), 3), EFAULT);
	}
	GIVES(notify(fd, p.a), 0);
	CHECK(pending(fd, 1000));
	for (int i = 0; i < NBAD; i++) {
		FAILS(read(fd, bad(i), 4), EFAULT);
		FAILS(read(fd, bad(i), 8), EFAULT);
	}
	FAILS(read(fd, readonly, 4), EFAULT);
	for (int k = 1; k < 4; k++) {
		FAILS(read(fd, edge - k, 4), EFAULT);
		FAILS(read(fd, edge_none - k, 4), EFAULT);
		FAILS(read(fd, readonly - k, 4), EFAULT);
	}
	CHECK(pending(fd, 0));
	GIVES(read(fd, edge - 4, 100), 4); /* one event: the rest of the buffer isn't touched */
}
static void t_read_two(void)
{
	int fd = evtchn_open(O_NONBLOCK);
	struct pair p = pair(fd), q = pair(fd);
	port_t got[4];
	make_readonly();
	GIVES(notify(fd, p.a), 0);
	GIVES(notify(fd, q.a), 0);
	ms_sleep(20);
	for (int k = 1; k < 8; k++) { /* two events that don't fit: neither goes */
		FAILS(read(fd, edge - k, 8), EFAULT);
		FAILS(read(fd, edge_none - k, 100), EFAULT);
		FAILS(read(fd, readonly - k, 8), EFAULT);
	}
	GIVES(read(fd, edge - 7, 7), 4); /* at an odd address, with count rounded down */
	GIVES(read(fd, got, 16), 4);
	GIVES(got[0], q.b);
}
static void t_write(void)
{
	int fd = evtchn_open(O_NONBLOCK);
	struct pair p = pair(fd), q = pair(fd);
	port_t got[2];
	GIVES(notify(fd, p.a), 0);
	GIVES(notify(fd, q.a), 0);
	ms_sleep(20);
	GIVES(read(fd, got, 8), 8);
	GIVES(notify(fd, p.a), 0);
	GIVES(notify(fd, q.a), 0);
	EXPECT_QUIET(fd);
	got[0] = p.b, got[1] = q.b;
	for (int i = 0; i < NBAD; i++) {
		FAILS(write(fd, bad(i), 4), EFAULT);
		FAILS(write(fd, bad(i), 4096), EFAULT);
		if (in_user_range(bad(i)))
			GIVES(write(fd, bad(i), 3), 0);
		else
			FAILS(write(fd, bad(i), 3), EFAULT);
	}
	for (int k = 1; k < 8; k++) {
		memcpy(edge - k, got, k);
		FAILS(write(fd, edge - k, 8), EFAULT);
		FAILS(write(fd, edge - k, 4096), EFAULT);
		memcpy(edge_none - k, got, k);
		FAILS(write(fd, edge_none - k, 8), EFAULT);
	}
	EXPECT_QUIET(fd); /* not even the port that was wholly readable */
	memcpy(readonly, &p.b, 4);
	make_readonly();
	GIVES(write(fd, readonly, 4), 4);
	EXPECT_EVENT(fd, p.b);
	memcpy(edge - 4, &q.b, 4);
	GIVES(write(fd, edge - 4, 7), 4); /* count is rounded down first */
	EXPECT_EVENT(fd, q.b);
}

int main(int argc, char **argv)
{
	static const struct subtest t[] = { { "binds", t_binds }, { "crossing", t_crossing }, { "ports", t_ports }, { "restrict", t_restrict },
		{ "reset", t_reset }, { "unknown", t_unknown }, { "read", t_read }, { "read-two", t_read_two }, { "write", t_write }, { 0 } };
	start(&argc, argv);
	pages();
	run_subtests("efault", t, argc, argv);
	return 0;
}
