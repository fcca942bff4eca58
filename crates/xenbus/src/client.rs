//! The kernel's own requests.

use crate::{Bus, outgoing::Waiter};
use alloc::{collections::VecDeque, vec::Vec};
use core::fmt;
use ioctlab_abi::xenbus::{PAYLOAD_MAX, kind};
use ioctlab_chardev::Errno;

/// A request of the kernel's own, to be told apart from its others. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Why the store refused: an error's name (`ENOENT`).
#[derive(Clone, PartialEq, Eq)]
pub struct Refusal(Vec<u8>);

impl Refusal {
    pub(crate) fn new(name: &[u8]) -> Self {
        Self(name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec())
    }

    /// The name, as the store wrote it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The kernel's tickets, and the answers that were not fetched yet.
#[derive(Debug)]
pub(crate) struct Client {
    next: u64,
    replies: VecDeque<(Ticket, Result<Vec<u8>, Refusal>)>,
}

impl Client {
    pub(crate) const fn new() -> Self {
        Self { next: 1, replies: VecDeque::new() }
    }

    fn ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next);
        self.next = self.next.saturating_add(1);
        ticket
    }

    /// Notes an answer. One of another kind than was asked is `EINVAL` (`xs_talkv`).
    pub(crate) fn answered(&mut self, ticket: Ticket, asked: u32, kind: u32, body: &[u8]) {
        let reply = match kind {
            _ if kind == asked => Ok(body.to_vec()),
            kind::ERROR => Err(Refusal::new(body)),
            _ => Err(Refusal::new(b"EINVAL")),
        };
        self.replies.push_back((ticket, reply));
    }
}

impl Bus {
    /// Queues a request of the kernel's own, outside of transactions. [`Bus::next_reply`] gives its answer.
    ///
    /// # Errors
    /// `E2BIG` if the payload is longer than a message's may be; `ENOMEM`.
    pub fn request(&mut self, kind: u32, payload: &[u8]) -> Result<Ticket, Errno> {
        self.request_in(0, kind, payload)
    }

    /// Queues a request of the kernel's own in a transaction that it has begun (`xs_talkv`).
    ///
    /// # Errors
    /// As [`Bus::request`].
    pub fn request_in(&mut self, transaction: u32, kind: u32, payload: &[u8]) -> Result<Ticket, Errno> {
        if payload.len() > PAYLOAD_MAX {
            return Err(Errno::E2BIG);
        }
        let ticket = self.client.ticket();
        self.ask(kind, transaction, &[payload], Waiter::Kernel(ticket, kind))?;
        Ok(ticket)
    }

    /// The next answer to one of the kernel's requests, in the order in which they came: the payload, or why not.
    pub fn next_reply(&mut self) -> Option<(Ticket, Result<Vec<u8>, Refusal>)> {
        self.client.replies.pop_front()
    }
}
