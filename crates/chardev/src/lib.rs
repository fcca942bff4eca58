//! The contract between a character device driver and whatever runs it.
//!
//! A driver is a pure state machine: `no_std`, no I/O, no clock, no threads, no panics. It is told of calls, reaches the
//! caller's memory only through [`UserMemory`], and answers with a value, an [`Errno`], or [`Stop::Wait`]. A call that must
//! wait has changed nothing, and is issued again after a wake. Nothing calls back: what a call brings about elsewhere is
//! queued and drained by the layer above.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;

mod caller;
pub mod layout;
mod mapping;
mod memory;
mod poll;

pub use caller::{Caller, Capability, Event, EventId, SpaceId};
pub use ioctlab_abi::{Errno, Request};
pub use mapping::{AreaId, Frame, Mapping, MappingId, MmapRequest, PAGE_SIZE, Pages};
pub use memory::{BadAddress, UserMemory, UserPtr};
pub use poll::PollEvents;

/// One open file description: what `open` makes, and what every duplicate of its descriptor shares.
///
/// Numbers are never used twice in a lab's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

/// Why a call has no result (yet).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The call failed.
    Fail(Errno),
    /// The call must wait until the file is readable; it has changed nothing.
    Wait,
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Fail(errno)
    }
}

impl From<BadAddress> for Stop {
    fn from(_: BadAddress) -> Self {
        Self::Fail(Errno::EFAULT)
    }
}

/// A call's result, or why there is none.
pub type CallResult<T> = Result<T, Stop>;
