//! What a process that waits for a program does about signals, so that nobody notices that it is in between.

use crate::sys::process::{self, SignalMask};

pub use crate::sys::process::Change;

/// Signals that are passed on to the program if a process sends them to the waiting process.
const PASSED_ON: [i32; 5] = [libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGALRM];
const WAITED_FOR: [i32; 6] =
    [libc::SIGCHLD, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGALRM];

/// Blocks what [`wait_for`] waits for: before the program is forked, and before there are threads.
pub(crate) fn prepare() -> SignalMask {
    process::block_signals(&WAITED_FOR)
}

/// In the program's process, before it execs.
pub(crate) fn reset(before: &SignalMask) {
    process::restore_signals(before);
    // The runtime ignores it for this process; programs expect its default.
    process::default_signal(libc::SIGPIPE);
}

/// Waits for a program that is this process's child until it ends.
///
/// The terminal's signals reach the program directly, as it shares this process's group; they are ignored here. When the
/// program is stopped this process stops, too, so that a shell's job control works on both.
pub fn wait_for(pid: i32) -> Change {
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
        process::ignore_signal(signal);
    }
    loop {
        match process::poll_child(pid) {
            Ok(Some(Change::Stopped(_))) => {
                process::send_signal(std::process::id() as i32, libc::SIGSTOP);
                process::send_signal(pid, libc::SIGCONT);
            }
            Ok(Some(change)) => return change,
            Ok(None) => {
                let (signal, sent) = process::next_signal(&WAITED_FOR);
                if sent && PASSED_ON.contains(&signal) {
                    process::send_signal(pid, signal);
                }
            }
            // Somebody else has waited for it, which nobody here does.
            Err(_) => return Change::Exited(125),
        }
    }
}
