//! `DIRTY_PAGES`.

use ioctlab_abi::vfio::IOMMU_DIRTY_PAGES;
use ioctlab_chardev::Errno;

use crate::fake::Group;
use crate::harness::{ARGUMENT, BITMAP, BOTH, BUFFER, Lab, PAGE, halves, words};
use crate::memory::{BAD, BASE};

const START: u32 = 1;
const STOP: u32 = 2;
const GET: u32 = 4;

#[test]
fn flags() {
    let rows = [
        (8, START, Ok(())),
        (8, STOP, Ok(())),
        (u32::MAX, START, Ok(())),
        (7, START, Err(Errno::EINVAL)),
        (0, STOP, Err(Errno::EINVAL)),
        (8, 0, Err(Errno::EINVAL)),
        (8, 8, Err(Errno::EINVAL)),
        (8, START | STOP, Err(Errno::EINVAL)),
        (48, STOP | GET, Err(Errno::EINVAL)),
        (48, START | 1 << 31, Err(Errno::EINVAL)),
        (8, GET, Err(Errno::EINVAL)),
        (47, GET, Err(Errno::EINVAL)),
    ];
    for (argsz, flags, expected) in rows {
        let mut bytes = halves(&[argsz, flags]);
        assert_eq!(Lab::v2().call(IOMMU_DIRTY_PAGES, &mut bytes), expected, "{argsz} {flags:#x}");
        assert_eq!(bytes, halves(&[argsz, flags]));
        assert_eq!(Lab::v1().call(IOMMU_DIRTY_PAGES, &mut bytes), Err(Errno::EACCES));
    }
    assert_eq!(Lab::v1().call_at(IOMMU_DIRTY_PAGES, BAD), Err(Errno::EACCES), "before anything else");
}

fn tracking() -> Lab {
    let mut lab = Lab::v2();
    assert_eq!(lab.dirty(START), Ok(()));
    lab
}

#[test]
fn fields() {
    use Errno as E;
    let p = PAGE;
    let rows = [
        (0x10_0000, 4 * p, p, 8, BITMAP, Ok(())),
        (0, 1 << 30, p, 1 << 15, BITMAP, Ok(())),
        (0x10_0000, 4 * p, p, 0x1000_0000, BITMAP, Ok(())),
        (0x10_0000, 4 * p, p, 0x1000_0001, BITMAP, Err(E::EINVAL)),
        (0x10_0000, 4 * p, p, 7, BITMAP, Err(E::EINVAL)),
        (0x10_0000, 4 * p, p, 0, BITMAP, Err(E::EINVAL)),
        (0x10_0000, 65 * p, p, 8, BITMAP, Err(E::EINVAL)),
        (0x10_0000, 65 * p, p, 15, BITMAP, Err(E::EINVAL)),
        (0x10_0000, 65 * p, p, 16, BITMAP, Ok(())),
        (0x10_0000, 0, p, 8, BITMAP, Err(E::EINVAL)),
        (0x10_0000, 4 * p + 1, p, 8, BITMAP, Err(E::EINVAL)),
        (0x10_0001, 4 * p, p, 8, BITMAP, Err(E::EINVAL)),
        (0x10_0000, 4 * p, 2 * p, 8, BITMAP, Err(E::EINVAL)),
        (0x10_0000, 4 * p, 0, 8, BITMAP, Err(E::EINVAL)),
        (0x10_0000, 4 * p, 0, 0x1000_0000, BITMAP, Err(E::EINVAL)),
        (0x10_0000, 4 * p, 0x20_0000, 8, BITMAP, Err(E::EINVAL)),
        (0x10_0000, 4 * p, p, 8, u64::MAX, Err(E::EINVAL)),
        (0x10_0000, 4 * p, p, 8, 0x7fff_ffff_eff8, Err(E::EFAULT)),
        (0x10_0000, 4 * p, p, 8, 0x7fff_ffff_eff9, Err(E::EINVAL)),
        (0x10_0000, 4 * p, p, 8, BAD, Err(E::EFAULT)),
        // Nothing is mapped there, so nothing is written.
        (0x20_0000, 4 * p, p, 8, BAD, Ok(())),
        (u64::MAX - p + 1, p, p, 8, BITMAP, Err(E::EINVAL)),
        (u64::MAX - 2 * p + 1, p, p, 8, BITMAP, Ok(())),
        // Cuts the mapping.
        (0x10_0000, p, p, 8, BITMAP, Err(E::EINVAL)),
        (0x10_1000, 3 * p, p, 8, BITMAP, Err(E::EINVAL)),
        (0xf_f000, 2 * p, p, 8, BITMAP, Err(E::EINVAL)),
        (0xf_f000, 8 * p, p, 8, BITMAP, Ok(())),
    ];
    for (iova, size, page, bytes, data, expected) in rows {
        let mut lab = tracking();
        assert_eq!(lab.map(BOTH, BUFFER, 0x10_0000, 4 * PAGE), Ok(()));
        let result = lab.get_dirty(iova, size, page, bytes, data);
        assert_eq!(result, expected, "{iova:#x} {size:#x} {page:#x} {bytes:#x} {data:#x}");
        assert_eq!(lab.dirty(STOP), Ok(()));
        let stopped = lab.get_dirty(iova, size, page, bytes, data);
        assert_eq!(stopped, Err(Errno::EINVAL));
    }
}

#[test]
fn bad_addresses() {
    let mut lab = tracking();
    assert_eq!(lab.map(BOTH, BUFFER, 0, PAGE), Ok(()));
    assert_eq!(lab.call_at(IOMMU_DIRTY_PAGES, BAD), Err(Errno::EFAULT));
    assert_eq!(lab.call_at(IOMMU_DIRTY_PAGES, u64::MAX), Err(Errno::EFAULT));
    let end = BASE + lab.program.memory.0.len() as u64;
    let argument = [halves(&[48, GET]), words(&[0, PAGE, PAGE, 8, BITMAP])].concat();
    for there in 0..48 {
        lab.program.put(end - there, &argument[..there as usize]);
        assert_eq!(lab.call_at(IOMMU_DIRTY_PAGES, end - there), Err(Errno::EFAULT), "{there}");
    }
    lab.program.put(end - 48, &argument);
    assert_eq!(lab.call_at(IOMMU_DIRTY_PAGES, end - 48), Ok(()));
    // Every byte of the bitmap's words.
    for there in 0..8 {
        assert_eq!(lab.get_dirty(0, PAGE, PAGE, 8, end - there), Err(Errno::EFAULT), "{there}");
    }
    assert_eq!(lab.get_dirty(0, PAGE, PAGE, 8, end - 8), Ok(()));
    lab.program.put(ARGUMENT, &[0; 4]);
}

/// What is in the bitmap before, and after: mappings of pages by first and number, from a base on.
#[test]
fn bits() {
    const FULL: u64 = u64::MAX;
    type Row<'a> = (&'a [(u64, u64)], [u64; 4], [u64; 4]);
    let rows: [Row<'_>; 8] = [
        (&[(0, 64)], [0; 4], [FULL, 0, 0, 0]),
        // Words in which nothing is mapped stay as they are.
        (&[(64, 1)], [7, FULL, 7, 7], [7, 1, 7, 7]),
        (&[(0, 1)], [FULL, 7, 7, 7], [1, 7, 7, 7]),
        // A mapping that doesn't start with a word keeps what the word has, above it, too.
        (&[(1, 1)], [0; 4], [2, 0, 0, 0]),
        (&[(1, 1)], [1 << 63 | 1, 7, 7, 7], [1 << 63 | 3, 7, 7, 7]),
        (&[(0, 3), (4, 2)], [0; 4], [0b11_0111, 0, 0, 0]),
        // In later words it keeps nothing.
        (&[(63, 66)], [1, 5, FULL, 9], [1 << 63 | 1, FULL, 1, 9]),
        (&[(0, 65), (65, 63), (130, 126)], [0; 4], [FULL, FULL, FULL & !3, FULL]),
    ];
    for (mappings, before, after) in rows {
        let mut lab = tracking();
        let base = 0x4000_0000;
        for (page, pages) in mappings {
            assert_eq!(lab.map(BOTH, BUFFER, base + page * PAGE, pages * PAGE), Ok(()));
        }
        for _ in 0..2 {
            lab.program.put(BITMAP, &words(&before));
            assert_eq!(lab.get_dirty(base, 256 * PAGE, PAGE, 32, BITMAP), Ok(()));
            assert_eq!(lab.program.get::<32>(BITMAP), words(&after)[..], "{mappings:?}");
        }
    }
}

#[test]
fn a_long_bitmap() {
    let mut lab = tracking();
    let pages = 4096 - 3;
    assert_eq!(lab.map(BOTH, BUFFER, 2 * PAGE, pages * PAGE), Ok(()));
    lab.program.put(BITMAP, &[0; 520]);
    assert_eq!(lab.get_dirty(0, 4096 * PAGE, PAGE, 512, BITMAP), Ok(()));
    let bytes: [u8; 520] = lab.program.get(BITMAP);
    let count: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
    assert_eq!(u64::from(count), pages);
    assert_eq!((bytes[0], bytes[511], bytes[512]), (0xfc, 0x7f, 0));
}

/// So many pages need a wider IOMMU than the recorded one.
#[test]
fn more_pages_than_can_be_tracked() {
    let mut lab = Lab::v2();
    lab.detach(1);
    let wide = Group { aperture: crate::fake::wide(), reserved: Vec::new(), ..Group::default() };
    assert_eq!(lab.attach(1, wide), Ok(()));
    let most = 0x7fff_ffff * PAGE;
    lab.program.pinnable.clear();
    lab.program.make_pinnable(0, most + PAGE, true);
    assert_eq!(lab.map(BOTH, 0, 0, most + PAGE), Ok(()));
    assert_eq!(lab.dirty(START), Err(Errno::EINVAL));
    assert_eq!(lab.unmap(2, 0, 0), (Ok(()), most + PAGE));
    assert_eq!(lab.dirty(START), Ok(()));
    assert_eq!(lab.map(BOTH, 0, 0, most + PAGE), Err(Errno::EINVAL));
    assert_eq!((lab.locked(), lab.capabilities().0), (0, 65535));
    assert_eq!(lab.map(BOTH, 0, 0, most), Ok(()));
    lab.program.memory.0.resize(0x2000, 0);
    assert_eq!(lab.dirty(STOP), Ok(()));
    assert_eq!(lab.dirty(START), Ok(()));
}
