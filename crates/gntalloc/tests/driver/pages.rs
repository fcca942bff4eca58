//! What becomes of pages: mappings, and the moments of byte, event and end.

use ioctlab_chardev::{Errno, FileId};

use crate::fake::{Bench, Did, FILE, PAGE, frame_of};

#[test]
fn mmap_takes_pages_at_consecutive_indices() {
    let mut bench = Bench::new();
    bench.alloc(FILE, 1).unwrap();
    bench.driver.open(FileId(2));
    bench.alloc(FileId(2), 1).unwrap();
    bench.alloc(FILE, 3).unwrap();
    // Over two allocations, with another file's in between.
    let (_, mapping) = bench.mmap(FILE, 0, 3, true).unwrap();
    assert_eq!(mapping.frames(), [8, 10, 11].map(frame_of));
    assert_eq!((mapping.read_only, mapping.inherited), (false, true));
    assert!(bench.mmap(FILE, 0, 3, true).is_ok(), "as often as one likes");
    assert!(bench.mmap(FILE, 2, 1, true).is_ok());
    for (page, pages) in [(4, 1), (0, 5), (1000, 1), (3, u64::MAX)] {
        assert_eq!(bench.mmap(FILE, page, pages, true).err(), Some(Errno::ENOENT), "{page} {pages}");
    }
    assert_eq!(bench.mmap(FILE, 0, 1, false).err(), Some(Errno::EINVAL));
    assert_eq!(bench.mmap(FILE, 1000, 1, false).err(), Some(Errno::EINVAL), "before it is looked for");
    assert_eq!(bench.mmap(FileId(3), 0, 1, true).err(), Some(Errno::EBADF));
    bench.dealloc(FILE, 1, 1).unwrap();
    assert_eq!(bench.mmap(FILE, 0, 3, true).err(), Some(Errno::ENOENT), "across a hole");
}

#[test]
fn a_page_lasts_as_long_as_its_file_and_its_mappings() {
    let mut bench = Bench::new();
    bench.alloc(FILE, 2).unwrap();
    let (first, _) = bench.mmap(FILE, 0, 2, true).unwrap();
    let (second, _) = bench.mmap(FILE, 1, 1, true).unwrap();
    bench.did();
    bench.dealloc(FILE, 0, 2).unwrap();
    assert!(bench.did().is_empty(), "they are mapped");
    bench.unmapped(first);
    assert_eq!(bench.did(), [Did::End(8)]);
    bench.unmapped(first);
    assert!(bench.did().is_empty());
    bench.unmapped(second);
    assert_eq!(bench.did(), [Did::End(9)]);
    bench.is_clean();
}

#[test]
fn a_page_of_the_limit_is_free_with_the_page() {
    let mut bench = Bench::new();
    bench.alloc(FILE, crate::fake::LIMIT).unwrap();
    let (mapping, _) = bench.mmap(FILE, 0, 1, true).unwrap();
    bench.dealloc(FILE, 0, 1).unwrap();
    assert_eq!(bench.alloc(FILE, 1), Err(Errno::ENOSPC), "it is mapped");
    bench.unmapped(mapping);
    assert!(bench.alloc(FILE, 1).is_ok());
}

#[test]
fn byte_then_event_then_end_with_the_last_reference() {
    let end = [Did::Clear(8, 5), Did::Notify(20), Did::LetGo(20), Did::End(8)];
    // Unmapped, then deallocated.
    let mut bench = Bench::new();
    bench.alloc(FILE, 1).unwrap();
    bench.notify(FILE, 5, 3, 20).unwrap();
    let (mapping, _) = bench.mmap(FILE, 0, 1, true).unwrap();
    bench.did();
    assert_eq!(bench.driver.changed_by_unmapping(), [], "the file has it, too");
    bench.unmapped(mapping);
    assert!(bench.did().is_empty());
    bench.dealloc(FILE, 0, 1).unwrap();
    assert_eq!(bench.did(), end);
    bench.is_clean();
    // Deallocated, then unmapped.
    let mut bench = Bench::new();
    bench.alloc(FILE, 1).unwrap();
    let (mapping, _) = bench.mmap(FILE, 0, 1, true).unwrap();
    bench.notify(FILE, 5, 3, 20).unwrap();
    bench.dealloc(FILE, 0, 1).unwrap();
    assert_eq!(bench.driver.changed_by_unmapping(), [mapping]);
    assert_eq!(bench.notify(FILE, 5, 0, 0), Err(Errno::ENOENT), "nobody can change it any more");
    bench.did();
    bench.unmapped(mapping);
    assert_eq!(bench.did(), end);
    bench.is_clean();
    // Released.
    let mut bench = Bench::new();
    bench.alloc(FILE, 2).unwrap();
    bench.notify(FILE, 5, 3, 20).unwrap();
    bench.notify(FILE, PAGE, 2, 21).unwrap();
    bench.did();
    bench.release(FILE);
    let second = [Did::Notify(21), Did::LetGo(21), Did::End(9)];
    assert_eq!(bench.did(), [&end[..], &second].concat());
    bench.release(FILE);
    bench.is_clean();
}
