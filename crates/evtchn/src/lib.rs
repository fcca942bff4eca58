//! Linux's driver for `/dev/xen/evtchn`, as a pure state machine.
//!
//! A program opens the device, binds event-channel ports to the open file, and reads the numbers of the ports that had an
//! event. A port that was delivered stays disabled until the program writes its number back. [`Driver`] is the driver of
//! one guest kernel, with all its open files; [`Hypervisor`] is what it needs of Xen.
//!
//! # Calls and effects
//! - Calls: [`Driver::open`], [`Driver::release`], [`Driver::read`], [`Driver::write`], [`Driver::ioctl`], [`Driver::poll`].
//!   Seeks and positioned reads and writes are `ESPIPE` and `mmap` is `ENODEV` before a call gets here; an access mode that
//!   forbids the call is `EBADF` there too.
//! - Other drivers of the guest: [`Driver::hold_port`], [`Driver::let_port_go`].
//! - Input: [`Driver::interrupt`], once for each upcall that the hypervisor raised.
//! - Effects: [`Driver::next_wake`], the files whose readers to wake and whose owners to send `SIGIO`; for a host that wakes
//!   them by showing the ring in a kernel object, [`Driver::next_growth`] instead.
//!
//! A host that shows a file's ring in a kernel object, so that `poll` and blocking reads work natively, uses
//! [`Driver::unread`], [`Driver::peek`], [`Driver::consume`] and [`Driver::is_overflowed`].
//!
//! # Two parts
//! What a system call needs (bound ports, restriction) is apart from what an interrupt needs (handlers, rings). The latter
//! never allocates, frees or touches user memory: a call that needs room there measures it, allocates outside, swaps the
//! storage in and drops the old one afterwards. So a host may hold the first under a mutex and the second under a spin lock.
//!
//! # Differences from Linux
//! Where C is unsafe the result here is safe:
//! - `BIND_STATIC` of a port that another file has: Linux shares the interrupt, then `BUG`s as both close. Here both files
//!   see events; the hypervisor's port is closed when the last file goes that did not bind it statically.
//! - With a shared port, Linux queues an event for a file that has not written the port back (and warns), and unbinding from
//!   one file disables the interrupt for the other. Here such an event is delivered once, when the port is written back, and
//!   the other file carries on.
//! - `BIND_STATIC` of a port of the kernel's own: Linux answers `EBUSY` and closes the kernel's port. Here it is `EBUSY` only.
//! - A bind for which Xen picks a number that the same file holds statically: Linux answers `EEXIST`, and erases a node from
//!   its tree that was never there. Here it is `EEXIST` only, and Xen's port is closed again.
//! - Release unbinds in ascending order of ports, Linux in the order of its tree's roots.
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

mod delivery;
mod driver;
mod events;
mod holds;
mod hypervisor;
mod inbox;
mod ioctl;
mod ring;
mod sorted;

pub use driver::{Driver, MAX_TRANSFER};
pub use hypervisor::{ChannelAbi, Hypervisor, Port};
pub use ring::FIRST_RING_SIZE;
