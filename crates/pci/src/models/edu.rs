//! QEMU's educational device, as its specification (`docs/specs/edu.rst`) has it.
//!
//! Where the specification leaves off, what QEMU 7.2 does: registers below 0x80 are read and written by words only, those from
//! there on also by 8 bytes; anything else reads as all ones and isn't written. Accesses of 1 and 2 bytes don't get to the device:
//! they read as 0. What a transfer can't read is 0, page by page, and what it can't write is lost.
//!
//! A transfer that leaves the buffer isn't made, and is over as others are. QEMU ends there, or goes on in its own memory.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use crate::bar::Bar;
use crate::description::{Description, Header};
use crate::function::Function;
use crate::model::{Bus, Device, DeviceModel, InterruptMode};

/// The registers, by their offsets in BAR 0.
const IDENTIFICATION: u64 = 0x00;
const LIVENESS: u64 = 0x04;
const FACTORIAL: u64 = 0x08;
const STATUS: u64 = 0x20;
const INTERRUPT_STATUS: u64 = 0x24;
const RAISE: u64 = 0x60;
const ACKNOWLEDGE: u64 = 0x64;
const DMA_SOURCE: u64 = 0x80;
const DMA_DESTINATION: u64 = 0x88;
const DMA_COUNT: u64 = 0x90;
const DMA_COMMAND: u64 = 0x98;

/// Version 1.0.
const VERSION: u32 = 0x0100_00ed;
/// Status: an interrupt is to be raised when a factorial has been computed.
const STATUS_INTERRUPT: u32 = 0x80;
/// What is in the interrupt status for a factorial, and for a transfer.
const FACTORIAL_INTERRUPT: u32 = 0x001;
const DMA_INTERRUPT: u32 = 0x100;
/// The command: go; from the device to memory, and not the other way; interrupt when done.
const DMA_RUN: u64 = 1;
const DMA_TO_MEMORY: u64 = 2;
const DMA_RAISES: u64 = 4;

/// Where the device's own buffer is for transfers, and its size in bytes.
const BUFFER: u64 = 0x40000;
const BUFFER_SIZE: u64 = 4096;
/// The bits that an address of its transfers has, unless it is made otherwise.
const DMA_MASK: u64 = 0x0fff_ffff;
/// What memory is mapped in, in bytes: one may be there, and the next one not.
const PAGE: u64 = 4096;

/// The device: 1 MiB of registers, one MSI vector, a pin.
pub fn device() -> Device {
    let header =
        Header { vendor: 0x1234, device: 0x11e8, class: 0x00ff00, revision: 0x10, ..Header::default() };
    let mut description = Description::new(header);
    description.bars = [Some(Bar::memory(1 << 20).with_registers(1 << 20)), None, None, None, None, None];
    description.msi = Some(1);
    Device { function: Function::new(description), model: Box::new(Edu::new()) }
}

/// How much of BAR 0 holds anything but all ones, in bytes.
pub const REGISTERS: u64 = 0xa0;

/// The device's state.
struct Edu {
    liveness: u32,
    factorial: u32,
    status: u32,
    interrupts: u32,
    source: u64,
    destination: u64,
    count: u64,
    command: u64,
    buffer: Vec<u8>,
}

impl Edu {
    fn new() -> Self {
        Self {
            liveness: 0,
            factorial: 0,
            status: 0,
            interrupts: 0,
            source: 0,
            destination: 0,
            count: 0,
            command: 0,
            buffer: vec![0; BUFFER_SIZE as usize],
        }
    }

    fn register(&self, offset: u64) -> u64 {
        match offset {
            IDENTIFICATION => VERSION.into(),
            LIVENESS => self.liveness.into(),
            FACTORIAL => self.factorial.into(),
            STATUS => self.status.into(),
            INTERRUPT_STATUS => self.interrupts.into(),
            DMA_SOURCE => self.source,
            DMA_DESTINATION => self.destination,
            DMA_COUNT => self.count,
            DMA_COMMAND => self.command,
            _ => u64::MAX,
        }
    }

    fn raise(&mut self, value: u32, bus: &mut dyn Bus) {
        self.interrupts |= value;
        if self.interrupts != 0 {
            bus.interrupt(0);
        }
    }

    fn acknowledge(&mut self, value: u32, bus: &mut dyn Bus) {
        self.interrupts &= !value;
        if self.interrupts == 0 && bus.interrupt_mode() == InterruptMode::Intx {
            bus.set_intx(false);
        }
    }

    /// Makes the transfer that was asked for, a page of memory at a time.
    fn transfer(&mut self, bus: &mut dyn Bus) {
        let to_memory = self.command & DMA_TO_MEMORY != 0;
        let (own, other) =
            if to_memory { (self.source, self.destination) } else { (self.destination, self.source) };
        let start = own.checked_sub(BUFFER).and_then(|start| usize::try_from(start).ok());
        let count = usize::try_from(self.count).ok();
        let range = start.zip(count).and_then(|(start, count)| Some(start..start.checked_add(count)?));
        let mut rest = range.and_then(|range| self.buffer.get_mut(range)).unwrap_or_default();
        let mut iova = other & DMA_MASK;
        while !rest.is_empty() {
            let in_page = PAGE.saturating_sub(iova & PAGE.saturating_sub(1));
            let (bytes, behind) = rest.split_at_mut(rest.len().min(in_page as usize));
            if to_memory {
                // Nobody is told of a write that fails.
                let _ = bus.dma_write(iova, bytes);
            } else if bus.dma_read(iova, bytes).is_err() {
                bytes.fill(0);
            }
            iova = iova.saturating_add(in_page);
            rest = behind;
        }
    }
}

/// Whether a register can be accessed by so many bytes.
const fn takes(offset: u64, width: u8) -> bool {
    width == 4 || width == 8 && offset >= 0x80
}

impl DeviceModel for Edu {
    fn read(&mut self, _: u8, offset: u64, width: u8, _: &mut dyn Bus) -> u64 {
        match width {
            1 | 2 => 0,
            _ if takes(offset, width) => self.register(offset),
            _ => u64::MAX,
        }
    }

    fn write(&mut self, _: u8, offset: u64, width: u8, value: u64, bus: &mut dyn Bus) {
        if !takes(offset, width) {
            return;
        }
        let word = value as u32;
        let value = if width == 4 { word.into() } else { value };
        // While a transfer is under way its registers stay as they are.
        let is_idle = self.command & DMA_RUN == 0;
        match offset {
            LIVENESS => self.liveness = !word,
            FACTORIAL => {
                self.factorial = factorial(word);
                if self.status & STATUS_INTERRUPT != 0 {
                    self.raise(FACTORIAL_INTERRUPT, bus);
                }
            }
            STATUS => self.status = word & STATUS_INTERRUPT,
            RAISE => self.raise(word, bus),
            ACKNOWLEDGE => self.acknowledge(word, bus),
            DMA_SOURCE if is_idle => self.source = value,
            DMA_DESTINATION if is_idle => self.destination = value,
            DMA_COUNT if is_idle => self.count = value,
            DMA_COMMAND if is_idle && value & DMA_RUN != 0 => self.command = value,
            _ => {}
        }
    }

    fn peek(&self, _: u8, offset: u64) -> u32 {
        self.register(offset) as u32
    }

    fn reset(&mut self, _: &mut dyn Bus) {
        // It keeps everything.
    }

    fn run(&mut self, bus: &mut dyn Bus) -> bool {
        if self.command & DMA_RUN != 0 {
            self.transfer(bus);
            self.command &= !DMA_RUN;
            if self.command & DMA_RAISES != 0 {
                self.raise(DMA_INTERRUPT, bus);
            }
        }
        false
    }
}

/// What is left of it in 32 bits.
fn factorial(number: u32) -> u32 {
    // From 34! on all of these bits are 0.
    (1..=number.min(34)).fold(1, u32::wrapping_mul)
}
