//! What is refused, translated, split.

use ioctlab_iommu::{
    Access, AddressRange, Domain, Fault, Permissions, Properties, Reason, Refused, Run, Target,
};

const PAGE: u64 = 4096;
const BOTH: Permissions = Permissions { read: true, write: true };

fn domain() -> Domain {
    Domain::new(&Properties::default())
}

fn target(address: u64) -> Target {
    Target { space: 7, address }
}

#[test]
fn the_default_is_the_recorded_hardware() {
    let properties = Properties::default();
    assert_eq!(properties.aperture(), AddressRange { start: 0, last: 0x7f_ffff_ffff });
    assert_eq!(properties.page_sizes, 0x4020_1000);
    assert_eq!(properties.smallest_page(), PAGE);
    assert_eq!(properties.reserved, [AddressRange { start: 0xfee0_0000, last: 0xfeef_ffff }]);
    assert!(properties.interrupt_remapping && !properties.coherent && !properties.dirty_tracking);
}

#[test]
fn odd_widths() {
    for (address_bits, last) in [(1, 1), (48, 0xffff_ffff_ffff), (64, u64::MAX), (65, u64::MAX), (0, 0)] {
        let properties = Properties { address_bits, ..Properties::default() };
        assert_eq!(properties.aperture().last, last, "{address_bits}");
    }
    assert_eq!(Properties { page_sizes: 0, ..Properties::default() }.smallest_page(), 1);
}

#[test]
fn what_is_refused() {
    let mut domain = domain();
    domain.map(0x10_0000, 4 * PAGE, target(0x5000), BOTH).expect("room");
    let rows = [
        (0, 0, 0, Refused::Malformed),
        (1, PAGE, 0, Refused::Malformed),
        (0, PAGE + 1, 0, Refused::Malformed),
        (0, PAGE, 8, Refused::Malformed),
        (u64::MAX - PAGE + 1, 2 * PAGE, 0, Refused::Malformed),
        (1 << 39, PAGE, 0, Refused::BeyondAperture),
        ((1 << 39) - PAGE, 2 * PAGE, 0, Refused::BeyondAperture),
        (0x10_0000, PAGE, 0, Refused::Mapped),
        (0x10_3000, PAGE, 0, Refused::Mapped),
        (0xf_f000, 2 * PAGE, 0, Refused::Mapped),
        (0, 0x80_0000, 0, Refused::Mapped),
    ];
    for (iova, bytes, address, refused) in rows {
        assert_eq!(domain.map(iova, bytes, target(address), BOTH), Err(refused), "{iova:#x} {bytes:#x}");
    }
    assert_eq!(domain.ranges(), 1);
    domain.map(0xf_f000, PAGE, target(0), BOTH).expect("the page before");
    domain.map(0x10_4000, PAGE, target(0), BOTH).expect("the page behind");
    domain.map((1 << 39) - PAGE, PAGE, target(0), BOTH).expect("the last page");
}

#[test]
fn a_run_ends_with_its_range() {
    let mut domain = domain();
    domain.map(0x1000, 2 * PAGE, target(0x7000), BOTH).expect("room");
    domain.map(0x3000, PAGE, target(0x9000), BOTH).expect("room");
    let rows = [
        (0x1000, 1, 0x7000, 1),
        (0x1fff, 8, 0x7fff, 8),
        (0x2ffc, 8, 0x8ffc, 4),
        (0x3000, 0x10_0000, 0x9000, PAGE),
        (0x3fff, 0, 0x9fff, 0),
    ];
    for (iova, length, address, run) in rows {
        let expected = Run { target: target(address), length: run };
        assert_eq!(domain.translate(iova, length, Access::Read), Ok(expected), "{iova:#x}");
    }
}

#[test]
fn permissions_and_faults() {
    let mut domain = domain();
    for (iova, read, write) in [(0x1000, true, false), (0x2000, false, true), (0x3000, false, false)] {
        domain.map(iova, PAGE, target(0), Permissions { read, write }).expect("room");
    }
    let rows = [
        (0x1000, Access::Read, None),
        (0x1000, Access::Write, Some((Reason::NoWritePermission, 5))),
        (0x2000, Access::Read, Some((Reason::NoReadPermission, 6))),
        (0x2000, Access::Write, None),
        (0x3000, Access::Read, Some((Reason::NoReadPermission, 6))),
        (0xfff, Access::Read, Some((Reason::NotPresent, 6))),
        (0x4000, Access::Write, Some((Reason::NotPresent, 5))),
        (1 << 39, Access::Write, Some((Reason::BeyondWidth, 4))),
    ];
    for (address, access, expected) in rows {
        let fault = domain.translate(address, 1, access).err();
        let expected_fault = expected.map(|(reason, _)| Fault { address, access, reason });
        assert_eq!(fault, expected_fault, "{address:#x}");
        assert_eq!(fault.map(|fault| fault.code()), expected.map(|(_, code)| code));
    }
}

#[test]
fn unmapping_leaves_what_is_on_either_side() {
    let mut domain = domain();
    domain.map(0x1000, 4 * PAGE, target(0x7000), BOTH).expect("room");
    assert_eq!(domain.unmap(0x2000, PAGE), PAGE);
    assert_eq!(domain.ranges(), 2);
    let at = |domain: &Domain, iova| domain.translate(iova, 0x10_0000, Access::Read).ok();
    assert_eq!(at(&domain, 0x1000), Some(Run { target: target(0x7000), length: PAGE }));
    assert_eq!(at(&domain, 0x2000), None);
    assert_eq!(at(&domain, 0x3000), Some(Run { target: target(0x9000), length: 2 * PAGE }));
    assert_eq!(domain.unmap(0x2008, PAGE), 0, "not a whole page");
    assert_eq!(domain.unmap(0x1000, 0), 0);
    assert_eq!(domain.unmap(0, 1 << 39), 3 * PAGE);
    assert_eq!(domain.unmap(0, 1 << 39), 0);
    assert_eq!(domain.ranges(), 0);
}

#[test]
fn a_range_gets_other_memory() {
    let mut domain = domain();
    domain.map(0x1000, 2 * PAGE, target(0x7000), BOTH).expect("room");
    assert!(domain.retarget(0x1000, Target { space: 8, address: 0xa000 }));
    let run = domain.translate(0x2000, 4, Access::Write);
    assert_eq!(run, Ok(Run { target: Target { space: 8, address: 0xb000 }, length: 4 }));
    assert!(!domain.retarget(0x2000, target(0)), "no range starts there");
}

#[test]
fn another_thread_may_have_it() {
    fn sent<T: Send + Sync>() {}
    sent::<Domain>();
}

#[test]
fn the_whole_of_64_bits() {
    let mut domain = Domain::new(&Properties { address_bits: 64, ..Properties::default() });
    domain.map(u64::MAX - PAGE + 1, PAGE, target(0), BOTH).expect("the last page");
    assert_eq!(domain.translate(u64::MAX, 8, Access::Read).map(|run| run.length), Ok(1));
    assert_eq!(domain.unmap(u64::MAX - PAGE + 1, PAGE), PAGE);
}
