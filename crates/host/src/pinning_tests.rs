//! What of this process's memory could be pinned.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::sys::region::Region;

const PAGE: u64 = 4096;

/// This process's `maps` and `mem`.
fn this() -> (File, File) {
    let open = |name: &str| File::open(format!("/proc/self/{name}")).expect("this process's own");
    (open("maps"), open("mem"))
}

/// What may be pinned, page by page: `r`, `w` of a region like this one.
#[test]
fn what_can_be_pinned_is_what_protections_allow() {
    let (maps, mem) = this();
    let region = Region::new(32);
    let short =
        File::from(rustix::fs::memfd_create("short", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd"));
    short.set_len(2 * PAGE - 100).expect("size");
    let path = std::env::temp_dir().join(format!("ioctlab-pinned-{}", std::process::id()));
    let disk = File::options().read(true).write(true).create_new(true).open(&path).expect("a file");
    std::fs::remove_file(&path).expect("it is there");
    disk.set_len(PAGE).expect("size");
    let has_disk = rustix::fs::major(disk.metadata().expect("a file").dev()) != 0;
    let (read, write) = (libc::PROT_READ, libc::PROT_WRITE);
    region.protect(4, 2, read);
    region.protect(6, 2, libc::PROT_NONE);
    region.protect(8, 2, write);
    region.protect(10, 2, read | libc::PROT_EXEC);
    region.unmap(12, 1);
    region.map(16, 4, read | write, Some((&short, libc::MAP_SHARED)));
    region.map(20, 4, read | write, Some((&short, libc::MAP_PRIVATE)));
    region.map(24, 1, read | write, Some((&disk, libc::MAP_SHARED)));
    region.map(25, 1, read | write, Some((&disk, libc::MAP_PRIVATE)));
    region.map(26, 1, read, Some((&disk, libc::MAP_SHARED)));
    // From page, pages, for reading, for writing.
    let table = [
        (0, 1, true, true),
        (0, 4, true, true),
        (2, 3, true, false),
        (4, 2, true, false),
        (5, 2, false, false),
        (6, 1, false, false),
        (8, 2, false, true),
        (10, 2, true, false),
        (11, 2, false, false),
        (12, 1, false, false),
        (11, 3, false, false),
        (13, 3, true, true),
        (16, 2, true, true),
        (16, 3, false, false),
        (18, 1, false, false),
        (17, 4, false, false),
        (13, 7, false, false),
        (20, 2, true, true),
        (21, 2, false, false),
        (24, 1, true, !has_disk),
        (25, 1, true, true),
        (26, 1, true, false),
        (27, 5, true, true),
    ];
    for (page, pages, readable, writable) in table {
        for (wanted, expected) in [(false, readable), (true, writable)] {
            let (from, bytes) = (region.address(page), pages * PAGE);
            // Pages count as a whole.
            for (from, bytes) in [(from, bytes), (from + 4000, bytes - 4095)] {
                for mut map in [AddressMap::new(&maps), AddressMap::in_text(&maps)] {
                    let result = check(&mut map, &mem, from, bytes, wanted);
                    assert_eq!(result.is_ok(), expected, "{pages} pages from {page}, for writing: {wanted}");
                }
            }
        }
    }
    let mut map = AddressMap::new(&maps);
    for (from, bytes) in [(0, 1), (0, u64::MAX), (u64::MAX, 1), (u64::MAX - 4095, 4095), (1 << 47, PAGE)] {
        assert_eq!(check(&mut map, &mem, from, bytes, false), Err(BadAddress), "{from:#x} {bytes:#x}");
    }
    assert_eq!(check(&mut map, &mem, 0, 0, true), Ok(()));
}

#[test]
fn a_long_range_costs_no_more_than_a_short_one() {
    let (maps, mem) = this();
    let region = Region::new(1 << 18);
    let questions = |bytes: u64| {
        let mut map = AddressMap::new(&maps);
        check(&mut map, &mem, region.address(0), bytes, true).expect("memory");
        map.questions
    };
    assert_eq!((questions(PAGE), questions(1 << 30)), (1, 1));
    region.protect(8, 1, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
    assert_eq!((questions(PAGE), questions(1 << 30)), (1, 3));
}
