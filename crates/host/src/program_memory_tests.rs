//! Programs' memory as devices reach it: of this process, and of others that exec, end, and give their numbers away.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use rustix::process::{Pid, PidfdFlags};

use super::*;
use crate::sys::region::Region;

const PAGE: u64 = 4096;
/// What the tests' children are told by: anything but a test run.
const CHILD: &str = "IOCTLAB_TEST_CHILD";

fn pidfd(process: i32) -> OwnedFd {
    let pid = Pid::from_raw(process).expect("a process");
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).expect("alive")
}

fn this() -> (i32, i32) {
    (std::process::id() as i32, rustix::thread::gettid().as_raw_nonzero().get())
}

/// This process's own address space.
fn own(programs: &Programs) -> SpaceId {
    let (process, thread) = this();
    programs.space_of(process, thread, &pidfd(process)).expect("alive")
}

/// Memory of a child's, at the same place in each of its programs where addresses aren't random.
static SLATE: [std::sync::atomic::AtomicU8; LARGE] = [const { std::sync::atomic::AtomicU8::new(0) }; LARGE];

/// Another process: this test program, running [`child`] alone.
struct Other {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Other {
    fn new() -> Self {
        let program = std::env::current_exe().expect("this one");
        // Without random addresses, where that may be had.
        static MAY: OnceLock<bool> = OnceLock::new();
        let attempt = || Command::new("setarch").args(["-R", "true"]).status();
        let mut command = if *MAY.get_or_init(|| attempt().is_ok_and(|status| status.success())) {
            let mut command = Command::new("setarch");
            command.arg("-R").arg(&program);
            command
        } else {
            Command::new(&program)
        };
        command.args(["--exact", "program_memory::tests::child", "--nocapture", "--test-threads=1"]);
        command.env(CHILD, "1");
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("this program");
        let (to, from) = (process.stdin.take().expect("a pipe"), process.stdout.take().expect("a pipe"));
        Self { process, to, from: BufReader::new(from) }
    }

    fn number(&self) -> i32 {
        self.process.id() as i32
    }

    /// Tells it something; its answer, a number.
    fn tell(&mut self, command: &str) -> u64 {
        writeln!(self.to, "{command}").expect("it listens");
        loop {
            let mut line = String::new();
            assert_ne!(self.from.read_line(&mut line).expect("text"), 0, "it is gone");
            // The test's own words come in between.
            if let Some(answer) = line.trim().rsplit("answer=").next().and_then(|answer| answer.parse().ok())
            {
                return answer;
            }
        }
    }

    fn space(&self, programs: &Programs) -> io::Result<SpaceId> {
        programs.space_of(self.number(), self.number(), &pidfd(self.number()))
    }

    fn end(mut self) -> i32 {
        self.process.kill().expect("it is there");
        self.process.wait().expect("it ends");
        self.number()
    }
}

/// What the other process does: it answers, until it is told to be another program.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let answer = |value: u64| writeln!(io::stdout(), "answer={value}").expect("somebody listens");
    let value = || u64::from(SLATE.iter().map(|byte| byte.load(Ordering::Relaxed)).max().unwrap_or(0));
    if std::env::var_os(CHILD).is_some_and(|value| value == "again") {
        answer(value());
    }
    // Byte by byte: what follows "exec" is for the next program.
    let input = File::open("/dev/stdin").expect("a pipe");
    for line in BufReader::with_capacity(1, input).lines() {
        match line.expect("text").as_str() {
            "where" => answer(SLATE.as_ptr() as u64),
            "look" => answer(value()),
            what @ ("mark" | "clean") => {
                let value = if what == "mark" { 7 } else { 0 };
                SLATE.iter().for_each(|byte| byte.store(value, Ordering::Relaxed));
                answer(0);
            }
            // Its successor answers.
            "exec" => {
                let arguments: Vec<_> = std::env::args_os().collect();
                let error = Command::new(&arguments[0]).args(&arguments[1..]).env(CHILD, "again").exec();
                panic!("exec: {error}");
            }
            "fail" => {
                let error = Command::new("/nonexistent").exec();
                assert_eq!(error.kind(), io::ErrorKind::NotFound);
                answer(0);
            }
            "share" => {
                // Made by `vfork`, or as good: it has this address space until it is another program.
                Command::new("true").status().expect("true");
                answer(0);
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn what_a_device_writes_is_there() {
    let programs = Programs::new();
    let space = own(&programs);
    let region = Region::new(1024);
    for (at, length) in [(0, 1), (1, 7), (4095, 2), (100, 3 << 20), (0, 4 << 20)] {
        let address = region.address(0) + at;
        let bytes: Vec<u8> = (0..length).map(|index| (index % 251) as u8 + 1).collect();
        programs.write(space, address, &bytes).expect("memory");
        let mut back = vec![0; length];
        programs.read(space, address, &mut back).expect("memory");
        assert_eq!(back, bytes);
    }
    programs.read(space, 0, &mut []).expect("nothing is nowhere");
    for bad in [0, 8, 1 << 47, u64::MAX, u64::MAX - 7, i64::MAX as u64] {
        assert_eq!(programs.read(space, bad, &mut [0; 8]), Err(BadAddress), "{bad:#x}");
        assert_eq!(programs.write(space, bad, &[0; 8]), Err(BadAddress), "{bad:#x}");
    }
    region.unmap(512, 512);
    assert_eq!(programs.write(space, region.address(511), &[0; 8192]), Err(BadAddress));
    assert_eq!(programs.read(SpaceId(99), region.address(0), &mut [0]), Err(BadAddress));
    assert_eq!(programs.check_pinnable(space, region.address(0), 512 * PAGE, true), Ok(()));
    assert_eq!(programs.check_pinnable(space, region.address(0), 513 * PAGE, true), Err(Errno::EFAULT));
    assert_eq!(programs.check_pinnable(SpaceId(99), region.address(0), 1, false), Err(Errno::EFAULT));
}

#[test]
fn a_device_does_not_heed_protections() {
    let programs = Programs::new();
    let space = own(&programs);
    let region = Region::new(32);
    // All, the beginning, the end, and something in between.
    for (first, count) in [(0, 32), (0, 1), (31, 1), (7, 3)] {
        for (protection, length) in
            [libc::PROT_READ, libc::PROT_NONE].into_iter().flat_map(|p| [(p, 1), (p, LARGE), (p, 2 * LARGE)])
        {
            programs.write(space, region.address(0), &vec![1; length]).expect("memory");
            region.protect(first, count, protection);
            programs.write(space, region.address(0), &vec![2; length]).expect("memory");
            let mut back = vec![0; length];
            programs.read(space, region.address(0), &mut back).expect("memory");
            assert!(back.iter().all(|byte| *byte == 2), "{first} {count} {protection} {length}");
            region.protect(first, count, libc::PROT_READ | libc::PROT_WRITE);
        }
    }
}

#[test]
fn threads_share_an_address_space() {
    let programs = Programs::new();
    let first = own(&programs);
    let others = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| own(&programs))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    assert_eq!(others, [first; 4]);
    // Also after an exec that failed, or one that is yet to come.
    programs.doubt(this().0);
    assert_eq!(own(&programs), first);
    let other = Other::new();
    assert_ne!(other.space(&programs).expect("alive"), first);
    other.end();
}

#[test]
fn an_address_space_ends_with_its_program() {
    let programs = Programs::new();
    let mut other = Other::new();
    let address = other.tell("where");
    // With and without a word about what is to come.
    for told in [true, false, true] {
        let space = other.space(&programs).expect("alive");
        programs.write(space, address, &[3]).expect("memory");
        assert_eq!(other.tell("look"), 3);
        other.tell("share");
        assert_eq!(other.space(&programs).expect("alive"), space);
        programs.doubt(other.number());
        other.tell("fail");
        assert_eq!(other.space(&programs).expect("alive"), space);
        if told {
            programs.doubt(other.number());
        }
        assert_eq!(other.tell("exec"), 0);
        assert_eq!(programs.write(space, address, &[4]), Err(BadAddress));
        assert_eq!(programs.read(space, address, &mut [0]), Err(BadAddress));
        assert_eq!(programs.read(space, address, &mut vec![0; LARGE]), Err(BadAddress));
        assert_eq!(programs.check_pinnable(space, address, 1, false), Err(Errno::EFAULT));
        assert_eq!(other.tell("look"), 0);
        assert_ne!(other.space(&programs).expect("alive"), space);
    }
    let space = other.space(&programs).expect("alive");
    other.end();
    assert_eq!(programs.read(space, address, &mut [0]), Err(BadAddress));
    assert_eq!(programs.table().spaces.len(), 1);
    own(&programs);
    assert_eq!(programs.table().spaces.len(), 1, "what has ended is forgotten");
}

#[test]
fn an_address_space_that_others_keep_is_left_by_an_exec() {
    let programs = Programs::new();
    let mut other = Other::new();
    let address = other.tell("where");
    let space = other.space(&programs).expect("alive");
    programs.doubt(other.number());
    other.tell("exec");
    // As if somebody still had the old one: that of this process is alive, and isn't the other's.
    let kept = Space {
        process: other.number(),
        ..Space::open(this().0, this().1, &pidfd(other.number())).expect("own")
    };
    assert_eq!(kept.read_by_number(address, &mut vec![0; LARGE]), Some(LARGE), "as nothing tells of it");
    kept.is_doubtful.store(true, Ordering::Relaxed);
    assert_eq!(kept.read_by_number(address, &mut vec![0; LARGE]), None);
    programs.0.table.write().expect("no panic").spaces.insert(space, Arc::new(kept));
    let new = other.space(&programs).expect("alive");
    assert_ne!(new, space);
    programs.write(new, address, &[3]).expect("memory");
    assert_eq!(other.tell("look"), 3);
    other.end();
}

#[test]
fn the_next_process_with_the_number_is_another() {
    let programs = Programs::new();
    for _ in 0..20 {
        let first = Other::new();
        let (space, stands) = (first.space(&programs).expect("alive"), pidfd(first.number()));
        let number = first.end();
        assert!(programs.space_of(number, number, &stands).is_err(), "it has ended");
        if std::fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string()).is_err() {
            // Only root can ask for a number.
            return;
        }
        let mut second = Other::new();
        let address = second.tell("where");
        if second.number() == number {
            assert_eq!(programs.write(space, address, &[1]), Err(BadAddress));
            assert_eq!(programs.read(space, address, &mut [0]), Err(BadAddress));
            second.tell("mark");
            let mut large = vec![0; LARGE];
            assert_eq!(programs.read(space, address, &mut large), Err(BadAddress));
            assert!(large.iter().all(|byte| *byte == 0), "nothing of the other's is left");
            second.tell("clean");
            assert!(programs.space_of(number, number, &stands).is_err(), "it has ended");
            assert_ne!(second.space(&programs).expect("alive"), space);
            assert_eq!(second.tell("look"), 0);
            second.end();
            return;
        }
        second.end();
    }
}

/// Devices write while programs come and go: never into the next one.
#[test]
fn a_device_never_writes_into_the_next_program() {
    let programs = Programs::new();
    let mut other = Other::new();
    let address = other.tell("where");
    for round in 0..40 {
        let space = other.space(&programs).expect("alive");
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut written = 0u64;
                while programs.write(space, address, &[9; 4096]).is_ok() {
                    written += 1;
                }
                written
            });
            while other.tell("look") == 0 {}
            if round % 2 == 0 {
                programs.doubt(other.number());
            }
            assert_eq!(other.tell("exec"), 0, "round {round}");
            for _ in 0..5 {
                assert_eq!(other.tell("look"), 0, "round {round}");
            }
            assert!(writer.join().expect("no panic") > 0);
        });
    }
    other.end();
}

#[test]
fn devices_and_unmapping_do_not_disturb_each_other() {
    let programs = Programs::new();
    let space = own(&programs);
    let region = Region::new(64);
    let read_write = libc::PROT_READ | libc::PROT_WRITE;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let device = scope.spawn(|| {
            let (mut worked, mut failed, mut bytes) = (0u64, 0u64, vec![0; 64 * 4096]);
            while !done.load(Ordering::Relaxed) {
                let read = programs.read(space, region.address(0), &mut bytes);
                let written = programs.write(space, region.address(0), &bytes);
                [read, written]
                    .iter()
                    .for_each(|result| *if result.is_ok() { &mut worked } else { &mut failed } += 1);
            }
            (worked, failed)
        });
        for _ in 0..3000 {
            region.unmap(16, 16);
            region.map(16, 16, read_write, None);
            region.protect(40, 8, libc::PROT_NONE);
            region.protect(40, 8, read_write);
        }
        // So that both have happened, however long it takes.
        let enough = Instant::now() + std::time::Duration::from_millis(200);
        while Instant::now() < enough {
            region.unmap(16, 16);
            std::thread::yield_now();
            region.map(16, 16, read_write, None);
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        done.store(true, Ordering::Relaxed);
        let (worked, failed) = device.join().expect("no panic");
        assert!(worked > 0 && failed > 0, "{worked} {failed}");
    });
}
