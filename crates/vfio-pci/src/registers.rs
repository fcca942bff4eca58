//! Writes to configuration space that do something: the `writefn`s of `struct perm_bits`.

use crate::capabilities::{EXT_DVSEC, EXT_ERR, EXT_POWER_BUDGET, EXT_VENDOR};
use crate::config::{Part, Place};
use crate::device::Open;
use crate::hardware::{
    CAP_AF, CAP_EXPRESS, CAP_MSI, CAP_PCIX, CAP_PM, CAP_VENDOR, CAP_VPD, COMMAND, COMMAND_INTX_DISABLE,
    COMMAND_IO, COMMAND_MEMORY, MSI_FLAGS, MSI_FLAGS_ENABLE, MSI_FLAGS_QSIZE,
};
use crate::{Function, Messages};

/// PCI Express: device capabilities, and control.
const EXPRESS_DEVCAP: u16 = 4;
const DEVCAP_FLR: u32 = 1 << 28;
const EXPRESS_DEVCTL: u16 = 8;
const DEVCTL_FLR: u16 = 1 << 15;
const DEVCTL_READRQ: u16 = 7 << 12;
/// Advanced features: capabilities, and control.
const AF_CAP: u16 = 3;
const AF_CAP_TP_AND_FLR: u8 = 0b11;
const AF_CTRL: u16 = 4;
const AF_CTRL_FLR: u8 = 1;
/// Vital product data: the address, with a bit that says which way, and the data.
const VPD_ADDRESS: u16 = 2;
const VPD_ADDRESS_F: u16 = 1 << 15;
const VPD_DATA: u16 = 4;
/// Power management: control and status.
const PM_CONTROL: u16 = 4;

/// Whether programs can write there at all: else what they write isn't even fetched.
pub(crate) fn is_writable(place: &Place) -> bool {
    match place.part {
        Part::Header | Part::Unassigned => true,
        Part::Capability(id) => {
            matches!(id, CAP_PM | CAP_VPD | CAP_MSI | CAP_PCIX | CAP_VENDOR | CAP_EXPRESS | CAP_AF)
        }
        Part::Extended(id) => {
            matches!(id, EXT_ERR | EXT_POWER_BUDGET | EXT_VENDOR | EXT_DVSEC)
        }
    }
}

impl Open {
    /// Does one write to configuration space; whether the function was reset by it.
    pub(crate) fn write_register(&mut self, function: &mut dyn Function, place: &Place, value: u32) -> bool {
        match place.part {
            Part::Unassigned | Part::Capability(CAP_VENDOR) | Part::Extended(EXT_VENDOR | EXT_DVSEC) => {
                function.write_config(place.at, place.width, value);
            }
            Part::Header => self.write_header(function, place, value),
            Part::Capability(CAP_PM) => {
                self.config.write(function, place, value);
                if place.offset == PM_CONTROL {
                    self.set_power_state(function, value as u8 & 3);
                }
            }
            Part::Capability(CAP_VPD) => self.write_vpd(function, place, value),
            Part::Capability(CAP_MSI) => self.write_msi(function, place, value),
            Part::Capability(CAP_EXPRESS) => return self.write_express(function, place, value),
            Part::Capability(CAP_AF) => return self.write_af(function, place, value),
            Part::Capability(_) | Part::Extended(_) => self.config.write(function, place, value),
        }
        false
    }

    /// The header (`vfio_basic_config_write`).
    fn write_header(&mut self, function: &mut dyn Function, place: &Place, value: u32) {
        if place.at == COMMAND {
            // Enabled for all that the program knows, but not in the hardware: something has reset the device.
            let lost = self.config.word(COMMAND) & !function.command() & value as u16;
            let watched = if self.is_virtual { COMMAND_IO } else { COMMAND_MEMORY | COMMAND_IO };
            if lost & watched != 0 || self.config.bars_are_lost(function) {
                self.config.restore_bars(function);
                if self.hides_intx {
                    function.let_intx(false);
                }
            }
        }
        self.config.write(function, place, value);
        if place.at == COMMAND {
            let enables = COMMAND_MEMORY | COMMAND_IO;
            let kept = self.config.word(COMMAND) & !enables;
            self.config.set_word(COMMAND, kept | value as u16 & enables);
        }
        if (COMMAND..COMMAND.saturating_add(2)).contains(&place.at) {
            let disabled = self.config.word(COMMAND) & COMMAND_INTX_DISABLE != 0;
            if disabled != self.intx_disabled {
                self.intx_disabled = disabled;
                if disabled { self.mask_intx(function) } else { self.unmask_intx(function) }
            }
        }
    }

    /// MSI: it is enabled by another way, with as many vectors as were enabled then.
    fn write_msi(&mut self, function: &mut dyn Function, place: &Place, value: u32) {
        self.config.write(function, place, value);
        let end = place.offset.saturating_add(place.width.bytes() as u16);
        if place.offset > MSI_FLAGS || end < MSI_FLAGS {
            return;
        }
        let at = place.register(MSI_FLAGS);
        let mut flags = self.config.word(at);
        if !self.uses(Messages::Msi) {
            flags &= !MSI_FLAGS_ENABLE;
        }
        if (flags & MSI_FLAGS_QSIZE) >> 4 > self.msi_qmax {
            flags = flags & !MSI_FLAGS_QSIZE | self.msi_qmax << 4;
        }
        self.config.set_word(at, flags);
        function.set_word(at, flags);
    }

    /// PCI Express: FLR, and the largest read request, which is never less than the hardware's payload.
    fn write_express(&mut self, function: &mut dyn Function, place: &Place, value: u32) -> bool {
        let control = place.register(EXPRESS_DEVCTL);
        let before = self.config.word(control) & DEVCTL_READRQ;
        self.config.write(function, place, value);
        let mut is_reset = false;
        if self.config.word(control) & DEVCTL_FLR != 0 {
            let kept = self.config.word(control) & !DEVCTL_FLR;
            self.config.set_word(control, kept);
            is_reset =
                function.dword(place.register(EXPRESS_DEVCAP)) & DEVCAP_FLR != 0 && function.can_reset();
            if is_reset {
                self.reset_awake(function);
            }
        }
        let wanted = self.config.word(control) & DEVCTL_READRQ;
        if wanted != before {
            let hardware = function.word(control);
            let request = (wanted >> 12).max(hardware >> 5 & 7);
            // 4096 bytes is the most that there is.
            if request <= 5 {
                function.set_word(control, hardware & !DEVCTL_READRQ | request << 12);
            }
        }
        is_reset
    }

    /// Advanced features: FLR.
    fn write_af(&mut self, function: &mut dyn Function, place: &Place, value: u32) -> bool {
        self.config.write(function, place, value);
        let control = place.register(AF_CTRL);
        let virt = self.config.word(control) as u8;
        if virt & AF_CTRL_FLR == 0 {
            return false;
        }
        self.config.set_byte(control, virt & !AF_CTRL_FLR);
        let able = function.byte(place.register(AF_CAP)) & AF_CAP_TP_AND_FLR == AF_CAP_TP_AND_FLR;
        let is_reset = able && function.can_reset();
        if is_reset {
            self.reset_awake(function);
        }
        is_reset
    }

    /// Vital product data: a write of the upper half of the address transfers 4 bytes, and turns its bit over when done.
    fn write_vpd(&mut self, function: &mut dyn Function, place: &Place, value: u32) {
        self.config.write(function, place, value);
        let end = place.offset.saturating_add(place.width.bytes() as u16);
        if place.offset > VPD_ADDRESS + 1 || end <= VPD_ADDRESS + 1 {
            return;
        }
        let (at, data) = (place.register(VPD_ADDRESS), place.register(VPD_DATA));
        let address = self.config.word(at);
        if address & VPD_ADDRESS_F != 0 {
            if !function.write_vpd(address & !VPD_ADDRESS_F, self.config.dword(data)) {
                return;
            }
        } else {
            let Some(read) = function.read_vpd(address) else { return };
            self.config.set_dword(data, read);
        }
        self.config.set_word(at, address ^ VPD_ADDRESS_F);
    }
}
