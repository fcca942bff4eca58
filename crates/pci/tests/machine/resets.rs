//! Resets: by function-level reset, by power management, by a driver.

use ioctlab_pci::Function;

use crate::config::{dword, everything};
use crate::lspci::{clone_of, text};

#[test]
fn a_reset_undoes_what_was_written() {
    let mut function = everything();
    let before = function.config().bytes().to_vec();
    for at in (0..4096).step_by(4).filter(|at| *at != 0x68) {
        let _ = function.write_config(at, 4, u32::MAX);
    }
    let _ = function.write_config(0x68, 2, 0x7fff);
    assert_ne!(function.config().bytes(), before);
    function.reset();
    // But for the size of payloads, and what is the link's.
    for at in (0..4096).step_by(4) {
        let kept = match at {
            0x68 => 0x00e0,
            0x70 => 0x01cb,
            0x90 => 0x1fdf,
            _ => 0,
        };
        let before = u32::from_le_bytes(before[at..at + 4].try_into().unwrap());
        assert_eq!(dword(&function, at), before | kept, "{at:#x}");
    }
}

/// What asks for a function-level reset: where, how wide, what, and whether it does.
#[test]
fn function_level_reset() {
    let features = [0x13, 0, 6, 3, 0, 0];
    let by_features = clone_of(&text(256, &[(6, &[0x10]), (0x34, &[0x40]), (0x40, &features)]));
    let express = everything();
    assert!(by_features.can_reset() && express.can_reset());
    for (name, function, at, width, value, expected) in [
        ("a word", &express, 0x68, 2, 0x8000, true),
        ("its upper byte", &express, 0x69, 1, 0x80, true),
        ("with the status", &express, 0x68, 4, 0xffff_8000, true),
        ("from before it", &express, 0x66, 4, 0x8000_0000, true),
        ("its lower byte", &express, 0x68, 1, 0x80, false),
        ("other bits", &express, 0x68, 2, 0x7fff, false),
        ("the status", &express, 0x6a, 2, 0x8000, false),
        ("what isn't written", &express, 0x68, 1, 0x8000, false),
        ("a byte", &by_features, 0x44, 1, 1, true),
        ("with its status", &by_features, 0x44, 2, 0xffff, true),
        ("with what is before", &by_features, 0x40, 4, u32::MAX, false),
        ("another bit", &by_features, 0x44, 1, 0xfe, false),
    ] {
        let mut function = function.clone();
        let _ = function.write_config(4, 2, 0x507);
        function.set_asserted(true);
        assert_eq!(function.write_config(at, width, value), expected, "{name}");
        let expected = if expected { (0, false) } else { (0x507, true) };
        assert_eq!((function.config().read(4, 2), function.is_asserted()), expected, "{name}");
        assert_eq!(function.config().read(0x69, 1) & 0x80, 0, "{name}: the bit reads as 0");
    }
}

#[test]
fn not_all_can_be_reset() {
    let with = |set: &[u8]| clone_of(&text(256, &[(6, &[0x10]), (0x34, &[0x40]), (0x40, set)]));
    let express = |capable: u8| with(&[0x10, 0, 2, 0, 0, 0, 0, capable]);
    for (name, function, can) in [
        ("none", clone_of(&text(256, &[])), false),
        ("express, with it", express(0x10), true),
        ("express, without it", express(0xef), false),
        ("advanced features, both", with(&[0x13, 0, 6, 3]), true),
        ("advanced features, pending transactions", with(&[0x13, 0, 6, 1]), false),
        ("advanced features, reset alone", with(&[0x13, 0, 6, 2]), false),
        ("power management, with a reset", with(&[1, 0, 3, 0, 0, 0]), true),
        ("power management, without", with(&[1, 0, 3, 0, 8, 0]), false),
    ] {
        assert_eq!(function.can_reset(), can, "{name}");
    }
    let mut without = express(0xef);
    assert!(!without.write_config(0x48, 2, 0x8000));
    let mut without = with(&[0x13, 0, 6, 1]);
    assert!(!without.write_config(0x44, 1, 1));
}

fn with_power(control: &[u8]) -> Function {
    let power = [&[1, 0, 0x03, 0xc8][..], control].concat();
    clone_of(&text(256, &[(6, &[0x10]), (0x34, &[0x40]), (0x40, &power)]))
}

#[test]
fn coming_back_from_d3hot() {
    let mut function = with_power(&[0, 0]);
    let _ = function.write_config(4, 2, 0x507);
    let _ = function.write_config(0x3c, 1, 0x55);
    for value in [3, 0x103] {
        assert!(!function.write_config(0x44, 2, value), "on its way there, nor in it");
        assert_eq!((function.power_state(), function.config().read(4, 2)), (3, 0x507));
        assert_eq!((function.decodes(), function.is_bus_master()), ((false, false), false));
    }
    assert!(function.write_config(0x44, 2, 0x100));
    assert_eq!(
        (function.power_state(), dword(&function, 4), function.config().read(0x3c, 1)),
        (0, 0x0010_0000, 0)
    );
    assert!(!function.write_config(0x44, 2, 0), "it is back");
    // A function that doesn't.
    let mut function = with_power(&[8, 0]);
    let _ = function.write_config(4, 2, 0x507);
    let _ = function.write_config(0x44, 2, 3);
    assert!(!function.write_config(0x44, 2, 0));
    assert_eq!((function.power_state(), function.config().read(4, 2)), (0, 0x507));
    assert_eq!((function.decodes(), function.is_bus_master()), ((true, true), true));
}

/// Whether it may wake others is known after a reset, too.
#[test]
fn a_reset_keeps_what_wakes() {
    let mut function = with_power(&[0, 0]);
    let _ = function.write_config(0x44, 2, 0x103);
    function.reset();
    assert_eq!(function.config().read(0x44, 2), 0x100);
}
