#!/usr/bin/env python3
"""VFIO as a script uses it: fcntl, mmap, struct and ctypes; DMA and interrupts of QEMU's educational device (edu)."""
import ctypes
import errno
import fcntl
import mmap
import os
import select
import struct
import time

DEVICE = os.environ.get("VFIO_DEVICE", "0000:00:05.0")
SYSFS = "/sys/bus/pci/devices/" + DEVICE
(GET_API_VERSION, CHECK_EXTENSION, SET_IOMMU, GROUP_GET_STATUS, GROUP_SET_CONTAINER, GROUP_UNSET_CONTAINER, GROUP_GET_DEVICE_FD,
 DEVICE_GET_INFO, DEVICE_GET_REGION_INFO, DEVICE_GET_IRQ_INFO, DEVICE_SET_IRQS, DEVICE_RESET, IOMMU_GET_INFO, IOMMU_MAP_DMA,
 IOMMU_UNMAP_DMA) = range(0x3B64, 0x3B64 + 15)
CONFIG = 7 << 40
INTX, MSI = 0, 1
EDU_MEMORY = 0x40000
PAGE = mmap.PAGESIZE


def fails(number, call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        assert error.errno == number, f"{errno.errorcode[error.errno]}, not {errno.errorcode[number]}"
    else:
        raise AssertionError(f"no {errno.errorcode[number]}")


def query(fd, request, layout, *values):
    """An ioctl on a struct that begins with its own size; gives the fields after that."""
    answer = fcntl.ioctl(fd, request, struct.pack(layout, struct.calcsize(layout), *values))
    return struct.unpack(layout, answer)[1:]


def set_irqs(fd, flags, index, *fds):
    """fds: the eventfds, or none to disable."""
    count = len(fds)
    fcntl.ioctl(fd, DEVICE_SET_IRQS, struct.pack(f"=IIIII{count}i", 20 + 4 * count, flags, index, 0, count, *fds))


class Edu:
    def __init__(self, fd):
        self.fd = fd

    def read(self, at, size=4):
        data = os.pread(self.fd, size, at)
        assert len(data) == size
        return int.from_bytes(data, "little")

    def write(self, at, value, size=4):
        assert os.pwrite(self.fd, value.to_bytes(size, "little"), at) == size

    def copy(self, source, target, count, command, event):
        for register, value in (0x80, source), (0x88, target), (0x90, count), (0x98, command | 5):
            self.write(register, value)
        assert select.select([event], [], [], 5)[0], "no interrupt"
        assert os.eventfd_read(event) == 1
        assert self.read(0x24) == 0x100
        self.write(0x64, 0x100)
        while self.read(0x98) & 1:
            time.sleep(0.001)


group_number = os.path.basename(os.readlink(SYSFS + "/iommu_group"))
assert os.path.basename(os.readlink(SYSFS + "/driver")) == "vfio-pci"
assert os.listdir(f"/sys/kernel/iommu_groups/{group_number}/devices") == [DEVICE]
with open(SYSFS + "/vendor") as vendor, open(SYSFS + "/device") as device:
    assert (vendor.read(), device.read()) == ("0x1234\n", "0x11e8\n")
container = os.open("/dev/vfio/vfio", os.O_RDWR)
group = os.open("/dev/vfio/" + group_number, os.O_RDWR)
assert fcntl.ioctl(container, GET_API_VERSION) == 0
assert fcntl.ioctl(container, CHECK_EXTENSION, 3) == 1
assert query(group, GROUP_GET_STATUS, "=II", 0) == (1,)
fcntl.ioctl(group, GROUP_SET_CONTAINER, struct.pack("=i", container))
fcntl.ioctl(container, SET_IOMMU, 3)
fails(errno.EBUSY, os.open, "/dev/vfio/" + group_number, os.O_RDWR)
# a buffer that can be written to, so that ioctl gives the call's result
fails(errno.ENODEV, fcntl.ioctl, group, GROUP_GET_DEVICE_FD, bytearray(b"0000:00:1f.7\0"))
edu = Edu(fcntl.ioctl(group, GROUP_GET_DEVICE_FD, bytearray(DEVICE.encode() + b"\0")))
assert not os.get_inheritable(edu.fd)
assert os.readlink(f"/proc/self/fd/{edu.fd}") == "anon_inode:[vfio-device]"

flags, regions, irqs, _, _ = query(edu.fd, DEVICE_GET_INFO, "=IIIIII", 0, 0, 0, 0, 0)
assert (flags, regions, irqs) == (2, 9, 5)
region = query(edu.fd, DEVICE_GET_REGION_INFO, "=IIIIQQ", 0, 0, 0, 0, 0)
assert region == (7, 0, 0, 0x100000, 0), region
assert query(edu.fd, DEVICE_GET_REGION_INFO, "=IIIIQQ", 0, 7, 0, 0, 0)[3:] == (256, CONFIG)
assert query(edu.fd, DEVICE_GET_IRQ_INFO, "=IIII", 0, MSI, 0) == (9, MSI, 1)
with open(SYSFS + "/config", "rb") as config:
    assert config.read(4) == os.pread(edu.fd, 4, CONFIG) == b"\x34\x12\xe8\x11"
edu.write(CONFIG + 4, 6, 2)

assert edu.read(0) == 0x010000ED
with mmap.mmap(edu.fd, PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=0) as bar:
    registers = (ctypes.c_uint32 * 16).from_buffer(bar)
    registers[1] = 0x5A5A1234
    assert edu.read(4) == 0xA5A5EDCB == registers[1]
    registers[2] = 6
    while edu.read(0x20) & 1:
        pass
    assert registers[2] == 720
    del registers

buffer = mmap.mmap(-1, 2 * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
fcntl.ioctl(container, IOMMU_MAP_DMA, struct.pack("=IIQQQ", 32, 3, address, 0x100000, 2 * PAGE))
event = os.eventfd(0, os.EFD_CLOEXEC)
set_irqs(edu.fd, 0x24, MSI, event)
for seed in range(3):
    text = bytes((seed + 5 * i) & 255 for i in range(200))
    buffer[0:200] = text
    buffer[PAGE : PAGE + 200] = bytes(200)
    edu.copy(0x100000, EDU_MEMORY, 200, 0, event)
    edu.copy(EDU_MEMORY, 0x100000 + PAGE, 200, 2, event)
    assert buffer[PAGE : PAGE + 200] == text
set_irqs(edu.fd, 0x21, MSI)
set_irqs(edu.fd, 0x24, INTX, event)
edu.write(0x60, 1)
assert os.eventfd_read(event) == 1
edu.write(0x64, 1)
set_irqs(edu.fd, 0x21, INTX)
unmapped = query(container, IOMMU_UNMAP_DMA, "=IIQQ", 0, 0x100000, 2 * PAGE)
assert unmapped[2] == 2 * PAGE

fails(errno.EBUSY, fcntl.ioctl, group, GROUP_UNSET_CONTAINER)
os.close(edu.fd)
fcntl.ioctl(group, GROUP_UNSET_CONTAINER)
os.close(group)
os.close(container)
print("ok vfio.py")
