//! Linux's driver for `/dev/xen/gntdev`, as a pure state machine.
//!
//! A program names grants of other domains, gets an index for them, and maps that index. [`Driver`] is the driver of one
//! guest kernel, with all its open files; [`GrantTable`] is what it needs of its platform. The guest is a paravirtualised
//! one, as the recorded one was: what is mapped isn't inherited by forks.
//!
//! # Calls
//! - [`Driver::open`], [`Driver::release`], [`Driver::ioctl`], [`Driver::mmap`]; reads and writes are `EINVAL` and seeks
//!   `ESPIPE` before a call gets here, and so are an access mode that forbids a mapping (`EACCES`) and a length of 0.
//! - What becomes of a mapping: [`Driver::zap`] for pages that are in the address space no longer, [`Driver::unmapped`] once
//!   for the whole of it. A file is released when neither descriptors nor mappings of it are left.
//!
//! # A map's life
//! A map is referred to by its file's list until it is unmapped by its index, and by its mapping until that is gone; the
//! notification's event is sent with the last of the two. Its grants are mapped by `mmap`, once ever, and each is unmapped
//! with its page: the notification's byte is cleared then.
//!
//! # Differences from Linux
//! - `CLEAR_BYTE` set before a read-only `mmap`: Linux writes to the read-only page in the end, and stops with an oops.
//!   Here nothing is cleared.
//! - Linux shifts a map's index as an `int`: what it returns for one at 2 GiB or above can't be mapped, nor be set a
//!   notification for. Here it can.
//! - A paravirtualised Linux maps each grant twice, for itself and for the program. Here it is mapped once.
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

mod copy;
mod driver;
mod index_list;
mod ioctl;
mod map;
mod platform;

pub use driver::{DEFAULT_LIMIT, Driver};
pub use platform::{GrantTable, Location, Status};
