//! The ioctls that would map other domains' pages.

use crate::fake::{BAD, BASE, Bench, address, failed};
use ioctlab_abi::privcmd;
use ioctlab_chardev::{CallResult, Errno, MappingId};
use ioctlab_privcmd::MAX_FRAMES;

/// `MMAPBATCH`, or with a place for errors `MMAPBATCH_V2`.
fn batch(
    bench: &mut Bench,
    count: u32,
    domain: u16,
    at: u64,
    frames: u64,
    errors: Option<u64>,
) -> CallResult<i64> {
    let (count, domain) = (count.to_ne_bytes(), domain.to_ne_bytes());
    let (at, frames) = (at.to_ne_bytes(), frames.to_ne_bytes());
    match errors {
        None => bench.ioctl(privcmd::MMAPBATCH, &[&count, &domain, &[7; 2], &at, &frames]),
        Some(errors) => {
            let errors = errors.to_ne_bytes();
            bench.ioctl(privcmd::MMAPBATCH_V2, &[&count, &domain, &[7; 2], &at, &frames, &errors])
        }
    }
}

fn frames(bench: &Bench, offset: usize, count: usize) -> Vec<u64> {
    let bytes = &bench.memory.0[offset..offset + 8 * count];
    bytes.chunks(8).map(|frame| u64::from_ne_bytes(frame.try_into().unwrap())).collect()
}

fn errors(bench: &Bench, offset: usize, count: usize) -> Vec<i32> {
    let bytes = &bench.memory.0[offset..offset + 4 * count];
    bytes.chunks(4).map(|error| i32::from_ne_bytes(error.try_into().unwrap())).collect()
}

#[test]
fn frames_that_are_not_there_are_marked_and_the_call_succeeds() {
    for (caller, domain, error) in [
        (0, 3, -22),
        (0, 0x7ff1, -22),
        (0, 0, -3),
        (0, 4, -3),
        (0, 0x7ff0, -3),
        (3, 0, -1),
        (3, 3, -3),
        (3, 5, -3),
    ] {
        for count in [1, 63, 64, 65, 300] {
            let mut bench = Bench::new(caller);
            bench.mmap(1, count);
            let count = count as usize;
            let list: Vec<u8> = (0..count as u64).flat_map(|frame| frame.to_ne_bytes()).collect();
            let at = bench.put(256, &list);
            assert_eq!(batch(&mut bench, count as u32, domain, address(1), at, None), Ok(0));
            let marked: Vec<_> = (0..count as u64).map(|frame| frame | 0xf000_0000).collect();
            assert_eq!(frames(&bench, 256, count), marked);
            assert!(bench.memory.0[256 + 8 * count..].iter().all(|byte| *byte == 0));

            bench.memory.0[4096..].fill(0xaa);
            let place = BASE + 4096;
            assert_eq!(batch(&mut bench, count as u32, domain, address(1), at, Some(place)), Ok(0));
            assert_eq!(errors(&bench, 4096, count), vec![error; count]);
            assert_eq!(frames(&bench, 256, count), marked, "they stay");
            assert!(bench.memory.0[4096 + 4 * count..].iter().all(|byte| *byte == 0xaa));
        }
    }
}

#[test]
fn a_batch_is_checked_in_order() {
    let mut bench = Bench::new(0);
    bench.mmap(1, 4);
    let end = bench.end();
    for version_2 in [false, true] {
        let place = version_2.then_some(BASE + 512);
        let mut batch = |count, at, frames, place| batch(&mut bench, count, 3, at, frames, place);
        assert_eq!(batch(0, BAD, BAD, place), failed(Errno::EINVAL));
        assert_eq!(batch(1, BAD, BAD, place), failed(Errno::EFAULT));
        assert_eq!(batch(2, BAD, end - 15, place), failed(Errno::EFAULT));
        assert_eq!(batch(MAX_FRAMES + 1, BAD, BASE, place), failed(Errno::ENOMEM));
        let out_of_reach = if version_2 { Errno::ENOMEM } else { Errno::EFAULT };
        assert_eq!(batch(u32::MAX, BAD, 0x7fff_ffff_0000, place), failed(out_of_reach));
        // The address: no mapping, another's, its first part only, more than it has.
        for (count, at) in [(4, BAD), (4, address(2)), (3, address(1)), (5, address(1))] {
            assert_eq!(batch(count, at, BASE, place), failed(Errno::EINVAL));
        }
    }
    // Where an error can't be noted.
    assert_eq!(batch(&mut bench, 0, 3, BAD, BAD, Some(u64::MAX)), failed(Errno::EFAULT));
    assert_eq!(batch(&mut bench, 4, 3, BAD, BASE, Some(end - 15)), failed(Errno::EFAULT));
    assert_eq!(batch(&mut bench, 4, 3, address(1), BASE, None), Ok(0));
    // What was used once may be tried again in part.
    assert_eq!(batch(&mut bench, 3, 3, address(1), BASE, None), Ok(0));
    assert_eq!(batch(&mut bench, 5, 3, address(1), BASE, None), failed(Errno::EINVAL));
    bench.driver.unmap(MappingId(1));
    assert_eq!(batch(&mut bench, 3, 3, address(1), BASE, None), failed(Errno::EINVAL));
}

#[test]
fn errors_are_cleared_before_the_address_is_looked_at() {
    let mut bench = Bench::new(0);
    bench.memory.0[512..].fill(0xaa);
    assert_eq!(batch(&mut bench, 2, 3, BAD, BASE, Some(BASE + 512)), failed(Errno::EINVAL));
    assert_eq!(bench.memory.0[512..521], [0, 0, 0, 0, 0, 0, 0, 0, 0xaa]);
}

/// `MMAP` with entries of `va, mfn, npages`.
fn ranges(bench: &mut Bench, domain: u16, entries: &[[u64; 3]], missing: u64) -> CallResult<i64> {
    let bytes: Vec<u8> = entries.iter().flatten().flat_map(|word| word.to_ne_bytes()).collect();
    let at = bench.end() - bytes.len() as u64;
    bench.put((at - BASE) as usize, &bytes);
    let count = entries.len() as u32;
    let at = (at + missing).to_ne_bytes();
    bench.ioctl(privcmd::MMAP, &[&count.to_ne_bytes(), &domain.to_ne_bytes(), &[7; 2], &at])
}

#[test]
fn ranges_are_checked_in_order() {
    let here = address(1);
    for (domain, entries, missing, expected) in [
        (3, vec![], 0, Ok(0)),
        (3, vec![[here, 0, 1]], 1, failed(Errno::EFAULT)),
        (3, vec![[BAD, 0, 1]], 0, failed(Errno::EINVAL)),
        (3, vec![[address(2), 0, 0]], 0, failed(Errno::EINVAL)),
        (3, vec![[here, 0, 5]], 0, failed(Errno::EINVAL)),
        (3, vec![[here, 0, u64::MAX]], 0, failed(Errno::EINVAL)),
        (3, vec![[here, 0, 4]], 0, failed(Errno::EINVAL)),
        (4, vec![[here, 0, 4]], 0, failed(Errno::ESRCH)),
        (4, vec![[here, 0, 0], [here, 9, 1]], 0, failed(Errno::ESRCH)),
        (4, vec![[here, 0, 0], [here, 9, 0]], 0, Ok(0)),
    ] {
        let mut bench = Bench::new(0);
        bench.mmap(1, 4);
        assert_eq!(ranges(&mut bench, domain, &entries, missing), expected, "{domain} {entries:?}");
    }
    // A mapping can be tried once.
    let mut bench = Bench::new(0);
    bench.mmap(1, 4);
    assert_eq!(ranges(&mut bench, 4, &[[here, 0, 0]], 0), Ok(0));
    assert_eq!(ranges(&mut bench, 4, &[[here, 0, 0]], 0), failed(Errno::EINVAL));
    let mut guest = Bench::new(3);
    guest.mmap(1, 4);
    assert_eq!(ranges(&mut guest, 0, &[[here, 0, 1]], 0), failed(Errno::EPERM));
}

#[test]
fn no_domain_has_resources() {
    let resource = |bench: &mut Bench, domain: u16, count: u64, at: u64| {
        let (domain, count, at) = (domain.to_ne_bytes(), count.to_ne_bytes(), at.to_ne_bytes());
        bench.ioctl(privcmd::MMAP_RESOURCE, &[&domain, &[0; 2], &[1; 12], &count, &at])
    };
    for (caller, domain, count, at, expected) in [
        (0, 3, 1, 0, Errno::EINVAL),
        (0, 4, 0, 1, Errno::EINVAL),
        (0, 4, 1, BAD, Errno::EINVAL),
        (0, 4, 1 << 20, address(1), Errno::ENOMEM),
        (0, 4, 1, address(1), Errno::ESRCH),
        (0, 4, 0, 0, Errno::ESRCH),
        (0, 0, 0, 0, Errno::EPERM),
        (0, 3, 0, 0, Errno::EINVAL),
        (3, 0, 0, 0, Errno::EPERM),
        (3, 0, 4, address(1), Errno::EPERM),
    ] {
        let mut bench = Bench::new(caller);
        bench.mmap(1, 4);
        assert_eq!(resource(&mut bench, domain, count, at), failed(expected), "{caller} {domain} {count}");
    }
}
