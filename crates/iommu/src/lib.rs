//! A simulated IOMMU: domains that translate what devices access, and the faults of accesses that they don't.
//!
//! It knows no driver and no operating system. A [`Domain`] is what a table of pages is to hardware: whoever has devices
//! attached to it asks it with each access ([`Domain::translate`]), possibly on another thread and behind a lock of its own.
//! An access that isn't translated is a [`Fault`], and goes into the unit's [`FaultLog`] under its source's id. What is
//! translated is an address in some address space, whose number means nothing here.
//!
//! Accesses to the window of interrupt messages aren't DMA on hardware: whoever has the devices takes them out first.
//!
//! # Differences from hardware
//! - A range is one entry, whatever its size: there is no table, and page sizes only say what is aligned.
//! - There is no cache of translations, so nothing to invalidate: an unmapped range is gone with the call.
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

mod domain;
mod fault;
mod properties;

pub use domain::{Access, Domain, Permissions, Refused, Run, Target};
pub use fault::{Fault, FaultLog, Reason, Record, SourceId};
pub use properties::{AddressRange, Properties};
