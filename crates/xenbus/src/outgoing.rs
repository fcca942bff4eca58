//! Requests on their way to the store, and those that wait for its answer (`xb_write_list`, `xs_reply_list`).

use crate::{
    Ring, Ticket,
    ring::{BadIndices, put},
    watches::WatchId,
};
use alloc::{collections::VecDeque, vec::Vec};
use ioctlab_abi::xenbus::{HEADER_SIZE, Header};
use ioctlab_chardev::{Errno, FileId};

/// What a request counts for, besides its payload, while it is queued or unanswered.
const REQUEST_COST: usize = 128;

/// Whom an answer is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiter {
    /// A file, with what its program asked.
    File(FileId, Header, Purpose),
    /// The kernel itself, with the kind of its request.
    Kernel(Ticket, u32),
    /// Nobody.
    Nobody,
}

/// What is to become of an answer for a file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// It is passed on.
    Forward,
    /// It says whether the watch stands.
    Watch(WatchId),
    /// It doesn't matter what it says.
    Unwatch,
}

/// A request that has no answer yet.
#[derive(Debug)]
pub(crate) struct Request {
    /// The kernel's own number for it.
    id: u32,
    /// Header and payload; nothing once all is sent.
    bytes: Vec<u8>,
    pub(crate) waiter: Waiter,
    /// What it counts for.
    pub(crate) cost: usize,
}

/// All requests that have no answer yet, in the order of their numbers: first those that are sent, then the others.
#[derive(Debug)]
pub(crate) struct Outgoing {
    requests: VecDeque<Request>,
    /// How many are sent.
    sent: usize,
    /// How many bytes of the one after these are.
    written: usize,
    next_id: u32,
}

/// What a request with a payload of so many bytes counts for.
pub(crate) fn cost(payload: usize) -> usize {
    REQUEST_COST.saturating_add(payload)
}

impl Outgoing {
    pub(crate) const fn new() -> Self {
        Self { requests: VecDeque::new(), sent: 0, written: 0, next_id: 0 }
    }

    /// Queues a request with a number of its own, and a payload in parts (`xs_send`).
    ///
    /// # Errors
    /// `ENOMEM`
    pub(crate) fn queue(
        &mut self,
        kind: u32,
        transaction: u32,
        payload: &[&[u8]],
        waiter: Waiter,
    ) -> Result<(), Errno> {
        let length = payload.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        let id = self.next_id;
        let header = Header {
            kind,
            request: id,
            transaction,
            length: u32::try_from(length).map_err(|_| Errno::ENOMEM)?,
        };
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length.saturating_add(HEADER_SIZE)).map_err(|_| Errno::ENOMEM)?;
        self.requests.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        bytes.extend(header.to_bytes());
        for part in payload {
            bytes.extend_from_slice(part);
        }
        self.requests.push_back(Request { id, bytes, waiter, cost: cost(length) });
        self.next_id = id.wrapping_add(1);
        Ok(())
    }

    /// Whether something is left to be sent.
    pub(crate) fn has_unsent(&self) -> bool {
        self.sent < self.requests.len()
    }

    /// Sends as far as there is room (`process_writes`).
    ///
    /// # Errors
    /// The request that could not be sent because of bad indices; it is no longer queued, and the next call goes on with
    /// the one after it.
    pub(crate) fn send(&mut self, ring: &mut dyn Ring) -> Result<(), Request> {
        while let Some(request) = self.requests.get_mut(self.sent) {
            match put(ring, request.bytes.get(self.written..).unwrap_or_default()) {
                Ok(bytes) => self.written = self.written.saturating_add(bytes),
                Err(BadIndices) => {
                    self.written = 0;
                    return self.requests.remove(self.sent).map_or(Ok(()), Err);
                }
            }
            if self.written < request.bytes.len() {
                return Ok(());
            }
            request.bytes = Vec::new();
            self.sent = self.sent.saturating_add(1);
            self.written = 0;
        }
        Ok(())
    }

    /// Takes the request with this number, if it was sent and has no answer yet.
    pub(crate) fn answered(&mut self, id: u32) -> Option<Request> {
        // Numbers go up, and around: what orders them is how far they are from the oldest.
        let oldest = self.requests.front()?.id;
        let age = id.wrapping_sub(oldest);
        let position = self.requests.partition_point(|request| request.id.wrapping_sub(oldest) < age);
        if position >= self.sent || self.requests.get(position)?.id != id {
            return None;
        }
        self.sent = self.sent.saturating_sub(1);
        self.requests.remove(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_go_around() {
        let mut outgoing = Outgoing::new();
        outgoing.next_id = u32::MAX - 1;
        for _ in 0..4 {
            outgoing.queue(0, 0, &[], Waiter::Nobody).unwrap();
        }
        assert!(outgoing.answered(0).is_none(), "not sent");
        outgoing.sent = 3;
        for id in [1, 2, u32::MAX - 2, 1 << 31] {
            assert!(outgoing.answered(id).is_none(), "{id}");
        }
        for id in [u32::MAX, 0, u32::MAX - 1] {
            assert_eq!(outgoing.answered(id).map(|request| request.id), Some(id));
            assert!(outgoing.answered(id).is_none());
        }
        assert_eq!((outgoing.sent, outgoing.requests.len()), (0, 1));
    }
}
