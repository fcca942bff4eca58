//! Groups: their nodes, their files, and their containers.

use ioctlab_abi::vfio::{
    DEVICE_GET_INFO, GET_API_VERSION, GROUP_GET_DEVICE_FD, GROUP_GET_STATUS, GROUP_SET_CONTAINER,
};
use ioctlab_chardev::{Errno, FileId, UserMemory, UserPtr};
use ioctlab_vfio::{DeviceId, GroupId, GroupKind, MemberDriver, Minor, Removal};

use crate::fake::Asked;
use crate::memory::{BAD, BASE};
use crate::program::Bench;

fn nodes(bench: &Bench) -> Vec<(u32, String)> {
    bench.vfio.groups().map(|node| (node.minor.0, node.name())).collect()
}

fn remove(bench: &mut Bench, device: u32) -> Removal {
    bench.vfio.del_group_dev(DeviceId(device), &mut bench.machine)
}

#[test]
fn minors_are_the_lowest_that_are_free() {
    let mut bench = Bench::with_devices();
    let named = |nodes: &[(u32, &str)]| -> Vec<_> {
        nodes.iter().map(|(minor, name)| (*minor, String::from(*name))).collect()
    };
    assert_eq!(nodes(&bench), named(&[(0, "11"), (1, "12"), (2, "13")]));
    assert_eq!(remove(&mut bench, 1), Removal::Done);
    assert_eq!(remove(&mut bench, 3), Removal::Done);
    assert_eq!(nodes(&bench), named(&[(1, "12"), (2, "13")]));
    assert_eq!(remove(&mut bench, 4), Removal::Done);
    assert_eq!(nodes(&bench), named(&[(1, "12")]));
    bench.add(4, 13);
    bench.add(1, 11);
    assert_eq!(nodes(&bench), named(&[(0, "13"), (1, "12"), (2, "11")]));
    assert_eq!(bench.vfio.group_node(GroupId(11)).map(|node| node.minor), Some(Minor(2)));
    assert_eq!(bench.vfio.group_node(GroupId(14)), None);
}

#[test]
fn a_device_is_added_once() {
    let mut bench = Bench::with_devices();
    let add = |bench: &mut Bench, device, group, kind| {
        bench.vfio.add_group_dev(DeviceId(device), GroupId(group), kind)
    };
    assert_eq!(add(&mut bench, 1, 11, GroupKind::Iommu), Err(Errno::EBUSY));
    assert_eq!(add(&mut bench, 1, 15, GroupKind::Iommu), Err(Errno::EBUSY));
    assert_eq!(add(&mut bench, 5, 15, GroupKind::Noiommu), Err(Errno::EINVAL));
    bench.vfio.set_unsafe_noiommu_mode(true);
    assert_eq!(add(&mut bench, 5, 11, GroupKind::Noiommu), Err(Errno::EINVAL));
    assert_eq!(bench.vfio.devices(), 4);
    assert_eq!(bench.vfio.minors(), 3);
}

#[test]
fn a_group_is_opened_by_one_file() {
    let mut bench = Bench::with_devices();
    let g = bench.open_group(11).unwrap();
    assert_eq!(bench.open_group(11), Err(Errno::EBUSY));
    assert!(bench.open_group(12).is_ok());
    bench.close(g);
    let g = bench.open_group(11).unwrap();
    let c = bench.open_container();
    bench.set_container(g, c).unwrap();
    bench.close(g);
    // Closing it takes it out of its container.
    let g = bench.open_group(11).unwrap();
    assert_eq!(bench.flags(g), Ok(1));
    assert_eq!(bench.vfio.open_group(FileId(90), Minor(7), true), Err(Errno::ENODEV));
}

#[test]
fn status_looks_at_its_own_size() {
    let mut bench = Bench::with_devices();
    let g = bench.open_group(11).unwrap();
    for argsz in [0, 4, 7] {
        assert_eq!(bench.status(g, argsz), (Err(Errno::EINVAL), argsz, 0xdead));
    }
    for argsz in [8, 9, 100, u32::MAX] {
        assert_eq!(bench.status(g, argsz), (Ok(0), argsz, 1));
    }
    let end = BASE + bench.process.memory.0.len() as u64;
    for at in [BAD, 0, end - 7, u64::MAX - 2] {
        assert_eq!(bench.ioctl(g, GROUP_GET_STATUS, at), Err(Errno::EFAULT));
    }
}

#[test]
fn requests_of_other_files() {
    let mut bench = Bench::with_devices();
    let g = bench.open_group(11).unwrap();
    for request in [GET_API_VERSION, DEVICE_GET_INFO] {
        assert_eq!(bench.ioctl(g, request, BAD), Err(Errno::ENOTTY));
    }
}

#[test]
fn what_can_be_a_container() {
    let mut bench = Bench::with_devices();
    let (g, other_group) = (bench.open_group(11).unwrap(), bench.open_group(12).unwrap());
    let (c, null) = (bench.open_container(), bench.open_other());
    assert_eq!(bench.ioctl(g, GROUP_SET_CONTAINER, BAD), Err(Errno::EFAULT));
    for (number, errno) in [
        (-1, Errno::EBADF),
        (i32::MIN, Errno::EBADF),
        (9999, Errno::EBADF),
        (null, Errno::EBADFD),
        (g, Errno::EBADFD),
        (other_group, Errno::EBADFD),
    ] {
        assert_eq!(bench.set_container(g, number), Err(errno), "{number}");
    }
    assert_eq!(bench.set_container(g, c), Ok(0));
    // The descriptor comes first, then whether one is set, then what it is of.
    assert_eq!(bench.set_container(g, 9999), Err(Errno::EBADF));
    for number in [c, null, g] {
        assert_eq!(bench.set_container(g, number), Err(Errno::EINVAL));
    }
    let d = {
        bench.set_iommu(c, 1).unwrap();
        bench.get_device(g, "d1").unwrap()
    };
    assert_eq!(bench.set_container(other_group, d), Err(Errno::EBADFD));
}

#[test]
fn a_native_driver_keeps_a_group_from_being_used() {
    for (sibling, flags, result) in [
        (MemberDriver::None, 1, Ok(0)),
        (MemberDriver::Harmless, 1, Ok(0)),
        (MemberDriver::Native, 0, Err(Errno::EPERM)),
    ] {
        let mut bench = Bench::with_devices();
        bench.machine.bind(9, 11, sibling);
        let (c, g) = (bench.open_container(), bench.open_group(11).unwrap());
        assert_eq!(bench.flags(g), Ok(flags));
        assert_eq!(bench.set_container(g, c), result);
        assert_eq!(bench.flags(g), Ok(if result.is_ok() { 3 } else { flags }));
        // Another group's drivers are of no interest.
        let other = bench.open_group(12).unwrap();
        assert_eq!(bench.set_container(other, c), Ok(0));
    }
}

#[test]
fn a_native_driver_is_not_bound_to_a_group_in_use() {
    let mut bench = Bench::with_devices();
    let all = [MemberDriver::None, MemberDriver::Harmless, MemberDriver::Native];
    let refused =
        |bench: &Bench, group| all.map(|driver| bench.vfio.may_bind(GroupId(group), driver).is_err());
    let (c, g) = (bench.open_container(), bench.open_group(11).unwrap());
    // An open file is no use yet.
    assert_eq!(refused(&bench, 11), [false; 3]);
    bench.set_container(g, c).unwrap();
    assert_eq!(refused(&bench, 11), [false, false, true]);
    assert_eq!(bench.vfio.may_bind(GroupId(11), MemberDriver::Native), Err(Errno::EBUSY));
    assert_eq!(refused(&bench, 12), [false; 3]);
    assert_eq!(refused(&bench, 77), [false; 3]);
    bench.unset_container(g).unwrap();
    assert_eq!(refused(&bench, 11), [false; 3]);
}

#[test]
fn a_group_leaves_its_container_when_nothing_of_it_is_open() {
    let mut bench = Bench::with_devices();
    let (_, g) = bench.up(13);
    let (d3, d4) = (bench.get_device(g, "d3").unwrap(), bench.get_device(g, "d4").unwrap());
    assert_eq!(bench.unset_container(g), Err(Errno::EBUSY));
    bench.close(d3);
    assert_eq!(bench.unset_container(g), Err(Errno::EBUSY));
    bench.close(g);
    assert_eq!(bench.open_group(13), Err(Errno::EBUSY));
    bench.machine.take_asked();
    bench.close(d4);
    let left =
        [Asked::Close(DeviceId(4)), Asked::Detach("type1", 0, GroupId(13)), Asked::Release("type1", 0)];
    assert_eq!(bench.machine.take_asked(), left);
    let g = bench.open_group(13).unwrap();
    assert_eq!(bench.flags(g), Ok(1));
}

#[test]
fn a_group_whose_devices_are_gone_is_of_no_use() {
    let mut bench = Bench::with_devices();
    let (c, g) = bench.up(11);
    bench.machine.take_asked();
    assert_eq!(remove(&mut bench, 1), Removal::Done);
    assert_eq!(
        bench.machine.take_asked(),
        [Asked::Detach("type1", 0, GroupId(11)), Asked::Release("type1", 0)]
    );
    assert_eq!(bench.vfio.group_node(GroupId(11)), None);
    assert_eq!(bench.vfio.group_of(FileId(g as u64)), None);
    assert_eq!(bench.vfio.open_group(FileId(90), Minor(0), true), Err(Errno::ENODEV));
    assert_eq!(bench.flags(g), Err(Errno::ENODEV));
    assert_eq!(bench.status(g, 7).0, Err(Errno::EINVAL));
    assert_eq!(bench.set_container(g, 9999), Err(Errno::EBADF));
    assert_eq!(bench.set_container(g, c), Err(Errno::ENODEV));
    assert_eq!(bench.unset_container(g), Err(Errno::EINVAL));
    assert_eq!(bench.get_device(g, "d1"), Err(Errno::ENODEV));
    // The device comes back: its group is a new one, of another minor, as the open file has the old one.
    bench.add(1, 11);
    assert_eq!(bench.vfio.group_node(GroupId(11)).map(|node| node.minor), Some(Minor(3)));
    let (_, new) = bench.up(11);
    assert!(bench.get_device(new, "d1").is_ok());
    assert_eq!(bench.get_device(g, "d1"), Err(Errno::ENODEV));
    assert!(!bench.vfio.file_has_device(FileId(g as u64), DeviceId(1)));
    assert!(bench.vfio.file_has_device(FileId(new as u64), DeviceId(1)));
    assert!(!bench.vfio.file_has_device(FileId(new as u64), DeviceId(2)));
    assert!(!bench.vfio.file_has_device(FileId(c as u64), DeviceId(1)));
    bench.close(g);
    bench.add(5, 15);
    assert_eq!(bench.vfio.group_node(GroupId(15)).map(|node| node.minor), Some(Minor(0)));
}

#[test]
fn names_end_where_they_end() {
    let mut bench = Bench::with_devices();
    let (_, g) = bench.up(11);
    let end = BASE + bench.process.memory.0.len() as u64;
    for (name, result) in [
        ("", Err(Errno::ENODEV)),
        ("d", Err(Errno::ENODEV)),
        ("d2", Err(Errno::ENODEV)),
        ("d1x", Err(Errno::ENODEV)),
        ("d1 vf_token=1", Err(Errno::EINVAL)),
        ("d1 ", Ok(())),
        ("d1", Ok(())),
    ] {
        assert_eq!(bench.get_device(g, name).map(drop), result, "{name:?}");
    }
    // 4095 bytes and a NUL are a name, 4096 bytes aren't, wherever they begin. Past the end of memory it is a fault.
    for (offset, length, errno) in [
        (0, 4095, Errno::ENODEV),
        (0, 4096, Errno::EINVAL),
        (5, 4095, Errno::ENODEV),
        (5, 4096, Errno::EINVAL),
        (4095, 4095, Errno::ENODEV),
        (4095, 4096, Errno::EINVAL),
        (8192, 4095, Errno::ENODEV),
        (8192, 4096, Errno::EINVAL),
        (8193, 4094, Errno::ENODEV),
        (8193, 4095, Errno::EFAULT),
    ] {
        let memory = &mut bench.process.memory.0;
        memory.fill(0);
        memory[offset..][..length].fill(b'a');
        assert_eq!(
            bench.ioctl(g, GROUP_GET_DEVICE_FD, BASE + offset as u64),
            Err(errno),
            "{offset} {length}"
        );
    }
    for at in [BAD, end, u64::MAX] {
        assert_eq!(bench.ioctl(g, GROUP_GET_DEVICE_FD, at), Err(Errno::EFAULT));
    }
    // What a program has behind an unterminated name makes it another one, unless it is a NUL.
    for (behind, result) in [(0, Ok(())), (b'x', Err(Errno::ENODEV))] {
        bench.process.memory.0.fill(0);
        bench.process.memory.write(UserPtr(end - 4), &[b'd', b'1', behind, 0]).unwrap();
        assert_eq!(bench.ioctl(g, GROUP_GET_DEVICE_FD, end - 4).map(drop), result);
    }
}
