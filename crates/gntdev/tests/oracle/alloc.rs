//! Group `ga`: gntalloc.

use ioctlab_abi::{Direction, gntalloc as ga};
use ioctlab_chardev::{Errno, FileId, Request};

use crate::replay::{ARGUMENT, Access, BAD, Device, LAST, P, Replay, hex};

pub(crate) fn steps(r: &mut Replay) {
    let f = r.open(Device::Gntalloc);
    allocations(r, f);
    let v = mappings(r, f);
    refusals(r, f);
    deallocations(r, f, v);
    limits_and_faults(r, f);
    let z = r.mmap(f, 1, Access::Shared, P);
    r.run("ga.mmap-before-close", z);
    r.poke(z.unwrap(), 7);
    r.close(f);
    r.run("ga.close-mapped", Ok(()));
    let left = r.peek(z.unwrap());
    r.say("ga.mapping-after-close", Ok(left), "-");
    r.munmap(z.unwrap(), 1);
}

fn allocations(r: &mut Replay, f: FileId) {
    let result = r.ioctl(f, Request::new(Direction::None, b'G', 99, 0), 0);
    r.run("ga.ioctl-unknown", result);
    for (name, request) in
        [("alloc", ga::ALLOC_GREF), ("dealloc", ga::DEALLOC_GREF), ("notify", ga::SET_UNMAP_NOTIFY)]
    {
        let result = r.ioctl(f, request, BAD);
        r.run(&format!("ga.{name}-badptr"), result);
    }
    for (name, count) in [("0", 0), ("1025", 1025), ("ffffffff", u32::MAX)] {
        let result = r.alloc(f, 0, 1, count);
        r.run(&format!("ga.alloc-{name}"), result);
    }
    for (name, domain, flags, count) in [
        ("1", 0, 1, 1),
        ("2", 0, 1, 2),
        ("16-ro", 0, 0, 16),
        ("flags-fffe", 0, 0xfffe, 1),
        ("dom-5", 5, 1, 1),
        ("dom-7ff0", 0x7ff0, 1, 1),
    ] {
        let result = r.alloc(f, domain, flags, count).map(|()| 0);
        let mut info = format!("index={}", hex(r.alloc_index));
        match name {
            "1" => info += &format!(" refs-ok={}", i32::from(r.references[0] >= 8)),
            "2" => {
                info += &format!(" consecutive-refs={}", i32::from(r.references[1] == r.references[0] + 1));
            }
            _ => {}
        }
        r.say(&format!("ga.alloc-{name}"), result, info);
    }
}

fn mappings(r: &mut Replay, f: FileId) -> u64 {
    for (name, access) in [("private", Access::Private), ("private-ro", Access::PrivateRead)] {
        let result = r.mmap(f, 1, access, 0);
        r.run(&format!("ga.mmap-{name}"), result);
    }
    let result = r.mmap(f, 1, Access::Shared, 0);
    r.run("ga.mmap-0", result);
    let v = result.unwrap();
    let first = r.peek(v);
    r.say("ga.zeroed", Ok(0), first);
    r.poke(v, 0x42);
    let w = r.mmap(f, 1, Access::Shared, 0).unwrap();
    let seen = r.peek(w);
    r.say("ga.mmap-0-twice", Ok(0), format!("sees={seen:#x}"));
    r.munmap(w, 1);
    for (name, pages, offset) in [
        ("3-across-allocs", 3, 0),
        ("middle", 1, 2 * P),
        ("past", 1, 1000 * P),
        ("too-long", 100, 0),
        ("ro-grant-writable", 1, 3 * P),
    ] {
        let result = r.mmap(f, pages, Access::Shared, offset);
        r.run(&format!("ga.mmap-{name}"), result);
        let Ok(w) = result else { continue };
        if name == "ro-grant-writable" {
            r.poke(w, 1);
            r.run("ga.poke-ro-grant", Ok(()));
        }
        r.munmap(w, pages);
    }
    v
}

fn refusals(r: &mut Replay, f: FileId) {
    for (name, index, count) in
        [("unknown", 1000 * P, 1), ("unaligned", 1, 1), ("too-many", 0, 100), ("count-0", 0, 0)]
    {
        let result = r.dealloc(f, index, count);
        r.run(&format!("ga.dealloc-{name}"), result);
    }
    for (name, index, action, port) in [
        ("unknown", 1000 * P, 1, 0),
        ("bad-action", 0, 4, 0),
        ("unknown-bad-action", 1000 * P, 4, 0),
        ("bad-port", 0, 2, 4000),
        ("port-huge", 0, 2, u32::MAX),
        ("action-0", 0, 0, 0),
        ("clear-byte", 5, 1, 0),
    ] {
        let result = r.notify(f, index, action, port);
        r.run(&format!("ga.notify-{name}"), result);
    }
}

fn deallocations(r: &mut Replay, f: FileId, v: u64) {
    r.poke(v + 5, 0x99);
    let result = r.dealloc(f, 0, 1);
    r.run("ga.dealloc-mapped", result);
    let (b0, b5) = (r.peek(v), r.peek(v + 5));
    r.say("ga.after-dealloc-mapped", Ok(0), format!("b0={b0:#x} b5={b5:#x}"));
    let result = r.dealloc(f, 0, 1);
    r.run("ga.dealloc-twice", result);
    let result = r.mmap(f, 1, Access::Shared, 0);
    r.run("ga.mmap-after-dealloc", result);
    r.munmap(v, 1);
    r.run("ga.munmap-last", Ok(()));
    let result = r.alloc(f, 0, 1, 1).map(|()| 0);
    let index = hex(r.alloc_index);
    r.say("ga.alloc-index-not-reused", result, format!("index={index}"));
    let result = r.dealloc(f, 5 * P, 4);
    r.run("ga.dealloc-part-of-16", result);
    let result = r.mmap(f, 16, Access::Shared, 3 * P);
    r.run("ga.mmap-across-hole", result);
}

fn limits_and_faults(r: &mut Replay, f: FileId) {
    let g = r.open(Device::Gntalloc);
    let mut allocated = 0;
    let errno = loop {
        match r.alloc(g, 0, 1, 100) {
            Ok(()) => allocated += 100,
            Err(errno) => break errno,
        }
    };
    assert_eq!(errno, Errno::ENOSPC);
    r.say("ga.limit-global", Err(errno), format!("allocated-in-100s={allocated}"));
    r.close(g);
    let g = r.open(Device::Gntalloc);
    let result = r.alloc(g, 0, 1, 100);
    r.run("ga.limit-freed-by-close", result);
    r.close(g);
    // The header fits into the last page, the references don't.
    let argument = LAST + P - 24;
    r.fill(argument, &[&0_u16.to_ne_bytes(), &1_u16.to_ne_bytes(), &8_u32.to_ne_bytes(), &[0; 16]]);
    let result = r.ioctl(f, ga::ALLOC_GREF, argument);
    r.run("ga.alloc-refs-straddle", result);
    r.client.protect(LAST);
    let result = r.ioctl(f, ga::ALLOC_GREF, argument);
    r.run("ga.alloc-readonly-arg", result);
    assert_eq!(r.ioctl(f, ga::ALLOC_GREF, ARGUMENT - 1), Err(Errno::EFAULT));
}
