//! The little kernel: device nodes, open files, and the checks that Linux's VFS makes before a driver sees a call.
//!
//! A [`Kernel`] owns the [`Subsystem`]s of a lab (a machine with its drivers) and the table of open files. It is told of
//! calls by the host, one at a time; it is `no_std`, and knows nothing of processes, descriptors or system calls.
//!
//! # Effects
//! After each call, and after each event from outside, the host drains [`Kernel::next_changed`], the files whose readable
//! data may have grown, and [`Kernel::next_event`], what is to be done with programs' eventfds. Nothing is called back.
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

mod addressed;
mod device_memory;
mod files;
mod mappings;
mod memory;
mod node;
mod reply;
mod subsystem;
mod tree;
mod vectored;

pub use device_memory::{DeviceMemory, ProgramMemory};
pub use files::{Access, Kernel, OpenFile};
pub use ioctlab_chardev::{
    AreaId, BadAddress, CallResult, Caller, Capability, Errno, Event, EventId, FileId, Frame, Mapping,
    MappingId, MmapRequest, PAGE_SIZE, Pages, PollEvents, Request, SpaceId, Stop, UserMemory, UserPtr,
};
pub use mappings::MmapCall;
pub use memory::MachineMemory;
pub use node::{Behind, DeviceNumber, Node, NodeId};
pub use reply::{Reply, Work};
pub use subsystem::{Opener, Subsystem};
pub use tree::{Entry, Stored, Tree};
pub use vectored::{Segment, each_segment};
