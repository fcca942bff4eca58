//! Accesses that were not translated.

use alloc::collections::VecDeque;
use core::fmt;

use crate::Access;

/// Why an access was not translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The device isn't attached to any domain.
    NotAttached,
    /// The address has more bits than the IOMMU takes.
    BeyondWidth,
    /// Nothing is mapped at the address.
    NotPresent,
    /// What is mapped there may not be read.
    NoReadPermission,
    /// What is mapped there may not be written.
    NoWritePermission,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAttached => "the device is attached to no domain",
            Self::BeyondWidth => "the address has too many bits",
            Self::NotPresent => "nothing is mapped there",
            Self::NoReadPermission => "it may not be read",
            Self::NoWritePermission => "it may not be written",
        })
    }
}

/// An access that was not translated, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The first address that wasn't.
    pub address: u64,
    /// What the device wanted there.
    pub access: Access,
    /// Why it wasn't.
    pub reason: Reason,
}

impl Fault {
    /// What VT-d gives as the reason. It doesn't tell a missing page from a missing permission.
    pub fn code(&self) -> u8 {
        match (self.reason, self.access) {
            (Reason::NotAttached, _) => 0x02,
            (Reason::BeyondWidth, _) => 0x04,
            (_, Access::Write) => 0x05,
            (_, Access::Read) => 0x06,
        }
    }
}

/// A PCI function on its bus, as it marks its accesses: bus, device and function in 8, 5 and 3 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u16);

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.0 >> 8, self.0 >> 3 & 0x1f, self.0 & 7)
    }
}

/// A fault as the unit records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose access it was.
    pub source: SourceId,
    /// What became of it.
    pub fault: Fault,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { address, access, reason } = self.fault;
        let verb = match access {
            Access::Read => "reads",
            Access::Write => "writes",
        };
        write!(f, "device {} {verb} {address:#x}: {reason}", self.source)
    }
}

/// The faults that nobody has read yet. It is bounded, and while it is full, new ones are lost, as on hardware
/// ("primary fault overflow").
#[derive(Clone, Debug)]
pub struct FaultLog {
    records: VecDeque<Record>,
    capacity: usize,
    lost: u64,
}

impl FaultLog {
    /// An empty log with room for so many.
    pub fn new(capacity: usize) -> Self {
        Self { records: VecDeque::new(), capacity, lost: 0 }
    }

    /// Records a fault, or counts it as lost.
    pub fn record(&mut self, source: SourceId, fault: Fault) {
        if self.records.len() < self.capacity {
            self.records.push_back(Record { source, fault });
        } else {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// The oldest fault, which is in the log no longer.
    pub fn take(&mut self) -> Option<Record> {
        self.records.pop_front()
    }

    /// How many faults were lost since this was last asked.
    pub fn take_lost(&mut self) -> u64 {
        core::mem::take(&mut self.lost)
    }
}
