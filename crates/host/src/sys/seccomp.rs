//! seccomp user notification: installing a filter with a listener, receiving calls and answering them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use ioctlab_abi::Errno;

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`: wake the other side on this CPU (Linux 6.6).
const SYNC_WAKE_UP: u64 = 1;

const fn request(direction: u32, number: u32, size: usize) -> libc::Ioctl {
    (direction << 30 | (size as u32) << 16 | (b'!' as u32) << 8 | number) as libc::Ioctl
}

const RECV: libc::Ioctl = request(3, 0, size_of::<libc::seccomp_notif>());
const SEND: libc::Ioctl = request(3, 1, size_of::<libc::seccomp_notif_resp>());
const ID_VALID: libc::Ioctl = request(1, 2, size_of::<u64>());
const ADDFD: libc::Ioctl = request(1, 3, size_of::<libc::seccomp_notif_addfd>());
const SET_FLAGS: libc::Ioctl = request(1, 4, size_of::<u64>());

/// A trapped system call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notification {
    /// What to answer to.
    pub(crate) id: u64,
    /// The calling thread, in this process's pid namespace; 0 if it is not visible there.
    pub(crate) thread: i32,
    /// The system call's number.
    pub(crate) number: i64,
    /// `AUDIT_ARCH_*` of the entry that was used.
    pub(crate) architecture: u32,
    /// The address after the instruction that made the call.
    pub(crate) instruction: u64,
    /// The six arguments, as in the registers.
    pub(crate) arguments: [u64; 6],
}

/// What a trapped call is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The call returns this value.
    Value(i64),
    /// The call fails.
    Fail(Errno),
    /// The kernel goes on with the call as if it had not been trapped.
    Continue,
    /// Already answered: a descriptor was added and its number returned in one step.
    Given(u32),
    /// Already answered: the caller was made to carry the call out in its own way, with this result.
    Made(i64),
}

impl From<Errno> for Answer {
    fn from(errno: Errno) -> Self {
        Self::Fail(errno)
    }
}

/// Where trapped calls arrive.
#[derive(Debug)]
pub(crate) struct Listener(OwnedFd);

impl Listener {
    /// Takes a listener's descriptor, and asks for synchronous wake-ups where the kernel has them.
    pub(crate) fn new(descriptor: OwnedFd) -> Self {
        // SAFETY: SET_FLAGS takes its flags by value; a kernel that doesn't know it fails and changes nothing.
        let _ = unsafe { libc::ioctl(descriptor.as_raw_fd(), SET_FLAGS, SYNC_WAKE_UP) };
        Self(descriptor)
    }

    /// Waits for the next trapped call.
    ///
    /// # Errors
    /// `ENOENT` when the call was given up before it could be fetched, or nobody is left to make one.
    pub(crate) fn receive(&self) -> io::Result<Notification> {
        // SAFETY: all-zero bytes are a valid seccomp_notif, and what the kernel asks for.
        let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: `raw` is a writable seccomp_notif, as RECV's number says.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), RECV, &raw mut raw) })?;
        Ok(Notification {
            id: raw.id,
            thread: raw.pid as i32,
            number: i64::from(raw.data.nr),
            architecture: raw.data.arch,
            instruction: raw.data.instruction_pointer,
            arguments: raw.data.args,
        })
    }

    /// Answers a call.
    ///
    /// # Errors
    /// `ENOENT` if the caller is gone or was interrupted.
    pub(crate) fn answer(&self, id: u64, answer: Answer) -> io::Result<()> {
        let mut raw = libc::seccomp_notif_resp { id, val: 0, error: 0, flags: 0 };
        match answer {
            Answer::Value(value) => raw.val = value,
            Answer::Fail(errno) => raw.error = -errno.raw(),
            Answer::Continue => raw.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
            Answer::Given(_) | Answer::Made(_) => return Ok(()),
        }
        // SAFETY: `raw` is a seccomp_notif_resp, as SEND's number says.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), SEND, &raw mut raw) }).map(drop)
    }

    /// Whether a call's caller still waits for its answer. If not, another program may have its number.
    pub(crate) fn is_awaited(&self, id: u64) -> bool {
        // SAFETY: ID_VALID only reads the id that it is given.
        unsafe { libc::ioctl(self.0.as_raw_fd(), ID_VALID, &raw const id) == 0 }
    }

    /// Puts a copy of `file` into the caller's descriptor table, at `number` or at the lowest free one, and answers the
    /// call with the number.
    ///
    /// # Errors
    /// `ENOENT` if the caller is gone; `EMFILE` or `EBADF` beyond its limit; `EINVAL` on a kernel that can't do both at
    /// once.
    pub(crate) fn add_and_answer(
        &self,
        id: u64,
        file: impl AsFd,
        number: Option<u32>,
        close_on_exec: bool,
    ) -> io::Result<u32> {
        self.give(id, file, number, close_on_exec, libc::SECCOMP_ADDFD_FLAG_SEND as u32)
    }

    /// Puts a copy of `file` into the caller's descriptor table, at `number` or at the lowest free one, to be closed on
    /// exec; the call is still to be answered. Returns the number.
    ///
    /// # Errors
    /// As [`Listener::add_and_answer`]'s.
    pub(crate) fn add(&self, id: u64, file: impl AsFd, number: Option<u32>) -> io::Result<u32> {
        self.give(id, file, number, true, 0)
    }

    fn give(
        &self,
        id: u64,
        file: impl AsFd,
        number: Option<u32>,
        close_on_exec: bool,
        flags: u32,
    ) -> io::Result<u32> {
        let set = if number.is_some() { libc::SECCOMP_ADDFD_FLAG_SETFD as u32 } else { 0 };
        let flags = flags | set;
        let raw = libc::seccomp_notif_addfd {
            id,
            flags,
            srcfd: file.as_fd().as_raw_fd() as u32,
            newfd: number.unwrap_or(0),
            newfd_flags: if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 },
        };
        // SAFETY: `raw` is a seccomp_notif_addfd, as ADDFD's number says; the kernel only reads it.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), ADDFD, &raw const raw) }).map(|n| n as u32)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// One BPF instruction, as the kernel takes it.
pub(crate) type Instruction = libc::sock_filter;

/// Gives up gaining privileges and installs `filter` for this thread and its descendants; returns the listener.
///
/// Async-signal-safe: for use between fork and exec.
///
/// # Errors
/// `EBUSY` if this process already runs under a listener; `EINVAL` on a kernel without listeners.
pub(crate) fn install(filter: &[Instruction]) -> io::Result<OwnedFd> {
    // SAFETY: prctl with PR_SET_NO_NEW_PRIVS takes no pointer.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: filter.as_ptr().cast_mut(),
    };
    // A signal must not interrupt a call that is being carried out. Before Linux 5.19 it can't be kept from that.
    let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let descriptor = match set_filter(listener | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => set_filter(listener, &program)?,
        result => result?,
    };
    // SAFETY: the kernel just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn set_filter(flags: libc::c_ulong, program: &libc::sock_fprog) -> io::Result<i32> {
    // SAFETY: `program` points to as many instructions as it says; the kernel copies them before it returns.
    check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(program))
    } as i32)
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
