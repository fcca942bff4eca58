//! What a machine with its drivers looks like to the kernel.

use crate::{Access, Event, Reply, Work};
use alloc::boxed::Box;
use alloc::vec::Vec;
use ioctlab_chardev::{
    CallResult, Caller, Errno, EventId, FileId, Mapping, MappingId, MmapRequest, PollEvents, Request,
    UserMemory, UserPtr,
};

/// Who opens a file, as far as drivers care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opener {
    /// The Xen domain that the process tree runs as.
    pub domain: u16,
    /// It has `CAP_SYS_RAWIO`.
    pub rawio: bool,
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

    /// `read` of up to `count` bytes to `to`, of a file that is [`Behind::Stream`](crate::Behind::Stream).
    ///
    /// # Errors
    /// The driver's; [`Errno::EFAULT`] leaves the data unread.
    fn read(
        &mut self,
        file: FileId,
        to: UserPtr,
        count: usize,
        memory: &mut dyn UserMemory,
    ) -> CallResult<usize> {
        let _ = (file, to, count, memory);
        Err(Errno::EINVAL.into())
    }

    /// `write` of `count` bytes from `from`, of a file that is [`Behind::Stream`](crate::Behind::Stream).
    ///
    /// # Errors
    /// The driver's.
    fn write(
        &mut self,
        file: FileId,
        from: UserPtr,
        count: usize,
        memory: &mut dyn UserMemory,
    ) -> CallResult<usize> {
        let _ = (file, from, count, memory);
        Err(Errno::EINVAL.into())
    }

    /// `read` at a position, of a file that is [`Behind::Addressed`](crate::Behind::Addressed).
    ///
    /// # Errors
    /// The driver's.
    fn read_at(
        &mut self,
        file: FileId,
        position: u64,
        to: UserPtr,
        count: usize,
        caller: &mut dyn Caller,
    ) -> CallResult<Reply> {
        let _ = (file, position, to, count, caller);
        Err(Errno::EINVAL.into())
    }

    /// `write` at a position, of a file that is [`Behind::Addressed`](crate::Behind::Addressed).
    ///
    /// # Errors
    /// The driver's.
    fn write_at(
        &mut self,
        file: FileId,
        position: u64,
        from: UserPtr,
        count: usize,
        caller: &mut dyn Caller,
    ) -> CallResult<Reply> {
        let _ = (file, position, from, count, caller);
        Err(Errno::EINVAL.into())
    }

    /// `ioctl`.
    ///
    /// # Errors
    /// The driver's.
    fn ioctl(
        &mut self,
        file: FileId,
        request: Request,
        argument: u64,
        caller: &mut dyn Caller,
    ) -> CallResult<Reply>;

    /// `mmap`. What is mapped stays the driver's until it was told of [`unmapped`](Self::unmapped).
    ///
    /// # Errors
    /// The driver's; [`Errno::ENODEV`] if it maps nothing.
    fn mmap(&mut self, file: FileId, request: &MmapRequest) -> Result<Mapping, Errno> {
        let _ = (file, request);
        Err(Errno::ENODEV)
    }

    /// Pages of a mapping, counted from its first, are in the address space no longer. They may have been so before.
    fn zap(&mut self, mapping: MappingId, first: u64, pages: u64) {
        let _ = (mapping, first, pages);
    }

    /// Nothing is left of a mapping (`vm_operations_struct::close`, the last one); called exactly once for each.
    fn unmapped(&mut self, mapping: MappingId) {
        let _ = mapping;
    }

    /// Mappings whose end changes the contents of their pages, in a way that others who have them mapped can see: the process
    /// that unmaps one isn't let go on before that. By mapping, and the page that matters; `None` if it is the last.
    fn changed_by_unmapping(&self) -> Vec<(MappingId, Option<u64>)> {
        Vec::new()
    }

    /// A mapping is about to be unmapped as its process ends: what that changes for others is done now, and once more then.
    fn change_ahead(&mut self, mapping: MappingId) {
        let _ = mapping;
    }

    /// What reading a file gives, if it has contents of its own that don't change.
    fn contents(&self, file: FileId) -> Option<Vec<u8>> {
        let _ = file;
        None
    }

    /// Whether something waits to be tried again, which Linux does by a timer of a second.
    fn has_deferred(&self) -> bool {
        false
    }

    /// Tries again what waits for that.
    fn retry_deferred(&mut self) {}

    /// What `poll` reports now. Without a `poll` of its own a file is always ready.
    fn poll(&self, file: FileId) -> PollEvents {
        let _ = file;
        PollEvents::IN | PollEvents::OUT | PollEvents::RDNORM | PollEvents::WRNORM
    }

    /// The unread data, in bytes.
    fn unread(&self, file: FileId) -> usize {
        let _ = file;
        0
    }

    /// How many bytes a `read` of `count` bytes would take now; 0 if it would wait, fail or take none.
    fn would_read(&self, file: FileId, count: usize) -> usize {
        let _ = (file, count);
        0
    }

    /// Copies unread data to `to` without taking it; returns the bytes copied, in whole records.
    fn peek(&self, file: FileId, to: &mut [u8]) -> usize {
        let _ = (file, to);
        0
    }

    /// Takes `bytes` of unread data: a process got them from the kernel object that shows them.
    fn consume(&mut self, file: FileId, bytes: usize) {
        let _ = (file, bytes);
    }

    /// The next file whose unread data has grown since it was last returned here.
    fn next_changed(&mut self) -> Option<FileId> {
        None
    }

    /// The next thing to be done with an eventfd of a program's, in the order in which it came about.
    fn next_event(&mut self) -> Option<Event> {
        None
    }

    /// The next of its devices whose node has come (`true`) or gone since it was last returned here.
    fn next_node_change(&mut self) -> Option<(u32, bool)> {
        None
    }

    /// An eventfd that is being watched was signalled, and its count has been taken.
    fn signalled(&mut self, event: EventId) -> Option<Box<dyn Work>> {
        let _ = event;
        None
    }
}
