#!/usr/bin/env python3
"""Granted pages from Python: by fcntl and mmap, and by libxengnttab.so.1 through ctypes as QEMU's back ends use it."""
import ctypes
import errno
import fcntl
import mmap
import os
import struct

SELF = int(os.environ.get("XEN_SELF", "0"), 0)
PAGE = 4096
MAP, UNMAP, ALLOC, DEALLOC, COPY = 0x184700, 0x104701, 0x184705, 0x104706, 0x104708


def refuses(error, call, *args, **keywords):
    try:
        call(*args, **keywords)
    except OSError as e:
        assert e.errno == error, e
    else:
        raise AssertionError(f"{call} succeeded")


# By fcntl and mmap
alloc = os.open(os.environ.get("XEN_GNTALLOC", "/dev/xen/gntalloc"), os.O_RDWR)
dev = os.open(os.environ.get("XEN_GNTDEV", "/dev/xen/gntdev"), os.O_RDWR)
arg = bytearray(struct.pack("HHIQ4I", SELF, 1, 4, 0, 0, 0, 0, 0))
assert fcntl.ioctl(alloc, ALLOC, arg) == 0
_, _, _, shared_at, *refs = struct.unpack("HHIQ4I", arg)
shared = mmap.mmap(alloc, 4 * PAGE, flags=mmap.MAP_SHARED, offset=shared_at)
for page in range(4):
    shared[page * PAGE:(page + 1) * PAGE] = bytes([65 + page]) * PAGE

arg = bytearray(struct.pack("IIQ", 4, 0, 0) + b"".join(struct.pack("II", SELF, ref) for ref in reversed(refs)))
assert fcntl.ioctl(dev, MAP, arg) == 0
mapped_at, = struct.unpack_from("Q", arg, 8)
mapped = mmap.mmap(dev, 4 * PAGE, flags=mmap.MAP_SHARED, offset=mapped_at)
assert mapped[:] == b"".join(bytes([68 - page]) * PAGE for page in range(4))
mapped[0:5] = b"hello"
assert shared[3 * PAGE:3 * PAGE + 6] == b"helloD"
refuses(errno.EINVAL, mmap.mmap, dev, 4 * PAGE, flags=mmap.MAP_SHARED, offset=mapped_at)  # once only
with memoryview(mapped) as view:
    with open(os.devnull, "wb", buffering=0) as null:
        assert null.write(view) == 4 * PAGE
mapped.close()
arg = bytearray(struct.pack("QII", mapped_at, 4, 0))
assert fcntl.ioctl(dev, UNMAP, arg) == 0
refuses(errno.ENOENT, fcntl.ioctl, dev, UNMAP, arg)


class Foreign(ctypes.Structure):
    _fields_ = [("ref", ctypes.c_uint32), ("offset", ctypes.c_uint16), ("domid", ctypes.c_uint16)]


class Pointer(ctypes.Union):
    _fields_ = [("virt", ctypes.c_void_p), ("foreign", Foreign)]


class Segment(ctypes.Structure):
    _fields_ = [("source", Pointer), ("dest", Pointer), ("len", ctypes.c_uint16), ("flags", ctypes.c_uint16), ("status", ctypes.c_int16)]


class Copy(ctypes.Structure):
    _fields_ = [("count", ctypes.c_uint32), ("segments", ctypes.c_void_p)]


assert (ctypes.sizeof(Segment), ctypes.sizeof(Copy)) == (24, 16)


def segment(to_grant, ref, offset, address, length):
    s = Segment(len=length, flags=2 if to_grant else 1, status=99)
    here, there = (s.source, s.dest) if to_grant else (s.dest, s.source)
    here.virt = address
    there.foreign = Foreign(ref, offset, SELF)
    return s


def copy_by_ioctl(segments):
    array = (Segment * len(segments))(*segments)
    fcntl.ioctl(dev, COPY, Copy(len(segments), ctypes.addressof(array)))
    return [s.status for s in array]


# A disk's request, into and out of one buffer at an odd address, whose parts straddle pages
buffer = ctypes.create_string_buffer(4 * PAGE)
base = ctypes.addressof(buffer)


def request(copy):
    shared[:] = os.urandom(4 * PAGE)
    parts = [(0, 512, 3584), (1, 0, 4096), (2, 0, 1024), (3, 4095, 1)]  # page, offset, length
    at, segments = 13, []
    for page, offset, length in parts:
        segments.append(segment(False, refs[page], offset, base + at, length))
        at += length
    assert copy(segments) == [0] * 4
    assert buffer.raw[13:at] == b"".join(shared[page * PAGE + offset:page * PAGE + offset + length] for page, offset, length in parts)
    data = os.urandom(at)
    ctypes.memmove(buffer, data, at)
    before = shared[:]
    at, segments = 7, []
    for page, offset, length in parts:
        segments.append(segment(True, refs[page], offset, base + at, length))
        at += length
    assert copy(segments) == [0] * 4
    expected, at = bytearray(before), 7
    for page, offset, length in parts:
        expected[page * PAGE + offset:page * PAGE + offset + length] = data[at:at + length]
        at += length
    assert shared[:] == bytes(expected)
    # One of three fails, with its status
    segments = [segment(False, ref, 0, base, 16) for ref in (refs[0], 0x3fffff, refs[1])]
    assert copy(segments) == [0, -3, 0]


fcntl.ioctl(dev, COPY, Copy(0, None))  # QEMU's probe
request(copy_by_ioctl)
refuses(errno.EINVAL, copy_by_ioctl, [segment(False, refs[0], 4000, base, 97)])

# By the library
lib = ctypes.CDLL("libxengnttab.so.1", use_errno=True)
for name, result, args in (
    ("xengnttab_open", ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_uint]),
    ("xengnttab_close", ctypes.c_int, [ctypes.c_void_p]),
    ("xengnttab_set_max_grants", ctypes.c_int, [ctypes.c_void_p, ctypes.c_uint32]),
    ("xengnttab_map_domain_grant_refs", ctypes.c_void_p,
     [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32), ctypes.c_int]),
    ("xengnttab_unmap", ctypes.c_int, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32]),
    ("xengnttab_grant_copy", ctypes.c_int, [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p]),
):
    function = getattr(lib, name)
    function.restype, function.argtypes = result, args
handle = lib.xengnttab_open(None, 0)
assert handle
assert lib.xengnttab_grant_copy(handle, 0, None) == 0
assert lib.xengnttab_set_max_grants(handle, 64) == 0


def copy_by_library(segments):
    array = (Segment * len(segments))(*segments)
    assert lib.xengnttab_grant_copy(handle, len(segments), array) == 0
    return [s.status for s in array]


request(copy_by_library)
address = lib.xengnttab_map_domain_grant_refs(handle, 4, SELF, (ctypes.c_uint32 * 4)(*refs), mmap.PROT_READ | mmap.PROT_WRITE)
assert address
assert ctypes.string_at(address, 4 * PAGE) == shared[:]
ctypes.memset(address, 90, PAGE)
assert shared[:PAGE] == b"Z" * PAGE
assert lib.xengnttab_unmap(handle, address, 4) == 0
assert lib.xengnttab_close(handle) == 0

shared.close()
fcntl.ioctl(alloc, DEALLOC, struct.pack("QII", shared_at, 4, 0))
os.close(alloc)
os.close(dev)
print("ok gnttab.py")
