//! Linux's driver vfio-pci, as a pure state machine: PCI devices for programs, by way of VFIO.
//!
//! [`Device`] is one device that is bound to the driver (`vfio_pci_core_device`), [`Function`] what the driver needs of the
//! PCI function and its surroundings: the registers of its configuration space, its BARs, its interrupts. The behaviour is
//! that of Linux 6.12 on x86-64.
//!
//! # Calls
//! - [`Device::open`] with a device's first file and [`Device::close`] with its last; [`Device::matches`] says whether a name
//!   is its.
//! - [`Device::ioctl`]. Answered are requests of VFIO devices; what comes of a reset is in [`Done`].
//! - [`Device::read`] and [`Device::write`] do accesses to configuration space at once. Those to BARs and the ROM they check,
//!   and describe as a [`BarAccess`], for the layer above to carry out, which may take the device its time.
//! - [`Device::mmap`]: which memory of the device a mapping is made of.
//!
//! # Interrupts
//! The layer above says what the device asserts and sends ([`Device::interrupt`]), and what becomes of eventfds that it
//! watches for the driver ([`Device::signalled`]). What the driver wants done with eventfds it queues
//! ([`Device::next_event`]).
//!
//! # Reset
//! [`Function::reset`] resets the registers of configuration space at once, and the driver restores those that Linux restores.
//! The rest of the device is reset by the layer above, before anybody gets at it again; [`Done::Reset`] and
//! [`Transfer::Reset`] say that a call returns only then.
//!
//! # Differences from Linux
//! - A read or write of a BAR moves at most [`MAX_TRANSFER`] bytes at once, and returns a short count. Linux goes on to the end.
//! - VGA's legacy ranges aren't there for any device.
//! - In the low-power state of a feature, a device still sends interrupts. Linux suspends it, and masks INTx meanwhile.
//! - There are no capabilities of `GET_INFO`: Linux says which atomic operations the root port completes, if it does any.
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

mod access;
mod capabilities;
mod config;
mod device;
mod feature;
mod function;
mod hardware;
mod info;
mod intx;
mod ioctl;
mod ioeventfd;
mod irqs;
mod messages;
mod permissions;
mod power;
mod region;
mod registers;
mod reset;
mod token;

pub use access::{BarAccess, MAX_TRANSFER, Piece};
pub use device::{Device, Interrupt, Role};
pub use function::{Bar, BarKind, Function, Messages, Neighbour, Rom, Width};
pub use ioctl::Done;
pub use ioeventfd::{BarWrite, MAX_IOEVENTFDS};
pub use region::Transfer;
