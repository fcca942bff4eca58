//! A lab: the machines, domains and device nodes that a program run by ioctlab finds itself among.
//!
//! [`config`] reads a lab file into plain data; it knows no driver and no machine. [`Lab`] wires machines and drivers up as
//! it says, and gives the kernel that a host serves.
#![forbid(unsafe_code)]

pub mod config;
mod kernel_log;
mod lab;
mod vfio;
mod xen;

pub use lab::{Lab, Memories, Request};
pub use vfio::VfioRequest;
pub use xen::XenRequest;
