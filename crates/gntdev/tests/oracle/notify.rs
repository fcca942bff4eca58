//! Groups `gn` to `gn9`: what happens as maps and pages go.

use ioctlab_abi::evtchn as ev;
use ioctlab_chardev::FileId;

use crate::replay::{Access, Device, P, Replay};

/// The event-channel file, its two ports (`a` is sent through, `c` gets the event), a gntdev file, and the shared pages.
struct Stage<'a> {
    e: FileId,
    a: u32,
    c: u32,
    h: FileId,
    refs: &'a [u32],
    s: u64,
}

pub(crate) fn steps(r: &mut Replay, refs: &[u32], s: u64) {
    // As evtchn's files are numbered apart.
    let (e, h) = (FileId(1), r.open(Device::Gntdev));
    r.guest.evtchn.open(e);
    let a = r.evtchn(e, ev::BIND_UNBOUND_PORT, &[0]).unwrap();
    let c = r.evtchn(e, ev::BIND_INTERDOMAIN, &[0, a]).unwrap();
    assert_eq!(r.events(e), [c]);
    let mut stage = Stage { e, a, c, h, refs, s };
    first(r, &stage);
    reversed_and_never_mapped(r, &stage);
    closed_and_killed(r, &stage);
    cancelled_and_read_only(r, &stage);
    unbound(r, &mut stage);
    gntallocs(r, &stage);
    let xen = &mut r.guest.xen;
    r.guest.evtchn.release(e, xen);
    r.close(h);
}

impl Stage<'_> {
    fn event(&self, r: &mut Replay, name: &str) {
        let events = r.events(self.e);
        let info = match *events {
            [] => "event-none",
            [port] if port == self.c => "event-at-peer",
            _ => "event-other",
        };
        r.say(name, Ok(i64::from(!events.is_empty())), info);
    }

    fn byte(&self, r: &mut Replay, name: &str, at: u64) {
        let byte = r.peek(self.s + at);
        r.say(name, Ok(byte), "-");
    }

    /// A map of the first page; its index.
    fn map(&self, r: &mut Replay, file: FileId) -> u64 {
        r.map(file, &self.refs[..1]).unwrap();
        r.map_index
    }
}

fn first(r: &mut Replay, stage: &Stage<'_>) {
    let Stage { h, a, s, .. } = *stage;
    r.map(h, &stage.refs[..2]).unwrap();
    let index = r.map_index;
    for (name, at, action, port) in [
        ("unknown-index", index + 2 * P, 1, 0),
        ("bad-action", index, 4, 0),
        ("bad-action-unknown-index", 999 * P, 8, 0),
        ("bad-port", index, 2, 4000),
        ("port-0", index, 2, 0),
        ("port-huge", index, 2, 0x7fff_ffff),
        ("port-ffffffff", index, 2, u32::MAX),
        ("kernel-port-1", index, 2, 1),
        ("bad-port-unknown-index", 999 * P, 2, 4000),
        ("good-port-unknown-index", 999 * P, 2, a),
        ("set-clear+event-premap", index + P + 9, 3, a),
        ("set-again", index + P + 9, 3, a),
    ] {
        let result = r.notify(h, at, action, port);
        r.run(&format!("gn.{name}"), result);
    }
    let m = r.mmap(h, 2, Access::Shared, index);
    r.run("gn.mmap", m);
    let m = m.unwrap();
    r.poke(m + P + 9, 0xaa);
    r.poke(m + P + 10, 0xbb);
    stage.byte(r, "gn.before", P + 9);
    r.munmap(m, 2);
    r.run("gn.munmap", Ok(()));
    let (byte, neighbour) = (r.peek(s + P + 9), r.peek(s + P + 10));
    r.say("gn.byte-after-munmap", Ok(byte), format!("neighbour={neighbour:#x}"));
    stage.event(r, "gn.event-after-munmap");
    let result = r.unmap(h, index, 2);
    r.run("gn.unmap-ref", result);
    stage.event(r, "gn.event-after-unmap-ref");
}

fn reversed_and_never_mapped(r: &mut Replay, stage: &Stage<'_>) {
    let Stage { h, a, s, .. } = *stage;
    let index = stage.map(r, h);
    let m = r.mmap(h, 1, Access::Shared, index).unwrap();
    let result = r.notify(h, index + 20, 3, a);
    r.run("gn2.set", result);
    r.poke(m + 20, 0xcc);
    let result = r.unmap(h, index, 1);
    r.run("gn2.unmap-ref", result);
    stage.byte(r, "gn2.byte-after-unmap-ref", 20);
    stage.event(r, "gn2.event-after-unmap-ref");
    let result = r.notify(h, index + 20, 0, 0);
    r.run("gn2.set-after-unmap-ref", result);
    r.munmap(m, 1);
    r.run("gn2.munmap", Ok(()));
    stage.byte(r, "gn2.byte-after-munmap", 20);
    stage.event(r, "gn2.event-after-munmap");

    let index = stage.map(r, h);
    r.notify(h, index + 30, 3, a).unwrap();
    r.poke(s + 30, 0xdd);
    r.unmap(h, index, 1).unwrap();
    stage.byte(r, "gn3.never-mapped-byte", 30);
    stage.event(r, "gn3.never-mapped-event");
}

fn closed_and_killed(r: &mut Replay, stage: &Stage<'_>) {
    let k = r.open(Device::Gntdev);
    let index = stage.map(r, k);
    let m = r.mmap(k, 1, Access::Shared, index).unwrap();
    r.notify(k, index + 40, 3, stage.a).unwrap();
    r.poke(m + 40, 0xee);
    r.close(k);
    r.run("gn4.close-fd", Ok(()));
    let (byte, seen) = (r.peek(stage.s + 40), r.peek(m + 40));
    r.say("gn4.byte-after-close", Ok(byte), format!("mapping-peek={seen}"));
    stage.event(r, "gn4.event-after-close");
    r.munmap(m, 1);
    stage.byte(r, "gn4.byte-after-munmap", 40);
    stage.event(r, "gn4.event-after-munmap");

    // A child, which is killed: its address space goes, then its files.
    let k = r.open(Device::Gntdev);
    let index = stage.map(r, k);
    let q = r.mmap(k, 1, Access::Shared, index).unwrap();
    r.notify(k, index + 50, 3, stage.a).unwrap();
    r.poke(q + 50, 0xef);
    r.unmap_all_of(k);
    r.close(k);
    stage.byte(r, "gn5.after-sigkill-byte", 50);
    stage.event(r, "gn5.after-sigkill-event");
}

fn cancelled_and_read_only(r: &mut Replay, stage: &Stage<'_>) {
    let Stage { h, a, .. } = *stage;
    let index = stage.map(r, h);
    r.notify(h, index + 60, 3, a).unwrap();
    let result = r.notify(h, index, 0, 0);
    r.run("gn6.cancel", result);
    let m = r.mmap(h, 1, Access::Shared, index).unwrap();
    r.poke(m + 60, 0x61);
    r.munmap(m, 1);
    r.unmap(h, index, 1).unwrap();
    stage.byte(r, "gn6.byte", 60);
    stage.event(r, "gn6.event");

    let index = stage.map(r, h);
    let m = r.mmap(h, 1, Access::SharedRead, index).unwrap();
    let result = r.notify(h, index, 1, 0);
    r.run("gn7.clear-on-ro", result);
    let result = r.notify(h, index, 2, a);
    r.run("gn7.event-on-ro", result);
    r.munmap(m, 1);
    r.unmap(h, index, 1).unwrap();
    stage.event(r, "gn7.event");
}

fn unbound(r: &mut Replay, stage: &mut Stage<'_>) {
    let index = stage.map(r, stage.h);
    r.notify(stage.h, index, 2, stage.a).unwrap();
    let result = r.evtchn(stage.e, ev::UNBIND, &[stage.a]);
    r.run("gn8.unbind-port", result);
    let result = r.unmap(stage.h, index, 1);
    r.run("gn8.unmap-ref", result);
    stage.event(r, "gn8.event-after-unbind");
    let again = r.evtchn(stage.e, ev::BIND_INTERDOMAIN, &[0, stage.c]);
    r.say("gn8.port-state", again.map(|_| 1), "rebind to peer");
    stage.a = again.unwrap();
    r.events(stage.e);
}

fn gntallocs(r: &mut Replay, stage: &Stage<'_>) {
    let h = stage.h;
    let k = r.open(Device::Gntalloc);
    r.alloc(k, 0, 1, 1).unwrap();
    let (x, grant) = (r.alloc_index, [r.references[0]]);
    let z = r.mmap(k, 1, Access::Shared, x).unwrap();
    r.map(h, &grant).unwrap();
    let index = r.map_index;
    let m = r.mmap(h, 1, Access::Shared, index).unwrap();
    let result = r.notify(k, x + 3, 3, stage.a);
    r.run("gn9.alloc-notify", result);
    r.poke(z + 3, 0x91);
    r.munmap(z, 1);
    r.run("gn9.munmap-producer", Ok(()));
    let seen = r.peek(m + 3);
    r.say("gn9.consumer-byte", Ok(seen), "-");
    let result = r.dealloc(k, x, 1);
    r.run("gn9.dealloc", result);
    let seen = r.peek(m + 3);
    r.say("gn9.consumer-byte-after-dealloc", Ok(seen), "-");
    stage.event(r, "gn9.event-after-dealloc");
    r.close(k);
    r.run("gn9.close-alloc", Ok(()));
    let seen = r.peek(m + 4);
    r.say("gn9.consumer-after-producer-close", Ok(seen), "-");
    r.munmap(m, 1);
    r.run("gn9.consumer-munmap", Ok(()));
    r.unmap(h, index, 1).unwrap();
    let result = r.map(h, &grant);
    r.run("gn9.map-freed-ref", result);
    let m = r.mmap(h, 1, Access::Shared, r.map_index);
    r.run("gn9.mmap-freed-ref", m);
    r.munmap(m.unwrap(), 1);
}
