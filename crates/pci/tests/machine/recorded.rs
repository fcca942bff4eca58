//! The devices that Linux 6.12 was recorded with (`tests/oracle/vfio.txt`, parts A to D), as far as it is the device that answers and
//! not vfio-pci; and what QEMU 7.2's device models leave of ones and zeros.

use ioctlab_pci::lspci::{Dump, Overrides};
use ioctlab_pci::models::edu;
use ioctlab_pci::{BarKind, Function};

use crate::config::{behaviour, dword};

const E1000: &str = include_str!("../../../../labs/devices/e1000.lspci");
const E1000E: &str = include_str!("../../../../labs/devices/e1000e.lspci");
const NVME: &str = include_str!("../../../../labs/devices/nvme.lspci");
const VMXNET3: &str = include_str!("../../../../labs/devices/vmxnet3.lspci");

/// As firmware has left it.
fn booted(text: &str, bars: [u64; 6], rom: usize) -> Function {
    let dump = Dump::parse(text).unwrap();
    let bars = bars.map(|size| Some(size).filter(|size| *size > 0));
    let mut function = dump.device(&Overrides { bars, rom: vec![0; rom] }).unwrap().function;
    function.configure(&dump.firmware());
    function
}

/// The registers that are there at first, as in the dump.
fn assert_as_dumped(text: &str, function: &Function) {
    let dumped: Vec<u8> = text
        .lines()
        .filter_map(|line| line.split_once(": ").filter(|(offset, _)| offset.len() < 4))
        .flat_map(|(_, bytes)| bytes.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()))
        .collect();
    assert_eq!(function.config().bytes(), dumped);
}

fn sizes(function: &Function) -> [u64; 7] {
    core::array::from_fn(|at| {
        if at == 6 { function.rom().len() as u64 } else { function.bar(at as u8).map_or(0, |bar| bar.size) }
    })
}

/// `k.cmd-ffff -> cmd=0507` and `k.cmd-0 -> cmd=0000`.
fn assert_command(function: &Function) {
    let mut function = function.clone();
    for (written, expected) in [(0xffff, 0x0507), (6, 6), (2, 2), (0, 0)] {
        let _ = function.write_config(4, 2, written);
        assert_eq!(function.config().read(4, 2), expected);
    }
}

#[test]
fn the_educational_device() {
    let mut function = edu::device().function;
    let bars = [0xfe80_0000, 0, 0, 0, 0, 0];
    function.configure(&ioctlab_pci::Firmware { bars, rom: 0, line: 0x0a, command: 0x0103 });
    let header = [0, 4, 8, 0xc, 0x10, 0x14, 0x2c, 0x30, 0x34, 0x3c, 0x40].map(|at| dword(&function, at));
    let expected =
        [0x11e8_1234, 0x0010_0103, 0x00ff_0010, 0, 0xfe80_0000, 0, 0x1100_1af4, 0, 0x40, 0x010a, 0x0080_0005];
    assert_eq!(header, expected);
    assert_eq!(function.config().size(), 256);
    // As QEMU's, but for MSI's data, of which that keeps 32 bits, and what lies behind it, where all can be written.
    assert_eq!(
        behaviour(&function, &[4]),
        [
            (0x0c, 0xff, 0),
            (0x10, 0xfff0_0000, 0),
            (0x3c, 0x01ff, 0x0100),
            (0x40, 0x0081_0005, 0x0080_0005),
            (0x44, 0xffff_fffc, 0),
            (0x48, 0xffff_ffff, 0),
            (0x4c, 0xffff, 0),
        ]
    );
    assert_command(&function);
    assert!(!function.can_reset(), "r.reset -> EINVAL");
    assert_eq!((function.msi_vectors(), function.msix()), (1, None));
    assert_eq!(sizes(&function), [0x10_0000, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn e1000e() {
    let function = booted(E1000E, [0x2_0000, 0x2_0000, 0x20, 0x4000, 0, 0], 0x4_0000);
    assert_as_dumped(E1000E, &function);
    assert_eq!(function.bar(2).map(|bar| bar.kind), Some(BarKind::Io));
    assert_eq!(function.bar_address(2), 0xd040);
    assert_eq!([1, 5, 0x10, 0x11].map(|id| function.capability(id)), [0xc8, 0xd0, 0xe0, 0xa0].map(Some));
    let msix = function.msix().unwrap();
    assert_eq!((function.msi_vectors(), msix.vectors, msix.bar, msix.offset), (1, 5, 3, 0));
    assert!(function.is_express() && function.can_reset(), "r.reset -> 0");
    // As QEMU's, but for MSI's data and power management's selector of data that aren't there.
    assert_eq!(
        behaviour(&function, &[4, 0xcc, 0xe8]),
        [
            (0x0c, 0xff, 0),
            (0x10, 0xfffe_0000, 0),
            (0x14, 0xfffe_0000, 0),
            (0x18, 0xffff_ffe1, 1),
            (0x1c, 0xffff_c000, 0),
            (0x30, 0xfffc_0001, 0),
            (0x3c, 0x01ff, 0x0100),
            (0xa0, 0xc004_0011, 0x0004_0011),
            (0xd0, 0x0081_e005, 0x0080_e005),
            (0xd4, 0xffff_fffc, 0),
            (0xd8, 0xffff_ffff, 0),
            (0xdc, 0xffff, 0),
            (0xf0, 0x1011_01cb, 0x1011_0000),
            (0x108, 0x03ff_f030, 0),
            (0x10c, 0x03ff_f030, 0),
            (0x114, 0xf1c1, 0),
            (0x118, 0x01e0, 0xa0),
        ]
    );
    assert_command(&function);
    let mut function = function;
    let _ = function.write_config(0xcc, 4, u32::MAX);
    assert_eq!(dword(&function, 0xcc), 0x0103);
}

#[test]
fn nvme() {
    let function = booted(NVME, [0x4000, 0, 0, 0, 0, 0], 0);
    assert_as_dumped(NVME, &function);
    let msix = function.msix().unwrap();
    assert_eq!((function.msi_vectors(), msix.vectors, msix.bar, msix.offset), (0, 65, 0, 0x2000));
    assert!(function.can_reset(), "r.reset -> 0");
    assert_command(&function);
    let mut function = function;
    let _ = function.write_config(0x10, 1, 0xff);
    let _ = function.write_config(0x11, 1, 0xff);
    assert_eq!(dword(&function, 0x10), 0xfe98_c004, "k.bar0-bytewrite");
    for (at, ones) in [(0x10, 0xffff_c004), (0x14, 0xffff_ffff), (0x18, 0), (0x30, 0)] {
        let _ = function.write_config(at, 4, u32::MAX);
        assert_eq!(dword(&function, at), ones, "k.bar*-sizing");
    }
}

#[test]
fn e1000() {
    let function = booted(E1000, [0x2_0000, 0x40, 0, 0, 0, 0], 0x4_0000);
    assert_as_dumped(E1000, &function);
    assert_eq!((function.config().size(), function.can_reset(), function.is_express()), (256, false, false));
    assert_command(&function);
}

/// Nothing says how large they are, so it is as large as what is known of them lets it be.
#[test]
fn sizes_that_are_not_said() {
    for (text, expected) in [
        (E1000E, [0x1_0000, 0x1_0000, 0x20, 0x1_0000, 0, 0, 0]),
        (NVME, [0x4000, 0, 0, 0, 0, 0, 0]),
        (E1000, [0x1_0000, 0x20, 0, 0, 0, 0, 0]),
        (VMXNET3, [0x1000, 0x1000, 0x2000, 0, 0, 0, 0]),
    ] {
        let function = booted(text, [0; 6], 0);
        assert_eq!(sizes(&function), expected);
        let addresses = |function: &Function| (0..6).map(|bar| function.bar_address(bar)).collect::<Vec<_>>();
        let bars = Dump::parse(text).unwrap().firmware().bars;
        assert_eq!(addresses(&function), bars, "no address had to be rounded");
    }
}
