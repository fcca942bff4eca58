//! A function on the bus.

use alloc::vec::Vec;

use crate::bar::{Bar, BarKind};
use crate::capability;
use crate::config::ConfigSpace;
use crate::description::{Description, describe_header};
use crate::model::InterruptMode;

/// The bits of the command register.
const IO: u32 = 1 << 0;
const MEMORY: u32 = 1 << 1;
const BUS_MASTER: u32 = 1 << 2;
const INTX_DISABLE: u32 = 1 << 10;
/// The bit of the status register that says that the pin is asserted.
const INTX_STATUS: u8 = 1 << 3;
/// Of power management: there is no reset on the way from D3hot to D0.
const NO_SOFT_RESET: u32 = 1 << 3;
/// The states of power management in which a function works, and in which it has all but lost its state.
const D0: u8 = 0;
const D3HOT: u8 = 3;

/// A function: its configuration space, its BARs, and its interrupt pin.
#[derive(Clone, Debug)]
pub struct Function {
    config: ConfigSpace,
    bars: [Option<Bar>; 6],
    rom: Vec<u8>,
    asserted: bool,
}

/// What firmware sets up in a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// The addresses of its BARs; 0 for those that have none. Those of I/O and 32-bit memory have but 32 bits.
    pub bars: [u64; 6],
    /// The ROM's, and whether that is decoded.
    pub rom: u32,
    /// The line of its pin.
    pub line: u8,
    /// The command register: what is decoded, and how errors are reported.
    pub command: u16,
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

    /// Software writes up to 4 bytes to its configuration space; whether that has reset the function, so that its model is to be
    /// reset, too: by a function-level reset, or on its way back from D3hot.
    #[must_use]
    pub fn write_config(&mut self, offset: usize, width: usize, value: u32) -> bool {
        let asks = self.asks_for_reset(offset, width, value);
        let before = self.power_state();
        self.config.write(offset, width, value);
        if let Some(at) = self.capability(capability::POWER_MANAGEMENT).map(|at| at.saturating_add(4)) {
            let control = self.config.read(at, 1) as u8;
            if !self.has_power_state(control & 3) {
                self.config.set(at, &[control & !3 | before]);
            }
        }
        let returns = before == D3HOT && self.power_state() == D0 && self.loses_state();
        if asks || returns {
            self.reset();
        }
        asks || returns
    }

    /// Whether a write asks for a function-level reset, and there is one.
    fn asks_for_reset(&self, offset: usize, width: usize, value: u32) -> bool {
        let sets = |at: usize, bit: u8| {
            let byte = at.checked_sub(offset).filter(|index| *index < width);
            byte.and_then(|index| value.to_le_bytes().get(index).copied()).is_some_and(|byte| byte & bit != 0)
        };
        let express = self.capability(capability::PCI_EXPRESS);
        let features = self.capability(capability::ADVANCED_FEATURES);
        express.is_some_and(|at| self.has_reset_by_express(at) && sets(at.saturating_add(9), 0x80))
            || features.is_some_and(|at| self.has_reset_by_features(at) && sets(at.saturating_add(4), 1))
    }

    fn has_reset_by_express(&self, at: usize) -> bool {
        self.config.read(at.saturating_add(4), 4) & 1 << 28 != 0
    }

    fn has_reset_by_features(&self, at: usize) -> bool {
        self.config.read(at.saturating_add(3), 1) & 3 == 3
    }

    /// Its power state: 0 to 3, for D0 to D3hot.
    pub fn power_state(&self) -> u8 {
        let at = self.capability(capability::POWER_MANAGEMENT);
        at.map_or(D0, |at| self.config.read(at.saturating_add(4), 1) as u8 & 3)
    }

    fn has_power_state(&self, state: u8) -> bool {
        let capable = self
            .capability(capability::POWER_MANAGEMENT)
            .map_or(0, |at| self.config.read(at.saturating_add(2), 2));
        match state {
            1 => capable & 1 << 9 != 0,
            2 => capable & 1 << 10 != 0,
            _ => true,
        }
    }

    /// Whether it is reset on its way from D3hot to D0.
    fn loses_state(&self) -> bool {
        let at = self.capability(capability::POWER_MANAGEMENT);
        at.is_some_and(|at| self.config.read(at.saturating_add(4), 2) & NO_SOFT_RESET == 0)
    }

    /// Firmware sets it up.
    pub fn configure(&mut self, firmware: &Firmware) {
        for (index, address) in firmware.bars.iter().enumerate() {
            let Some(bar) = self.bar(index as u8) else { continue };
            let at = index.saturating_mul(4).saturating_add(0x10);
            self.config.write(at, 4, *address as u32);
            if bar.kind == BarKind::Memory64 {
                self.config.write(at.saturating_add(4), 4, (*address >> 32) as u32);
            }
        }
        self.config.write(0x30, 4, firmware.rom);
        self.config.write(0x3c, 1, firmware.line.into());
        self.config.write(4, 2, firmware.command.into());
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
        let command = if self.power_state() == D0 { self.config.read(4, 2) } else { 0 };
        (command & MEMORY != 0, command & IO != 0)
    }

    /// Whether it may do DMA and send messages.
    pub fn is_bus_master(&self) -> bool {
        self.power_state() == D0 && self.config.read(4, 2) & BUS_MASTER != 0
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

    /// How its interrupts are enabled, by its registers.
    pub fn interrupt_mode(&self) -> InterruptMode {
        let is_on = |id, offset, bit| {
            self.capability(id).is_some_and(|at| self.config.read(at.saturating_add(offset), 1) & bit != 0)
        };
        if is_on(capability::MSIX, 3, 0x80) {
            InterruptMode::Msix
        } else if is_on(capability::MSI, 2, 1) {
            InterruptMode::Msi
        } else {
            InterruptMode::Intx
        }
    }

    /// MSI is on, for so many vectors of which it is capable, rounded up to a power of two; or off, for none.
    pub fn enable_msi(&mut self, vectors: u16) {
        let Some(at) = self.capability(capability::MSI).map(|at| at.saturating_add(2)) else { return };
        let vectors = vectors.min(self.msi_vectors());
        let log = vectors.checked_next_power_of_two().unwrap_or(1).trailing_zeros() as u8;
        let control = self.config.read(at, 1) as u8 & !0x71;
        self.config.set(at, &[if vectors == 0 { control } else { control | log << 4 | 1 }]);
    }

    /// MSI-X is on or off.
    pub fn enable_msix(&mut self, enabled: bool) {
        let Some(at) = self.capability(capability::MSIX).map(|at| at.saturating_add(3)) else { return };
        let control = self.config.read(at, 1) as u8;
        self.config.set(at, &[if enabled { control | 0x80 } else { control & 0x7f }]);
    }

    /// Whether it can be reset by itself: by function-level reset, or by its power management.
    pub fn can_reset(&self) -> bool {
        self.capability(capability::PCI_EXPRESS).is_some_and(|at| self.has_reset_by_express(at))
            || self.capability(capability::ADVANCED_FEATURES).is_some_and(|at| self.has_reset_by_features(at))
            || self.loses_state()
    }

    /// Resets it: its registers are as after power on, but for those that only a loss of power resets, and its pin isn't
    /// asserted. What it does by itself is its model's to reset.
    pub fn reset(&mut self) {
        self.config.reset();
        self.set_asserted(false);
    }
}
