//! The device for tests, as `docs/device-model.md` has its registers.

use ioctlab_pci::models::test::device;
use ioctlab_pci::{Bar, InterruptMode};
use proptest::prelude::*;

use crate::board::{Arrived, Board};
use crate::config::dword;

const MEMORY: u64 = 1 << 20;
/// Registers.
const STATUS: u64 = 0x10;
const ACKNOWLEDGE: u64 = 0x14;
const RAISE: u64 = 0x18;
const SOURCE: u64 = 0x20;
const DESTINATION: u64 = 0x28;
const LENGTH: u64 = 0x30;
const COMMAND: u64 = 0x38;
const VECTOR: u64 = 0x3c;
const ENGINE: u64 = 0x40;
const PATTERN: u64 = 0x44;
const FAULT: u64 = 0x48;
/// What the engine's status says.
const DONE: u32 = 2;
const FAULTED: u32 = 6;
/// How much it moves at a time.
const CHUNK: u64 = 256 << 10;

fn test() -> Board {
    Board::new(device(MEMORY))
}

/// Has the engine do something; its status, where it stands (source, destination, length), and where it faulted.
fn engine(
    board: &mut Board,
    command: u32,
    source: u64,
    destination: u64,
    length: u64,
) -> (u32, [u64; 3], u64) {
    for (at, value) in [(SOURCE, source), (DESTINATION, destination), (LENGTH, length), (FAULT, 0x77)] {
        board.set_long(at, value);
    }
    board.set(COMMAND, command);
    let stands = [SOURCE, DESTINATION, LENGTH].map(|at| board.get_long(at));
    (board.get(ENGINE), stands, board.get_long(FAULT))
}

fn arrived(messages: &[u16], pin: &[bool]) -> Arrived {
    Arrived { messages: messages.to_vec(), pin: pin.to_vec() }
}

#[test]
fn what_it_is() {
    let board = test();
    let function = &board.function;
    assert_eq!(
        [0, 8, 0x2c, 0x3c].map(|at| dword(function, at)),
        [0x10f0_1af4, 0x00ff_0001, 0x1100_1af4, 0x0100]
    );
    let bars: Vec<_> = (0..6).map(|index| function.bar(index)).collect();
    let memory = Bar { prefetchable: true, ..Bar::memory64(MEMORY) };
    let registers = Bar::memory(4096).with_registers(4096);
    assert_eq!(bars, [Some(registers), None, Some(memory), None, Some(Bar::memory(4096)), None]);
    let msix = function.msix().unwrap();
    assert_eq!((function.msi_vectors(), msix.vectors, msix.bar, msix.offset), (8, 32, 4, 0));
    let at = function.capability(0x11).unwrap();
    assert_eq!(dword(function, at + 8), 0x804, "pending bits");
    assert!(function.is_express() && function.can_reset());
}

#[test]
fn registers_at_first() {
    let mut board = test();
    let mut expected = vec![0; 0x50 / 4];
    (expected[0], expected[1], expected[3]) = (0x5453_4554, 1, 1 << 20);
    let registers: Vec<u32> = (0..0x50).step_by(4).map(|at| board.get(at)).collect();
    assert_eq!(registers, expected);
    assert_eq!(&board.read(0, 0, 4).to_le_bytes()[..4], b"TEST");
    for at in (0x50..0x1000).step_by(4) {
        board.set(at, 0);
        assert_eq!((board.get(at), board.peek(at)), (u32::MAX, u32::MAX), "{at:#x}");
    }
    assert_eq!(
        (board.get_long(0x50), board.read(0, 0x50, 1), board.read(0, 0x52, 2)),
        (u64::MAX, 0xff, 0xffff)
    );
    // Those of other BARs are memory, which isn't the model's.
    assert_eq!((board.read(2, 0, 4), board.read(4, 0, 8)), (0xffff_ffff, u64::MAX));
    board.write(2, 8, 4, 5);
    assert_eq!(board.get(8), 0);
    for (memory, expected) in [(4096, 4096), (2 << 30, 2 << 30), (4 << 30, u32::MAX), (64 << 30, u32::MAX)] {
        assert_eq!(Board::new(device(memory)).get(0xc), expected);
    }
}

#[test]
fn what_can_be_written() {
    for at in [0x08, 0x1c, 0x20, 0x24, 0x28, 0x2c, 0x30, 0x34, 0x3c, 0x44, 0x48, 0x4c] {
        let mut board = test();
        for value in [0xffff_ffff, 0x1234_5678, 0] {
            board.set(at, value);
            assert_eq!((board.get(at), board.peek(at)), (value, value), "{at:#x}");
        }
    }
    for (at, expected) in
        [(0, 0x5453_4554), (4, 1), (0xc, 1 << 20), (0x10, 0), (0x14, 0), (0x18, 0), (0x40, 0)]
    {
        let mut board = test();
        board.set(at, 0xffff_ffff);
        assert_eq!((board.get(at), board.peek(at)), (expected, expected), "{at:#x}");
    }
}

#[test]
fn widths() {
    let mut board = test();
    board.set_long(SOURCE, 0x1122_3344_5566_7788);
    assert_eq!((board.get(SOURCE), board.get(SOURCE + 4)), (0x5566_7788, 0x1122_3344));
    for (index, byte) in [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11].into_iter().enumerate() {
        assert_eq!(board.read(0, SOURCE + index as u64, 1), byte);
    }
    assert_eq!([0, 2, 4, 6].map(|at| board.read(0, SOURCE + at, 2)), [0x7788, 0x5566, 0x3344, 0x1122]);
    board.write(0, SOURCE + 3, 1, 0xab);
    board.write(0, SOURCE + 6, 2, 0xcdef);
    // What a bus has above the width doesn't count.
    board.write(0, SOURCE, 1, 0x1234_5600);
    assert_eq!(board.get_long(SOURCE), 0xcdef_3344_ab66_7700);
    // Two words at once: the vector is known when the engine starts, and the status is acknowledged.
    board.set(RAISE, 0);
    board.set_long(STATUS, 1 << 32);
    assert_eq!(board.get(STATUS), 0);
    board.set_long(COMMAND, 0x100 | 5 << 32);
    assert_eq!((board.get(STATUS), board.get(ENGINE)), (1 << 5, DONE));
}

/// What is cleared by a 1 isn't cleared by a write next to it.
#[test]
fn narrow_writes_of_the_status() {
    for (at, width, value, left) in [
        (ENGINE, 1, 0, FAULTED),
        (ENGINE + 1, 1, 0xff, FAULTED),
        (ENGINE + 2, 2, 0xffff, FAULTED),
        (ENGINE, 1, 4, DONE),
        (ENGINE, 2, 2, 4),
        (ENGINE, 4, 0xffff_ffff, 0),
        (ENGINE, 4, 1, FAULTED),
    ] {
        let mut board = test();
        assert_eq!(engine(&mut board, 9, 0, 0, 0).0, FAULTED);
        board.write(0, at, width, value);
        assert_eq!(board.get(ENGINE), left, "{at:#x} {width} {value:#x}");
    }
    let mut board = test();
    for vector in [0, 9] {
        board.set(RAISE, vector);
    }
    board.write(0, ACKNOWLEDGE + 1, 1, 2);
    assert_eq!(board.get(STATUS), 1);
    board.write(0, RAISE + 1, 1, 1);
    assert_eq!(board.get(STATUS), 1, "vector 256, which has the bit of vector 0");
}

#[test]
fn the_pin() {
    let mut board = test();
    board.set(RAISE, 3);
    board.set(RAISE, 31);
    assert_eq!((board.get(STATUS), board.take()), (0x8000_0008, arrived(&[], &[true, true])));
    assert_eq!(board.function.config().read(6, 1), 0x18);
    board.set(ACKNOWLEDGE, 7);
    assert_eq!((board.get(STATUS), board.take()), (0x8000_0008, arrived(&[], &[])));
    board.set(ACKNOWLEDGE, 8);
    assert_eq!((board.get(STATUS), board.take()), (0x8000_0000, arrived(&[], &[])), "one is left");
    board.set(ACKNOWLEDGE, u32::MAX);
    assert_eq!((board.get(STATUS), board.take()), (0, arrived(&[], &[false])));
    // Also if messages have been enabled since.
    board.set(RAISE, 0);
    board.function.enable_msix(true);
    board.set(ACKNOWLEDGE, 1);
    assert!(!board.function.is_asserted());
}

#[test]
fn every_vector() {
    for (mode, count) in [(InterruptMode::Msi, 8), (InterruptMode::Msix, 32)] {
        let mut board = test();
        match mode {
            InterruptMode::Msi => board.function.enable_msi(8),
            _ => board.function.enable_msix(true),
        }
        assert_eq!(board.function.interrupt_mode(), mode);
        for vector in 0..40 {
            board.set(RAISE, vector);
            let expected = if vector < count { vec![vector as u16] } else { vec![] };
            assert_eq!(board.take(), Arrived { messages: expected, pin: vec![] }, "{mode:?} {vector}");
            assert_eq!(board.get(STATUS), 1 << (vector % 32));
            board.set(ACKNOWLEDGE, u32::MAX);
            board.take();
        }
        // One whose number hasn't got 16 bits isn't another.
        board.set(RAISE, 0x1_0001);
        assert_eq!(board.take(), arrived(&[], &[]));
        board.configure(4, 2, 2);
        board.set(RAISE, 1);
        assert_eq!(board.take(), arrived(&[], &[]), "it is no bus master");
    }
}

#[test]
fn from_memory_to_memory() {
    let mut board = test();
    board.memory.map(0x1_0000_0000, 2, false);
    board.memory.map(0x7000, 2, true);
    board.memory.put(0x1_0000_0ffc, b"across pages");
    let ended = engine(&mut board, 1, 0x1_0000_0ffc, 0x7ffa, 12);
    assert_eq!(ended, (DONE, [0x1_0000_1008, 0x8006, 0], 0x77));
    assert_eq!(board.memory.bytes(0x7ffa, 12), b"across pages");
    assert_eq!((board.get(COMMAND), board.get(STATUS), board.take()), (1, 0, arrived(&[], &[])));
}

#[test]
fn filling() {
    let mut board = test();
    board.memory.map(0x7000, 1, true);
    board.set(PATTERN, 0x1234_56a5);
    assert_eq!(engine(&mut board, 2, 9, 0x7001, 5), (DONE, [14, 0x7006, 0], 0x77));
    assert_eq!(board.memory.bytes(0x7000, 7), [0, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0]);
    assert!(board.memory.accesses.iter().all(|(.., writes)| *writes));
}

#[test]
fn to_and_from_the_bar() {
    let mut board = test();
    board.memory.map(0x7000, 1, true);
    board.memory.put(0x7000, b"0123456789");
    assert_eq!(engine(&mut board, 3, 0x7000, MEMORY - 10, 10), (DONE, [0x700a, MEMORY, 0], 0x77));
    assert_eq!(board.ram(2)[MEMORY as usize - 11..], *b"\x000123456789");
    board.ram(2)[..4].copy_from_slice(b"back");
    assert_eq!(engine(&mut board, 4, 0, 0x7ffc, 4), (DONE, [4, 0x8000, 0], 0x77));
    assert_eq!(board.memory.bytes(0x7ffc, 4), b"back");
}

/// With nothing to do nothing fails and nothing is touched, wherever that would have been.
#[test]
fn a_length_of_0() {
    for command in 0..=4 {
        let mut board = test();
        assert_eq!(engine(&mut board, command, u64::MAX, u64::MAX, 0), (DONE, [u64::MAX, u64::MAX, 0], 0x77));
        assert_eq!(engine(&mut board, 0x100 | command, 0, 0, 0).0, DONE);
        assert_eq!((board.get(STATUS), board.memory.accesses.len()), (1, 0));
    }
    assert_eq!(engine(&mut test(), 5, 1, 2, 0), (FAULTED, [1, 2, 0], 0), "it isn't known what to do");
}

#[test]
fn commands_that_are_none() {
    for command in [0, 5, 0xff, 0x1_0000] {
        let mut board = test();
        assert_eq!(engine(&mut board, command, 1, 2, 3), (FAULTED, [1, 2, 3], 0), "{command:#x}");
        assert_eq!(board.memory.accesses, []);
    }
}

/// Memory that ends in the middle of a piece, and at its beginning; at either end, and the BAR.
#[test]
fn faults() {
    let high = u64::MAX - 7;
    for (name, command, source, destination, length, expected) in [
        ("nothing to read", 1, 0x9000, 0x7000, 16, ([0x9000, 0x7000, 16], 0x9000)),
        ("the end of what can be read", 1, 0x8ff8, 0x7000, 16, ([0x8ff8, 0x7000, 16], 0x8ff8)),
        ("nothing to write", 1, 0x7000, 0x9000, 16, ([0x7000, 0x9000, 16], 0x9000)),
        ("the end of what can be written", 1, 0x7000, 0x7ff8, 16, ([0x7000, 0x7ff8, 16], 0x7ff8)),
        ("read-only", 2, 5, 0x8000, 16, ([5, 0x8000, 16], 0x8000)),
        ("the last address", 2, 0, high, 16, ([0, high, 16], high)),
        ("reading for the BAR", 3, 0x9000, 0, 16, ([0x9000, 0, 16], 0x9000)),
        ("past the BAR's end", 3, 0x7000, MEMORY - 8, 16, ([0x7000, MEMORY - 8, 16], 0)),
        ("past all ends", 3, 0x7000, high, 16, ([0x7000, high, 16], 0)),
        ("from past the BAR's end", 4, MEMORY, 0x7000, 1, ([MEMORY, 0x7000, 1], 0)),
        ("writing from the BAR", 4, 0, 0x9000, 16, ([0, 0x9000, 16], 0x9000)),
    ] {
        for raises in [0, 0x100] {
            let mut board = test();
            board.memory.map(0x7000, 1, true);
            board.memory.map(0x8000, 1, false);
            board.set(VECTOR, 6);
            let (status, stands, fault) = engine(&mut board, command | raises, source, destination, length);
            assert_eq!((status, (stands, fault)), (FAULTED, expected), "{name}");
            let raised = raises != 0;
            assert_eq!(
                (board.get(STATUS), board.take().pin.len()),
                (u32::from(raised) << 6, usize::from(raised)),
                "{name}"
            );
            // The next one is judged by itself.
            assert_eq!(engine(&mut board, 2, 0, 0x7000, 1).0, DONE, "{name}");
        }
    }
}

#[test]
fn without_bus_mastering() {
    for (command, fault) in [(1, 0x7000), (2, 0x7100), (3, 0x7000), (4, 0x7100)] {
        let mut board = test();
        board.memory.map(0x7000, 1, true);
        board.configure(4, 2, 2);
        assert_eq!(engine(&mut board, command, 0x7000, 0x7100, 1), (FAULTED, [0x7000, 0x7100, 1], fault));
    }
}

/// More than a piece: each is done by itself, so what is before a fault is done.
#[test]
fn long_ones_go_piece_by_piece() {
    let mut board = test();
    let pages = 3 * CHUNK / 4096;
    board.memory.map(0x10_0000, pages, true);
    board.memory.map(0x1000_0000, pages, true);
    let bytes: Vec<u8> = (0..3 * CHUNK).map(|at| (at % 251) as u8).collect();
    board.memory.put(0x10_0000, &bytes);
    let length = 2 * CHUNK + 5;
    let ended = engine(&mut board, 0x101, 0x10_0000, 0x1000_0000, length);
    assert_eq!(ended, (DONE, [0x10_0000 + length, 0x1000_0000 + length, 0], 0x77));
    assert_eq!(board.memory.bytes(0x1000_0000, length), bytes[..length as usize]);
    assert_eq!(board.memory.bytes(0x1000_0000 + length, 1), [0]);
    assert_eq!(board.take().pin.len(), 1, "one interrupt, at its end");
    let pieces: Vec<usize> = board.memory.accesses.iter().map(|access| access.1).collect();
    let chunk = CHUNK as usize;
    assert_eq!(pieces, [chunk, chunk, chunk, chunk, 5, 5]);

    board.memory.unmap(0x1000_0000 + CHUNK + 4096);
    let (status, stands, fault) = engine(&mut board, 1, 0x10_0000, 0x1000_0000, length);
    assert_eq!((status, stands), (FAULTED, [0x10_0000 + CHUNK, 0x1000_0000 + CHUNK, CHUNK + 5]));
    assert_eq!(fault, 0x1000_0000 + CHUNK);
    // What fits into the BAR of a long one is copied.
    let (status, stands, fault) = engine(&mut board, 3, 0x10_0000, MEMORY - CHUNK - 1, length);
    assert_eq!((status, stands, fault), (FAULTED, [0x10_0000 + CHUNK, MEMORY - 1, CHUNK + 5], 0));
    assert_eq!(board.ram(2)[(MEMORY - CHUNK - 1) as usize..][..chunk], bytes[..chunk]);
}

#[test]
fn a_reset_is_all_but_the_memory() {
    let mut board = test();
    board.memory.map(0, 1, true);
    board.ram(2)[7] = 7;
    for at in [8, VECTOR, PATTERN] {
        board.set(at, 5);
    }
    board.set(RAISE, 4);
    assert_eq!(engine(&mut board, 0x101, 0, 0x100, 16).0, DONE);
    let express = board.function.capability(0x10).unwrap();
    assert!(board.configure(express + 8, 2, 0x8000));
    let mut expected = vec![0; 0x50 / 4];
    (expected[0], expected[1], expected[3]) = (0x5453_4554, 1, 1 << 20);
    let registers: Vec<u32> = (0..0x50).step_by(4).map(|at| board.get(at)).collect();
    assert_eq!((registers, board.ram(2)[7]), (expected, 7));
    assert!(!board.function.is_asserted());
    board.configure(4, 2, 7);
    assert_eq!(engine(&mut board, 1, 0, 0x100, 16).0, DONE);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// All widths read the same, mappings show it, and the device moves no more at a time than it should.
    #[test]
    fn whatever_is_written(
        writes in prop::collection::vec(
            (0..0x60_u64, prop::sample::select(vec![1_u8, 2, 4, 8]), any::<u64>()), 1..60,
        ),
        command in 0..8_u32,
        is_mapped in any::<bool>(),
    ) {
        let mut board = test();
        board.configure(4, 2, command);
        if is_mapped {
            board.memory.map(0, 16, true);
        }
        for (at, width, value) in writes {
            let at = at & !(u64::from(width) - 1);
            // A copy of petabytes takes its time.
            let value = if (0x20..0x38).contains(&at) { value & 0xf_ffff } else { value };
            board.write(0, at, width, value);
            for at in (0..0x60).step_by(4) {
                let bytes = (0..4).map(|index| board.read(0, at + index, 1) as u8).collect::<Vec<_>>();
                let word = u32::from_le_bytes(bytes.try_into().unwrap());
                prop_assert_eq!((word, board.peek(at)), (board.get(at), word), "{:#x}", at);
                prop_assert_eq!(board.get_long(at & !7) >> (8 * (at & 7)) & 0xffff_ffff, u64::from(word));
            }
        }
        prop_assert!(board.memory.accesses.iter().all(|(_, bytes, _)| *bytes as u64 <= CHUNK));
    }
}
