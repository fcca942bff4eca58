//! The caller's memory, as a driver may reach it.

use crate::MappingId;
use ioctlab_abi::Errno;

/// An address in the caller's address space. Not known to be valid, aligned or mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserPtr(pub u64);

impl UserPtr {
    /// The address so many bytes behind this one.
    ///
    /// # Errors
    /// [`BadAddress`] if there is none.
    pub fn behind(self, bytes: usize) -> Result<Self, BadAddress> {
        let bytes = u64::try_from(bytes).map_err(|_| BadAddress)?;
        self.0.checked_add(bytes).map(Self).ok_or(BadAddress)
    }
}

/// Some byte of the range could not be reached (`EFAULT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress;

impl From<BadAddress> for Errno {
    fn from(_: BadAddress) -> Self {
        Errno::EFAULT
    }
}

/// The caller's memory: the only way to it, and fallible at every byte (`copy_from_user`, `copy_to_user`).
///
/// A driver fetches a struct once, checks the copy and acts on the copy.
pub trait UserMemory {
    /// Fills `to` from the caller's memory at `from`.
    ///
    /// # Errors
    /// [`BadAddress`] if any byte can't be read; `to` then holds nothing of use.
    fn read(&mut self, from: UserPtr, to: &mut [u8]) -> Result<(), BadAddress>;

    /// Writes `from` to the caller's memory at `to`.
    ///
    /// # Errors
    /// [`BadAddress`] if any byte can't be written; bytes before it may have been, as with `copy_to_user`.
    fn write(&mut self, to: UserPtr, from: &[u8]) -> Result<(), BadAddress>;

    /// Whether `length` bytes from `to` on can be written, as pinning their pages for writing finds out; nothing is written.
    ///
    /// # Errors
    /// [`BadAddress`] if any byte can't be.
    fn check_writable(&mut self, to: UserPtr, length: usize) -> Result<(), BadAddress> {
        let _ = (to, length);
        Ok(())
    }

    /// The first thing mapped in the caller's address space that ends above `address`, if it is a device's mapping
    /// (`find_vma`): the address itself may lie below it.
    fn mapping_from(&mut self, address: UserPtr) -> Option<MappingId> {
        let _ = address;
        None
    }
}

impl dyn UserMemory + '_ {
    /// Fetches a fixed-size argument.
    ///
    /// # Errors
    /// [`BadAddress`] if any byte can't be read.
    pub fn fetch<const N: usize>(&mut self, from: UserPtr) -> Result<[u8; N], BadAddress> {
        let mut bytes = [0; N];
        self.read(from, &mut bytes)?;
        Ok(bytes)
    }
}
