//! Linux's driver for `/dev/xen/gntalloc`, as a pure state machine.
//!
//! A program has pages allocated and granted to another domain, and maps them itself. [`Driver`] is the driver of one
//! guest kernel, with all its open files; [`PageOwner`] is what it needs of its platform.
//!
//! # Calls
//! - [`Driver::open`], [`Driver::release`], [`Driver::ioctl`], [`Driver::mmap`]; reads and writes are `EINVAL` and seeks
//!   `ESPIPE` before a call gets here, and so are an access mode that forbids a mapping (`EACCES`) and a length of 0.
//! - [`Driver::unmapped`], once for each mapping, when nothing is left of it in any process. What happens to a part of a
//!   mapping doesn't matter: each of its pages is in use as long as the mapping is. A file is released when neither
//!   descriptors nor mappings of it are left.
//!
//! # A page's life
//! A page is referred to by its file until it is deallocated, and by each mapping that it was a part of when that was made.
//! With the last of these its notification comes, and access to it ends; what the other domain has mapped of it then stays
//! until that is unmapped.
//!
//! # Differences from Linux
//! - A mapping over pages that were allocated one after the other by a file, with another file's in between: Linux walks
//!   the wrong list as it goes, and frees the other's page. Here a mapping has the pages that it was made of.
//! - An allocation so large that the sum of all wraps is refused like any other that is too large.
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

mod driver;
mod ioctl;
mod platform;

pub use driver::{DEFAULT_LIMIT, Driver};
pub use platform::PageOwner;
