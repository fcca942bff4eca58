//! Capabilities: the chain, and the registers of each kind.

use ioctlab_pci::Function;

use crate::config::{behaviour, dword, everything};
use crate::lspci::{clone_of, text};

/// A clone whose first capability is at 0x40.
fn with(size: usize, rest: &[(usize, &[u8])]) -> Function {
    let mut set: Vec<(usize, &[u8])> = vec![(0x06, &[0x10]), (0x34, &[0x40])];
    set.extend(rest);
    clone_of(&text(size, &set))
}

/// The header's registers, which are tested in `config.rs`.
const HEADER: [usize; 3] = [0x04, 0x0c, 0x3c];

#[test]
fn the_chain_is_followed() {
    let function = everything();
    let places = [5, 0x11, 0x10, 1, 0x13].map(|id| function.capability(id));
    assert_eq!(places, [Some(0x40), Some(0x50), Some(0x60), None, None]);
    assert_eq!([0x41, 0x51, 0x61].map(|at| function.config().read(at, 1)), [0x50, 0x60, 0]);
    assert!(function.is_express());
    assert!(!with(256, &[]).is_express());
    // The two lowest bits of a pointer don't count.
    let function = with(256, &[(0x34, &[0x43]), (0x40, &[9, 0x82]), (0x80, &[1, 0x03])]);
    assert_eq!([9, 1].map(|id| function.capability(id)), [Some(0x40), Some(0x80)]);
    // The first of two is the one.
    let function = with(256, &[(0x40, &[5, 0x80]), (0x80, &[5, 0])]);
    assert_eq!(function.capability(5), Some(0x40));
}

#[test]
fn the_chain_ends() {
    // At itself, in a ring, in the header, at nothing.
    for links in [
        &[(0x40, [9, 0x40])][..],
        &[(0x40, [9, 0x50]), (0x50, [9, 0x60]), (0x60, [9, 0x40])],
        &[(0x40, [9, 0x3c]), (0x3c, [1, 0x80]), (0x80, [1, 0])],
        &[(0x40, [9, 0x80]), (0x80, [0xff, 0x90]), (0x90, [1, 0])],
        &[(0x40, [9, 0xfc]), (0xfc, [9, 0xfc])],
    ] {
        let set: Vec<(usize, &[u8])> = links.iter().map(|(at, bytes)| (*at, &bytes[..])).collect();
        let function = with(256, &set);
        assert_eq!((function.capability(9), function.capability(1)), (Some(0x40), None), "{links:x?}");
    }
    // The status register says that there are none.
    let function = with(256, &[(0x06, &[0]), (0x40, &[1, 0])]);
    assert_eq!(function.capability(1), None);
}

/// A ring of extended capabilities comes to an end, too, and those of other kinds on the way are left as they are.
#[test]
fn the_extended_chain_ends() {
    let express: (usize, &[u8]) = (0x40, &[0x10, 0, 0x12, 0]);
    let ring = with(4096, &[express, (0x100, &[0xb, 0, 1, 0x20]), (0x200, &[1, 0, 1, 0x10])]);
    assert!(behaviour(&ring, &[]).contains(&(0x208, 0x03ff_f030, 0)), "error reporting is found");
    let below = with(4096, &[express, (0x100, &[0xb, 0, 0xf1, 0x0f]), (0xfc, &[1, 0, 1, 0])]);
    assert!(behaviour(&below, &[]).iter().all(|(at, ..)| *at < 0xfc), "it doesn't go back");
    let last = with(4096, &[express, (0x100, &[0xb, 0, 0xc1, 0xff]), (0xffc, &[1, 0, 1, 0])]);
    assert!(behaviour(&last, &[]).iter().all(|(at, ..)| *at < 0x100), "its registers lie past the end");
}

#[test]
fn message_signalled_interrupts() {
    for (control, expected) in [
        (0x0000, &[(0x40, 0x0001_0005, 0x0000_0005), (0x44, !3, 0), (0x48, 0xffff, 0)][..]),
        (0x0002, &[(0x40, 0x0073_0005, 0x0002_0005), (0x44, !3, 0), (0x48, 0xffff, 0)]),
        (0x0084, &[(0x40, 0x00f5_0005, 0x0084_0005), (0x44, !3, 0), (0x48, u32::MAX, 0), (0x4c, 0xffff, 0)]),
        (0x0102, &[(0x40, 0x0173_0005, 0x0102_0005), (0x44, !3, 0), (0x48, 0xffff, 0), (0x4c, 3, 0)]),
        (
            0x018a,
            &[
                (0x40, 0x01fb_0005, 0x018a_0005),
                (0x44, !3, 0),
                (0x48, u32::MAX, 0),
                (0x4c, 0xffff, 0),
                (0x50, u32::MAX, 0),
            ],
        ),
    ] {
        let control = u16::to_le_bytes(control);
        let function = with(256, &[(0x40, &[5, 0, control[0], control[1]])]);
        assert_eq!(behaviour(&function, &HEADER), expected, "{control:x?}");
    }
}

/// A driver had it enabled, with its masks; some of it was pending.
#[test]
fn what_drivers_had_set_up_is_undone() {
    let msi = [
        5, 0x60, 0xb7, 0x01, 0x00, 0x10, 0xe0, 0xfe, 1, 0, 0, 0, 0x22, 0x40, 0, 0, 0xff, 0, 0, 0, 0x0f, 0, 0,
        0,
    ];
    let msix = [0x11, 0x70, 0x04, 0xc0, 0x03, 0, 0, 0, 0x03, 0x20, 0, 0];
    let function = with(
        256,
        &[
            (0x04, &[0x46, 0x05, 0x18, 0xf9]),
            (0x0c, &[0x10, 0x40]),
            (0x3c, &[0x5c, 1]),
            (0x40, &msi),
            (0x60, &msix),
            (0x70, &[1, 0, 0x03, 0xc8, 0x0b, 0x81, 0, 0]),
        ],
    );
    assert_eq!(
        (0x40..0x58).step_by(4).map(|at| dword(&function, at)).collect::<Vec<_>>(),
        [0x0186_6005, 0, 0, 0, 0, 0]
    );
    assert_eq!(dword(&function, 0x60), 0x0004_7011);
    assert_eq!(dword(&function, 0x74), 0x8008, "it is awake, and has woken others");
    assert_eq!(dword(&function, 0x04), 0xf910_0000, "errors are still there");
    assert_eq!(
        (dword(&function, 0x0c), dword(&function, 0x3c)),
        (0x4000, 0x100),
        "the latency timer is fixed"
    );
    // Parity errors can be reported by this one.
    assert!(behaviour(&function, &[0x74]).contains(&(4, 0x0010_0547, 0x0010_0000)));
}

#[test]
fn msix_has_two_bits_and_a_table() {
    let function = with(4096, &[(0x40, &[0x11, 0, 0xff, 0x07, 0x04, 0x10, 0, 0, 0x05, 0x20, 0, 0])]);
    assert_eq!(behaviour(&function, &HEADER), [(0x40, 0xc7ff_0011, 0x07ff_0011)]);
    let msix = function.msix().unwrap();
    assert_eq!((msix.vectors, msix.bar, msix.offset), (2048, 4, 0x1000));
}

#[test]
fn power_management() {
    for (capable, expected) in [
        // It wakes nobody, and knows D0 and D3hot only: other states aren't entered.
        (0x0003_u16, (0x44, 0x3, 0)),
        (0xc803, (0x44, 0x103, 0)),
    ] {
        let [low, high] = capable.to_le_bytes();
        let function = with(256, &[(0x40, &[1, 0, low, high, 8, 0, 0, 0])]);
        let (at, ones, zeros) = expected;
        assert_eq!(behaviour(&function, &HEADER), [(at, ones | 8, zeros | 8)], "{capable:#x}");
        for (state, entered) in [(1, 0), (3, 3), (2, 3), (0, 0), (2, 0)] {
            let mut function = function.clone();
            if entered == 3 && state != 3 {
                let _ = function.write_config(0x44, 1, 3);
            }
            let _ = function.write_config(0x44, 1, state);
            assert_eq!(function.power_state(), entered, "D{state}");
        }
    }
    let mut function = with(256, &[(0x40, &[1, 0, 0x03, 0x06, 0, 0, 0, 0])]);
    for state in [1, 2, 3] {
        let _ = function.write_config(4, 2, 7);
        let _ = function.write_config(0x44, 2, state);
        assert_eq!(u32::from(function.power_state()), state);
        assert_eq!((function.decodes(), function.is_bus_master()), ((false, false), false), "D{state}");
    }
}

#[test]
fn express_versions_and_kinds() {
    let at = |function: &Function| -> Vec<usize> {
        behaviour(function, &HEADER).into_iter().map(|(at, ..)| at).collect()
    };
    let express = |flags: u8| with(4096, &[(0x40, &[0x10, 0, flags, 0, 0x20, 0, 0, 0])]);
    assert_eq!(at(&express(0x01)), [0x48, 0x50]);
    assert_eq!(at(&express(0x02)), [0x48, 0x50, 0x68, 0x70]);
    assert_eq!(at(&express(0x92)), [0x48, 0x68], "an endpoint of the root complex has no link");
    assert_eq!(at(&express(0x91)), [0x48]);
    // Tags of 8 bits, where the device has them.
    assert_eq!(behaviour(&express(0x91), &HEADER), [(0x48, 0x79ff, 0)]);
    let without = with(4096, &[(0x40, &[0x10, 0, 0x91, 0])]);
    assert_eq!(behaviour(&without, &HEADER), [(0x48, 0x78ff, 0)]);
    // What firmware had set up stays, and errors are cleared by a 1 each.
    let mut used = with(4096, &[(0x40, &[0x10, 0, 0x92, 0, 0, 0, 0, 0, 0x3f, 0x29, 0x0f, 0])]);
    assert_eq!(dword(&used, 0x48), 0x000f_293f);
    let _ = used.write_config(0x48, 4, 0x0001_0000);
    assert_eq!(dword(&used, 0x48), 0x000e_0100, "extended tags are as they were");
    used.reset();
    assert_eq!(dword(&used, 0x48), 0x291f, "but the size of payloads, which was changed");
}

#[test]
fn error_reporting() {
    let errors =
        [1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x30, 0x20, 0x46, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0xa0, 0, 0, 0];
    let function = with(4096, &[(0x40, &[0x10, 0, 0x92, 0]), (0x100, &errors)]);
    let found = behaviour(&function, &[0x04, 0x0c, 0x3c, 0x48, 0x68]);
    assert_eq!(
        found,
        [(0x108, 0x03ff_f030, 0), (0x10c, 0x03ff_f030, 0), (0x114, 0xf1c1, 0), (0x118, 0x1e0, 0xa0),]
    );
    let mut none = with(4096, &[(0x40, &[0x10, 0, 0x92, 0]), (0x100, &[1, 0, 2, 0])]);
    assert!(behaviour(&none, &[]).iter().all(|(at, ..)| *at != 0x118), "no checks of packets");
    let _ = none.write_config(0x108, 4, 0x0010_0000);
    none.reset();
    assert_eq!(dword(&none, 0x108), 0x0010_0000, "a reset keeps masks");
}

/// Errors that a device was dumped with are there until each is cleared by a 1.
#[test]
fn errors_are_cleared_one_by_one() {
    let power: (usize, &[u8]) = (0x40, &[1, 0x50, 3, 0xc8, 0, 0x80]);
    let express: (usize, &[u8]) = (0x50, &[0x10, 0, 0x92, 0, 0, 0, 0, 0, 0, 0, 0x0f, 0]);
    let errors: (usize, &[u8]) = (0x100, &[1, 0, 2, 0, 0x30, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xc1, 0x20]);
    let function = with(4096, &[(0x06, &[0x10, 0xf9]), power, express, errors]);
    for (at, width, there, written, left) in [
        (0x06, 2, 0xf910, 0x8000, 0x7910),
        (0x06, 2, 0xf910, 0x0000, 0xf910),
        (0x06, 2, 0xf910, 0xffff, 0x0010),
        (0x07, 1, 0xf9, 0x01, 0xf8),
        (0x04, 4, 0xf910_0000, 0xf800_0002, 0x0110_0002),
        (0x44, 2, 0x8000, 0x8000, 0),
        (0x45, 1, 0x80, 0x01, 0x81),
        (0x5a, 2, 0x0f, 0x05, 0x0a),
        (0x104, 4, 0x0010_0030, 0x0010_0010, 0x20),
        (0x110, 4, 0x20c1, 0xffff_ffc0, 0x01),
    ] {
        let mut function = function.clone();
        assert_eq!(function.config().read(at, width), there);
        let _ = function.write_config(at, width, written);
        assert_eq!(function.config().read(at, width), left, "{at:#x} {written:#x}");
    }
    // A reset clears those that aren't kept through it.
    let mut function = function;
    function.reset();
    let left = [0x04, 0x44, 0x58, 0x104, 0x110].map(|at| dword(&function, at));
    assert_eq!(left, [0x0010_0000, 0x8000, 0, 0x0010_0030, 0x20c1]);
}

/// A capability at the end of its space doesn't reach into that of the extended ones.
#[test]
fn capabilities_end_with_their_space() {
    let function =
        with(4096, &[(0x34, &[0xf8]), (0xf8, &[5, 0, 0x8a, 0x01]), (0x40, &[0x10]), (0x100, &[3, 0, 1, 0])]);
    let places: Vec<usize> = behaviour(&function, &HEADER).into_iter().map(|row| row.0).collect();
    assert_eq!(places, [0xf8, 0xfc]);
}

/// Those that the crate knows nothing of can't be written.
#[test]
fn others_are_read_only() {
    for id in [2, 3, 4, 6, 7, 8, 9, 0xa, 0xb, 0xc, 0xd, 0x12, 0x14] {
        let bytes = [&[id, 0][..], &[0xff; 0x3e]].concat();
        assert_eq!(behaviour(&with(256, &[(0x40, &bytes)]), &HEADER), [], "{id:#x}");
    }
}
