//! Linux's driver for `/dev/xen/privcmd` (and `/proc/xen/privcmd`), as a pure state machine, and the few hypercalls that
//! programs make through it.
//!
//! A program makes hypercalls with the ioctl `HYPERCALL`, whose buffers are in its own memory, and maps other domains'
//! pages. [`Driver`] is the driver of one guest kernel with all its open files; [`Hypercalls`] is what it needs of Xen.
//! There are no foreign pages here: what would map some is checked as Linux checks it, then refused as Xen refuses a frame
//! that isn't there. The guests are PV guests, and the hypervisor is Xen 4.17.
//!
//! # Calls
//! [`Driver::open`], [`Driver::release`], [`Driver::read`], [`Driver::write`], [`Driver::mmap`], [`Driver::unmap`],
//! [`Driver::ioctl`], [`Driver::poll`]. An access mode that forbids the call is `EBADF` before it gets here. The device
//! can't wait.
//!
//! # Differences from Linux
//! - An address to map at is known to lie in a mapping or before it, but not where the mapping begins. So a mapping is taken
//!   to begin at the address.
//! - More than [`MAX_FRAMES`] frames at a time are `ENOMEM`.
//! - The pages of a device model's buffers must be readable; Linux wants to write to them, too.
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

mod address;
mod control;
mod dm_op;
mod driver;
mod events;
mod foreign;
mod hypercall;
mod info;
mod version;
mod xen;
pub mod xenfs;

pub use driver::Driver;
pub use foreign::MAX_FRAMES;
pub use info::DomainInfo;
pub use xen::{Hypercalls, PortState, PortStatus};
