#!/bin/sh
# QEMU with the device $VFIO_DEVICE (0000:00:05.0, which is edu) passed through to its guest: the guest's firmware finds it, sizes
# its BARs and places them, and the monitor shows where. The guest runs nothing else.
set -eu
device=${VFIO_DEVICE:-0000:00:05.0}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$work/firmware
: >"$log"

# What the firmware says last that matters here: then the monitor is asked.
firmware_done() {
	tries=0
	until grep -q 'No bootable device\|Booting from' "$log"; do
		tries=$((tries + 1))
		[ "$tries" -lt 600 ] || { echo "vfio_qemu.sh: the firmware got no further than:" >&2; cat "$log" >&2; return; }
		sleep 0.1
	done
}
{ firmware_done; echo 'info pci'; echo quit; } |
	timeout 90 qemu-system-x86_64 -accel tcg -M q35 -m 64 -nodefaults -display none -no-reboot -monitor stdio \
		-chardev "file,id=firmware,path=$log" -device isa-debugcon,iobase=0x402,chardev=firmware \
		-device "vfio-pci,host=$device,x-no-mmap=on,addr=5" >"$work/monitor"

found() {
	grep -q "$1" "$2" || { echo "vfio_qemu.sh: no '$1' in:" >&2; cat "$2" >&2; exit 1; }
}
found 'PCI: map device bdf=00:05.0  bar 0, addr [0-9a-f]*, size 00100000 \[mem\]' "$log"
found 'PCI: init bdf=00:05.0 id=1234:11e8' "$log"
found 'PCI device 1234:11e8' "$work/monitor"
# The subsystem is asked of the device, too, and the BAR is where the firmware put it.
found 'PCI subsystem 1af4:1100' "$work/monitor"
address=$(sed -n 's/.*map device bdf=00:05.0  bar 0, addr \([0-9a-f]*\),.*/\1/p' "$log")
found "BAR0: 32 bit memory at 0x$address " "$work/monitor"
echo 'ok vfio_qemu.sh'
