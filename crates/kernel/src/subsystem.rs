//! What a machine with its drivers looks like to the kernel.

use crate::Access;
use ioctlab_chardev::{CallResult, Errno, FileId, PollEvents, Request, UserMemory, UserPtr};

/// Who opens a file, as far as drivers care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opener {
    /// The Xen domain that the process tree runs as.
    pub domain: u16,
}

/// A machine and the drivers on it: the calls of its character devices.
///
/// A call is done, fails with an errno, or says that it must wait ([`ioctlab_chardev::Stop::Wait`]), having changed nothing.
///
/// # Readable data as a stream
/// A host shows a file's unread data in a kernel object, so that poll, select, epoll, SIGIO and blocked reads are Linux's
/// own. For that it looks at the data without taking it ([`peek`](Self::peek)), and says later what was taken
/// ([`consume`](Self::consume)).
pub trait Subsystem: Send {
    /// Opens `device`; `file` has never been used before.
    ///
    /// # Errors
    /// What the driver's `open` refuses with.
    fn open(&mut self, device: u32, file: FileId, access: Access, opener: Opener) -> Result<(), Errno>;

    /// The last reference to `file` is gone (`release()`); called exactly once for an opened file.
    fn release(&mut self, file: FileId);

    /// `read` of up to `count` bytes to `to`.
    ///
    /// # Errors
    /// The driver's; [`Errno::EFAULT`] leaves the data unread.
    fn read(
        &mut self,
        file: FileId,
        to: UserPtr,
        count: usize,
        memory: &mut dyn UserMemory,
    ) -> CallResult<usize>;

    /// `write` of `count` bytes from `from`.
    ///
    /// # Errors
    /// The driver's.
    fn write(
        &mut self,
        file: FileId,
        from: UserPtr,
        count: usize,
        memory: &mut dyn UserMemory,
    ) -> CallResult<usize>;

    /// `ioctl`.
    ///
    /// # Errors
    /// The driver's.
    fn ioctl(
        &mut self,
        file: FileId,
        request: Request,
        argument: u64,
        memory: &mut dyn UserMemory,
    ) -> CallResult<i64>;

    /// What `poll` reports now.
    fn poll(&self, file: FileId) -> PollEvents;

    /// The unread data, in bytes.
    fn unread(&self, file: FileId) -> usize;

    /// How many bytes a `read` of `count` bytes would take now; 0 if it would wait, fail or take none.
    fn would_read(&self, file: FileId, count: usize) -> usize;

    /// Copies unread data to `to` without taking it; returns the bytes copied, in whole records.
    fn peek(&self, file: FileId, to: &mut [u8]) -> usize;

    /// Takes `bytes` of unread data: a process got them from the kernel object that shows them.
    fn consume(&mut self, file: FileId, bytes: usize);

    /// The next file whose unread data has grown since it was last returned here.
    fn next_changed(&mut self) -> Option<FileId>;
}
