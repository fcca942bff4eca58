//! Devices that no IOMMU translates for.

use ioctlab_abi::vfio::{GROUP_GET_DEVICE_FD, IOMMU_GET_INFO};
use ioctlab_chardev::{Errno, FileId, UserPtr};
use ioctlab_vfio::{DeviceId, GroupId, GroupKind, MemberDriver, Removal};

use crate::fake::Asked;
use crate::memory::BASE;
use crate::program::{Bench, plain};

/// Device 5, in group 15, that has no IOMMU; and the others. The program may do all it likes.
fn bench() -> Bench {
    let mut bench = Bench::with_devices();
    bench.vfio.set_unsafe_noiommu_mode(true);
    bench.machine.names.insert(DeviceId(5), "d5".into());
    bench.vfio.add_group_dev(DeviceId(5), GroupId(15), GroupKind::Noiommu).unwrap();
    bench.process.rawio = true;
    bench
}

#[test]
fn the_node_says_so() {
    let bench = bench();
    let node = bench.vfio.group_node(GroupId(15)).unwrap();
    assert_eq!((node.name().as_str(), node.minor.0, node.kind), ("noiommu-15", 3, GroupKind::Noiommu));
}

#[test]
fn the_extension_is_there_if_it_is_allowed() {
    let mut bench = bench();
    let (c, g, g15) = (bench.open_container(), bench.open_group(11).unwrap(), bench.open_group(15).unwrap());
    let answers =
        |bench: &mut Bench| [1, 3, 8, 9, 10].map(|number| bench.check_extension(c, number).unwrap());
    // Without groups all drivers are asked; then those that the groups could have.
    assert_eq!(answers(&mut bench), [1, 1, 1, 1, 0]);
    bench.set_container(g, c).unwrap();
    assert_eq!(answers(&mut bench), [1, 1, 0, 1, 0]);
    bench.unset_container(g).unwrap();
    bench.set_container(g15, c).unwrap();
    assert_eq!(answers(&mut bench), [0, 0, 1, 0, 0]);
    bench.set_iommu(c, 8).unwrap();
    assert_eq!(answers(&mut bench), [0, 0, 1, 0, 0]);
    bench.vfio.set_unsafe_noiommu_mode(false);
    assert_eq!(answers(&mut bench), [0; 5]);
    bench.unset_container(g15).unwrap();
    assert_eq!(answers(&mut bench), [1, 1, 0, 1, 0]);
}

#[test]
fn the_device_is_used_without_an_iommu() {
    let mut bench = bench();
    let (c, g) = (bench.open_container(), bench.open_group(15).unwrap());
    // Its made-up group has nobody else in it, whatever the bus says.
    bench.machine.bind(9, 15, MemberDriver::Native);
    assert_eq!(bench.flags(g), Ok(1));
    assert_eq!(bench.set_container(g, c), Ok(0));
    assert_eq!(bench.vfio.may_bind(GroupId(15), MemberDriver::Native), Ok(()));
    for kind in [0, 1, 3, 6, 7] {
        assert_eq!(bench.set_iommu(c, kind), Err(Errno::ENODEV));
    }
    assert_eq!(bench.get_device(g, "d5"), Err(Errno::EINVAL));
    assert_eq!(bench.set_iommu(c, 8), Ok(0));
    assert_eq!(bench.set_iommu(c, 8), Err(Errno::EINVAL));
    assert_eq!(bench.ioctl(c, IOMMU_GET_INFO, BASE), Err(Errno::ENOTTY));
    let Bench { vfio, process, machine, .. } = &mut bench;
    let read = vfio.container_read(FileId(c as u64), UserPtr(BASE), 4, process, machine);
    assert_eq!(plain(read), Err(Errno::EINVAL));
    let d = bench.get_device(g, "d5").unwrap();
    assert_eq!(bench.unset_container(g), Err(Errno::EBUSY));
    bench.close(g);
    bench.close(d);
    assert_eq!(bench.machine.take_asked(), [Asked::Open(DeviceId(5)), Asked::Close(DeviceId(5))]);
    assert_eq!(bench.vfio.iommus(), 0);
}

#[test]
fn every_step_needs_the_capability() {
    let mut bench = bench();
    bench.process.rawio = false;
    assert_eq!(bench.open_group(15), Err(Errno::EPERM));
    bench.process.rawio = true;
    let (c, g) = (bench.open_container(), bench.open_group(15).unwrap());
    // It comes before whether it is open.
    bench.process.rawio = false;
    assert_eq!(bench.open_group(15), Err(Errno::EPERM));
    assert_eq!(bench.set_container(g, c), Err(Errno::EPERM));
    assert_eq!(bench.set_container(g, g), Err(Errno::EBADFD));
    bench.process.rawio = true;
    bench.set_container(g, c).unwrap();
    bench.process.rawio = false;
    assert_eq!(bench.set_iommu(c, 8), Err(Errno::EPERM));
    assert_eq!(bench.set_iommu(c, 1), Err(Errno::ENODEV));
    bench.process.rawio = true;
    bench.set_iommu(c, 8).unwrap();
    bench.process.rawio = false;
    assert_eq!(bench.get_device(g, "d5"), Err(Errno::EPERM));
    assert_eq!(bench.get_device(g, "nope"), Err(Errno::ENODEV));
    bench.process.rawio = true;
    let first = bench.get_device(g, "d5").unwrap();
    // A device that is open already is shared with anybody who has the group.
    bench.process.rawio = false;
    let second = bench.get_device(g, "d5").unwrap();
    bench.close(first);
    bench.close(second);
    let at = bench.put(b"d5\0");
    assert_eq!(bench.ioctl(g, GROUP_GET_DEVICE_FD, at), Err(Errno::EPERM));
}

#[test]
fn a_container_has_groups_of_one_kind() {
    let mut bench = bench();
    let (c, g, g15) = (bench.open_container(), bench.open_group(11).unwrap(), bench.open_group(15).unwrap());
    bench.set_container(g, c).unwrap();
    assert_eq!(bench.set_container(g15, c), Err(Errno::EPERM));
    bench.unset_container(g).unwrap();
    bench.set_container(g15, c).unwrap();
    bench.set_iommu(c, 8).unwrap();
    assert_eq!(bench.set_container(g, c), Err(Errno::EPERM));
    bench.unset_container(g15).unwrap();
    assert_eq!(bench.set_container(g, c), Ok(0));
    assert_eq!(bench.set_iommu(c, 8), Err(Errno::ENODEV));
    assert_eq!(bench.set_iommu(c, 1), Ok(0));
}

#[test]
fn it_is_not_allowed_at_first() {
    let mut bench = bench();
    assert_eq!(bench.vfio.del_group_dev(DeviceId(5), &mut bench.machine), Removal::Done);
    bench.vfio.set_unsafe_noiommu_mode(false);
    let added = bench.vfio.add_group_dev(DeviceId(5), GroupId(15), GroupKind::Noiommu);
    assert_eq!(added, Err(Errno::EINVAL));
    assert_eq!(bench.vfio.minors(), 3);
}
