/* introduce DOMID...: tells xenstored of domains, as the toolstack does that has built them, and makes what they need in the store: their number
 * and a directory `data` of their own. What is there already is left alone. Prints "ok introduce". */
#include "check.h"
#include <xenctrl.h>
#include <xenstore.h>
#include <xen/hvm/params.h>

static struct xs_handle *xs;

static void own(const char *path, unsigned domid)
{
	struct xs_permissions p[1] = { { domid, XS_PERM_NONE } };
	CHECK(xs_mkdir(xs, XBT_NULL, path));
	CHECK(xs_set_permissions(xs, XBT_NULL, path, p, 1));
}
static void introduce(unsigned domid)
{
	char path[64], number[16];
	if (domid && !xs_is_domain_introduced(xs, domid)) {
		uint64_t port, page;
		xc_interface *xc = xc_interface_open(NULL, NULL, 0);
		CHECK(xc);
		CHECK(xc_hvm_param_get(xc, domid, HVM_PARAM_STORE_PFN, &page) == 0);
		CHECK(xc_hvm_param_get(xc, domid, HVM_PARAM_STORE_EVTCHN, &port) == 0);
		CHECK(xs_introduce_domain(xs, domid, page, port));
		xc_interface_close(xc);
	}
	snprintf(path, sizeof path, "/local/domain/%u/domid", domid);
	snprintf(number, sizeof number, "%u", domid);
	char *there = xs_read(xs, XBT_NULL, path, NULL);
	if (!there) {
		struct xs_permissions p[2] = { { 0, XS_PERM_NONE }, { domid, XS_PERM_READ } };
		CHECK(xs_write(xs, XBT_NULL, path, number, strlen(number)));
		CHECK(xs_set_permissions(xs, XBT_NULL, path, p, 2));
		snprintf(path, sizeof path, "/local/domain/%u/data", domid);
		own(path, domid);
	}
	free(there);
}

int main(int argc, char **argv)
{
	start(&argc, argv);
	CHECK((xs = xs_open(0)));
	for (int i = 1; i < argc; i++)
		introduce(strtoul(argv[i], 0, 0));
	xs_close(xs);
	printf("ok introduce\n");
	return 0;
}
