//! What stands behind a device's descriptor: one end of a stream socket pair.
//!
//! The client's end is a real kernel object, so dup, fork, exec, SCM_RIGHTS, poll, select, epoll, SIGIO and blocked reads
//! are the kernel's own, at whatever number it ends up. The server keeps the other end, and no reference to the client's:
//! so the hang-up that comes of the client's last close is the driver's `release()`.
//!
//! Unread data of the driver is *shown* by sending it, a batch at a time: a batch is sent only once the one before was
//! received. So a file becomes readable when its data goes from none to some, as a driver's wait queue is woken, and not
//! once more with each record (epoll's edges and SIGIO tell the difference).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ioctlab_kernel::{FileId, Kernel};
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::descriptor::Identity;
use crate::sys::misc;

/// The most that is shown at once, in bytes: a page, the most that a read of evtchn returns.
const BATCH: usize = 4096;

/// The server's side of an open file.
pub(crate) struct Backing {
    server: OwnedFd,
    /// By which the client's end is recognised behind any descriptor.
    pub(crate) identity: Identity,
    /// Bytes that were sent and are not known to have been received.
    shown: usize,
    /// Bytes that were sent before those and are the driver's no longer, but could not be taken back.
    stale: usize,
    /// There is more to show once the client has received what was sent.
    pub(crate) held_back: bool,
    /// The server is woken when the client receives something.
    pub(crate) armed: bool,
}

impl Backing {
    /// Makes a pair; returns the server's side and the client's end, which gets these status flags.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub(crate) fn new(status: OFlags) -> io::Result<(Self, OwnedFd)> {
        let (server, client) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        rustix::fs::fcntl_setfl(&client, status)?;
        let stat = rustix::fs::fstat(&client)?;
        let identity = (stat.st_dev, stat.st_ino);
        Ok((Self { server, identity, shown: 0, stale: 0, held_back: false, armed: false }, client))
    }

    /// Takes note of what clients have received by themselves, as far as it is known without a look at their end.
    ///
    /// Returns the bytes that they have received since.
    pub(crate) fn notice(&mut self, kernel: &mut Kernel, file: FileId) -> usize {
        if self.shown + self.stale == 0 || misc::unreceived(&self.server).is_ok_and(|bytes| bytes > 0) {
            return 0;
        }
        kernel.consume(file, self.shown);
        self.stale = 0;
        std::mem::take(&mut self.shown)
    }

    /// Shows unread data, if the client has received all that was shown before.
    pub(crate) fn show(&mut self, kernel: &mut Kernel, file: FileId) {
        self.notice(kernel, file);
        if self.shown + self.stale > 0 {
            self.held_back = kernel.unread(file) > self.shown;
            return;
        }
        let mut batch = [0; BATCH];
        let length = kernel.peek(file, &mut batch);
        let batch = batch.get(..length).unwrap_or_default();
        if !batch.is_empty() {
            // The client has received everything, so there is room; an error means that it has closed its end.
            self.shown = rustix::net::send(&self.server, batch, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
                .unwrap_or(0);
        }
        self.held_back = kernel.unread(file) > self.shown;
    }

    /// Shows all unread data in addition to what was shown, for a reader that is about to take it.
    pub(crate) fn show_all(&mut self, kernel: &mut Kernel, file: FileId) {
        self.notice(kernel, file);
        let mut batch = [0; BATCH];
        let length = kernel.peek(file, &mut batch);
        if let Some(more) = batch.get(self.shown..length).filter(|more| !more.is_empty()) {
            self.shown +=
                rustix::net::send(&self.server, more, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).unwrap_or(0);
        }
        self.held_back = kernel.unread(file) > self.shown;
    }

    /// Takes note of exactly how much clients have received by themselves, with a look at their end.
    pub(crate) fn recount(&mut self, kernel: &mut Kernel, file: FileId, client: BorrowedFd<'_>) {
        let queued = rustix::io::ioctl_fionread(client).map_or(0, |n| n as usize);
        discard(client, queued.saturating_sub(self.shown).min(self.stale));
        self.stale = 0;
        let left = queued.min(self.shown);
        kernel.consume(file, self.shown - left);
        self.shown = left;
    }

    /// Takes up to `count` bytes of what is shown away from the client's end, so that the driver's own `read` can return
    /// them instead.
    ///
    /// Whoever receives a byte has it: what others received in between is taken note of.
    pub(crate) fn take_back(
        &mut self,
        kernel: &mut Kernel,
        file: FileId,
        client: BorrowedFd<'_>,
        count: usize,
    ) {
        let wanted = count.min(self.shown).min(BATCH);
        let mut bytes = [0; BATCH];
        let Some(room) = bytes.get_mut(..wanted).filter(|room| !room.is_empty()) else { return };
        let taken = rustix::net::recv(client, room, RecvFlags::DONTWAIT).map_or(0, |(_, n)| n);
        kernel.consume(file, wanted - taken);
        self.shown -= wanted;
    }

    /// Empties the client's end: nothing is shown any more, and all unread data is the driver's again.
    pub(crate) fn take_all_back(&mut self, client: BorrowedFd<'_>) {
        discard(client, usize::MAX);
        (self.shown, self.stale) = (0, 0);
    }

    /// What is shown is the driver's no longer, and the client's end can't be reached: clients will find it all the same.
    pub(crate) fn abandon(&mut self) {
        self.stale += std::mem::take(&mut self.shown);
    }

    /// Receives what a client wrote by a descriptor outside of the window.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is nothing more; `Ok(0)` is the client's last close.
    pub(crate) fn receive(&self, to: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(&self.server, to, RecvFlags::DONTWAIT).map(|(_, n)| n)?)
    }

    /// Bytes shown and not known to have been received.
    pub(crate) fn shown(&self) -> usize {
        self.shown
    }
}

/// Receives up to `count` bytes at a client's end, for nobody.
fn discard(client: BorrowedFd<'_>, mut count: usize) {
    let mut bytes = [0; BATCH];
    while let Some(room) = bytes.get_mut(..count.min(BATCH)).filter(|room| !room.is_empty()) {
        match rustix::net::recv(client, room, RecvFlags::DONTWAIT) {
            Ok((_, taken @ 1..)) => count -= taken,
            _ => return,
        }
    }
}

impl AsFd for Backing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.server.as_fd()
    }
}

#[cfg(test)]
#[path = "backing_tests.rs"]
mod tests;
