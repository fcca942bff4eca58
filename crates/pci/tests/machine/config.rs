//! The header: what can be written, sizing, the command register.

use ioctlab_pci::{Bar, Description, Firmware, Function, Header};

/// A device with one of each kind of BAR, a ROM, and all capabilities that a description can have: MSI at 0x40, MSI-X at 0x50, PCI
/// Express at 0x60.
pub(crate) fn everything() -> Function {
    let header =
        Header { vendor: 0x1234, device: 0x5678, class: 0x02_0304, revision: 9, ..Header::default() };
    let mut description = Description::new(header);
    description.bars = [
        Some(Bar::memory(0x1_0000)),
        Some(Bar::io(0x20)),
        Some(Bar { prefetchable: true, ..Bar::memory64(8 << 30) }),
        None,
        Some(Bar::memory(16)),
        Some(Bar { prefetchable: true, ..Bar::memory(2 << 30) }),
    ];
    description.msi = Some(8);
    description.msix = Some((5, 0));
    description.express = true;
    description.rom = vec![0x55; 0x4_0000];
    Function::new(description)
}

pub(crate) fn dword(function: &Function, offset: usize) -> u32 {
    function.config().read(offset, 4)
}

/// What all ones and then all zeros leave of each 4 bytes that they change.
pub(crate) fn behaviour(function: &Function, skipped: &[usize]) -> Vec<(usize, u32, u32)> {
    let mut found = Vec::new();
    for at in (0..function.config().size()).step_by(4).filter(|at| !skipped.contains(at)) {
        let mut function = function.clone();
        let before = dword(&function, at);
        assert!(!function.write_config(at, 4, u32::MAX), "a reset by {at:#x}");
        let ones = dword(&function, at);
        assert!(!function.write_config(at, 4, 0), "a reset by {at:#x}");
        let zeros = dword(&function, at);
        if (ones, zeros) != (before, before) {
            found.push((at, ones, zeros));
        }
    }
    found
}

#[test]
fn a_description_is_what_there_is() {
    let function = everything();
    assert_eq!(function.config().size(), 4096);
    let registers: Vec<u32> = (0..0x40).step_by(4).map(|at| dword(&function, at)).collect();
    assert_eq!(
        registers,
        [0x5678_1234, 0x0010_0000, 0x0203_0409, 0, 0, 1, 0xc, 0, 0, 8, 0, 0x1100_1af4, 0, 0x40, 0, 0x0100]
    );
    let plain = Function::new(Description::new(Header { interrupt_pin: 0, ..Header::default() }));
    assert_eq!(plain.config().size(), 256);
    let bytes = plain.config().bytes();
    assert_eq!((bytes[6], bytes[0x34], bytes[0x3d]), (0, 0, 0), "no capabilities, no pin");
    assert!(bytes[0x40..].iter().all(|byte| *byte == 0));
    assert_eq!((plain.bar(0), plain.bar(6), plain.bar_address(0), plain.rom()), (None, None, 0, &[][..]));
}

#[test]
fn what_is_writable() {
    // Device control, where a reset can be asked for, is among `resets.rs`.
    assert_eq!(
        behaviour(&everything(), &[0x68]),
        [
            (0x04, 0x0010_0507, 0x0010_0000),
            (0x0c, 0xff, 0),
            (0x10, 0xffff_0000, 0),
            (0x14, 0xffff_ffe1, 1),
            (0x1c, 0xffff_fffe, 0),
            (0x20, 0xffff_fff0, 0),
            (0x24, 0x8000_0008, 8),
            (0x30, 0xfffc_0001, 0),
            (0x3c, 0x01ff, 0x0100),
            (0x40, 0x00f7_5005, 0x0086_5005),
            (0x44, 0xffff_fffc, 0),
            (0x48, 0xffff_ffff, 0),
            (0x4c, 0xffff, 0),
            (0x50, 0xc004_6011, 0x0004_6011),
            (0x70, 0x0011_01cb, 0x0011_0000),
            (0x88, 0x675f, 0),
            (0x90, 0x1fdf, 0),
        ]
    );
}

/// As drivers size BARs: all ones are written, what is read says how many bits there are, and the address is put back.
#[test]
fn sizes_are_found_by_writing_ones() {
    let mut function = everything();
    let size = |function: &mut Function, at: usize, kind: u32| {
        let before = dword(function, at);
        let _ = function.write_config(at, 4, u32::MAX);
        let mask = dword(function, at);
        let _ = function.write_config(at, 4, before);
        assert_eq!(dword(function, at), before);
        (mask & kind, (mask & !kind).wrapping_neg())
    };
    assert_eq!(size(&mut function, 0x10, 0xf), (0, 0x1_0000));
    assert_eq!(size(&mut function, 0x14, 3), (1, 0x20));
    assert_eq!(size(&mut function, 0x18, 0xf), (0xc, 0), "of 64 bits, prefetchable, none of its size here");
    assert_eq!(size(&mut function, 0x1c, 0), (0, 2), "but 2 times 4 GiB here");
    assert_eq!(size(&mut function, 0x20, 0xf), (0, 16));
    assert_eq!(size(&mut function, 0x24, 0xf), (8, 2 << 30));
    assert_eq!(size(&mut function, 0x30, 1), (1, 0x4_0000));
    let plain = Description::new(Header::default());
    let mut plain = Function::new(plain);
    for at in (0x10..0x28).step_by(4).chain([0x30]) {
        assert_eq!(size(&mut plain, at, 0), (0, 0), "nothing at {at:#x}");
    }
}

#[test]
fn addresses_are_what_was_written() {
    let mut function = everything();
    let bars = [0xfe80_1234, 0xc07f, 0x38_1234_5678, 7, 0xfe98_4047, 0xffff_ffff];
    function.configure(&Firmware { bars, rom: 0xfe90_ffff, line: 0xb, command: 0xffff });
    let addresses: Vec<u64> = (0..7).map(|bar| function.bar_address(bar)).collect();
    assert_eq!(addresses, [0xfe80_0000, 0xc060, 0x38_0000_0000, 0, 0xfe98_4040, 0x8000_0000, 0]);
    assert_eq!(dword(&function, 0x14), 0xc061);
    assert_eq!(dword(&function, 0x18), 0xc);
    assert_eq!(dword(&function, 0x24), 0x8000_0008);
    assert_eq!(dword(&function, 0x30), 0xfe90_0001);
    assert_eq!(dword(&function, 0x3c), 0x010b);
    assert_eq!(function.config().read(4, 2), 0x0507);
    // Bytes are written by themselves.
    let _ = function.write_config(0x12, 1, 0x33);
    let _ = function.write_config(0x1c, 1, 0x41);
    assert_eq!((function.bar_address(0), function.bar_address(2)), (0xfe33_0000, 0x40_0000_0000));
}

#[test]
fn the_command_register_lets_it_work() {
    let mut function = everything();
    assert_eq!((function.decodes(), function.is_bus_master()), ((false, false), false));
    for (command, decodes, masters) in [
        (1, (false, true), false),
        (2, (true, false), false),
        (3, (true, true), false),
        (4, (false, false), true),
        (0xffff, (true, true), true),
        (0x0500, (false, false), false),
    ] {
        assert!(!function.write_config(4, 2, command));
        assert_eq!((function.decodes(), function.is_bus_master()), (decodes, masters), "{command:#x}");
        assert_eq!(function.config().read(4, 2), command & 0x0507);
    }
}

#[test]
fn nothing_lies_past_the_end() {
    let mut function = Function::new(Description::new(Header::default()));
    let read = |function: &Function, at, width| function.config().read(at, width);
    assert_eq!(read(&function, 254, 4), 0xffff_0000);
    assert_eq!(
        (read(&function, 255, 2), read(&function, 256, 1), read(&function, 256, 4)),
        (0xff00, 0xff, u32::MAX)
    );
    assert_eq!(
        (read(&function, usize::MAX, 4), read(&function, 0, 0), read(&function, 0, 9)),
        (u32::MAX, 0, u32::MAX)
    );
    for at in [254, 255, 256, 4096, usize::MAX] {
        assert!(!function.write_config(at, 4, u32::MAX));
    }
    assert!(!function.write_config(0, 9, 0));
    assert_eq!(read(&function, 0, 4), u32::MAX, "ids are read-only");
}

/// Numbers of vectors that can't be are brought to those that can.
#[test]
fn counts_of_vectors_are_in_range() {
    for (vectors, expected) in [(0, 1), (1, 1), (2, 2), (7, 4), (32, 32), (33, 32), (255, 32)] {
        let mut description = Description::new(Header::default());
        description.msi = Some(vectors);
        assert_eq!(Function::new(description).msi_vectors(), expected, "{vectors}");
    }
    for (vectors, expected) in [(0, 1), (1, 1), (2048, 2048), (2049, 2048), (u16::MAX, 2048)] {
        let mut description = Description::new(Header::default());
        description.bars[3] = Some(Bar::memory(0x2_0000));
        description.msix = Some((vectors, 3));
        let function = Function::new(description);
        let msix = function.msix().unwrap();
        assert_eq!((msix.vectors, msix.bar, msix.offset), (expected, 3, 0), "{vectors}");
        assert_eq!(dword(&function, 0x48), 0x1_0003, "what is pending is in the upper half");
    }
    let plain = Function::new(Description::new(Header::default()));
    assert_eq!((plain.msi_vectors(), plain.msix()), (0, None));
}
