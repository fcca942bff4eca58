//! The recorded transcript's groups `ga`, `gd`, `gn` and `gc` (Linux 6.12, dom0 of Xen 4.17), replayed on the drivers
//! without a kernel layer: both of grants, and that of event channels, on a guest that is alone.
//!
//! Each step is that of the probe program of the same name.

mod alloc;
mod channels;
#[path = "../driver/client.rs"]
mod client;
mod copies;
mod guest;
mod maps;
mod notify;
mod replay;

use replay::Replay;

/// Steps that are the kernel layer's or the host's: opens, seeks, modes, polls, signals, protections, children.
const NOT_THE_DRIVERS: &[&str] = &[
    "ga.open",
    "ga.read",
    "ga.write",
    "ga.lseek",
    "ga.poll",
    "ga.fork-child-sees",
    "gd.open",
    "gd.read",
    "gd.write",
    "gd.lseek",
    "gd.poll",
    "gd.poke-ro",
    "gd.mprotect-ro-to-rw",
    "gd.poke-after-mprotect",
    "gd.fork-child-peek",
    "gd.private-ro-mprotect-rw",
    "gd.rdonly-fd-mmap-rw",
    "gd.mremap-grow",
    "gd.mlock",
];

/// The replay against a record, line by line.
fn check(replay: &Replay, recorded: &str) {
    let is_left_out = |line: &&str| NOT_THE_DRIVERS.contains(&line.split(' ').next().unwrap());
    let recorded: Vec<&str> = recorded.lines().filter(|line| !is_left_out(line)).collect();
    let replayed: Vec<&str> = replay.lines.lines().collect();
    for (recorded, replayed) in recorded.iter().zip(&replayed) {
        assert_eq!(replayed, recorded);
    }
    assert_eq!(replayed.len(), recorded.len());
}

#[test]
fn the_record_of_gntalloc() {
    let mut replay = Replay::new();
    alloc::steps(&mut replay);
    check(&replay, include_str!("../../../../tests/oracle/gntalloc.txt"));
    assert_eq!(replay.gntalloc.pages(), 0);
    replay.guest.is_clean();
}

#[test]
fn the_record_of_gntdev() {
    let mut replay = Replay::new();
    maps::steps(&mut replay);
    check(&replay, include_str!("../../../../tests/oracle/gntdev.txt"));
    assert_eq!((replay.gntdev.maps(), replay.gntdev.live_grants(), replay.gntalloc.pages()), (0, 0, 0));
    replay.guest.is_clean();
}
