//! Devices' files.

use ioctlab_abi::vfio::DEVICE_GET_INFO;
use ioctlab_chardev::{Errno, FileId};
use ioctlab_vfio::{DeviceId, GroupId};

use crate::fake::Asked;
use crate::program::Bench;

#[test]
fn a_device_is_opened_once_the_container_has_an_iommu() {
    let mut bench = Bench::with_devices();
    let (c, g) = (bench.open_container(), bench.open_group(13).unwrap());
    // The name is looked at first.
    for (name, errno) in [("nope", Errno::ENODEV), ("d3", Errno::EINVAL), ("d4 vf_token=1", Errno::EINVAL)] {
        assert_eq!(bench.get_device(g, name), Err(errno));
    }
    assert_eq!(bench.open_device(DeviceId(3)), Err(Errno::EINVAL));
    bench.set_container(g, c).unwrap();
    assert_eq!(bench.get_device(g, "d3"), Err(Errno::EINVAL));
    assert_eq!(bench.open_device(DeviceId(3)), Err(Errno::EINVAL));
    bench.set_iommu(c, 3).unwrap();
    let d = bench.get_device(g, "d3").unwrap();
    assert_eq!(bench.vfio.device_of(FileId(d as u64)), Some(DeviceId(3)));
    assert_eq!(bench.ioctl(d, DEVICE_GET_INFO, 0), Ok(0));
    assert_eq!(bench.open_device(DeviceId(77)), Err(Errno::ENODEV));
    // Another group's device isn't this one's.
    assert_eq!(bench.get_device(g, "d1"), Err(Errno::ENODEV));
}

#[test]
fn a_devices_files_share_it() {
    let mut bench = Bench::with_devices();
    let (_, g) = bench.up(11);
    bench.machine.take_asked();
    let first = bench.get_device(g, "d1").unwrap();
    assert_eq!(bench.machine.take_asked(), [Asked::Open(DeviceId(1))]);
    let second = bench.get_device(g, "d1").unwrap();
    bench.close(first);
    assert_eq!(bench.machine.take_asked(), []);
    assert_eq!(bench.unset_container(g), Err(Errno::EBUSY));
    bench.close(second);
    assert_eq!(bench.machine.take_asked(), [Asked::Close(DeviceId(1))]);
    // A file ends once.
    bench.vfio.release_device(FileId(second as u64), &mut bench.machine);
    assert_eq!(bench.machine.take_asked(), []);
    let again = bench.get_device(g, "d1").unwrap();
    assert_eq!(bench.machine.take_asked(), [Asked::Open(DeviceId(1))]);
    bench.close(again);
    assert_eq!(bench.unset_container(g), Ok(0));
}

#[test]
fn a_device_that_cant_be_opened_holds_nothing() {
    let mut bench = Bench::with_devices();
    let (_, g) = bench.up(11);
    bench.machine.broken.insert(DeviceId(1));
    bench.machine.take_asked();
    assert_eq!(bench.get_device(g, "d1"), Err(Errno::EIO));
    assert_eq!(bench.unset_container(g), Ok(0));
    let left = [Asked::Detach("type1", 0, GroupId(11)), Asked::Release("type1", 0)];
    assert_eq!(bench.machine.take_asked(), left);
}

#[test]
fn whatever_is_closed_first() {
    // Container, group, device, in every order.
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut bench = Bench::with_devices();
        let (c, g) = bench.up(11);
        let d = bench.get_device(g, "d1").unwrap();
        bench.machine.take_asked();
        for closed in order {
            bench.close([c, g, d][closed]);
        }
        let left =
            [Asked::Close(DeviceId(1)), Asked::Detach("type1", 0, GroupId(11)), Asked::Release("type1", 0)];
        assert_eq!(bench.machine.take_asked(), left, "{order:?}");
        assert_eq!((bench.vfio.containers(), bench.vfio.iommus()), (0, 0));
        assert!(bench.open_group(11).is_ok());
    }
}

#[test]
fn the_device_that_was_added_last_is_asked_for_its_name_first() {
    let mut bench = Bench::with_devices();
    let (_, g) = bench.up(13);
    bench.machine.names.insert(DeviceId(3), "d4".into());
    let d = bench.get_device(g, "d4").unwrap();
    assert_eq!(bench.vfio.device_of(FileId(d as u64)), Some(DeviceId(4)));
    // One that doesn't like the options answers for all.
    assert_eq!(bench.get_device(g, "d4 vf_token=1"), Err(Errno::EINVAL));
}
