//! The transcript's steps on two ports bound to each other.

use crate::fake::{BAD, BASE, F, G};
use crate::oracle::Replay;
use ioctlab_abi::evtchn;
use ioctlab_chardev::Stop;

pub(crate) fn loopback(r: &mut Replay) {
    for domain in [0, 0x7ff0, 1, 5, 0x7fef, 0x7ff1, 0x7ff2, 0x7ff4, 0x8000, 0xffff, 0x10000, 0xffff_ffff_u32]
    {
        let result = r.bench.word(F, evtchn::BIND_UNBOUND_PORT, domain);
        let name = if domain == 0 { "unb-dom-0".into() } else { format!("unb-dom-{domain:#x}") };
        r.bound(&name, result, "-");
        r.bench.unbind(F, result.unwrap() as u32).unwrap();
    }
    let a = r.bench.unbound(F);
    r.bound("loop-a", Ok(1), &format!("port={a}"));
    r.event("event-after-alloc-unbound", F, "does binding alone raise an event?");
    let v = r.bench.word(F, evtchn::BIND_VIRQ, 3).unwrap() as u32;
    r.event("event-after-bind-virq", F, "-");
    r.bench.unbind(F, v).unwrap();
    r.event("event-after-unbind-virq", F, "-");
    let result = r.bench.notify(F, a);
    r.run("notify-unconnected", result);
    r.event("notify-unconnected-delivers", F, "-");
    for (name, domain, port) in [
        ("dom5", 5, a),
        ("port-0", 0, 0),
        ("port-1", 0, 1),
        ("free-port", 0, a + 50),
        ("port-huge", 0, 0xffff_fff0),
        ("port-131072", 0, 131_072),
    ] {
        let result = r.bench.interdomain(F, domain, port);
        r.bound(&format!("inter-{name}"), result, "-");
    }
    let b = r.bench.interdomain(F, 0, a).unwrap() as u32;
    r.bound("loop-b", Ok(1), &format!("port={b}"));
    r.event("after-bind-event", F, "does binding raise an event at once?");
    r.port("after-bind-read", F, 64, b, "first=b");
    r.bench.write(F, &[b]).unwrap();
    for (name, port) in [("again", a), ("to-bound-b", b)] {
        let result = r.bench.interdomain(F, 0, port);
        r.bound(&format!("inter-{name}"), result, "-");
    }
    masked(r, a, b);
    both_and_reset(r, a, b);
    other_file_and_stale(r, a, b);
}

fn masked(r: &mut Replay, a: u32, b: u32) {
    r.poll("poll-idle", F);
    let result = r.bench.notify(F, a);
    r.run("notify-a", result);
    r.event("poll-after-notify", F, "-");
    for (name, at, count) in
        [("read-badptr-pending", BAD, 4), ("read-3-pending", BASE, 3), ("read-0-pending", BASE, 0)]
    {
        let result = r.bench.read_at(F, at, count);
        r.len(name, result);
    }
    r.port("read-7-pending", F, 7, b, "port=b");
    r.poll("poll-after-read", F);
    for name in ["notify-masked-1", "notify-masked-2"] {
        let result = r.bench.notify(F, a);
        r.run(name, result);
    }
    r.event("poll-masked", F, "-");
    let result = r.bench.write(F, &[b]);
    r.len("write-unmask", result);
    r.event("poll-unmasked", F, "-");
    r.port("read-coalesced", F, 64, b, "port=b");
    r.bench.write(F, &[b]).unwrap();
    r.event("poll-after-coalesced", F, "-");
    for name in ["notify-x1", "notify-x2"] {
        let result = r.bench.notify(F, a);
        r.run(name, result);
        r.bench.pump();
    }
    r.port("read-after-double", F, 64, b, "port=b");
    r.bench.write(F, &[b]).unwrap();
    r.event("second-event-after-unmask", F, "-");
    r.drain(F);
}

fn both_and_reset(r: &mut Replay, a: u32, b: u32) {
    r.bench.write(F, &[b, 0x7fff_ffff, a]).unwrap();
    for count in [12, 11] {
        let result = r.bench.write_at(F, BASE, count);
        r.len(&format!("write-mixed-{count}"), result);
    }
    r.bench.notify(F, a).unwrap();
    r.bench.notify(F, b).unwrap();
    r.bench.pump();
    let read = r.bench.read(F, 64).unwrap();
    r.say("both-directions", Ok(8), if read == [b, a] { "ba" } else { "otherwise" });
    r.bench.write(F, &read).unwrap();

    r.bench.notify(F, a).unwrap();
    r.bench.pump();
    let result = r.bench.ioctl_at(F, evtchn::RESET, BASE);
    r.run("reset-pending", result);
    r.event("poll-after-reset", F, "-");
    r.bench.notify(F, a).unwrap();
    r.event("notify-after-reset", F, "-");
    r.bench.write(F, &[b]).unwrap();
    r.event("unmask-after-reset", F, "-");
    r.drain(F);

    // A read that waits, and is issued again after the wake.
    r.bench.wakes();
    assert_eq!(r.bench.read(F, 4), Err(Stop::Wait));
    assert_eq!(r.bench.wakes(), []);
    r.bench.notify(F, a).unwrap();
    r.bench.pump();
    assert_eq!(r.bench.wakes(), [F]);
    r.port("read-block-woken", F, 4, b, "port=b");
    r.bench.write(F, &[b]).unwrap();
    r.bench.notify(F, a).unwrap();
    r.bench.pump();
    let signals = r.bench.wakes().len();
    r.say("sigio", Ok(0), &format!("count={signals}"));
    r.drain(F);
}

fn other_file_and_stale(r: &mut Replay, a: u32, b: u32) {
    let result = r.bench.notify(G, a);
    r.run("other-fd-notify", result);
    let result = r.bench.unbind(G, a);
    r.run("other-fd-unbind", result);
    let result = r.bench.write(G, &[b]);
    r.len("other-fd-unmask", result);
    let result = r.bench.word(G, evtchn::BIND_STATIC, 0x7fff_ffff);
    r.bound("other-fd-static", result, "-");

    r.bench.notify(F, a).unwrap();
    r.bench.pump();
    let result = r.bench.unbind(F, b);
    r.run("unbind-b-while-pending", result);
    r.port("stale-read", F, 64, b, "port=b");
    let result = r.bench.write(F, &[b]);
    r.len("stale-unmask", result);
    r.event("peer-closed-event", F, "does a get an event when b closes?");
    let result = r.bench.notify(F, a);
    r.run("notify-after-peer-unbind", result);
    let b2 = r.bench.interdomain(F, 0, a).unwrap() as u32;
    r.bound("rebind-peer", Ok(1), &format!("same-port={}", i32::from(b2 == b)));
    r.event("rebind-event", F, "-");
    r.drain(F);
    for (name, request, port) in [
        ("unbind-a-first", evtchn::UNBIND, a),
        ("notify-b2-after-a-gone", evtchn::NOTIFY, b2),
        ("unbind-a-twice", evtchn::UNBIND, a),
        ("notify-unbound", evtchn::NOTIFY, a),
    ] {
        let result = r.bench.word(F, request, port);
        r.run(name, result);
    }
    let result = r.bench.interdomain(F, 0, b2);
    r.bound("inter-to-orphan-b2", result, "-");
    r.bench.unbind(F, result.unwrap() as u32).unwrap();
    let result = r.bench.unbind(F, b2);
    r.run("unbind-b2", result);
    r.bench.pump();
    while r.bench.read(F, 4096).is_ok() {}
}

pub(crate) fn two_ends(r: &mut Replay) {
    let x = r.bench.unbound(F);
    let y = r.bench.interdomain(F, 0, x).unwrap() as u32;
    r.drain(F);
    r.bench.notify(F, x).unwrap();
    r.bench.pump();
    r.bench.read(F, 64).unwrap();
    r.bench.notify(F, x).unwrap();
    r.bench.unbind(F, y).unwrap();
    let z = r.bench.unbound(F);
    r.event("stale-pending-reuse", F, &format!("same-port={}", i32::from(z == y)));
    r.bench.unbind(F, z).unwrap();
    r.bench.unbind(F, x).unwrap();
    for (name, port) in
        [("0", 0), ("4095", 4095), ("131071", 131_071), ("131072", 131_072), ("ffffffff", u32::MAX)]
    {
        let result = r.bench.unbind(F, port);
        r.run(&format!("unbind-{name}"), result);
    }
    for (name, port) in [("131072", 131_072), ("ffffffff", u32::MAX)] {
        let result = r.bench.notify(F, port);
        r.run(&format!("notify-{name}"), result);
    }
}
