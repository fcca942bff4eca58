//! The system-call layer: every `unsafe` block of the project is below here.
//!
//! Each function is safe to call with any argument; what a kernel refuses comes back as an [`std::io::Error`].
#![allow(unsafe_code)]

pub(crate) mod aio;
mod bus_error;
pub(crate) mod memory;
pub(crate) mod misc;
pub(crate) mod process;
pub(crate) mod ptrace;
#[cfg(test)]
pub(crate) mod region;
pub(crate) mod seccomp;
pub(crate) mod shared;
pub(crate) mod userfault;
