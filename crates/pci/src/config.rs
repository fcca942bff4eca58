//! Configuration space, as the hardware has it: bytes, and which of their bits software can change.

use alloc::vec;
use alloc::vec::Vec;

/// A function's configuration space.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    bytes: Vec<u8>,
    /// Bits that take what is written.
    writable: Vec<u8>,
    /// Bits that are cleared by writing 1.
    clears: Vec<u8>,
    /// What it holds after a reset.
    initial: Vec<u8>,
}

impl ConfigSpace {
    /// A space of so many bytes, all of them 0 and read-only.
    pub fn new(size: usize) -> Self {
        let zeros = || vec![0; size];
        Self { bytes: zeros(), writable: zeros(), clears: zeros(), initial: zeros() }
    }

    /// Its size in bytes: 256, or 4096 for PCI Express.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes as they are.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads 1, 2 or 4 bytes; what lies beyond the end is all ones.
    pub fn read(&self, offset: usize, width: usize) -> u32 {
        let byte = |at: usize| u32::from(self.bytes.get(at).copied().unwrap_or(0xff));
        (0..width.min(4)).fold(0, |value, at| {
            value | byte(offset.saturating_add(at)).checked_shl((at as u32).wrapping_mul(8)).unwrap_or(0)
        })
    }

    /// Writes 1, 2 or 4 bytes, as software does: bits that it can't change stay.
    pub fn write(&mut self, offset: usize, width: usize, value: u32) {
        for (at, new) in value.to_le_bytes().into_iter().take(width).enumerate() {
            let at = offset.saturating_add(at);
            let (Some(byte), Some(&writable), Some(&clears)) =
                (self.bytes.get_mut(at), self.writable.get(at), self.clears.get(at))
            else {
                continue;
            };
            *byte = (*byte & !writable | new & writable) & !(new & clears);
        }
    }

    /// Sets bits whatever software may do, as the device itself does.
    pub fn set(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.bytes, offset, bytes);
    }

    /// Describes a register: what it holds after a reset, which bits can be written, and which are cleared by writing 1.
    pub(crate) fn describe(&mut self, offset: usize, initial: &[u8], writable: &[u8], clears: &[u8]) {
        put(&mut self.bytes, offset, initial);
        put(&mut self.initial, offset, initial);
        put(&mut self.writable, offset, writable);
        put(&mut self.clears, offset, clears);
    }

    /// Back to what it holds after a reset.
    pub(crate) fn reset(&mut self) {
        self.bytes.copy_from_slice(&self.initial);
    }
}

fn put(to: &mut [u8], offset: usize, bytes: &[u8]) {
    for (to, from) in to.iter_mut().skip(offset).zip(bytes) {
        *to = *from;
    }
}
