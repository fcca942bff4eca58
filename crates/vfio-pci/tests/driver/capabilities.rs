//! Which capabilities programs see.

use ioctlab_chardev::Errno;

use crate::bench::{Bench, CONFIG};
use crate::fake::Fake;
use crate::memory::BAD;

/// The ids and places of a chain.
fn chain(bench: &mut Bench) -> Vec<(u32, u64)> {
    let mut found = Vec::new();
    let mut at = u64::from(bench.cr(0x34, 1));
    while at != 0 {
        found.push((bench.cr(at, 1), at));
        assert_eq!(bench.cr(at, 2) >> 8, bench.cr(at + 1, 1));
        at = u64::from(bench.cr(at + 1, 1));
    }
    found
}

fn extended(bench: &mut Bench) -> Vec<(u32, u64)> {
    let mut found = Vec::new();
    let mut at = 0x100;
    while at != 0 {
        let header = bench.cr(at, 4);
        found.push((header & 0xfffff, at));
        at = u64::from(header >> 20);
    }
    found
}

fn with(edit: impl FnOnce(&mut Fake)) -> Bench {
    let mut fake = Fake::e1000e();
    edit(&mut fake);
    Bench::new(fake.built())
}

#[test]
fn hidden_ones_are_taken_out_of_the_chain() {
    let all = [(1, 0xc8), (5, 0xd0), (0x10, 0xe0), (0x11, 0xa0)];
    assert_eq!(chain(&mut with(|_| {})), all);
    // First, in the middle, and last: an id that isn't known, one without a length, and none.
    assert_eq!(chain(&mut with(|fake| fake.config[0xc8] = 0x15)), all[1..]);
    let found = chain(&mut with(|fake| fake.config[0xd0] = 0x0c));
    assert_eq!(found, [all[0], all[2], all[3]]);
    assert_eq!(chain(&mut with(|fake| fake.config[0xa0] = 0)), all[..3]);
}

#[test]
fn without_any_the_status_says_so() {
    let mut bench = with(|fake| {
        for at in [0xa0, 0xc8, 0xd0, 0xe0] {
            fake.config[at] = 0x7f;
        }
    });
    assert_eq!((bench.cr(6, 2), chain(&mut bench)), (0, vec![]));
    let mut bench = with(|fake| fake.config[6] = 0);
    // The pointer is the hardware's; what it points to isn't a capability's, and can be written.
    assert_eq!((bench.cr(6, 2), bench.cr(0x34, 1)), (0, 0xc8));
    bench.function.allow(0xa0, u32::MAX);
    assert_eq!(bench.cw(0xa0, 4, 0x1234_5678), Ok(4));
    assert_eq!(bench.cr(0xa0, 4), 0x1234_5678);
}

#[test]
fn a_chain_that_goes_round_ends() {
    let mut bench = with(|fake| fake.config[0xa1] = 0xc8);
    assert_eq!(bench.cr(0xa1, 1), 0xc8);
    let mut bench = with(|fake| fake.config[0xa1] = 0xff);
    assert_eq!(bench.pread(CONFIG, 4096), Ok(4096));
    let mut bench = with(|fake| fake.put(0x140, 0x1001_0003));
    assert_eq!(bench.cr(0x140, 4), 0x1001_0003);
    let mut bench = with(|fake| {
        fake.put(0x140, 0xffc1_0003);
        fake.put(0xffc, 0x1001_000b);
    });
    assert_eq!(bench.pread(CONFIG, 4096), Ok(4096));
}

#[test]
fn extended_ones_are_hidden_but_for_the_place_of_the_first() {
    let all = [(0x2_0001, 0x100), (0x1_0003, 0x140)];
    assert_eq!(extended(&mut with(|_| {})), all);
    assert_eq!(extended(&mut with(|fake| fake.config[0x140] = 0x1b)), all[..1]);
    assert_eq!(extended(&mut with(|fake| fake.config[0x100] = 0x1b)), [(0, 0x100), all[1]]);
    let mut bench = with(|fake| (fake.config[0x100], fake.config[0x140]) = (0x1b, 0x19));
    assert_eq!(bench.cr(0x100, 4), 0);
    let mut bench = with(|fake| fake.put(0x100, 0x0402_001b));
    assert_eq!(bench.cr(0x100, 4), 0);
    // A middle one.
    let mut bench = with(|fake| {
        fake.put(0x140, 0x1801_0019);
        fake.put(0x180, 0x0001_000f);
    });
    assert_eq!(extended(&mut bench), [(0x2_0001, 0x100), (0x1_000f, 0x180)]);
    // None without PCI Express.
    let mut bench = with(|fake| fake.config[0xe0] = 0x7f);
    bench.function.allow(0x100, u32::MAX);
    bench.cw(0x100, 4, 7).unwrap();
    assert_eq!(bench.cr(0x100, 4), 7);
}

/// What a hidden first one keeps is its header: what is behind that is of no capability.
#[test]
fn what_a_hidden_one_holds_can_be_written() {
    let mut bench = with(|fake| {
        fake.config[0x100] = 0x1b;
        fake.allow(0x100, u32::MAX);
        fake.allow(0x104, u32::MAX);
    });
    bench.cw(0x100, 4, 0x1234_5678).unwrap();
    bench.cw(0x104, 4, 0x1234_5678).unwrap();
    assert_eq!((bench.cr(0x100, 4), bench.cr(0x104, 4)), (0x1400_0000, 0x1234_5678));
}

/// A chain may have as many capabilities as there is room for.
#[test]
fn a_chain_may_be_long() {
    let mut bench = with(|fake| {
        (0x40..0x100).step_by(4).for_each(|at| fake.put(at, 0x0000_0009 | (at as u32 + 4) << 8));
        fake.put(0xfc, 0x0004_0009);
        fake.config[0x34] = 0x40;
    });
    // Vendors' own that say that they have no bytes are hidden; the last one has 4.
    assert_eq!(chain(&mut bench), [(9, 0xfc)]);
}

/// An extended capability's id, fields by their offsets, and length.
type Extended = (u8, &'static [(usize, u32)], u64);

/// Where a capability ends, what can't be written before can be.
#[test]
fn capabilities_have_their_lengths() {
    // As (id, bytes of it from its third on, its length).
    let standard: &[(u8, &[u8], u64)] = &[
        (0x02, &[], 12),
        (0x11, &[0, 0], 12),
        (0x08, &[0, 0x20], 24),
        (0x08, &[0, 0], 28),
        (0x12, &[0, 0, 0], 8),
        (0x12, &[0, 0, 0xf], 16),
    ];
    for (id, bytes, length) in standard {
        let mut fake = Fake::new(256, [0; 16]);
        fake.config[6] = 0x10;
        fake.config[0x34] = 0x40;
        fake.config[0x40] = *id;
        fake.config[0x42..0x42 + bytes.len()].copy_from_slice(bytes);
        (0x10..0x40).for_each(|at| fake.allow(at * 4, u32::MAX));
        let mut bench = Bench::new(fake);
        check_end(&mut bench, 0x40, *length, *id);
    }
    let extended: &[Extended] = &[
        (0x03, &[], 12),
        (0x02, &[(4, 0), (8, 0)], 28),
        (0x02, &[(4, 1), (8, 2)], 64),
        (0x09, &[(4, 0), (8, 8)], 96),
        (0x0d, &[(4, 0)], 8),
        (0x0d, &[(4, 0x0120)], 12),
        (0x0d, &[(4, 0x0020)], 40),
        (0x0e, &[], 8),
        (0x10, &[], 64),
        (0x12, &[], 40),
        (0x13, &[], 16),
        (0x15, &[(8, 0x40)], 20),
        (0x16, &[(4, 3)], 20),
        (0x17, &[(4, 0x0003_0200)], 20),
        (0x17, &[(4, 0x0003_0400)], 12),
        (0x18, &[], 8),
    ];
    for (id, fields, length) in extended {
        let mut bench = with(|fake| {
            fake.config[0x100..].fill(0);
            fake.config[0x100] = *id;
            fields.iter().for_each(|(at, value)| fake.put(0x100 + at, *value));
            (0x40..0x80).for_each(|at| fake.allow(at * 4, u32::MAX));
        });
        check_end(&mut bench, 0x100, *length, *id);
    }
}

fn check_end(bench: &mut Bench, at: u64, length: u64, id: u8) {
    let before = bench.cr(at + length - 1, 1);
    assert_eq!(bench.cw(at + length - 1, 1, 0xe7), Ok(1));
    assert_eq!(bench.cr(at + length - 1, 1), before, "{id:#x}");
    assert_eq!(bench.cw(at + length, 1, 0xe7), Ok(1));
    assert_eq!(bench.cr(at + length, 1), 0xe7, "{id:#x} of {length}");
}

#[test]
fn a_vendors_can_be_written_and_others_take_no_notice() {
    let mut bench = with(|fake| {
        fake.config[0xa0] = 9;
        fake.config[0xa2] = 12;
        fake.put(0x140, 0x0001_000b);
        fake.put(0x144, 0x0100_0000);
        fake.allow(0xa4, u32::MAX);
        fake.allow(0x148, u32::MAX);
    });
    for at in [0xa4, 0x148] {
        bench.cw(at, 4, 0xabcd_ef01).unwrap();
        assert_eq!(bench.cr(at, 4), 0xabcd_ef01);
    }
    // What can't be written isn't fetched: MSI-X, a serial number.
    let mut bench = with(|_| {});
    assert_eq!(bench.pwrite_from(CONFIG + 0xa0, 12, BAD), Ok(12));
    assert_eq!(bench.pwrite_from(CONFIG + 0x140, 12, BAD), Ok(12));
    assert_eq!(bench.pwrite_from(CONFIG + 0xa0, 13, BAD), Err(Errno::EFAULT));
    assert_eq!(bench.pwrite_from(CONFIG + 0x9c, 8, BAD), Err(Errno::EFAULT));
}
