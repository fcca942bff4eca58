//! Clients that are killed by SIGKILL in the middle of things: nothing of them may stay in the lab.
//!
//! `IOCTLAB_KILLS` says how many; `IOCTLAB_SEED` repeats the moments at which they were killed, as far as that is possible.

use std::env;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::job::{Job, SOON};
use crate::shared::Lab;
use crate::stage::{Isolation, Stage};

/// How many are killed unless told.
const KILLS: usize = 1000;
/// How many runs there are at a time.
const AT_ONCE: usize = 4;
/// How much memory a server may gain between a tenth of the way and the end.
const ALLOWED_KIB: i64 = 1024;

fn kills() -> usize {
    env::var("IOCTLAB_KILLS").map_or(KILLS, |text| text.parse().expect("IOCTLAB_KILLS: a number"))
}

/// Random enough, and the same each time for the same seed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = env::var("IOCTLAB_SEED").map_or_else(
            |_| u64::from(std::process::id()),
            |text| text.parse().expect("IOCTLAB_SEED: a number"),
        );
        eprintln!("IOCTLAB_SEED={seed}");
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// Half of the clients are killed by the program that ioctlab has started, twenty in each run; the other half are such
/// programs themselves, and killed from outside: they, or `ioctlab run`, or both.
#[test]
fn in_a_shared_lab() {
    let stage = Stage::new();
    let victims = stage.support("victims");
    let lab = Lab::up(&stage);
    let server = lab.server();
    let mut random = Random::new();
    let (total, mut killed, mut early) = (kills(), 0, None);
    let begin = Instant::now();
    let mut runs: Vec<(Job, usize)> = Vec::new();
    while killed < total || !runs.is_empty() {
        if killed < total && runs.len() < AT_ONCE {
            let isolation = Isolation::BOTH[random.below(2) as usize];
            let mut command = lab.run(Some(isolation), None);
            command.arg(&victims).arg(random.below(1 << 30).to_string());
            // Of 40 clients, 20 in one run and each of 20 in one of its own.
            let inside = if random.below(21) == 0 { 20 } else { 0 };
            if inside > 0 {
                command.arg(inside.to_string());
            }
            killed += inside.max(1);
            runs.push((stage.start(&mut command), inside));
            continue;
        }
        let (job, inside) = runs.remove(random.below(runs.len() as u64) as usize);
        if inside > 0 {
            job.wait(Duration::from_secs(60)).succeeds().prints(&format!("killed {inside}"));
        } else {
            thread::sleep(Duration::from_millis(random.below(25)));
            kill_from_outside(job, random.below(3));
        }
        if early.is_none() && killed >= total / 10 {
            early = Some(resident(server));
        }
    }
    let rate = killed as f64 / begin.elapsed().as_secs_f64();
    lab.is_unused();
    let (early, late) = (early.unwrap_or_default(), resident(server));
    eprintln!(
        "{killed} clients killed, {rate:.0} a second; the server's memory: {early} KiB, then {late} KiB"
    );
    assert!(late - early <= ALLOWED_KIB, "the server has grown from {early} to {late} KiB");
    // Ports are free again, and events go their way.
    for isolation in Isolation::BOTH {
        stage
            .finish(lab.run(Some(isolation), None).arg(stage.client("static")))
            .succeeds()
            .prints("ok static");
    }
    lab.down();
    stage.is_clean();
}

fn kill_from_outside(job: Job, how: u64) {
    match how {
        // The program: ioctlab says how it ended.
        0 => {
            let children = children(job.pid());
            for child in &children {
                let _ = rustix::process::kill_process(Pid::from_raw(*child).unwrap(), Signal::KILL);
            }
            // It may not have been there yet.
            if children.is_empty() {
                job.signal_group(Signal::KILL);
            }
            end_whole_group(job);
        }
        // ioctlab first, then what is left.
        1 => {
            job.signal(Signal::KILL);
            thread::sleep(Duration::from_millis(5));
            end_whole_group(job);
        }
        _ => end_whole_group(job),
    }
}

/// Also ends what a program has forked, which is in the same group.
fn end_whole_group(job: Job) {
    // Not reaped yet: the group's number is still its own.
    thread::sleep(Duration::from_millis(1));
    job.signal_group(Signal::KILL);
    let _ = job.wait(SOON);
}

/// A process's children that have become victims.
fn children(process: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let numbers = list.split_whitespace().filter_map(|number| number.parse().ok());
    numbers
        .filter(|number| {
            fs::read_to_string(format!("/proc/{number}/comm")).is_ok_and(|name| name == "victims\n")
        })
        .collect()
}

/// A process's resident memory in KiB.
fn resident(process: i32) -> i64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn in_private_labs() {
    let stage = Stage::new();
    let victims = stage.support("victims");
    let mut random = Random::new();
    let rounds = kills() / 20;
    for round in 0..rounds {
        let isolation = Isolation::BOTH[round % 2];
        let seed = random.below(1 << 30).to_string();
        let mut job = stage.start(&mut stage.run(isolation, [victims.as_os_str(), seed.as_ref()]));
        if round % 3 > 0 {
            job.expect("ready");
        }
        thread::sleep(Duration::from_millis(random.below(25)));
        kill_from_outside(job, random.below(3));
    }
    // Within one private lab, too, and it goes on.
    for isolation in Isolation::BOTH {
        let seed = random.below(1 << 30).to_string();
        let command = [victims.as_os_str(), seed.as_ref(), "200".as_ref()];
        stage
            .finish_within(Duration::from_secs(60), &mut stage.run(isolation, command))
            .succeeds()
            .prints("killed 200");
    }
    stage.is_clean();
}
