//! One guest kernel's xenbus, as a pure state machine: the connection to xenstore, `/dev/xen/xenbus` on it, and the
//! kernel's own requests.
//!
//! [`Bus`] is all of it. Requests of all files and of the kernel share one ring to the store ([`Ring`]), get numbers of the
//! kernel's choosing, and are answered with the caller's own.
//!
//! # Calls and effects
//! - Calls: [`Bus::open`], [`Bus::release`], [`Bus::read`], [`Bus::write`], [`Bus::ioctl`], [`Bus::poll`]. Seeks and
//!   positioned reads and writes are `ESPIPE` and `mmap` is `ENODEV` before a call gets here; an access mode that forbids
//!   the call is `EBADF` there too.
//! - Calls only queue. [`Bus::interrupt`] moves bytes over the ring: when the store's event channel has fired, and after
//!   calls that have queued something ([`Bus::has_unsent`]).
//! - The kernel's requests: [`Bus::request`], [`Bus::request_in`], answered by [`Bus::next_reply`].
//! - Effects: [`Bus::next_growth`], the files whose unread data has grown, and [`Bus::next_complaint`].
//!
//! A host that shows a file's unread data in a kernel object uses [`Bus::unread`], [`Bus::peek`], [`Bus::consume`] and
//! [`Bus::would_read`]. [`Toolstack`] is what a control domain's tools do for the domains there are.
//!
//! # The store is not trusted
//! What it writes may be anything. Ring indices that can't be are set to 0, and the message under way is lost; a payload
//! that is too long is taken for the next message; an answer to no request, and an event of no watch, are ignored. Each is
//! a [`Complaint`]. What an interrupt does is bounded, and so is what the store can make the kernel keep.
//!
//! # Differences from Linux
//! - A write of `XS_WATCH` or `XS_UNWATCH` doesn't wait for the store. If the store refuses a watch, Linux fails the write
//!   with that error; here the program reads an `XS_ERROR`.
//! - The payload of a request is copied when it is complete. Linux sends it from the buffer that the next write overwrites.
//! - A request that can't be sent because of bad indices is answered `EIO`. Linux never answers it.
//! - Two answers never reach the program in Linux, which warns and leaks the file: of an `XS_TRANSACTION_END` of no
//!   transaction, and of an `XS_TRANSACTION_START` that gives no number. They don't here, but the file ends as others do.
//! - A watch event's request and transaction numbers are 0; Linux leaves what was on its stack.
//! - What a file makes the kernel keep is bounded ([`MAX_HELD`], [`MAX_HELD_IN_ALL`], [`MAX_TRANSACTIONS`],
//!   [`MAX_UNREAD`]): then a write is `ENOMEM`, and an answer or event is lost, as when Linux has no memory.
//! - A read of 0 bytes, where there is something to read, returns 0. Linux spins for ever.
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

mod bus;
mod client;
mod complaint;
mod device;
mod file;
mod inbox;
mod incoming;
mod message;
mod outgoing;
mod reply;
mod ring;
mod toolstack;
mod watches;

pub use bus::{Bus, MAX_HELD, MAX_HELD_IN_ALL};
pub use client::{Refusal, Ticket};
pub use complaint::Complaint;
pub use file::MAX_TRANSACTIONS;
pub use inbox::MAX_UNREAD;
pub use ring::Ring;
pub use toolstack::{Guest, Toolstack};
