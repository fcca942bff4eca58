//! Capabilities in configuration space: where they are, and which of their bits software can change.

use alloc::vec::Vec;

use crate::config::ConfigSpace;

pub(crate) const POWER_MANAGEMENT: u8 = 0x01;
pub(crate) const MSI: u8 = 0x05;
pub(crate) const PCI_EXPRESS: u8 = 0x10;
pub(crate) const MSIX: u8 = 0x11;
pub(crate) const ADVANCED_FEATURES: u8 = 0x13;
/// Of PCI Express: advanced error reporting.
const ERROR_REPORTING: u32 = 0x0001;

/// The pointer to the first capability, where they may be, and where those of PCI Express are.
const FIRST: usize = 0x34;
const START: usize = 0x40;
const EXTENDED: usize = 0x100;
/// How far chains are followed, as some are rings: as far as Linux goes.
const MOST: usize = 48;
const MOST_EXTENDED: usize = 480;

/// Where the capabilities are, in order, each with its number.
pub(crate) fn list(config: &ConfigSpace) -> Vec<(usize, u8)> {
    let mut found = Vec::new();
    // The status register says whether there are any.
    if config.read(6, 2) & 0x10 == 0 {
        return found;
    }
    let mut at = config.read(FIRST, 1) as usize & 0xfc;
    while at >= START && found.len() < MOST {
        let id = config.read(at, 1) as u8;
        if id == 0xff {
            break;
        }
        found.push((at, id));
        at = config.read(at.saturating_add(1), 1) as usize & 0xfc;
    }
    found
}

/// Where a capability is.
pub(crate) fn find(config: &ConfigSpace, id: u8) -> Option<usize> {
    list(config).into_iter().find(|(_, other)| *other == id).map(|(at, _)| at)
}

/// Says which bits of the capabilities that are there can be changed. What drivers have set up in them is undone; errors that
/// have happened are still there.
pub(crate) fn describe_all(config: &mut ConfigSpace) {
    for (at, id) in list(config) {
        let mut registers = Registers { config, at, end: EXTENDED };
        match id {
            POWER_MANAGEMENT => power_management(&mut registers),
            MSI => msi(&mut registers),
            // Enabled, and all vectors masked.
            MSIX => registers.let_write(0, 0xc000_0000),
            PCI_EXPRESS => express(&mut registers),
            _ => {}
        }
    }
    let mut at = EXTENDED;
    for _ in 0..MOST_EXTENDED {
        let header = config.read(at, 4);
        if at < EXTENDED || at >= config.size() || header == 0 {
            return;
        }
        if header & 0xffff == ERROR_REPORTING {
            let end = config.size();
            error_reporting(&mut Registers { config, at, end });
        }
        at = (header >> 20) as usize & 0xffc;
    }
}

/// The power state. A reset keeps what there is to wake others by.
fn power_management(registers: &mut Registers<'_>) {
    registers.let_write(4, 0x0003);
    let can_wake = registers.read(2, 2) & 0xf800 != 0;
    if can_wake {
        registers.let_write(4, 0x0100);
        registers.let_clear(4, 0x8000);
        registers.keep(4, 0x8100);
    }
}

fn msi(registers: &mut Registers<'_>) {
    let control = registers.read(2, 2);
    let vectors = 1_u32.checked_shl(control >> 1 & 7).unwrap_or(0).min(32);
    // Enabling, and how many of the vectors that it is capable of.
    registers.let_write(0, if vectors > 1 { 0x0071_0000 } else { 0x0001_0000 });
    registers.let_write(4, 0xffff_fffc);
    let mut data = 8;
    if control & 0x80 != 0 {
        registers.let_write(8, u32::MAX);
        data = 12;
    }
    registers.let_write(data, 0xffff);
    if control & 0x100 != 0 {
        let of_vectors = u32::MAX.checked_shr(32_u32.saturating_sub(vectors)).unwrap_or(0);
        registers.let_write(data.saturating_add(4), of_vectors);
        // Those that are pending.
        registers.clear(data.saturating_add(8), u32::MAX);
    }
}

/// An endpoint. A reset of the function keeps the size of payloads, and doesn't touch the link.
fn express(registers: &mut Registers<'_>) {
    let flags = registers.read(2, 2);
    let has_link = flags >> 4 & 0xf != 9;
    // Reporting errors, relaxed ordering, sizes, no snoop; extended tags if there are.
    let tags = if registers.read(4, 4) & 0x20 != 0 { 0x100 } else { 0 };
    registers.let_write_over(8, 0x78ff | tags);
    registers.keep(8, 0x00e0);
    registers.let_clear(8, 0x000f_0000);
    if has_link {
        registers.let_write_over(0x10, 0x01cb);
        registers.keep(0x10, 0x01cb);
    }
    if flags & 0xf >= 2 {
        registers.let_write_over(0x28, 0x675f);
        if has_link {
            registers.let_write_over(0x30, 0x1fdf);
            registers.keep(0x30, 0x1fdf);
        }
    }
}

/// What is cleared by writing 1, what is masked, how severe it is, and the control register. A reset keeps all of that.
fn error_reporting(registers: &mut Registers<'_>) {
    const UNCORRECTABLE: u32 = 0x03ff_f030;
    const CORRECTABLE: u32 = 0x0000_f1c1;
    registers.let_clear(0x04, UNCORRECTABLE);
    registers.let_write_over(0x08, UNCORRECTABLE);
    registers.let_write_over(0x0c, UNCORRECTABLE);
    registers.let_clear(0x10, CORRECTABLE);
    registers.let_write_over(0x14, CORRECTABLE);
    // Checks of packets can be enabled where they can be made.
    let enables = (registers.read(0x18, 4) & 0xa0) << 1;
    registers.let_write_over(0x18, enables);
    for offset in [0x04, 0x08, 0x0c, 0x10, 0x14, 0x18] {
        registers.keep(offset, u32::MAX);
    }
}

/// The registers of a capability, as far as the part of configuration space goes that it is in.
struct Registers<'a> {
    config: &'a mut ConfigSpace,
    at: usize,
    end: usize,
}

impl Registers<'_> {
    fn read(&self, offset: usize, width: usize) -> u32 {
        self.config.read(self.at.saturating_add(offset), width)
    }

    fn let_write(&mut self, offset: usize, mask: u32) {
        let (at, mask) = self.clip(offset, mask);
        self.config.let_write(at, mask);
    }

    fn let_write_over(&mut self, offset: usize, mask: u32) {
        let (at, mask) = self.clip(offset, mask);
        self.config.let_write_over(at, mask);
    }

    fn let_clear(&mut self, offset: usize, mask: u32) {
        let (at, mask) = self.clip(offset, mask);
        self.config.let_clear(at, mask);
    }

    fn clear(&mut self, offset: usize, mask: u32) {
        let (at, mask) = self.clip(offset, mask);
        self.config.clear(at, mask);
    }

    fn keep(&mut self, offset: usize, mask: u32) {
        let (at, mask) = self.clip(offset, mask);
        self.config.keep(at, mask);
    }

    /// Where a register is, and what of it lies before the end.
    fn clip(&self, offset: usize, mask: u32) -> (usize, u32) {
        let at = self.at.saturating_add(offset);
        // They are whole words, and so is the end.
        (at, if at < self.end { mask } else { 0 })
    }
}
