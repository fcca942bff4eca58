//! A device that counts how often it is asked.

use alloc::boxed::Box;

use crate::bar::Bar;
use crate::description::{Description, Header};
use crate::function::Function;
use crate::model::{Bus, Device, DeviceModel};

/// The one register, in BAR 0: reading it counts; writing it sets it, and interrupts.
const COUNT: u64 = 0x00;

/// The device: a page of BAR of which 4 bytes are a register, one MSI vector, a pin.
pub fn device() -> Device {
    let header = Header { vendor: 0x1af4, device: 0x10f1, class: 0x00ff00, ..Header::default() };
    let mut description = Description::new(header);
    description.bars[0] = Some(Bar::memory(4096).with_registers(4));
    description.msi = Some(1);
    Device { function: Function::new(description), model: Box::new(Counter(0)) }
}

struct Counter(u32);

impl DeviceModel for Counter {
    fn read(&mut self, _bar: u8, offset: u64, _width: u8, _bus: &mut dyn Bus) -> u64 {
        match offset {
            COUNT => {
                self.0 = self.0.wrapping_add(1);
                u64::from(self.0)
            }
            _ => u64::MAX,
        }
    }

    fn write(&mut self, _bar: u8, offset: u64, _width: u8, value: u64, bus: &mut dyn Bus) {
        if offset == COUNT {
            self.0 = value as u32;
            bus.interrupt(0);
        }
    }

    fn peek(&self, _bar: u8, offset: u64) -> u32 {
        if offset == COUNT { self.0 } else { u32::MAX }
    }

    fn reset(&mut self, _bus: &mut dyn Bus) {
        self.0 = 0;
    }
}
