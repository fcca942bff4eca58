//! The recorded transcript (Linux 6.12), devices A, B and C: what the driver has a part in, replayed.

use std::fmt::Display;

use ioctlab_chardev::Errno;

use crate::bench::Bench;
use crate::fake::Fake;
use crate::oracle_steps::{bars, config, info, irqs, reset};

const RECORD: &str = include_str!("../../../../tests/oracle/vfio.txt");

/// Steps that are the kernel layer's or the host's: seeks, polls, vectors, positions that can't be, what is done to mappings.
fn is_left_out(name: &str) -> bool {
    let left_out = [
        "k.lseek",
        "k.read-after-lseek",
        "k.lseek-end",
        "k.poll",
        "k.preadv",
        "k.pread-neg",
        "b.mem-on-peek",
        "b.mem-off-peek",
        "b.mem-on-again-peek",
        "b.fork-child-peek",
        "b.madvise-dontneed",
        "b.after-dontneed",
        "b.mremap-grow",
        "b.edu-live-mmap",
        "b.edu-live-pread",
    ];
    left_out.contains(&name)
        || ["-mmap-peek", "-mmap-mprotect-rw", "-mmap-off-1", "-mmap-exec", "-mmap-private-ro"]
            .iter()
            .any(|end| name.ends_with(end))
}

/// The steps of the groups `d`, `k`, `b`, `i` and `r`, and what is there when the device is opened again.
fn is_of_a_device(line: &str) -> bool {
    ["d.", "k.", "b.", "i.", "r.", "dev.reopen"].iter().any(|start| line.starts_with(start))
}

/// What the probe program prints.
pub(crate) struct Replay {
    pub(crate) bench: Bench,
    pub(crate) is_edu: bool,
    lines: Vec<String>,
}

impl Replay {
    pub(crate) fn say<T: TryInto<i64>>(
        &mut self,
        name: impl Display,
        result: Result<T, Errno>,
        info: impl Display,
    ) {
        self.lines.push(match result {
            Ok(value) => format!("{name} -> {} 0 {info}", value.try_into().ok().unwrap()),
            Err(errno) => format!("{name} -> -1 {errno} {info}"),
        });
    }

    pub(crate) fn run<T: TryInto<i64>>(&mut self, name: impl Display, result: Result<T, Errno>) {
        self.say(name, result, "-");
    }
}

fn replay(section: char, function: Fake) {
    let mut replay = Replay { bench: Bench::new(function), is_edu: section == 'A', lines: Vec::new() };
    info(&mut replay);
    config(&mut replay);
    bars(&mut replay);
    irqs(&mut replay);
    reset(&mut replay);
    let bench = &mut replay.bench;
    bench.cw(4, 2, 6).unwrap();
    bench.close();
    assert!(bench.program.events.is_empty(), "all eventfds are let go");
    assert!(bench.function.messages.is_none());
    bench.open();
    let shown = format!("cmd={:04x} intline={:02x}", bench.cr(4, 2), bench.cr(0x3c, 1));
    replay.say("dev.reopen", Ok(0), shown);
    let start = format!("## {section}:");
    let recorded = RECORD.lines().skip_while(|line| !line.starts_with(&start)).skip(1);
    let recorded = recorded.take_while(|line| !line.starts_with("##")).filter(|line| is_of_a_device(line));
    let recorded: Vec<&str> = recorded.filter(|line| !is_left_out(line.split(' ').next().unwrap())).collect();
    for (recorded, replayed) in recorded.iter().zip(&replay.lines) {
        assert_eq!(replayed, recorded);
    }
    assert_eq!(replay.lines.len(), recorded.len());
}

#[test]
fn the_record_of_edu() {
    replay('A', Fake::edu());
}

#[test]
fn the_record_of_e1000e() {
    replay('B', Fake::e1000e());
}

#[test]
fn the_record_of_nvme() {
    replay('C', Fake::nvme());
}
