//! Programs that a test has started: with a time limit, and with what they print kept in files, so that a process that
//! outlives the program and holds its output open holds up no test.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// How long a program may take that has little to do. Generous: other tests run at the same time.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Waits until something is so; after the limit the test fails, saying what wasn't.
#[track_caller]
pub(crate) fn until(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    assert!(within(limit, &mut is_so), "after {limit:?} still not: {what}");
}

/// Waits until something is so; says whether it was within the limit.
pub(crate) fn within(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if is_so() {
            return true;
        }
        if start.elapsed() > limit {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A started program, in a process group of its own unless it has a terminal. Dropped, it is killed.
pub(crate) struct Job {
    pub(crate) child: Child,
    pub(crate) shown: String,
    pub(crate) stdout: PathBuf,
    pub(crate) stderr: PathBuf,
    pub(crate) ended: Option<ExitStatus>,
}

/// How a program ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) shown: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Job {
    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// What it has printed so far.
    pub(crate) fn printed(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stdout).unwrap()).into_owned()
    }

    /// What it has said on standard error so far.
    pub(crate) fn complained(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).unwrap()).into_owned()
    }

    /// Waits until it has printed this.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        let mut ended = false;
        let seen = within(SOON, || {
            // Looked at in this order: what it printed last counts.
            ended = self.has_ended();
            self.printed().contains(text) || ended
        });
        assert!(
            seen && self.printed().contains(text),
            "`{}` didn't print {text:?} (ended: {ended})\n{}{}",
            self.shown,
            self.printed(),
            self.complained()
        );
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended.is_some()
    }

    /// Sends a signal to it alone.
    pub(crate) fn signal(&self, signal: Signal) {
        // It may have ended by itself at this moment.
        let _ = rustix::process::kill_process(Pid::from_child(&self.child), signal);
    }

    /// Sends a signal to its process group.
    pub(crate) fn signal_group(&self, signal: Signal) {
        let _ = rustix::process::kill_process_group(Pid::from_child(&self.child), signal);
    }

    /// Waits for its end; the test fails if that takes longer than the limit.
    #[track_caller]
    pub(crate) fn wait(mut self, limit: Duration) -> Outcome {
        let ended = within(limit, || self.has_ended());
        assert!(ended, "`{}` goes on after {limit:?}\n{}{}", self.shown, self.printed(), self.complained());
        Outcome {
            shown: self.shown.clone(),
            status: self.ended.unwrap(),
            stdout: self.printed(),
            stderr: self.complained(),
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.signal_group(Signal::KILL);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Outcome {
    /// It must have ended with this status, which is given back with what it printed.
    #[track_caller]
    pub(crate) fn gives(self, status: i32) -> Self {
        assert_eq!(
            self.status.code(),
            Some(status),
            "`{}`: {}\n{}{}",
            self.shown,
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }

    /// It must have succeeded.
    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        self.gives(0)
    }

    /// A signal must have killed it.
    #[track_caller]
    pub(crate) fn dies_of(self, signal: Signal) -> Self {
        assert_eq!(self.status.signal(), Some(signal.as_raw()), "`{}`: {}", self.shown, self.status);
        self
    }

    /// It must have printed this.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text),
            "`{}` doesn't print {text:?}:\n{}{}",
            self.shown,
            self.stdout,
            self.stderr
        );
        self
    }

    /// It must have said this on standard error.
    #[track_caller]
    pub(crate) fn complains(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "`{}` doesn't say {text:?}:\n{}", self.shown, self.stderr);
        self
    }
}
