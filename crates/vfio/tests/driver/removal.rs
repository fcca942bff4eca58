//! Devices that their drivers want back.

use ioctlab_chardev::{Errno, FileId};
use ioctlab_vfio::{DeviceId, GroupId, GroupKind, REQUEST_INTERVAL, Removal};

use crate::fake::Asked;
use crate::program::Bench;

fn remove(bench: &mut Bench, device: u32) -> Removal {
    bench.vfio.del_group_dev(DeviceId(device), &mut bench.machine)
}

fn ticks(bench: &mut Bench, seconds: u32) {
    for _ in 0..seconds {
        bench.vfio.tick(&mut bench.machine);
    }
}

#[test]
fn an_unused_device_goes_at_once() {
    let mut bench = Bench::with_devices();
    assert_eq!(remove(&mut bench, 1), Removal::Done);
    assert_eq!(remove(&mut bench, 1), Removal::Done);
    assert_eq!(remove(&mut bench, 77), Removal::Done);
    assert_eq!(bench.vfio.next_removed(), None);
    assert_eq!(bench.machine.take_asked(), []);
    assert!(!bench.vfio.has_waiting_removals());
    bench.add(1, 11);
}

#[test]
fn a_device_in_use_is_asked_for_until_it_is_let_go() {
    let mut bench = Bench::with_devices();
    let (c, g) = bench.up(11);
    let (d, second) = (bench.get_device(g, "d1").unwrap(), bench.get_device(g, "d1").unwrap());
    bench.machine.take_asked();
    assert_eq!(remove(&mut bench, 1), Removal::Waits);
    assert_eq!(bench.machine.take_asked(), [Asked::Request(DeviceId(1), 0)]);
    assert!(bench.vfio.has_waiting_removals());
    // To want it back twice makes no difference.
    assert_eq!(remove(&mut bench, 1), Removal::Waits);
    for count in 1..4 {
        ticks(&mut bench, REQUEST_INTERVAL - 1);
        assert_eq!(bench.machine.take_asked(), []);
        ticks(&mut bench, 1);
        assert_eq!(bench.machine.take_asked(), [Asked::Request(DeviceId(1), count)]);
    }
    // Who has it goes on using it; nobody new gets it.
    assert_eq!(bench.get_device(g, "d1"), Err(Errno::ENODEV));
    assert_eq!(bench.open_device(DeviceId(1)), Err(Errno::ENODEV));
    assert_eq!(bench.vfio.device_of(FileId(d as u64)), Some(DeviceId(1)));
    let again = bench.vfio.add_group_dev(DeviceId(1), GroupId(11), GroupKind::Iommu);
    assert_eq!(again, Err(Errno::EBUSY));
    assert!(bench.vfio.group_node(GroupId(11)).is_some());
    bench.close(d);
    assert_eq!(bench.vfio.next_removed(), None);
    bench.close(second);
    let left =
        [Asked::Close(DeviceId(1)), Asked::Detach("type1", 0, GroupId(11)), Asked::Release("type1", 0)];
    assert_eq!(bench.machine.take_asked(), left);
    assert_eq!(bench.vfio.next_removed(), Some(DeviceId(1)));
    assert_eq!(bench.vfio.next_removed(), None);
    assert!(!bench.vfio.has_waiting_removals());
    assert_eq!(bench.vfio.group_node(GroupId(11)), None);
    assert_eq!(bench.flags(g), Err(Errno::ENODEV));
    ticks(&mut bench, 20);
    assert_eq!(bench.machine.take_asked(), []);
    bench.close(g);
    bench.close(c);
    assert_eq!((bench.vfio.containers(), bench.vfio.minors(), bench.vfio.devices()), (0, 2, 3));
}

#[test]
fn one_of_two_devices_goes_while_the_group_is_in_use() {
    let mut bench = Bench::with_devices();
    let (_, g) = bench.up(13);
    let d3 = bench.get_device(g, "d3").unwrap();
    bench.machine.take_asked();
    assert_eq!(remove(&mut bench, 4), Removal::Done);
    assert_eq!(bench.machine.take_asked(), []);
    assert_eq!(bench.get_device(g, "d4"), Err(Errno::ENODEV));
    assert_eq!(bench.flags(g), Ok(3));
    assert_eq!(remove(&mut bench, 3), Removal::Waits);
    // The other one may come back while the first one waits.
    bench.add(4, 13);
    let d4 = bench.get_device(g, "d4").unwrap();
    bench.close(d3);
    assert_eq!(bench.vfio.next_removed(), Some(DeviceId(3)));
    assert_eq!(bench.flags(g), Ok(3));
    bench.close(d4);
    assert_eq!(bench.unset_container(g), Ok(0));
}

#[test]
fn a_device_whose_group_was_closed_first() {
    let mut bench = Bench::with_devices();
    let (c, g) = bench.up(11);
    let d = bench.get_device(g, "d1").unwrap();
    assert_eq!(remove(&mut bench, 1), Removal::Waits);
    bench.close(g);
    bench.close(c);
    assert_eq!(bench.open_group(11), Err(Errno::EBUSY));
    bench.close(d);
    assert_eq!(bench.vfio.next_removed(), Some(DeviceId(1)));
    assert_eq!((bench.vfio.containers(), bench.vfio.minors()), (0, 2));
    bench.add(1, 11);
    assert!(bench.open_group(11).is_ok());
}

#[test]
fn other_parts_of_the_kernel_keep_a_device_too() {
    let mut bench = Bench::with_devices();
    assert_eq!(bench.vfio.get_device_from_dev(DeviceId(77)), Err(Errno::ENODEV));
    assert_eq!(bench.vfio.get_device_from_dev(DeviceId(1)), Ok(()));
    assert_eq!(bench.vfio.get_device_from_dev(DeviceId(1)), Ok(()));
    assert_eq!(remove(&mut bench, 1), Removal::Waits);
    assert_eq!(bench.vfio.get_device_from_dev(DeviceId(1)), Err(Errno::ENODEV));
    bench.vfio.put_device(DeviceId(1), &mut bench.machine);
    assert_eq!(bench.vfio.next_removed(), None);
    bench.vfio.put_device(DeviceId(1), &mut bench.machine);
    assert_eq!(bench.vfio.next_removed(), Some(DeviceId(1)));
    bench.vfio.put_device(DeviceId(1), &mut bench.machine);
    assert_eq!(bench.vfio.next_removed(), None);
    // Without a removal it stays.
    assert_eq!(bench.vfio.get_device_from_dev(DeviceId(2)), Ok(()));
    bench.vfio.put_device(DeviceId(2), &mut bench.machine);
    bench.vfio.put_device(DeviceId(2), &mut bench.machine);
    assert_eq!(bench.vfio.devices(), 3);
}

#[test]
fn each_waiting_device_has_its_own_time() {
    let mut bench = Bench::with_devices();
    let (_, g) = bench.up(13);
    bench.get_device(g, "d3").unwrap();
    bench.get_device(g, "d4").unwrap();
    bench.machine.take_asked();
    remove(&mut bench, 4);
    ticks(&mut bench, 3);
    remove(&mut bench, 3);
    ticks(&mut bench, 17);
    let asked = [(4, 0), (3, 0), (4, 1), (3, 1), (4, 2)];
    assert_eq!(
        bench.machine.take_asked(),
        asked.map(|(device, count)| Asked::Request(DeviceId(device), count))
    );
}
