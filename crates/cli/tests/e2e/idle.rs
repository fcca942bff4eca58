//! A device that nobody uses costs nothing.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::job::SOON;
use crate::shared::Lab;
use crate::stage::{Isolation, Stage};

/// One tick of the clock that processor time is counted by is 10 ms; it may be charged to whoever runs at the time.
const ALLOWED_TICKS: u64 = 1;

const SCRIPT: &str = "exec 3<>/dev/xen/evtchn && echo ready && sleep 2";

#[test]
fn a_private_lab() {
    let stage = Stage::new();
    for isolation in Isolation::BOTH {
        let mut job = stage.start(&mut stage.shell(isolation, SCRIPT));
        job.expect("ready");
        let before = ticks(job.pid());
        thread::sleep(Duration::from_millis(1800));
        let spent = ticks(job.pid()) - before;
        job.wait(SOON).succeeds();
        assert!(spent <= ALLOWED_TICKS, "{isolation:?}: the server spent {spent} ticks");
    }
}

#[test]
fn a_shared_lab() {
    let stage = Stage::new();
    let lab = Lab::up(&stage);
    let mut job = stage.start(lab.run(Some(Isolation::Paths), None).args(["sh", "-c", SCRIPT]));
    job.expect("ready");
    let before = (ticks(lab.server()), ticks(job.pid()));
    thread::sleep(Duration::from_millis(1800));
    let spent = (ticks(lab.server()) - before.0, ticks(job.pid()) - before.1);
    job.wait(SOON).succeeds();
    assert!(spent.0 <= ALLOWED_TICKS && spent.1 <= ALLOWED_TICKS, "server and run spent {spent:?} ticks");
    lab.down();
}

/// A process's processor time, its own and the kernel's for it.
fn ticks(process: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // Fields are counted from 1, and these come after the second: utime is the 14th, stime the 15th.
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
