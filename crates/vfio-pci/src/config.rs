//! Configuration space as a program sees it: a map of what is where, and a virtual copy of what isn't the hardware's.

use alloc::vec::Vec;

use crate::capabilities::{self, EXT_ERR, EXT_POWER_BUDGET};
use crate::hardware::{
    BARS, CAP_AF, CAP_EXPRESS, CAP_MSI, CAP_PCIX, CAP_PM, CAP_VPD, COMMAND, COMMAND_MEMORY, DEVICE_ID,
    EXTENDED, HEADER_SIZE, INTERRUPT_PIN, ROM, VENDOR_ID,
};
use crate::permissions::{self, Field};
use crate::{BarKind, Function, Role, Width};

/// In the map: the header's bytes, and those that are of no capability.
const HEADER: u8 = 0;
const UNASSIGNED: u8 = 0xff;

/// What a part of configuration space is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Header,
    /// Read and written as it is: some devices hide registers between capabilities.
    Unassigned,
    Capability(u8),
    Extended(u8),
}

/// One access: aligned, and within one capability.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) at: u16,
    pub(crate) width: Width,
    pub(crate) part: Part,
    /// Where it is in its capability.
    pub(crate) offset: u16,
}

impl Place {
    /// The register that is so far into the capability.
    pub(crate) fn register(&self, offset: u16) -> u16 {
        self.at.saturating_sub(self.offset).saturating_add(offset)
    }

    /// Which bits are virtual, and which can be written; `None` where there is no virtual copy but of the chain.
    fn fields(&self, config: &Config) -> Option<&'static [Field]> {
        Some(match self.part {
            Part::Header => permissions::HEADER,
            Part::Capability(CAP_PM) => permissions::PM,
            Part::Capability(CAP_VPD) => permissions::VPD,
            Part::Capability(CAP_MSI) => config.msi,
            Part::Capability(CAP_PCIX) => permissions::PCIX,
            Part::Capability(CAP_EXPRESS) => permissions::EXPRESS,
            Part::Capability(CAP_AF) => permissions::AF,
            Part::Extended(EXT_ERR) => permissions::ERR,
            Part::Extended(EXT_POWER_BUDGET) => permissions::POWER_BUDGET,
            Part::Unassigned | Part::Capability(_) | Part::Extended(_) => return None,
        })
    }
}

/// A device's configuration space.
#[derive(Debug)]
pub(crate) struct Config {
    /// For each byte the id of its capability.
    map: Vec<u8>,
    virt: Vec<u8>,
    /// What the MSI capability's bits are; nothing before it was found.
    pub(crate) msi: &'static [Field],
    /// There are extended capabilities.
    pub(crate) is_extended: bool,
    /// The hardware's BARs and ROM, to be restored after a reset behind the driver's back.
    bars: [u32; 7],
    is_virtual: bool,
}

impl Config {
    /// `vfio_config_init`.
    pub(crate) fn new(function: &mut dyn Function, role: &Role, hides_intx: bool) -> Self {
        let size = if function.config_size() > usize::from(EXTENDED) { 4096 } else { 256 };
        let mut config = Self {
            map: alloc::vec![UNASSIGNED; size],
            virt: alloc::vec![0; size],
            msi: &[],
            is_extended: false,
            bars: [0; 7],
            is_virtual: matches!(role, Role::Virtual { .. }),
        };
        config.take(function, HEADER, 0, HEADER_SIZE);
        for (bar, at) in config.bars.iter_mut().zip((BARS..).step_by(4).take(6).chain([ROM])) {
            *bar = function.dword(at);
        }
        if let Role::Virtual { vendor, device } = *role {
            config.set_word(VENDOR_ID, vendor);
            config.set_word(DEVICE_ID, device);
            let command = config.word(COMMAND) | COMMAND_MEMORY;
            config.set_word(COMMAND, command);
        }
        if hides_intx || config.is_virtual {
            config.set_byte(INTERRUPT_PIN, 0);
        }
        capabilities::find(&mut config, function);
        capabilities::find_extended(&mut config, function);
        config
    }

    pub(crate) fn size(&self) -> usize {
        self.map.len()
    }

    /// Some bytes are of a capability; the virtual copy of them is the hardware's.
    pub(crate) fn take(&mut self, function: &mut dyn Function, id: u8, at: u16, length: u16) {
        for at in at..at.saturating_add(length) {
            let Some(entry) = self.map.get_mut(usize::from(at)) else { return };
            *entry = id;
            let byte = function.byte(at);
            self.set_byte(at, byte);
        }
    }

    /// Whether the first extended capability is there.
    pub(crate) fn note_extended(&mut self, function: &mut dyn Function) {
        if self.size() > usize::from(EXTENDED) {
            self.is_extended = function.dword(EXTENDED) != 0;
        }
    }

    /// No PME for programs: what says so is virtual, and 0.
    pub(crate) fn hide_pme(&mut self, at: u16) {
        let (capable, control) = (at.saturating_add(2), at.saturating_add(4));
        self.set_word(capable, self.word(capable) & !0xf800);
        self.set_word(control, self.word(control) & !0x8100);
    }

    /// Of the virtual copy; 0 past its end.
    pub(crate) fn get(&self, at: u16, width: Width) -> u32 {
        let bytes = self.virt.get(usize::from(at)..).unwrap_or_default();
        bytes.iter().take(width.bytes()).rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
    }

    pub(crate) fn set(&mut self, at: u16, width: Width, value: u32) {
        let bytes = self.virt.get_mut(usize::from(at)..).unwrap_or_default();
        for (to, from) in bytes.iter_mut().zip(value.to_le_bytes()).take(width.bytes()) {
            *to = from;
        }
    }

    pub(crate) fn word(&self, at: u16) -> u16 {
        self.get(at, Width::Word) as u16
    }

    pub(crate) fn dword(&self, at: u16) -> u32 {
        self.get(at, Width::Dword)
    }

    pub(crate) fn set_byte(&mut self, at: u16, value: u8) {
        self.set(at, Width::Byte, u32::from(value));
    }

    pub(crate) fn set_word(&mut self, at: u16, value: u16) {
        self.set(at, Width::Word, u32::from(value));
    }

    pub(crate) fn set_dword(&mut self, at: u16, value: u32) {
        self.set(at, Width::Dword, value);
    }

    /// The next access of one that starts here and has so many bytes, which lie within the size (`vfio_config_do_rw`).
    pub(crate) fn place(&self, at: u16, count: usize) -> Place {
        let id = |at: u16| self.map.get(usize::from(at)).copied();
        let here = id(at);
        let same = |at: &u16| at & 3 != 0 && id(*at) == here;
        let rest = (at.saturating_add(1)..).take_while(same).count().saturating_add(1);
        let width = Width::widest(u64::from(at), count.min(rest));
        let (part, base) = match here {
            Some(HEADER) if at < HEADER_SIZE => (Part::Header, 0),
            None | Some(UNASSIGNED) => (Part::Unassigned, at),
            Some(cap) if at >= EXTENDED => (Part::Extended(cap), EXTENDED),
            Some(cap) => (Part::Capability(cap), HEADER_SIZE),
        };
        let start = match part {
            Part::Header => 0,
            Part::Unassigned => at,
            _ => {
                let before = (base..at).rev().take_while(|at| id(*at) == here).count();
                at.saturating_sub(before as u16)
            }
        };
        Place { at, width, part, offset: at.saturating_sub(start) }
    }

    /// What a program reads.
    pub(crate) fn read(&mut self, function: &mut dyn Function, place: &Place) -> u32 {
        let Some(fields) = place.fields(self) else { return self.read_direct(function, place) };
        if is_bar(place) {
            self.fix_bars(function);
        }
        let (virt, _) = permissions::bits(fields, place.offset, place.width);
        let mut value = self.get(place.at, place.width);
        if virt != place.width.mask() {
            value = value & virt | function.read_config(place.at, place.width) & !virt;
        }
        if place.part == Part::Header && place.at == COMMAND && self.is_virtual {
            value |= u32::from(self.word(COMMAND) & COMMAND_MEMORY);
        }
        value
    }

    /// The hardware's, but for the chain's pointers.
    fn read_direct(&self, function: &mut dyn Function, place: &Place) -> u32 {
        let value = function.read_config(place.at, place.width);
        let virt = match (place.part, place.offset) {
            (Part::Extended(_), 0..4) => u32::MAX,
            (Part::Capability(_), 0) if place.width > Width::Byte => 0xffff,
            (Part::Capability(_), 1) => 0xff,
            _ => 0,
        };
        value & !virt | self.get(place.at, place.width) & virt
    }

    /// What a program writes, by the bits that it may: to the virtual copy, or to the hardware.
    pub(crate) fn write(&mut self, function: &mut dyn Function, place: &Place, value: u32) {
        let Some(fields) = place.fields(self) else { return };
        let (virt, write) = permissions::bits(fields, place.offset, place.width);
        if write & virt != 0 {
            let kept = self.get(place.at, place.width) & !(write & virt);
            self.set(place.at, place.width, kept | value & write & virt);
        }
        if write & !virt != 0 {
            let kept = function.read_config(place.at, place.width) & !(write & !virt);
            function.write_config(place.at, place.width, kept | value & write & !virt);
        }
    }

    /// The virtual BARs as hardware would have them after whatever was written: this is how programs find sizes
    /// (`vfio_bar_fixup`).
    fn fix_bars(&mut self, function: &dyn Function) {
        let mut upper = None;
        for (index, at) in (BARS..).step_by(4).take(6).enumerate() {
            if let Some(mask) = upper.take() {
                self.set_dword(at, self.dword(at) & mask);
                continue;
            }
            let Some(bar) = function.bar(index).filter(|bar| bar.address != 0) else {
                self.set_dword(at, 0);
                continue;
            };
            let mask = !bar.size.saturating_sub(1);
            let flags = match bar.kind {
                BarKind::Io => 1,
                BarKind::Memory { wide, prefetchable, .. } => {
                    u32::from(wide) << 2 | u32::from(prefetchable) << 3
                }
            };
            self.set_dword(at, self.dword(at) & mask as u32 | flags);
            if matches!(bar.kind, BarKind::Memory { wide: true, .. }) {
                upper = Some((mask >> 32) as u32);
            }
        }
        let mask = match function.rom().filter(|rom| rom.address != 0) {
            Some(rom) => !(rom.size.saturating_sub(1) as u32) | 1,
            None => 0,
        };
        self.set_dword(ROM, self.dword(ROM) & mask);
    }

    /// Whether the hardware's BARs aren't what they were (`vfio_need_bar_restore`).
    pub(crate) fn bars_are_lost(&self, function: &mut dyn Function) -> bool {
        let places = self.bars.iter().zip((BARS..).step_by(4)).take(6);
        places.into_iter().any(|(bar, at)| *bar != 0 && function.dword(at) != *bar)
    }

    /// Makes them so again (`vfio_bar_restore`).
    pub(crate) fn restore_bars(&self, function: &mut dyn Function) {
        if self.is_virtual {
            return;
        }
        for (bar, at) in self.bars.iter().zip((BARS..).step_by(4).take(6).chain([ROM])) {
            function.write_config(at, Width::Dword, *bar);
        }
    }
}

/// Whether an access is to a BAR or the ROM's.
fn is_bar(place: &Place) -> bool {
    let rom = ROM..ROM.saturating_add(4);
    place.part == Part::Header && ((BARS..0x28).contains(&place.at) || rom.contains(&place.at))
}
