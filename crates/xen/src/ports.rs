//! A domain's port table.

use crate::channel::Channel;
use crate::free::FreePorts;
use crate::{Abi, Port, Refused};
use alloc::collections::BTreeMap;

/// Xen makes room for this many channels at a time (`EVTCHNS_PER_BUCKET`: a page of 64-byte entries).
const BUCKET: u32 = 64;

/// The ports of a domain: those in use, and which is free next.
#[derive(Debug)]
pub(crate) struct PortTable {
    used: BTreeMap<Port, Channel>,
    free: FreePorts,
    /// Ports below this have Xen's memory behind them, in use or not (`valid_evtchns`). It only grows, by whole buckets;
    /// calls tell a port beyond from a free one.
    valid: u32,
}

/// The lowest free port, found and within limits but not yet in use.
#[derive(Debug)]
pub(crate) struct Vacancy(Port);

impl Vacancy {
    pub(crate) fn port(&self) -> Port {
        self.0
    }
}

impl PortTable {
    pub(crate) fn new() -> Self {
        Self {
            used: BTreeMap::new(),
            free: FreePorts::new(1, Abi::Fifo.channels().saturating_sub(1)),
            valid: BUCKET,
        }
    }

    /// Finds the lowest free port, and makes room for it; the room stays even if the port isn't used after all, as in Xen.
    ///
    /// # Errors
    /// [`Refused::NoFreePort`] if it is beyond `last`.
    pub(crate) fn vacancy(&mut self, last: Port) -> Result<Vacancy, Refused> {
        let lowest = self.free.lowest().filter(|port| *port <= last.0).ok_or(Refused::NoFreePort)?;
        self.valid = self.valid.max(lowest.saturating_add(1).next_multiple_of(BUCKET));
        Ok(Vacancy(Port(lowest)))
    }

    /// Puts a port to use. Nothing may have been added or removed since the vacancy was found.
    pub(crate) fn fill(&mut self, vacancy: Vacancy, channel: Channel) -> Port {
        let taken = self.free.take_lowest();
        debug_assert_eq!(taken, Some(vacancy.0.0), "the table changed since the vacancy was found");
        self.used.insert(vacancy.0, channel);
        vacancy.0
    }

    /// Frees a port.
    pub(crate) fn remove(&mut self, port: Port) -> Option<Channel> {
        let channel = self.used.remove(&port)?;
        self.free.give_back(port.0);
        Some(channel)
    }

    /// Whether Xen has memory for this port, in use or not (`port_is_valid`).
    pub(crate) fn is_valid(&self, port: Port) -> bool {
        port.0 < self.valid
    }

    /// A port in use.
    ///
    /// # Errors
    /// [`Refused::NoSuchPort`] beyond the table, [`Refused::PortFree`] within it.
    pub(crate) fn get(&self, port: Port) -> Result<&Channel, Refused> {
        self.used.get(&port).ok_or(if self.is_valid(port) { Refused::PortFree } else { Refused::NoSuchPort })
    }

    /// As [`PortTable::get`].
    pub(crate) fn get_mut(&mut self, port: Port) -> Result<&mut Channel, Refused> {
        let refused = if self.is_valid(port) { Refused::PortFree } else { Refused::NoSuchPort };
        self.used.get_mut(&port).ok_or(refused)
    }

    /// The highest port in use, below `bound`.
    pub(crate) fn last_below(&self, bound: Port) -> Option<Port> {
        self.used.range(..bound).next_back().map(|(port, _)| *port)
    }

    /// The ports in use, lowest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Port, &Channel)> {
        self.used.iter().map(|(port, channel)| (*port, channel))
    }

    /// How many are in use.
    pub(crate) fn len(&self) -> usize {
        self.used.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Binding, VcpuId};

    #[test]
    fn memory_follows_the_ports_in_use_not_their_numbers() {
        let mut table = PortTable::new();
        let last = Port(Abi::Fifo.channels() - 1);
        for expected in 1..=130_000 {
            let vacancy = table.vacancy(last).unwrap();
            let port = table.fill(vacancy, Channel::new(Binding::Ipi, VcpuId::ZERO, false));
            assert_eq!(port, Port(expected));
        }
        assert_eq!(table.free.run_count(), 1);
        for port in (1..130_000).filter(|port| port % 2 == 0).chain((1..130_000).filter(|port| port % 2 == 1))
        {
            assert!(table.remove(Port(port)).is_some());
        }
        assert_eq!((table.len(), table.free.run_count()), (1, 2));
        assert_eq!(table.vacancy(last).unwrap().port(), Port(1));
        assert!(table.get(Port(130_000)).is_ok());
    }
}
