//! Limits: how many mappings, and how much locked memory.

use ioctlab_chardev::{Capability, Errno, SpaceId};
use ioctlab_type1::{Parameters, Warning};
use ioctlab_vfio::Iommu;

use crate::harness::{BOTH, BUFFER, BUFFER_BYTES, GROUP, Lab, PAGE, READ, SPACE, open, program};

#[test]
fn so_many_mappings() {
    let mut lab = Lab::new(1, Parameters { dma_entry_limit: 3, ..Parameters::default() });
    for page in 0..3 {
        assert_eq!(lab.map(BOTH, BUFFER, page * PAGE, PAGE), Ok(()));
    }
    assert_eq!(lab.map(BOTH, BUFFER, 3 * PAGE, PAGE), Err(Errno::ENOSPC));
    assert_eq!(lab.capabilities().0, 0);
    assert_eq!(lab.unmap(0, PAGE, PAGE), (Ok(()), PAGE));
    assert_eq!(lab.capabilities().0, 1);
    assert_eq!(lab.map(BOTH, BUFFER, 3 * PAGE, PAGE), Ok(()));
    assert_eq!(lab.unmap(2, 0, 0), (Ok(()), 3 * PAGE));
    assert_eq!(lab.capabilities().0, 3);
    let mut lab = Lab::new(3, Parameters { dma_entry_limit: 0, ..Parameters::default() });
    assert_eq!(lab.map(BOTH, BUFFER, 0, PAGE), Err(Errno::ENOSPC));
}

#[test]
fn the_default_is_linuxs() {
    let expected =
        Parameters { allow_unsafe_interrupts: false, disable_hugepages: false, dma_entry_limit: 65535 };
    assert_eq!(Parameters::default(), expected);
}

/// Limit in bytes, pages locked by the program itself, pages mapped before, pages to map, and whether that can be.
#[test]
fn locked_memory() {
    let rows = [
        (Some(4 * PAGE), 0, 0, 4, true),
        (Some(4 * PAGE), 0, 0, 5, false),
        (Some(5 * PAGE - 1), 0, 0, 4, true),
        (Some(5 * PAGE - 1), 0, 0, 5, false),
        (Some(4 * PAGE), 0, 3, 1, true),
        (Some(4 * PAGE), 0, 3, 2, false),
        (Some(4 * PAGE), 3, 0, 1, true),
        (Some(4 * PAGE), 3, 0, 2, false),
        (Some(4 * PAGE), 2, 1, 1, true),
        (Some(4 * PAGE), 2, 1, 2, false),
        (Some(4 * PAGE), 9, 0, 1, false),
        (Some(0), 0, 0, 1, false),
        (None, u64::MAX, 3, 100, true),
        (Some(u64::MAX), 0, 3, 100, true),
    ];
    for (limit, own, before, pages, fits) in rows {
        for (version, mut lab) in Lab::both() {
            if before > 0 {
                assert_eq!(lab.map(BOTH, BUFFER, 0x10_0000, before * PAGE), Ok(()));
            }
            lab.program.locked_memory_limit = limit;
            lab.program.locked_pages = own;
            let result = lab.map(BOTH, BUFFER, 0x20_0000, pages * PAGE);
            let what = format!("{version} {limit:?} {own} {before} {pages}");
            assert_eq!(result, if fits { Ok(()) } else { Err(Errno::ENOMEM) }, "{what}");
            let warned = limit.filter(|_| !fits).map(|limit| Warning::LimitExceeded(limit & !0xfff));
            assert_eq!(lab.machine.warnings.first().copied(), warned, "{what}");
            assert_eq!(lab.locked(), before + if fits { pages } else { 0 });
            lab.program.set_capability(Capability::IpcLock, true);
            assert_eq!(lab.map(BOTH, BUFFER, 0x30_0000, pages * PAGE), Ok(()), "{what}");
        }
    }
}

/// Linux pins page after page, so what is wrong first is told.
#[test]
fn the_first_bad_page_or_the_first_too_many() {
    let end = BUFFER + BUFFER_BYTES;
    // Pages that are there, pages that may be locked.
    let rows = [
        (2, 4, Errno::EFAULT),
        (3, 3, Errno::EFAULT),
        (4, 3, Errno::ENOMEM),
        (4, 0, Errno::ENOMEM),
        (0, 0, Errno::EFAULT),
    ];
    for (there, limit, errno) in rows {
        let mut lab = Lab::v2();
        lab.program.locked_memory_limit = Some(limit * PAGE);
        assert_eq!(lab.map(BOTH, end - there * PAGE, 0, 8 * PAGE), Err(errno), "{there} {limit}");
        assert_eq!(lab.locked(), 0);
    }
}

#[test]
fn containers_share_accounts() {
    let mut lab = Lab::v2();
    lab.program.locked_memory_limit = Some(4 * PAGE);
    assert_eq!(lab.map(BOTH, BUFFER, 0, 3 * PAGE), Ok(()));
    // A second container, with another group on the same machine.
    let second = open(1, Parameters::default()).expect("the first version");
    let first = std::mem::replace(&mut lab.iommu, second);
    assert_eq!(lab.attach(2, crate::fake::Group::default()), Ok(()));
    assert_eq!(lab.map(READ, BUFFER, 0, 2 * PAGE), Err(Errno::ENOMEM));
    assert_eq!(lab.map(READ, BUFFER, 0, PAGE), Ok(()));
    assert_eq!(lab.locked(), 4);
    Iommu::release(first, &mut lab.machine);
    assert_eq!(lab.locked(), 1);
    assert_eq!(lab.map(READ, BUFFER, 0x10_0000, 3 * PAGE), Ok(()));
    // Another program has an account of its own.
    lab.program = program(SpaceId(2));
    lab.program.locked_memory_limit = Some(PAGE);
    assert_eq!(lab.map(READ, BUFFER, 0x20_0000, PAGE), Ok(()));
    assert_eq!((lab.locked(), lab.machine.locked.pages(SpaceId(2))), (4, 1));
    // Whoever unmaps, it is given back to who mapped.
    assert_eq!(lab.unmap(2, 0, 0), (Ok(()), 5 * PAGE));
    assert_eq!((lab.locked(), lab.machine.locked.pages(SpaceId(2))), (0, 0));
    assert_eq!(lab.machine.translate(GROUP, 0), None);
    assert_eq!(SPACE, SpaceId(1));
}
