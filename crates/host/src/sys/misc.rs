//! Small calls that rustix has no safe form for.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Bytes that were sent on a Unix socket and have not been received, in the kernel's own accounting: 0 if and only if
/// everything was received (`SIOCOUTQ`).
///
/// # Errors
/// None for a Unix socket.
pub(crate) fn unreceived(socket: impl AsFd) -> io::Result<i32> {
    let mut bytes: i32 = 0;
    // SAFETY: TIOCOUTQ writes one int to `bytes`.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(bytes) }
}

/// Whether thread `thread` is in thread group `group` now.
pub(crate) fn in_group(group: i32, thread: i32) -> bool {
    // SAFETY: tgkill with signal 0 sends nothing and takes no pointer.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, group, thread, 0) };
    result == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// The calling thread's number.
pub(crate) fn current_thread() -> i32 {
    // SAFETY: gettid takes nothing and always succeeds.
    unsafe { libc::gettid() }
}

/// Sends `signal` to a thread of this process, to get it out of a blocking call. A number that is no such thread's is
/// refused.
pub(crate) fn interrupt_thread(thread: i32, signal: i32) {
    let this = std::process::id();
    // SAFETY: tgkill takes no pointer, and reaches threads of this process only.
    unsafe { libc::syscall(libc::SYS_tgkill, this, thread, signal) };
}

/// Makes `signal` interrupt blocking calls of this process and do nothing else.
pub(crate) fn make_interrupting(signal: i32) {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: all-zero bytes are a valid sigaction: no flags (so no SA_RESTART), an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
    // SAFETY: `action` is complete, and its handler touches nothing.
    unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
}

/// Whether this process may send signals to a process (or, as `kill` has it, to several).
pub(crate) fn can_kill(pid: i32) -> bool {
    // SAFETY: kill takes no pointer; signal 0 is not sent.
    unsafe { libc::kill(pid, 0) == 0 }
}

/// Whether `kill` means a process by this number; by 0 it means the sender's group, which isn't known here.
pub(crate) fn is_meant(target: i32, process: i32) -> bool {
    match target {
        1.. => target == process,
        -1 => true,
        // SAFETY: getpgid takes no pointer.
        _ => target == 0 || unsafe { libc::getpgid(process) } == target.saturating_neg(),
    }
}

/// A process's soft limit of locked memory in bytes (`RLIMIT_MEMLOCK`); `RLIM_INFINITY` is `u64::MAX`.
///
/// # Errors
/// `EPERM` if it is another user's process; `ESRCH` if it is gone.
pub(crate) fn locked_memory_limit(process: i32) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: no new limit is passed, and `limit` is writable.
    let result = unsafe { libc::prlimit(process, libc::RLIMIT_MEMLOCK, std::ptr::null(), &raw mut limit) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(limit.rlim_cur) }
}

/// A thread's effective capabilities, by their numbers' bits.
///
/// # Errors
/// `ESRCH` if it is gone.
pub(crate) fn capabilities(thread: i32) -> io::Result<u64> {
    /// `_LINUX_CAPABILITY_VERSION_3`.
    const VERSION: u32 = 0x2008_0522;
    let mut header = [VERSION, thread as u32];
    // Two of effective, permitted and inheritable: the lower 32 and the upper.
    let mut sets = [0u32; 6];
    // SAFETY: `header` is a cap_user_header_t, and `sets` as long as this version's two cap_user_data_t.
    let result = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
    let [lower, _, _, upper, _, _] = sets;
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(u64::from(lower) | u64::from(upper) << 32) }
}
