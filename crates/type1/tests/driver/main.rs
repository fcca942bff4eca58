//! The driver on a fake IOMMU: tables for each ioctl, groups, accounts, a naive model, and what Linux printed.

#[path = "../../../../tests/support/caller.rs"]
mod caller;
#[path = "../../../../tests/support/memory.rs"]
mod memory;

mod costs;
mod dirty;
mod fake;
mod groups;
mod harness;
mod info;
mod limits;
mod maps;
mod oracle;
mod random;
mod unmaps;
