//! What a program may do to each byte of configuration space: which bits it sees a copy of, and which it can write.

use alloc::vec;
use alloc::vec::Vec;

use crate::function::Function;

/// Capabilities, by their numbers.
const POWER_MANAGEMENT: u8 = 0x01;
const MSI: u8 = 0x05;
const VENDOR_SPECIFIC: u8 = 0x09;
const PCI_EXPRESS: u8 = 0x10;
const MSIX: u8 = 0x11;
const ADVANCED_FEATURES: u8 = 0x13;
/// Those that Linux knows the lengths of, in bytes; 0 for one that says so itself. Others are hidden.
const LENGTHS: &[(u8, usize)] = &[
    (POWER_MANAGEMENT, 8),
    (0x02, 12),
    (0x03, 8),
    (MSI, 0),
    (0x07, 8),
    (VENDOR_SPECIFIC, 0),
    (PCI_EXPRESS, 0),
    (MSIX, 12),
    (0x12, 8),
    (ADVANCED_FEATURES, 6),
];
/// Extended capabilities' header, and that of advanced error reporting.
const EXTENDED: usize = 0x100;
const ERRORS: u32 = 1;
/// The longest chain that is followed.
const MOST: usize = 480;

/// Whose a byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Nobody's: it is as the hardware has it.
    Nobody,
    Header,
    /// That of the capability that starts there.
    Capability {
        start: u16,
        id: u16,
    },
}

/// Of each byte: its owner, which bits are those of the copy, and which can be written.
pub(crate) struct Permissions {
    pub(crate) owners: Vec<Owner>,
    pub(crate) copied: Vec<u8>,
    pub(crate) writable: Vec<u8>,
    /// Where the capabilities are that the driver has a part in.
    pub(crate) msi: Option<usize>,
    pub(crate) power: Option<usize>,
    pub(crate) express: Option<usize>,
}

impl Permissions {
    /// Finds out what a function has (`vfio_config_init`), and fills `copy`, the program's copy of it.
    pub(crate) fn of(function: &dyn Function, copy: &mut [u8]) -> Self {
        let size = function.config_size();
        let mut permissions = Self {
            owners: vec![Owner::Nobody; size],
            copied: vec![0; size],
            writable: vec![0xff; size],
            msi: None,
            power: None,
            express: None,
        };
        permissions.add_header(function, copy);
        permissions.add_capabilities(function, copy);
        if size > EXTENDED {
            permissions.add_extended(function, copy);
        }
        permissions
    }

    fn add_header(&mut self, function: &dyn Function, copy: &mut [u8]) {
        self.own(function, copy, 0, 0x40, Owner::Header);
        for (offset, copied, writable) in [
            // Vendor and device.
            (0x00, &[0xff; 4][..], &[0; 4][..]),
            // The command: only what disables the pin is the program's alone.
            (0x04, &[0, 0x04], &[0xff, 0xff]),
            // Cache line size, latency timer, and self test.
            (0x0c, &[0, 0], &[0xff, 0xff]),
            (0x0f, &[0], &[0xff]),
            // BARs, and the ROM's.
            (0x10, &[0xff; 24], &[0xff; 24]),
            (0x30, &[0xff; 4], &[0xff; 4]),
            (0x34, &[0xff], &[0]),
            // Interrupt line and pin.
            (0x3c, &[0xff, 0xff], &[0xff, 0]),
        ] {
            self.permit(offset, copied, writable);
        }
    }

    fn add_capabilities(&mut self, function: &dyn Function, copy: &mut [u8]) {
        if function.read_config(6, 2) & 0x10 == 0 {
            return;
        }
        let mut link = 0x34;
        let mut at = function.read_config(link, 1) as usize & 0xfc;
        let mut has_any = false;
        for _ in 0..MOST {
            if at < 0x40 || self.owners.get(at) != Some(&Owner::Nobody) {
                break;
            }
            let id = function.read_config(at, 1) as u8;
            let next = function.read_config(at.saturating_add(1), 1) as usize & 0xfc;
            match length(function, at, id) {
                Some(length) => {
                    let owner = Owner::Capability { start: at as u16, id: id.into() };
                    self.own(function, copy, at, length, owner);
                    set(copy, link, at as u8);
                    link = at.saturating_add(1);
                    set(copy, link, next as u8);
                    self.add_capability(function, copy, at, id);
                    has_any = true;
                }
                // Hidden: the one before points past it.
                None => set(copy, link, next as u8),
            }
            at = next;
        }
        if !has_any && let Some(status) = copy.get_mut(6) {
            *status &= !0x10;
        }
    }

    fn add_capability(&mut self, function: &dyn Function, copy: &mut [u8], at: usize, id: u8) {
        // Its number, and where the next one is.
        self.permit(at, &[0xff, 0xff], &[0, 0]);
        let behind = |bytes: usize| at.saturating_add(bytes);
        match id {
            POWER_MANAGEMENT => {
                self.power = Some(at);
                // Programs can't be told of power management events: they see none, and can't ask for any.
                self.permit(behind(2), &[0, 0xf8], &[0, 0]);
                self.permit(behind(4), &[0, 0x81, 0, 0], &[0xfc, 0x7e, 0xff, 0xff]);
                for (offset, kept) in [(behind(3), 0x07), (behind(5), 0x7e)] {
                    if let Some(byte) = copy.get_mut(offset) {
                        *byte &= kept;
                    }
                }
            }
            MSI => {
                self.msi = Some(at);
                let control = function.read_config(behind(2), 2);
                self.permit(behind(2), &[0xff; 6], &[0xff; 6]);
                let wide = control & 0x80 != 0;
                self.permit(behind(8), &[0xff; 2], &[0xff; 2]);
                if wide {
                    self.permit(behind(8), &[0xff; 6], &[0xff; 6]);
                }
                if control & 0x100 != 0 {
                    self.permit(behind(if wide { 16 } else { 12 }), &[0; 8], &[0xff; 8]);
                }
            }
            PCI_EXPRESS => {
                self.express = Some(at);
                // Device control: resetting, payload and read request sizes are the driver's; no phantom functions.
                self.permit(behind(8), &[0xe0, 0xf0], &[0xff, 0xfd]);
                if function.read_config(behind(2), 2) & 0xf >= 2 {
                    self.permit(behind(0x28), &[0, 0], &[0xdf, 0xff]);
                }
            }
            ADVANCED_FEATURES => self.permit(behind(4), &[0x01], &[0x01]),
            VENDOR_SPECIFIC => self.permit_all(at, function.read_config(behind(2), 1) as usize),
            _ => {}
        }
    }

    fn add_extended(&mut self, function: &dyn Function, copy: &mut [u8]) {
        let mut at = EXTENDED;
        let size = function.config_size();
        for _ in 0..MOST {
            let header = function.read_config(at, 4);
            if header == 0 || header == u32::MAX || self.owners.get(at) != Some(&Owner::Nobody) {
                return;
            }
            let next = (header >> 20) as usize & 0xffc;
            let id = header & 0xffff;
            let known = match id {
                ERRORS => 0x48,
                3 => 12,
                4 => 16,
                0x0e | 0x0f | 0x1b => 8,
                0x1e => 16,
                0x0b => ((function.read_config(at.saturating_add(4), 4) >> 20) as usize).max(8),
                _ => 4,
            };
            let end = if next > at { next } else { size };
            let owner = Owner::Capability { start: at as u16, id: (id as u16) | 0x8000 };
            self.own(function, copy, at, known.min(end.saturating_sub(at)), owner);
            self.permit(at, &[0xff; 4], &[0; 4]);
            if id == ERRORS {
                // What has happened is cleared by writing 1; what is masked, and how severe it is.
                let uncorrectable = [0x10, 0xf0, 0xff, 0x03];
                for offset in [4, 8, 12] {
                    self.permit(at.saturating_add(offset), &[0; 4], &uncorrectable);
                }
                for offset in [16, 20] {
                    self.permit(at.saturating_add(offset), &[0; 4], &[0xc1, 0xf1, 0, 0]);
                }
                self.permit(at.saturating_add(24), &[0; 4], &[0x40, 0x01, 0, 0]);
            }
            if next < EXTENDED {
                return;
            }
            at = next;
        }
    }

    /// Bytes are somebody's: nothing of them can be written unless that is said, and the copy has what they hold.
    fn own(&mut self, function: &dyn Function, copy: &mut [u8], at: usize, length: usize, owner: Owner) {
        for offset in at..at.saturating_add(length).min(self.owners.len()) {
            if let (Some(known), Some(writable)) =
                (self.owners.get_mut(offset), self.writable.get_mut(offset))
            {
                *known = owner;
                *writable = 0;
            }
            set(copy, offset, function.read_config(offset, 1) as u8);
        }
    }

    fn permit(&mut self, at: usize, copied: &[u8], writable: &[u8]) {
        for (place, (copied, writable)) in copied.iter().zip(writable).enumerate() {
            let offset = at.saturating_add(place);
            if let (Some(known), Some(can)) = (self.copied.get_mut(offset), self.writable.get_mut(offset)) {
                *known = *copied;
                *can = *writable;
            }
        }
    }

    /// A vendor's own capability is written as it likes, but for its header.
    fn permit_all(&mut self, at: usize, length: usize) {
        for offset in at.saturating_add(3)..at.saturating_add(length) {
            if let Some(writable) = self.writable.get_mut(offset) {
                *writable = 0xff;
            }
        }
    }
}

/// How long a capability is, in bytes; `None` if it is to be hidden.
fn length(function: &dyn Function, at: usize, id: u8) -> Option<usize> {
    let (_, length) = LENGTHS.iter().find(|(known, _)| *known == id)?;
    let read = |offset: usize| function.read_config(at.saturating_add(offset), 2);
    Some(match id {
        MSI => {
            let control = read(2);
            let address = if control & 0x80 != 0 { 4 } else { 0 };
            let mask = if control & 0x100 != 0 { 10 } else { 0 };
            usize::saturating_add(10, address).saturating_add(mask)
        }
        VENDOR_SPECIFIC => ((read(2) & 0xff) as usize).max(3),
        PCI_EXPRESS if read(2) & 0xf >= 2 => 0x3c,
        PCI_EXPRESS => 0x14,
        _ => *length,
    })
}

fn set(copy: &mut [u8], offset: usize, value: u8) {
    if let Some(byte) = copy.get_mut(offset) {
        *byte = value;
    }
}
