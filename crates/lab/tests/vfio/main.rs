//! A machine with VFIO, as the kernel and sysfs have it: devices that come and go, and what they reach.

mod bench;
#[path = "../../../../tests/support/caller.rs"]
mod caller;
mod devices;
#[allow(dead_code, reason = "no pointer is bad here")]
#[path = "../../../../tests/support/memory.rs"]
mod memory;
mod sysfs;
