//! How accesses to BARs are split, what is left out, and what fails when.

use ioctlab_chardev::{Errno, UserPtr};
use ioctlab_vfio_pci::{BarAccess, MAX_TRANSFER, Piece, Transfer, Width};
use proptest::prelude::*;

use crate::bench::{BUFFER, Bench, MEMORY};
use crate::fake::{Fake, memory};
use crate::memory::{BAD, BASE};

const END: u64 = BASE + MEMORY as u64;

fn access(offset: u64, count: usize, excluded: std::ops::Range<u64>) -> BarAccess {
    BarAccess { bar: 0, offset, count, excluded, bytes: None }
}

fn described(access: &BarAccess) -> Vec<(u64, usize, Option<Width>)> {
    access.pieces().map(|Piece { offset, bytes, width, .. }| (offset, bytes, width)).collect()
}

#[test]
fn accesses_are_as_wide_as_alignment_lets_them() {
    let [byte, word, dword] = [Width::Byte, Width::Word, Width::Dword].map(Some);
    assert_eq!(described(&access(0, 8, 0..0)), [(0, 4, dword), (4, 4, dword)]);
    assert_eq!(described(&access(1, 7, 0..0)), [(1, 1, byte), (2, 2, word), (4, 4, dword)]);
    assert_eq!(described(&access(2, 5, 0..0)), [(2, 2, word), (4, 2, word), (6, 1, byte)]);
    assert_eq!(described(&access(0x10, 3, 0..0)), [(0x10, 2, word), (0x12, 1, byte)]);
    // Not across the start of what is left out, which is one piece.
    assert_eq!(
        described(&access(0xe, 0x14, 0x10..0x20)),
        [(0xe, 2, word), (0x10, 0x10, None), (0x20, 2, word)]
    );
    assert_eq!(described(&access(0x14, 4, 0x10..0x20)), [(0x14, 4, None)]);
    assert_eq!(described(&access(5, 0, 0..0)), []);
}

#[test]
fn what_is_left_out_reads_as_ones_and_is_not_written() {
    let read = access(0xc, 12, 0x10..0x14).read_by(|offset, width| {
        assert_eq!(width, Width::Dword);
        u32::try_from(offset).unwrap()
    });
    assert_eq!(read, [0xc, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x14, 0, 0, 0]);
    let bytes = Some((1..=12).collect());
    let mut written = Vec::new();
    let write = BarAccess { bytes, ..access(0xc, 12, 0x10..0x14) };
    assert_eq!(write.write_by(|offset, _, value| written.push((offset, value))), Ok(12));
    assert_eq!(written, [(0xc, 0x0403_0201), (0x14, 0x0c0b_0a09)]);
}

#[test]
fn a_write_does_what_comes_before_its_fault() {
    let mut bench = Bench::new(Fake::nvme());
    let mut write = |position, count, from| {
        bench.device.write(position, UserPtr(from), count, &mut bench.program, &mut bench.function)
    };
    for (position, count, there, done) in [
        (0x0, 8, 4, 4),
        (0x0, 8, 7, 4),
        (0x0, 8, 0, 0),
        (0x1, 8, 6, 3),
        (0x2, 10, 9, 6),
        // The MSI-X table's bytes aren't fetched: 0x2000 to 0x2410.
        (0x1ffc, 12, 4, 12),
        (0x1ffc, 12, 3, 0),
        (0x240c, 12, 0, 4),
        (0x240c, 12, 8, 8),
    ] {
        let Ok(Transfer::Bar(access)) = write(position, count, END - there) else { panic!("{position:#x}") };
        assert_eq!(access.bytes.as_ref().unwrap().len(), done, "{position:#x} {there}");
        let result = if done == count { Ok(count) } else { Err(Errno::EFAULT) };
        assert_eq!(access.write_by(|_, _, _| {}), result);
    }
    // A long one is fetched in larger steps.
    let mut bench = Bench::new(Fake::edu());
    let from = UserPtr(END - 0x1801);
    let result = bench.device.write(1, from, 0x3000, &mut bench.program, &mut bench.function);
    let Ok(Transfer::Bar(access)) = result else { panic!() };
    assert_eq!(access.bytes.unwrap().len(), 0x17ff);
}

#[test]
fn without_decoding_the_first_access_fails() {
    let mut bench = Bench::new(Fake::nvme());
    bench.cw(4, 2, 0).unwrap();
    assert_eq!(bench.pread(0, 4), Err(Errno::EIO));
    assert_eq!(bench.pread_to(0, 4, BAD), Err(Errno::EIO));
    assert_eq!(bench.pwrite(0, &[0; 4]), Err(Errno::EIO));
    assert_eq!(bench.pwrite_from(0, 4, BAD), Err(Errno::EFAULT));
    // The MSI-X table isn't accessed.
    assert_eq!(bench.pread(0x2000, 8), Ok(8));
    assert_eq!(bench.program.get(BUFFER), [0xff; 8]);
    assert_eq!(bench.pread_to(0x2000, 8, BAD), Err(Errno::EFAULT));
    assert_eq!(bench.pwrite_from(0x2000, 8, BAD), Ok(8));
    assert_eq!(bench.pread(0x240c, 8), Err(Errno::EIO));
    assert_eq!(bench.pread_to(0x240c, 8, BAD), Err(Errno::EFAULT));
    assert_eq!(bench.pwrite_from(0x240c, 8, END), Err(Errno::EFAULT));
    // Ports need no memory decoding.
    let mut bench = Bench::new(Fake::e1000e());
    bench.cw(4, 2, 0).unwrap();
    assert_eq!(bench.pread(2 << 40, 4), Ok(4));
    // Images are looked for first, and not found.
    assert_eq!(bench.pread(6 << 40, 4), Err(Errno::ENOMEM));
    assert_eq!(bench.pread(6 << 40 | 0x4_0000, 4), Err(Errno::EINVAL));
}

#[test]
fn a_transfer_is_bounded() {
    let mut fake = Fake::edu();
    fake.bars[0] = memory(0xfe00_0000, 0x40_0000, false);
    let mut bench = Bench::new(fake);
    for (count, expected) in [(usize::MAX, MAX_TRANSFER), (MAX_TRANSFER + 1, MAX_TRANSFER), (5, 5)] {
        let result = bench.device.read(0, UserPtr(BUFFER), count, &mut bench.program, &mut bench.function);
        let Ok(Transfer::Bar(access)) = result else { panic!() };
        assert_eq!(access.count, expected);
    }
    let at = 0x40_0000 - 6;
    assert_eq!(bench.pread(at, usize::MAX), Ok(6));
}

#[test]
fn the_rom_is_as_large_as_its_images() {
    let mut bench = Bench::new(Fake::e1000e());
    assert_eq!(bench.pread((6 << 40) + 0x3_edfc, 8), Ok(8));
    assert_eq!(bench.program.get(BUFFER), [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    bench.function.rom.as_mut().unwrap().image = 0;
    assert_eq!(bench.pread(6 << 40, 4), Err(Errno::ENOMEM));
    assert_eq!(bench.pread((6 << 40) + 0x4_0000, 4), Err(Errno::EINVAL));
    bench.function.rom.as_mut().unwrap().address = 0;
    assert_eq!(bench.pread(6 << 40, 4), Err(Errno::EINVAL));
}

proptest! {
    /// Against a device of bytes.
    #[test]
    fn pieces_cover_each_byte_once(
        offset in 0u64..64, count in 1usize..64, start in 0u64..64, length in 0u64..32,
    ) {
        let access = access(offset, count, start..start + length);
        let mut next = offset;
        for piece in access.pieces() {
            prop_assert_eq!((piece.offset, piece.index as u64), (next, next - offset));
            let bytes = piece.offset..piece.offset + piece.bytes as u64;
            for at in bytes.clone() {
                prop_assert_eq!(piece.width.is_none(), access.excluded.contains(&at));
            }
            if let Some(width) = piece.width {
                prop_assert_eq!((width.bytes(), piece.offset % piece.bytes as u64), (piece.bytes, 0));
            }
            next = bytes.end;
        }
        prop_assert_eq!(next, offset + count as u64);
        let read = access.read_by(|at, width| {
            (0..width.bytes() as u64).rev().fold(0, |value, index| value << 8 | (at + index) as u32 & 0x7f)
        });
        let naive: Vec<u8> = (offset..next)
            .map(|at| if access.excluded.contains(&at) { 0xff } else { at as u8 & 0x7f })
            .collect();
        prop_assert_eq!(read, naive);
    }
}
