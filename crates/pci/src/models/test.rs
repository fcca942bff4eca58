//! A device for tests: registers, memory, interrupts of all kinds, and a copy engine. `docs/device-model.md` has its registers.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use crate::bar::Bar;
use crate::description::{Description, Header};
use crate::function::Function;
use crate::model::{Bus, Device, DeviceModel, DmaFault};

/// One of the ids (1af4:10f0 to 10ff) that Red Hat leaves to experiments: no driver claims it.
const VENDOR: u16 = 0x1af4;
const DEVICE: u16 = 0x10f0;

/// How many vectors there are of MSI, and of MSI-X.
const MSI_VECTORS: u8 = 8;
const MSIX_VECTORS: u16 = 32;
/// The BARs: registers, memory, the MSI-X table.
const REGISTER_BAR: usize = 0;
const MEMORY_BAR: u8 = 2;
const TABLE_BAR: u8 = 4;

/// Registers by their offsets in BAR 0, a word each.
const IDENTIFICATION: u64 = 0x00;
const VERSION: u64 = 0x04;
const MEMORY_SIZE: u64 = 0x0c;
const INTERRUPT_STATUS: u64 = 0x10;
const ACKNOWLEDGE: u64 = 0x14;
const RAISE: u64 = 0x18;
const SOURCE: u64 = 0x20;
const DESTINATION: u64 = 0x28;
const LENGTH: u64 = 0x30;
const COMMAND: u64 = 0x38;
const VECTOR: u64 = 0x3c;
const STATUS: u64 = 0x40;
const PATTERN: u64 = 0x44;
const FAULT: u64 = 0x48;
/// The size of all of them, in bytes.
const REGISTERS: usize = 0x50;

/// What identifies it: "TEST".
const MAGIC: u32 = 0x5453_4554;

/// Commands: what to do, in the lower bits, and whether to interrupt when it is done.
const COPY: u32 = 1;
const FILL: u32 = 2;
const TO_MEMORY_BAR: u32 = 3;
const FROM_MEMORY_BAR: u32 = 4;
const OPERATION: u32 = 0xff;
const RAISES: u32 = 0x100;
/// Status.
const BUSY: u32 = 1;
const DONE: u32 = 2;
const FAULTED: u32 = 4;

/// How much is copied at a time, in bytes: little enough for a processor's cache, and enough for what each piece costs by itself.
const CHUNK: usize = 256 << 10;

/// The device, with so many bytes of memory in BAR 2: a power of two, at least 4096.
pub fn device(memory: u64) -> Device {
    let header = Header { vendor: VENDOR, device: DEVICE, class: 0x00ff00, revision: 1, ..Header::default() };
    let mut description = Description::new(header);
    description.bars = [
        Some(Bar::memory(4096).with_registers(4096)),
        None,
        Some(Bar { prefetchable: true, ..Bar::memory64(memory) }),
        None,
        Some(Bar::memory(4096)),
        None,
    ];
    description.msi = Some(MSI_VECTORS);
    description.msix = Some((MSIX_VECTORS, TABLE_BAR));
    description.express = true;
    Device { function: Function::new(description), model: Box::new(Test::new(memory)) }
}

struct Test {
    /// Registers that only hold what was written to them, and those of the engine.
    registers: [u32; REGISTERS / 4],
    memory: u64,
    chunk: Vec<u8>,
}

impl Test {
    fn new(memory: u64) -> Self {
        let mut test = Self { registers: [0; REGISTERS / 4], memory, chunk: Vec::new() };
        test.set(IDENTIFICATION, MAGIC);
        test.set(VERSION, 1);
        test.set(MEMORY_SIZE, u32::try_from(memory).unwrap_or(u32::MAX));
        test
    }

    fn get(&self, offset: u64) -> u32 {
        let word = usize::try_from(offset >> 2).unwrap_or(usize::MAX);
        self.registers.get(word).copied().unwrap_or(u32::MAX)
    }

    fn set(&mut self, offset: u64, value: u32) {
        let word = usize::try_from(offset >> 2).unwrap_or(usize::MAX);
        if let Some(register) = self.registers.get_mut(word) {
            *register = value;
        }
    }

    fn long(&self, offset: u64) -> u64 {
        u64::from(self.get(offset)) | u64::from(self.get(offset | 4)) << 32
    }

    fn set_long(&mut self, offset: u64, value: u64) {
        self.set(offset, value as u32);
        self.set(offset | 4, (value >> 32) as u32);
    }

    fn write_word(&mut self, offset: u64, value: u32, bus: &mut dyn Bus) {
        match offset {
            IDENTIFICATION | VERSION | MEMORY_SIZE | INTERRUPT_STATUS => {}
            ACKNOWLEDGE => {
                let left = self.get(INTERRUPT_STATUS) & !value;
                self.set(INTERRUPT_STATUS, left);
                // However its interrupts are enabled by now.
                if left == 0 {
                    bus.set_intx(false);
                }
            }
            RAISE => self.raise(value, bus),
            COMMAND => {
                self.set(COMMAND, value);
                self.set(STATUS, BUSY);
            }
            STATUS => self.set(STATUS, self.get(STATUS) & !(value & (DONE | FAULTED))),
            _ => self.set(offset, value),
        }
    }

    fn raise(&mut self, vector: u32, bus: &mut dyn Bus) {
        let bit = 1_u32.checked_shl(vector & 31).unwrap_or(0);
        self.set(INTERRUPT_STATUS, self.get(INTERRUPT_STATUS) | bit);
        bus.interrupt(u16::try_from(vector).unwrap_or(u16::MAX));
    }

    /// Does some of what was commanded.
    ///
    /// # Errors
    /// [`DmaFault`]; where it happened is in the register for that.
    fn step(&mut self, bus: &mut dyn Bus) -> Result<(), DmaFault> {
        let (source, destination, length) = (self.long(SOURCE), self.long(DESTINATION), self.long(LENGTH));
        let size = usize::try_from(length).unwrap_or(CHUNK).min(CHUNK);
        let mut chunk = core::mem::take(&mut self.chunk);
        if chunk.len() < size {
            chunk = vec![0; size];
        }
        let bytes = chunk.get_mut(..size).unwrap_or_default();
        let result = match self.get(COMMAND) & OPERATION {
            COPY => bus
                .dma_read(source, bytes)
                .map_err(|fault| (source, fault))
                .and_then(|()| bus.dma_write(destination, bytes).map_err(|fault| (destination, fault))),
            FILL => {
                bytes.fill(self.get(PATTERN) as u8);
                bus.dma_write(destination, bytes).map_err(|fault| (destination, fault))
            }
            TO_MEMORY_BAR if self.is_memory(destination, size) => {
                let read = bus.dma_read(source, bytes).map_err(|fault| (source, fault));
                read.map(|()| bus.ram_write(MEMORY_BAR, destination, bytes))
            }
            FROM_MEMORY_BAR if self.is_memory(source, size) => {
                bus.ram_read(MEMORY_BAR, source, bytes);
                bus.dma_write(destination, bytes).map_err(|fault| (destination, fault))
            }
            _ => Err((0, DmaFault)),
        };
        self.chunk = chunk;
        if let Err((at, fault)) = result {
            self.set_long(FAULT, at);
            return Err(fault);
        }
        let size = size as u64;
        self.set_long(SOURCE, source.wrapping_add(size));
        self.set_long(DESTINATION, destination.wrapping_add(size));
        self.set_long(LENGTH, length.saturating_sub(size));
        Ok(())
    }

    fn is_memory(&self, offset: u64, size: usize) -> bool {
        offset.checked_add(size as u64).is_some_and(|end| end <= self.memory)
    }
}

impl DeviceModel for Test {
    fn read(&mut self, bar: u8, offset: u64, width: u8, _: &mut dyn Bus) -> u64 {
        if usize::from(bar) != REGISTER_BAR {
            return u64::MAX;
        }
        let long = self.long(offset & !7);
        long.checked_shr((offset & 7).wrapping_mul(8) as u32).unwrap_or(0) & mask(width)
    }

    fn write(&mut self, bar: u8, offset: u64, width: u8, value: u64, bus: &mut dyn Bus) {
        if usize::from(bar) != REGISTER_BAR {
            return;
        }
        match width {
            8 => {
                self.write_word(offset, value as u32, bus);
                self.write_word(offset | 4, (value >> 32) as u32, bus);
            }
            4 => self.write_word(offset, value as u32, bus),
            // A narrow write leaves the rest of the word.
            _ => {
                let shift = (offset & 3).wrapping_mul(8) as u32;
                let bits = (mask(width) as u32).checked_shl(shift).unwrap_or(0);
                // A 1 there would clear what it is read from.
                let rest = if offset & !3 == STATUS { 0 } else { self.get(offset) & !bits };
                let word = rest | (value as u32).checked_shl(shift).unwrap_or(0) & bits;
                self.write_word(offset & !3, word, bus);
            }
        }
    }

    fn peek(&self, _: u8, offset: u64) -> u32 {
        self.get(offset)
    }

    fn reset(&mut self, bus: &mut dyn Bus) {
        *self = Self::new(self.memory);
        bus.set_intx(false);
    }

    fn run(&mut self, bus: &mut dyn Bus) -> bool {
        if self.get(STATUS) & BUSY == 0 {
            return false;
        }
        // With nothing to do there is nothing that can fail, unless it isn't known what to do.
        let is_known = self.get(COMMAND) & OPERATION <= FROM_MEMORY_BAR;
        let result = if is_known && self.long(LENGTH) == 0 { Ok(()) } else { self.step(bus) };
        let is_over = result.is_err() || self.long(LENGTH) == 0;
        if is_over {
            self.set(STATUS, if result.is_err() { DONE | FAULTED } else { DONE });
            if self.get(COMMAND) & RAISES != 0 {
                self.raise(self.get(VECTOR), bus);
            }
        }
        !is_over
    }
}

/// The bits of so many bytes.
const fn mask(width: u8) -> u64 {
    match width {
        1 => 0xff,
        2 => 0xffff,
        4 => 0xffff_ffff,
        _ => u64::MAX,
    }
}
