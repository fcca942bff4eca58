/* The part of Xen's <xen/sys/evtchn.h> that the benchmark needs, so that it builds without Xen's headers. */
#ifndef IOCTLAB_BENCH_EVTCHN_H
#define IOCTLAB_BENCH_EVTCHN_H

#include <err.h>
#include <sys/ioctl.h>

#define EVTCHN_BIND_INTERDOMAIN _IOC(_IOC_NONE, 'E', 1, 8)
#define EVTCHN_BIND_UNBOUND _IOC(_IOC_NONE, 'E', 2, 4)
#define EVTCHN_NOTIFY _IOC(_IOC_NONE, 'E', 4, 4)
#define EVTCHN_RESET _IOC(_IOC_NONE, 'E', 5, 0)

/* DOMID_SELF: the benchmark runs in whichever domain the lab gives it. */
#define EVTCHN_SELF 0x7ff0u

static inline unsigned evtchn_bind_unbound(int fd, unsigned remote_domain)
{
	int port = ioctl(fd, EVTCHN_BIND_UNBOUND, &remote_domain);
	if (port < 0)
		err(1, "BIND_UNBOUND_PORT");
	return (unsigned)port;
}

static inline unsigned evtchn_bind_interdomain(int fd, unsigned remote_domain, unsigned remote_port)
{
	unsigned bind[2] = { remote_domain, remote_port };
	int port = ioctl(fd, EVTCHN_BIND_INTERDOMAIN, bind);
	if (port < 0)
		err(1, "BIND_INTERDOMAIN");
	return (unsigned)port;
}

#endif
