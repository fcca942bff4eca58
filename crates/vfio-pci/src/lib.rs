//! Linux's driver vfio-pci, as a pure state machine: PCI devices for programs, by way of VFIO.
//!
//! [`Device`] is one device that is bound to the driver; [`Function`] is what it needs of the PCI function. Behaviour is that of
//! Linux 6.12 (`drivers/vfio/pci/vfio_pci_{core,config,intrs,rdwr}.c`).
//!
//! # Calls
//! - [`Device::open`] and [`Device::close`], with the first and the last file of the device.
//! - [`Device::ioctl`], [`Device::read`], [`Device::write`], [`Device::mmap`]. Configuration space is read and written at once. BARs and
//!   the ROM aren't: what is to be done there is the answer, and whoever runs the device's model does it.
//! - From the device: [`Device::interrupt`] and [`Device::message`]. From programs' eventfds: [`Device::signalled`].
//! - What is to be done with programs' eventfds is drained from [`Device::next_event`].
//!
//! # Differences from Linux
//! - VGA's legacy ranges, Intel's graphics and s390's own capabilities aren't there.
//! - Vital product data is read and written in hardware, without Linux's own going through it word by word.
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

mod config;
mod device;
mod feature;
mod function;
mod info;
mod interrupts;
mod ioeventfd;
mod name;
mod permissions;
mod regions;
mod reset;

pub use device::{Device, Done};
pub use function::{Bar, Function, Mode, Msix, Neighbour};
pub use ioeventfd::RegisterWrite;
pub use name::matches;
pub use regions::{Transfer, split};
