//! Copies from and to grants: what is refused, in the order of checks, and which bytes go where.

mod machine;

use GrantAccess::{ReadOnly, ReadWrite};
use ioctlab_xen::{CopyEnd, DomainId, GrantAccess, GrantRef, GrantStatus, GrantVersion, Hypervisor, Mfn};
use machine::{ABSENT, Bytes, ONE, TWO, ZERO, granted, machine};

fn from_grant(domain: DomainId, reference: u32, offset: u16) -> CopyEnd {
    CopyEnd::Grant { domain, reference: GrantRef(reference), offset }
}

fn own_page(mfn: u64, offset: u16) -> CopyEnd {
    CopyEnd::Page { domain: DomainId::SELF, mfn: Mfn(mfn), offset }
}

/// Domain 1 has switched, and grants domain 0 its page (8), read-only (9), bytes 100 to 199 of it (10), one that isn't its
/// own (11), and domain 2's grant 8, of page 3, once as it is (12) and once read-only (13).
fn copying() -> Hypervisor {
    let mut xen = machine();
    xen.set_grant_version(ONE, GrantVersion::V2).unwrap();
    granted(&mut xen, ReadWrite);
    granted(&mut xen, ReadOnly);
    xen.grant_sub_page(ONE, ZERO, Mfn(0), ReadWrite, 100, 100).unwrap();
    xen.grant_foreign_access(ONE, ZERO, Mfn(1), ReadWrite).unwrap();
    xen.grant_transitive(ONE, ZERO, ReadWrite, TWO, GrantRef(8)).unwrap();
    xen.grant_transitive(ONE, ZERO, ReadOnly, TWO, GrantRef(8)).unwrap();
    xen.grant_foreign_access(TWO, ONE, Mfn(3), ReadWrite).unwrap();
    xen
}

#[test]
fn copies() {
    let good = own_page(1, 0);
    for (name, caller, source, dest, length, expected) in [
        ("caller", ABSENT, good, good, 1, Err(GrantStatus::BadDomain)),
        ("page to page", ZERO, own_page(1, 7), own_page(2, 9), 3, Ok((2, 9, 1))),
        ("nothing", ZERO, own_page(1, 4095), own_page(2, 4096), 0, Ok((2, 0, 2))),
        ("whole page", ZERO, own_page(1, 0), own_page(2, 0), 4096, Ok((2, 4095, 1))),
        ("from a grant", ZERO, from_grant(ONE, 8, 5), own_page(2, 9), 3, Ok((2, 9, 0))),
        ("from a read-only grant", ZERO, from_grant(ONE, 9, 5), own_page(2, 9), 3, Ok((2, 9, 0))),
        ("to a grant", ZERO, own_page(1, 5), from_grant(ONE, 8, 9), 3, Ok((0, 9, 1))),
        ("grant to itself", ZERO, from_grant(ONE, 8, 5), from_grant(ONE, 8, 9), 3, Ok((0, 9, 0))),
        ("transitive", ZERO, from_grant(ONE, 13, 5), own_page(2, 9), 3, Ok((2, 9, 3))),
        ("to a transitive", ZERO, own_page(1, 5), from_grant(ONE, 12, 9), 3, Ok((3, 9, 1))),
        ("transitive to itself", ZERO, from_grant(ONE, 12, 5), from_grant(ONE, 12, 9), 3, Ok((3, 9, 3))),
        ("part", ZERO, from_grant(ONE, 10, 100), own_page(2, 9), 100, Ok((2, 108, 0))),
        ("to a part", ZERO, own_page(1, 5), from_grant(ONE, 10, 199), 1, Ok((0, 199, 1))),
        // Only SELF's own pages.
        (
            "by number",
            ZERO,
            CopyEnd::Page { domain: ZERO, mfn: Mfn(1), offset: 0 },
            from_grant(ABSENT, 8, 0),
            1,
            Err(GrantStatus::PermissionDenied),
        ),
        (
            "domain of the source first",
            ZERO,
            from_grant(ABSENT, 8, 0),
            CopyEnd::Page { domain: ZERO, mfn: Mfn(1), offset: 0 },
            1,
            Err(GrantStatus::BadDomain),
        ),
        (
            "domains before pages",
            ZERO,
            own_page(77, 0),
            from_grant(ABSENT, 8, 0),
            1,
            Err(GrantStatus::BadDomain),
        ),
        ("another's page", ZERO, own_page(0, 0), good, 1, Err(GrantStatus::BadPage)),
        ("to another's page", ZERO, good, own_page(3, 0), 1, Err(GrantStatus::BadPage)),
        ("nobody's page", ZERO, good, own_page(77, 0), 1, Err(GrantStatus::BadPage)),
        ("past the table", ZERO, from_grant(ONE, 256, 0), own_page(77, 0), 1, Err(GrantStatus::BadGrantRef)),
        ("source before dest", ZERO, own_page(77, 0), from_grant(ONE, 256, 0), 1, Err(GrantStatus::BadPage)),
        ("unused", ZERO, from_grant(ONE, 200, 0), good, 1, Err(GrantStatus::GeneralError)),
        (
            "own table by SELF",
            ZERO,
            from_grant(DomainId::SELF, 8, 0),
            good,
            1,
            Err(GrantStatus::GeneralError),
        ),
        (
            "own table by SELF, past it",
            ZERO,
            good,
            from_grant(DomainId::SELF, 512, 0),
            1,
            Err(GrantStatus::BadGrantRef),
        ),
        ("another's", TWO, from_grant(ONE, 8, 0), own_page(3, 0), 1, Err(GrantStatus::GeneralError)),
        ("to read-only", ZERO, good, from_grant(ONE, 9, 0), 1, Err(GrantStatus::GeneralError)),
        ("to a transitive read-only", ZERO, good, from_grant(ONE, 13, 0), 1, Err(GrantStatus::GeneralError)),
        ("not the granter's", ZERO, from_grant(ONE, 11, 0), good, 1, Err(GrantStatus::BadPage)),
        ("claims before bounds", ZERO, own_page(1, 4096), own_page(77, 0), 1, Err(GrantStatus::BadPage)),
        ("across a page", ZERO, own_page(1, 4096), good, 1, Err(GrantStatus::BadCopyArg)),
        ("across a page", ZERO, good, own_page(2, 1), 4096, Err(GrantStatus::BadCopyArg)),
        ("across a page", ZERO, own_page(1, u16::MAX), good, u16::MAX, Err(GrantStatus::BadCopyArg)),
        (
            "page before part",
            ZERO,
            from_grant(ONE, 10, 0),
            own_page(2, 4096),
            1,
            Err(GrantStatus::BadCopyArg),
        ),
        ("before the part", ZERO, from_grant(ONE, 10, 99), good, 1, Err(GrantStatus::GeneralError)),
        ("after the part", ZERO, from_grant(ONE, 10, 100), good, 101, Err(GrantStatus::GeneralError)),
        ("before the part", ZERO, good, from_grant(ONE, 10, 99), 2, Err(GrantStatus::GeneralError)),
        ("after the part", ZERO, good, from_grant(ONE, 10, 200), 1, Err(GrantStatus::GeneralError)),
        ("nothing after the part", ZERO, good, from_grant(ONE, 10, 200), 0, Ok((0, 200, 0))),
    ] {
        let mut xen = copying();
        let before: Vec<_> = xen.grants(ONE).chain(xen.grants(TWO)).collect();
        let mut memory = Bytes::numbered();
        let result = xen.grant_copy(caller, source, dest, length, &mut memory);
        assert_eq!(result, expected.map(|_| ()), "{name}");
        match expected {
            Ok((page, offset, byte)) => assert_eq!(memory.0[page][offset], byte, "{name}"),
            Err(_) => assert!(memory.0 == Bytes::numbered().0, "{name}"),
        }
        assert_eq!(
            xen.grants(ONE).chain(xen.grants(TWO)).collect::<Vec<_>>(),
            before,
            "{name}: all is released"
        );
    }
}

#[test]
fn grants_for_copies_cannot_be_mapped() {
    let mut xen = copying();
    for reference in [10, 12, 13] {
        let mapped = xen.map_grant_ref(ZERO, ONE, GrantRef(reference), ReadOnly);
        assert_eq!(mapped, Err(GrantStatus::GeneralError), "{reference}");
    }
    assert!(xen.map_grant_ref(ZERO, ONE, GrantRef(9), ReadOnly).is_ok());
}

#[test]
fn transitive_grants_lead_one_step_and_elsewhere() {
    let mut xen = copying();
    xen.set_grant_version(ZERO, GrantVersion::V2).unwrap();
    let chain = xen.grant_transitive(ZERO, TWO, ReadOnly, ONE, GrantRef(12)).unwrap();
    let own = xen.grant_foreign_access(ONE, ONE, Mfn(0), ReadOnly).unwrap();
    let own = xen.grant_transitive(ONE, ZERO, ReadOnly, ONE, own).unwrap();
    let nowhere = xen.grant_transitive(ONE, ZERO, ReadOnly, ABSENT, GrantRef(8)).unwrap();
    let past = xen.grant_transitive(ONE, ZERO, ReadOnly, TWO, GrantRef(512)).unwrap();
    let back = xen.grant_foreign_access(ZERO, ONE, Mfn(1), ReadOnly).unwrap();
    let back = xen.grant_transitive(ONE, ZERO, ReadWrite, ZERO, back).unwrap();
    for (caller, granter, reference, expected) in [
        (TWO, ZERO, chain, Err(GrantStatus::GeneralError)),
        (ZERO, ONE, own, Err(GrantStatus::GeneralError)),
        (ZERO, ONE, nowhere, Err(GrantStatus::GeneralError)),
        (ZERO, ONE, past, Err(GrantStatus::BadGrantRef)),
        (ZERO, ONE, back, Ok(())),
    ] {
        let mut byte = [0xff];
        let result = xen.grant_read(caller, granter, reference, 0, &mut byte, &mut Bytes::numbered());
        assert_eq!((result, byte), (expected, [if expected.is_ok() { 1 } else { 0xff }]), "{reference}");
    }
    let written = xen.grant_write(ZERO, ONE, back, 0, &[5], &mut Bytes::numbered());
    assert_eq!(written, Err(GrantStatus::GeneralError), "what it leads to is read-only");
    xen.destroy(TWO).unwrap();
    let gone = xen.grant_read(ZERO, ONE, GrantRef(12), 0, &mut [0], &mut Bytes::numbered());
    assert_eq!(gone, Err(GrantStatus::GeneralError));
}

#[test]
fn copies_of_the_callers_own_bytes() {
    for (caller, granter, reference, offset, length, read, write) in [
        (ABSENT, ONE, 8, 0, 1, Err(GrantStatus::BadDomain), Err(GrantStatus::BadDomain)),
        (ZERO, ABSENT, 8, 0, 1, Err(GrantStatus::BadDomain), Err(GrantStatus::BadDomain)),
        (ZERO, ONE, 256, 1, 4096, Err(GrantStatus::BadGrantRef), Err(GrantStatus::BadGrantRef)),
        (ZERO, ONE, 9, 1, 4095, Ok(()), Err(GrantStatus::GeneralError)),
        (ZERO, ONE, 8, 1, 4096, Err(GrantStatus::BadCopyArg), Err(GrantStatus::BadCopyArg)),
        (ZERO, ONE, 8, 0, 4096, Ok(()), Ok(())),
        (ZERO, ONE, 10, 99, 2, Err(GrantStatus::GeneralError), Err(GrantStatus::GeneralError)),
        (ZERO, ONE, 10, 100, 100, Ok(()), Ok(())),
    ] {
        let mut xen = copying();
        let before: Vec<_> = xen.grants(ONE).collect();
        let mut memory = Bytes::numbered();
        let mut bytes = vec![9; length];
        let from = GrantRef(reference);
        let written = xen.grant_write(caller, granter, from, offset, &bytes, &mut memory);
        assert_eq!(written, write, "{granter} {reference} {offset}+{length}");
        let expected = if write.is_ok() { 9 } else { 0 };
        assert_eq!(memory.0[0].iter().filter(|byte| **byte == 9).count() == length, write.is_ok());
        assert_eq!(xen.grant_read(caller, granter, from, offset, &mut bytes, &mut memory), read);
        assert!(read.is_err() || bytes == vec![expected; length]);
        assert_eq!(xen.grants(ONE).collect::<Vec<_>>(), before);
    }
}

#[test]
fn the_first_use_that_writes_looks_at_the_entry_again() {
    // What is mapped read-only is looked up again for a copy that writes: the page must be the granter's, dying or not.
    let mut xen = machine();
    let reference = granted(&mut xen, ReadWrite);
    xen.map_grant_ref(ZERO, ONE, reference, ReadOnly).unwrap();
    xen.grant_at(ONE, GrantRef(1), ZERO, Mfn(0), ReadWrite).unwrap();
    xen.map_grant_ref(ZERO, ONE, GrantRef(1), ReadOnly).unwrap();
    xen.grant_at(ONE, GrantRef(1), ZERO, Mfn(1), ReadWrite).unwrap();
    let memory = &mut Bytes::numbered();
    assert_eq!(xen.grant_write(ZERO, ONE, GrantRef(1), 0, &[9], memory), Err(GrantStatus::BadPage));
    assert_eq!(xen.grant_read(ZERO, ONE, GrantRef(1), 0, &mut [9], memory), Ok(()));
    xen.begin_dying(ONE).unwrap();
    assert_eq!(xen.grant_read(ZERO, ONE, reference, 0, &mut [9], memory), Err(GrantStatus::BadDomain));
    assert_eq!(xen.grant_write(ZERO, ONE, reference, 0, &[9], memory), Ok(()));
    assert_eq!(memory.0[0][..2], [9, 0]);
    xen.destroy(ONE).unwrap();
    assert_eq!(xen.grant_write(ZERO, ONE, reference, 1, &[9], memory), Ok(()));
}
