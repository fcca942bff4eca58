//! The ring of ports that had an event and were not read yet.

use crate::Port;
use alloc::vec::Vec;

/// The size in ports of a ring when its file's first port is bound; from there it doubles.
pub const FIRST_RING_SIZE: usize = 64;

/// A bounded queue of ports. Its size is zero at first, then a power of two.
///
/// Only [`Ring::adopt`] changes the block of memory, and it neither allocates nor frees.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    /// Every slot is initialized; `size()` is its length.
    slots: Vec<Port>,
    /// The slot of the oldest port.
    first: usize,
    /// How many ports are queued.
    len: usize,
}

impl Ring {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn size(&self) -> usize {
        self.slots.len()
    }

    /// Queues a port; false if the ring is full.
    pub(crate) fn push(&mut self, port: Port) -> bool {
        if self.len >= self.size() {
            return false;
        }
        let slot = self.slot(self.len);
        if let Some(entry) = self.slots.get_mut(slot) {
            *entry = port;
        }
        self.len = self.len.saturating_add(1);
        true
    }

    /// The queued ports, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Port> {
        let (wrapped, from_first) = self.slots.split_at_checked(self.first).unwrap_or_default();
        from_first.iter().chain(wrapped).take(self.len).copied()
    }

    /// Drops the oldest ports, at most as many as there are.
    pub(crate) fn consume(&mut self, ports: usize) {
        let ports = ports.min(self.len);
        self.first = self.slot(ports);
        self.len = self.len.saturating_sub(ports);
    }

    /// Drops all ports; the size stays.
    pub(crate) fn clear(&mut self) {
        self.first = 0;
        self.len = 0;
    }

    /// The size to grow to so that a file with so many bound ports has a slot for each, or `None` if it has.
    ///
    /// It doubles once: ports are bound one at a time (`evtchn_resize_ring`).
    pub(crate) fn lacking(&self, bound_ports: usize) -> Option<usize> {
        let enough = bound_ports <= self.size();
        (!enough).then(|| match self.size() {
            0 => FIRST_RING_SIZE,
            size => size.saturating_mul(2),
        })
    }

    /// Moves the contents, in order, to a larger block of initialized slots, whose length (a power of two) is the new size.
    /// Leaves the old block in its place to be dropped later. A block too small is left alone.
    pub(crate) fn adopt(&mut self, block: &mut Vec<Port>) {
        if block.len() <= self.size() {
            return;
        }
        for (slot, port) in block.iter_mut().zip(self.iter()) {
            *slot = port;
        }
        core::mem::swap(&mut self.slots, block);
        self.first = 0;
    }

    /// The slot so many places after the oldest port's.
    fn slot(&self, place: usize) -> usize {
        self.first.wrapping_add(place) & self.size().saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn ring(size: usize) -> Ring {
        let mut ring = Ring::default();
        ring.adopt(&mut vec![Port(0); size]);
        ring
    }

    fn contents(ring: &Ring) -> Vec<u32> {
        ring.iter().map(|port| port.0).collect()
    }

    #[test]
    fn a_ring_without_slots_is_empty_and_full() {
        let mut ring = Ring::default();
        assert!(!ring.push(Port(1)));
        ring.consume(1);
        ring.clear();
        assert_eq!((ring.len(), ring.size(), ring.iter().count()), (0, 0, 0));
    }

    #[test]
    fn it_holds_as_many_ports_as_its_size() {
        let mut ring = ring(4);
        for port in 0..4 {
            assert!(ring.push(Port(port)));
        }
        assert!(!ring.push(Port(9)));
        assert_eq!(contents(&ring), [0, 1, 2, 3]);
        ring.consume(99);
        assert!(ring.is_empty());
    }

    #[test]
    fn growing_keeps_the_order_from_any_place_and_fill() {
        for first in 0..8 {
            for fill in 0..=8 {
                let mut ring = ring(8);
                for port in 0..first {
                    ring.push(Port(port));
                }
                ring.consume(8);
                for port in 0..fill {
                    assert!(ring.push(Port(100 + port)));
                }
                let mut block = vec![Port(0); 16];
                ring.adopt(&mut block);
                assert_eq!(block.len(), 8);
                assert_eq!(ring.size(), 16);
                assert!(contents(&ring).into_iter().eq(100..100 + fill));
                for port in fill..16 {
                    assert!(ring.push(Port(100 + port)));
                }
                assert!(!ring.push(Port(0)));
                assert!(contents(&ring).into_iter().eq(100..116));
            }
        }
    }

    #[test]
    fn it_wants_64_slots_then_twice_as_many() {
        assert_eq!(Ring::default().lacking(0), None);
        assert_eq!(Ring::default().lacking(1), Some(64));
        assert_eq!(ring(64).lacking(64), None);
        assert_eq!(ring(64).lacking(65), Some(128));
        assert_eq!(ring(128).lacking(129), Some(256));
    }
}
