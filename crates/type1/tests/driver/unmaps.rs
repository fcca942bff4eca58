//! `UNMAP_DMA`.

use ioctlab_abi::vfio::IOMMU_UNMAP_DMA;
use ioctlab_chardev::Errno;

use crate::harness::{ARGUMENT, BITMAP, BOTH, BUFFER, GROUP, Lab, PAGE, VADDR, long, unmap_struct, words};
use crate::memory::{BAD, BASE};

const ALL: u32 = 2;
const DIRTY: u32 = 1;

#[test]
fn fields() {
    let last_page = 0xffff_ffff_ffff_f000;
    let rows = [
        (24, 0, 0x10_0000, PAGE, Ok(PAGE)),
        (u32::MAX, 0, 0x10_0000, PAGE, Ok(PAGE)),
        (23, 0, 0x10_0000, PAGE, Err(Errno::EINVAL)),
        (0, 0, 0x10_0000, PAGE, Err(Errno::EINVAL)),
        (24, 8, 0x10_0000, PAGE, Err(Errno::EINVAL)),
        (24, 1 << 31, 0x10_0000, PAGE, Err(Errno::EINVAL)),
        (24, 0, 0x10_0000, 0, Err(Errno::EINVAL)),
        (24, 0, 0x10_0000, PAGE + 1, Err(Errno::EINVAL)),
        (24, 0, 0x10_0001, PAGE, Err(Errno::EINVAL)),
        (24, 0, last_page, 2 * PAGE, Err(Errno::EINVAL)),
        (24, 0, last_page, PAGE, Ok(0)),
        (24, 0, 0, last_page, Ok(PAGE)),
        (24, 0, 1 << 50, PAGE, Ok(0)),
        (24, ALL, 0, 0, Ok(PAGE)),
        (24, ALL, 0, PAGE, Err(Errno::EINVAL)),
        (24, ALL, PAGE, 0, Err(Errno::EINVAL)),
        (24, ALL, 1, 0, Err(Errno::EINVAL)),
        (24, ALL | VADDR, 0, 0, Ok(PAGE)),
        (24, VADDR, 0x10_0000, PAGE, Ok(PAGE)),
        (24, VADDR, 0x10_0000, 0, Err(Errno::EINVAL)),
        (24, VADDR, 0x20_0000, PAGE, Ok(0)),
        (24, DIRTY, 0x10_0000, PAGE, Err(Errno::EINVAL)),
        (47, DIRTY, 0x10_0000, PAGE, Err(Errno::EINVAL)),
        (48, DIRTY | ALL, 0, 0, Err(Errno::EINVAL)),
        (48, DIRTY | VADDR, 0x10_0000, PAGE, Err(Errno::EINVAL)),
    ];
    for (argsz, flags, iova, size, expected) in rows {
        for (version, mut lab) in Lab::both() {
            assert_eq!(lab.map(BOTH, BUFFER, 0x10_0000, PAGE), Ok(()));
            let mut bytes = unmap_struct(argsz, flags, iova, size);
            let result = lab.call(IOMMU_UNMAP_DMA, &mut bytes);
            let what = format!("{version} {argsz} {flags} {iova:#x} {size:#x}");
            assert_eq!(result, expected.map(drop), "{what}");
            // Nothing but the size is changed, and only on success.
            let after = unmap_struct(argsz, flags, iova, expected.unwrap_or(size));
            assert_eq!(bytes, after, "{what}");
            let gone = expected == Ok(PAGE) && flags & VADDR == 0;
            assert_eq!(lab.machine.translate(GROUP, 0x10_0000).is_none(), gone, "{what}");
            assert_eq!(lab.locked(), u64::from(!gone));
        }
    }
}

#[test]
fn bad_addresses() {
    for (_, mut lab) in Lab::both() {
        assert_eq!(lab.map(BOTH, BUFFER, 0, PAGE), Ok(()));
        assert_eq!(lab.call_at(IOMMU_UNMAP_DMA, BAD), Err(Errno::EFAULT));
        assert_eq!(lab.call_at(IOMMU_UNMAP_DMA, u64::MAX - 8), Err(Errno::EFAULT));
        let end = BASE + lab.program.memory.0.len() as u64;
        let bytes = unmap_struct(24, 0, 0, PAGE);
        for there in 0..24 {
            lab.program.put(end - there, &bytes[..there as usize]);
            assert_eq!(lab.call_at(IOMMU_UNMAP_DMA, end - there), Err(Errno::EFAULT));
        }
        assert_eq!(lab.locked(), 1);
        lab.program.put(end - 24, &bytes);
        assert_eq!(lab.call_at(IOMMU_UNMAP_DMA, end - 24), Ok(()));
        assert_eq!(lab.program.get::<8>(end - 8), PAGE.to_ne_bytes());
    }
}

/// Mappings at pages 16 to 19, 20, and 24 to 27: what a range unmaps in each version (`None`: `EINVAL`).
#[test]
fn ranges_and_mappings() {
    let rows = [
        (16, 4, Some(4), Some(4)),
        (16, 5, Some(5), Some(5)),
        (16, 12, Some(9), Some(9)),
        (0, 100, Some(9), Some(9)),
        (20, 1, Some(1), Some(1)),
        (20, 4, Some(1), Some(1)),
        (21, 3, Some(0), Some(0)),
        // Cuts the first.
        (16, 1, Some(4), None),
        (0, 17, Some(4), None),
        (17, 1, Some(0), None),
        (17, 3, Some(0), None),
        // Starts within the first, and takes in others.
        (17, 4, Some(0), None),
        (17, 11, Some(0), None),
        // Ends within the last.
        (20, 5, Some(5), None),
        (16, 9, Some(9), None),
        (24, 1, Some(4), None),
        (25, 9, Some(0), None),
    ];
    for (page, pages, v1, v2) in rows {
        for ((version, mut lab), expected) in Lab::both().into_iter().zip([v1, v2]) {
            for (page, pages) in [(16, 4), (20, 1), (24, 4)] {
                assert_eq!(lab.map(BOTH, BUFFER, page * PAGE, pages * PAGE), Ok(()));
            }
            let (result, size) = lab.unmap(0, page * PAGE, pages * PAGE);
            let what = format!("{version} {page} {pages}");
            assert_eq!(result.is_ok(), expected.is_some(), "{what}");
            assert_eq!(size, expected.unwrap_or(pages) * PAGE, "{what}");
            let unmapped = expected.unwrap_or(0);
            assert_eq!(lab.locked(), 9 - unmapped, "{what}");
            assert_eq!(lab.unmap(ALL, 0, 0), (Ok(()), (9 - unmapped) * PAGE));
            assert_eq!(lab.capabilities().0, 65535);
        }
    }
}

#[test]
fn addresses_become_invalid_together_or_not_at_all() {
    for (version, mut lab) in Lab::both() {
        for page in 0..4 {
            assert_eq!(lab.map(BOTH, BUFFER, page * PAGE, PAGE), Ok(()));
        }
        assert_eq!(lab.unmap(VADDR, 2 * PAGE, PAGE), (Ok(()), PAGE));
        assert_eq!(lab.unmap(VADDR, 0, 4 * PAGE), (Err(Errno::EINVAL), 4 * PAGE), "{version}");
        assert_eq!(lab.unmap(VADDR | ALL, 0, 0), (Err(Errno::EINVAL), 0));
        // The first two are valid still.
        assert_eq!(lab.unmap(VADDR, 0, 2 * PAGE), (Ok(()), 2 * PAGE));
        assert_eq!(lab.unmap(VADDR, 3 * PAGE, PAGE), (Ok(()), PAGE));
        for page in 0..4 {
            assert_eq!(lab.map(VADDR, BUFFER, page * PAGE, PAGE), Ok(()));
        }
        assert_eq!(lab.unmap(VADDR | ALL, 0, 0), (Ok(()), 4 * PAGE));
        assert_eq!(lab.unmap(ALL, 0, 0), (Ok(()), 4 * PAGE));
    }
}

#[test]
fn cut_addresses() {
    let mut lab = Lab::v2();
    assert_eq!(lab.map(BOTH, BUFFER, 0, 4 * PAGE), Ok(()));
    assert_eq!(lab.unmap(VADDR, PAGE, PAGE).0, Err(Errno::EINVAL));
    assert_eq!(lab.unmap(VADDR, 0, PAGE).0, Err(Errno::EINVAL));
    let mut lab = Lab::v1();
    assert_eq!(lab.map(BOTH, BUFFER, 0, 4 * PAGE), Ok(()));
    assert_eq!(lab.unmap(VADDR, PAGE, PAGE), (Ok(()), 0));
    assert_eq!(lab.unmap(VADDR, 0, PAGE), (Ok(()), 4 * PAGE));
}

#[test]
fn with_a_bitmap() {
    let mut lab = Lab::v2();
    let map = |lab: &mut Lab| {
        assert_eq!(lab.map(BOTH, BUFFER, 0, 3 * PAGE), Ok(()));
        assert_eq!(lab.map(BOTH, BUFFER, 4 * PAGE, 2 * PAGE), Ok(()));
    };
    map(&mut lab);
    assert_eq!(lab.unmap_dirty(0, 64 * PAGE, 8).0, Err(Errno::EINVAL), "nothing is tracked");
    assert_eq!(lab.dirty(1), Ok(()));
    lab.program.put(BITMAP, &[0; 16]);
    assert_eq!(lab.unmap_dirty(0, 64 * PAGE, 8), (Ok(()), 5 * PAGE));
    assert_eq!(lab.program.get::<16>(BITMAP), words(&[0b11_0111, 0])[..]);
    map(&mut lab);
    assert_eq!(lab.unmap_dirty(0, 2 * PAGE, 8).0, Err(Errno::EINVAL), "cuts a mapping");
    assert_eq!(lab.unmap_dirty(0, 65 * PAGE, 8).0, Err(Errno::EINVAL), "too small");
    assert_eq!(lab.unmap_dirty(0, 65 * PAGE, 16), (Ok(()), 5 * PAGE));
    assert_eq!(lab.unmap_dirty(0, 65 * PAGE, 16), (Ok(()), 0));
}

#[test]
fn bitmaps_that_cannot_be() {
    let mut lab = Lab::v2();
    assert_eq!(lab.map(BOTH, BUFFER, 0, PAGE), Ok(()));
    assert_eq!(lab.dirty(1), Ok(()));
    let rows = [
        (PAGE, 8, u64::MAX - 6),
        (PAGE, 8, 0x7fff_ffff_eff9),
        (PAGE, 0, BITMAP),
        (PAGE, 7, BITMAP),
        (PAGE, 0x1000_0001, BITMAP),
        (2 * PAGE, 8, BITMAP),
        (0x800, 8, BITMAP),
        (0, 8, BITMAP),
        (0, 0x1000_0000, BITMAP),
        (1 << 63, 8, BITMAP),
    ];
    for (page, bytes, data) in rows {
        let mut argument = unmap_struct(48, DIRTY, 0, PAGE);
        argument.extend(words(&[page, bytes, data]));
        assert_eq!(
            lab.call(IOMMU_UNMAP_DMA, &mut argument),
            Err(Errno::EINVAL),
            "{page:#x} {bytes} {data:#x}"
        );
        assert_eq!(long(&argument, 16), PAGE);
    }
    assert_eq!(lab.locked(), 1);
}

#[test]
fn a_bitmap_at_bad_addresses() {
    let mut lab = Lab::v2();
    assert_eq!(lab.dirty(1), Ok(()));
    assert_eq!(lab.map(BOTH, BUFFER, 0, 2 * PAGE), Ok(()));
    assert_eq!(lab.map(BOTH, BUFFER, 64 * PAGE, PAGE), Ok(()));
    let end = BASE + lab.program.memory.0.len() as u64;
    // The description itself.
    let mut argument = unmap_struct(48, DIRTY, 0, 128 * PAGE);
    lab.program.put(end - 47, &argument);
    assert_eq!(lab.call_at(IOMMU_UNMAP_DMA, end - 47), Err(Errno::EFAULT));
    assert_eq!(lab.locked(), 3);
    // Bits of the first mapping can be written, those of the second can't.
    argument.extend(words(&[PAGE, 16, end - 8]));
    assert_eq!(lab.call(IOMMU_UNMAP_DMA, &mut argument), Err(Errno::EFAULT));
    assert_eq!(long(&argument, 16), 128 * PAGE, "no size is written");
    assert_eq!(lab.program.get::<8>(end - 8), 3_u64.to_ne_bytes());
    assert_eq!(lab.locked(), 1, "the first is unmapped by then");
    assert_eq!(lab.machine.translate(GROUP, 0), None);
    assert_eq!(lab.unmap(0, 64 * PAGE, PAGE), (Ok(()), PAGE));
    lab.program.put(ARGUMENT, &[0; 4]);
}

#[test]
fn the_first_version_tracks_nothing() {
    let mut lab = Lab::v1();
    assert_eq!(lab.map(BOTH, BUFFER, 0, PAGE), Ok(()));
    assert_eq!(lab.unmap_dirty(0, PAGE, 8).0, Err(Errno::EINVAL));
}
