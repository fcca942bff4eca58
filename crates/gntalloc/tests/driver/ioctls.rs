//! Each ioctl: what is valid, each field that isn't, and faults at each place.

use ioctlab_abi::gntalloc::{ALLOC_GREF, DEALLOC_GREF, SET_UNMAP_NOTIFY};
use ioctlab_chardev::{Errno, FileId, Request};

use crate::fake::{ARGUMENT, Bench, Did, FILE, LIMIT, PAGE, cut_off};

#[test]
fn unknown_requests_are_enotty_and_files_that_are_not_open_ebadf() {
    let mut bench = Bench::new();
    for request in [Request(0x184700), Request(0x104701), Request(ALLOC_GREF.0 + 0x1_0000)] {
        assert_eq!(bench.ioctl(FILE, request, ARGUMENT), Err(Errno::ENOTTY), "{request:?}");
    }
    for request in [ALLOC_GREF, DEALLOC_GREF, SET_UNMAP_NOTIFY, Request(0)] {
        assert_eq!(bench.ioctl(FileId(2), request, ARGUMENT), Err(Errno::EBADF));
    }
}

#[test]
fn an_argument_that_ends_too_soon_is_efault_and_nothing_happens() {
    for (request, size) in [(ALLOC_GREF, 24), (DEALLOC_GREF, 16), (SET_UNMAP_NOTIFY, 16)] {
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
fn indices_follow_each_other_and_never_come_again() {
    let mut bench = Bench::new();
    bench.driver.open(FileId(2));
    assert_eq!(bench.alloc(FILE, 0), Ok((0, vec![])));
    assert_eq!(bench.alloc(FILE, 1), Ok((0, vec![8])));
    assert_eq!(bench.alloc(FILE, 3), Ok((1, vec![9, 10, 11])));
    assert_eq!(bench.alloc(FileId(2), 1), Ok((0, vec![12])), "another file's");
    bench.dealloc(FILE, 1, 3).unwrap();
    assert_eq!(bench.alloc(FILE, 1), Ok((4, vec![13])));
}

#[test]
fn flags_and_domain_are_passed_on() {
    let mut bench = Bench::new();
    for (flags, read_only) in [(1u16, false), (0, true), (0xfffe, true), (0xffff, false)] {
        bench.client.put(ARGUMENT, &0x7ff0u16.to_ne_bytes());
        bench.client.put(ARGUMENT + 2, &flags.to_ne_bytes());
        bench.client.put(ARGUMENT + 4, &1u32.to_ne_bytes());
        bench.ioctl(FILE, ALLOC_GREF, ARGUMENT).unwrap();
        assert_eq!(bench.did(), [Did::Share(0x7ff0, read_only)], "{flags:#x}");
    }
}

#[test]
fn the_limit_is_over_all_files() {
    let mut bench = Bench::new();
    bench.driver.open(FileId(2));
    for count in [LIMIT + 1, u32::MAX] {
        assert_eq!(bench.alloc(FILE, count), Err(Errno::ENOSPC));
    }
    assert_eq!(bench.alloc(FILE, LIMIT - 1).unwrap().0, 0, "a refusal uses no index up");
    assert_eq!(bench.alloc(FileId(2), 2), Err(Errno::ENOSPC));
    assert!(bench.alloc(FileId(2), 1).is_ok());
    assert_eq!(bench.alloc(FileId(2), 1), Err(Errno::ENOSPC));
    assert!(bench.alloc(FileId(2), 0).is_ok());
    // With the sum of all beyond 32 bits.
    assert_eq!(bench.alloc(FILE, u32::MAX), Err(Errno::ENOSPC));
    bench.release(FILE);
    assert!(bench.alloc(FileId(2), LIMIT - 1).is_ok(), "what a file had is free with it");
    bench.release(FileId(2));
    bench.is_clean();
}

#[test]
fn all_pages_are_shared_or_none_and_the_indices_are_used_up() {
    let mut bench = Bench::new();
    bench.alloc(FILE, 2).unwrap();
    bench.did();
    bench.guest.left = 3;
    assert_eq!(bench.alloc(FILE, 5), Err(Errno::ENOMEM));
    let shares = vec![Did::Share(3, false); 3];
    assert_eq!(bench.did(), [shares, vec![Did::End(10), Did::End(11), Did::End(12)]].concat());
    bench.guest.left = 1000;
    assert_eq!(bench.alloc(FILE, LIMIT - 1), Err(Errno::ENOSPC), "the first two still count");
    assert_eq!(bench.alloc(FILE, LIMIT - 2).unwrap().0, 7);
    bench.release(FILE);
    bench.is_clean();
}

#[test]
fn results_that_cannot_be_written_leave_the_pages() {
    let mut bench = Bench::new();
    bench.client.put(ARGUMENT + 4, &1u32.to_ne_bytes());
    bench.client.read_only = true;
    assert_eq!(bench.ioctl(FILE, ALLOC_GREF, ARGUMENT), Err(Errno::EFAULT));
    bench.client.read_only = false;
    // The header can be written, the third reference can't.
    let argument = cut_off(24);
    bench.client.put(argument + 4, &3u32.to_ne_bytes());
    assert_eq!(bench.ioctl(FILE, ALLOC_GREF, argument), Err(Errno::EFAULT));
    assert_eq!(u64::from_ne_bytes(bench.client.get(argument + 8)), PAGE);
    assert_eq!(bench.driver.pages(), 4);
    bench.dealloc(FILE, 0, 4).unwrap();
    bench.is_clean();
}

#[test]
fn dealloc_takes_consecutive_pages() {
    let cases = [
        (0, 1, Ok(())),
        (0, 4, Ok(())),
        (2 * PAGE, 2, Ok(())),
        (0, 0, Err(Errno::EINVAL)),
        (0, 5, Err(Errno::EINVAL)),
        (0, u32::MAX, Err(Errno::EINVAL)),
        (1, 1, Err(Errno::EINVAL)),
        (4 * PAGE, 1, Err(Errno::EINVAL)),
        (u64::MAX - 4095, 1, Err(Errno::EINVAL)),
    ];
    for (index, count, expected) in cases {
        let mut bench = Bench::new();
        bench.alloc(FILE, 1).unwrap();
        bench.alloc(FILE, 3).unwrap();
        assert_eq!(bench.dealloc_at(FILE, index, count), expected, "{index:#x} {count}");
        let left = if expected.is_ok() { 4 - count as usize } else { 4 };
        assert_eq!(bench.driver.pages(), left);
        if expected.is_ok() {
            assert_eq!(bench.dealloc_at(FILE, index, count), Err(Errno::EINVAL), "once is all");
        }
    }
    let mut bench = Bench::new();
    bench.alloc(FILE, 16).unwrap();
    bench.dealloc(FILE, 5, 4).unwrap();
    assert_eq!(bench.dealloc(FILE, 3, 8), Err(Errno::EINVAL), "across a hole");
}

#[test]
fn notifications_are_refused_in_order() {
    let mut bench = Bench::new();
    bench.alloc(FILE, 1).unwrap();
    let cases = [
        (PAGE, 4, 19, Err(Errno::ENOENT)),
        (PAGE, 0, 0, Err(Errno::ENOENT)),
        (0, 4, 20, Err(Errno::EINVAL)),
        (0, 2, 19, Err(Errno::EINVAL)),
        (0, 0, 19, Ok(())),
        (4095, 3, 20, Ok(())),
    ];
    for (index, actions, port, expected) in cases {
        assert_eq!(bench.notify(FILE, index, actions, port), expected, "{index:#x} {actions} {port}");
    }
    bench.did();
    bench.notify(FILE, 0, 2, 20).unwrap();
    assert_eq!(bench.did(), [Did::Hold(20), Did::LetGo(20)], "held before it is let go");
    bench.notify(FILE, 0, 0, 0).unwrap();
    assert_eq!(bench.did(), [Did::LetGo(20)]);
    bench.dealloc(FILE, 0, 1).unwrap();
    assert_eq!(bench.did(), [Did::End(8)], "it was cancelled");
    bench.is_clean();
}
