#!/bin/bash
# The command line tools for PCI devices, on edu at 0000:00:05.0 in group 5, bound to vfio-pci: lspci, driverctl, and a shell.
set -eu
device=0000:00:05.0
sysfs=/sys/bus/pci/devices/$device

fail() { echo "vfio_tools.sh: $*" >&2; exit 1; }
# contains WHAT LINE...: the text on standard input has these lines.
contains() {
	what=$1
	shift
	text=$(cat)
	for line; do
		printf '%s\n' "$text" | grep -qF -- "$line" || fail "$what doesn't say '$line' but: $text"
	done
}
driver() { if [ -e $sysfs/driver ]; then basename "$(readlink $sysfs/driver)"; else echo none; fi; }
is() { [ "$1" = "$2" ] || fail "'$1', not '$2'"; }

lspci -nn -s 0:5.0 | contains 'lspci -nn' '00:05.0 Unclassified device [00ff]: Device [1234:11e8] (rev 10)'
# Without modules on disk it complains that there are none, and says no more of the driver than its name.
lspci -vvv -s 0:5.0 2>/dev/null | contains 'lspci -vvv' 'Subsystem: Red Hat, Inc. Device 1100' 'Interrupt: pin A routed to IRQ' \
	'IOMMU group: 5' '[size=1M]' 'Capabilities: [40] MSI: Enable- Count=1/1 Maskable- 64bit+' 'Kernel driver in use: vfio-pci'
lspci -xxxx -s 0:5.0 | contains 'lspci -xxxx' '00: 34 12 e8 11' '40: 05 00 80 00'
is "$(lspci -xxxx -s 0:5.0 | grep -c '^[0-9a-f]0: ')" 16

# Unbound, with another driver asked for, and bound again, as the kernel's documentation of sysfs has it.
is "$(driver)" vfio-pci
echo $device >$sysfs/driver/unbind
is "$(driver)" none
[ ! -e /dev/vfio/5 ] || fail 'a group without a device bound to vfio-pci has a node'
echo vfio-pci >$sysfs/driver_override
is "$(cat $sysfs/driver_override)" vfio-pci
echo $device >/sys/bus/pci/drivers_probe
is "$(driver)" vfio-pci
[ -c /dev/vfio/5 ] || fail 'no /dev/vfio/5'
echo $device >/sys/bus/pci/drivers/vfio-pci/unbind
echo $device >/sys/bus/pci/drivers/vfio-pci/bind
is "$(driver)" vfio-pci

# driverctl binds to a driver only when modprobe finds its module, so it unbinds here.
driverctl list-devices | contains 'driverctl list-devices' "$device vfio-pci [*]"
driverctl --nosave set-override $device none
is "$(driver)" none
driverctl list-overrides | contains 'driverctl list-overrides' "$device (none)"
# There is no other driver for the device, which driverctl takes for a failure.
if driverctl --nosave unset-override $device 2>/dev/null; then fail 'unset-override found a driver'; fi
is "$(cat $sysfs/driver_override)" '(null)'
echo vfio-pci >$sysfs/driver_override
echo $device >/sys/bus/pci/drivers_probe
is "$(driver)" vfio-pci
echo 'ok vfio_tools.sh'
