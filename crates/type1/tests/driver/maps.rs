//! `MAP_DMA`.

use ioctlab_abi::vfio::IOMMU_MAP_DMA;
use ioctlab_chardev::{Errno, SpaceId};
use ioctlab_type1::Parameters;

use crate::fake::Group;
use crate::harness::{
    ARGUMENT, BOTH, BUFFER, BUFFER_BYTES, GROUP, Lab, PAGE, READ, SPACE, VADDR, WRITE, map_struct, program,
};
use crate::memory::{BAD, BASE};

#[test]
fn what_devices_get() {
    for (version, mut lab) in Lab::both() {
        assert_eq!(lab.map(BOTH, BUFFER, 0x10_0000, 2 * PAGE), Ok(()));
        assert_eq!(lab.map(READ, BUFFER, 0x20_0000, PAGE), Ok(()));
        assert_eq!(lab.map(WRITE, BUFFER + PAGE, 0x30_0000, PAGE), Ok(()));
        let at = |iova| lab.machine.translate(GROUP, iova);
        assert_eq!(at(0x10_1234), Some((SPACE, BUFFER + 0x1234, true, true)), "{version}");
        assert_eq!(at(0x20_0fff), Some((SPACE, BUFFER + 0xfff, true, false)));
        assert_eq!(at(0x30_0000), Some((SPACE, BUFFER + PAGE, false, true)));
        assert_eq!(at(0x10_2000), None);
        assert_eq!(lab.locked(), 4);
    }
}

#[test]
fn fields() {
    use Errno as E;
    let (vaddr, iova) = (BUFFER, 0x50_0000);
    let last_page = 0xffff_ffff_ffff_f000;
    let rows = [
        (32, BOTH, vaddr, iova, PAGE, Ok(())),
        (u32::MAX, BOTH, vaddr, iova, PAGE, Ok(())),
        (31, BOTH, vaddr, iova, PAGE, Err(E::EINVAL)),
        (0, BOTH, vaddr, iova, PAGE, Err(E::EINVAL)),
        (32, 0, vaddr, iova, PAGE, Err(E::EINVAL)),
        (32, VADDR | READ, vaddr, iova, PAGE, Err(E::EINVAL)),
        (32, VADDR | WRITE, vaddr, iova, PAGE, Err(E::EINVAL)),
        (32, VADDR, vaddr, iova, PAGE, Err(E::ENOENT)),
        (32, 8 | BOTH, vaddr, iova, PAGE, Err(E::EINVAL)),
        (32, 1 << 31 | BOTH, vaddr, iova, PAGE, Err(E::EINVAL)),
        (32, BOTH, vaddr, iova, 0, Err(E::EINVAL)),
        (32, BOTH, vaddr, iova, PAGE + 1, Err(E::EINVAL)),
        (32, BOTH, vaddr, iova + 1, PAGE, Err(E::EINVAL)),
        (32, BOTH, vaddr + 8, iova, PAGE, Err(E::EINVAL)),
        (32, BOTH, vaddr, last_page, PAGE, Err(E::EINVAL)),
        (32, BOTH, vaddr, last_page, 2 * PAGE, Err(E::EINVAL)),
        (32, BOTH, last_page, iova, 2 * PAGE, Err(E::EINVAL)),
        // The last page of all addresses doesn't wrap, but isn't there.
        (32, BOTH, last_page, iova, PAGE, Err(E::EFAULT)),
        (32, BOTH, vaddr + BUFFER_BYTES - PAGE, iova, PAGE, Ok(())),
        (32, BOTH, vaddr + BUFFER_BYTES - PAGE, iova, 2 * PAGE, Err(E::EFAULT)),
        (32, BOTH, vaddr - PAGE, iova, 2 * PAGE, Err(E::EFAULT)),
        (32, BOTH, vaddr, 0xfedf_f000, PAGE, Ok(())),
        (32, BOTH, vaddr, 0xfedf_f000, 2 * PAGE, Err(E::EINVAL)),
        (32, BOTH, vaddr, 0xfee0_0000, PAGE, Err(E::EINVAL)),
        (32, BOTH, vaddr, 0xfeef_f000, PAGE, Err(E::EINVAL)),
        (32, BOTH, vaddr, 0xfef0_0000, PAGE, Ok(())),
        (32, BOTH, vaddr, (1 << 39) - PAGE, PAGE, Ok(())),
        (32, BOTH, vaddr, (1 << 39) - PAGE, 2 * PAGE, Err(E::EINVAL)),
        (32, BOTH, vaddr, 1 << 39, PAGE, Err(E::EINVAL)),
    ];
    for (argsz, flags, vaddr, iova, size, expected) in rows {
        for (version, mut lab) in Lab::both() {
            let mut bytes = map_struct(argsz, flags, vaddr, iova, size);
            let result = lab.call(IOMMU_MAP_DMA, &mut bytes);
            assert_eq!(result, expected, "{version} {argsz} {flags:#x} {vaddr:#x} {iova:#x} {size:#x}");
            assert_eq!(bytes, map_struct(argsz, flags, vaddr, iova, size), "nothing is written back");
            let mapped = lab.machine.domains.values().map(|domain| domain.mapped.len()).sum::<usize>();
            assert_eq!(mapped, usize::from(result.is_ok()));
            assert_eq!(lab.locked(), if result.is_ok() { size / PAGE } else { 0 });
            assert_eq!(lab.capabilities().0, 65535 - u32::from(result.is_ok()));
        }
    }
}

#[test]
fn bad_addresses() {
    let mut lab = Lab::v2();
    assert_eq!(lab.call_at(IOMMU_MAP_DMA, BAD), Err(Errno::EFAULT));
    assert_eq!(lab.call_at(IOMMU_MAP_DMA, u64::MAX), Err(Errno::EFAULT));
    let bytes = map_struct(32, BOTH, BUFFER, 0, PAGE);
    let end = BASE + lab.program.memory.0.len() as u64;
    for there in 0..32 {
        lab.program.put(end - there, &bytes[..there as usize]);
        assert_eq!(lab.call_at(IOMMU_MAP_DMA, end - there), Err(Errno::EFAULT));
    }
    lab.program.put(end - 32, &bytes);
    assert_eq!(lab.call_at(IOMMU_MAP_DMA, end - 32), Ok(()));
}

/// Each row fails for its own reason and for all that come behind it.
#[test]
fn the_order_of_checks() {
    let parameters = Parameters { dma_entry_limit: 1, ..Parameters::default() };
    let mut lab = Lab::new(3, parameters);
    assert_eq!(lab.map(BOTH, BUFFER, 0x10_0000, PAGE), Ok(()));
    let (nowhere, beyond) = (0x5000, 1 << 40);
    // Overlap, no room, beyond the aperture, bad memory.
    assert_eq!(lab.map(BOTH, nowhere, 0x10_0000, 1 << 40), Err(Errno::EEXIST));
    assert_eq!(lab.map(BOTH, nowhere, beyond, PAGE), Err(Errno::ENOSPC));
    assert_eq!(lab.unmap(0, 0x10_0000, PAGE), (Ok(()), PAGE));
    assert_eq!(lab.map(BOTH, nowhere, beyond, PAGE), Err(Errno::EINVAL));
    assert_eq!(lab.map(BOTH, nowhere, 0, PAGE), Err(Errno::EFAULT));
    lab.program.space = None;
    assert_eq!(lab.map(BOTH, nowhere, 0, PAGE), Err(Errno::ESRCH));
}

#[test]
fn protection() {
    let mut lab = Lab::v2();
    let (read_only, end) = (0x6000_0000, 0x6000_0000 + 4 * PAGE);
    lab.program.make_pinnable(read_only, 4 * PAGE, false);
    lab.program.make_pinnable(end, PAGE, true);
    assert_eq!(lab.map(WRITE, read_only, 0, PAGE), Err(Errno::EFAULT));
    assert_eq!(lab.map(BOTH, read_only, 0, PAGE), Err(Errno::EFAULT));
    assert_eq!(lab.map(READ, read_only, 0, 5 * PAGE), Ok(()), "across two things");
    assert_eq!(lab.map(WRITE, end, 0x10_0000, PAGE), Ok(()));
}

#[test]
fn overlaps() {
    let rows = [
        (0xf_e000, 2, Ok(())),
        (0xf_e000, 3, Err(Errno::EEXIST)),
        (0x10_0000, 1, Err(Errno::EEXIST)),
        (0x10_3000, 1, Err(Errno::EEXIST)),
        (0x10_1000, 1, Err(Errno::EEXIST)),
        (0x10_3000, 9, Err(Errno::EEXIST)),
        (0xf_0000, 100, Err(Errno::EEXIST)),
        (0x10_4000, 1, Ok(())),
    ];
    for (iova, pages, expected) in rows {
        let mut lab = Lab::v1();
        assert_eq!(lab.map(BOTH, BUFFER, 0x10_0000, 4 * PAGE), Ok(()));
        assert_eq!(lab.map(BOTH, BUFFER, iova, pages * PAGE), expected, "{iova:#x} {pages}");
    }
}

#[test]
fn an_iommu_that_fails_leaves_nothing() {
    let mut lab = Lab::v2();
    assert_eq!(lab.attach(2, Group { coherent: true, ..Group::default() }), Ok(()));
    for succeed in [0, 1] {
        lab.machine.maps_left = Some(succeed);
        assert_eq!(lab.map(BOTH, BUFFER, 0, PAGE), Err(Errno::ENOMEM));
        assert!(lab.machine.domains.values().all(|domain| domain.mapped.is_empty()));
        assert_eq!((lab.locked(), lab.capabilities().0), (0, 65535));
    }
    lab.machine.maps_left = Some(2);
    assert_eq!(lab.map(BOTH, BUFFER, 0, PAGE), Ok(()));
}

#[test]
fn a_new_address() {
    for (version, mut lab) in Lab::both() {
        assert_eq!(lab.map(READ, BUFFER, 0x10_0000, 2 * PAGE), Ok(()));
        assert_eq!(lab.map(READ, BUFFER, 0x20_0000, PAGE), Ok(()));
        let new = BUFFER + 8 * PAGE;
        assert_eq!(lab.map(VADDR, new, 0x10_0000, 2 * PAGE), Err(Errno::EINVAL), "{version}: it is valid");
        assert_eq!(lab.unmap(VADDR, 0x10_0000, 2 * PAGE), (Ok(()), 2 * PAGE));
        // Still there for devices, and still in the way.
        let before = Some((SPACE, BUFFER + PAGE, true, false));
        assert_eq!(lab.machine.translate(GROUP, 0x10_1000), before);
        assert_eq!(lab.map(BOTH, BUFFER, 0x10_0000, PAGE), Err(Errno::EEXIST));
        assert_eq!((lab.locked(), lab.capabilities().0), (3, 65533));
        let rows = [
            (0x10_0000, 1, Errno::EINVAL),
            (0x10_1000, 1, Errno::EINVAL),
            (0x10_0000, 3, Errno::EINVAL),
            (0xf_f000, 3, Errno::EINVAL),
            (0x20_0000, 1, Errno::EINVAL),
            (0x30_0000, 1, Errno::ENOENT),
            (1 << 50, 1, Errno::ENOENT),
        ];
        for (iova, pages, errno) in rows {
            assert_eq!(lab.map(VADDR, new, iova, pages * PAGE), Err(errno), "{iova:#x}");
        }
        // Nobody looks whether anything is there.
        for vaddr in [new, 0x1000] {
            assert_eq!(lab.map(VADDR, vaddr, 0x10_0000, 2 * PAGE), Ok(()));
            let after = Some((SPACE, vaddr + PAGE, true, false));
            assert_eq!(lab.machine.translate(GROUP, 0x10_1000), after);
            assert_eq!(lab.unmap(VADDR, 0x10_0000, 2 * PAGE), (Ok(()), 2 * PAGE));
        }
        assert_eq!(lab.unmap(0, 0x10_0000, 2 * PAGE), (Ok(()), 2 * PAGE), "one without a valid address");
        assert_eq!((lab.locked(), lab.capabilities().0), (1, 65534));
        assert_eq!(lab.attach(2, Group::default()), Ok(()), "none without a valid address is left");
    }
}

#[test]
fn a_new_owner() {
    let mut lab = Lab::v2();
    assert_eq!(lab.map(BOTH, BUFFER, 0, 4 * PAGE), Ok(()));
    assert_eq!(lab.unmap(VADDR, 0, 4 * PAGE), (Ok(()), 4 * PAGE));
    let heir = SpaceId(9);
    lab.program = program(heir);
    lab.program.locked_memory_limit = Some(4 * PAGE - 1);
    assert_eq!(lab.map(VADDR, BUFFER, 0, 4 * PAGE), Err(Errno::ENOMEM));
    assert_eq!((lab.locked(), lab.machine.locked.pages(heir)), (4, 0));
    lab.program.locked_memory_limit = Some(4 * PAGE);
    assert_eq!(lab.map(VADDR, BUFFER + PAGE, 0, 4 * PAGE), Ok(()));
    assert_eq!((lab.locked(), lab.machine.locked.pages(heir)), (0, 4));
    assert_eq!(lab.machine.translate(GROUP, 0), Some((heir, BUFFER + PAGE, true, true)));
    assert_eq!(lab.unmap(2, 0, 0), (Ok(()), 4 * PAGE));
    assert_eq!(lab.machine.locked.pages(heir), 0);
}

#[test]
fn an_owner_again_needs_no_room() {
    let mut lab = Lab::v2();
    lab.program.locked_memory_limit = Some(4 * PAGE);
    assert_eq!(lab.map(BOTH, BUFFER, 0, 4 * PAGE), Ok(()));
    assert_eq!(lab.unmap(VADDR, 0, 4 * PAGE), (Ok(()), 4 * PAGE));
    assert_eq!(lab.map(VADDR, BUFFER, 0, 4 * PAGE), Ok(()));
    assert_eq!(lab.locked(), 4);
    lab.program.put(ARGUMENT, &[0; 4]);
}
