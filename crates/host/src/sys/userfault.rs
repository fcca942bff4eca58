//! userfaultfd: being told of what a process does to parts of its address space, before it goes on.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The flags of the system call: only for faults of user mode, which any user may have; and the usual two.
pub(crate) const FLAGS: u64 = 1 | (libc::O_CLOEXEC | libc::O_NONBLOCK) as u64;

/// `UFFD_API`.
const API: u64 = 0xaa;
/// Being told of `mremap`, `madvise` and `munmap`; SIGBUS for faults that would otherwise be reported; write protection
/// and minor faults of shared memory.
const EVENT_REMAP: u64 = 1 << 2;
const EVENT_REMOVE: u64 = 1 << 3;
const EVENT_UNMAP: u64 = 1 << 6;
const SIGBUS: u64 = 1 << 7;
const MINOR_SHMEM: u64 = 1 << 10;
const WP_SHMEM: u64 = 1 << 12;
/// The modes of a range.
const MODE_WRITE_PROTECT: u64 = 1 << 1;
const MODE_MINOR: u64 = 1 << 2;

const fn number(direction: u32, number: u32, size: usize) -> libc::Ioctl {
    (direction << 30 | (size as u32) << 16 | 0xaa << 8 | number) as libc::Ioctl
}

const UFFDIO_API: libc::Ioctl = number(3, 0x3f, 24);
const UFFDIO_REGISTER: libc::Ioctl = number(3, 0x00, 32);
const UFFDIO_WRITEPROTECT: libc::Ioctl = number(3, 0x06, 24);

/// What a process did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It unmapped a range, from `start` up to `end`.
    Unmapped {
        /// The first address.
        start: u64,
        /// The first address after it.
        end: u64,
    },
    /// It dropped what is in a range that stays mapped (`MADV_DONTNEED`).
    Removed {
        /// The first address.
        start: u64,
        /// The first address after it.
        end: u64,
    },
    /// It moved a range.
    Moved {
        /// Where it was.
        from: u64,
        /// Where it is.
        to: u64,
        /// Its length in bytes.
        length: u64,
    },
}

/// An address space's userfaultfd.
#[derive(Debug)]
pub(crate) struct Userfault(OwnedFd);

/// A userfaultfd of this process's own address space, to be set up.
///
/// # Errors
/// `EPERM`, `ENOSYS` where it isn't allowed, or there is none.
pub(crate) fn create() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointer.
    let descriptor = unsafe { libc::syscall(libc::SYS_userfaultfd, FLAGS) };
    let descriptor = i32::try_from(descriptor).unwrap_or(-1);
    check(descriptor)?;
    // SAFETY: the kernel just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

impl Userfault {
    /// Sets up a new userfaultfd.
    ///
    /// # Errors
    /// `EINVAL` before Linux 5.19, which lacks some of it.
    pub(crate) fn set_up(descriptor: OwnedFd) -> io::Result<Self> {
        let features = EVENT_REMAP | EVENT_REMOVE | EVENT_UNMAP | SIGBUS | MINOR_SHMEM | WP_SHMEM;
        let mut api: [u64; 3] = [API, features, 0];
        // SAFETY: `api` is a writable uffdio_api.
        check(unsafe { libc::ioctl(descriptor.as_raw_fd(), UFFDIO_API, api.as_mut_ptr()) })?;
        Ok(Self(descriptor))
    }

    /// Asks to be told of what happens to a range of mapped shared memory.
    ///
    /// # Errors
    /// `ESRCH` if the address space is gone; `EINVAL`, `EBUSY` if this range can't be watched.
    pub(crate) fn watch(&self, start: u64, length: u64) -> io::Result<()> {
        self.register(start, length, MODE_WRITE_PROTECT)
    }

    /// From here on, what is not in the page tables any more is SIGBUS when it is touched.
    ///
    /// # Errors
    /// As [`Userfault::watch`].
    pub(crate) fn refuse_missing(&self, start: u64, length: u64) -> io::Result<()> {
        self.register(start, length, MODE_WRITE_PROTECT | MODE_MINOR)
    }

    /// From here on, a write to the range is SIGBUS, if protections allow it in the first place.
    ///
    /// # Errors
    /// As [`Userfault::watch`].
    pub(crate) fn refuse_writes(&self, start: u64, length: u64) -> io::Result<()> {
        let mut protect: [u64; 3] = [start, length, 1];
        // SAFETY: `protect` is a writable uffdio_writeprotect; its range is the other process's.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), UFFDIO_WRITEPROTECT, protect.as_mut_ptr()) })
    }

    fn register(&self, start: u64, length: u64, mode: u64) -> io::Result<()> {
        let mut range: [u64; 4] = [start, length, mode, 0];
        // SAFETY: `range` is a writable uffdio_register; its range is the other process's.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), UFFDIO_REGISTER, range.as_mut_ptr()) })
    }

    /// The next event, whose causer goes on with this; `None` if there is none now.
    pub(crate) fn next(&self) -> Option<Event> {
        loop {
            let mut message = [0u8; 32];
            if rustix::io::read(&self.0, &mut message).ok()? != message.len() {
                return None;
            }
            let word = |at: usize| {
                message.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes)
            };
            match message.first() {
                Some(0x14) => return Some(Event::Moved { from: word(8), to: word(16), length: word(24) }),
                Some(0x15) => return Some(Event::Removed { start: word(8), end: word(16) }),
                Some(0x16) => return Some(Event::Unmapped { start: word(8), end: word(16) }),
                // Faults aren't reported with the SIGBUS feature.
                _ => {}
            }
        }
    }
}

impl std::os::fd::AsFd for Userfault {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
