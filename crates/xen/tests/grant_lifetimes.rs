//! How long pages and grants last: who holds them, and what of them outlives whom.

mod machine;

use GrantAccess::{ReadOnly, ReadWrite};
use ioctlab_xen::{
    AfterTake, DomainParams, EndOfAccess, GrantAccess, GrantRef, GrantReport, GrantStatus, GrantVersion,
    Hypervisor, Mfn, Refused, VcpuId, Virq,
};
use machine::{ABSENT, Bytes, ONE, TWO, ZERO, granted, machine};

fn entry(xen: &Hypervisor, reference: GrantRef) -> GrantReport {
    xen.grant_entry(ONE, reference).unwrap()
}

/// Reading and writing flag, and pins of each kind.
fn uses(xen: &Hypervisor, reference: GrantRef) -> (bool, bool, u32, u32) {
    let report = entry(xen, reference);
    (report.reading, report.writing, report.read_pins, report.write_pins)
}

#[test]
fn pages_are_given_lowest_first_and_in_a_row_if_there_is_one() {
    let mut xen = machine();
    xen.set_machine_pages(10);
    assert_eq!(xen.allocate_pages(ABSENT, 1), Err(Refused::NoSuchDomain));
    assert_eq!(xen.allocate_pages(ONE, 7), Err(Refused::OutOfMemory));
    assert_eq!(xen.allocate_pages(ONE, usize::MAX), Err(Refused::OutOfMemory));
    assert_eq!(xen.allocate_pages(ONE, 0), Ok(vec![]));
    assert_eq!(xen.allocate_pages(ONE, 6), Ok((4..10).map(Mfn).collect()));
    assert_eq!(xen.pages_in_use(), 10);
    for mfn in [9, 7, 4, 5] {
        assert_eq!(xen.release_page(ONE, Mfn(mfn)), Ok(()));
    }
    assert_eq!((xen.pages_in_use(), xen.page_owner(Mfn(9)), xen.page_owner(Mfn(8))), (6, None, Some(ONE)));
    assert_eq!(xen.allocate_pages(ONE, 1), Err(Refused::OutOfMemory), "none was scrubbed");
    for mfn in [9, 7, 4, 5] {
        assert_eq!(xen.next_freed(), Some(Mfn(mfn)));
    }
    assert_eq!(xen.next_freed(), None);
    assert_eq!(xen.allocate_pages(ONE, 5), Err(Refused::OutOfMemory));
    assert_eq!(xen.allocate_pages(TWO, 3), Ok(vec![Mfn(4), Mfn(5), Mfn(7)]), "no three are in a row");
    xen.set_machine_pages(12);
    assert_eq!(xen.allocate_pages(ONE, 2), Ok(vec![Mfn(9), Mfn(10)]));
    xen.set_machine_pages(0);
    assert_eq!(xen.allocate_pages(ONE, 1), Err(Refused::OutOfMemory));
    for (domain, mfn, expected) in [
        (ABSENT, 9, Err(Refused::NoSuchDomain)),
        (TWO, 9, Err(Refused::NotPageOwner)),
        (ONE, 11, Err(Refused::NotPageOwner)),
        (ONE, u64::MAX, Err(Refused::NotPageOwner)),
        (ONE, 9, Ok(())),
        (ONE, 9, Err(Refused::NotPageOwner)),
    ] {
        assert_eq!(xen.release_page(domain, Mfn(mfn)), expected, "{domain} {mfn}");
    }
    xen.begin_dying(ONE).unwrap();
    assert_eq!(xen.allocate_pages(ONE, 1), Err(Refused::Dying));
    assert_eq!(xen.allocate_pages(ONE, usize::MAX), Err(Refused::Dying));
}

#[test]
fn end_foreign_access_refusals() {
    let mut xen = machine();
    let reference = granted(&mut xen, ReadWrite);
    for (domain, reference, page, expected) in [
        (ABSENT, reference, None, Refused::NoSuchDomain),
        (ONE, GrantRef(9), None, Refused::NotGranted),
        (ONE, GrantRef(512), Some(Mfn(1)), Refused::NotGranted),
        (ONE, GrantRef(u32::MAX), None, Refused::NotGranted),
        (TWO, reference, None, Refused::NotGranted),
        (ONE, reference, Some(Mfn(1)), Refused::NotPageOwner),
        (ONE, reference, Some(Mfn(9)), Refused::NotPageOwner),
    ] {
        assert_eq!(xen.end_foreign_access(domain, reference, page), Err(expected), "{domain} {reference}");
    }
    assert!(entry(&xen, reference).grant.is_some());
    assert_eq!(xen.end_foreign_access(ONE, reference, Some(Mfn(0))), Ok(EndOfAccess::Done));
    assert_eq!((xen.grant_entry(ONE, reference), xen.next_freed()), (None, Some(Mfn(0))));
    assert_eq!(xen.end_foreign_access(ONE, reference, None), Err(Refused::NotGranted));
}

#[test]
fn an_end_is_deferred_while_the_grant_is_in_use() {
    for version in [GrantVersion::V1, GrantVersion::V2] {
        let mut xen = machine();
        xen.set_grant_version(ONE, version).unwrap();
        let reference = granted(&mut xen, ReadWrite);
        let first = xen.map_grant_ref(ZERO, ONE, reference, ReadOnly).unwrap().handle;
        assert_eq!(xen.end_foreign_access(ONE, reference, Some(Mfn(0))), Ok(EndOfAccess::Deferred));
        assert_eq!(xen.end_foreign_access(ONE, reference, None), Err(Refused::NotGranted));
        assert_eq!(xen.release_page(ONE, Mfn(0)), Err(Refused::NotPageOwner), "it goes with the grant");
        assert_eq!((xen.deferred(ONE), xen.page_owner(Mfn(0))), (1, Some(ONE)));
        assert!(entry(&xen, reference).deferred);
        assert_eq!(entry(&xen, reference).grant.is_some(), version == GrantVersion::V1);
        // The entry is pinned, so that nobody asks whether it is valid.
        let second = xen.map_grant_ref(ZERO, ONE, reference, ReadWrite).unwrap().handle;
        xen.unmap_grant_ref(ZERO, first).unwrap();
        assert_eq!(xen.retry_deferred(ONE), 1);
        assert_ne!(granted(&mut xen, ReadWrite), reference);
        xen.unmap_grant_ref(ZERO, second).unwrap();
        assert_eq!(xen.next_freed(), None, "until the timer runs");
        let again = xen.map_grant_ref(ZERO, ONE, reference, ReadOnly);
        match version {
            GrantVersion::V1 => xen.unmap_grant_ref(ZERO, again.unwrap().handle).unwrap(),
            GrantVersion::V2 => assert_eq!(again, Err(GrantStatus::GeneralError)),
        }
        assert_eq!((xen.retry_deferred(ONE), xen.deferred(ONE)), (0, 0));
        assert_eq!((xen.grant_entry(ONE, reference), xen.next_freed()), (None, Some(Mfn(0))));
        assert_eq!(granted(&mut xen, ReadWrite), reference);
    }
}

#[test]
fn a_deferred_end_without_a_page_holds_the_granted_one() {
    let mut xen = machine();
    let reference = granted(&mut xen, ReadWrite);
    let handle = xen.map_grant_ref(ZERO, ONE, reference, ReadOnly).unwrap().handle;
    assert_eq!(xen.end_foreign_access(ONE, reference, None), Ok(EndOfAccess::Deferred));
    assert_eq!(xen.release_page(ONE, Mfn(0)), Ok(()));
    xen.unmap_grant_ref(ZERO, handle).unwrap();
    assert_eq!((xen.next_freed(), xen.page_owner(Mfn(0))), (None, Some(ONE)));
    assert_eq!(xen.retry_deferred(ONE), 0);
    assert_eq!((xen.next_freed(), xen.page_owner(Mfn(0))), (Some(Mfn(0)), None));
}

#[test]
fn a_deferred_end_does_not_give_a_page_back_to_its_owner() {
    let mut xen = machine();
    let reference = granted(&mut xen, ReadWrite);
    let handle = xen.map_grant_ref(ZERO, ONE, reference, ReadOnly).unwrap().handle;
    assert_eq!(xen.release_page(ONE, Mfn(0)), Ok(()));
    assert_eq!(xen.end_foreign_access(ONE, reference, None), Ok(EndOfAccess::Deferred));
    assert_eq!(xen.release_page(ONE, Mfn(0)), Err(Refused::NotPageOwner));
    xen.unmap_grant_ref(ZERO, handle).unwrap();
    assert_eq!((xen.retry_deferred(ONE), xen.next_freed()), (0, Some(Mfn(0))));
}

#[test]
fn a_deferred_end_holds_no_other_domains_page() {
    let mut xen = machine();
    xen.set_grant_version(ONE, GrantVersion::V2).unwrap();
    xen.grant_at(ONE, GrantRef(1), ZERO, Mfn(0), ReadWrite).unwrap();
    xen.map_grant_ref(ZERO, ONE, GrantRef(1), ReadOnly).unwrap();
    xen.grant_at(ONE, GrantRef(1), ZERO, Mfn(3), ReadWrite).unwrap();
    assert_eq!(xen.end_foreign_access(ONE, GrantRef(1), None), Ok(EndOfAccess::Deferred));
    xen.release_page(TWO, Mfn(3)).unwrap();
    assert_eq!(xen.next_freed(), Some(Mfn(3)));
}

#[test]
fn the_timer_tries_ten_at_a_time() {
    let mut xen = machine();
    let mut handles = vec![];
    for _ in 0..25 {
        let reference = granted(&mut xen, ReadWrite);
        handles.push(xen.map_grant_ref(ZERO, ONE, reference, ReadOnly).unwrap().handle);
        xen.end_foreign_access(ONE, reference, None).unwrap();
    }
    // The first twelve stay in use.
    for handle in &handles[12..] {
        xen.unmap_grant_ref(ZERO, *handle).unwrap();
    }
    assert_eq!([(); 4].map(|()| xen.retry_deferred(ONE)), [25, 17, 12, 12]);
    assert_eq!(xen.retry_deferred(ABSENT), 0);
}

#[test]
fn a_mapped_page_outlives_its_owners_interest_and_its_owner() {
    let mut xen = machine();
    let listener = xen.bind_virq(ZERO, Virq::DOM_EXC, VcpuId::ZERO).unwrap();
    let [first, second] = [(); 2].map(|()| granted(&mut xen, ReadWrite));
    let handle = xen.map_grant_ref(ZERO, ONE, first, ReadWrite).unwrap().handle;
    assert_eq!(xen.release_page(ONE, Mfn(0)), Ok(()));
    assert_eq!(xen.release_page(ONE, Mfn(0)), Err(Refused::NotPageOwner));
    assert_eq!((xen.next_freed(), xen.page_owner(Mfn(0)), xen.pages_in_use()), (None, Some(ONE), 4));
    let other = xen.map_grant_ref(ZERO, ONE, second, ReadWrite).unwrap().handle;
    xen.unmap_grant_ref(ZERO, handle).unwrap();

    xen.allocate_pages(ONE, 1).unwrap();
    xen.destroy(ONE).unwrap();
    assert_eq!(xen.next_freed(), Some(Mfn(4)), "what nobody else has goes at once");
    assert_eq!(xen.next_freed(), None);
    assert!(!xen.exists(ONE) && xen.is_zombie(ONE));
    assert_eq!(xen.create(ONE, DomainParams::bare()), Err(Refused::DomainExists));
    assert_eq!(xen.grant_foreign_access(ONE, ZERO, Mfn(0), ReadOnly), Err(Refused::NoSuchDomain));
    assert_eq!(xen.map_grant_ref(ONE, ONE, second, ReadOnly), Err(GrantStatus::BadDomain));
    let again = xen.map_grant_ref(ZERO, ONE, second, ReadOnly).unwrap();
    assert_eq!(again.mfn, Mfn(0));
    let read = xen.grant_read(ZERO, ONE, second, 0, &mut [0], &mut Bytes::numbered());
    assert_eq!(read, Err(GrantStatus::BadDomain), "a copy doesn't trust a dying domain's pins");
    assert_eq!(xen.grant_read(ZERO, ONE, first, 0, &mut [0], &mut Bytes::numbered()), Ok(()));

    assert!(xen.next_upcall().is_some() && xen.next_upcall().is_none());
    assert_eq!(xen.take(ZERO, listener, AfterTake::AsBefore), Ok(true));
    xen.unmap_grant_ref(ZERO, other).unwrap();
    assert!(xen.is_zombie(ONE) && xen.next_upcall().is_none());
    xen.unmap_grant_ref(ZERO, again.handle).unwrap();
    assert!(!xen.is_zombie(ONE) && xen.next_upcall().is_some(), "Xen says once more that a domain is gone");
    assert_eq!((xen.next_freed(), xen.grants(ONE).count()), (Some(Mfn(0)), 0));
    assert_eq!(xen.map_grant_ref(ZERO, ONE, second, ReadOnly), Err(GrantStatus::BadDomain));
    assert_eq!(xen.create(ONE, DomainParams::bare()), Ok(()));
}

#[test]
fn a_destroyed_domain_unmaps_what_it_had() {
    let mut xen = machine();
    let reference = xen.grant_foreign_access(ONE, TWO, Mfn(0), ReadWrite).unwrap();
    let own = xen.grant_foreign_access(TWO, TWO, Mfn(3), ReadWrite).unwrap();
    xen.map_grant_ref(TWO, ONE, reference, ReadWrite).unwrap();
    xen.map_grant_ref(TWO, ONE, reference, ReadOnly).unwrap();
    xen.map_grant_ref(TWO, TWO, own, ReadOnly).unwrap();
    assert_eq!(xen.maptrack_in_use(TWO), 3);
    xen.destroy(TWO).unwrap();
    assert_eq!((uses(&xen, reference), xen.maptrack_in_use(TWO)), ((false, false, 0, 0), 0));
    assert!(!xen.is_zombie(TWO), "its mappings of its own pages are gone as well");
    assert_eq!(xen.next_freed(), Some(Mfn(3)));
}
