//! A device that does nothing: all of it is memory and configuration space.

use crate::model::{Bus, DeviceModel};

/// The model of a device whose BARs are memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory;

impl DeviceModel for Memory {
    fn read(&mut self, _: u8, _: u64, _: u8, _: &mut dyn Bus) -> u64 {
        // I/O ports that nobody answers at.
        0
    }

    fn write(&mut self, _: u8, _: u64, _: u8, _: u64, _: &mut dyn Bus) {}

    fn peek(&self, _: u8, _: u64) -> u32 {
        0
    }

    fn reset(&mut self, _: &mut dyn Bus) {}
}
