//! Registers of configuration space, one by one.

use ioctlab_vfio_pci::{Bar, BarKind, Function, Role, Width};

use crate::bench::Bench;
use crate::fake::{AREA, Fake};

#[test]
fn device_control_is_virtual_in_part() {
    let mut bench = Bench::new(Fake::e1000e());
    // Everything but phantom functions goes through; payload and read request don't, as such.
    bench.cw(0xe8, 2, 0x7fff).unwrap();
    assert_eq!(bench.cr(0xe8, 2), 0x7dff);
    let hardware = |bench: &mut Bench| bench.function.read_config(0xe8, Width::Word);
    // The read request is too large to be one.
    assert_eq!(hardware(&mut bench), 0x2d1f);
    bench.cw(0xe8, 2, 0x5000).unwrap();
    assert_eq!((bench.cr(0xe8, 2), hardware(&mut bench)), (0x5000, 0x5000));
    // Never less than the hardware's payload.
    bench.function.config[0xe8] = 0x40;
    bench.cw(0xe8, 2, 0).unwrap();
    assert_eq!((bench.cr(0xe8, 2), hardware(&mut bench)), (0, 0x2040));
    // Device control 2: all but ARI forwarding.
    let mut fake = Fake::nvme();
    fake.allow(0xa8, 0xffff);
    let mut bench = Bench::new(fake);
    bench.cw(0xa8, 2, 0xffff).unwrap();
    assert_eq!(bench.cr(0xa8, 2), 0xffdf);
}

#[test]
fn error_reporting_has_its_own_bits() {
    let mut bench = Bench::new(Fake::e1000e());
    for (at, bits) in [
        (0x100, 0),
        (0x104, 0x03ff_f031),
        (0x108, 0x03ff_f031),
        (0x10c, 0x03ff_f031),
        (0x110, 0xf1c1),
        (0x114, 0xf1c1),
        (0x118, 0x140),
        (0x11c, 0),
        (0x128, 0),
    ] {
        bench.function.allow(at, u32::MAX);
        let before = bench.cr(at as u64, 4);
        bench.cw(at as u64, 4, u32::MAX).unwrap();
        assert_eq!(bench.cr(at as u64, 4), before | bits, "{at:#x}");
    }
}

#[test]
fn power_budgeting_has_a_register_that_can_be_written() {
    let mut fake = Fake::e1000e();
    fake.config[0x140..0x150].fill(0);
    fake.config[0x140] = 4;
    (0x140..0x150).step_by(4).for_each(|at| fake.allow(at, u32::MAX));
    let mut bench = Bench::new(fake.built());
    bench.cw(0x140, 4, u32::MAX).unwrap();
    for (at, value) in [(0x140, 4), (0x144, 0), (0x148, 0xff), (0x14c, 0)] {
        bench.cw(at, 4, u32::MAX).unwrap();
        assert_eq!(bench.cr(at, 4), value);
    }
}

#[test]
fn pme_is_not_there() {
    let mut fake = Fake::e1000e();
    fake.config[0xcd] = 0x81;
    let mut bench = Bench::new(fake);
    assert_eq!((bench.cr(0xca, 2), bench.cr(0xcc, 2)), (0x0023, 0x2008));
    bench.cw(0xcc, 2, 0xff00).unwrap();
    assert_eq!(bench.cr(0xcc, 2), 0x3e08);
}

#[test]
fn af_and_vpd_do_what_is_written() {
    let mut fake = Fake::edu();
    fake.put(0x34, 0x50);
    fake.put(0x50, 0x0306_6013);
    fake.put(0x60, 0x0000_0003);
    fake.can_reset = true;
    let mut bench = Bench::new(fake.built());
    bench.cw(0x54, 1, 0xff).unwrap();
    assert_eq!((bench.function.resets, bench.cr(0x54, 1)), (2, 0));
    bench.function.config[0x53] = 1;
    bench.cw(0x54, 1, 1).unwrap();
    assert_eq!((bench.function.resets, bench.cr(0x54, 1)), (2, 0));
    // Nothing happens while there is no data, or only the lower half of the address is written.
    bench.cw(0x62, 2, 8).unwrap();
    assert_eq!(bench.cr(0x62, 2), 8);
    bench.function.vpd = Some(0x100);
    bench.cw(0x62, 1, 12).unwrap();
    assert_eq!(bench.cr(0x62, 2), 12);
    bench.cw(0x63, 1, 0).unwrap();
    assert_eq!((bench.cr(0x62, 2), bench.cr(0x64, 4)), (0x800c, 0x10c));
    bench.cw(0x64, 4, 0x777).unwrap();
    bench.cw(0x62, 2, 0x8004).unwrap();
    assert_eq!((bench.cr(0x62, 2), bench.function.vpd), (4, Some(0x773)));
}

#[test]
fn msi_has_as_many_vectors_as_were_enabled() {
    let mut fake = Fake::e1000e();
    fake.config[0xd2] = 0x8a;
    fake.power_on[0xd2] = 0x8a;
    let mut bench = Bench::new(fake);
    bench.cw(0xd2, 2, 0x00d1).unwrap();
    // Not enabled: no enable bit, and one vector.
    assert_eq!(bench.cr(0xd2, 2), 0x0080);
    bench.irq_fds(1, 0, &[-1, -1, -1]).unwrap();
    bench.cw(0xd2, 2, 0x00d1).unwrap();
    assert_eq!((bench.cr(0xd2, 2), bench.function.read_config(0xd2, Width::Word)), (0x00a1, 0x00ab));
    // How many there were stays, also over a close.
    bench.irq(0x21, 1, 0, 0, &[]).unwrap();
    bench.close();
    bench.open();
    bench.cw(0xd2, 1, 0xd1).unwrap();
    assert_eq!(bench.cr(0xd2, 2), 0x00a0);
    // The word before ends where it begins, which is enough to have it written once more.
    bench.function.config[0xd2] = 0x8a;
    bench.cw(0xd0, 2, 0).unwrap();
    assert_eq!(bench.function.config[0xd2], 0xaa);
    bench.function.config[0xd2] = 0x8a;
    bench.cw(0xd3, 1, 0).unwrap();
    assert_eq!(bench.function.config[0xd2], 0x8a);
}

#[test]
fn bars_that_were_lost_are_restored() {
    let mut bench = Bench::new(Fake::e1000e());
    let lose = |bench: &mut Bench| {
        bench.function.config[4..6].fill(0);
        bench.function.config[0x10..0x28].fill(0);
        bench.function.config[0x30..0x34].fill(0);
    };
    let there = |bench: &Bench| bench.function.config[0x13] == 0xfe && bench.function.config[0x33] == 0xfe;
    lose(&mut bench);
    bench.cw(5, 1, 0).unwrap();
    assert!(!there(&bench));
    bench.cw(4, 1, 6).unwrap();
    assert!(there(&bench));
    // The BARs lost, decoding not.
    bench.function.config[0x10..0x28].fill(0);
    bench.cw(4, 2, 0).unwrap();
    assert!(there(&bench));
    bench.cw(4, 2, 6).unwrap();
    // Decoding lost, the BARs not.
    lose(&mut bench);
    bench.function.config[0x10..0x20].copy_from_slice(&Fake::e1000e().config[0x10..0x20]);
    bench.cw(4, 2, 6).unwrap();
    assert!(there(&bench));
}

#[test]
fn bars_of_64_bits_prefetchable_and_unassigned_ones() {
    let mut fake = Fake::edu();
    let kind = BarKind::Memory { wide: true, prefetchable: true, area: Some(AREA) };
    fake.bars[2] = Some(Bar { address: 0x40_0000_0000, size: 0x4_0000_0000, kind });
    fake.bars[4] = Some(Bar { address: 0, size: 0x1000, kind });
    let mut bench = Bench::new(fake.built());
    (0..6).for_each(|bar| assert_eq!(bench.cw(0x10 + 4 * bar, 4, u32::MAX), Ok(4)));
    let bars: Vec<u32> = (0..6).map(|bar| bench.cr(0x10 + 4 * bar, 4)).collect();
    assert_eq!(bars, [0xfff0_0000, 0, 0xc, 0xffff_fffc, 0, 0]);
}

#[test]
fn a_virtual_function_has_what_its_registers_lack() {
    let mut fake = Fake::edu();
    fake.put(0, u32::MAX);
    fake.allow(4, 0x0004);
    fake.put(4, 0x0010_0000);
    fake.put(0x10, 0);
    let mut bench = Bench::with_role(fake.built(), Role::Virtual { vendor: 0x8086, device: 0x10ca });
    assert_eq!((bench.cr(0, 4), bench.cr(4, 2), bench.cr(0x3d, 1)), (0x10ca_8086, 2, 0));
    assert_eq!(bench.cr(0x10, 4), 0);
    // Its memory is always decoded; what is written is only shown.
    bench.cw(4, 2, 4).unwrap();
    assert_eq!((bench.cr(4, 2), bench.function.reachable), (4, Some(true)));
    assert_eq!(bench.mr(0), 0x0100_00ed);
    bench.cw(4, 2, 2).unwrap();
    assert_eq!(bench.cr(4, 2), 2);
}
