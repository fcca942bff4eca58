//! The recorded transcript's group `ev` (Linux 6.12, dom0 of Xen 4.17), replayed without a kernel layer.
//!
//! Each step is that of the probe program of the same name.

use crate::fake::{BAD, BASE, Bench, F, G};
use crate::oracle_pair::{loopback, two_ends};
use ioctlab_abi::{Direction, evtchn};
use ioctlab_chardev::{CallResult, Errno, FileId, Request, Stop};
use ioctlab_evtchn::{ChannelAbi, Port};
use std::fmt::Write;

/// Steps that are the kernel layer's or the host's: seeks, modes, blocking, signals, vectors, descriptors.
const NOT_THE_DRIVERS: &[&str] = &[
    "open",
    "stat",
    "lseek-set",
    "lseek-cur",
    "pread",
    "pwrite",
    "mmap",
    "read-block-interrupted",
    "set-async",
    "rdonly-write",
    "wronly-read",
    "readv-2+6",
    "dup-notify",
];

pub(crate) struct Replay {
    pub(crate) bench: Bench,
    lines: String,
}

/// A wait in a non-blocking call.
fn plain<T>(result: CallResult<T>) -> Result<T, Errno> {
    result.map_err(|stop| match stop {
        Stop::Fail(errno) => errno,
        Stop::Wait => Errno::EAGAIN,
    })
}

impl Replay {
    pub(crate) fn say(&mut self, name: &str, result: Result<i64, Errno>, info: &str) {
        let _ = match result {
            Ok(value) => writeln!(self.lines, "ev.{name} -> {value} 0 {info}"),
            Err(errno) => writeln!(self.lines, "ev.{name} -> -1 {errno} {info}"),
        };
    }

    pub(crate) fn run(&mut self, name: &str, result: CallResult<i64>) {
        self.say(name, plain(result), "-");
    }

    /// A new port is shown as 1.
    pub(crate) fn bound(&mut self, name: &str, result: CallResult<i64>, info: &str) {
        self.say(name, plain(result).map(|_| 1), info);
    }

    pub(crate) fn len(&mut self, name: &str, result: CallResult<usize>) {
        self.say(name, plain(result).map(|len| len as i64), "-");
    }

    pub(crate) fn revents(&mut self, file: FileId) -> i64 {
        self.bench.pump();
        // The probe asks for POLLIN, POLLOUT and POLLERR, or with a timeout for POLLIN alone.
        i64::from(self.bench.driver.poll(file).0 & 0xd)
    }

    pub(crate) fn poll(&mut self, name: &str, file: FileId) {
        let revents = self.revents(file);
        self.say(name, Ok(revents), "-");
    }

    /// A poll with a timeout, which shows nothing if it runs out.
    pub(crate) fn event(&mut self, name: &str, file: FileId, info: &str) {
        let revents = self.revents(file);
        self.say(name, Ok(if revents & 1 != 0 { revents } else { 0 }), info);
    }

    pub(crate) fn drain(&mut self, file: FileId) {
        while self.revents(file) & 1 != 0 {
            let read = self.bench.read(file, 4096).unwrap();
            self.bench.write(file, &read).unwrap();
        }
    }

    pub(crate) fn port(&mut self, name: &str, file: FileId, count: usize, expected: u32, info: &str) {
        let read = plain(self.bench.read(file, count));
        let matches = read.as_ref().is_ok_and(|read| read.first() == Some(&expected));
        let info = if matches { info } else { "another port" };
        self.say(name, read.map(|read| read.len() as i64 * 4), info);
    }
}

#[test]
fn the_recorded_transcript() {
    let mut bench = Bench::new(ChannelAbi::Fifo);
    bench.xen.kernel_virqs = vec![0, 2, 9, 16];
    bench.xen.first = 14;
    for port in 0..14 {
        bench.driver.claim_for_kernel(Port(port)).unwrap();
    }
    let mut replay = Replay { bench, lines: String::new() };
    fresh(&mut replay);
    virqs(&mut replay);
    loopback(&mut replay);
    two_ends(&mut replay);
    many(&mut replay);
    restricted(&mut replay);
    statics(&mut replay);

    let recorded = include_str!("ev.txt").lines().filter(|line| {
        let name = line.split(' ').next().unwrap().strip_prefix("ev.").unwrap();
        !NOT_THE_DRIVERS.contains(&name)
    });
    let recorded: Vec<_> = recorded.collect();
    let replayed: Vec<_> = replay.lines.lines().collect();
    for (recorded, replayed) in recorded.iter().zip(&replayed) {
        assert_eq!(recorded, replayed);
    }
    assert_eq!(recorded.len(), replayed.len());
}

fn fresh(r: &mut Replay) {
    let wrong_size = Request::new(Direction::None, b'E', 0, 8);
    let wrong_direction = Request::new(Direction::Write, b'E', 0, 4);
    for (name, request) in [
        ("unknown", Request::new(Direction::None, b'E', 99, 0)),
        ("wrong-size", wrong_size),
        ("tcgets", Request(0x5401)),
        ("IOW-dir", wrong_direction),
    ] {
        let result = r.bench.ioctl_at(F, request, BASE);
        r.run(&format!("ioctl-{name}"), result);
    }
    let result = r.bench.ioctl_at(F, Request(0x541b), BASE);
    r.run("fionread", result);
    r.poll("poll-fresh", F);
    for count in [0, 1, 3, 4, 7, 8] {
        let result = r.bench.read_at(G, BASE, count);
        r.len(&format!("read-nb-empty-{count}"), result);
    }
    let result = r.bench.read_at(G, BAD, 4);
    r.len("read-nb-empty-4-badptr", result);
    let result = r.bench.read_at(G, BAD, 0);
    r.len("read-0-badptr", result);
    for count in [0, 1, 3, 4, 7, 8] {
        let result = r.bench.write_at(G, BASE, count);
        r.len(&format!("write-unbound-port-{count}"), result);
    }
    for (name, at, count) in
        [("badptr", BAD, 4), ("3-badptr", BAD, 3), ("8192", BASE, 8192), ("4097", BASE, 4097)]
    {
        let result = r.bench.write_at(G, at, count);
        r.len(&format!("write-{name}"), result);
    }
    let result = r.bench.read_at(F, BASE, 3);
    r.len("read-block-3-bytes", result);
    for (name, request) in [
        ("virq-badptr", evtchn::BIND_VIRQ),
        ("inter-badptr", evtchn::BIND_INTERDOMAIN),
        ("unb-badptr", evtchn::BIND_UNBOUND_PORT),
        ("unbind-badptr", evtchn::UNBIND),
        ("notify-badptr", evtchn::NOTIFY),
        ("restrict-badptr", evtchn::RESTRICT_DOMID),
        ("static-badptr", evtchn::BIND_STATIC),
        ("reset-anyarg", evtchn::RESET),
    ] {
        let result = r.bench.ioctl_at(F, request, BAD);
        r.run(name, result);
    }
}

fn virqs(r: &mut Replay) {
    for virq in 0..26 {
        let result = r.bench.word(F, evtchn::BIND_VIRQ, virq);
        r.bound(&format!("virq-{virq}"), result, if result.is_ok() { "bound" } else { "-" });
        let Ok(port) = result else { continue };
        if virq == 3 {
            let again = r.bench.word(F, evtchn::BIND_VIRQ, virq);
            r.bound("virq-3-again", again, "-");
            let result = r.bench.notify(F, port as u32);
            r.run("notify-virq-port", result);
            r.event("notify-virq-delivers", F, "-");
        }
        r.bench.unbind(F, port as u32).unwrap();
    }
    let result = r.bench.word(F, evtchn::BIND_VIRQ, u32::MAX);
    r.bound("virq-ffffffff", result, "-");
    r.bench.ioctl(F, evtchn::RESET, &[]).unwrap();

    let result = r.bench.word(F, evtchn::BIND_VIRQ, 8);
    r.bound("purge-bind-virq8", result, "-");
    let v = result.unwrap() as u32;
    r.bench.xen.raise_virq(8);
    let before = r.revents(F);
    let result = r.bench.unbind(F, v);
    r.run("purge-unbind-unread", result);
    r.event("purge-poll-after-unbind", F, &format!("before-unbind={before}"));
    let z = r.bench.unbound(F);
    r.event("purge-reused-port", F, &format!("same-port={}", i32::from(z == v)));
    r.port("purge-read-on-new-binding", F, 4, z, "is-new-port=1");
    r.bench.unbind(F, z).unwrap();
    r.bench.ioctl(F, evtchn::RESET, &[]).unwrap();
}

fn many(r: &mut Replay) {
    let mut pairs = Vec::new();
    for _ in 0..100 {
        let a = r.bench.unbound(F);
        let b = r.bench.interdomain(F, 0, a).unwrap() as u32;
        pairs.push((a, b));
    }
    r.drain(F);
    for place in [7, 3, 50, 0, 99] {
        r.bench.notify(F, pairs[place].0).unwrap();
    }
    r.bench.pump();
    let mut info = String::new();
    for (count, prefix) in [(8, "n="), (4096, " n=")] {
        let read = r.bench.read(F, count).unwrap();
        let _ = write!(info, "{prefix}{}:", read.len() * 4);
        for port in &read {
            let _ = write!(info, "{},", pairs.iter().position(|(_, b)| b == port).unwrap());
        }
        r.bench.write(F, &read).unwrap();
    }
    r.say("many-order-notified-7,3,50,0,99", Ok(0), &info);
    for (a, b) in &pairs {
        r.bench.notify(F, *a).unwrap();
        r.bench.notify(F, *b).unwrap();
    }
    r.bench.pump();
    let total = r.bench.read(F, 4096).unwrap().len() as i64;
    r.say("many-200-pending", Ok(total), "read-calls=1");
    r.bench.release(F);
    r.run("close-while-bound", Ok(0));
    r.bench.driver.open(F);
    let result = r.bench.interdomain(F, 0, pairs[0].0);
    r.bound("inter-to-closed", result, "-");
}

fn restricted(r: &mut Replay) {
    let (a, b) = r.bench.pair(F);
    r.bench.notify(F, a).unwrap();
    r.event("dup-poll", F, "-");
    r.drain(F);
    let restrict =
        |r: &mut Replay, domain: u16| r.bench.ioctl(F, evtchn::RESTRICT_DOMID, &domain.to_ne_bytes());
    for domain in [0, 0x7ff0, 0x7fff, 0xffff] {
        let result = restrict(r, domain);
        r.run(&format!("restrict-{domain:x}"), result);
    }
    r.run("restrict-self-if-0", Ok(0));
    let result = restrict(r, 0x7fef);
    r.run("restrict-7fef", result);
    let result = restrict(r, 5);
    r.run("restrict-again", result);
    for (name, request) in [
        ("restrict-again-badptr", evtchn::RESTRICT_DOMID),
        ("restricted-virq", evtchn::BIND_VIRQ),
        ("restricted-virq-badptr", evtchn::BIND_VIRQ),
        ("restricted-unb-match", evtchn::BIND_UNBOUND_PORT),
    ] {
        let at = if name.ends_with("badptr") { BAD } else { BASE };
        let result = r.bench.ioctl_at(F, request, at);
        r.run(name, result);
    }
    let result = r.bench.interdomain(F, 0, a);
    r.run("restricted-inter-0", result);
    let result = r.bench.interdomain(F, 0x7fef, 1);
    r.run("restricted-inter-match", result);
    let result = r.bench.ioctl_at(F, evtchn::BIND_INTERDOMAIN, BAD);
    r.run("restricted-inter-badptr", result);
    let result = r.bench.interdomain(F, 0x17fef, 1);
    r.run("restricted-inter-10000+match", result);
    let result = r.bench.notify(F, a);
    r.run("restricted-notify", result);
    r.event("restricted-poll", F, "-");
    let result = r.bench.unbind(F, a);
    r.run("restricted-unbind", result);
    let result = r.bench.ioctl(F, evtchn::RESET, &[]);
    r.run("restricted-reset", result);
    let result = r.bench.word(F, evtchn::BIND_STATIC, 0x7fff_ffff);
    r.run("restricted-static", result);
    let _ = b;
    r.bench.release(F);
    r.bench.driver.open(F);

    let result = r.bench.word(F, evtchn::BIND_VIRQ, 8);
    r.bound("virq8", result, "-");
    r.bench.xen.raise_virq(8);
    r.event("virq8-delivered", F, "needs console_to_ring");
    r.port("virq8-read", F, 4, result.unwrap() as u32, "match=1");
    for name in ["rdonly-bind", "wronly-bind"] {
        let port = r.bench.unbound(G);
        r.bound(name, Ok(i64::from(port)), "-");
        r.bench.unbind(G, port).unwrap();
    }
}

fn statics(r: &mut Replay) {
    let a = r.bench.unbound(F);
    let result = r.bench.word(F, evtchn::BIND_STATIC, a);
    r.run("static-own", result);
    for (name, port) in
        [("131072", 131_072), ("ffffffff", u32::MAX), ("unallocated-3000", 3000), ("3000-again", 3000)]
    {
        let result = r.bench.word(G, evtchn::BIND_STATIC, port);
        r.run(&format!("static-{name}"), result);
    }
    let result = r.bench.notify(G, 3000);
    r.run("static-3000-notify", result);
    r.event("static-3000-poll", G, "-");
    let result = r.bench.unbind(G, 3000);
    r.run("static-3000-unbind", result);
    for port in [2000, 4095, 1023, 1024] {
        let result = r.bench.unbind(F, port);
        r.run(&format!("unbind-limit-now-{port}"), result);
    }
    let result = r.bench.unbind(F, a);
    r.run("unbind-a-end", result);
}
