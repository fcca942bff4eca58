//! Linux's driver `vfio_iommu_type1`, as a pure state machine: what programs map for devices, and the accounts of it.
//!
//! A container that chooses it (`VFIO_SET_IOMMU` with type 1 or 3) gets an instance of its own from [`Driver`]. Its groups
//! are attached to a domain of the machine's IOMMU ([`Machine`]). Programs then map ranges of their memory at addresses that
//! devices see (IOVAs). A mapping is one entry here and one in each domain, whatever its size.
//!
//! # Type 1 and its second version
//! In the first version, unmapping a range that covers a mapping's first IOVA unmaps all of it, and a range that starts
//! within a mapping unmaps nothing; both succeed. In the second, a range that cuts a mapping is `EINVAL`, and dirty pages
//! can be asked for.
//!
//! # Calls
//! The order of checks is Linux 6.12's (`drivers/vfio/vfio_iommu_type1.c`), as recorded. A call that fails has changed
//! nothing, but for `UNMAP_DMA` with a bitmap that can't be written: what comes before the one that couldn't be reported is
//! unmapped by then.
//!
//! # Dirty pages
//! The IOMMU doesn't track them, so all that is mapped is reported as dirty each time, as Linux does for such an IOMMU.
//!
//! # Differences from Linux
//! - Linux pins pages: a device reaches the memory that was there when it was mapped, even if the program has unmapped it
//!   since, or has mapped something else there. Here it reaches what is at the address in the program's address space at the
//!   time. So between `UNMAP_DMA` with `VADDR` and `MAP_DMA` with `VADDR`, devices reach what is at the old address, and
//!   nothing when its address space is gone.
//! - Memory of devices that is mapped for other devices is counted as locked; Linux doesn't count it.
//! - No memory is taken by the bitmaps of `IOMMU_DIRTY_PAGES`, so starting doesn't fail for want of it. And Linux, asked again
//!   for a mapping whose bits don't start at a multiple of 64, may set bits behind its end, too.
//! - `TYPE1_NESTING_IOMMU` is refused when it is chosen; Linux refuses it with the first group. A program sees the same.
//! - `allow_unsafe_interrupts` is what it was when the container chose its IOMMU; Linux looks anew with each group.
//! - There are no mediated devices (groups with an emulated IOMMU).
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

mod bitmap;
mod container;
mod dirty;
mod driver;
mod groups;
mod info;
mod iova;
mod locked;
mod machine;
mod map;
mod mappings;
mod unmap;

pub use driver::{Driver, Parameters};
pub use locked::LockedMemory;
pub use machine::{DomainId, IovaRange, Machine, Memory, Warning};
