//! The little kernel: device nodes, open files, and the checks that Linux's VFS makes before a driver sees a call.
//!
//! A [`Kernel`] owns the [`Subsystem`]s of a lab (a machine with its drivers) and the table of open files. It is told of
//! calls by the host, one at a time; it is `no_std`, and knows nothing of processes, descriptors or system calls.
//!
//! # Effects
//! After each call, and after each event from outside, the host drains [`Kernel::next_changed`]: the files whose readable
//! data may have grown. Nothing is called back.
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

mod files;
mod mappings;
mod memory;
mod node;
mod subsystem;
mod vectored;

pub use files::{Access, Kernel, OpenFile};
pub use ioctlab_chardev::{
    BadAddress, CallResult, Errno, FileId, Frame, Mapping, MappingId, MmapRequest, PAGE_SIZE, PollEvents,
    Request, Stop, UserMemory, UserPtr,
};
pub use mappings::MmapCall;
pub use memory::MachineMemory;
pub use node::{Behind, DeviceNumber, Node, NodeId};
pub use subsystem::{Opener, Subsystem};
pub use vectored::{Segment, each_segment};
