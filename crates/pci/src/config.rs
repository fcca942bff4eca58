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
    /// Bits that a reset leaves as they are ("sticky").
    kept: Vec<u8>,
    /// What the others are after a reset.
    initial: Vec<u8>,
}

impl ConfigSpace {
    /// A space that holds these bytes, all of them read-only.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let zeros = vec![0; bytes.len()];
        Self { initial: bytes.clone(), bytes, writable: zeros.clone(), clears: zeros.clone(), kept: zeros }
    }

    /// Its size in bytes: 256, or 4096 for PCI Express.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes as they are.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads up to 4 bytes; what lies beyond the end is all ones.
    pub fn read(&self, offset: usize, width: usize) -> u32 {
        let byte = |at: usize| u32::from(self.bytes.get(at).copied().unwrap_or(0xff));
        (0..width.min(4)).fold(0, |value, at| {
            value | byte(offset.saturating_add(at)).checked_shl((at as u32).wrapping_mul(8)).unwrap_or(0)
        })
    }

    /// Writes up to 4 bytes, as software does: bits that it can't change stay.
    pub(crate) fn write(&mut self, offset: usize, width: usize, value: u32) {
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
    pub(crate) fn set(&mut self, offset: usize, bytes: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(offset).zip(bytes) {
            *to = *from;
        }
    }

    /// Back to what it holds after a reset.
    pub(crate) fn reset(&mut self) {
        for ((byte, initial), kept) in self.bytes.iter_mut().zip(&self.initial).zip(&self.kept) {
            *byte = *byte & kept | initial & !kept;
        }
    }
}

/// What registers are like.
impl ConfigSpace {
    /// These bytes are there, now and after a reset.
    pub(crate) fn hold(&mut self, offset: usize, bytes: &[u8]) {
        self.set(offset, bytes);
        for (to, from) in self.initial.iter_mut().skip(offset).zip(bytes) {
            *to = *from;
        }
    }

    /// These bits of the 4 bytes at an offset take what is written. They are 0 now and after a reset.
    pub(crate) fn let_write(&mut self, offset: usize, mask: u32) {
        self.clear(offset, mask);
        each_byte(&mut self.writable, offset, mask, |byte, mask| *byte |= mask);
    }

    /// The same for bits that hold what firmware has put there: that is what a reset leaves.
    pub(crate) fn let_write_over(&mut self, offset: usize, mask: u32) {
        each_byte(&mut self.writable, offset, mask, |byte, mask| *byte |= mask);
    }

    /// These bits are cleared by writing 1, and by a reset.
    pub(crate) fn let_clear(&mut self, offset: usize, mask: u32) {
        each_byte(&mut self.initial, offset, mask, |byte, mask| *byte &= !mask);
        each_byte(&mut self.clears, offset, mask, |byte, mask| *byte |= mask);
    }

    /// A reset leaves these bits as they are.
    pub(crate) fn keep(&mut self, offset: usize, mask: u32) {
        each_byte(&mut self.kept, offset, mask, |byte, mask| *byte |= mask);
    }

    /// These bits are 0 now and after a reset.
    pub(crate) fn clear(&mut self, offset: usize, mask: u32) {
        each_byte(&mut self.bytes, offset, mask, |byte, mask| *byte &= !mask);
        each_byte(&mut self.initial, offset, mask, |byte, mask| *byte &= !mask);
    }
}

/// Changes 4 bytes by those of a mask.
fn each_byte(bytes: &mut [u8], offset: usize, mask: u32, change: impl Fn(&mut u8, u8)) {
    for (byte, mask) in bytes.iter_mut().skip(offset).zip(mask.to_le_bytes()) {
        change(byte, mask);
    }
}
