//! Group `gd`: gntdev's maps and mappings.

use ioctlab_abi::{Direction, gntalloc as ga, gntdev as gd};
use ioctlab_chardev::{FileId, Request};

use crate::replay::{ARGUMENT, Access, BAD, Device, LAST, P, Replay, SEGMENTS, hex};
use crate::{copies, notify};

/// Two files of gntdev.
#[derive(Clone, Copy)]
struct Files {
    g: FileId,
    g2: FileId,
}

pub(crate) fn steps(r: &mut Replay) {
    let g = r.open(Device::Gntdev);
    let f = r.open(Device::Gntalloc);
    let g2 = r.open(Device::Gntdev);
    let files = Files { g, g2 };
    refusals(r, g);
    // The page that all others are made from: 16 of them, which are mapped at `s` all along.
    r.alloc(f, 0, 1, 16).unwrap();
    let refs = r.references.clone();
    let s = r.mmap(f, 16, Access::Shared, r.alloc_index);
    r.run("gd.share-16", s);
    let s = s.unwrap();
    (0..16).for_each(|page| r.poke(s + page * P, 0x10 + page as u8));
    let [i0, i1, v] = mappings(r, files, &refs, s);
    unmaps(r, files, &refs, [i0, i1, v]);
    holes(r, &refs);
    bad_grants(r, &refs);
    read_only(r, &refs);
    parts(r, &refs);
    notify::steps(r, &refs, s);
    copies::steps(r, g, &refs, s);
    r.munmap(s, 16);
    r.close(f);
    r.run("gd.close-producer-first", Ok(()));
    r.close(g);
    r.run("gd.close", Ok(()));
    r.close(g2);
    // The sixteen pages for reading only are mapped until the process ends.
    r.unmap_all_of(g);
}

fn refusals(r: &mut Replay, g: FileId) {
    for (name, request) in [
        ("ioctl-unknown", Request::new(Direction::None, b'G', 99, 0)),
        ("set-max-grants", gd::SET_MAX_GRANTS),
        ("dmabuf-exp", Request::new(Direction::None, b'G', 9, 20)),
        ("alloc-on-gntdev", ga::ALLOC_GREF),
        ("wrong-size-map", Request::new(Direction::None, b'G', 0, 8)),
    ] {
        let result = r.ioctl(g, request, ARGUMENT);
        r.run(&format!("gd.{name}"), result);
    }
    for (name, request) in [
        ("map", gd::MAP_GRANT_REF),
        ("unmap", gd::UNMAP_GRANT_REF),
        ("off", gd::GET_OFFSET_FOR_VADDR),
        ("notify", gd::SET_UNMAP_NOTIFY),
        ("copy", gd::GRANT_COPY),
    ] {
        let result = r.ioctl(g, request, BAD);
        r.run(&format!("gd.{name}-badptr"), result);
    }
    for (name, count) in [("0", 0_u64), ("65537", 65537), ("ffffffff", 0xffff_ffff)] {
        r.fill(ARGUMENT, &[&count.to_ne_bytes(), &[0; 16]]);
        let result = r.ioctl(g, gd::MAP_GRANT_REF, ARGUMENT);
        r.run(&format!("gd.map-{name}"), result);
    }
    let argument = LAST + P - 24;
    for (name, count) in [("refs-straddle", 4_u64), ("readonly-arg", 1)] {
        r.fill(argument, &[&count.to_ne_bytes(), &[0; 16]]);
        if name == "readonly-arg" {
            r.client.protect(LAST);
        }
        let result = r.ioctl(g, gd::MAP_GRANT_REF, argument);
        r.run(&format!("gd.map-{name}"), result);
    }
    map_step(r, "map-after-failed-index", g, &[8]);
    r.unmap(g, r.map_index, 1).unwrap();
}

/// A step that maps, and shows the index; which it returns.
fn map_step(r: &mut Replay, name: &str, file: FileId, refs: &[u32]) -> u64 {
    let result = r.map(file, refs).map(|()| 0);
    let index = r.map_index;
    r.say(&format!("gd.{name}"), result, format!("index={}", hex(index)));
    index
}

fn off(r: &mut Replay, name: &str, file: FileId, address: u64) {
    r.fill(SEGMENTS, &[&address.to_ne_bytes(), &0xdead_u64.to_ne_bytes(), &77_u64.to_ne_bytes()]);
    let result = r.ioctl(file, gd::GET_OFFSET_FOR_VADDR, SEGMENTS).map(|()| 0);
    let (offset, count) = (hex(r.long(SEGMENTS + 8)), r.word(SEGMENTS + 16));
    r.say(&format!("gd.{name}"), result, format!("offset={offset} count={count}"));
}

fn mappings(r: &mut Replay, files: Files, refs: &[u32], s: u64) -> [u64; 3] {
    let Files { g, g2 } = files;
    let i0 = map_step(r, "map-1", g, &refs[..1]);
    let i1 = map_step(r, "map-2", g, &refs[1..3]);
    let i2 = map_step(r, "map-16", g, refs);
    map_step(r, "other-fd-index", g2, &refs[..1]);
    for (name, pages, access, offset) in [
        ("private-rw", 1, Access::Private, i0),
        ("wrong-off", 1, Access::Shared, 500 * P),
        ("mid-off", 1, Access::Shared, i1 + P),
        ("short", 1, Access::Shared, i1),
        ("long", 2, Access::Shared, i0),
        ("none", 1, Access::SharedRead, 500 * P),
    ] {
        let result = r.mmap(g, pages, access, offset);
        r.run(&format!("gd.mmap-{name}"), result);
    }
    let v = r.mmap(g, 1, Access::Shared, i0);
    r.run("gd.mmap-1", v);
    let v = v.unwrap();
    let seen = r.peek(v);
    r.say("gd.see-producer", Ok(seen), "expect=16");
    r.poke(s + 1, 0x77);
    let seen = r.peek(v + 1);
    r.say("gd.see-producer-2", Ok(seen), "expect=119");
    r.poke(v + 2, 0x55);
    let seen = r.peek(s + 2);
    r.say("gd.producer-sees", Ok(seen), "expect=85");
    let result = r.mmap(g, 1, Access::Shared, i0);
    r.run("gd.mmap-1-again", result);
    let w = r.mmap(g, 16, Access::SharedRead, i2);
    r.run("gd.mmap-16-ro", w);
    let w = w.unwrap();
    let whole = (0..16).all(|page| r.peek(w + page * P) == 0x10 + page as i64);
    r.say("gd.16-content", Ok(i64::from(whole)), "-");
    for (name, file, address) in [
        ("good", g, v),
        ("inside-page", g, v + 100),
        ("mid-page-of-16", g, w + 5 * P + 3),
        ("other-fd", g2, v),
        ("stack", g, ARGUMENT),
        ("null", g, 0),
        ("kernel", g, 0xffff_ffff_8000_0000),
        ("gntalloc-map", g, s),
    ] {
        off(r, &format!("off-{name}"), file, address);
    }
    gap(r, g, refs, w - 4 * P);
    [i0, i1, v]
}

/// A mapping with nothing on either side of it, `area` being four pages below all other mappings.
fn gap(r: &mut Replay, g: FileId, refs: &[u32], area: u64) {
    r.map(g, &refs[3..4]).unwrap();
    let index = r.map_index;
    let m = r.mmap_at(area + 2 * P, g, 1, Access::Shared, index);
    r.run("gd.off-gap-setup", m);
    off(r, "off-unmapped-below", g, area + P);
    off(r, "off-unmapped-above", g, area + 3 * P);
    r.munmap(m.unwrap(), 1);
    off(r, "off-after-munmap", g, m.unwrap());
    let result = r.mmap(g, 1, Access::Shared, index);
    r.run("gd.remap-after-munmap", result);
    let result = r.unmap(g, index, 1);
    r.run("gd.unmap-ref-after-munmap", result);
}

fn unmaps(r: &mut Replay, files: Files, refs: &[u32], [i0, i1, v]: [u64; 3]) {
    let Files { g, g2 } = files;
    let seen = r.peek(v);
    r.say("gd.parent-after-fork", Ok(seen), "-");
    for (name, file, index, count) in [
        ("unknown", g, 900 * P, 1),
        ("wrong-count", g, i1, 1),
        ("mid", g, i1 + P, 1),
        ("other-fd", g2, i1, 2),
        ("unaligned-index", g, i1 + 5, 2),
        ("again", g, i1, 2),
        ("while-mapped", g, i0, 1),
    ] {
        let result = r.unmap(file, index, count);
        r.run(&format!("gd.unmap-{name}"), result);
    }
    let seen = r.peek(v);
    r.say("gd.still-usable", Ok(seen), "-");
    off(r, "off-after-unmap-ref", g, v);
    let result = r.unmap(g, i0, 1);
    r.run("gd.unmap-while-mapped-again", result);
    let again = map_step(r, "index-reuse-while-vma", g, &refs[..1]);
    let w = r.mmap(g, 1, Access::Shared, again);
    r.run("gd.mmap-reused-index", w);
    r.munmap(w.unwrap(), 1);
    let result = r.unmap(g, again, 0);
    r.run("gd.unmap-count-0", result);
    r.munmap(v, 1);
    r.run("gd.munmap-v", Ok(()));
}

fn holes(r: &mut Replay, refs: &[u32]) {
    let h = r.open(Device::Gntdev);
    let index: Vec<u64> = (0..4)
        .map(|at| {
            r.map(h, &refs[at..=at]).unwrap();
            r.map_index
        })
        .collect();
    let hole = format!("hole={} ", hex(index[1]));
    for (name, unmapped, pages, hole) in [
        ("exact-fit", Some(1), 1, &*hole),
        ("2-for-1", Some(2), 1, &*hole),
        ("2pages", None, 2, ""),
        ("at-0", Some(0), 1, ""),
    ] {
        if let Some(unmapped) = unmapped {
            r.unmap(h, index[unmapped], 1).unwrap();
        }
        r.map(h, &refs[..pages]).unwrap();
        let got = hex(r.map_index);
        r.say(&format!("gd.hole-{name}"), Ok(0), format!("{hole}got={got}"));
    }
    r.close(h);
}

fn bad_grants(r: &mut Replay, refs: &[u32]) {
    let h = r.open(Device::Gntdev);
    let result = r.map(h, &[refs[0], 0x3f_ffff, refs[1], refs[2]]);
    r.run("gd.badref-map", result);
    let index = r.map_index;
    for name in ["mmap", "mmap-retry"] {
        let result = r.mmap(h, 4, Access::Shared, index);
        r.run(&format!("gd.badref-{name}"), result);
    }
    let result = r.unmap(h, index, 4);
    r.run("gd.badref-unmap", result);
    for (name, domain) in [("baddom", 5), ("domid-self", 0x7ff0), ("domid-truncation", 0x1_0000)] {
        r.map_of(h, &refs[..1], domain).unwrap();
        let result = r.mmap(h, 1, Access::Shared, r.map_index);
        r.run(&format!("gd.{name}-mmap"), result);
    }
    r.map(h, &[refs[0]; 2]).unwrap();
    let m = r.mmap(h, 2, Access::Shared, r.map_index);
    r.poke(m.unwrap(), 0x31);
    let seen = r.peek(m.unwrap() + P);
    r.say("gd.same-ref-twice", m.map(|_| 0), seen);
    close_all(r, h);
}

/// Closes a file; its mappings stay until the process's end, which here comes at once.
fn close_all(r: &mut Replay, file: FileId) {
    r.close(file);
    r.unmap_all_of(file);
}

fn read_only(r: &mut Replay, refs: &[u32]) {
    let (h, k) = (r.open(Device::Gntdev), r.open(Device::Gntalloc));
    r.alloc(k, 0, 0, 1).unwrap();
    let grant = [r.references[0]];
    r.map(h, &grant).unwrap();
    let result = r.mmap(h, 1, Access::Shared, r.map_index);
    r.run("gd.rogrant-mmap-rw", result);
    r.map(h, &grant).unwrap();
    let m = r.mmap(h, 1, Access::SharedRead, r.map_index);
    r.run("gd.rogrant-mmap-ro", m);
    let seen = r.peek(m.unwrap());
    r.say("gd.rogrant-peek", Ok(seen), "-");
    r.map(h, &refs[..1]).unwrap();
    let m = r.mmap(h, 1, Access::PrivateRead, r.map_index);
    r.run("gd.private-ro", m);
    let seen = r.peek(m.unwrap());
    r.say("gd.private-ro-peek", Ok(seen), "-");
    close_all(r, h);
    r.close(k);
    let h = r.open(Device::Gntdev);
    r.map(h, &refs[..1]).unwrap();
    let result = r.mmap(h, 1, Access::SharedRead, r.map_index);
    r.run("gd.rdonly-fd-mmap-ro", result);
    close_all(r, h);
}

fn parts(r: &mut Replay, refs: &[u32]) {
    let h = r.open(Device::Gntdev);
    r.map(h, &refs[..4]).unwrap();
    let m = r.mmap(h, 4, Access::Shared, r.map_index);
    r.run("gd.partial-setup", m);
    let m = m.unwrap();
    r.munmap(m + P, 1);
    r.run("gd.partial-munmap-mid", Ok(()));
    let seen: Vec<String> = (0..4).map(|page| format!("p{page}={}", r.peek(m + page * P))).collect();
    r.say("gd.partial-left", Ok(0), seen.join(" "));
    off(r, "partial-off-p2", h, m + 2 * P);
    let result = r.unmap(h, r.map_index, 4);
    r.run("gd.partial-unmap-ref", result);
    r.munmap(m, 4);
    r.map(h, &refs[..2]).unwrap();
    let m = r.mmap(h, 2, Access::Shared, r.map_index).unwrap();
    r.zap(m, 1, false);
    r.run("gd.madvise-dontneed", Ok(()));
    let (p0, p1) = (r.peek(m), r.peek(m + P));
    r.say("gd.after-dontneed", Ok(0), format!("p0={p0} p1={p1} (negative=signal)"));
    r.munmap(m, 2);
    r.close(h);
}
