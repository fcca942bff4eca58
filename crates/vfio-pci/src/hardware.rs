//! The function's own registers: names for those that matter, and what the PCI core does with them.

use alloc::vec::Vec;

use crate::{Function, Width};

pub(crate) const VENDOR_ID: u16 = 0x00;
pub(crate) const DEVICE_ID: u16 = 0x02;
pub(crate) const COMMAND: u16 = 0x04;
pub(crate) const COMMAND_IO: u16 = 1 << 0;
pub(crate) const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_MASTER: u16 = 1 << 2;
pub(crate) const COMMAND_INTX_DISABLE: u16 = 1 << 10;
pub(crate) const STATUS: u16 = 0x06;
const STATUS_INTERRUPT: u16 = 1 << 3;
pub(crate) const STATUS_CAP_LIST: u16 = 1 << 4;
pub(crate) const BARS: u16 = 0x10;
pub(crate) const ROM: u16 = 0x30;
pub(crate) const CAPABILITIES: u16 = 0x34;
pub(crate) const INTERRUPT_PIN: u16 = 0x3d;
/// Where the header ends, and capabilities may be.
pub(crate) const HEADER_SIZE: u16 = 0x40;
/// Where extended capabilities are.
pub(crate) const EXTENDED: u16 = 0x100;

pub(crate) const CAP_PM: u8 = 0x01;
pub(crate) const CAP_VPD: u8 = 0x03;
pub(crate) const CAP_MSI: u8 = 0x05;
pub(crate) const CAP_PCIX: u8 = 0x07;
pub(crate) const CAP_HT: u8 = 0x08;
pub(crate) const CAP_VENDOR: u8 = 0x09;
pub(crate) const CAP_EXPRESS: u8 = 0x10;
pub(crate) const CAP_MSIX: u8 = 0x11;
pub(crate) const CAP_SATA: u8 = 0x12;
pub(crate) const CAP_AF: u8 = 0x13;
const EXTENDED_CAP_ERR: u16 = 0x01;

pub(crate) const MSI_FLAGS: u16 = 2;
pub(crate) const MSI_FLAGS_ENABLE: u16 = 1 << 0;
pub(crate) const MSI_FLAGS_QSIZE: u16 = 7 << 4;
pub(crate) const MSI_FLAGS_64BIT: u16 = 1 << 7;
pub(crate) const MSI_FLAGS_MASKBIT: u16 = 1 << 8;
pub(crate) const MSIX_FLAGS: u16 = 2;
pub(crate) const MSIX_FLAGS_QSIZE: u16 = 0x7ff;
pub(crate) const MSIX_TABLE: u16 = 4;

impl dyn Function + '_ {
    /// A byte; all ones past the end, which a capability may seem to go beyond.
    pub(crate) fn byte(&mut self, offset: u16) -> u8 {
        if usize::from(offset) >= self.config_size() {
            return 0xff;
        }
        self.read_config(offset, Width::Byte) as u8
    }

    /// The 16 bits at an offset that may be odd, if a capability is.
    pub(crate) fn word(&mut self, offset: u16) -> u16 {
        u16::from_le_bytes([self.byte(offset), self.byte(offset.wrapping_add(1))])
    }

    /// The 32 bits at an offset that may be unaligned, if a capability is.
    pub(crate) fn dword(&mut self, offset: u16) -> u32 {
        if offset & 3 == 0 && usize::from(offset) < self.config_size() {
            return self.read_config(offset, Width::Dword);
        }
        u32::from(self.word(offset)) | u32::from(self.word(offset.wrapping_add(2))) << 16
    }

    /// Writes 16 bits, if they are where a register can be.
    pub(crate) fn set_word(&mut self, offset: u16, value: u16) {
        if offset & 1 == 0 && usize::from(offset) < self.config_size() {
            self.write_config(offset, Width::Word, u32::from(value));
        }
    }

    pub(crate) fn command(&mut self) -> u16 {
        self.read_config(COMMAND, Width::Word) as u16
    }

    /// Writes the command register, unless it is so already.
    pub(crate) fn set_command(&mut self, command: u16) {
        if self.command() != command {
            self.set_word(COMMAND, command);
        }
    }

    /// No more DMA (`pci_clear_master`).
    pub(crate) fn clear_master(&mut self) {
        let command = self.command() & !COMMAND_MASTER;
        self.set_command(command);
    }

    /// Lets INTx through or not (`pci_intx`).
    pub(crate) fn let_intx(&mut self, through: bool) {
        let command = self.command() & !COMMAND_INTX_DISABLE;
        self.set_command(if through { command } else { command | COMMAND_INTX_DISABLE });
    }

    /// If INTx is pending, stops it (`pci_check_and_mask_intx`); whether it was.
    pub(crate) fn check_and_mask_intx(&mut self) -> bool {
        let pending = self.read_config(STATUS, Width::Word) as u16 & STATUS_INTERRUPT != 0;
        if pending {
            self.let_intx(false);
        }
        pending
    }

    /// Unless INTx is pending, lets it through (`pci_check_and_unmask_intx`); whether it isn't.
    pub(crate) fn check_and_unmask_intx(&mut self) -> bool {
        let pending = self.read_config(STATUS, Width::Word) as u16 & STATUS_INTERRUPT != 0;
        if !pending {
            self.let_intx(true);
        }
        !pending
    }

    /// Whether the command register can stop INTx (`pci_intx_mask_supported`): a device of PCI 2.3 or later.
    pub(crate) fn can_mask_intx(&mut self) -> bool {
        let before = self.command();
        self.set_word(COMMAND, before ^ COMMAND_INTX_DISABLE);
        let after = self.command();
        self.set_word(COMMAND, before);
        before ^ after == COMMAND_INTX_DISABLE
    }

    /// Where a capability is (`pci_find_capability`).
    pub(crate) fn find_capability(&mut self, id: u8) -> Option<u16> {
        if self.word(STATUS) & STATUS_CAP_LIST == 0 {
            return None;
        }
        let mut position = self.byte(CAPABILITIES) & !3;
        for _ in 0..48 {
            if position < 0x40 {
                return None;
            }
            let at = u16::from(position);
            match self.byte(at) {
                0xff => return None,
                found if found == id => return Some(at),
                _ => position = self.byte(at.wrapping_add(1)) & !3,
            }
        }
        None
    }

    /// Where an extended capability is (`pci_find_ext_capability`).
    fn find_extended_capability(&mut self, id: u16) -> Option<u16> {
        let mut at = EXTENDED;
        for _ in 0..480 {
            if at < EXTENDED || usize::from(at) >= self.config_size() {
                return None;
            }
            let header = self.dword(at);
            if header == 0 {
                return None;
            }
            if header as u16 == id {
                return Some(at);
            }
            at = (header >> 20) as u16 & 0xffc;
        }
        None
    }
}

/// Registers that the PCI core saves and restores around a reset (`pci_save_state`).
#[derive(Debug)]
pub(crate) struct SavedState(Vec<(u16, Width, u32)>);

impl SavedState {
    pub(crate) fn of(function: &mut dyn Function) -> Self {
        let mut places = Vec::new();
        // The command register comes last but for what can't be written, so that BARs decode nothing on their way.
        places.extend((0..HEADER_SIZE).step_by(4).rev().map(|at| (at, Width::Dword)));
        let words = [
            (CAP_EXPRESS, &[0x08, 0x10, 0x28, 0x30][..]),
            (CAP_PCIX, &[2]),
            (CAP_MSI, &[MSI_FLAGS]),
            (CAP_MSIX, &[MSIX_FLAGS]),
        ];
        for (id, offsets) in words {
            let Some(at) = function.find_capability(id) else { continue };
            let is_short = id == CAP_EXPRESS && function.word(at.wrapping_add(2)) & 0xf < 2;
            let offsets = offsets.iter().take(if is_short { 2 } else { offsets.len() });
            places.extend(offsets.map(|offset| (at.wrapping_add(*offset), Width::Word)));
        }
        if let Some(at) = function.find_extended_capability(EXTENDED_CAP_ERR) {
            let offsets = [0x08, 0x0c, 0x14, 0x18];
            places.extend(offsets.map(|offset: u16| (at.wrapping_add(offset), Width::Dword)));
        }
        let size = function.config_size();
        places.retain(|(at, width)| usize::from(*at).saturating_add(width.bytes()) <= size);
        Self(places.into_iter().map(|(at, width)| (at, width, function.read_config(at, width))).collect())
    }

    pub(crate) fn restore(&self, function: &mut dyn Function) {
        for (at, width, value) in &self.0 {
            if function.read_config(*at, *width) != *value {
                function.write_config(*at, *width, *value);
            }
        }
    }
}

/// Resets a function alone, and restores its registers (`pci_reset_function`).
pub(crate) fn reset(function: &mut dyn Function) {
    let saved = SavedState::of(function);
    function.set_word(COMMAND, COMMAND_INTX_DISABLE);
    function.reset();
    saved.restore(function);
}
