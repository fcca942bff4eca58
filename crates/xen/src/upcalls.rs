//! The queue of upcalls: ports with an event that their guest has yet to be told of, in order of arrival.
//!
//! That is the order of the FIFO ABI (within one of its priorities). A two-level guest finds its events by scanning
//! bitmaps; which of several it sees first isn't promised, so that this order serves it too.

use crate::{DomainId, Port};
use alloc::collections::BTreeMap;

/// A place in the queue. Never used twice, so that a port that left the queue can't be mistaken for its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// The queue. Each port holds at most one ticket, and gives it up when it closes: the queue is never longer than the
/// number of ports.
#[derive(Debug)]
pub(crate) struct Upcalls {
    next: u64,
    waiting: BTreeMap<Ticket, (DomainId, Port)>,
}

impl Upcalls {
    pub(crate) const fn new() -> Self {
        Self { next: 0, waiting: BTreeMap::new() }
    }

    /// Queues a port, last.
    pub(crate) fn push(&mut self, target: (DomainId, Port)) -> Ticket {
        let ticket = Ticket(self.next);
        // 2^64 events are centuries away.
        self.next = self.next.wrapping_add(1);
        self.waiting.insert(ticket, target);
        ticket
    }

    /// Takes a port out, wherever it stands.
    pub(crate) fn withdraw(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
    }

    /// Takes the first out.
    pub(crate) fn pop(&mut self) -> Option<(DomainId, Port)> {
        self.waiting.pop_first().map(|(_, target)| target)
    }

    /// How many ports wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}
