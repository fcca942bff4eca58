//! Devices from what `lspci` prints of them, so that one has the shell of hardware that is elsewhere.

mod lines;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

use self::lines::{Line, Place};
use crate::bar::{Bar, BarKind};
use crate::capability;
use crate::config::ConfigSpace;
use crate::function::{Firmware, Function};
use crate::model::Device;
use crate::models::Memory;

/// The size of a memory BAR that nothing says the size of, in bytes, unless its address is less aligned than that.
const DEFAULT_SIZE: u64 = 64 << 10;
/// The same of an I/O BAR.
const DEFAULT_IO_SIZE: u64 = 32;
/// The sizes that BARs can have, in bytes.
const MEMORY32_SIZES: RangeInclusive<u64> = 16..=2 << 30;
const MEMORY64_SIZES: RangeInclusive<u64> = 16..=1 << 40;
const IO_SIZES: RangeInclusive<u64> = 4..=64 << 10;
/// The sizes that a ROM can have, in bytes.
const ROM_SIZES: RangeInclusive<u64> = 2 << 10..=16 << 20;

/// What is wrong with a text, and in which line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1 on; 0 if it is the text as a whole.
    pub line: usize,
    /// What is wrong, in words.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for Problem {}

/// What a text says of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    config: Vec<u8>,
    /// The sizes of BARs, as far as the text gives them (`-v`).
    sizes: [Option<u64>; 6],
    /// The size of the ROM, likewise.
    rom: Option<u64>,
}

/// What the text doesn't say, or says otherwise.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The sizes of BARs, in bytes: powers of two.
    pub bars: [Option<u64>; 6],
    /// The contents of the expansion ROM; a power of two of bytes, 2 KiB to 16 MiB. Empty for none.
    pub rom: Vec<u8>,
}

impl Dump {
    /// Reads what `lspci -x`, `-xxx` or `-xxxx` prints of one device, with or without what `-v` and `-vv` add to it.
    ///
    /// # Errors
    /// The first line that can't be right, or that there is no dump.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let mut config: Vec<u8> = Vec::new();
        let (mut regions, mut rom) = (Vec::new(), None);
        for (number, line) in (1..).zip(text.lines()) {
            let problem = |message: &str| Problem { line: number, message: message.to_string() };
            match lines::read(line).map_err(problem)? {
                Line::Bytes(offset, bytes) if offset == config.len() => config.extend(bytes),
                Line::Bytes(0, _) => {
                    return Err(problem("a second dump begins here: the text is to be of one device"));
                }
                Line::Bytes(..) => return Err(problem("this line doesn't follow the one before it")),
                Line::Region { place, size } => regions.push((place, size)),
                Line::Rom(size) if ROM_SIZES.contains(&size) => rom = Some(size),
                Line::Rom(_) => return Err(problem("an expansion ROM has 2 KiB to 16 MiB")),
                Line::Other => {}
            }
        }
        complete(&mut config)?;
        let mut sizes = [None; 6];
        for (place, size) in regions {
            let index = match place {
                Place::Index(index) => Some(index),
                Place::Address { io, address } => {
                    find_bar(&config, io, address, |index| sizes.get(index) == Some(&None))
                }
            };
            if let Some(known) = index.and_then(|index| sizes.get_mut(index)) {
                *known = Some(size);
            }
        }
        Ok(Self { config, sizes, rom })
    }

    /// The device as firmware finds it: its configuration space as dumped but for what software has written there, its BARs as
    /// memory.
    ///
    /// # Errors
    /// If a size can't be that of a BAR or ROM, or there is a BAR that can't be.
    pub fn device(&self, overrides: &Overrides) -> Result<Device, Problem> {
        let mut bars = [None; 6];
        for (index, place) in bars.iter_mut().enumerate() {
            let given = overrides.bars.get(index).copied().flatten();
            let size = given.or(self.sizes.get(index).copied().flatten());
            if !is_upper_half(&self.config, index) {
                *place = self.bar(index, size)?;
            } else if size.is_some() {
                return Err(whole(format!("BAR {index} has no size, as it is the upper half of another")));
            }
        }
        let mut rom = overrides.rom.clone();
        if rom.is_empty()
            && let Some(size) = self.rom
        {
            rom = vec![0xff; usize::try_from(size).unwrap_or(0)];
        }
        let size = rom.len() as u64;
        if size != 0 && !(size.is_power_of_two() && ROM_SIZES.contains(&size)) {
            return Err(whole(format!("an expansion ROM can't have {size} bytes")));
        }
        let config = ConfigSpace::new(self.config.clone());
        Ok(Device { function: Function::from_dump(config, bars, rom), model: Box::new(Memory) })
    }

    /// A BAR, if it is there.
    fn bar(&self, index: usize, size: Option<u64>) -> Result<Option<Bar>, Problem> {
        let (register, address) = bar_register(&self.config, index);
        if register == 0 && size.is_none() {
            return Ok(None);
        }
        let (kind, sizes) = match register & 7 {
            4 if index == 5 => return Err(whole("BAR 5 can't have 64 bits, as it is the last one")),
            4 => (BarKind::Memory64, MEMORY64_SIZES),
            kind if kind & 1 != 0 => (BarKind::Io, IO_SIZES),
            _ => (BarKind::Memory32, MEMORY32_SIZES),
        };
        let aligned = 1_u64.checked_shl(address.trailing_zeros()).unwrap_or(u64::MAX);
        let size = size.unwrap_or_else(|| match kind {
            BarKind::Io => DEFAULT_IO_SIZE.min(aligned),
            _ => DEFAULT_SIZE.min(aligned).max(self.table_size(index)).min(*sizes.end()),
        });
        if !size.is_power_of_two() || !sizes.contains(&size) {
            let (least, most) = (sizes.start(), sizes.end());
            return Err(whole(format!(
                "BAR {index} can't have {size} bytes; expected a power of two from {least} to {most}"
            )));
        }
        let prefetchable = kind != BarKind::Io && register & 8 != 0;
        let registers = if kind == BarKind::Io { size } else { 0 };
        Ok(Some(Bar { kind, prefetchable, size, registers }))
    }

    /// How much of a BAR is needed for the MSI-X table and its pending bits, as far as they lie there: a power of two; 1 for none.
    fn table_size(&self, index: usize) -> u64 {
        let config = ConfigSpace::new(self.config.clone());
        let Some(at) = capability::find(&config, capability::MSIX) else { return 1 };
        let vectors = u64::from(config.read(at.saturating_add(2), 2) & 0x7ff).saturating_add(1);
        let end = |offset: usize, bytes: u64| {
            let register = config.read(at.saturating_add(offset), 4);
            if (register & 7) as usize == index { u64::from(register & !7).saturating_add(bytes) } else { 0 }
        };
        let table = end(4, vectors.saturating_mul(16));
        table.max(end(8, vectors.div_ceil(64).saturating_mul(8))).next_power_of_two()
    }

    /// What firmware had set up: without what is a driver's in the command register, bus mastering and disabling the pin.
    pub fn firmware(&self) -> Firmware {
        let mut bars = [0; 6];
        for (index, bar) in
            bars.iter_mut().enumerate().filter(|(index, _)| !is_upper_half(&self.config, *index))
        {
            *bar = bar_register(&self.config, index).1;
        }
        let word = |at| word(&self.config, at);
        Firmware { bars, rom: word(0x30), line: word(0x3c) as u8, command: word(4) as u16 & !0x0404 }
    }
}

/// Makes a configuration space of what was dumped.
fn complete(config: &mut Vec<u8>) -> Result<(), Problem> {
    match config.len() {
        0 => return Err(whole("there is no dump in it; `lspci -xxxx` prints one")),
        64 | 256 | 4096 => {}
        length => {
            return Err(whole(format!(
                "the dump has {length} bytes; expected 64 (-x), 256 (-xxx) or 4096 (-xxxx)"
            )));
        }
    }
    if config.get(0x0e).is_some_and(|kind| kind & 0x7f != 0) {
        return Err(whole("it is of a bridge, which can't be used"));
    }
    if config.len() == 64 {
        // Capabilities aren't in it, so there are none.
        for (at, kept) in [(0x06, 0xef), (0x34, 0)] {
            if let Some(byte) = config.get_mut(at) {
                *byte &= kept;
            }
        }
        config.resize(256, 0);
    }
    let is_express = capability::find(&ConfigSpace::new(config.clone()), capability::PCI_EXPRESS).is_some();
    if is_express {
        config.resize(4096, 0);
    }
    Ok(())
}

/// The first BAR among those that `is_free` that decodes this address.
fn find_bar(config: &[u8], io: bool, address: u64, is_free: impl Fn(usize) -> bool) -> Option<usize> {
    (0..6).filter(|index| is_free(*index) && !is_upper_half(config, *index)).find(|index| {
        let (register, known) = bar_register(config, *index);
        register != 0 && (register & 1 != 0) == io && known == address
    })
}

/// Whether a BAR's register is but the upper half of the one before it.
fn is_upper_half(config: &[u8], index: usize) -> bool {
    let is_wide = |index| bar_register(config, index).0 & 7 == 4 && !is_upper_half(config, index);
    index.checked_sub(1).is_some_and(is_wide)
}

/// A BAR's register, and the address that it holds; that of 64 bits with its upper half.
fn bar_register(config: &[u8], index: usize) -> (u32, u64) {
    let at = index.saturating_mul(4).saturating_add(0x10);
    let register = word(config, at);
    let upper = if register & 7 == 4 && index < 5 { word(config, at.saturating_add(4)) } else { 0 };
    let kind = if register & 1 != 0 { 3 } else { 0xf };
    (register, u64::from(register & !kind) | u64::from(upper) << 32)
}

fn word(config: &[u8], at: usize) -> u32 {
    let bytes = config.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// What is wrong with a text as a whole.
fn whole(message: impl Into<String>) -> Problem {
    Problem { line: 0, message: message.into() }
}
