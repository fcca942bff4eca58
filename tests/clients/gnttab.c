/* libxengnttab: sharing, mapping and copying pages.
 *   gnttab [SUBTEST...]           both sides in this process, which maps what it has granted to its own domain
 *   gnttab share REMOTE_DOMID     grants pages to another domain, and says on standard output, a line each time, what the other needs to know
 *   gnttab map REMOTE_DOMID       maps and copies them; what it says is for the first one's standard input, and the reverse
 * The last two print "ok gnttab share" and "ok gnttab map" on standard error. `pair.sh` runs such programs. */
#include "grant.h"
#include "talk.h"
#include <xenevtchn.h>
#include <xengnttab.h>

static xengntshr_handle *shr;
static xengnttab_handle *tab;
static void open_both(void)
{
	CHECK((shr = xengntshr_open(NULL, 0)));
	CHECK((tab = xengnttab_open(NULL, 0)));
}
static uint8_t *share(uint32_t domid, int count, uint32_t *refs, int writable)
{
	uint8_t *p = xengntshr_share_pages(shr, domid, count, refs, writable);
	CHECK(p);
	return p;
}
/* Every byte of a page is told by its page's number and its place. */
static uint8_t expected(unsigned page, unsigned at) { return page * 31 + at * 7 + (at >> 8) + 1; }
static void fill(uint8_t *p, unsigned first, unsigned pages)
{
	for (unsigned i = 0; i < pages * PAGE; i++)
		p[i] = expected(first + i / PAGE, i % PAGE);
}
static int filled(const uint8_t *p, unsigned first, unsigned pages)
{
	for (unsigned i = 0; i < pages * PAGE; i++)
		if (p[i] != expected(first + i / PAGE, i % PAGE))
			return 0;
	return 1;
}

static void one(void)
{
	uint32_t ref;
	open_both();
	uint8_t *s = share(self_dom, 1, &ref, 1);
	for (unsigned i = 0; i < PAGE; i++)
		CHECK(s[i] == 0);
	fill(s, 1, 1);
	uint8_t *m = xengnttab_map_grant_ref(tab, self_dom, ref, RW);
	CHECK(m);
	CHECK(filled(m, 1, 1));
	fill(m, 2, 1);
	CHECK(filled(s, 2, 1));
	uint8_t *n = xengnttab_map_grant_ref(tab, self_dom, ref, PROT_READ); /* as often as one likes */
	CHECK(n && n != m && filled(n, 2, 1));
	GIVES(xengnttab_unmap(tab, m, 1), 0);
	s[5] = 99;
	CHECK(n[5] == 99);
	GIVES(xengnttab_unmap(tab, n, 1), 0);
	CHECK(s[5] == 99);
	GIVES(xengntshr_unshare(shr, s, 1), 0);
}
static void sixteen(void)
{
	uint32_t refs[16];
	open_both();
	uint8_t *s = share(self_dom, 16, refs, 1);
	fill(s, 0, 16);
	uint8_t *m = xengnttab_map_domain_grant_refs(tab, 16, self_dom, refs, RW);
	CHECK(m);
	CHECK(filled(m, 0, 16));
	fill(m, 100, 16);
	CHECK(filled(s, 100, 16));
	FAILS(xengnttab_unmap(tab, m, 15), EINVAL);
	CHECK(filled(m, 100, 16));
	GIVES(xengnttab_unmap(tab, m, 16), 0);
	GIVES(xengntshr_unshare(shr, s, 16), 0);
}
/* Pages of several areas and files, in another order, one of them twice. */
static void scattered(void)
{
	uint32_t a[3], b[4], c[2], domids[8], refs[8];
	open_both();
	uint8_t *sa = share(self_dom, 3, a, 1), *sb = share(self_dom, 4, b, 1);
	xengntshr_handle *other = xengntshr_open(NULL, 0);
	CHECK(other);
	uint8_t *sc = xengntshr_share_pages(other, self_dom, 2, c, 1);
	CHECK(sc);
	uint8_t *pages[8] = { sb + 3 * PAGE, sa, sc + PAGE, sb, sa + 2 * PAGE, sc, sb + PAGE, sa };
	uint32_t wanted[8] = { b[3], a[0], c[1], b[0], a[2], c[0], b[1], a[0] };
	for (int i = 0; i < 8; i++) {
		domids[i] = self_dom;
		refs[i] = wanted[i];
		fill(pages[i], i == 7 ? 1 : i, 1);
	}
	uint8_t *m = xengnttab_map_grant_refs(tab, 8, domids, refs, RW);
	CHECK(m);
	for (int i = 0; i < 8; i++)
		CHECK(filled(m + i * PAGE, i == 7 ? 1 : i, 1));
	for (int i = 0; i < 7; i++)
		fill(m + i * PAGE, 50 + i, 1);
	for (int i = 0; i < 7; i++)
		CHECK(filled(pages[i], 50 + i, 1));
	CHECK(filled(m + 7 * PAGE, 51, 1));
	GIVES(xengnttab_unmap(tab, m, 8), 0);
	GIVES(xengntshr_unshare(other, sc, 2), 0);
	GIVES(xengntshr_close(other), 0);
}
/* More references than fit in a page of the call's argument. */
static void many(void)
{
	enum { N = 600 };
	static uint32_t refs[N];
	open_both();
	uint8_t *s = share(self_dom, N, refs, 1);
	for (unsigned i = 0; i < N; i++)
		*(uint32_t *)(s + i * PAGE) = i * 2654435761u;
	uint8_t *m = xengnttab_map_domain_grant_refs(tab, N, self_dom, refs, RW);
	CHECK(m);
	for (unsigned i = 0; i < N; i++)
		CHECK(*(uint32_t *)(m + i * PAGE) == i * 2654435761u);
	GIVES(xengnttab_unmap(tab, m, N), 0);
	GIVES(xengntshr_unshare(shr, s, N), 0);
}
static void read_only(void)
{
	uint32_t ref;
	open_both();
	uint8_t *s = share(self_dom, 1, &ref, 0);
	fill(s, 3, 1);
	FAILS(xengnttab_map_grant_ref(tab, self_dom, ref, RW) ? 0 : -1, EINVAL);
	uint8_t *m = xengnttab_map_grant_ref(tab, self_dom, ref, PROT_READ);
	CHECK(m);
	CHECK(filled(m, 3, 1));
	fill(s, 4, 1);
	CHECK(filled(m, 4, 1));
	GIVES(xengnttab_unmap(tab, m, 1), 0);
	GIVES(xengntshr_unshare(shr, s, 1), 0);
}
static void refused(void)
{
	uint32_t refs[2] = { 0, 0x3fffff }, ref;
	int local;
	open_both();
	uint8_t *s = share(self_dom, 1, &ref, 1);
	refs[0] = ref;
	FAILS(xengnttab_map_domain_grant_refs(tab, 2, self_dom, refs, RW) ? 0 : -1, EINVAL); /* one of them isn't there */
	FAILS(xengnttab_map_grant_ref(tab, 0x5ff0, ref, RW) ? 0 : -1, EINVAL);                /* no such domain */
	FAILS(xengnttab_unmap(tab, &local, 1), EINVAL);
	FAILS(xengnttab_unmap(tab, NULL, 1), EINVAL);
	GIVES(xengnttab_set_max_grants(tab, 1000), 0); /* of the past; the library says it's done */
	uint8_t *m = xengnttab_map_grant_ref(tab, self_dom, ref, RW);
	CHECK(m);
	GIVES(xengnttab_unmap(tab, m, 1), 0);
	GIVES(xengntshr_unshare(shr, s, 1), 0);
}
static xenevtchn_handle *xce;
static struct pair ports;
static void open_ports(void)
{
	CHECK((xce = xenevtchn_open(NULL, 0)));
	ports = pair(xenevtchn_fd(xce));
}
static void expect_event(port_t port)
{
	EXPECT_EVENT(xenevtchn_fd(xce), port);
}
/* The byte is cleared and the event is sent when a mapping goes. */
static void notify_map(void)
{
	uint32_t ref;
	open_both();
	open_ports();
	uint8_t *s = share(self_dom, 1, &ref, 1);
	uint8_t *m = xengnttab_map_grant_ref_notify(tab, self_dom, ref, RW, 100, ports.a);
	CHECK(m);
	memset(s, 7, PAGE);
	GIVES(xengnttab_unmap(tab, m, 1), 0);
	CHECK(s[99] == 7 && s[100] == 0 && s[101] == 7);
	expect_event(ports.b);
	m = xengnttab_map_grant_ref_notify(tab, self_dom, ref, RW, 200, -1); /* only the byte */
	CHECK(m);
	GIVES(xengnttab_unmap(tab, m, 1), 0);
	CHECK(s[200] == 0);
	m = xengnttab_map_grant_ref_notify(tab, self_dom, ref, RW, -1, ports.a); /* only the event */
	CHECK(m);
	EXPECT_QUIET(xenevtchn_fd(xce));
	GIVES(xengnttab_close(tab), 0); /* the mapping lives on */
	CHECK(m[99] == 7);
	EXPECT_QUIET(xenevtchn_fd(xce));
	GIVES(munmap(m, PAGE), 0);
	expect_event(ports.b);
	FAILS((tab = xengnttab_open(NULL, 0), xengnttab_map_grant_ref_notify(tab, self_dom, ref, RW, 0, 4000)) ? 0 : -1, EINVAL); /* no such port */
	GIVES(xengntshr_unshare(shr, s, 1), 0);
}
static void notify_share(void)
{
	uint32_t ref;
	open_both();
	open_ports();
	uint8_t *s = xengntshr_share_page_notify(shr, self_dom, &ref, 1, 300, ports.a);
	CHECK(s);
	memset(s, 9, PAGE);
	uint8_t *m = xengnttab_map_grant_ref(tab, self_dom, ref, RW);
	CHECK(m && m[300] == 9);
	EXPECT_QUIET(xenevtchn_fd(xce));
	GIVES(xengntshr_unshare(shr, s, 1), 0);
	expect_event(ports.b);
	CHECK(m[299] == 9 && m[300] == 0 && m[301] == 9); /* still there, since it is mapped */
	m[300] = 1;
	GIVES(xengnttab_unmap(tab, m, 1), 0);
}
/* One segment of a copy. */
static xengnttab_grant_copy_segment_t from_grant(uint32_t domid, uint32_t ref, unsigned offset, void *to, unsigned len)
{
	xengnttab_grant_copy_segment_t s = { .dest.virt = to, .len = len, .flags = GNTCOPY_source_gref, .status = 77 };
	s.source.foreign.ref = ref;
	s.source.foreign.offset = offset;
	s.source.foreign.domid = domid;
	return s;
}
static xengnttab_grant_copy_segment_t to_grant(uint32_t domid, uint32_t ref, unsigned offset, void *from, unsigned len)
{
	xengnttab_grant_copy_segment_t s = { .source.virt = from, .len = len, .flags = GNTCOPY_dest_gref, .status = 77 };
	s.dest.foreign.ref = ref;
	s.dest.foreign.offset = offset;
	s.dest.foreign.domid = domid;
	return s;
}
static void copy(void)
{
	static uint8_t local[4 * PAGE] __attribute__((aligned(4096)));
	uint32_t refs[4], fixed;
	open_both();
	uint8_t *s = share(self_dom, 4, refs, 1), *ro = share(self_dom, 1, &fixed, 0);
	GIVES(xengnttab_grant_copy(tab, 0, NULL), 0);
	fill(s, 0, 4);
	memset(local, 0xee, sizeof local);
	xengnttab_grant_copy_segment_t in[3] = {
		from_grant(self_dom, refs[0], 0, local, PAGE),
		from_grant(self_dom, refs[1], 100, local + 2 * PAGE - 50, 200), /* over the end of a page here */
		from_grant(self_dom, refs[3], PAGE - 1, local + 3 * PAGE, 1),
	};
	GIVES(xengnttab_grant_copy(tab, 3, in), 0);
	for (int i = 0; i < 3; i++)
		CHECK(in[i].status == 0);
	CHECK(!memcmp(local, s, PAGE));
	CHECK(local[2 * PAGE - 51] == 0xee && !memcmp(local + 2 * PAGE - 50, s + PAGE + 100, 200) && local[2 * PAGE + 150] == 0xee);
	CHECK(local[3 * PAGE] == s[4 * PAGE - 1] && local[3 * PAGE + 1] == 0xee);

	fill(local, 200, 4);
	xengnttab_grant_copy_segment_t out[2] = {
		to_grant(self_dom, refs[2], 1000, local + PAGE - 1, 2),
		to_grant(self_dom, refs[3], 0, local + 1, PAGE), /* unaligned here */
	};
	GIVES(xengnttab_grant_copy(tab, 2, out), 0);
	CHECK(out[0].status == 0 && out[1].status == 0);
	CHECK(s[2 * PAGE + 999] == expected(2, 999) && !memcmp(s + 2 * PAGE + 1000, local + PAGE - 1, 2) && s[2 * PAGE + 1002] == expected(2, 1002));
	CHECK(!memcmp(s + 3 * PAGE, local + 1, PAGE));

	/* What fails, fails alone. */
	fill(s, 0, 4);
	memset(local, 0, sizeof local);
	xengnttab_grant_copy_segment_t some[5] = {
		from_grant(self_dom, refs[0], 0, local, 8),
		from_grant(self_dom, 0x3fffff, 0, local + PAGE, 8),
		from_grant(0x5ff0, refs[0], 0, local + PAGE, 8),
		to_grant(self_dom, fixed, 0, local, 8),
		from_grant(self_dom, refs[1], 0, local + 2 * PAGE, 8),
	};
	GIVES(xengnttab_grant_copy(tab, 5, some), 0);
	int16_t want[5] = { GNTST_okay, GNTST_bad_gntref, GNTST_bad_domain, GNTST_general_error, GNTST_okay };
	for (int i = 0; i < 5; i++)
		GIVES(some[i].status, want[i]);
	CHECK(!memcmp(local, s, 8) && local[PAGE] == 0 && !memcmp(local + 2 * PAGE, s + PAGE, 8) && ro[0] == 0);

	/* From a grant to another. */
	xengnttab_grant_copy_segment_t both = from_grant(self_dom, refs[0], 10, NULL, 20);
	both.flags |= GNTCOPY_dest_gref;
	both.dest.foreign.ref = refs[1];
	both.dest.foreign.domid = self_dom;
	both.dest.foreign.offset = 30;
	GIVES(xengnttab_grant_copy(tab, 1, &both), 0);
	CHECK(both.status == 0 && !memcmp(s + PAGE + 30, s + 10, 20));

	/* What is wrong in itself fails as a whole. */
	some[0] = from_grant(self_dom, refs[0], 4000, local, 97);
	FAILS(xengnttab_grant_copy(tab, 1, some), EINVAL);
	some[0] = from_grant(self_dom, refs[0], 0, local, 8);
	some[0].flags = 0; /* no grant at all */
	FAILS(xengnttab_grant_copy(tab, 1, some), EINVAL);
	some[0] = from_grant(self_dom, refs[0], 0, (void *)16, 8);
	FAILS(xengnttab_grant_copy(tab, 1, some), EFAULT);
}

/* Two domains */

enum { GONE_HERE = 8, GONE_THERE = 9, N = 16 };

static void sharer(uint32_t remote)
{
	uint32_t first, refs[N], fixed;
	open_both();
	CHECK((xce = xenevtchn_open(NULL, 0)));
	int port = xenevtchn_bind_unbound_port(xce, remote);
	CHECK(port > 0);
	uint8_t *page = xengntshr_share_page_notify(shr, remote, &first, 1, GONE_HERE, port);
	CHECK(page);
	uint8_t *pages = share(remote, N, refs, 1), *constant = share(remote, 1, &fixed, 0);
	fill(page, 1, 1);
	fill(pages, 10, N);
	fill(constant, 2, 1);
	say("grants %u %u %d", first, fixed, port);
	for (int i = 0; i < N; i++)
		say("ref %u", refs[i]);
	hear("mapped");
	CHECK(filled(page, 3, 1));
	CHECK(filled(pages, 50, N));
	fill(pages, 80, N);
	say("written");
	hear("copied");
	CHECK(filled(pages, 100, 1) && filled(pages + PAGE, 81, N - 1));
	page[GONE_THERE] = 1;
	say("unmap");
	expect_event(port);
	CHECK(page[GONE_THERE] == 0 && page[GONE_HERE] != 0);
	hear("unmapped");
	say("map again");
	hear("mapped");
	GIVES(xengntshr_unshare(shr, page, 1), 0);
	hear("seen");
	GIVES(xengntshr_close(shr), 0);
	CHECK(filled(pages, 200, 1)); /* by the copy that the other has made since */
	GIVES(munmap(pages, N * PAGE), 0);
	GIVES(munmap(constant, PAGE), 0);
	say("gone");
	hear("refused");
}
static void mapper(uint32_t remote)
{
	static uint8_t local[2 * PAGE];
	unsigned first, refs[N], fixed, port;
	open_both();
	CHECK((xce = xenevtchn_open(NULL, 0)));
	hear_numbers("grants", 3, &first, &fixed, &port);
	for (int i = 0; i < N; i++)
		hear_numbers("ref", 1, &refs[i]);
	int r = xenevtchn_bind_interdomain(xce, remote, port);
	CHECK(r > 0);
	port = r;
	expect_event(port); /* binding raises one here */
	uint8_t *page = xengnttab_map_grant_ref_notify(tab, remote, first, RW, GONE_THERE, port);
	CHECK(page);
	uint8_t *pages = xengnttab_map_domain_grant_refs(tab, N, remote, refs, RW);
	CHECK(pages);
	FAILS(xengnttab_map_grant_ref(tab, remote, fixed, RW) ? 0 : -1, EINVAL);
	uint8_t *constant = xengnttab_map_grant_ref(tab, remote, fixed, PROT_READ);
	CHECK(constant);
	CHECK(filled(page, 1, 1) && filled(pages, 10, N) && filled(constant, 2, 1));
	fill(page, 3, 1);
	fill(pages, 50, N);
	say("mapped");
	hear("written");
	CHECK(filled(pages, 80, N));
	xengnttab_grant_copy_segment_t in[2] = {
		from_grant(remote, refs[3], 0, local + 1, PAGE),
		from_grant(remote, refs[4] + 100000, 0, local, 1),
	};
	GIVES(xengnttab_grant_copy(tab, 2, in), 0);
	CHECK(in[0].status == 0 && in[1].status == GNTST_bad_gntref && !memcmp(local + 1, pages + 3 * PAGE, PAGE));
	fill(local, 100, 1);
	xengnttab_grant_copy_segment_t out[2] = { to_grant(remote, refs[0], 0, local, PAGE), to_grant(remote, fixed, 0, local, 1) };
	GIVES(xengnttab_grant_copy(tab, 2, out), 0);
	CHECK(out[0].status == 0 && out[1].status == GNTST_general_error);
	CHECK(filled(pages, 100, 1) && filled(constant, 2, 1));
	say("copied");
	hear("unmap");
	GIVES(xengnttab_unmap(tab, page, 1), 0);
	GIVES(xengnttab_unmap(tab, pages, N), 0);
	say("unmapped");
	hear("map again");
	page = xengnttab_map_grant_ref(tab, remote, first, RW);
	CHECK(page);
	page[GONE_HERE] = 1;
	say("mapped");
	expect_event(port);
	CHECK(page[GONE_HERE] == 0 && page[GONE_HERE + 2] == expected(3, GONE_HERE + 2));
	GIVES(xengnttab_unmap(tab, page, 1), 0);
	fill(local, 200, 1);
	out[0] = to_grant(remote, refs[0], 0, local, PAGE);
	GIVES(xengnttab_grant_copy(tab, 1, out), 0);
	CHECK(out[0].status == 0);
	GIVES(xengnttab_unmap(tab, constant, 1), 0);
	say("seen");
	hear("gone");
	FAILS(xengnttab_map_grant_ref(tab, remote, refs[0], RW) ? 0 : -1, EINVAL);
	FAILS(xengnttab_map_grant_ref(tab, remote, fixed, PROT_READ) ? 0 : -1, EINVAL);
	say("refused");
}

int main(int argc, char **argv)
{
	static const struct subtest subtests[] = {
		{ "one", one }, { "sixteen", sixteen }, { "scattered", scattered }, { "many", many }, { "read-only", read_only }, { "refused", refused },
		{ "notify-map", notify_map }, { "notify-share", notify_share }, { "copy", copy }, { 0, 0 },
	};
	start(&argc, argv);
	if (argc == 3 && (!strcmp(argv[1], "share") || !strcmp(argv[1], "map"))) {
		alarm(60);
		(strcmp(argv[1], "share") ? mapper : sharer)(strtoul(argv[2], 0, 0));
		dprintf(2, "ok gnttab %s\n", argv[1]);
		return 0;
	}
	run_subtests("gnttab", subtests, argc, argv);
	return 0;
}
