//! Which capability is where: the map of configuration space, and the chains that programs see (`vfio_cap_init`,
//! `vfio_ecap_init`).

use crate::Function;
use crate::config::Config;
use crate::hardware::{
    CAP_AF, CAP_EXPRESS, CAP_HT, CAP_MSI, CAP_MSIX, CAP_PCIX, CAP_PM, CAP_SATA, CAP_VENDOR, CAP_VPD,
    CAPABILITIES, EXTENDED, HEADER_SIZE, MSI_FLAGS, MSI_FLAGS_64BIT, MSI_FLAGS_MASKBIT, STATUS,
    STATUS_CAP_LIST,
};
use crate::permissions;

pub(crate) const EXT_ERR: u8 = 0x01;
const EXT_VC: u8 = 0x02;
const EXT_DSN: u8 = 0x03;
pub(crate) const EXT_POWER_BUDGET: u8 = 0x04;
const EXT_MFVC: u8 = 0x08;
const EXT_VC9: u8 = 0x09;
pub(crate) const EXT_VENDOR: u8 = 0x0b;
const EXT_ACS: u8 = 0x0d;
const EXT_ARI: u8 = 0x0e;
const EXT_ATS: u8 = 0x0f;
const EXT_SRIOV: u8 = 0x10;
const EXT_MULTICAST: u8 = 0x12;
const EXT_PRI: u8 = 0x13;
const EXT_REBAR: u8 = 0x15;
const EXT_DPA: u8 = 0x16;
const EXT_TPH: u8 = 0x17;
const EXT_LTR: u8 = 0x18;
pub(crate) const EXT_DVSEC: u8 = 0x23;

/// The least room that a capability takes (`PCI_CAP_SIZEOF`).
const LEAST: usize = 4;

/// How many bytes a capability has; 0 for one that programs don't see.
fn length(config: &mut Config, function: &mut dyn Function, id: u8, at: u16) -> u16 {
    let field = |offset: u16| at.saturating_add(offset);
    match id {
        CAP_PM | CAP_VPD => 8,
        0x02 | CAP_MSIX => 12, // AGP
        CAP_AF => 6,
        CAP_MSI => {
            let flags = function.word(field(MSI_FLAGS));
            if config.msi.is_empty() {
                config.msi = permissions::msi(flags);
            }
            let wide: u16 = if flags & MSI_FLAGS_64BIT != 0 { 4 } else { 0 };
            let maskable: u16 = if flags & MSI_FLAGS_MASKBIT != 0 { 10 } else { 0 };
            wide.saturating_add(maskable).saturating_add(10)
        }
        CAP_PCIX if function.word(field(2)) >> 12 & 3 != 0 => {
            config.note_extended(function);
            24
        }
        CAP_PCIX => 8,
        CAP_VENDOR => u16::from(function.byte(field(2))),
        CAP_EXPRESS => {
            config.note_extended(function);
            let flags = function.word(field(2));
            let is_integrated = flags >> 4 & 0xf == 9;
            match (flags & 0xf == 1, is_integrated) {
                (true, true) => 12,
                (true, false) => 20,
                (false, _) => 44,
            }
        }
        CAP_HT if function.byte(field(3)) & 0xe0 != 0 => 24,
        CAP_HT => 28,
        CAP_SATA if function.byte(field(4)) & 0xf == 0xf => 16,
        CAP_SATA => 8,
        _ => 0,
    }
}

/// How many bytes an extended capability has; 0 for one that programs don't see.
fn extended_length(function: &mut dyn Function, id: u16, at: u16) -> u16 {
    let field = |offset: u16| at.saturating_add(offset);
    let Ok(id) = u8::try_from(id) else { return 0 };
    match id {
        EXT_ERR => 0x2c,
        EXT_DSN => 12,
        EXT_POWER_BUDGET | EXT_PRI => 16,
        EXT_ARI | EXT_ATS | EXT_LTR => 8,
        EXT_SRIOV => 64,
        EXT_MULTICAST => 40,
        EXT_VENDOR | EXT_DVSEC => (function.dword(field(4)) >> 20) as u16,
        EXT_VC | EXT_VC9 | EXT_MFVC => {
            let more = (function.dword(field(4)) & 7) as u16;
            let arbitration = function.dword(field(8));
            let channels = more.saturating_add(1).saturating_mul(12).saturating_add(16);
            let table: u16 = match arbitration {
                bits if bits & 8 != 0 => 64,
                bits if bits & 4 != 0 => 32,
                bits if bits & 2 != 0 => 16,
                _ => return channels,
            };
            channels.next_multiple_of(16).saturating_add(table)
        }
        EXT_ACS if function.byte(field(4)) & 0x20 != 0 => match function.byte(field(5)) {
            0 => 8 + 32,
            bits => (u16::from(bits).next_multiple_of(32) >> 3).saturating_add(8),
        },
        EXT_ACS => 8,
        EXT_REBAR => (u16::from(function.byte(field(8))) >> 5).saturating_mul(8).saturating_add(4),
        EXT_DPA => u16::from(function.byte(field(4)) & 0x1f).saturating_add(17),
        EXT_TPH => match function.dword(field(4)) {
            bits if bits & 0x600 == 0x200 => {
                ((bits >> 16) as u16 & 0x7ff).saturating_mul(2).saturating_add(14)
            }
            _ => 12,
        },
        _ => 0,
    }
}

/// Finds capabilities; those that programs don't see are taken out of the chain.
pub(crate) fn find(config: &mut Config, function: &mut dyn Function) {
    if function.word(STATUS) & STATUS_CAP_LIST == 0 {
        return;
    }
    let mut previous = CAPABILITIES;
    let mut position = function.byte(CAPABILITIES);
    let mut any = false;
    for _ in (HEADER_SIZE..EXTENDED).step_by(LEAST) {
        if position == 0 {
            break;
        }
        let at = u16::from(position);
        // A chain that leads past the end is at its end.
        let next = if at < EXTENDED.saturating_sub(1) { function.byte(at.saturating_add(1)) } else { 0 };
        let id = function.byte(at);
        let length = length(config, function, id, at);
        if length == 0 {
            config.set_byte(previous, next);
        } else {
            config.take(function, id, at, length);
            if id == CAP_PM {
                config.hide_pme(at);
            }
            previous = at.saturating_add(1);
            any = true;
        }
        position = next;
    }
    if !any {
        let status = config.word(STATUS) & !STATUS_CAP_LIST;
        config.set_word(STATUS, status);
    }
}

/// Finds extended capabilities. The first can't be taken out of the chain: if programs don't see it, it has no id.
pub(crate) fn find_extended(config: &mut Config, function: &mut dyn Function) {
    if !config.is_extended {
        return;
    }
    let mut previous = None;
    let mut at = EXTENDED;
    let mut any = false;
    for _ in (usize::from(EXTENDED)..config.size()).step_by(LEAST) {
        if at < EXTENDED {
            break;
        }
        let header = function.dword(at);
        let id = header as u16;
        let next = (header >> 20) as u16 & 0xffc;
        let length = extended_length(function, id, at);
        match (length, previous) {
            (0, Some(before)) => {
                let kept = config.dword(before) & 0x003f_ffff;
                config.set_dword(before, kept | u32::from(next) << 20);
            }
            (0, None) => {
                config.take(function, id as u8, at, LEAST as u16);
                let kept = config.dword(at) & 0xffc0_0000;
                config.set_dword(at, kept);
                previous = Some(at);
            }
            _ => {
                config.take(function, id as u8, at, length);
                any = true;
                previous = Some(at);
            }
        }
        at = next;
    }
    if !any {
        config.set_dword(EXTENDED, 0);
    }
}
