#!/bin/sh
# Runs the probe (its path is the first argument, its options the others) on the devices of the recorded guest, in the
# recorded order: edu, e1000e and nvme in groups of their own; then two devices in one group behind a bridge, of which the
# second has another driver, none, and vfio-pci. Drivers are changed by way of sysfs.
probe=$1
shift
pci=/sys/bus/pci
group() { basename "$(readlink $pci/devices/"$1"/iommu_group)"; }
unbind() { [ ! -e $pci/devices/"$1"/driver ] || echo "$1" > $pci/devices/"$1"/driver/unbind; }
bind() {
	echo vfio-pci > $pci/devices/"$1"/driver_override
	unbind "$1"
	echo "$1" > $pci/drivers_probe
}
edu=0000:00:05.0 e1000e=0000:00:06.0 nvme=0000:00:07.0 first=0000:01:01.0 second=0000:01:02.0
on() { export VFIO_GROUP=/dev/vfio/"$(group "$1")" VFIO_DEV="$1" VFIO_KIND="$2"; }

bind $edu && bind $e1000e && bind $nvme && bind $first || exit 1
echo "## A: $edu (edu)"
on $edu edu && "$probe" "$@"
echo "## B: $e1000e (e1000e)"
on $e1000e other && "$probe" -o d,k,b,i,r "$@"
echo "## C: $nvme (nvme)"
on $nvme other && "$probe" -o d,k,b,i,r "$@"
echo "## D: non-viable group: $first on vfio-pci, $second on $(basename "$(readlink $pci/devices/$second/driver)")"
export VFIO_GROUP_NV=/dev/vfio/"$(group $first)" VFIO_DEV_NV=$first
"$probe" -o nv "$@"
echo "## E: same group, $second driverless"
echo > $pci/devices/$second/driver_override
unbind $second
"$probe" -o nv "$@"
echo "## F: same group, both on vfio-pci"
bind $second
on $first other
export VFIO_DEV2=$second VFIO_GROUP2=/dev/vfio/"$(group $edu)"
"$probe" -o two,nv "$@"
