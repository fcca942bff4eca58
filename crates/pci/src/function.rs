//! A function on the bus.

use alloc::vec::Vec;

use crate::bar::{Bar, BarKind};
use crate::capability;
use crate::config::ConfigSpace;
use crate::description::{Description, describe_header};

/// The bits of the command register.
const IO: u32 = 1 << 0;
const MEMORY: u32 = 1 << 1;
const BUS_MASTER: u32 = 1 << 2;
const INTX_DISABLE: u32 = 1 << 10;
/// The bit of the status register that says that the pin is asserted.
const INTX_STATUS: u8 = 1 << 3;

/// A function: its configuration space, its BARs, and its interrupt pin.
#[derive(Clone, Debug)]
pub struct Function {
    config: ConfigSpace,
    bars: [Option<Bar>; 6],
    rom: Vec<u8>,
    asserted: bool,
}

/// Where a function's MSI-X table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msix {
    /// How many vectors there are.
    pub vectors: u16,
    /// In which BAR.
    pub bar: u8,
    /// Where in it, in bytes.
    pub offset: u64,
}

impl Function {
    /// A function as it is after a reset.
    pub fn new(description: Description) -> Self {
        let config = description.config();
        Self { config, bars: description.bars, rom: description.rom, asserted: false }
    }

    /// A function with this configuration space, whose BARs have these sizes.
    pub(crate) fn from_dump(mut config: ConfigSpace, bars: [Option<Bar>; 6], rom: Vec<u8>) -> Self {
        describe_header(&mut config, &bars, rom.len() as u64);
        capability::describe_all(&mut config);
        Self { config, bars, rom, asserted: false }
    }

    /// Its configuration space.
    pub fn config(&self) -> &ConfigSpace {
        &self.config
    }

    /// Software writes to its configuration space.
    pub fn write_config(&mut self, offset: usize, width: usize, value: u32) {
        self.config.write(offset, width, value);
    }

    /// What firmware does to it: addresses for its BARs (those of I/O and 32-bit memory keep their lower 32 bits) and its ROM, a
    /// line for its pin, decoding on.
    pub fn configure(&mut self, addresses: &[u64], rom: u32, line: u8, command: u16) {
        for (index, address) in addresses.iter().enumerate() {
            let Some(bar) = self.bar(index as u8) else { continue };
            let at = index.saturating_mul(4).saturating_add(0x10);
            self.config.write(at, 4, *address as u32);
            if bar.kind == BarKind::Memory64 {
                self.config.write(at.saturating_add(4), 4, (*address >> 32) as u32);
            }
        }
        self.config.write(0x30, 4, rom);
        self.config.write(0x3c, 1, line.into());
        self.config.set(4, &command.to_le_bytes());
    }

    /// A BAR.
    pub fn bar(&self, index: u8) -> Option<Bar> {
        self.bars.get(usize::from(index)).copied().flatten()
    }

    /// A BAR's address, as its registers have it; 0 for one that isn't there.
    pub fn bar_address(&self, index: u8) -> u64 {
        let at = usize::from(index).saturating_mul(4).saturating_add(0x10);
        let low = u64::from(self.config.read(at, 4));
        match self.bar(index).map(|bar| bar.kind) {
            None => 0,
            Some(BarKind::Io) => low & !3,
            Some(BarKind::Memory32) => low & !15,
            Some(BarKind::Memory64) => low & !15 | u64::from(self.config.read(at.saturating_add(4), 4)) << 32,
        }
    }

    /// The contents of its ROM; empty if it has none.
    pub fn rom(&self) -> &[u8] {
        &self.rom
    }

    /// Whether it answers to accesses to memory, and to I/O ports.
    pub fn decodes(&self) -> (bool, bool) {
        let command = self.config.read(4, 2);
        (command & MEMORY != 0, command & IO != 0)
    }

    /// Whether it may do DMA and send messages.
    pub fn is_bus_master(&self) -> bool {
        self.config.read(4, 2) & BUS_MASTER != 0
    }

    /// Whether its pin is asserted, whether or not anybody is told.
    pub fn is_asserted(&self) -> bool {
        self.asserted
    }

    /// Its pin has this level from now on; the status register shows it.
    pub fn set_asserted(&mut self, asserted: bool) {
        self.asserted = asserted;
        let status = self.config.read(6, 1) as u8;
        let status = if asserted { status | INTX_STATUS } else { status & !INTX_STATUS };
        self.config.set(6, &[status]);
    }

    /// Whether its pin shows on the bus.
    pub fn interrupts(&self) -> bool {
        self.asserted && self.config.read(4, 2) & INTX_DISABLE == 0
    }

    /// Where a capability is in configuration space.
    pub fn capability(&self, id: u8) -> Option<usize> {
        capability::find(&self.config, id)
    }

    /// Whether it is on PCI Express.
    pub fn is_express(&self) -> bool {
        self.capability(capability::PCI_EXPRESS).is_some()
    }

    /// How many MSI vectors it has; 0 if it has none.
    pub fn msi_vectors(&self) -> u16 {
        let Some(at) = self.capability(capability::MSI) else { return 0 };
        let exponent = self.config.read(at.saturating_add(2), 2) >> 1 & 7;
        1_u16.checked_shl(exponent).unwrap_or(0)
    }

    /// Its MSI-X table.
    pub fn msix(&self) -> Option<Msix> {
        let at = self.capability(capability::MSIX)?;
        let table = self.config.read(at.saturating_add(4), 4);
        let vectors = (self.config.read(at.saturating_add(2), 2) & 0x7ff).saturating_add(1) as u16;
        Some(Msix { vectors, bar: (table & 7) as u8, offset: u64::from(table & !7) })
    }

    /// MSI-X is on or off: its control register shows it.
    pub fn enable_msix(&mut self, enabled: bool) {
        let Some(at) = self.capability(capability::MSIX).map(|at| at.saturating_add(3)) else { return };
        let control = self.config.read(at, 1) as u8;
        self.config.set(at, &[if enabled { control | 0x80 } else { control & 0x7f }]);
    }

    /// Whether it can be reset by itself: by function-level reset, or by its power management.
    pub fn can_reset(&self) -> bool {
        let read = |at: usize, width| self.config.read(at, width);
        let express = self.capability(capability::PCI_EXPRESS);
        let features = self.capability(capability::ADVANCED_FEATURES);
        let power = self.capability(capability::POWER_MANAGEMENT);
        express.is_some_and(|at| read(at.saturating_add(4), 4) & 1 << 28 != 0)
            || features.is_some_and(|at| read(at.saturating_add(3), 1) & 3 == 3)
            || power.is_some_and(|at| read(at.saturating_add(4), 2) & 1 << 3 == 0)
    }

    /// Resets it: its registers are as after power on, and its pin isn't asserted. What it does by itself is its model's to reset.
    pub fn reset(&mut self) {
        self.config.reset();
        self.set_asserted(false);
    }
}
