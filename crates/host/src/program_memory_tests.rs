//! Programs' memory as devices reach it: of this process, and of others that exec, end, and give their numbers away.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
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
        // Without random addresses, if that may be had.
        let mut command = Command::new("setarch");
        command.args(["-R".as_ref(), program.as_os_str()]);
        command
            .args(["--exact", "program_memory::tests::child", "--nocapture", "--test-threads=1"])
            .env(CHILD, "1");
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("setarch");
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
    let answer = |value: u64| println!("answer={value}");
    let value = || u64::from(SLATE.iter().map(|byte| byte.load(Ordering::Relaxed)).max().unwrap_or(0));
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
            // Its successor looks at once, and for a while.
            "exec" => {
                let arguments: Vec<_> = std::env::args_os().collect();
                let error = Command::new(&arguments[0]).args(&arguments[1..]).env(CHILD, "watch").exec();
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
        writeln!(other.to, "exec").expect("it listens");
        assert_eq!(other.tell("look"), 0);
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
    writeln!(other.to, "exec").expect("it listens");
    other.tell("look");
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
            writeln!(other.to, "exec").expect("it listens");
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

/// What may be pinned, page by page: `r`, `w` of a region like this one.
#[test]
fn what_can_be_pinned_is_what_protections_allow() {
    let programs = Programs::new();
    let space = own(&programs);
    let region = Region::new(32);
    let short =
        File::from(rustix::fs::memfd_create("short", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd"));
    short.set_len(2 * PAGE - 100).expect("size");
    let path =
        std::env::current_exe().expect("this one").with_file_name(format!("pinned-{}", std::process::id()));
    let disk = File::options().read(true).write(true).create_new(true).open(&path).expect("a file");
    std::fs::remove_file(&path).expect("it is there");
    disk.set_len(PAGE).expect("size");
    let has_disk = rustix::fs::major(disk.metadata().expect("a file").dev()) != 0;
    let (read, write) = (libc::PROT_READ, libc::PROT_WRITE);
    region.protect(4, 2, read);
    region.protect(6, 2, libc::PROT_NONE);
    region.protect(8, 2, write);
    region.protect(10, 2, read | libc::PROT_EXEC);
    region.unmap(12, 1);
    region.map(16, 4, read | write, Some((&short, libc::MAP_SHARED)));
    region.map(20, 4, read | write, Some((&short, libc::MAP_PRIVATE)));
    region.map(24, 1, read | write, Some((&disk, libc::MAP_SHARED)));
    region.map(25, 1, read | write, Some((&disk, libc::MAP_PRIVATE)));
    region.map(26, 1, read, Some((&disk, libc::MAP_SHARED)));
    // From page, pages, for reading, for writing.
    let table = [
        (0, 1, true, true),
        (0, 4, true, true),
        (2, 3, true, false),
        (4, 2, true, false),
        (5, 2, false, false),
        (6, 1, false, false),
        (8, 2, false, true),
        (10, 2, true, false),
        (11, 2, false, false),
        (12, 1, false, false),
        (11, 3, false, false),
        (13, 3, true, true),
        (16, 2, true, true),
        (16, 3, false, false),
        (18, 1, false, false),
        (13, 7, false, false),
        (20, 2, true, true),
        (21, 2, false, false),
        (24, 1, true, !has_disk),
        (25, 1, true, true),
        (26, 1, true, false),
        (27, 5, true, true),
    ];
    let held = programs.get(space).expect("a space");
    for (page, pages, readable, writable) in table {
        for (wanted, expected) in [(false, readable), (true, writable)] {
            let (from, bytes) = (region.address(page), pages * PAGE);
            let expected = if expected { Ok(()) } else { Err(Errno::EFAULT) };
            assert_eq!(
                programs.check_pinnable(space, from, bytes, wanted),
                expected,
                "{page} {pages} {wanted}"
            );
            // Pages count as a whole.
            assert_eq!(programs.check_pinnable(space, from + 4000, bytes - 4095, wanted), expected);
            let mut text = AddressMap::in_text(&held.maps);
            let by_text = held.check_pinnable(&mut text, from, bytes, wanted).map_err(Errno::from);
            assert_eq!(by_text, expected, "{page} {pages} {wanted} by the text");
        }
    }
    for (from, bytes) in [(0, 1), (0, u64::MAX), (u64::MAX, 1), (u64::MAX - 4095, 4095), (1 << 47, PAGE)] {
        assert_eq!(
            programs.check_pinnable(space, from, bytes, false),
            Err(Errno::EFAULT),
            "{from:#x} {bytes:#x}"
        );
    }
    assert_eq!(programs.check_pinnable(space, 0, 0, true), Ok(()));
    assert_eq!(programs.check_pinnable(SpaceId(99), region.address(0), 1, false), Err(Errno::EFAULT));
}

#[test]
fn a_long_range_costs_no_more_than_a_short_one() {
    let programs = Programs::new();
    let space = programs.get(own(&programs)).expect("a space");
    let region = Region::new(1 << 18);
    let questions = |bytes: u64| {
        let mut map = AddressMap::new(&space.maps);
        space.check_pinnable(&mut map, region.address(0), bytes, true).expect("memory");
        map.questions
    };
    assert_eq!((questions(PAGE), questions(1 << 30)), (1, 1));
    region.protect(8, 1, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
    assert_eq!((questions(PAGE), questions(1 << 30)), (1, 3));
}

/// Not a test: what it all costs. `cargo test --release -p ioctlab-host costs -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn costs() {
    let programs = Programs::new();
    let (process, thread) = this();
    let stands = pidfd(process);
    let region = Region::new(1 << 18);
    let space = own(&programs);
    let time = |what: &str, bytes: u64, act: &mut dyn FnMut()| {
        act();
        let start = Instant::now();
        let mut times = 0u32;
        while start.elapsed().as_millis() < 200 {
            act();
            times += 1;
        }
        let each = start.elapsed().as_secs_f64() / f64::from(times);
        println!("{what}: {:.2} us, {:.1} GB/s", each * 1e6, bytes as f64 / each / 1e9);
    };
    time("a new space", 0, &mut || {
        programs.forget(process);
        programs.space_of(process, thread, &stands).expect("alive");
    });
    time("a known space", 0, &mut || drop(programs.space_of(process, thread, &stands).expect("alive")));
    programs.doubt(process);
    time("a doubtful space", 0, &mut || drop(programs.space_of(process, thread, &stands).expect("alive")));
    let space = {
        programs.forget(process);
        let _ = space;
        own(&programs)
    };
    for bytes in [PAGE, 1 << 30] {
        time(&format!("check {bytes}"), 0, &mut || {
            programs.check_pinnable(space, region.address(0), bytes, true).expect("memory");
        });
    }
    time("limit", 0, &mut || drop(crate::process_limits::locked_memory_limit(process)));
    time("locked", 0, &mut || {
        crate::process_limits::locked_pages(process);
    });
    time("capability", 0, &mut || {
        crate::process_limits::has_capability(thread, ioctlab_kernel::Capability::IpcLock);
    });
    for bytes in [4usize, 4096, 65536, 1 << 20, 4 << 20] {
        let mut buffer = vec![1; bytes];
        programs.write(space, region.address(0), &buffer).expect("memory");
        time(&format!("write {bytes}"), bytes as u64, &mut || {
            programs.write(space, region.address(0), &buffer).expect("memory")
        });
        time(&format!("read {bytes}"), bytes as u64, &mut || {
            programs.read(space, region.address(0), &mut buffer).expect("memory")
        });
        let mut other = vec![2; bytes];
        time(&format!("memcpy {bytes}"), bytes as u64, &mut || {
            other.copy_from_slice(std::hint::black_box(&buffer))
        });
    }
}
