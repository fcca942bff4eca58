"""Waits for an event in poll(), by way of libxenevtchn, the library that Xen's own tools use."""

import ctypes
import select

DOMID_SELF = 0x7FF0

library = ctypes.CDLL("libxenevtchn.so.1", use_errno=True)
library.xenevtchn_open.restype = ctypes.c_void_p
for function in ("fd", "bind_unbound_port", "bind_interdomain", "notify", "pending", "unmask", "close"):
    getattr(library, "xenevtchn_" + function).argtypes = [ctypes.c_void_p] + [ctypes.c_uint32] * {
        "fd": 0, "pending": 0, "close": 0, "bind_interdomain": 2,
    }.get(function, 1)


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "libxenevtchn")
    return result


handle = library.xenevtchn_open(None, 0)
if not handle:
    raise OSError(ctypes.get_errno(), "xenevtchn_open")
poller = select.poll()
poller.register(checked(library.xenevtchn_fd(handle)), select.POLLIN)

listening = checked(library.xenevtchn_bind_unbound_port(handle, DOMID_SELF))
sending = checked(library.xenevtchn_bind_interdomain(handle, DOMID_SELF, listening))
# Binding an interdomain port raises an event on it.
checked(library.xenevtchn_unmask(handle, checked(library.xenevtchn_pending(handle))))
assert poller.poll(0) == [], "nothing was sent yet"

checked(library.xenevtchn_notify(handle, sending))
assert poller.poll(1000), "no event within a second"
arrived = checked(library.xenevtchn_pending(handle))
assert arrived == listening
checked(library.xenevtchn_unmask(handle, arrived))
checked(library.xenevtchn_close(handle))
print(f"An event was sent from port {sending} and arrived at port {arrived}.")
