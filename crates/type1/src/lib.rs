//! Linux's type1 IOMMU driver of VFIO (`vfio_iommu_type1`), as a pure state machine: what programs map for devices, and the
//! accounts of it.
//!
//! [`Type1`] registers with the core. Each container that chooses it gets an IOMMU of its own, a domain of the machine's, into
//! which it maps ranges of the caller's memory. [`Machine`] is what it needs of the hardware, and of the accounts of locked
//! memory that all containers share. Behaviour is that of Linux 6.12.
//!
//! # Costs
//! A mapping is one range here and in the domain, however long it is: every call takes time in the logarithm of how many there
//! are.
//!
//! # Differences from Linux
//! - Pages aren't pinned: memory that a program has unmapped since isn't reachable for devices any more.
//! - `MAP_DMA` that meets a bad address and the limit of locked memory, too, is `EFAULT`. Linux says which it met first.
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

mod dirty;
mod driver;
mod info;
mod machine;
mod map;
mod mappings;
mod unmap;

pub use driver::{DEFAULT_DMA_ENTRY_LIMIT, Parameters, Type1};
pub use machine::{DomainId, Machine, Pinned, Range};
