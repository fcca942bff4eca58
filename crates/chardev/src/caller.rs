//! The process that makes a call, where a driver needs to know more of it than its memory.

use crate::{FileId, UserMemory, UserPtr};
use ioctlab_abi::Errno;

/// An eventfd of a program's, held by a driver (`eventfd_ctx`).
///
/// Numbers are never used twice in a lab's life; the same eventfd gets a new one each time it is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u64);

/// What is to be done with an eventfd of a program's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Add 1 to its count (`eventfd_signal`): never waits; a count that is at its maximum stays there.
    Signal(EventId),
    /// From now on, whenever its count isn't 0: take the count, and say so to the driver (`virqfd`).
    Watch(EventId),
    /// The driver has done with it.
    LetGo(EventId),
}

/// A process's address space (`mm_struct`): shared by its threads, left behind by `execve`.
///
/// Numbers are never used twice in a lab's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpaceId(pub u64);

/// A capability that a driver asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// `CAP_IPC_LOCK`: no limit of locked memory.
    IpcLock,
    /// `CAP_SYS_RAWIO`: devices without an IOMMU.
    SysRawio,
}

/// The process that makes a call.
///
/// What isn't overridden is of a process that has nothing: no descriptors, no memory that could be held on to.
pub trait Caller: UserMemory {
    /// What a descriptor of the caller's stands for: an open file of this lab's, or `None` for anything else (`fget`).
    ///
    /// # Errors
    /// [`Errno::EBADF`] if it stands for nothing.
    fn descriptor(&mut self, number: i32) -> Result<Option<FileId>, Errno> {
        let _ = number;
        Err(Errno::EBADF)
    }

    /// Holds the eventfd that a descriptor of the caller's stands for (`eventfd_ctx_fdget`), until the driver lets it go.
    ///
    /// # Errors
    /// [`Errno::EBADF`] if it stands for nothing, [`Errno::EINVAL`] if it is no eventfd.
    fn event(&mut self, number: i32) -> Result<EventId, Errno> {
        let _ = number;
        Err(Errno::EBADF)
    }

    /// The caller's address space, to be reached later, when the caller isn't calling.
    ///
    /// # Errors
    /// [`Errno::ESRCH`] if the caller is gone.
    fn space(&mut self) -> Result<SpaceId, Errno> {
        Err(Errno::ESRCH)
    }

    /// Whether all of a range could be pinned, for writing or only for reading (`pin_user_pages_remote`). Costs no more
    /// for a long range than for a short one, but for each thing that is mapped there.
    ///
    /// # Errors
    /// [`Errno::EFAULT`] if some page of it is not mapped, or its protection forbids it.
    fn check_pinnable(&mut self, from: UserPtr, bytes: u64, writable: bool) -> Result<(), Errno> {
        let _ = (from, bytes, writable);
        Err(Errno::EFAULT)
    }

    /// The caller's limit of locked memory in bytes (`RLIMIT_MEMLOCK`); `None` if it has none (`RLIM_INFINITY`).
    fn locked_memory_limit(&mut self) -> Option<u64> {
        None
    }

    /// How many pages the caller has locked by itself (`mlock`), which count against the limit, too.
    fn locked_pages(&mut self) -> u64 {
        0
    }

    /// Whether the caller has a capability.
    fn has_capability(&mut self, capability: Capability) -> bool {
        let _ = capability;
        false
    }
}
