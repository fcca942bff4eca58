//! The message that the store is writing (`process_msg`).

use crate::{
    Complaint, Ring,
    ring::{BadIndices, take},
};
use alloc::vec::Vec;
use ioctlab_abi::xenbus::{HEADER_SIZE, Header, PAYLOAD_MAX};

/// The part that has arrived. It is read as the store writes it, however little at a time.
#[derive(Debug)]
pub(crate) struct Incoming {
    header: [u8; HEADER_SIZE],
    body: Vec<u8>,
    /// The header is complete, and there is room for the body.
    in_body: bool,
    /// How much of the header, then of the body, there is.
    done: usize,
}

/// What came of looking.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A message; its payload is [`Incoming::take_body`].
    Message(Header),
    /// Not all of one.
    Nothing,
    /// What was there of one is lost.
    Wrong(Complaint),
}

impl Incoming {
    pub(crate) const fn new() -> Self {
        Self { header: [0; HEADER_SIZE], body: Vec::new(), in_body: false, done: 0 }
    }

    /// Reads on until a message is complete or the ring empty. If there is no memory for the payload there is nothing, and
    /// the next call tries again.
    pub(crate) fn receive(&mut self, ring: &mut dyn Ring) -> Received {
        let received = self.advance(ring).unwrap_or(Received::Wrong(Complaint::BadReplyIndices));
        if received != Received::Nothing {
            self.in_body = false;
            self.done = 0;
        }
        received
    }

    fn advance(&mut self, ring: &mut dyn Ring) -> Result<Received, BadIndices> {
        if !self.in_body {
            let rest = self.header.get_mut(self.done..).unwrap_or_default();
            self.done = self.done.saturating_add(take(ring, rest)?);
            if self.done < HEADER_SIZE {
                return Ok(Received::Nothing);
            }
            let announced = Header::from_bytes(self.header).length;
            let length = usize::try_from(announced).unwrap_or(usize::MAX);
            if length > PAYLOAD_MAX {
                return Ok(Received::Wrong(Complaint::TooLong(announced)));
            }
            self.body.clear();
            if self.body.try_reserve_exact(length).is_err() {
                return Ok(Received::Nothing);
            }
            self.body.resize(length, 0);
            self.in_body = true;
            self.done = 0;
        }
        let rest = self.body.get_mut(self.done..).unwrap_or_default();
        self.done = self.done.saturating_add(take(ring, rest)?);
        if self.done < self.body.len() {
            return Ok(Received::Nothing);
        }
        Ok(Received::Message(Header::from_bytes(self.header)))
    }

    /// The payload of the message that was received last.
    pub(crate) fn take_body(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.body)
    }
}
