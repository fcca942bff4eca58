//! Linux's VFIO core: containers, groups and devices, as a pure state machine.
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

mod platform;

pub use platform::{Bus, DeviceId, GroupId, Iommu, IommuDriver, Member, MemberDriver};
