#!/usr/bin/env python3
"""DPDK's environment (EAL) and one of its drivers, as Debian has them, by ctypes: starts, takes the device, and cleans up.

dpdk.py LIBRARY FUNCTION ARGUMENT... : EAL's arguments; FUNCTION of LIBRARY says how many devices the driver has then, which is to be 1
(a driver counts them by what it reads in the device's BARs).
"""
import ctypes
import os
import sys

library, function, *arguments = sys.argv[1:]
eal = ctypes.CDLL("librte_eal.so.23")
words = [word.encode() for word in ["dpdk.py", *arguments]]
argv = (ctypes.c_char_p * (len(words) + 1))(*words, None)
if eal.rte_eal_init(len(words), argv) < 0:
    sys.exit("dpdk.py: rte_eal_init failed")

count = getattr(ctypes.CDLL(library), function)
count.restype = ctypes.c_uint16
assert count() == 1, f"{count()} devices"

held = [os.readlink("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd)]
assert "/dev/vfio/vfio" in held

eal.rte_malloc.restype = ctypes.c_void_p
eal.rte_mem_virt2iova.restype = ctypes.c_uint64
eal.rte_mem_virt2iova.argtypes = [ctypes.c_void_p]
eal.rte_malloc.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint]
memory = eal.rte_malloc(b"test", 65536, 4096)
assert memory and eal.rte_mem_virt2iova(memory) == memory, "memory for DMA is at its own address"
assert eal.rte_vfio_is_enabled(b"vfio") == 1
assert eal.rte_eal_cleanup() == 0
print("ok dpdk.py")
