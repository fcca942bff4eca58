//! Machine memory, as machines and drivers reach it: whoever runs them has the bytes.

use crate::Frame;

/// The bytes of a machine's memory. Programs have parts of it mapped, and may change them at any time.
///
/// An offset lies within the frame, and so does what is read or written there.
pub trait MachineMemory: Send {
    /// Copies bytes of a frame.
    fn read(&self, frame: Frame, offset: usize, to: &mut [u8]);

    /// Copies bytes to a frame.
    fn write(&self, frame: Frame, offset: usize, from: &[u8]);

    /// The word at a multiple of 4. What is read after it was written before it (acquire).
    fn load(&self, frame: Frame, offset: usize) -> u32;

    /// Stores a word at a multiple of 4, after what was written before (release).
    fn store(&self, frame: Frame, offset: usize, value: u32);

    /// Nobody has the frame any more: it takes no room, and reads as zeros.
    fn scrub(&self, frame: Frame);
}
