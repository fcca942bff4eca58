//! The driver against a small Xen: tables for each ioctl and each hypercall.

mod fake;
mod hypercalls;
mod ioctls;
mod mapping;
#[path = "../../../../tests/support/memory.rs"]
mod memory;
