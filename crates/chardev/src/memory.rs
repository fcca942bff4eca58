//! The caller's memory, as a driver may reach it.

use ioctlab_abi::Errno;

/// An address in the caller's address space. Not known to be valid, aligned or mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserPtr(pub u64);

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
