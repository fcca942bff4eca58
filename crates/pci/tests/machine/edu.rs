//! The educational device: its specification, and what QEMU 7.2's answers to the same accesses.

use ioctlab_pci::models::edu::{REGISTERS, device};
use proptest::prelude::*;

use crate::board::{Arrived, Board};

const ALL: u64 = u64::MAX;

fn edu() -> Board {
    Board::new(device())
}

fn pin(levels: &[bool]) -> Arrived {
    Arrived { messages: vec![], pin: levels.to_vec() }
}

fn messages(vectors: &[u16]) -> Arrived {
    Arrived { messages: vectors.to_vec(), pin: vec![] }
}

/// Starts a transfer, which is over at once.
fn transfer(board: &mut Board, source: u64, destination: u64, count: u64, command: u64) {
    for (at, value) in [(0x80, source), (0x88, destination), (0x90, count), (0x98, command)] {
        board.set_long(at, value);
    }
}

/// By offset: what reads of 1, 2, 4 and 8 bytes give. Some of these aren't aligned for 8 bytes, which are cut then.
#[test]
fn reads_at_power_on() {
    for (at, word, long) in [
        (0x00, 0x0100_00ed, ALL),
        (0x04, 0, ALL),
        (0x08, 0, ALL),
        (0x0c, u32::MAX, ALL),
        (0x10, u32::MAX, ALL),
        (0x20, 0, ALL),
        (0x24, 0, ALL),
        (0x28, u32::MAX, ALL),
        (0x60, u32::MAX, ALL),
        (0x64, u32::MAX, ALL),
        (0x80, 0, 0),
        (0x84, u32::MAX, ALL),
        (0x88, 0, 0),
        (0x90, 0, 0),
        (0x98, 0, 0),
        (0xa0, u32::MAX, ALL),
        (0x1000, u32::MAX, ALL),
        (0x4_0000, u32::MAX, ALL),
        (0xf_fffc, u32::MAX, ALL),
    ] {
        let mut board = edu();
        assert_eq!((board.read(0, at, 1), board.read(0, at, 2)), (0, 0), "{at:#x}");
        assert_eq!((board.get(at), board.peek(at)), (word, word), "{at:#x}");
        if at % 8 == 0 {
            assert_eq!(board.get_long(at), long, "{at:#x}");
        }
    }
}

/// What isn't said to be shown when the BAR is mapped holds nothing.
#[test]
fn the_rest_is_empty() {
    let mut board = edu();
    for at in (REGISTERS..1 << 20).step_by(4) {
        board.set(at, 0);
        assert_eq!((board.get(at), board.peek(at)), (u32::MAX, u32::MAX), "{at:#x}");
    }
    assert_eq!(board.peek(REGISTERS - 8), 0);
}

#[test]
fn identification_and_liveness() {
    let mut board = edu();
    board.set(0, 0);
    assert_eq!(board.get(0), 0x0100_00ed);
    for value in [0x1234_5678, 0, u32::MAX] {
        board.set(4, value);
        assert_eq!((board.get(4), board.peek(4)), (!value, !value));
    }
    for width in [1, 2, 8] {
        board.write(0, 4, width, 0x77);
        board.write(0, 0, width, 0x77 << 32);
        assert_eq!(board.get(4), 0, "{width}");
    }
}

#[test]
fn factorials() {
    let mut board = edu();
    for (number, expected) in [
        (0, 1),
        (1, 1),
        (2, 2),
        (5, 120),
        (12, 0x1c8c_fc00),
        (13, 0x7328_cc00),
        (33, 0x8000_0000),
        (34, 0),
        (0x1_0000, 0),
        (u32::MAX, 0),
    ] {
        board.set(8, number);
        assert_eq!((board.get(8), board.get(0x20), board.get(0x24)), (expected, 0, 0), "{number}");
    }
    assert_eq!(board.take(), pin(&[]), "no interrupt was asked for");
    board.set(0x20, u32::MAX);
    assert_eq!(board.get(0x20), 0x80);
    board.set(8, 4);
    assert_eq!((board.get(8), board.get(0x24), board.take()), (24, 1, pin(&[true])));
    board.set(0x20, 0x7f);
    assert_eq!(board.get(0x20), 0);
    board.set(0x64, 1);
    assert_eq!(board.take(), pin(&[false]));
    board.set(8, 3);
    assert_eq!((board.get(8), board.get(0x24), board.take()), (6, 0, pin(&[])));
}

/// The record's `i.edu-*`: `status=0018 irqst=00000001`.
#[test]
fn the_pin() {
    let mut board = edu();
    let status = |board: &Board| board.function.config().read(6, 2);
    board.set(0x60, 5);
    assert_eq!((board.get(0x24), status(&board), board.take()), (5, 0x18, pin(&[true])));
    board.set(0x64, 1);
    assert_eq!((board.get(0x24), status(&board), board.take()), (4, 0x18, pin(&[])), "one cause is left");
    board.set(0x64, 0xfffe);
    assert_eq!((board.get(0x24), status(&board), board.take()), (0, 0x10, pin(&[false])));
    board.set(0x60, 0);
    assert_eq!((status(&board), board.take()), (0x10, pin(&[])), "no cause, no interrupt");
    board.set(0x60, 0x8000_0000);
    assert_eq!(board.take(), pin(&[true]));
    board.set(0x60, 0);
    assert_eq!(board.take(), pin(&[true]), "there is one already");
    for width in [1, 2, 8] {
        board.write(0, 0x60, width, 1);
        board.write(0, 0x64, width, u64::MAX);
    }
    assert_eq!((board.get(0x24), board.take()), (0x8000_0000, pin(&[])), "words only");
    board.set(0x24, 0);
    assert_eq!(board.get(0x24), 0x8000_0000, "the status is read-only");
}

#[test]
fn messages_instead() {
    let mut board = edu();
    board.configure(0x42, 2, 1);
    board.set(0x60, 1);
    board.set(0x60, 2);
    assert_eq!((board.get(0x24), board.take()), (3, messages(&[0, 0])), "each time");
    board.set(0x64, 3);
    assert_eq!((board.get(0x24), board.take()), (0, messages(&[])), "the pin isn't touched");
    board.configure(4, 2, 2);
    board.set(0x60, 4);
    assert_eq!((board.get(0x24), board.take()), (4, messages(&[])), "it is no bus master");
    // The pin is let go by who acknowledges while it is the way.
    board.configure(0x42, 2, 0);
    board.set(0x60, 1);
    board.configure(0x42, 2, 1);
    board.set(0x64, 5);
    assert_eq!(board.take(), pin(&[true]));
}

#[test]
fn transfers_there_and_back() {
    let mut board = edu();
    board.memory.map(0x10_0000, 2, true);
    board.memory.put(0x10_0000, b"sixteen letters!");
    transfer(&mut board, 0x10_0000, 0x4_0000, 16, 1);
    assert_eq!([0x80, 0x88, 0x90, 0x98].map(|at| board.get_long(at)), [0x10_0000, 0x4_0000, 16, 0]);
    transfer(&mut board, 0x4_0000, 0x10_1100, 16, 3);
    assert_eq!(board.memory.bytes(0x10_1100, 16), b"sixteen letters!");
    assert_eq!((board.get_long(0x98), board.get(0x24), board.take()), (2, 0, pin(&[])));
    // From anywhere in the buffer, and with an interrupt.
    transfer(&mut board, 0x4_0004, 0x10_1200, 3, 7);
    assert_eq!(board.memory.bytes(0x10_1200, 4), b"een\0");
    assert_eq!((board.get_long(0x98), board.get(0x24), board.take()), (6, 0x100, pin(&[true])));
    // The buffer holds a page.
    board.memory.put(0x10_0000, &[0x5a; 4096]);
    transfer(&mut board, 0x10_0000, 0x4_0000, 4096, 5);
    transfer(&mut board, 0x4_0000, 0x10_1000, 4096, 3);
    assert_eq!(board.memory.bytes(0x10_1000, 4096), [0x5a; 4096]);
    // An interrupt by message.
    board.configure(0x42, 2, 1);
    board.take();
    transfer(&mut board, 0x10_0000, 0x4_0000, 16, 5);
    assert_eq!(board.take(), messages(&[0]));
}

#[test]
fn the_command_starts_with_its_lowest_bit() {
    let mut board = edu();
    for command in [0, 2, 4, 6, 0xffff_fffe] {
        board.set_long(0x98, command);
        assert_eq!((board.get_long(0x98), board.get(0x24)), (0, 0), "{command:#x}");
    }
    assert_eq!(board.memory.accesses, []);
    // Bits that mean nothing are kept.
    board.memory.map(0, 1, true);
    transfer(&mut board, 0, 0x4_0000, 16, 0x100_0000_1f01);
    assert_eq!((board.get_long(0x98), board.memory.accesses.len()), (0x100_0000_1f00, 1));
    board.set(0x98, 3);
    assert_eq!(board.get_long(0x98), 2, "a word is enough");
}

/// Words write all of a register, and read its lower half. There is none at its upper half.
#[test]
fn words_of_long_registers() {
    let mut board = edu();
    for at in [0x80, 0x88, 0x90] {
        board.set_long(at, 0x1122_3344_5566_7788);
        assert_eq!((board.get(at), board.peek(at), board.get(at + 4)), (0x5566_7788, 0x5566_7788, u32::MAX));
        board.set(at + 4, 0x99);
        assert_eq!(board.get_long(at), 0x1122_3344_5566_7788);
        board.set(at, 0x99);
        assert_eq!(board.get_long(at), 0x99);
        // What a bus has above the width doesn't count.
        board.write(0, at, 4, 0x1234_0000_0077);
        assert_eq!(board.get_long(at), 0x77);
        for width in [1, 2] {
            board.write(0, at, width, 0);
        }
        assert_eq!(board.get_long(at), 0x77);
    }
}

#[test]
fn transfers_stay_in_the_buffer() {
    for (inside, count, is_made) in [
        (0x4_0000, 4096, true),
        (0x4_0fff, 1, true),
        (0x4_0800, 0x800, true),
        (0x4_0000, 4097, false),
        (0x4_0fff, 2, false),
        (0x4_1000, 1, false),
        (0x3_ffff, 2, false),
        (0x3_ffff, 1, false),
        (0x4_0001, u64::MAX, false),
        (u64::MAX, 1, false),
        (u64::MAX, u64::MAX, false),
        (0, 16, false),
        // Nothing is moved of nothing.
        (0x4_0000, 0, false),
        (0x4_1000, 0, false),
        (0, 0, false),
    ] {
        let mut board = edu();
        board.memory.map(0, 2, true);
        board.memory.put(0, &[0x5a; 4096]);
        transfer(&mut board, 0, inside, count, 1);
        assert_eq!(board.memory.accesses.is_empty(), !is_made, "{inside:#x} {count:#x}");
        transfer(&mut board, inside, 0x1000, count, 7);
        assert_eq!(board.memory.bytes(0x1000, 1)[0] == 0x5a, is_made, "{inside:#x} {count:#x}");
        assert_eq!((board.get_long(0x98), board.get(0x24)), (6, 0x100), "it is over, and says so");
    }
}

#[test]
fn addresses_have_28_bits() {
    for (address, used) in [
        (0x1000, 0x1000),
        (0x0fff_f000, 0x0fff_f000),
        (0x1000_1000, 0x1000),
        (0x3010_1000, 0x10_1000),
        (0xffff_ffff_ffff_f000, 0x0fff_f000),
    ] {
        let mut board = edu();
        board.memory.map(used, 1, true);
        board.memory.put(used, b"there");
        transfer(&mut board, address, 0x4_0000, 5, 1);
        board.memory.put(used, b"nothing");
        transfer(&mut board, 0x4_0000, address, 5, 3);
        assert_eq!(board.memory.bytes(used, 7), b"thereng", "{address:#x}");
        assert_eq!(board.get_long(0x88), address, "the register isn't cut");
        assert_eq!(board.memory.accesses, [(used, 5, false), (used, 5, true)]);
    }
}

/// What can't be read is 0, and what can't be written is lost, each page for itself. The device goes on as if nothing were.
#[test]
fn memory_that_is_not_there() {
    let mut board = edu();
    board.memory.map(0x1000, 1, true);
    board.memory.map(0x3000, 1, false);
    board.memory.map(0x8000, 1, true);
    let shown = |board: &mut Board| {
        transfer(board, 0x4_0000, 0x8000, 16, 3);
        board.memory.bytes(0x8000, 16)
    };
    board.memory.put(0x1000, &[0xa5; 4096]);
    board.memory.put(0x3000, &[0x3c; 4096]);
    transfer(&mut board, 0x1000, 0x4_0000, 4096, 1);
    transfer(&mut board, 0x1ff8, 0x4_0000, 16, 1);
    assert_eq!(shown(&mut board), [[0xa5; 8], [0; 8]].concat(), "the end of a mapping");
    transfer(&mut board, 0x2ff8, 0x4_0000, 16, 5);
    assert_eq!(shown(&mut board), [[0; 8], [0x3c; 8]].concat(), "the beginning of one");
    assert_eq!((board.get_long(0x98), board.get(0x24)), (2, 0x100));
    transfer(&mut board, 0x5000, 0x4_0000, 16, 1);
    assert_eq!(shown(&mut board), [0; 16], "nothing");

    transfer(&mut board, 0x3000, 0x4_0000, 4096, 1);
    transfer(&mut board, 0x4_0000, 0x0ff8, 16, 3);
    assert_eq!(board.memory.bytes(0x1000, 9), [&[0x3c; 8][..], &[0xa5]].concat());
    transfer(&mut board, 0x4_0000, 0x1ff8, 16, 3);
    assert_eq!(board.memory.bytes(0x1ff7, 9), [&[0xa5][..], &[0x3c; 8]].concat());
    board.memory.put(0x3000, &[1; 16]);
    transfer(&mut board, 0x4_0000, 0x3000, 16, 7);
    assert_eq!(board.memory.bytes(0x3000, 16), [1; 16], "read-only");
    board.memory.unmap(0x1000);
    transfer(&mut board, 0x4_0000, 0x1000, 16, 7);
    assert_eq!((board.get_long(0x98), board.get(0x24)), (6, 0x100));
}

/// The record's `m.bus-master-off`.
#[test]
fn without_bus_mastering_nothing_is_reached() {
    let mut board = edu();
    board.memory.map(0x1000, 1, true);
    board.memory.put(0x1000, &[7; 16]);
    transfer(&mut board, 0x1000, 0x4_0000, 16, 1);
    board.configure(4, 2, 2);
    board.memory.put(0x1000, &[8; 16]);
    transfer(&mut board, 0x4_0000, 0x1000, 16, 7);
    assert_eq!((board.memory.bytes(0x1000, 16), board.get(0x24)), (vec![8; 16], 0x100));
    transfer(&mut board, 0x1000, 0x4_0000, 8, 1);
    board.configure(4, 2, 6);
    transfer(&mut board, 0x4_0000, 0x1000, 16, 3);
    assert_eq!(board.memory.bytes(0x1000, 16), [[0; 8], [7; 8]].concat());
}

/// QEMU's has no reset of its own: a reset of its bus lets the pin go, and leaves its registers.
#[test]
fn a_reset_leaves_registers() {
    let mut board = edu();
    board.memory.map(0, 1, true);
    board.memory.put(0, b"kept");
    board.set(4, 0x1111);
    board.set(0x20, 0x80);
    board.set(8, 5);
    transfer(&mut board, 0, 0x4_0000, 4, 1);
    board.reset();
    assert!(!board.function.is_asserted());
    assert_eq!([4, 8, 0x20, 0x24].map(|at| board.get(at)), [!0x1111, 120, 0x80, 1]);
    board.configure(4, 2, 6);
    transfer(&mut board, 0x4_0000, 8, 4, 3);
    assert_eq!(board.memory.bytes(8, 4), b"kept");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// What is read is what is shown in mappings, whatever is written, and the device never leaves its buffer.
    #[test]
    fn whatever_is_written(
        writes in prop::collection::vec(
            (0..0xb0_u64, prop::sample::select(vec![1_u8, 2, 4, 8]), any::<u64>(), any::<bool>()), 1..60,
        ),
        command in 0..8_u32,
    ) {
        let mut board = edu();
        board.configure(4, 2, command);
        board.memory.map(0, 4, true);
        for (at, width, value, is_near) in writes {
            let at = at & !(u64::from(width) - 1);
            board.write(0, at, width, if is_near { value & 0x4_1fff } else { value });
            for at in (0..0xb0).step_by(4) {
                prop_assert_eq!(board.get(at), board.peek(at), "{:#x}", at);
            }
        }
        prop_assert!(board.memory.accesses.iter().all(|(_, bytes, _)| *bytes <= 4096));
    }
}
