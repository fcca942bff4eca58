//! `GRANT_COPY`: segments, their statuses, and what is done when a later one fails.

use ioctlab_abi::gntdev::{GRANT_COPY, SEGMENT_STATUS};
use ioctlab_chardev::{Errno, UserMemory, UserPtr};

use crate::fake::{ARGUMENT, Bench, FILE, GRANTER, PAGE, frame_of};

/// Where segments are, and a client's own buffers.
const SEGMENTS: u64 = ARGUMENT + 0x1000;
const LOCAL: u64 = ARGUMENT + 0x4000;
const PAGE_SIZE: u64 = PAGE as u64;

#[derive(Clone, Copy)]
enum End {
    Local(u64),
    Grant(u32, u16),
    Of(u16, u32, u16),
}

#[derive(Clone, Copy)]
struct Segment(End, End, u16);

impl Segment {
    fn bytes(self) -> [u8; 24] {
        let Self(source, dest, length) = self;
        let end = |end| match end {
            End::Local(at) => (at, 0),
            End::Grant(reference, offset) => (grant(GRANTER, reference, offset), 1),
            End::Of(domain, reference, offset) => (grant(domain, reference, offset), 1),
        };
        let ((source, from_grant), (dest, to_grant)) = (end(source), end(dest));
        let mut bytes = [0x77; 24];
        bytes[..8].copy_from_slice(&source.to_ne_bytes());
        bytes[8..16].copy_from_slice(&dest.to_ne_bytes());
        bytes[16..18].copy_from_slice(&length.to_ne_bytes());
        bytes[18..20].copy_from_slice(&u16::to_ne_bytes(from_grant | to_grant << 1));
        bytes
    }
}

fn grant(domain: u16, reference: u32, offset: u16) -> u64 {
    u64::from(reference) | u64::from(offset) << 32 | u64::from(domain) << 48
}

/// Copies; the result, and each segment's status (0x7777 if it wasn't written).
fn copy(bench: &mut Bench, segments: &[Segment]) -> (Result<(), Errno>, Vec<i16>) {
    for (index, segment) in segments.iter().enumerate() {
        bench.client.put(SEGMENTS + index as u64 * 24, &segment.bytes());
    }
    let result = copy_at(bench, segments.len() as u32, SEGMENTS);
    let status =
        |index: usize| i16::from_ne_bytes(bench.client.get(SEGMENTS + index as u64 * 24 + SEGMENT_STATUS));
    (result, (0..segments.len()).map(status).collect())
}

fn copy_at(bench: &mut Bench, count: u32, segments: u64) -> Result<(), Errno> {
    bench.client.put(ARGUMENT, &u64::from(count).to_ne_bytes());
    bench.client.put(ARGUMENT + 8, &segments.to_ne_bytes());
    bench.ioctl(FILE, GRANT_COPY, ARGUMENT)
}

#[test]
fn nothing_is_copied_of_nothing() {
    let mut bench = Bench::new();
    assert_eq!(copy_at(&mut bench, 0, 0), Ok(()), "the segments aren't looked at");
    assert_eq!(copy(&mut bench, &[Segment(End::Grant(999, 0), End::Local(1), 0)]), (Ok(()), vec![0]));
}

#[test]
fn bytes_go_from_one_end_to_the_other() {
    let mut bench = Bench::new();
    bench.client.put(LOCAL + PAGE_SIZE - 8, &[0x5c; 64]);
    let (result, status) = copy(
        &mut bench,
        &[
            Segment(End::Local(LOCAL + PAGE_SIZE - 8), End::Grant(8, 100), 64),
            Segment(End::Grant(8, 101), End::Local(LOCAL), 3),
            Segment(End::Grant(8, 0), End::Grant(9, 4092), 4),
            Segment(End::Grant(10, 0), End::Local(LOCAL + 2 * PAGE_SIZE - 1), 2),
        ],
    );
    assert_eq!((result, status), (Ok(()), vec![0; 4]));
    let page = |reference| &bench.guest.bytes[&frame_of(reference)];
    assert_eq!(page(8)[99..165], [&[8][..], &[0x5c; 64], &[8]].concat()[..]);
    assert_eq!(page(9)[4091..], [9, 8, 8, 8, 8]);
    assert_eq!(bench.client.get::<4>(LOCAL), [0x5c, 0x5c, 0x5c, 0]);
    assert_eq!(bench.client.get::<4>(LOCAL + 2 * PAGE_SIZE - 2), [0, 10, 10, 0], "across a page of its own");
}

#[test]
fn a_whole_page_is_the_most() {
    let mut bench = Bench::new();
    for (offset, length, expected) in [
        (0, 4096, Ok(())),
        (4095, 1, Ok(())),
        (4096, 0, Ok(())),
        (1, 4096, Err(Errno::EINVAL)),
        (4096, 1, Err(Errno::EINVAL)),
        (65535, 65535, Err(Errno::EINVAL)),
    ] {
        let to = Segment(End::Local(LOCAL), End::Grant(8, offset), length);
        assert_eq!(copy(&mut bench, &[to]).0, expected, "{offset} {length}");
        let from = Segment(End::Grant(8, offset), End::Local(LOCAL), length);
        let status = if expected.is_ok() { 0 } else { 0x7777 };
        assert_eq!(
            copy(&mut bench, &[from]),
            (expected, vec![status]),
            "it fails before its status is written"
        );
    }
    let local = Segment(End::Local(LOCAL), End::Local(LOCAL + 8), 8);
    assert_eq!(copy(&mut bench, &[local]), (Err(Errno::EINVAL), vec![0x7777]));
}

#[test]
fn each_segment_has_a_status_of_its_own() {
    let mut bench = Bench::new();
    let good = Segment(End::Grant(8, 0), End::Local(LOCAL), 4);
    let (result, status) = copy(
        &mut bench,
        &[
            Segment(End::Grant(999, 0), End::Local(LOCAL), 4),
            good,
            Segment(End::Of(5, 8, 0), End::Local(LOCAL), 4),
            Segment(End::Local(LOCAL), End::Grant(32, 0), 4),
            Segment(End::Grant(32, 0), End::Local(LOCAL + 8), 4),
            // The first part to fail decides, of two that a page boundary makes of it.
            Segment(End::Grant(998, 0), End::Local(LOCAL + PAGE_SIZE - 1), 4),
        ],
    );
    assert_eq!((result, status), (Ok(()), vec![-3, 0, -2, -1, 0, -3]));
    assert_eq!(bench.client.get::<9>(LOCAL), [8, 8, 8, 8, 0, 0, 0, 0, 32]);
}

/// What fails as a whole leaves undone what waits for a batch of 16 to be full, with a status of 0.
#[test]
fn a_later_failure_leaves_its_batch_undone() {
    for (before, done) in [(1, 0), (15, 0), (16, 0), (17, 16), (33, 32)] {
        let mut bench = Bench::new();
        let segments: Vec<Segment> = (0..before)
            .map(|index| Segment(End::Grant(8, 0), End::Local(LOCAL + index), 1))
            .chain([Segment(End::Local(LOCAL), End::Local(LOCAL), 1)])
            .collect();
        let (result, status) = copy(&mut bench, &segments);
        assert_eq!(result, Err(Errno::EINVAL));
        assert!(status[..before as usize].iter().all(|status| *status == 0));
        let mut bytes = vec![0; before as usize];
        bench.client.read(UserPtr(LOCAL), &mut bytes).unwrap();
        assert_eq!(bytes.iter().filter(|byte| **byte == 8).count(), done, "of {before}");
    }
}

#[test]
fn memory_that_cannot_be_had_is_found_out_segment_by_segment() {
    let nowhere = 8;
    let local = |at| Segment(End::Grant(8, 0), End::Local(at), 4);
    let mut bench = Bench::new();
    assert_eq!(copy(&mut bench, &[local(nowhere)]), (Err(Errno::EFAULT), vec![0]));
    let read = Segment(End::Local(nowhere), End::Grant(8, 0), 4);
    assert_eq!(copy(&mut bench, &[local(LOCAL), read]), (Err(Errno::EFAULT), vec![0, 0]));
    assert_eq!(bench.client.get::<4>(LOCAL), [0; 4], "the first has waited in vain");
    // A page to be written that is for reading only comes before what is wrong with a later segment.
    bench.client.protect(LOCAL + PAGE_SIZE);
    let bad = Segment(End::Local(LOCAL), End::Local(LOCAL), 1);
    for segments in [vec![local(LOCAL + PAGE_SIZE), bad], vec![local(LOCAL), local(LOCAL + PAGE_SIZE), bad]] {
        assert_eq!(copy(&mut bench, &segments).0, Err(Errno::EFAULT));
        assert_eq!(bench.client.get::<4>(LOCAL), [0; 4]);
    }
    assert_eq!(copy_at(&mut bench, 1, nowhere), Err(Errno::EFAULT));
    // The status can't be written.
    bench.client.put(LOCAL + PAGE_SIZE, &local(LOCAL).bytes());
    assert_eq!(copy_at(&mut bench, 1, LOCAL + PAGE_SIZE), Err(Errno::EFAULT));
    assert_eq!(
        copy_at(&mut bench, u32::MAX, SEGMENTS + 2 * PAGE_SIZE),
        Err(Errno::EINVAL),
        "zeros are no segment"
    );
}

/// A page is pinned before Xen is asked, so what is wrong with it comes first.
#[test]
fn memory_that_cannot_be_had_comes_before_what_xen_says() {
    let mut bench = Bench::new();
    bench.client.protect(LOCAL);
    for at in [8, LOCAL] {
        let bad = Segment(End::Grant(999, 0), End::Local(at), 4);
        assert_eq!(copy(&mut bench, &[bad]), (Err(Errno::EFAULT), vec![0]), "{at:#x}");
        let good = Segment(End::Grant(8, 0), End::Local(LOCAL + PAGE_SIZE), 4);
        assert_eq!(copy(&mut bench, &[good, bad]), (Err(Errno::EFAULT), vec![0; 2]), "{at:#x}");
        let before = (Err(Errno::EFAULT), vec![0, 0x7777]);
        assert_eq!(copy(&mut bench, &[bad, good]), before, "{at:#x}: the second isn't looked at");
    }
    assert_eq!(bench.client.get::<4>(LOCAL + PAGE_SIZE), [0; 4]);
}

/// Statuses are written when all parts of a batch are done: a copy over a segment is seen by those that come later, and
/// the status of a segment that failed by none of them.
#[test]
fn statuses_are_written_after_the_copies() {
    let mut bench = Bench::new();
    let status_of_first = SEGMENTS + SEGMENT_STATUS;
    let segments = [
        Segment(End::Grant(999, 0), End::Local(LOCAL), 4),
        // Reads the first's status, where its failure isn't noted yet.
        Segment(End::Local(status_of_first), End::Grant(8, 0), 2),
    ];
    assert_eq!(copy(&mut bench, &segments), (Ok(()), vec![-3, 0]));
    assert_eq!(bench.guest.bytes[&frame_of(8)][..2], [0, 0]);
    // A status that isn't 0 any more, for whatever reason, is left alone.
    let segments = [
        Segment(End::Grant(999, 0), End::Local(LOCAL), 4),
        Segment(End::Grant(9, 0), End::Local(status_of_first), 2),
    ];
    assert_eq!(copy(&mut bench, &segments), (Ok(()), vec![0x0909, 0]));
}

/// The batches are of 16 parts, not of 16 segments: one whose buffer crosses a page is two.
#[test]
fn a_segment_over_a_page_boundary_is_two_parts_of_a_batch() {
    for (before, done) in [(7, 0), (8, 0), (9, 8), (16, 8), (17, 16)] {
        let mut bench = Bench::new();
        let crossing = Segment(End::Grant(8, 0), End::Local(LOCAL + PAGE_SIZE - 1), 2);
        let bad = Segment(End::Local(LOCAL), End::Local(LOCAL), 1);
        let mut segments = vec![crossing; before];
        // Each from another place, so that one can tell which was the last to be copied.
        for (index, segment) in segments.iter_mut().enumerate() {
            segment.0 = End::Grant(9, index as u16 * 2);
        }
        let page: Vec<u8> = (0..PAGE).map(|at| at as u8 / 2 + 1).collect();
        bench.guest.bytes.insert(frame_of(9), page);
        segments.push(bad);
        assert_eq!(copy(&mut bench, &segments).0, Err(Errno::EINVAL));
        assert_eq!(bench.client.get::<2>(LOCAL + PAGE_SIZE - 1), [done as u8; 2], "of {before}");
    }
}

/// Each batch's memory is found out about before the batch is handed over, not only the first's.
#[test]
fn a_second_batch_has_its_memory_pinned_as_well() {
    for (bad, statuses) in [(16, [0, 0x7777]), (17, [0, 0])] {
        let mut bench = Bench::new();
        let mut segments: Vec<Segment> =
            (0..18).map(|at| Segment(End::Grant(8, 0), End::Local(LOCAL + at), 1)).collect();
        segments[bad].1 = End::Local(8);
        let (result, status) = copy(&mut bench, &segments);
        assert_eq!((result, &status[16..]), (Err(Errno::EFAULT), &statuses[..]));
        let bytes: [u8; 18] = bench.client.get(LOCAL);
        assert_eq!((&bytes[..16], &bytes[16..]), (&[8; 16][..], &[0; 2][..]), "one batch is done");
    }
}
