//! The driver against a small PCI function: the record of Linux, tables for each ioctl and register, and naive models.

mod access;
mod bench;
#[path = "../../../../tests/support/caller.rs"]
mod caller;
mod capabilities;
mod fake;
mod ioctls;
mod irqs;
mod life;
#[path = "../../../../tests/support/memory.rs"]
mod memory;
mod oracle;
mod oracle_steps;
mod random_config;
mod random_irqs;
mod registers;
