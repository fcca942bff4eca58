//! Each hypercall: what it answers, what it refuses and in which order, and a fault at every byte of its buffer.

use crate::fake::{BAD, BASE, Bench, failed, info};
use ioctlab_chardev::{CallResult, Errno};

/// Where buffers lie: as libxencall has them, not at the beginning of a page.
const AT: usize = 4096 + 16;

fn buffer(bench: &mut Bench, words: &[u32]) -> u64 {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    bench.put(AT, &bytes)
}

fn word(bench: &Bench, offset: usize) -> u32 {
    u32::from_ne_bytes(bench.memory.0[AT + offset..AT + offset + 4].try_into().unwrap())
}

fn long(bench: &Bench, offset: usize) -> u64 {
    u64::from_ne_bytes(bench.memory.0[AT + offset..AT + offset + 8].try_into().unwrap())
}

#[test]
fn calls_that_are_not_there_are_enosys_or_out_of_the_table() {
    for caller in [0, 3] {
        let mut bench = Bench::new(caller);
        let there = [17, 32, 34, 35, 36];
        for op in (0..128).filter(|op| !there.contains(op)) {
            assert_eq!(bench.hypercall(op, &[]), failed(Errno::ENOSYS), "{op}");
        }
        for op in [128, 255, 0xffff_ffff, 0x1_0000_0080] {
            assert_eq!(bench.hypercall(op, &[]), failed(Errno::EINVAL), "{op}");
        }
        assert_eq!(bench.hypercall(0x5_0000_0011, &[0]), Ok(0x4_0011), "the upper half is dropped");
    }
}

#[test]
fn buffers_that_fault_at_any_byte_are_efault() {
    let calls: [(u64, &[u64], u64); 8] = [
        (36, &[], 144),
        (35, &[], 136),
        (32, &[5], 24),
        (34, &[1], 16),
        (17, &[6], 8),
        (17, &[3], 1024),
        (17, &[4], 64),
        (17, &[8], 16),
    ];
    for (op, first, size) in calls {
        let mut bench = Bench::new(0);
        let end = bench.end();
        for at in (1..=size).map(|missing| end - size + missing).chain([0, BAD, BASE - 1, u64::MAX]) {
            assert_eq!(bench.hypercall(op, &[first, &[at]].concat()), failed(Errno::EFAULT), "{op} {at:#x}");
        }
        assert_ne!(bench.hypercall(op, &[first, &[end - size]].concat()), failed(Errno::EFAULT), "{op}");
    }
}

#[test]
fn versions_are_xens() {
    for (caller, features) in [(0, 0x2_28e0), (3, 0x2_20e0)] {
        let mut bench = Bench::new(caller);
        let at = BASE + AT as u64;
        assert_eq!(bench.hypercall(17, &[0, BAD]), Ok(0x4_0011));
        for (command, text, size) in
            [(1, ".7", 16), (3, "xen-3.0-x86_64 ", 1024), (4, "unavailable", 64), (2, "ioctlab", 144)]
        {
            bench.memory.0[AT..].fill(0xaa);
            assert_eq!(bench.hypercall(17, &[command, at]), Ok(0));
            let mut expected = text.as_bytes().to_vec();
            expected.resize(size, 0);
            expected.push(0xaa);
            assert_eq!(bench.memory.0[AT..=AT + size], expected);
        }
        assert_eq!(bench.hypercall(17, &[5, at]), Ok(0));
        assert_eq!(long(&bench, 0), 0xffff_8000_0000_0000);
        buffer(&mut bench, &[0, 0]);
        assert_eq!(bench.hypercall(17, &[6, at]), Ok(0));
        assert_eq!(word(&bench, 4), features);
        buffer(&mut bench, &[1, 0]);
        assert_eq!(bench.hypercall(17, &[6, at]), failed(Errno::EINVAL));
        assert_eq!(bench.hypercall(17, &[7, 0]), Ok(4096));
        assert_eq!(bench.hypercall(17, &[7, at]), failed(Errno::EINVAL));
        assert_eq!(bench.hypercall(17, &[8, at]), Ok(0));
        assert_eq!(bench.memory.0[AT..AT + 16], [caller as u8 + 1; 16]);
        assert_eq!(bench.hypercall(17, &[9, at]), Ok(0));
        let line: &[u8] = if caller == 0 { b"\0" } else { b"<denied>\0" };
        assert!(bench.memory.0[AT..].starts_with(line));
        let build_id = if caller == 0 { Errno::from_raw(61) } else { Errno::EPERM };
        assert_eq!(bench.hypercall(17, &[10, at]), failed(build_id));
        for command in [11, 1 << 32] {
            assert_eq!(bench.hypercall(17, &[command, at]), failed(Errno::ENOSYS));
        }
    }
}

/// A domctl whose union, and what surrounds the domain's number, is garbage.
fn domctl(bench: &mut Bench, command: u32, version: u32, domain: u16) -> CallResult<i64> {
    bench.memory.0[AT..AT + 200].fill(0xaa);
    let at = buffer(bench, &[command, version, 0xaaaa_0000 | u32::from(domain)]);
    bench.hypercall(36, &[at])
}

#[test]
fn getdomaininfo_finds_the_domain_or_the_next() {
    for (domain, found) in [(0, 0), (1, 3), (3, 3), (4, 7), (7, 7)] {
        let mut bench = Bench::new(0);
        assert_eq!(domctl(&mut bench, 5, 0x15, domain), Ok(0));
        assert_eq!(word(&bench, 8), 0xaaaa_0000 | u32::from(found));
        let expected = info(found);
        assert_eq!(word(&bench, 16), u32::from(found));
        assert_eq!(word(&bench, 20), expected.flags);
        assert_eq!(long(&bench, 24), expected.pages);
        assert_eq!(long(&bench, 32), expected.max_pages);
        assert_eq!([40, 48, 56].map(|offset| long(&bench, offset)), [0; 3]);
        assert_eq!(long(&bench, 64), expected.shared_info_frame);
        assert_eq!(long(&bench, 72), expected.cpu_time);
        assert_eq!([80, 84, 88].map(|offset| word(&bench, offset)), [2, 1, 0]);
        assert_eq!(bench.memory.0[AT + 92..AT + 108], expected.handle);
        assert_eq!((word(&bench, 108), word(&bench, 112)), (0, 39));
        assert_eq!(long(&bench, 120), 0);
        // Past the information nothing changes.
        assert!(bench.memory.0[AT + 128..AT + 200].iter().all(|byte| *byte == 0xaa));
    }
}

#[test]
fn a_domctl_is_refused_in_xens_order() {
    for (caller, command, version, domain, expected) in [
        (3, 5, 0x14, 9, Errno::EACCES),
        (3, 5, 0x15, 0x7ff0, Errno::EPERM),
        (3, 5, 0x15, 3, Errno::EPERM),
        (3, 6, 0x15, 9, Errno::ESRCH),
        (3, 6, 0x15, 7, Errno::EPERM),
        (0, 5, 0x16, 0, Errno::EACCES),
        (0, 5, 0x15, 8, Errno::ESRCH),
        (0, 5, 0x15, 0x7fef, Errno::ESRCH),
        (0, 5, 0x15, 0x7ff0, Errno::EINVAL),
        (0, 5, 0x15, 0xffff, Errno::EINVAL),
        (0, 6, 0x15, 9, Errno::ESRCH),
        (0, 6, 0x15, 7, Errno::ENOSYS),
    ] {
        let mut bench = Bench::new(caller);
        assert_eq!(
            domctl(&mut bench, command, version, domain),
            failed(expected),
            "{caller} {command} {domain}"
        );
        assert!(bench.memory.0[AT + 12..AT + 200].iter().all(|byte| *byte == 0xaa));
    }
}

/// A sysctl that lists domains to a place in the program's memory.
fn list(bench: &mut Bench, version: u32, first: u32, room: u32, place: u64) -> CallResult<i64> {
    let at = buffer(bench, &[6, version, first, room, place as u32, (place >> 32) as u32, 99]);
    bench.hypercall(35, &[at])
}

#[test]
fn domains_are_listed_as_far_as_there_is_room() {
    for (first, room, expected) in [
        (0, 10, &[0, 3, 7][..]),
        (0, 2, &[0, 3]),
        (1, 10, &[3, 7]),
        (8, 10, &[]),
        (0, 0, &[]),
        (0xffff, 1, &[]),
    ] {
        let mut bench = Bench::new(0);
        assert_eq!(list(&mut bench, 0x15, first, room, BASE + 512), Ok(0));
        assert_eq!(word(&bench, 24), expected.len() as u32);
        for (index, domain) in expected.iter().enumerate() {
            let offset = 512 + 112 * index;
            assert_eq!(bench.memory.0[offset..offset + 2], [*domain, 0]);
        }
        assert!(bench.memory.0[512 + 112 * expected.len()..AT].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_sysctl_is_refused_in_xens_order() {
    let mut guest = Bench::new(3);
    assert_eq!(list(&mut guest, 0x14, 0, 1, BASE), failed(Errno::EACCES));
    assert_eq!(list(&mut guest, 0x15, 0, 1, BAD), failed(Errno::EPERM));
    let mut bench = Bench::new(0);
    let end = bench.end();
    for missing in 1..=112 {
        assert_eq!(list(&mut bench, 0x15, 0, 2, end - 224 + missing), failed(Errno::EFAULT));
        assert_eq!(word(&bench, 24), 99, "the count is not written");
    }
    let at = buffer(&mut bench, &[1, 0x15]);
    assert_eq!(bench.hypercall(35, &[at]), failed(Errno::ENOSYS));
}

#[test]
fn a_ports_status_is_told() {
    for (port, expected) in
        [(0, [0, 0]), (1, [9, 0]), (2, [3, 0x1_0002]), (3, [14, 0]), (4, [3, 0]), (5, [0, 0])]
    {
        let mut bench = Bench::new(3);
        let at = buffer(&mut bench, &[0x7ff0, port, 77, 77, 0, 0]);
        assert_eq!(bench.hypercall(32, &[5, at]), Ok(0));
        assert_eq!(
            [8, 12, 16, 20].map(|offset| word(&bench, offset)),
            [port, port + 1, expected[0], expected[1]]
        );
    }
    let mut bench = Bench::new(3);
    let at = buffer(&mut bench, &[0x7ff0, 6]);
    assert_eq!(bench.hypercall(32, &[5, at]), failed(Errno::EINVAL));
    let at = buffer(&mut bench, &[0, 0]);
    assert_eq!(bench.hypercall(32, &[5, at]), failed(Errno::ESRCH));
    for op in [0, 4, 6] {
        assert_eq!(bench.hypercall(32, &[op, BAD]), failed(Errno::ENOSYS));
    }
}

#[test]
fn parameters_of_hvm_guests_are_told() {
    for (caller, domain, index, expected) in [
        (0, 7, 2, Ok(0)),
        (0, 7, 38, Ok(0)),
        (0, 9, 39, failed(Errno::EINVAL)),
        (0, 9, 1, failed(Errno::ESRCH)),
        (0, 3, 1, failed(Errno::EINVAL)),
        (3, 0x7ff0, 1, failed(Errno::EINVAL)),
        (3, 7, 1, failed(Errno::EPERM)),
        (7, 0x7ff0, 1, Ok(0)),
        (7, 7, 1, Ok(0)),
    ] {
        let mut bench = Bench::new(caller);
        let at = buffer(&mut bench, &[0xaaaa_0000 | domain, index, 0, 0]);
        assert_eq!(bench.hypercall(34, &[1, at]), expected, "{caller} {domain} {index}");
        let value = if expected.is_ok() { 0x1_0000_0000 + u64::from(index) } else { 0 };
        assert_eq!(long(&bench, 8), value);
    }
    assert_eq!(Bench::new(0).hypercall(34, &[0, BAD]), failed(Errno::ENOSYS));
}
