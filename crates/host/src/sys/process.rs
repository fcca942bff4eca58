//! Making the client's process.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Forks; the child runs `child` and then ends.
///
/// # Errors
/// `EAGAIN` or `ENOMEM` as fork's; an error if this process has more than one thread, as the child could then find locks
/// held by threads that it doesn't have.
pub(crate) fn fork(child: impl FnOnce()) -> io::Result<i32> {
    if std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() != 1) {
        return Err(io::Error::other("a client must be started before the server's threads"));
    }
    // SAFETY: there is one thread, so the child's memory is as consistent as this process's.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            child();
            exit_now(127)
        }
        pid => {
            waiting().children.push(pid);
            Ok(pid)
        }
    }
}

/// Ends this process at once, without running anything that was registered for its exit.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: _exit takes no pointer and does not return.
    unsafe { libc::_exit(status) }
}

/// Becomes `arguments[0]`, looked up in PATH.
///
/// Returns only if that fails, with the reason.
pub(crate) fn exec(arguments: &[CString]) -> io::Error {
    let mut pointers: Vec<*const libc::c_char> = arguments.iter().map(|a| a.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let Some(program) = arguments.first() else { return io::ErrorKind::InvalidInput.into() };
    // SAFETY: `program` and `pointers` are NUL-terminated and live across the call.
    unsafe { libc::execvp(program.as_ptr(), pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// Gives `signal` its default action again, and takes it off the mask of blocked signals.
pub(crate) fn default_signal(signal: i32) {
    // SAFETY: SIG_DFL is a valid handler for every signal that has one.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Leaves `signal` to a handler that does nothing, `SIG_IGN`.
pub(crate) fn ignore_signal(signal: i32) {
    // SAFETY: SIG_IGN is a valid handler.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Closes every descriptor above the standard ones but `kept`, in a child that uses no other.
pub(crate) fn close_all_but(kept: impl AsFd) {
    let kept = kept.as_fd().as_raw_fd() as u32;
    // SAFETY: close_range takes no pointer; this process was forked to use `kept` alone from here on, and ends without
    // running any destructor.
    unsafe { libc::syscall(libc::SYS_close_range, 3, kept - 1, 0) };
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_close_range, kept + 1, u32::MAX, 0) };
}

/// Gives this process namespaces of its own. Never descriptors of its own: that could invalidate others' (`FILES` is
/// taken off the flags).
///
/// # Errors
/// `EPERM` where it isn't allowed, `EINVAL` for a user namespace with more than one thread.
pub(crate) fn unshare(flags: rustix::thread::UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: descriptors stay shared, so none changes its meaning for anybody.
    unsafe { rustix::thread::unshare_unsafe(flags - rustix::thread::UnshareFlags::FILES) }
}

/// A set of blocked signals, to be put in place again.
pub(crate) struct SignalMask(libc::sigset_t);

/// Blocks `signals` for this process, to be waited for with [`next_signal`]; returns the mask as it was.
pub(crate) fn block_signals(signals: &[i32]) -> SignalMask {
    let set = signal_set(signals);
    let mut old = SignalMask(signal_set(&[]));
    // SAFETY: `set` is initialised, and `old` writable.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, &raw mut old.0) };
    old
}

/// Puts a mask in place again. Async-signal-safe.
pub(crate) fn restore_signals(mask: &SignalMask) {
    // SAFETY: the mask is the kernel's own; the one before isn't asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const mask.0, std::ptr::null_mut()) };
}

/// Waits for one of `signals`, which are blocked; returns it, and whether a process sent it (and not the kernel).
pub(crate) fn next_signal(signals: &[i32]) -> (i32, bool) {
    let set = signal_set(signals);
    // SAFETY: all-zero bytes are a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: `set` is initialised and `info` writable.
        let signal = unsafe { libc::sigwaitinfo(&raw const set, &raw mut info) };
        if signal > 0 {
            return (signal, info.si_code <= 0);
        }
    }
}

fn signal_set(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: all-zero bytes are a valid sigset_t; sigemptyset makes them the empty one.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is writable.
    unsafe { libc::sigemptyset(&raw mut set) };
    for &signal in signals {
        // SAFETY: `set` was initialised; a number that is no signal's is refused.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

/// What has become of a child process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It exited with this status.
    Exited(i32),
    /// A signal killed it.
    Killed(i32),
    /// A signal stopped it.
    Stopped(i32),
}

/// A change of the child's state that has not been reported yet, if there is one.
///
/// # Errors
/// `ECHILD` if there is no such child.
pub(crate) fn poll_child(pid: i32) -> io::Result<Option<Change>> {
    let mut waiting = waiting();
    let mut status = 0;
    let result = match waiting.take_end(pid) {
        Some(ended) => {
            status = ended;
            pid
        }
        // SAFETY: `status` is writable.
        None => unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG | libc::WUNTRACED) },
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        _ if libc::WIFEXITED(status) => Ok(Some(Change::Exited(libc::WEXITSTATUS(status)))),
        _ if libc::WIFSIGNALED(status) => Ok(Some(Change::Killed(libc::WTERMSIG(status)))),
        _ if libc::WIFSTOPPED(status) => Ok(Some(Change::Stopped(libc::WSTOPSIG(status)))),
        _ => Ok(None),
    }
}

/// Sends `signal` to a process.
pub(crate) fn send_signal(pid: i32, signal: i32) {
    // SAFETY: kill takes no pointer.
    unsafe { libc::kill(pid, signal) };
}

/// Sends `signal` to a thread.
pub(crate) fn send_signal_to_thread(thread: i32, signal: i32) {
    // SAFETY: tkill takes no pointer.
    unsafe { libc::syscall(libc::SYS_tkill, thread, signal) };
}

/// Waits for the end of a child that ends by itself.
pub(crate) fn reap(pid: i32) {
    let mut status = 0;
    // SAFETY: `status` is writable.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// What this process's waits have to do with each other: one thread's wait takes the news that another waits for.
pub(crate) struct Waits {
    /// Children that haven't ended, as far as is known.
    children: Vec<i32>,
    /// Those that have, as somebody was told who waited for something else: with their status.
    ended: Vec<(i32, i32)>,
}

impl Waits {
    /// A wait for a traced thread was told of its end. If it was a child, too, that is kept for who waits for it.
    pub(crate) fn note_end(&mut self, pid: i32, status: i32) {
        if let Some(index) = self.children.iter().position(|child| *child == pid) {
            self.children.swap_remove(index);
            self.ended.push((pid, status));
        }
    }

    fn take_end(&mut self, pid: i32) -> Option<i32> {
        let index = self.ended.iter().position(|(ended, _)| *ended == pid)?;
        Some(self.ended.swap_remove(index).1)
    }
}

/// The right to wait.
pub(crate) type Waiting = MutexGuard<'static, Waits>;

/// Waits for the right to wait.
pub(crate) fn waiting() -> Waiting {
    static WAITS: Mutex<Waits> = Mutex::new(Waits { children: Vec::new(), ended: Vec::new() });
    WAITS.lock().unwrap_or_else(PoisonError::into_inner)
}
