//! The driver against a small Xen: tables for each ioctl, the recorded transcript, and a naive model.

mod fake;
mod holds;
mod ioctls;
#[path = "../../../../tests/support/memory.rs"]
mod memory;
mod model;
mod oracle;
mod oracle_pair;
mod random;
mod ring;
mod shared;
