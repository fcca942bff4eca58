//! What becomes of a map: mmap's refusals, pages that go, and the moments of byte and event.

use ioctlab_chardev::{Errno, FileId, Frame, MappingId};

use crate::fake::{Bench, Did, FILE, Kind, PAGE, frame_of};

#[test]
fn mmap_is_refused_unless_it_is_a_maps() {
    let mut bench = Bench::new();
    bench.map(FILE, &[8]).unwrap();
    let index = bench.map(FILE, &[9, 10]).unwrap();
    let refused = [
        (index, 2, Kind::PrivateWritable),
        (index, 1, Kind::Writable),
        (index, 3, Kind::Writable),
        (index + 1, 1, Kind::Writable),
        (99, 1, Kind::ReadOnly),
    ];
    for (page, pages, kind) in refused {
        assert_eq!(bench.mmap(FILE, page, pages, kind).err(), Some(Errno::EINVAL), "{page} {pages} {kind:?}");
    }
    assert_eq!(bench.mmap(FileId(2), index, 2, Kind::Writable).err(), Some(Errno::EBADF));
    assert!(bench.did().is_empty(), "none of these has spent the map");
    let (_, mapping) = bench.mmap(FILE, index, 2, Kind::Writable).unwrap();
    assert_eq!(mapping.frames(), [Frame(frame_of(9)), Frame(frame_of(10))]);
    assert_eq!((mapping.read_only, mapping.inherited), (false, false));
    assert_eq!(bench.mmap(FILE, index, 2, Kind::Writable).err(), Some(Errno::EINVAL), "once ever");
}

#[test]
fn a_mapping_is_for_reading_only_if_it_is_asked_for_so() {
    for (kind, read_only) in [(Kind::ReadOnly, true), (Kind::Private, true), (Kind::Writable, false)] {
        let mut bench = Bench::new();
        let index = bench.map(FILE, &[8]).unwrap();
        let (_, mapping) = bench.mmap(FILE, index, 1, kind).unwrap();
        assert_eq!((mapping.read_only, bench.did()), (read_only, vec![Did::Map(8, read_only)]));
    }
    // A grant for reading only.
    let mut bench = Bench::new();
    let index = bench.map(FILE, &[32]).unwrap();
    assert_eq!(bench.mmap(FILE, index, 1, Kind::Writable).err(), Some(Errno::EINVAL));
    let index = bench.map(FILE, &[32]).unwrap();
    assert!(bench.mmap(FILE, index, 1, Kind::ReadOnly).is_ok());
}

#[test]
fn all_grants_are_mapped_or_none_and_the_map_is_spent() {
    let mut bench = Bench::new();
    let index = bench.map(FILE, &[8, 999, 9]).unwrap();
    bench.notify(FILE, index * PAGE as u64 + 3, 3, 20).unwrap();
    bench.did();
    assert_eq!(bench.mmap(FILE, index, 3, Kind::Writable).err(), Some(Errno::EINVAL));
    // Xen is asked for all of them; the page that was mapped is unmapped as any other, byte and all.
    let expected =
        [Did::Map(8, false), Did::Map(9, false), Did::Clear(frame_of(8), 3), Did::Unmap(8), Did::Unmap(9)];
    assert_eq!(bench.did(), expected);
    assert_eq!(bench.mmap(FILE, index, 3, Kind::Writable).err(), Some(Errno::EINVAL));
    assert!(bench.did().is_empty());
    bench.unmap(FILE, index, 3).unwrap();
    assert_eq!(bench.did(), [Did::Notify(20), Did::LetGo(20)]);
    bench.is_clean();
}

#[test]
fn pages_go_one_by_one_and_once() {
    let mut bench = Bench::new();
    let (index, mapping) = bench.mapped(FILE, &[8, 9, 10, 11]);
    bench.notify(FILE, index * PAGE as u64 + 2 * PAGE as u64 + 7, 1, 0).unwrap();
    bench.did();
    assert_eq!(bench.driver.changed_by_unmapping(), [(mapping, 2)]);
    bench.zap(mapping, 1, 1);
    assert_eq!(bench.did(), [Did::Unmap(9)]);
    bench.zap(mapping, 1, 2);
    assert_eq!(bench.did(), [Did::Clear(frame_of(10), 7), Did::Unmap(10)]);
    assert_eq!(bench.driver.changed_by_unmapping(), []);
    bench.zap(mapping, 4, 100);
    bench.zap(mapping, u64::MAX, u64::MAX);
    bench.zap(MappingId(99), 0, 4);
    assert!(bench.did().is_empty());
    bench.unmapped(mapping);
    assert_eq!(bench.did(), [Did::Unmap(8), Did::Unmap(11)]);
    bench.unmapped(mapping);
    bench.zap(mapping, 0, 4);
    assert!(bench.did().is_empty());
    bench.unmap(FILE, index, 4).unwrap();
    bench.is_clean();
}

#[test]
fn the_byte_goes_with_its_page_and_the_event_with_the_last_reference() {
    let clear = Did::Clear(frame_of(8), 9);
    let end = [Did::Notify(20), Did::LetGo(20)];
    // Unmapped, then forgotten.
    let mut bench = Bench::new();
    let (index, mapping) = bench.mapped(FILE, &[8]);
    bench.notify(FILE, index * PAGE as u64 + 9, 3, 20).unwrap();
    bench.did();
    bench.unmapped(mapping);
    assert_eq!(bench.did(), [clear.clone(), Did::Unmap(8)]);
    bench.unmap(FILE, index, 1).unwrap();
    assert_eq!(bench.did(), end);
    // Forgotten, then unmapped.
    let (index, mapping) = bench.mapped(FILE, &[8]);
    bench.notify(FILE, index * PAGE as u64 + 9, 3, 20).unwrap();
    bench.did();
    bench.unmap(FILE, index, 1).unwrap();
    assert!(bench.did().is_empty(), "it is mapped");
    assert_eq!(bench.map(FILE, &[9]), Ok(index), "its index is free all the same");
    bench.unmap(FILE, index, 1).unwrap();
    bench.unmapped(mapping);
    assert_eq!(bench.did(), [[clear, Did::Unmap(8)], end.clone()].concat());
    // Never mapped.
    let index = bench.map(FILE, &[8]).unwrap();
    bench.notify(FILE, index * PAGE as u64 + 9, 3, 20).unwrap();
    bench.did();
    bench.unmap(FILE, index, 1).unwrap();
    assert_eq!(bench.did(), end);
    bench.is_clean();
}

#[test]
fn a_release_drops_the_maps_in_order() {
    let mut bench = Bench::new();
    for reference in [8, 9, 10] {
        let index = bench.map(FILE, &[reference]).unwrap();
        bench.notify(FILE, index * PAGE as u64, 2, 20 + reference - 8).unwrap();
    }
    bench.did();
    bench.release(FILE);
    let expected: Vec<Did> = (20..23).flat_map(|port| [Did::Notify(port), Did::LetGo(port)]).collect();
    assert_eq!(bench.did(), expected);
    bench.release(FILE);
    bench.is_clean();
}

#[test]
fn nothing_is_cleared_through_a_read_only_mapping() {
    let mut bench = Bench::new();
    let index = bench.map(FILE, &[8]).unwrap();
    // Linux allows it at this point, and stops with an oops in the end.
    bench.notify(FILE, index * PAGE as u64, 1, 0).unwrap();
    let (mapping, _) = bench.mmap(FILE, index, 1, Kind::ReadOnly).unwrap();
    assert_eq!(bench.driver.changed_by_unmapping(), []);
    bench.did();
    bench.unmapped(mapping);
    assert_eq!(bench.did(), [Did::Unmap(8)]);
}

#[test]
fn a_byte_can_be_cleared_ahead_of_its_time() {
    let mut bench = Bench::new();
    let (index, mapping) = bench.mapped(FILE, &[8]);
    bench.notify(FILE, index * PAGE as u64 + 9, 3, 20).unwrap();
    bench.did();
    bench.driver.clear_ahead(mapping, &mut bench.guest);
    bench.driver.clear_ahead(MappingId(99), &mut bench.guest);
    assert_eq!(bench.did(), [Did::Clear(frame_of(8), 9)]);
    bench.unmapped(mapping);
    assert_eq!(bench.did(), [Did::Clear(frame_of(8), 9), Did::Unmap(8)], "and once more then");
    bench.driver.clear_ahead(mapping, &mut bench.guest);
    assert!(bench.did().is_empty());
}

#[test]
fn a_same_grant_can_be_mapped_many_times() {
    let mut bench = Bench::new();
    let (_, mapping) = bench.mapped(FILE, &[8, 8, 8]);
    assert_eq!(bench.driver.live_grants(), 3);
    bench.zap(mapping, 1, 1);
    assert_eq!(bench.driver.live_grants(), 2);
    bench.unmapped(mapping);
    bench.release(FILE);
    bench.is_clean();
}

/// The page number goes through an `int`, as in `UNMAP_GRANT_REF`; the length doesn't.
#[test]
fn of_an_mmaps_page_number_32_bits_count() {
    let mut bench = Bench::new();
    bench.map(FILE, &[8]).unwrap();
    bench.map(FILE, &[9]).unwrap();
    for pages in [1 << 32, (1 << 32) + 1, u64::MAX, 0] {
        assert_eq!(bench.mmap(FILE, 0, pages, Kind::Writable).err(), Some(Errno::EINVAL), "{pages:#x}");
    }
    let (_, mapping) = bench.mmap(FILE, (1 << 32) + 1, 1, Kind::Writable).unwrap();
    assert_eq!(mapping.frames(), [Frame(frame_of(9))]);
    assert_eq!(bench.mmap(FILE, 1, 1, Kind::Writable).err(), Some(Errno::EINVAL), "it was the second map");
    assert!(bench.mmap(FILE, 0, 1, Kind::Writable).is_ok());
}

/// A byte to be cleared whose page went before that was asked for.
#[test]
fn nothing_is_cleared_in_a_page_that_is_gone() {
    let mut bench = Bench::new();
    let (index, mapping) = bench.mapped(FILE, &[8, 9]);
    bench.zap(mapping, 1, 1);
    bench.notify(FILE, (index + 1) * PAGE as u64, 3, 20).unwrap();
    assert_eq!(bench.driver.changed_by_unmapping(), []);
    bench.did();
    bench.unmapped(mapping);
    bench.unmap(FILE, index, 0).unwrap();
    assert_eq!(bench.did(), [Did::Unmap(8), Did::Notify(20), Did::LetGo(20)]);
    bench.is_clean();
}

/// As many as a back end may have: each call on its own must not look at all of them.
#[test]
fn a_hundred_thousand_maps_in_a_file() {
    const MAPS: u64 = 100_000;
    let mut bench = Bench::new();
    for index in 0..MAPS {
        assert_eq!(bench.map(FILE, &[8]), Ok(index));
    }
    // Holes of one page stay; those of five pages are filled up to their last.
    for index in (1..MAPS).step_by(2) {
        bench.unmap(FILE, index, 1).unwrap();
    }
    assert_eq!(bench.map(FILE, &[8]), Ok(MAPS - 1), "the last one has left no hole");
    for index in (0..MAPS).step_by(2).filter(|index| index % 6 != 0) {
        bench.unmap(FILE, index, 1).unwrap();
    }
    for hole in (0..MAPS - 6).step_by(6) {
        assert_eq!(bench.map(FILE, &[8]), Ok(hole + 1));
        assert_eq!(bench.map(FILE, &[8, 9]), Ok(hole + 2));
        assert_eq!(bench.map(FILE, &[8]), Ok(hole + 4));
    }
    assert_eq!(bench.notify(FILE, (MAPS / 2 + 1) * PAGE as u64, 0, 0), Ok(()));
    bench.release(FILE);
    bench.is_clean();
}
