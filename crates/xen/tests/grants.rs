//! Granting and mapping: each call's refusals and statuses, in the order of checks.

mod machine;

use GrantAccess::{ReadOnly, ReadWrite};
use ioctlab_xen::{
    DomainId, DomainParams, EndOfAccess, Grant, GrantAccess, GrantHandle, GrantRef, GrantReport, GrantStatus,
    GrantTableSize, GrantTarget, GrantVersion, Hypervisor, MappedGrant, Mfn, Refused,
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
fn create_wants_a_grant_table_and_the_kernels_ports() {
    let mut xen = machine();
    let none = DomainParams { max_grant_frames: 0, ..DomainParams::bare() };
    assert_eq!(xen.create(ABSENT, DomainParams { vcpus: 0, ..none.clone() }), Err(Refused::BadVcpuCount));
    assert_eq!(xen.create(ONE, none.clone()), Err(Refused::DomainExists));
    assert_eq!(xen.create(ABSENT, none), Err(Refused::BadGrantFrames));
    assert!(!xen.exists(ABSENT) && !xen.is_zombie(ABSENT));
}

#[test]
fn references_are_linuxs() {
    let mut xen = machine();
    xen.create(DomainId(3), DomainParams { max_grant_frames: 2, ..DomainParams::bare() }).unwrap();
    let grant = |xen: &mut Hypervisor| {
        xen.grant_foreign_access(DomainId(3), ZERO, Mfn(0), ReadOnly).map(|reference| reference.0)
    };
    for expected in 8..512 {
        assert_eq!(grant(&mut xen), Ok(expected));
    }
    let size = |frames| Ok(GrantTableSize { frames, max_frames: 2 });
    assert_eq!(xen.query_grant_size(ZERO, DomainId(3)), size(1));
    assert_eq!(grant(&mut xen), Ok(512));
    assert_eq!(xen.query_grant_size(DomainId(3), DomainId::SELF), size(2));
    for reference in [20, 512, 8] {
        let ended = xen.end_foreign_access(DomainId(3), GrantRef(reference), None);
        assert_eq!(ended, Ok(EndOfAccess::Done));
    }
    for expected in [8, 512, 20].into_iter().chain(513..1024) {
        assert_eq!(grant(&mut xen), Ok(expected));
    }
    assert_eq!(grant(&mut xen), Err(Refused::NoFreeGrant));
    assert_eq!(xen.grants(DomainId(3)).count(), 1016);
    assert_eq!(xen.grant_foreign_access(ABSENT, ZERO, Mfn(0), ReadOnly), Err(Refused::NoSuchDomain));
}

#[test]
fn query_size() {
    let xen = machine();
    let size = Ok(GrantTableSize { frames: 1, max_frames: 64 });
    for (caller, domain, expected) in [
        (ABSENT, ZERO, Err(GrantStatus::BadDomain)),
        (ONE, ABSENT, Err(GrantStatus::BadDomain)),
        (ONE, DomainId(0x7ff1), Err(GrantStatus::BadDomain)),
        (ONE, TWO, Err(GrantStatus::PermissionDenied)),
        (ONE, ONE, size),
        (ONE, DomainId::SELF, size),
        (ZERO, ONE, size),
    ] {
        assert_eq!(xen.query_grant_size(caller, domain), expected, "{caller} {domain}");
    }
}

#[test]
fn reserved_entries() {
    let mut xen = machine();
    for (domain, reference, expected) in [
        (ABSENT, 9, Err(Refused::NoSuchDomain)),
        (ONE, 8, Err(Refused::NotReservedGrant)),
        (ONE, 0, Ok(())),
        (ONE, 7, Ok(())),
    ] {
        assert_eq!(xen.grant_at(domain, GrantRef(reference), ZERO, Mfn(0), ReadWrite), expected);
    }
    assert!(xen.map_grant_ref(ZERO, ONE, GrantRef(7), ReadWrite).is_ok());
    assert_eq!(xen.end_foreign_access(ONE, GrantRef(0), None), Ok(EndOfAccess::Done));
    assert_eq!(xen.end_foreign_access(ONE, GrantRef(0), None), Err(Refused::NotGranted));
    assert_eq!(
        granted(&mut xen, ReadOnly),
        GrantRef(8),
        "a reserved one isn't handed out, though it was ended"
    );

    // Overwritten while in use: the bits that show it are gone in version 1, where they are in the entry; the mapping isn't.
    assert_eq!(uses(&xen, GrantRef(7)), (true, true, 0, 1));
    xen.grant_at(ONE, GrantRef(7), TWO, Mfn(0), ReadOnly).unwrap();
    assert_eq!(uses(&xen, GrantRef(7)), (false, false, 0, 1));
    assert_eq!(xen.map_grant_ref(TWO, ONE, GrantRef(7), ReadOnly), Err(GrantStatus::GeneralError));
    assert!(xen.map_grant_ref(ZERO, ONE, GrantRef(7), ReadWrite).is_ok(), "nobody looks at the entry");
}

/// Who maps, whose, which (`None`: past the table), how; and what comes of it.
#[test]
fn map_grant_ref() {
    for (caller, granter, reference, access, expected) in [
        (ABSENT, ONE, 8, ReadWrite, GrantStatus::BadDomain),
        (ZERO, ABSENT, 8, ReadWrite, GrantStatus::BadDomain),
        (ZERO, DomainId::SELF, 8, ReadWrite, GrantStatus::BadDomain),
        (ONE, DomainId::SELF, 512, ReadWrite, GrantStatus::BadDomain),
        (ZERO, ONE, 512, ReadWrite, GrantStatus::BadGrantRef),
        (ZERO, ONE, 0x3f_ffff, ReadOnly, GrantStatus::BadGrantRef),
        (ZERO, ONE, u32::MAX, ReadOnly, GrantStatus::BadGrantRef),
        (ZERO, ONE, 511, ReadOnly, GrantStatus::GeneralError),
        (ZERO, ONE, 0, ReadOnly, GrantStatus::GeneralError),
        // Granted to domain 0.
        (TWO, ONE, 8, ReadWrite, GrantStatus::GeneralError),
        (ONE, ONE, 8, ReadWrite, GrantStatus::GeneralError),
        // Read-only.
        (ZERO, ONE, 9, ReadWrite, GrantStatus::GeneralError),
        // Domain 0's page, granted by domain 1; read-only, too; nobody's page.
        (ZERO, ONE, 10, ReadOnly, GrantStatus::BadPage),
        (ZERO, ONE, 10, ReadWrite, GrantStatus::GeneralError),
        (ZERO, ONE, 11, ReadWrite, GrantStatus::BadPage),
        // Granted to DOMID_SELF.
        (ONE, ONE, 12, ReadWrite, GrantStatus::GeneralError),
        (ZERO, ONE, 12, ReadWrite, GrantStatus::GeneralError),
    ] {
        let mut xen = machine();
        granted(&mut xen, ReadWrite);
        granted(&mut xen, ReadOnly);
        xen.grant_foreign_access(ONE, ZERO, Mfn(1), ReadOnly).unwrap();
        xen.grant_foreign_access(ONE, ZERO, Mfn(77), ReadWrite).unwrap();
        xen.grant_foreign_access(ONE, DomainId::SELF, Mfn(0), ReadWrite).unwrap();
        let before: Vec<_> = xen.grants(ONE).collect();
        let mapped = xen.map_grant_ref(caller, granter, GrantRef(reference), access);
        assert_eq!(mapped, Err(expected), "{caller} {granter} {reference} {access:?}");
        assert_eq!(xen.grants(ONE).collect::<Vec<_>>(), before);
        assert_eq!(xen.maptrack_in_use(ZERO), 0);
    }
    let mut xen = machine();
    let own = xen.grant_foreign_access(ONE, ONE, Mfn(0), ReadWrite).unwrap();
    let mapped = Ok(MappedGrant { handle: GrantHandle(0), mfn: Mfn(0) });
    assert_eq!(xen.map_grant_ref(ONE, ONE, own, ReadWrite), mapped, "one's own, by number");
}

#[test]
fn frame_numbers_have_32_bits_in_version_1() {
    let mut xen = machine();
    let reference = xen.grant_foreign_access(ONE, ZERO, Mfn(1 << 32), ReadWrite).unwrap();
    assert_eq!(entry(&xen, reference).grant.unwrap().target, GrantTarget::Page(Mfn(0)));
    xen.set_grant_version(ONE, GrantVersion::V2).unwrap();
    let reference = xen.grant_foreign_access(ONE, ZERO, Mfn(1 << 32), ReadWrite).unwrap();
    assert_eq!(entry(&xen, reference).grant.unwrap().target, GrantTarget::Page(Mfn(1 << 32)));
}

#[test]
fn handles_run_out_before_anything_of_the_granter_is_looked_at() {
    let mut xen = machine();
    for (frames, room) in [(0, 0), (1, 255), (2, 511)] {
        let id = DomainId(10 + frames);
        let params = DomainParams { max_maptrack_frames: frames.into(), ..DomainParams::bare() };
        xen.create(id, params).unwrap();
        let references = [(); 5].map(|()| xen.grant_foreign_access(ONE, id, Mfn(0), ReadOnly).unwrap());
        let mut handles = vec![];
        for number in 0..room {
            let mapped = xen.map_grant_ref(id, ONE, references[number / 128], ReadOnly).unwrap();
            handles.push(mapped.handle);
        }
        let full = Err(GrantStatus::NoDeviceSpace);
        assert_eq!(xen.map_grant_ref(id, ONE, references[4], ReadOnly), full);
        assert_eq!(xen.map_grant_ref(id, ONE, GrantRef(u32::MAX), ReadOnly), full);
        assert_eq!(xen.map_grant_ref(id, ABSENT, references[4], ReadOnly), Err(GrantStatus::BadDomain));
        assert_eq!(xen.maptrack_in_use(id), room);
        if let Some(handle) = handles.pop() {
            xen.unmap_grant_ref(id, handle).unwrap();
            assert!(xen.map_grant_ref(id, ONE, references[4], ReadOnly).is_ok());
            assert_eq!(xen.map_grant_ref(id, ONE, references[4], ReadOnly), full);
        }
    }
}

#[test]
fn each_kind_of_pin_counts_to_128() {
    let mut xen = machine();
    let reference = granted(&mut xen, ReadWrite);
    for access in [ReadOnly, ReadWrite] {
        for _ in 0..128 {
            assert!(xen.map_grant_ref(ZERO, ONE, reference, access).is_ok());
        }
        assert_eq!(xen.map_grant_ref(ZERO, ONE, reference, access), Err(GrantStatus::GeneralError));
    }
    assert_eq!(uses(&xen, reference), (true, true, 128, 128));
    let mut byte = [0];
    for access in [ReadOnly, ReadWrite] {
        let memory = &mut Bytes::numbered();
        let copied = match access {
            ReadOnly => xen.grant_read(ZERO, ONE, reference, 0, &mut byte, memory),
            ReadWrite => xen.grant_write(ZERO, ONE, reference, 0, &byte, memory),
        };
        assert_eq!(copied, Err(GrantStatus::GeneralError), "copies pin, too");
    }
    xen.unmap_grant_ref(ZERO, GrantHandle(0)).unwrap();
    assert_eq!(xen.grant_read(ZERO, ONE, reference, 0, &mut byte, &mut Bytes::numbered()), Ok(()));
}

#[test]
fn flags_show_the_first_and_the_last_pin_of_each_kind() {
    let mut xen = machine();
    let reference = granted(&mut xen, ReadWrite);
    let map = |xen: &mut Hypervisor, access| xen.map_grant_ref(ZERO, ONE, reference, access).unwrap().handle;
    let writes = map(&mut xen, ReadWrite);
    assert_eq!(uses(&xen, reference), (true, true, 0, 1), "a writer reads as well");
    let reads = [map(&mut xen, ReadOnly), map(&mut xen, ReadOnly)];
    assert_eq!(uses(&xen, reference), (true, true, 2, 1));
    assert_eq!(entry(&xen, reference).mapped_by, Some(ZERO));
    assert_eq!(xen.unmap_grant_ref(ZERO, writes), Ok(()));
    assert_eq!(uses(&xen, reference), (true, false, 2, 0));
    let writes = map(&mut xen, ReadWrite);
    assert_eq!(uses(&xen, reference), (true, true, 2, 1));
    for handle in reads {
        assert_eq!(xen.unmap_grant_ref(ZERO, handle), Ok(()));
    }
    assert_eq!(uses(&xen, reference), (true, true, 0, 1));
    assert_eq!(xen.unmap_grant_ref(ZERO, writes), Ok(()));
    assert_eq!(uses(&xen, reference), (false, false, 0, 0));
    for (caller, handle, expected) in [
        (ABSENT, writes, GrantStatus::BadDomain),
        (ZERO, writes, GrantStatus::BadHandle),
        (ONE, GrantHandle(0), GrantStatus::BadHandle),
        (ZERO, GrantHandle(u32::MAX), GrantStatus::BadHandle),
    ] {
        assert_eq!(xen.unmap_grant_ref(caller, handle), Err(expected));
    }
}

#[test]
fn switching_versions() {
    let mut xen = machine();
    assert_eq!(xen.set_grant_version(ABSENT, GrantVersion::V2), Err(Refused::NoSuchDomain));
    assert_eq!(xen.grant_version(ABSENT), Err(Refused::NoSuchDomain));
    xen.grant_at(ONE, GrantRef(1), ZERO, Mfn(0), ReadWrite).unwrap();
    xen.map_grant_ref(ZERO, ONE, GrantRef(1), ReadWrite).unwrap();
    for _ in 8..300 {
        granted(&mut xen, ReadOnly);
    }
    let handle = xen.map_grant_ref(ZERO, ONE, GrantRef(100), ReadOnly).unwrap().handle;
    xen.end_foreign_access(ONE, GrantRef(100), Some(Mfn(0))).unwrap();
    assert_eq!(xen.set_grant_version(ONE, GrantVersion::V1), Ok(()), "it has that already");
    assert_eq!(xen.set_grant_version(ONE, GrantVersion::V2), Err(Refused::GrantsInUse));
    xen.unmap_grant_ref(ZERO, handle).unwrap();
    assert_eq!(xen.set_grant_version(ONE, GrantVersion::V2), Ok(()));
    assert_eq!((xen.grant_version(ONE), xen.deferred(ONE)), (Ok(GrantVersion::V2), 0));
    assert_eq!(xen.page_owner(Mfn(0)), Some(ONE), "the console's page is mapped still");
    assert_eq!(xen.grants(ONE).map(|(reference, _)| reference.0).collect::<Vec<_>>(), [1]);
    assert_eq!(uses(&xen, GrantRef(1)), (true, true, 0, 1));
    // 256 entries in a frame now.
    assert_eq!(xen.map_grant_ref(ZERO, ONE, GrantRef(255), ReadOnly), Err(GrantStatus::GeneralError));
    assert_eq!(xen.map_grant_ref(ZERO, ONE, GrantRef(256), ReadOnly), Err(GrantStatus::BadGrantRef));
    assert_eq!(granted(&mut xen, ReadOnly), GrantRef(8));
    // Overwriting leaves the bits alone: they are elsewhere.
    xen.grant_at(ONE, GrantRef(1), TWO, Mfn(0), ReadOnly).unwrap();
    assert_eq!(uses(&xen, GrantRef(1)), (true, true, 0, 1));
    assert_eq!(xen.grant_sub_page(ZERO, ONE, Mfn(1), ReadOnly, 0, 1), Err(Refused::NotGrantV2));
    assert_eq!(xen.grant_transitive(ZERO, ONE, ReadOnly, TWO, GrantRef(8)), Err(Refused::NotGrantV2));
    assert_eq!(xen.grant_sub_page(ABSENT, ONE, Mfn(1), ReadOnly, 0, 1), Err(Refused::NoSuchDomain));
}

#[test]
fn reports() {
    let mut xen = machine();
    let reference = granted(&mut xen, ReadOnly);
    let expected = GrantReport {
        grant: Some(Grant { remote: ZERO, access: ReadOnly, target: GrantTarget::Page(Mfn(0)) }),
        reading: false,
        writing: false,
        mapped_by: None,
        read_pins: 0,
        write_pins: 0,
        deferred: false,
    };
    assert_eq!(xen.grants(ONE).collect::<Vec<_>>(), [(reference, expected)]);
    for (domain, reference) in [(ONE, 9), (ONE, 512), (ABSENT, 8), (ZERO, 8)] {
        assert_eq!(xen.grant_entry(domain, GrantRef(reference)), None);
    }
}
