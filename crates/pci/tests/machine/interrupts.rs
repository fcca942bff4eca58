//! The pin and its bits; how interrupts are enabled.

use ioctlab_pci::{Function, InterruptMode};

use crate::config::{dword, everything};
use crate::lspci::{clone_of, text};

/// The status register, its lower half.
fn status(function: &Function) -> u32 {
    function.config().read(6, 1)
}

#[test]
fn the_status_shows_the_pin() {
    let mut function = everything();
    assert_eq!((function.is_asserted(), function.interrupts(), status(&function)), (false, false, 0x10));
    function.set_asserted(true);
    assert_eq!((function.is_asserted(), function.interrupts(), status(&function)), (true, true, 0x18));
    // Disabling it hides it from the bus, and not from the status.
    let _ = function.write_config(4, 2, 0x0400);
    assert_eq!((function.is_asserted(), function.interrupts(), status(&function)), (true, false, 0x18));
    // Software can't change that.
    let _ = function.write_config(6, 2, 0);
    let _ = function.write_config(6, 2, 0xffff);
    assert_eq!(status(&function), 0x18);
    let _ = function.write_config(4, 2, 0);
    function.set_asserted(false);
    assert_eq!((function.is_asserted(), function.interrupts(), status(&function)), (false, false, 0x10));
    function.set_asserted(true);
    function.reset();
    assert_eq!((function.is_asserted(), status(&function)), (false, 0x10));
}

#[test]
fn registers_say_how_they_are_enabled() {
    let mut function = everything();
    for (msi, msix, expected) in [
        (0, 0, InterruptMode::Intx),
        (1, 0, InterruptMode::Msi),
        (0x71, 0, InterruptMode::Msi),
        (0x70, 0, InterruptMode::Intx),
        (1, 0x8000, InterruptMode::Msix),
        (0, 0xc000, InterruptMode::Msix),
        (0, 0x4000, InterruptMode::Intx),
    ] {
        let _ = function.write_config(0x42, 2, msi);
        let _ = function.write_config(0x52, 2, msix);
        assert_eq!(function.interrupt_mode(), expected, "{msi:#x} {msix:#x}");
    }
}

#[test]
fn drivers_enable_them() {
    let mut function = everything();
    let flags = |function: &Function| (function.config().read(0x42, 2), function.config().read(0x52, 2));
    for (vectors, expected) in [
        (1, 0x87),
        (2, 0x97),
        (3, 0xa7),
        (4, 0xa7),
        (5, 0xb7),
        (8, 0xb7),
        (9, 0xb7),
        (u16::MAX, 0xb7),
        (0, 0x86),
    ] {
        function.enable_msi(vectors);
        assert_eq!(flags(&function).0, expected, "{vectors}");
    }
    function.enable_msix(true);
    assert_eq!((flags(&function), function.interrupt_mode()), ((0x86, 0x8004), InterruptMode::Msix));
    function.enable_msix(false);
    assert_eq!((flags(&function), function.interrupt_mode()), ((0x86, 4), InterruptMode::Intx));
    // Where there is none, nothing is enabled.
    let mut plain = clone_of(&text(256, &[]));
    let before = plain.config().bytes().to_vec();
    plain.enable_msi(4);
    plain.enable_msix(true);
    assert_eq!(plain.config().bytes(), before);
}

/// Masks of vectors are registers like others; nothing is ever pending.
#[test]
fn masks_are_kept() {
    let msi = [5, 0, 0x8a, 0x01];
    let mut function = clone_of(&text(256, &[(6, &[0x10]), (0x34, &[0x40]), (0x40, &msi)]));
    assert_eq!(function.msi_vectors(), 32);
    let _ = function.write_config(0x50, 4, 0x8000_0001);
    let _ = function.write_config(0x54, 4, u32::MAX);
    assert_eq!((dword(&function, 0x50), dword(&function, 0x54)), (0x8000_0001, 0));
    function.reset();
    assert_eq!(dword(&function, 0x50), 0);
}
