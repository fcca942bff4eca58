//! Each ioctl: what is valid, each field that isn't, and faults at each place.

use ioctlab_abi::gntdev::{
    GET_OFFSET_FOR_VADDR, GRANT_COPY, MAP_GRANT_REF, SET_MAX_GRANTS, SET_UNMAP_NOTIFY, UNMAP_GRANT_REF,
};
use ioctlab_chardev::{Errno, FileId, Request};

use crate::fake::{ARGUMENT, Bench, Did, FILE, GRANTER, Kind, PAGE};

/// An argument so placed that just `bytes` of it can be read.
fn cut_off(bytes: u64) -> u64 {
    ARGUMENT + 8 * PAGE as u64 - bytes
}

#[test]
fn unknown_requests_are_enotty_and_files_that_are_not_open_ebadf() {
    let mut bench = Bench::new();
    for request in
        [SET_MAX_GRANTS, Request(MAP_GRANT_REF.0 & !0xff_0000), Request(0x144709), Request(0x184705)]
    {
        assert_eq!(bench.ioctl(FILE, request, ARGUMENT), Err(Errno::ENOTTY), "{request:?}");
    }
    for request in [MAP_GRANT_REF, UNMAP_GRANT_REF, GRANT_COPY, SET_MAX_GRANTS] {
        assert_eq!(bench.ioctl(FileId(2), request, ARGUMENT), Err(Errno::EBADF));
    }
}

#[test]
fn an_argument_that_ends_too_soon_is_efault_and_nothing_happens() {
    let sizes = [
        (MAP_GRANT_REF, 24),
        (UNMAP_GRANT_REF, 16),
        (GET_OFFSET_FOR_VADDR, 24),
        (SET_UNMAP_NOTIFY, 16),
        (GRANT_COPY, 16),
    ];
    for (request, size) in sizes {
        let mut bench = Bench::new();
        for bytes in [0, 1, 8, size - 1] {
            assert_eq!(bench.ioctl(FILE, request, cut_off(bytes)), Err(Errno::EFAULT), "{request:?} {bytes}");
        }
        assert_eq!(bench.ioctl(FILE, request, u64::MAX - 4), Err(Errno::EFAULT));
        assert!(bench.did().is_empty());
        bench.is_clean();
    }
}

#[test]
fn map_counts() {
    let mut bench = Bench::new();
    for count in [0, 65, u32::MAX] {
        bench.client.put(ARGUMENT, &count.to_ne_bytes());
        assert_eq!(bench.ioctl(FILE, MAP_GRANT_REF, ARGUMENT), Err(Errno::EINVAL), "{count}");
    }
    assert_eq!(bench.map(FILE, &[8; 64]), Ok(0));
    assert_eq!(bench.map(FILE, &[8]), Ok(64));
    assert!(bench.did().is_empty(), "grants aren't looked at");
}

#[test]
fn map_faults_leave_no_map() {
    let mut bench = Bench::new();
    // The header can be read, the third grant can't.
    let argument = cut_off(16 + 2 * 8);
    bench.client.put(argument, &3u32.to_ne_bytes());
    assert_eq!(bench.ioctl(FILE, MAP_GRANT_REF, argument), Err(Errno::EFAULT));
    // Everything can be read, and nothing written.
    bench.client.put(ARGUMENT, &1u32.to_ne_bytes());
    bench.client.protect(ARGUMENT);
    assert_eq!(bench.ioctl(FILE, MAP_GRANT_REF, ARGUMENT), Err(Errno::EFAULT));
    bench.is_clean();
    let elsewhere = ARGUMENT + PAGE as u64;
    bench.client.put(elsewhere, &1u32.to_ne_bytes());
    assert_eq!(bench.ioctl(FILE, MAP_GRANT_REF, elsewhere), Ok(()));
    assert_eq!(u64::from_ne_bytes(bench.client.get(elsewhere + 8)), 0, "the index is free");
}

#[test]
fn each_file_has_indices_of_its_own() {
    let mut bench = Bench::new();
    bench.driver.open(FileId(2));
    assert_eq!(
        (bench.map(FILE, &[8, 9]), bench.map(FILE, &[8]), bench.map(FileId(2), &[8])),
        (Ok(0), Ok(2), Ok(0))
    );
    assert_eq!(bench.unmap(FileId(2), 2, 1), Err(Errno::ENOENT), "another file's");
}

#[test]
fn unmap_finds_a_map_by_index_and_count() {
    let cases = [
        (4096, 2, Ok(())),
        (4096, 0, Ok(())),
        (4096 + 4095, 2, Ok(())),
        ((1 << 44) + 4096, 2, Ok(())),
        (4096, 1, Err(Errno::ENOENT)),
        (8192, 1, Err(Errno::ENOENT)),
        (8192, 0, Err(Errno::ENOENT)),
        (1 << 30, 1, Err(Errno::ENOENT)),
    ];
    for (index, count, expected) in cases {
        let mut bench = Bench::new();
        bench.map(FILE, &[8]).unwrap();
        bench.map(FILE, &[9, 10]).unwrap();
        assert_eq!(bench.unmap_at(FILE, index, count), expected, "{index:#x} {count}");
        assert_eq!(bench.driver.maps(), if expected.is_ok() { 1 } else { 2 });
        if expected.is_ok() {
            assert_eq!(bench.unmap_at(FILE, index, count), Err(Errno::ENOENT), "once is all");
        }
    }
}

#[test]
fn offsets_are_those_of_whatever_is_mapped_from_an_address_on() {
    let mut bench = Bench::new();
    bench.driver.open(FileId(2));
    bench.map(FILE, &[8]).unwrap();
    let (index, mapping) = bench.mapped(FILE, &[9, 10, 11]);
    assert_eq!(index, 1);
    bench.client.mappings = vec![(0x5000, 0x8000, Some(mapping)), (0x9000, 0xa000, None)];
    let offset = |bench: &mut Bench, file, address: u64| {
        bench.client.put(ARGUMENT, &address.to_ne_bytes());
        bench.client.put(ARGUMENT + 8, &[0xee; 16]);
        bench.ioctl(file, GET_OFFSET_FOR_VADDR, ARGUMENT)?;
        let pad: [u8; 4] = bench.client.get(ARGUMENT + 20);
        assert_eq!(pad, [0xee; 4], "the padding is left alone");
        Ok((
            u64::from_ne_bytes(bench.client.get(ARGUMENT + 8)),
            u32::from_ne_bytes(bench.client.get(ARGUMENT + 16)),
        ))
    };
    // In it, in the middle of it, below it; by whatever file.
    for (file, address) in [(FILE, 0x5000), (FILE, 0x6fff), (FileId(2), 0x7fff), (FILE, 0x10)] {
        assert_eq!(offset(&mut bench, file, address), Ok((0x1000, 3)), "{address:#x}");
    }
    for address in [0x8000, 0x9000, 0xa000, u64::MAX] {
        assert_eq!(offset(&mut bench, FILE, address), Err(Errno::EINVAL), "{address:#x}");
    }
    // What was unmapped by its index is still mapped.
    bench.unmap(FILE, 1, 3).unwrap();
    assert_eq!(offset(&mut bench, FILE, 0x5000), Ok((0x1000, 3)));
    bench.client.put(ARGUMENT, &0x5000u64.to_ne_bytes());
    bench.client.protect(ARGUMENT);
    assert_eq!(bench.ioctl(FILE, GET_OFFSET_FOR_VADDR, ARGUMENT), Err(Errno::EFAULT));
    bench.unmapped(mapping);
    bench.client.mappings = vec![(0x5000, 0x8000, Some(mapping))];
    assert_eq!(bench.driver.changed_by_unmapping(), []);
    bench.release(FILE);
    bench.is_clean();
}

#[test]
fn notifications_are_refused_in_order() {
    let mut bench = Bench::new();
    bench.map(FILE, &[8]).unwrap();
    let index = bench.map(FILE, &[9, 10]).unwrap();
    bench.mmap(FILE, index, 2, Kind::ReadOnly).unwrap();
    bench.did();
    let cases = [
        (0x1000, 4, 20, Err(Errno::EINVAL)),
        (0x9000, 8, 20, Err(Errno::EINVAL)),
        (0x1000, 2, 19, Err(Errno::EINVAL)),
        (0x9000, 2, 19, Err(Errno::EINVAL)),
        (0x9000, 2, 20, Err(Errno::ENOENT)),
        (0x3000, 1, 0, Err(Errno::ENOENT)),
        // It is mapped for reading only.
        (0x1000, 1, 0, Err(Errno::EINVAL)),
        (0x2fff, 3, 20, Err(Errno::EINVAL)),
        (0x2fff, 2, 20, Ok(())),
        (0x0fff, 3, 20, Ok(())),
        (0, 0, 99, Ok(())),
    ];
    for (at, actions, port, expected) in cases {
        assert_eq!(bench.notify(FILE, at, actions, port), expected, "{at:#x} {actions} {port}");
    }
    assert_eq!(bench.guest.held, [(20, 1)].into(), "the one that was set and not replaced");
}

#[test]
fn a_port_is_held_before_the_one_before_is_let_go() {
    let mut bench = Bench::new();
    bench.map(FILE, &[8]).unwrap();
    for (port, expected) in [
        (20, vec![Did::Hold(20)]),
        (20, vec![Did::Hold(20), Did::LetGo(20)]),
        (21, vec![Did::Hold(21), Did::LetGo(20)]),
    ] {
        bench.notify(FILE, 5, 2, port).unwrap();
        assert_eq!(bench.did(), expected);
    }
    assert_eq!(bench.notify(FILE, 0x5000, 2, 22), Err(Errno::ENOENT));
    assert_eq!(bench.did(), [Did::Hold(22), Did::LetGo(22)]);
    bench.notify(FILE, 5, 0, 0).unwrap();
    assert_eq!(bench.did(), [Did::LetGo(21)]);
    bench.unmap(FILE, 0, 1).unwrap();
    assert!(bench.did().is_empty(), "it was cancelled");
    bench.is_clean();
}

#[test]
fn domains_are_cut_to_16_bits() {
    let mut bench = Bench::new();
    let index = bench.map_of(FILE, &[(0x5_0000 + u32::from(GRANTER), 8)]).unwrap();
    assert!(bench.mmap(FILE, index, 1, Kind::Writable).is_ok());
}
