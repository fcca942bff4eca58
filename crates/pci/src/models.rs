//! Devices that are there to be used.

pub mod edu;
mod memory;
pub mod test;

pub use memory::Memory;
