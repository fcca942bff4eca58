//! The kernel's user interface: error numbers, ioctl request numbers and the structs that go with them.
//!
//! Everything here is plain data, `no_std`, and the same on both sides of the system-call boundary. A device's module
//! holds the numbers and layouts that its Linux header promises; [`Errno`] and [`Request`] are common to all.
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

pub mod describe;
mod errno;
pub mod evtchn;
pub mod gntalloc;
pub mod gntdev;
pub mod privcmd;
mod request;
pub mod vfio;
pub mod xenbus;

pub use errno::Errno;
pub use request::{Direction, Request};
