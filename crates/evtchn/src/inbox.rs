//! A file's part in the delivery of events: its ring, and whether its readers are to be woken.

use crate::{Port, ring::Ring};
use alloc::vec::Vec;
use ioctlab_abi::evtchn::PORT_SIZE;
use ioctlab_chardev::PollEvents;

/// What interrupts leave for a file's readers.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    ring: Ring,
    /// An event found the ring full. Sticky until a reset.
    overflowed: bool,
    /// A wake-up is due.
    waking: bool,
    /// The ring has grown since the host last asked.
    grown: bool,
}

/// What a push has made due that was not due before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// A wake-up.
    pub(crate) wakes: bool,
    /// A report that the ring has grown.
    pub(crate) grows: bool,
}

impl Inbox {
    /// Queues a port. A full ring overflows; readers are to be woken only when the ring was empty.
    ///
    pub(crate) fn push(&mut self, port: Port) -> Pushed {
        let was_empty = self.ring.is_empty();
        if !self.ring.push(port) {
            self.overflowed = true;
            return Pushed { wakes: false, grows: false };
        }
        let wakes = was_empty && !core::mem::replace(&mut self.waking, true);
        Pushed { wakes, grows: !core::mem::replace(&mut self.grown, true) }
    }

    /// Whether the ring has grown since this was last asked.
    pub(crate) fn take_growth(&mut self) -> bool {
        core::mem::take(&mut self.grown)
    }

    /// Whether a wake-up was due; it no longer is.
    pub(crate) fn take_wake(&mut self) -> bool {
        core::mem::take(&mut self.waking)
    }

    pub(crate) fn unread(&self) -> usize {
        self.ring.len()
    }

    pub(crate) fn is_overflowed(&self) -> bool {
        self.overflowed
    }

    /// Copies whole ports without consuming them, from `skip` ports in. Returns the bytes copied.
    pub(crate) fn peek(&self, skip: usize, to: &mut [u8]) -> usize {
        let mut bytes: usize = 0;
        let (slots, _) = to.as_chunks_mut::<PORT_SIZE>();
        for (slot, port) in slots.iter_mut().zip(self.ring.iter().skip(skip)) {
            *slot = port.0.to_ne_bytes();
            bytes = bytes.saturating_add(PORT_SIZE);
        }
        bytes
    }

    pub(crate) fn consume(&mut self, ports: usize) {
        self.ring.consume(ports);
    }

    /// Empties the ring and clears an overflow. A wake-up that is due stays due: Linux has made it by then.
    pub(crate) fn reset(&mut self) {
        self.ring.clear();
        self.overflowed = false;
    }

    /// An overflow hides everything else, even that one may write (`evtchn_poll`).
    pub(crate) fn poll(&self) -> PollEvents {
        let mut events = PollEvents::OUT | PollEvents::WRNORM;
        if !self.ring.is_empty() {
            events |= PollEvents::IN | PollEvents::RDNORM;
        }
        if self.overflowed { PollEvents::ERR } else { events }
    }

    /// The ring's size to grow to for so many bound ports, or `None` if it is large enough.
    pub(crate) fn lacking(&self, bound_ports: usize) -> Option<usize> {
        self.ring.lacking(bound_ports)
    }

    /// Moves the ring to a larger block; leaves the old one in its place.
    pub(crate) fn adopt(&mut self, block: &mut Vec<Port>) {
        self.ring.adopt(block);
    }
}
