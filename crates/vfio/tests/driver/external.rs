//! Parts of the kernel that use a group by its file.

use ioctlab_chardev::{Errno, FileId};
use ioctlab_vfio::{DeviceId, GroupId, Removal};

use crate::fake::Asked;
use crate::program::Bench;

#[test]
fn a_group_is_had_once_its_container_has_an_iommu() {
    let mut bench = Bench::with_devices();
    let (c, g) = (bench.open_container(), bench.open_group(11).unwrap());
    let [container, group] = [c, g].map(|number| FileId(number as u64));
    assert_eq!(bench.vfio.get_external_user(container), Err(Errno::EINVAL));
    assert_eq!(bench.vfio.get_external_user(group), Err(Errno::EINVAL));
    bench.set_container(g, c).unwrap();
    assert_eq!(bench.vfio.get_external_user(group), Err(Errno::EINVAL));
    bench.set_iommu(c, 3).unwrap();
    let user = bench.vfio.get_external_user(group).unwrap();
    assert_eq!(user.iommu_id(), GroupId(11));
    for (extension, answer) in [(1, 1), (4, 0), (10, 1)] {
        assert_eq!(bench.vfio.external_check_extension(&user, extension), answer);
    }
    let second = bench.vfio.get_external_user(group).unwrap();
    for user in [user, second] {
        assert_eq!(bench.unset_container(g), Err(Errno::EBUSY));
        bench.vfio.put_external_user(user, &mut bench.machine);
    }
    assert_eq!(bench.unset_container(g), Ok(0));
}

#[test]
fn it_keeps_the_group_in_its_container() {
    let mut bench = Bench::with_devices();
    let (c, g) = bench.up(11);
    let user = bench.vfio.get_external_user(FileId(g as u64)).unwrap();
    let d = bench.get_device(g, "d1").unwrap();
    bench.machine.take_asked();
    for number in [c, g, d] {
        bench.close(number);
    }
    assert_eq!(bench.machine.take_asked(), [Asked::Close(DeviceId(1))]);
    assert_eq!(bench.open_group(11), Err(Errno::EBUSY));
    assert_eq!(bench.vfio.external_check_extension(&user, 10), 1);
    bench.vfio.put_external_user(user, &mut bench.machine);
    let left = [Asked::Detach("type1", 0, GroupId(11)), Asked::Release("type1", 0)];
    assert_eq!(bench.machine.take_asked(), left);
    assert_eq!(bench.vfio.containers(), 0);
    assert!(bench.open_group(11).is_ok());
}

#[test]
fn it_does_not_keep_devices() {
    let mut bench = Bench::with_devices();
    let (_, g) = bench.up(11);
    let user = bench.vfio.get_external_user(FileId(g as u64)).unwrap();
    bench.machine.take_asked();
    assert_eq!(bench.vfio.del_group_dev(DeviceId(1), &mut bench.machine), Removal::Done);
    let left = [Asked::Detach("type1", 0, GroupId(11)), Asked::Release("type1", 0)];
    assert_eq!(bench.machine.take_asked(), left);
    assert_eq!(user.iommu_id(), GroupId(11));
    assert_eq!(bench.vfio.external_check_extension(&user, 1), 0);
    bench.close(g);
    assert_eq!(bench.vfio.minors(), 3);
    bench.vfio.put_external_user(user, &mut bench.machine);
    assert_eq!(bench.vfio.minors(), 2);
    assert_eq!(bench.machine.take_asked(), []);
}
