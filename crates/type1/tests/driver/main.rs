//! The driver.

#[path = "../../../../tests/support/caller.rs"]
mod caller;
#[path = "../../../../tests/support/memory.rs"]
mod memory;
