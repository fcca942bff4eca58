"""A driver in user space: it takes QEMU's educational PCI device by VFIO, and has it compute and copy."""

import array
import ctypes
import fcntl
import mmap
import os
import struct
import time

SET_CONTAINER, SET_IOMMU, MAP_DMA, GET_DEVICE_FD = 0x3B68, 0x3B66, 0x3B71, 0x3B6A
TYPE1V2, READ_AND_WRITE, CONFIGURATION = 3, 3, 7 << 40

container = os.open("/dev/vfio/vfio", os.O_RDWR)
group = os.open("/dev/vfio/5", os.O_RDWR)
fcntl.ioctl(group, SET_CONTAINER, array.array("i", [container]))
fcntl.ioctl(container, SET_IOMMU, TYPE1V2)
device = fcntl.ioctl(group, GET_DEVICE_FD, bytearray(b"0000:00:05.0\0"))

vendor, model = struct.unpack("<HH", os.pread(device, 4, CONFIGURATION))
os.pwrite(device, struct.pack("<H", 6), CONFIGURATION + 4)  # memory decoding and DMA on
print(f"PCI device {vendor:04x}:{model:04x}")


def register(offset):
    return struct.unpack("<I", os.pread(device, 4, offset))[0]


os.pwrite(device, struct.pack("<I", 10), 0x08)
while register(0x20) & 1:
    time.sleep(0.01)
print(f"its factorial register says that 10! is {register(0x08)}")

# The first page of the device's addresses is this buffer.
buffer = mmap.mmap(-1, 4096)
address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
fcntl.ioctl(container, MAP_DMA, struct.pack("<IIQQQ", 32, READ_AND_WRITE, address, 0, len(buffer)))
IN_DEVICE, TO_DEVICE, FROM_DEVICE = 0x40000, 1, 3


def copy(source, destination, count, command):
    for offset, value in (0x80, source), (0x88, destination), (0x90, count), (0x98, command):
        os.pwrite(device, struct.pack("<Q", value), offset)
    while register(0x98) & 1:
        time.sleep(0.01)


buffer[:13] = b"Hello, device"
copy(0, IN_DEVICE, 13, TO_DEVICE)
copy(IN_DEVICE, 100, 13, FROM_DEVICE)
print("by DMA, there and back:", buffer[100:113].decode())
