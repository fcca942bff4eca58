//! Containers, and how they get their IOMMU.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ioctlab_abi::vfio::{GET_API_VERSION, GROUP_GET_STATUS, IOMMU_MAP_DMA};
use ioctlab_chardev::{Errno, FileId, MappingId, MmapRequest, UserPtr};
use ioctlab_vfio::{DeviceId, GroupId, GroupKind};

use crate::fake::{Asked, Type1};
use crate::memory::{BAD, BASE};
use crate::program::{Bench, plain};

/// A second driver, which is registered after type1 and therefore asked first.
fn other(fails: Vec<u64>) -> Type1 {
    Type1 { name: "other", extensions: vec![2, 3, 5], answer: 2, fails, ..Type1::new() }
}

#[test]
fn a_container_knows_its_own_requests_alone_while_it_has_no_iommu() {
    let mut bench = Bench::with_devices();
    let c = bench.open_container();
    assert_eq!(bench.ioctl(c, GET_API_VERSION, BAD), Ok(0));
    for request in [IOMMU_MAP_DMA, GROUP_GET_STATUS] {
        assert_eq!(bench.ioctl(c, request, BASE), Err(Errno::EINVAL));
    }
    let (c, _) = bench.up(11);
    assert_eq!(bench.ioctl(c, GROUP_GET_STATUS, BASE), Err(Errno::ENOTTY));
    assert_eq!(bench.ioctl(c, IOMMU_MAP_DMA, BASE), Ok(0));
    assert_eq!(bench.ioctl(c, IOMMU_MAP_DMA, BAD), Err(Errno::EFAULT));
}

#[test]
fn reads_writes_and_mappings_are_the_iommu_drivers() {
    let mut bench = Bench::with_devices();
    let request = MmapRequest { mapping: MappingId(1), page: 7, pages: 1, shared: true, writable: true };
    let c = bench.open_container();
    for (set, read, write, mapped) in [
        (false, Err(Errno::EINVAL), Err(Errno::EINVAL), Err(Errno::ENODEV)),
        (true, Ok(5), Err(Errno::EINVAL), Ok(1)),
    ] {
        if set {
            let g = bench.open_group(11).unwrap();
            bench.set_container(g, c).unwrap();
            bench.set_iommu(c, 1).unwrap();
        }
        let Bench { vfio, process, machine, .. } = &mut bench;
        let file = FileId(c as u64);
        assert_eq!(plain(vfio.container_read(file, UserPtr(BASE), 5, process, machine)), read);
        assert_eq!(plain(vfio.container_write(file, UserPtr(BASE), 5, process, machine)), write);
        let mapping = vfio.container_mmap(file, &request, machine);
        assert_eq!(mapping.map(|mapping| mapping.frames().len()), mapped);
    }
}

#[test]
fn calls_on_files_that_are_no_containers() {
    let mut bench = Bench::with_devices();
    let (c, g) = bench.up(11);
    let d = bench.get_device(g, "d1").unwrap();
    bench.close(c);
    let Bench { vfio, process, machine, .. } = &mut bench;
    let request = MmapRequest { mapping: MappingId(1), page: 7, pages: 1, shared: true, writable: true };
    // The closed container is still there, as the group is of it.
    for file in [c, g, d, 99].map(|number| FileId(number as u64)) {
        let result = vfio.container_ioctl(file, GET_API_VERSION, 0, process, machine);
        assert_eq!(plain(result), Err(Errno::EBADF));
        assert_eq!(plain(vfio.container_read(file, UserPtr(BASE), 5, process, machine)), Err(Errno::EBADF));
        assert_eq!(plain(vfio.container_write(file, UserPtr(BASE), 5, process, machine)), Err(Errno::EBADF));
        assert_eq!(vfio.container_mmap(file, &request, machine), Err(Errno::EBADF));
    }
    for file in [c, d, 99].map(|number| FileId(number as u64)) {
        let result = vfio.group_ioctl(file, GROUP_GET_STATUS, 0, process, machine);
        assert_eq!(plain(result), Err(Errno::EBADF));
        assert_eq!(vfio.group_of(file), None);
    }
    assert_eq!(vfio.group_of(FileId(g as u64)), Some(GroupId(11)));
    assert_eq!(vfio.device_of(FileId(d as u64)), Some(DeviceId(1)));
    assert_eq!(vfio.device_of(FileId(g as u64)), None);
}

#[test]
fn extensions_are_asked_for_with_the_latest_driver_first() {
    let mut bench = Bench::with_devices();
    bench.vfio.register_iommu_driver(Box::new(other(vec![]))).unwrap();
    let c = bench.open_container();
    for (extension, answer) in
        [(1, 1), (2, 2), (3, 2), (4, 0), (5, 2), (8, 0), (9, 1), (10, 0), (u64::MAX, 0)]
    {
        assert_eq!(bench.check_extension(c, extension), Ok(answer), "{extension}");
    }
    let g = bench.open_group(11).unwrap();
    bench.set_container(g, c).unwrap();
    assert_eq!(bench.set_iommu(c, 3), Ok(0));
    assert_eq!(bench.machine.take_asked(), [Asked::Attach("other", 0, GroupId(11))]);
    // Only the chosen one is asked now.
    for (extension, answer) in [(1, 0), (2, 1), (9, 0), (10, 1)] {
        assert_eq!(bench.check_extension(c, extension), Ok(answer), "{extension}");
    }
}

#[test]
fn a_driver_that_fails_leaves_it_to_the_next() {
    for (fails, refused, kind, result, asked) in [
        (vec![3], vec![], 3, Ok(0), vec![Asked::Attach("type1", 0, GroupId(11))]),
        (vec![2], vec![], 2, Err(Errno::EINVAL), vec![]),
        (
            vec![],
            vec![("other", Errno::EBUSY)],
            3,
            Ok(0),
            vec![Asked::Release("other", 0), Asked::Attach("type1", 0, GroupId(11))],
        ),
        (
            vec![],
            vec![("other", Errno::EBUSY), ("type1", Errno::EPERM)],
            3,
            Err(Errno::EPERM),
            vec![Asked::Release("other", 0), Asked::Release("type1", 0)],
        ),
        (vec![], vec![("other", Errno::EBUSY)], 5, Err(Errno::EBUSY), vec![Asked::Release("other", 0)]),
        (vec![], vec![], 7, Err(Errno::ENODEV), vec![]),
    ] {
        let mut bench = Bench::with_devices();
        bench.vfio.register_iommu_driver(Box::new(other(fails))).unwrap();
        bench.machine.refused =
            refused.into_iter().map(|(driver, errno)| ((driver, GroupId(11)), errno)).collect();
        let (c, g) = (bench.open_container(), bench.open_group(11).unwrap());
        bench.set_container(g, c).unwrap();
        assert_eq!(bench.set_iommu(c, kind), result);
        assert_eq!(bench.machine.take_asked(), asked);
        assert_eq!(bench.vfio.iommus(), usize::from(result.is_ok()));
        // A failure leaves the container as it was.
        if result.is_err() {
            assert_eq!(bench.set_iommu(c, 1).is_ok(), bench.machine.refused.len() < 2);
        }
    }
}

#[test]
fn all_groups_are_attached_or_none_is() {
    let mut bench = Bench::with_devices();
    let c = bench.open_container();
    for group in [12, 11, 13] {
        let g = bench.open_group(group).unwrap();
        bench.set_container(g, c).unwrap();
    }
    bench.machine.refused.insert(("type1", GroupId(12)), Errno::EPERM);
    assert_eq!(bench.set_iommu(c, 1), Err(Errno::EPERM));
    let [first, second] = [13, 11].map(|group| Asked::Attach("type1", 0, GroupId(group)));
    let [undone_first, undone_second] = [11, 13].map(|group| Asked::Detach("type1", 0, GroupId(group)));
    assert_eq!(
        bench.machine.take_asked(),
        [first, second, undone_first, undone_second, Asked::Release("type1", 0)]
    );
    bench.machine.refused.clear();
    assert_eq!(bench.set_iommu(c, 1), Ok(0));
    assert_eq!(
        bench.machine.take_asked(),
        [13, 11, 12].map(|group| Asked::Attach("type1", 1, GroupId(group)))
    );
}

#[test]
fn a_group_that_comes_later_is_attached_at_once_or_stays_out() {
    let mut bench = Bench::with_devices();
    let (c, g) = bench.up(11);
    bench.machine.take_asked();
    let late = bench.open_group(12).unwrap();
    bench.machine.refused.insert(("type1", GroupId(12)), Errno::EPERM);
    assert_eq!(bench.set_container(late, c), Err(Errno::EPERM));
    assert_eq!(bench.flags(late), Ok(1));
    assert_eq!(bench.unset_container(late), Err(Errno::EINVAL));
    bench.machine.refused.clear();
    assert_eq!(bench.set_container(late, c), Ok(0));
    assert_eq!(bench.unset_container(g), Ok(0));
    assert_eq!(bench.vfio.iommus(), 1);
    assert_eq!(bench.unset_container(late), Ok(0));
    assert_eq!(bench.vfio.iommus(), 0);
    let (attach, detach) = (
        Asked::Attach("type1", 0, GroupId(12)),
        [11, 12].map(|group| Asked::Detach("type1", 0, GroupId(group))),
    );
    assert_eq!(bench.machine.take_asked(), [attach, detach[0], detach[1], Asked::Release("type1", 0)]);
}

#[test]
fn a_closed_container_lasts_as_long_as_its_groups() {
    let mut bench = Bench::with_devices();
    let (c, g) = bench.up(11);
    bench.close(c);
    assert_eq!((bench.vfio.containers(), bench.vfio.iommus()), (1, 1));
    assert_eq!(bench.flags(g), Ok(3));
    assert!(bench.get_device(g, "d1").is_ok());
    let d = bench.get_device(g, "d1").unwrap();
    bench.close(d - 1);
    bench.close(d);
    assert_eq!(bench.unset_container(g), Ok(0));
    assert_eq!((bench.vfio.containers(), bench.vfio.iommus()), (0, 0));
    // Its number is no container's any more, even if a descriptor could have it.
    bench.process.descriptors.insert(c, Some(FileId(c as u64)));
    assert_eq!(bench.set_container(g, c), Err(Errno::EBADFD));
}

#[test]
fn drivers_are_registered_once_and_stay_while_they_are_chosen() {
    let mut bench = Bench::with_devices();
    assert_eq!(bench.vfio.register_iommu_driver(Box::new(Type1::new())), Err(Errno::EINVAL));
    assert_eq!(bench.vfio.unregister_iommu_driver("other"), Err(Errno::ENOENT));
    let (c, g) = bench.up(11);
    assert_eq!(bench.vfio.unregister_iommu_driver("type1"), Err(Errno::EAGAIN));
    bench.unset_container(g).unwrap();
    assert_eq!(bench.vfio.unregister_iommu_driver("type1"), Ok(()));
    assert_eq!(bench.check_extension(c, 1), Ok(0));
    bench.set_container(g, c).unwrap();
    assert_eq!(bench.set_iommu(c, 1), Err(Errno::ENODEV));
    let alive = Arc::new(AtomicU32::new(0));
    let again = Type1 { alive: alive.clone(), ..Type1::new() };
    assert_eq!(bench.vfio.register_iommu_driver(Box::new(again)), Ok(()));
    assert_eq!(bench.set_iommu(c, 1), Ok(0));
    assert_eq!(alive.load(Ordering::Relaxed), 1);
    bench.close(g);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

#[test]
fn kinds_of_iommu_that_are_only_extensions() {
    let mut bench = Bench::with_devices();
    let (c, g) = (bench.open_container(), bench.open_group(11).unwrap());
    assert_eq!(bench.set_iommu(c, 1), Err(Errno::EINVAL));
    bench.set_container(g, c).unwrap();
    for (kind, result) in [
        (0, Err(Errno::ENODEV)),
        (2, Err(Errno::ENODEV)),
        (6, Err(Errno::EINVAL)),
        (8, Err(Errno::ENODEV)),
        (9, Err(Errno::EINVAL)),
        (10, Err(Errno::ENODEV)),
        (1 << 32 | 1, Err(Errno::ENODEV)),
        (1, Ok(0)),
        (1, Err(Errno::EINVAL)),
        (99, Err(Errno::EINVAL)),
    ] {
        assert_eq!(bench.set_iommu(c, kind), result, "{kind}");
    }
    assert_eq!(bench.vfio.group_node(GroupId(11)).map(|node| node.kind), Some(GroupKind::Iommu));
}
