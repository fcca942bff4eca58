//! A program's memory, for tests of drivers: included by those that need it.

use ioctlab_chardev::{BadAddress, MappingId, UserMemory, UserPtr};

/// Where a program's memory begins; below it and past its end every byte faults.
pub(crate) const BASE: u64 = 0x1_0000;
/// A pointer to nothing.
pub(crate) const BAD: u64 = 0x8;
/// Where mappings begin, and how far they are apart, in the order of their numbers.
pub(crate) const MAPPINGS: u64 = 0x10_0000_0000;
pub(crate) const APART: u64 = 0x100_0000;

/// A program's memory: one range, with faults to the byte; and mappings by number.
#[derive(Debug)]
pub(crate) struct Memory(pub(crate) Vec<u8>);

impl Memory {
    /// As much of a range as is there, and whether that is all of it.
    fn reach(&self, at: UserPtr, len: usize) -> (std::ops::Range<usize>, bool) {
        let Some(start) = at.0.checked_sub(BASE).map(|start| start as usize) else { return (0..0, false) };
        let start = start.min(self.0.len());
        let end = start.saturating_add(len).min(self.0.len());
        (start..end, end - start == len)
    }
}

impl UserMemory for Memory {
    fn read(&mut self, from: UserPtr, to: &mut [u8]) -> Result<(), BadAddress> {
        let (range, whole) = self.reach(from, to.len());
        if !whole {
            return Err(BadAddress);
        }
        to.copy_from_slice(&self.0[range]);
        Ok(())
    }

    fn write(&mut self, to: UserPtr, from: &[u8]) -> Result<(), BadAddress> {
        let (range, whole) = self.reach(to, from.len());
        let len = range.len();
        self.0[range].copy_from_slice(&from[..len]);
        if whole { Ok(()) } else { Err(BadAddress) }
    }

    fn mapping_from(&mut self, address: UserPtr) -> Option<MappingId> {
        address.0.checked_sub(MAPPINGS).map(|offset| MappingId(offset / APART))
    }
}
