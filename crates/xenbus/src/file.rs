//! One open file.

use crate::inbox::Inbox;
use alloc::vec::Vec;
use ioctlab_abi::xenbus::PAYLOAD_MAX;
use ioctlab_chardev::Errno;

/// The size of the buffer that messages are put together in, header included.
pub(crate) const BUFFER_SIZE: usize = PAYLOAD_MAX;

/// The most transactions that a file may have open or asked for.
pub const MAX_TRANSACTIONS: usize = 1 << 16;

/// What the kernel knows of a file (`xenbus_file_priv`). Its watches are with all others.
#[derive(Debug)]
pub(crate) struct File {
    /// The message that is being written; there is room for [`BUFFER_SIZE`] bytes.
    pub(crate) partial: Vec<u8>,
    pub(crate) inbox: Inbox,
    /// Open transactions, oldest first; 0 for one that was asked for and has no number yet.
    pub(crate) transactions: Vec<u32>,
    /// How many requests have no answer yet.
    pub(crate) in_flight: usize,
    /// What all that the kernel keeps for the file counts for.
    pub(crate) held: usize,
    /// The last reference is gone; it waits for its answers.
    pub(crate) released: bool,
}

impl File {
    /// # Errors
    /// `ENOMEM`
    pub(crate) fn new() -> Result<Self, Errno> {
        let mut partial = Vec::new();
        partial.try_reserve_exact(BUFFER_SIZE).map_err(|_| Errno::ENOMEM)?;
        Ok(Self {
            partial,
            inbox: Inbox::default(),
            transactions: Vec::new(),
            in_flight: 0,
            held: 0,
            released: false,
        })
    }

    /// Makes room for one more transaction.
    ///
    /// # Errors
    /// `ENOMEM`
    pub(crate) fn reserve_transaction(&mut self) -> Result<(), Errno> {
        if self.transactions.len() >= MAX_TRANSACTIONS {
            return Err(Errno::ENOMEM);
        }
        self.transactions.try_reserve(1).map_err(|_| Errno::ENOMEM)
    }

    /// The newest transaction with this number, or without one yet.
    pub(crate) fn transaction(&mut self, number: u32) -> Option<usize> {
        self.transactions.iter().rposition(|other| *other == number)
    }

    /// Forgets a transaction.
    pub(crate) fn end_transaction(&mut self, position: usize) {
        if position < self.transactions.len() {
            self.transactions.remove(position);
        }
    }
}
