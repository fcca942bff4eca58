//! Signalling other processes' eventfds as a kernel does: by the completion of an asynchronous read of nothing.
//!
//! A `write` to an eventfd waits while its count is at its maximum, and a descriptor that is shared with its owner can't be
//! made non-blocking for one side only. `IOCB_FLAG_RESFD` has the kernel itself add 1, which never waits.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

const READ: u16 = 0;
/// `IOCB_FLAG_RESFD`.
const SIGNAL_EVENTFD: u32 = 1;
/// How many reads may be under way; there is never more than one.
const EVENTS: libc::c_ulong = 8;

/// `struct iocb` of a little-endian machine.
#[repr(C)]
struct Iocb {
    data: u64,
    key: u32,
    flags_of_transfer: u32,
    opcode: u16,
    priority: i16,
    file: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    eventfd: u32,
}

/// A queue of asynchronous reads.
#[derive(Debug)]
pub(crate) struct Queue(libc::c_ulong);

impl Queue {
    /// Makes one.
    ///
    /// # Errors
    /// `ENOSYS` on a kernel without, `EAGAIN` if the system has too many.
    pub(crate) fn new() -> io::Result<Self> {
        let mut context: libc::c_ulong = 0;
        // SAFETY: `context` is a writable aio_context_t that holds 0.
        check(unsafe { libc::syscall(libc::SYS_io_setup, EVENTS, &raw mut context) })?;
        Ok(Self(context))
    }

    /// Reads nothing from `file`, and adds 1 to the eventfd's count as that is done, which it is when this returns.
    ///
    /// # Errors
    /// `EAGAIN`, `ENOMEM`; nothing has been added.
    pub(crate) fn signal(&self, file: impl AsFd, eventfd: impl AsFd) -> io::Result<()> {
        let mut read = Iocb {
            data: 0,
            key: 0,
            flags_of_transfer: 0,
            opcode: READ,
            priority: 0,
            file: file.as_fd().as_raw_fd() as u32,
            buffer: 0,
            bytes: 0,
            offset: 0,
            reserved: 0,
            flags: SIGNAL_EVENTFD,
            eventfd: eventfd.as_fd().as_raw_fd() as u32,
        };
        let mut list = [&raw mut read];
        // SAFETY: one valid iocb, whose buffer is empty; the kernel has done with it when the call returns, as a read of
        // nothing is complete at once.
        let submitted = unsafe { libc::syscall(libc::SYS_io_submit, self.0, 1, list.as_mut_ptr()) };
        check(submitted)?;
        let mut events = [[0u64; 4]; EVENTS as usize];
        // SAFETY: there is room for as many io_events as are asked for; none is waited for.
        let _ = unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.0,
                0,
                EVENTS,
                events.as_mut_ptr(),
                std::ptr::null_mut::<libc::timespec>(),
            )
        };
        Ok(())
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the context was made by `new`, and nobody uses it after this.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.0) };
    }
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};

    #[test]
    fn an_eventfd_is_signalled_at_once_and_never_waited_for() {
        let queue = Queue::new().expect("this system has asynchronous reads");
        let file = rustix::fs::memfd_create("nothing", rustix::fs::MemfdFlags::CLOEXEC).expect("a file");
        // A blocking one, as a program's may be.
        let event = eventfd(0, EventfdFlags::empty()).expect("an eventfd");
        let count = || {
            let mut bytes = [0; 8];
            rustix::io::read(&event, &mut bytes).expect("it was signalled");
            u64::from_ne_bytes(bytes)
        };
        for _ in 0..100 {
            queue.signal(&file, &event).expect("a signal");
        }
        assert_eq!(count(), 100);
        rustix::io::write(&event, &(u64::MAX - 1).to_ne_bytes()).expect("there is room");
        for _ in 0..3 {
            queue.signal(&file, &event).expect("a signal");
        }
        assert!(count() >= u64::MAX - 1, "it stays at its maximum");
    }
}
