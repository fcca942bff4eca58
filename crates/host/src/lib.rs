//! The host: how an unmodified program's system calls reach the lab's devices, and how the devices look to it.
//!
//! - [`launch`] starts a program under a seccomp filter, in a namespace that shows the nodes where that is allowed
//!   ([`isolation`]).
//! - A [`Server`] owns the lab's kernel. For each run, a thread receives the trapped calls and answers them.
//! - Behind each descriptor of a device is one end of a socket pair, so that everything that is not a trapped call is the
//!   kernel's own doing: waiting, polling, signals, duplication, inheritance, the last close.
//!
//! All unsafe code is in `sys`.
#![deny(unsafe_code)]

mod address_map;
mod areas;
mod backing;
mod caller;
mod calls;
pub mod daemon;
mod descriptor;
mod eventfds;
mod extents;
mod filter;
pub mod isolation;
pub mod launch;
mod machine_memory;
mod memory;
mod paths;
mod permission;
mod pieces;
mod pinning;
pub mod probe;
mod process;
mod process_limits;
mod program_memory;
mod relief;
mod run;
mod server;
pub mod signals;
mod spaces;
mod store;
mod supervisor;
mod sys;
mod trace;
mod trees;
mod window;
mod workers;

pub use areas::Areas;
pub use machine_memory::Memory;
pub use program_memory::Programs;
pub use run::Run;
pub use server::Server;
pub use trace::Trace;
pub use trees::{Owner, Trees};

/// The descriptor numbers that devices are given, where a process has room for them.
pub const DEVICE_DESCRIPTORS: std::ops::RangeInclusive<u32> = window::FIRST..=window::LAST;
