//! Groups that come and go, and what can be mapped meanwhile.

use ioctlab_chardev::Errno;
use ioctlab_type1::{IovaRange, Parameters, Warning};
use ioctlab_vfio::{GroupId, Iommu};

use crate::fake::{Fake, Group, wide};
use crate::harness::{BOTH, BUFFER, GROUP, Lab, PAGE, SPACE, VADDR, open};

const TWO: GroupId = GroupId(2);

fn reserving(ranges: &[(u64, u64)]) -> Group {
    let reserved = ranges.iter().map(|&(start, last)| IovaRange { start, last }).collect();
    Group { reserved, ..Group::default() }
}

fn coherent() -> Group {
    Group { coherent: true, ..Group::default() }
}

#[test]
fn groups_of_a_kind_share_a_domain() {
    let mut lab = Lab::v2();
    assert_eq!(lab.map(BOTH, BUFFER, 0, PAGE), Ok(()));
    assert_eq!(lab.attach(2, Group::default()), Ok(()));
    assert_eq!(lab.machine.domains.len(), 1);
    let there = Some((SPACE, BUFFER, true, true));
    assert_eq!((lab.machine.translate(GROUP, 0), lab.machine.translate(TWO, 0)), (there, there));
    lab.detach(1);
    assert_eq!((lab.machine.translate(GROUP, 0), lab.machine.translate(TWO, 0)), (None, there));
    assert_eq!(lab.locked(), 1);
    lab.detach(2);
    assert_eq!((lab.locked(), lab.machine.domains.len()), (0, 0));
    assert_eq!(lab.capabilities().0, 65535);
}

#[test]
fn groups_of_another_kind_get_what_is_mapped() {
    let mut lab = Lab::v1();
    assert_eq!(lab.map(BOTH, BUFFER, 0, 2 * PAGE), Ok(()));
    assert_eq!(lab.map(1, BUFFER, 0x10_0000, PAGE), Ok(()));
    assert_eq!(lab.attach(2, coherent()), Ok(()));
    assert_eq!(lab.machine.domains.len(), 2);
    assert_eq!(lab.machine.translate(TWO, PAGE), Some((SPACE, BUFFER + PAGE, true, true)));
    assert_eq!(lab.machine.translate(TWO, 0x10_0000), Some((SPACE, BUFFER, true, false)));
    assert_eq!(lab.locked(), 3, "once for both");
    assert_eq!(lab.map(BOTH, BUFFER, 0x20_0000, PAGE), Ok(()));
    for group in [GROUP, TWO] {
        assert!(lab.machine.translate(group, 0x20_0000).is_some());
    }
    // A new address is for both.
    assert_eq!(lab.unmap(VADDR, 0x20_0000, PAGE), (Ok(()), PAGE));
    assert_eq!(lab.map(VADDR, BUFFER + PAGE, 0x20_0000, PAGE), Ok(()));
    for group in [GROUP, TWO] {
        assert_eq!(lab.machine.translate(group, 0x20_0000), Some((SPACE, BUFFER + PAGE, true, true)));
    }
    lab.detach(1);
    assert_eq!(lab.locked(), 4);
    assert_eq!(lab.unmap(2, 0, 0), (Ok(()), 4 * PAGE));
    assert_eq!(lab.machine.translate(TWO, 0), None);
}

#[test]
fn a_domain_that_can_take_no_more_gets_a_neighbour() {
    let mut lab = Lab::v2();
    assert_eq!(lab.map(BOTH, BUFFER, 0, PAGE), Ok(()));
    lab.machine.refuse_sharing = true;
    assert_eq!(lab.attach(2, Group::default()), Ok(()));
    assert_eq!(lab.machine.domains.len(), 2);
    assert!(lab.machine.translate(TWO, 0).is_some());
}

/// Nothing of a group that was refused is left.
fn refused(lab: &mut Lab, like: Group, errno: Errno) {
    let (locked, before) = (lab.locked(), lab.capabilities());
    let domains = lab.machine.domains.len();
    assert_eq!(lab.attach(2, like), Err(errno));
    assert_eq!(lab.machine.domains.len(), domains);
    assert_eq!((lab.locked(), lab.capabilities()), (locked, before));
}

#[test]
fn who_is_refused() {
    let mut lab = Lab::v2();
    assert_eq!(lab.map(BOTH, BUFFER, 0x10_0000, PAGE), Ok(()));
    assert_eq!(lab.map(BOTH, BUFFER, 0x7f_ffff_f000, PAGE), Ok(()));
    refused(&mut lab, Group { refused: Some(Errno::ENODEV), ..Group::default() }, Errno::ENODEV);
    refused(&mut lab, Group { isolated: false, ..Group::default() }, Errno::EPERM);
    assert_eq!(lab.machine.warnings, [Warning::NoInterruptRemapping]);
    // Reserved IOVAs that are mapped.
    refused(&mut lab, reserving(&[(0, 0xfff), (0x10_0fff, 0x10_1fff)]), Errno::EINVAL);
    refused(&mut lab, reserving(&[(0, u64::MAX)]), Errno::EINVAL);
    // Apertures that lack what is mapped, or everything.
    let aperture = |start, last| Group { aperture: IovaRange { start, last }, ..Group::default() };
    refused(&mut lab, aperture(0x20_0000, 0x7f_ffff_ffff), Errno::EINVAL);
    refused(&mut lab, aperture(0, 0x7f_ffff_efff), Errno::EINVAL);
    refused(&mut lab, aperture(1 << 39, 1 << 40), Errno::EINVAL);
    // That comes before the interrupts.
    let both = Group { isolated: false, ..aperture(1 << 39, 1 << 40) };
    refused(&mut lab, both, Errno::EINVAL);
    // One that is there.
    assert_eq!(lab.iommu.attach_group(GROUP, &mut lab.machine), Err(Errno::EINVAL));
    // Mappings that can't be made in its domain.
    lab.machine.maps_left = Some(1);
    refused(&mut lab, coherent(), Errno::ENOMEM);
    lab.machine.maps_left = Some(0);
    refused(&mut lab, coherent(), Errno::ENOMEM);
    lab.machine.maps_left = None;
    assert_eq!(lab.unmap(VADDR, 0x10_0000, PAGE), (Ok(()), PAGE));
    refused(&mut lab, Group::default(), Errno::EBUSY);
    assert_eq!(lab.iommu.attach_group(GROUP, &mut lab.machine), Err(Errno::EBUSY));
    assert_eq!(lab.map(VADDR, BUFFER, 0x10_0000, PAGE), Ok(()));
    assert_eq!(lab.attach(2, Group::default()), Ok(()));
}

#[test]
fn no_valid_iovas_at_all() {
    let mut machine = Fake::with_group(1, reserving(&[(0, 0x3f_ffff_ffff), (0x40_0000_0000, 1 << 60)]));
    let mut iommu = open(3, Parameters::default()).expect("the second version");
    assert_eq!(iommu.attach_group(GROUP, &mut machine), Err(Errno::EINVAL));
    assert!(machine.domains.is_empty());
    assert_eq!(iommu.attach_group(GroupId(9), &mut machine), Err(Errno::ENODEV));
}

#[test]
fn unsafe_interrupts_can_be_allowed() {
    let parameters = Parameters { allow_unsafe_interrupts: true, ..Parameters::default() };
    let mut machine = Fake::with_group(1, Group { isolated: false, ..Group::default() });
    let mut iommu = open(3, parameters).expect("the second version");
    assert_eq!(iommu.attach_group(GROUP, &mut machine), Ok(()));
    assert!(machine.warnings.is_empty());
    iommu.release(&mut machine);
}

#[test]
fn ranges_without_what_is_reserved() {
    type Ranges<'a> = &'a [(u64, u64)];
    let rows: [(Ranges<'_>, Ranges<'_>); 8] = [
        (&[], &[(0, 0x7f_ffff_ffff)]),
        (&[(0, 0xfff)], &[(0x1000, 0x7f_ffff_ffff)]),
        (&[(0x7f_ffff_f000, 0x7f_ffff_ffff)], &[(0, 0x7f_ffff_efff)]),
        (&[(0x7f_ffff_f000, u64::MAX)], &[(0, 0x7f_ffff_efff)]),
        (&[(1 << 40, 1 << 41)], &[(0, 0x7f_ffff_ffff)]),
        (&[(0x1000, 0x1fff), (0x2000, 0x2fff)], &[(0, 0xfff), (0x3000, 0x7f_ffff_ffff)]),
        (&[(0x1000, 0x3fff), (0x2000, 0x2fff)], &[(0, 0xfff), (0x4000, 0x7f_ffff_ffff)]),
        (&[(0x1000, 0x3fff), (0x8000, 0x8fff)], &[(0, 0xfff), (0x4000, 0x7fff), (0x9000, 0x7f_ffff_ffff)]),
    ];
    for (reserved, expected) in rows {
        let machine = Fake::with_group(1, reserving(reserved));
        let iommu = open(1, Parameters::default()).expect("the first version");
        let mut lab = Lab { machine, program: crate::harness::program(SPACE), iommu };
        assert_eq!(lab.iommu.attach_group(GROUP, &mut lab.machine), Ok(()));
        assert_eq!(lab.capabilities().1, expected, "{reserved:x?}");
        for (start, last) in expected {
            if last - start == 0xfff {
                assert_eq!(lab.map(BOTH, BUFFER, *start, PAGE), Ok(()));
                assert_eq!(lab.map(BOTH, BUFFER, last + 1, PAGE), Err(Errno::EINVAL));
            }
        }
    }
}

#[test]
fn ranges_shrink_and_grow_with_groups() {
    let mut lab = Lab::v2();
    let with_msi = vec![(0, 0xfedf_ffff), (0xfef0_0000, 0x7f_ffff_ffff)];
    assert_eq!(lab.capabilities().1, with_msi);
    assert_eq!(lab.attach(2, reserving(&[(0x10_0000, 0x1f_ffff)])), Ok(()));
    let both = vec![(0, 0xf_ffff), (0x20_0000, 0xfedf_ffff), (0xfef0_0000, 0x7f_ffff_ffff)];
    assert_eq!(lab.capabilities().1, both);
    assert_eq!(lab.map(BOTH, BUFFER, 0x10_0000, PAGE), Err(Errno::EINVAL));
    lab.detach(2);
    assert_eq!(lab.capabilities().1, with_msi);
    assert_eq!(lab.map(BOTH, BUFFER, 0x10_0000, PAGE), Ok(()));
    // Another domain with a narrower aperture, which goes with it.
    let narrow = Group { aperture: IovaRange { start: 0, last: 0xffff_ffff }, ..coherent() };
    assert_eq!(lab.attach(2, narrow), Ok(()));
    assert_eq!(lab.capabilities().1, [(0, 0xfedf_ffff), (0xfef0_0000, 0xffff_ffff)]);
    assert_eq!(lab.map(BOTH, BUFFER, 1 << 32, PAGE), Err(Errno::EINVAL));
    lab.detach(2);
    assert_eq!(lab.capabilities().1, with_msi);
    assert_eq!(lab.map(BOTH, BUFFER, 1 << 32, PAGE), Ok(()));
}

/// As Linux: what was reserved at an end of the aperture is only given back with a domain.
#[test]
fn what_is_reserved_at_an_end() {
    let at_start = [(0, 0xffff)];
    let (short, long) = ((0x1_0000, 0xfedf_ffff), (0xfef0_0000, 0x7f_ffff_ffff));
    let mut lab = Lab::v2();
    assert_eq!(lab.attach(2, reserving(&at_start)), Ok(()));
    lab.detach(2);
    assert_eq!(lab.capabilities().1, [short, long]);
    let mut lab = Lab::v2();
    let other = Group { coherent: true, ..reserving(&at_start) };
    assert_eq!(lab.attach(2, other), Ok(()));
    assert_eq!(lab.capabilities().1, [short, long]);
    lab.detach(2);
    assert_eq!(lab.capabilities().1, [(0, 0xfedf_ffff), long]);
}

#[test]
fn a_wider_aperture_changes_nothing() {
    let mut lab = Lab::v2();
    let before = lab.capabilities();
    assert_eq!(lab.attach(2, Group { aperture: wide(), ..coherent() }), Ok(()));
    assert_eq!(lab.capabilities(), before);
    lab.detach(1);
    assert_eq!(lab.capabilities().1, [(0, 0xfedf_ffff), (0xfef0_0000, wide().last)]);
}

#[test]
fn release_gives_all_back() {
    for (_, mut lab) in Lab::both() {
        assert_eq!(lab.attach(2, coherent()), Ok(()));
        assert_eq!(lab.attach(3, Group::default()), Ok(()));
        assert_eq!(lab.map(BOTH, BUFFER, 0, 5 * PAGE), Ok(()));
        assert_eq!(lab.map(BOTH, BUFFER, 0x10_0000, PAGE), Ok(()));
        Iommu::release(lab.iommu, &mut lab.machine);
        assert!(lab.machine.domains.is_empty());
        assert_eq!(lab.machine.locked.pages(SPACE), 0);
    }
}

#[test]
fn a_group_that_is_not_there() {
    let mut lab = Lab::v2();
    assert_eq!(lab.map(BOTH, BUFFER, 0, PAGE), Ok(()));
    lab.detach(7);
    assert_eq!(lab.locked(), 1);
}

#[test]
fn the_narrowest_aperture_stays() {
    let mut lab = Lab::v2();
    lab.machine.refuse_sharing = true;
    let narrow = IovaRange { start: 0x1000, last: 0xffff_ffff };
    let reserving_nothing = reserving(&[]);
    lab.detach(1);
    for (group, aperture) in [(1, narrow), (2, wide()), (3, wide())] {
        assert_eq!(lab.attach(group, Group { aperture, ..reserving_nothing.clone() }), Ok(()));
    }
    assert_eq!(lab.machine.domains.len(), 3);
    lab.detach(3);
    assert_eq!(lab.capabilities().1, [(0x1000, 0xffff_ffff)]);
    lab.detach(1);
    assert_eq!(lab.capabilities().1, [(0, wide().last)]);
}
