//! Whether a signal ends a wait.
//!
//! A write to an attribute waits as a driver's does, for the device and no signal. But who is killed must go: so the kernel's
//! word that a signal has come is looked into, and looked into again for as long as the write waits.

use std::fs;
use std::time::{Duration, Instant};

/// How long it takes until the kernel says so again.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

const SIGKILL: u64 = 1 << (libc::SIGKILL - 1);

/// Whether a thread is about to be killed, or gone. Linux turns any signal that ends a process into SIGKILL for its threads.
pub(crate) fn is_killed(thread: u32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{thread}/status")) else { return true };
    let pending = |line: &str| {
        let set = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"))?;
        u64::from_str_radix(set.trim(), 16).ok()
    };
    status.lines().filter_map(pending).any(|set| set & SIGKILL != 0)
}

/// The kernel's words that wait to be answered "ask again".
#[derive(Default)]
pub(crate) struct Postponed {
    requests: Vec<u64>,
    due: Option<Instant>,
}

impl Postponed {
    /// Has one wait.
    pub(crate) fn add(&mut self, unique: u64) {
        self.requests.push(unique);
        self.due.get_or_insert_with(|| Instant::now() + PAUSE);
    }

    /// How long until they are due; `None` if there are none.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// Takes those that are due.
    pub(crate) fn take_due(&mut self) -> Vec<u64> {
        if self.wait() != Some(Duration::ZERO) {
            return Vec::new();
        }
        self.due = None;
        std::mem::take(&mut self.requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lives_is_not_killed() {
        assert!(!is_killed(std::process::id()));
        assert!(is_killed(u32::MAX));
    }

    #[test]
    fn what_is_postponed_comes_due_together() {
        let mut postponed = Postponed::default();
        assert!(postponed.wait().is_none() && postponed.take_due().is_empty());
        postponed.add(1);
        postponed.add(2);
        assert!(postponed.wait().is_some_and(|wait| wait <= PAUSE));
        while postponed.wait() != Some(Duration::ZERO) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(postponed.take_due(), [1, 2]);
        assert!(postponed.wait().is_none());
    }
}
