//! The memory of devices, and devices' way to the memory of programs: whoever runs the kernel has the bytes.

use crate::{AreaId, BadAddress, Errno, SpaceId};

/// Memory that devices decode on their bus, and that programs may have mapped and change at any time.
pub trait DeviceMemory: Send + Sync {
    /// Makes an area of so many bytes, whole pages, that reads as zeros. Nobody reaches it through mappings before
    /// [`set_reachable`](Self::set_reachable). What isn't touched takes no room.
    ///
    /// # Errors
    /// [`Errno::ENOMEM`].
    fn create(&self, bytes: u64) -> Result<AreaId, Errno>;

    /// Nobody needs the area any more. What is still mapped is SIGBUS to touch.
    fn remove(&self, area: AreaId);

    /// Copies from an area; what lies beyond its end reads as all ones. It can be read whether it is reachable or not.
    fn read(&self, area: AreaId, offset: u64, to: &mut [u8]);

    /// Copies to an area; what lies beyond its end is dropped. It can be written whether it is reachable or not.
    fn write(&self, area: AreaId, offset: u64, from: &[u8]);

    /// Whether mappings reach the area: else to touch them is SIGBUS. Its contents stay.
    fn set_reachable(&self, area: AreaId, reachable: bool);
}

/// The memory of programs, as devices reach it (DMA): at any time, not only while the program makes a call. May take its time,
/// if the memory does, so it is never done with the kernel locked.
pub trait ProgramMemory: Send + Sync {
    /// Copies from an address space.
    ///
    /// # Errors
    /// [`BadAddress`] if any byte can't be read, or the address space is gone.
    fn read(&self, space: SpaceId, address: u64, to: &mut [u8]) -> Result<(), BadAddress>;

    /// Copies to an address space.
    ///
    /// # Errors
    /// [`BadAddress`] if any byte can't be written, or the address space is gone.
    fn write(&self, space: SpaceId, address: u64, from: &[u8]) -> Result<(), BadAddress>;
}
