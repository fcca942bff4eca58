#!/usr/bin/env python3
"""libxenevtchn.so.1 through ctypes, between two processes."""
import ctypes
import errno
import os
import select

SELF = int(os.environ.get("XEN_SELF", "0"), 0)
ROUNDS = 200
lib = ctypes.CDLL("libxenevtchn.so.1", use_errno=True)
lib.xenevtchn_open.restype = ctypes.c_void_p
lib.xenevtchn_open.argtypes = [ctypes.c_void_p, ctypes.c_uint]
for name, args in {
    "close": [], "fd": [], "pending": [], "notify": [ctypes.c_uint32], "unbind": [ctypes.c_uint32], "unmask": [ctypes.c_uint32],
    "bind_unbound_port": [ctypes.c_uint32], "bind_interdomain": [ctypes.c_uint32, ctypes.c_uint32], "bind_virq": [ctypes.c_uint],
}.items():
    getattr(lib, "xenevtchn_" + name).argtypes = [ctypes.c_void_p, *args]


class Evtchn:
    def __init__(self):
        self.handle = lib.xenevtchn_open(None, 0)
        assert self.handle, os.strerror(ctypes.get_errno())

    def __getattr__(self, name):
        def call(*args):
            result = getattr(lib, "xenevtchn_" + name)(self.handle, *args)
            if result < 0:
                raise OSError(ctypes.get_errno(), name)
            return result
        return call

    def expect(self, port):
        assert select.select([self.fd()], [], [], 10)[0]
        assert self.pending() == port
        self.unmask(port)


def child(pipe):
    xce = Evtchn()
    port = xce.bind_interdomain(SELF, int(os.read(pipe, 16)))
    xce.expect(port)
    xce.notify(port)
    for _ in range(ROUNDS):
        xce.expect(port)
        xce.notify(port)
    xce.unbind(port)
    xce.close()


reader, writer = os.pipe()
pid = os.fork()
if pid == 0:
    status = 1
    try:
        child(reader)
        status = 0
    finally:
        os._exit(status)
xce = Evtchn()
port = xce.bind_unbound_port(SELF)
os.write(writer, str(port).encode())
xce.expect(port)
for _ in range(ROUNDS):
    xce.notify(port)
    xce.expect(port)
assert os.waitpid(pid, 0)[1] == 0
for call, args, error in ((xce.notify, (99999,), errno.ENOTCONN), (xce.bind_virq, (99,), errno.EINVAL),
                          (xce.bind_interdomain, (SELF, 0), errno.EINVAL)):
    try:
        call(*args)
        raise AssertionError(call)
    except OSError as e:
        assert e.errno == error, e
xce.unbind(port)
xce.close()
print("ok libxenevtchn.py")
