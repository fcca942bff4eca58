//! At a terminal: a program must not notice that ioctlab is between it and the shell, nor may the shell.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::Winsize;

use crate::job::{Job, SOON, within};
use crate::stage::{Isolation, Stage};

/// Keys.
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_Z: &str = "\x1a";
const CTRL_BACKSLASH: &str = "\x1c";

/// A terminal with a program at it.
struct Terminal {
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    /// How much of what was printed a test has dealt with.
    seen: usize,
    job: Job,
}

impl Terminal {
    /// Has a command run at a terminal of its own.
    fn start(stage: &Stage, command: &Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        rustix::termios::tcsetwinsize(&master, size(100, 40)).unwrap();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let slave = rustix::fs::open(&name, flags, rustix::fs::Mode::empty()).unwrap();

        // setsid makes its standard input the terminal of a session of its own, then is replaced by the command.
        let mut session = stage.command("setsid");
        session.arg("--ctty").arg(command.get_program()).args(command.get_args());
        let mut job = stage.start_at(&mut session, || Stdio::from(slave.try_clone().unwrap()));
        job.shown = format!("at a terminal: {}", job.shown);
        drop(slave);

        let keyboard = File::from(master);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut source, copy) = (keyboard.try_clone().unwrap(), Arc::clone(&screen));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The last program's end shows as an error.
            while let Ok(length @ 1..) = source.read(&mut buffer) {
                copy.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        Self { keyboard, screen, seen: 0, job }
    }

    /// A shell with job control.
    fn shell(stage: &Stage) -> Self {
        let mut bash = stage.command("bash");
        bash.args(["--norc", "--noprofile", "-i"]);
        let mut terminal = Self::start(stage, &bash);
        // What comes is told from what was typed by its value: the echo of this line has no 3 in it.
        terminal.types("PS1='> '; bind 'set enable-bracketed-paste off'; echo up $((1+2))\n");
        terminal.expect("up 3");
        terminal
    }

    fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until this is on the screen, below what was waited for before.
    #[track_caller]
    fn expect(&mut self, text: &str) {
        let mut found = None;
        within(SOON, || {
            let screen = self.screen.lock().unwrap();
            let new = &screen[self.seen..];
            found = new.windows(text.len()).position(|window| window == text.as_bytes());
            found.is_some()
        });
        match found {
            Some(at) => self.seen += at + text.len(),
            None => panic!(
                "{}: no {text:?} below what was seen before:\n{}\n-- new:\n{}",
                self.job.shown,
                String::from_utf8_lossy(&self.screen.lock().unwrap()[..self.seen]),
                String::from_utf8_lossy(&self.screen.lock().unwrap()[self.seen..])
            ),
        }
    }

    fn resize(&self, columns: u16, rows: u16) {
        rustix::termios::tcsetwinsize(&self.keyboard, size(columns, rows)).unwrap();
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

/// `ioctlab run` as one would type it.
fn typed(stage: &Stage, isolation: Isolation, program: &str) -> String {
    format!("{} run --isolation {} -- {program}", stage.ioctlab_path().display(), isolation.name())
}

#[test]
fn it_is_a_terminal_inside() {
    let stage = Stage::new();
    for isolation in Isolation::BOTH {
        let script = "test -t 0 && test -t 1 && test -t 2 && stty size && tty && echo a''ll";
        let mut terminal = Terminal::start(&stage, &stage.shell(isolation, script));
        terminal.expect("40 100");
        terminal.expect("/dev/pts/");
        terminal.expect("all");
        terminal.job.wait(SOON).succeeds();
        let mut terminal = Terminal::start(&stage, &stage.run(isolation, ["python3", "-c", ISATTY]));
        terminal.expect("isatty True True True in front True");
        terminal.job.wait(SOON).succeeds();
    }
    stage.is_clean();
}

const ISATTY: &str = "
import os
t = os.open('/dev/tty', os.O_RDWR)
print('isatty', *(os.isatty(n) for n in range(3)), 'in front', os.tcgetpgrp(t) == os.getpgrp())";

#[test]
fn a_changed_window_size() {
    let stage = Stage::new();
    for isolation in Isolation::BOTH {
        let script = "trap 'stty size' WINCH; echo re''ady; while :; do sleep 0.05; done";
        let mut terminal = Terminal::start(&stage, &stage.shell(isolation, script));
        terminal.expect("ready");
        terminal.resize(77, 33);
        terminal.expect("33 77");
        terminal.types(CTRL_C);
        terminal.job.wait(SOON).gives(130);
    }
    stage.is_clean();
}

#[test]
fn input_passes_through() {
    let stage = Stage::new();
    for isolation in Isolation::BOTH {
        let mut terminal = Terminal::start(&stage, &stage.run(isolation, ["sed", "s/^/got /"]));
        terminal.types("one\ntwo\n");
        terminal.expect("got one");
        terminal.expect("got two");
        terminal.types(CTRL_D);
        terminal.job.wait(SOON).succeeds();
    }
    stage.is_clean();
}

#[test]
fn the_interrupt_key_kills_the_program() {
    let stage = Stage::new();
    for isolation in Isolation::BOTH {
        for (key, status) in [(CTRL_C, 130), (CTRL_BACKSLASH, 131)] {
            let mut terminal =
                Terminal::start(&stage, &stage.shell(isolation, "echo re''ady; exec sleep 100"));
            terminal.expect("ready");
            terminal.types(key);
            terminal.job.wait(SOON).gives(status);
        }
    }
    stage.is_clean();
}

#[test]
fn a_program_may_ignore_the_interrupt_key() {
    let stage = Stage::new();
    for isolation in Isolation::BOTH {
        let script = "trap 'echo caught it' INT; echo re''ady; read line; echo got $line; exit 5";
        let mut terminal = Terminal::start(&stage, &stage.shell(isolation, script));
        terminal.expect("ready");
        terminal.types(CTRL_C);
        terminal.expect("caught it");
        // dash gives up a read that it was in, and starts one that it wasn't; what counts is that it decided by itself.
        terminal.types("a line\n");
        let status = terminal.job.wait(SOON).status.code();
        assert_eq!(status, Some(5));
    }
    stage.is_clean();
}

#[test]
fn the_interrupt_key_in_a_shell() {
    let stage = Stage::new();
    let mut terminal = Terminal::shell(&stage);
    for isolation in Isolation::BOTH {
        let run = typed(&stage, isolation, "sh -c 'echo re\"\"ady; exec sleep 100'");
        terminal.types(&format!("{run}\n"));
        terminal.expect("ready");
        terminal.types(CTRL_C);
        terminal.types("echo status $?\n");
        terminal.expect("status 130");
    }
    terminal.types("exit\n");
    terminal.job.wait(SOON).gives(0);
    stage.is_clean();
}

#[test]
fn the_suspend_key_stops_the_job_and_fg_continues_it() {
    let stage = Stage::new();
    let mut terminal = Terminal::shell(&stage);
    for isolation in Isolation::BOTH {
        let script = "exec 3<>/dev/xen/evtchn; echo re\"\"ady; read line; echo got $line; printf \"\\\\1\\\\0\\\\0\\\\0\" >&3 && exit 9";
        terminal.types(&format!("{}\n", typed(&stage, isolation, &format!("sh -c '{script}'"))));
        terminal.expect("ready");
        for _ in 0..2 {
            terminal.types(CTRL_Z);
            terminal.expect("Stopped");
            let states = || -> Vec<String> {
                let own = terminal.job.pid();
                let others = stage.processes().into_iter().filter(|(process, _)| *process != own);
                others.map(|(process, command)| format!("{} {command}", state(process))).collect()
            };
            let mut left = Vec::new();
            let stopped = within(SOON, || {
                left = states().into_iter().filter(|line| !line.starts_with(['T', 'S'])).collect();
                // The program is stopped, and so is who waits for it; a helper of ioctlab's in another group may sleep.
                left.is_empty() && states().iter().filter(|line| line.starts_with('T')).count() >= 2
            });
            assert!(stopped, "{:?}", states());
            terminal.types("echo the shell is $((40+2))\n");
            terminal.expect("the shell is 42");
            terminal.types("fg\n");
            terminal.expect("ioctlab run");
        }
        terminal.types("a line\n");
        terminal.expect("got a line");
        terminal.types("echo status $?\n");
        terminal.expect("status 9");
    }
    terminal.types("exit\n");
    terminal.job.wait(SOON).gives(0);
    stage.is_clean();
}

#[test]
fn a_program_that_stops_itself() {
    let stage = Stage::new();
    let mut terminal = Terminal::shell(&stage);
    for isolation in Isolation::BOTH {
        let run = typed(&stage, isolation, "sh -c 'kill -STOP $$; echo ba\"\"ck; exit 4'");
        terminal.types(&format!("{run}\n"));
        terminal.expect("Stopped");
        terminal.types("echo status $?\n");
        terminal.expect("status 147");
        terminal.types("fg\n");
        terminal.expect("back");
        terminal.types("echo status $?\n");
        terminal.expect("status 4");
    }
    terminal.types("exit\n");
    terminal.job.wait(SOON).gives(0);
    stage.is_clean();
}

#[test]
fn a_program_in_the_background() {
    let stage = Stage::new();
    let mut terminal = Terminal::shell(&stage);
    for isolation in Isolation::BOTH {
        let run = typed(&stage, isolation, "sh -c 'read line; echo got $line'");
        terminal.types(&format!("{run} &\n"));
        // Who reads the terminal from the background is stopped.
        terminal.expect("[1]");
        terminal.types("sleep 0.5\n");
        crate::job::until(SOON, "the shell sees the job as stopped", || {
            thread::sleep(std::time::Duration::from_millis(100));
            stage
                .processes()
                .iter()
                .any(|(process, command)| command.contains("read line") && state(*process) == 'T')
        });
        terminal.types("jobs\n");
        terminal.expect("Stopped");
        terminal.types("fg\n");
        terminal.expect("ioctlab run");
        terminal.types("a line\n");
        terminal.expect("got a line");
    }
    terminal.types("exit\n");
    terminal.job.wait(SOON).gives(0);
    stage.is_clean();
}

fn state(process: i32) -> char {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('-')
}
