//! A run's connection: what the kernel asks, and who waits for an answer.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ioctlab_abi::Errno;
use rustix::event::{PollFd, PollFlags};
use rustix::time::Timespec;

use super::interrupts::{Postponed, is_killed};
use super::stores::{Job, Write};
use super::wire::{self, Operation, Request};
use super::writers::Writers;
use super::{Owner, Trees};

/// One mount of the trees.
pub(crate) struct Connection {
    pub(crate) trees: Arc<Trees>,
    pub(crate) owner: Owner,
    device: OwnedFd,
    stores: Sender<Job>,
    /// The threads that wait for a write, by their requests.
    waiting: Mutex<HashMap<u64, u32>>,
    writers: Mutex<Writers>,
}

impl Connection {
    pub(crate) fn new(trees: Arc<Trees>, device: OwnedFd, owner: Owner, stores: Sender<Job>) -> Self {
        Self { trees, owner, device, stores, waiting: Mutex::default(), writers: Mutex::default() }
    }

    /// Answers the kernel until the mount is gone.
    pub(crate) fn serve(self: &Arc<Self>) {
        let mut message = vec![0; wire::REQUEST_MAX];
        let mut postponed = Postponed::default();
        loop {
            for unique in postponed.take_due() {
                // Nobody waits any more if this is refused.
                let _ = wire::reply(&self.device, unique, Err(Errno::EAGAIN));
            }
            if let Some(wait) = postponed.wait() {
                let mut ready = [PollFd::new(&self.device, PollFlags::IN)];
                let timeout = Timespec::try_from(wait).unwrap_or_default();
                if rustix::event::poll(&mut ready, Some(&timeout)) == Ok(0) {
                    continue;
                }
            }
            match rustix::io::read(&self.device, &mut *message) {
                Ok(length) => {
                    if let Some(request) = Request::parse(message.get(..length).unwrap_or_default()) {
                        self.handle(&request, &mut postponed);
                    }
                }
                // ENOENT: who asked was interrupted before it could be fetched.
                Err(rustix::io::Errno::INTR | rustix::io::Errno::NOENT | rustix::io::Errno::AGAIN) => {}
                Err(_) => return,
            }
        }
    }

    fn handle(self: &Arc<Self>, request: &Request<'_>, postponed: &mut Postponed) {
        let result = match request.operation {
            Operation::Forget => return,
            Operation::Interrupt { unique } => return self.interrupt(unique, request.unique, postponed),
            Operation::Write { flags, offset, bytes } => {
                match self.begin_write(request, flags, offset, bytes) {
                    Ok(()) => return,
                    Err(errno) => Err(errno),
                }
            }
            // A bug in one file must not end the service of all others.
            _ => catch_unwind(AssertUnwindSafe(|| self.answer(request))).unwrap_or(Err(Errno::EIO)),
        };
        // An error means that who asked was killed: nobody waits for the answer.
        let _ = wire::reply(&self.device, request.unique, result.as_deref().map_err(|errno| *errno));
    }

    fn begin_write(
        self: &Arc<Self>,
        request: &Request<'_>,
        flags: u32,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Errno> {
        let path = self.trees.names().path(request.node).ok_or(Errno::ENOENT)?;
        // What is appended is placed at the end by the kernel, which sysfs knows nothing of.
        let offset = if flags & libc::O_APPEND as u32 == 0 { offset } else { 0 };
        let bytes = bytes.get(..super::operations::PAGE).unwrap_or(bytes).to_vec();
        self.waiting().insert(request.unique, request.thread);
        let write = Write { connection: Arc::clone(self), unique: request.unique, path };
        if self.stores.send(Job::Begin(write, offset, bytes)).is_err() {
            self.waiting().remove(&request.unique);
            return Err(Errno::EIO);
        }
        Ok(())
    }

    /// Answers a write, unless who waited for it has been let go.
    pub(crate) fn finish_write(&self, unique: u64, result: Result<usize, Errno>) {
        if self.waiting().remove(&unique).is_some() {
            let body = result.map(wire::written);
            // An error means that the mount is gone, and with it who waited.
            let _ = wire::reply(&self.device, unique, body.as_deref().map_err(|errno| *errno));
        }
    }

    /// A signal has come for who waits for a write. Everything else is answered at once.
    fn interrupt(&self, waiting: u64, interrupt: u64, postponed: &mut Postponed) {
        let Some(thread) = self.waiting().get(&waiting).copied() else { return };
        if is_killed(thread) {
            self.finish_write(waiting, Err(Errno::EINTR));
        } else {
            postponed.add(interrupt);
        }
    }

    /// A node of the file at this path, for who looks it up: one that nobody writes to.
    pub(crate) fn node(&self, path: &str) -> u64 {
        let (mut names, mut writers, now) = (self.trees.names(), self.writers(), Instant::now());
        if !names.nodes(path).iter().any(|node| writers.has(*node)) {
            return names.number(path);
        }
        let node = names.node(path, |node| writers.is_free(node, now));
        writers.reserve(node, now);
        node
    }

    pub(crate) fn writers(&self) -> MutexGuard<'_, Writers> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, u32>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
