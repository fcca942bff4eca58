#!/usr/bin/env python3
"""Python's own calls on the device: os, fcntl, select, struct, selectors, threading. Usage: client.py [DEVICE]"""
import errno
import fcntl
import os
import select
import stat
import struct
import sys
import threading
import time

DEVICE = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("XEN_EVTCHN", "/dev/xen/evtchn")
SELF = int(os.environ.get("XEN_SELF", "0"), 0)
BIND_INTERDOMAIN, BIND_UNBOUND_PORT, UNBIND, NOTIFY, RESET = 0x84501, 0x44502, 0x44503, 0x44504, 0x4505


def bind_unbound(fd):
    return fcntl.ioctl(fd, BIND_UNBOUND_PORT, struct.pack("=I", SELF))


def ioctl_number(fd, request, *args):
    """The return value matters: a mutable buffer makes fcntl.ioctl give it."""
    return fcntl.ioctl(fd, request, bytearray(struct.pack(f"={len(args)}I", *args)), True)


def fails(error, call, *args):
    try:
        result = call(*args)
    except OSError as e:
        assert e.errno == error, (call, args, e)
    else:
        raise AssertionError((call, args, result))


def ports(data):
    return list(struct.unpack(f"={len(data) // 4}I", data))


def unmask(fd, port):
    assert os.write(fd, struct.pack("=I", port)) == 4


def pair(fd):
    a = ioctl_number(fd, BIND_UNBOUND_PORT, SELF)
    b = ioctl_number(fd, BIND_INTERDOMAIN, SELF, a)
    assert a > 0 and b > 0 and a != b
    assert ports(os.read(fd, 4)) == [b]
    unmask(fd, b)
    return a, b


# the node
st = os.stat(DEVICE)
assert stat.S_ISCHR(st.st_mode) and os.access(DEVICE, os.R_OK | os.W_OK)
assert os.path.exists(DEVICE) and not os.path.isfile(DEVICE)

# the thin slice
fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
assert not os.get_inheritable(fd)
assert os.path.realpath(f"/proc/self/fd/{fd}") == DEVICE
a, b = pair(fd)
assert isinstance(bind_unbound(fd), bytes)  # as immutable bytes: gives the buffer back, the port is lost
assert ioctl_number(fd, NOTIFY, a) == 0
assert ports(os.read(fd, 4096)) == [b]
unmask(fd, b)
fails(errno.ENOTCONN, ioctl_number, fd, NOTIFY, 100000)
fails(errno.EINVAL, ioctl_number, fd, BIND_INTERDOMAIN, SELF, 0)
fails(errno.ENOSYS, fcntl.ioctl, fd, 0x4599)
fails(errno.ESPIPE, os.lseek, fd, 0, os.SEEK_SET)
fails(errno.ESPIPE, os.pread, fd, 4, 0)
fails(errno.EINVAL, os.fsync, fd)
assert not os.isatty(fd)
assert fcntl.ioctl(fd, RESET) == 0

# non-blocking
os.set_blocking(fd, False)
assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
fails(errno.EAGAIN, os.read, fd, 4)
os.set_blocking(fd, True)

# select, poll, epoll
ep = select.epoll()
ep.register(fd, select.EPOLLIN)
poller = select.poll()
poller.register(fd, select.POLLIN)
assert select.select([fd], [fd], [fd], 0) == ([], [fd], [])
assert ep.poll(0) == [] and poller.poll(0) == []
ioctl_number(fd, NOTIFY, a)
assert select.select([fd], [], [], 5) == ([fd], [], [])
assert ep.poll(5) == [(fd, select.EPOLLIN)] and poller.poll(5000) == [(fd, select.POLLIN)]
assert ports(os.read(fd, 4)) == [b]
unmask(fd, b)
assert ep.poll(0) == [] and poller.poll(0) == []

# a blocking read woken by another thread; the interpreter's lock is released meanwhile
def notify_later():
    time.sleep(0.1)
    ioctl_number(fd, NOTIFY, a)


thread = threading.Thread(target=notify_later)
began = time.monotonic()
thread.start()
assert ports(os.read(fd, 4)) == [b] and time.monotonic() - began > 0.09
thread.join()
unmask(fd, b)

# a file object, unbuffered and buffered
with open(DEVICE, "r+b", buffering=0) as f:
    fa, fb = pair(f.fileno())
    ioctl_number(f, NOTIFY, fa)
    assert ports(f.read(8)) == [fb]
    assert f.write(struct.pack("=I", fb)) == 4
    assert not f.seekable() and f.readable() and f.writable()
fails(errno.EINVAL, ioctl_number, fd, BIND_INTERDOMAIN, SELF, fa)  # closed: its ports are gone
with open(DEVICE, "wb") as f:
    assert f.write(struct.pack("=I", 0)) == 4

# a child by fork
pid = os.fork()
if pid == 0:
    ioctl_number(fd, NOTIFY, a)
    os._exit(0)
assert ports(os.read(fd, 4)) == [b]
assert os.waitpid(pid, 0)[1] == 0
unmask(fd, b)

for port in (b, a):
    assert ioctl_number(fd, UNBIND, port) == 0
os.close(fd)
fails(errno.EBADF, os.read, fd, 4)
print("ok client.py")
