//! Devices from what `lspci` prints of them, so that one has the shell of hardware that is elsewhere.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::bar::{Bar, BarKind};
use crate::capability;
use crate::config::ConfigSpace;
use crate::function::Function;
use crate::model::Device;
use crate::models::Memory;

/// The size of a memory BAR that nothing says the size of, in bytes.
const DEFAULT_SIZE: u64 = 64 << 10;
/// The same of an I/O BAR.
const DEFAULT_IO_SIZE: u64 = 32;

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
    /// The sizes of BARs, and of the ROM behind them, as far as the text gives them (`-v`).
    sizes: [Option<u64>; 7],
}

/// What the text doesn't say, or says otherwise.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The sizes of BARs, in bytes: powers of two.
    pub bars: [Option<u64>; 6],
    /// The contents of the expansion ROM; a power of two of bytes, at least 2048. Empty for none.
    pub rom: Vec<u8>,
}

impl Dump {
    /// Reads what `lspci -x`, `-xxx` or `-xxxx` prints of one device, with or without what `-v` adds to it.
    ///
    /// # Errors
    /// The first line that can't be right, or that there is no dump.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let mut config: Vec<u8> = Vec::new();
        let mut sizes = [None; 7];
        for (number, line) in (1..).zip(text.lines()) {
            let problem = |message: &str| Problem { line: number, message: message.to_string() };
            if let Some((offset, bytes)) = dump_line(line) {
                if offset != config.len() {
                    let message = if offset == 0 {
                        "a second dump begins here: the text is to be of one device"
                    } else {
                        "this line doesn't follow the one before it"
                    };
                    return Err(problem(message));
                }
                config.extend(bytes.ok_or_else(|| problem("expected 16 bytes in hexadecimal"))?);
            } else if let Some((place, size)) = region_line(line) {
                let size = size.ok_or_else(|| problem("this size is no power of two"))?;
                if let Some(known) = sizes.get_mut(place) {
                    *known = Some(size);
                }
            }
        }
        let whole = |message: &str| Problem { line: 0, message: message.to_string() };
        match config.len() {
            0 => Err(whole("there is no dump in it; `lspci -xxxx` prints one")),
            64 | 256 | 4096 => {
                if config.get(0x0e).is_some_and(|kind| kind & 0x7f != 0) {
                    return Err(whole("it is of a bridge, which can't be used"));
                }
                // With -x there is only the header.
                config.resize(config.len().max(256), 0);
                Ok(Self { config, sizes })
            }
            length => Err(whole(&alloc::format!(
                "the dump has {length} bytes; expected 64 (-x), 256 (-xxx) or 4096 (-xxxx)"
            ))),
        }
    }

    /// The device: its configuration space as dumped, its BARs as memory.
    ///
    /// # Errors
    /// If a size can't be that of a BAR.
    pub fn device(&self, overrides: &Overrides) -> Result<Device, Problem> {
        let mut config = ConfigSpace::new(self.config.len());
        config.describe(0, &self.config, &[], &[]);
        let mut bars = [None; 6];
        let mut index = 0;
        while let Some(register) = (index < 6).then(|| config.read(bar_register(index), 4)) {
            let given = overrides.bars.get(index).copied().flatten();
            let size = given.or(self.sizes.get(index).copied().flatten());
            let wide = register & 7 == 4;
            let upper = if wide { config.read(bar_register(index).saturating_add(4), 4) } else { 0 };
            if register != 0 || upper != 0 || size.is_some() {
                let bar = self.bar(&config, index, register, size);
                if let Some(place) = bars.get_mut(index) {
                    *place = Some(bar);
                }
            }
            index = index.saturating_add(if wide { 2 } else { 1 });
        }
        // Decoding and the rest are up to firmware.
        config.describe(4, &[0, 0], &[], &[]);
        let mut rom = overrides.rom.clone();
        if rom.is_empty()
            && let Some(size) = self.sizes.get(6).copied().flatten()
        {
            rom = vec![0xff; usize::try_from(size).unwrap_or(0)];
        }
        Ok(Device { function: Function::from_dump(config, bars, rom), model: Box::new(Memory) })
    }

    fn bar(&self, config: &ConfigSpace, index: usize, register: u32, size: Option<u64>) -> Bar {
        if register & 1 != 0 {
            let size = size.unwrap_or(DEFAULT_IO_SIZE);
            return Bar::io(size);
        }
        let kind = if register & 6 == 4 { BarKind::Memory64 } else { BarKind::Memory32 };
        let size = size.unwrap_or_else(|| DEFAULT_SIZE.max(table_end(config, index).next_power_of_two()));
        Bar { kind, prefetchable: register & 8 != 0, size, registers: 0 }
    }

    /// What firmware had written: the addresses of BARs, the ROM's, the line, and the command register.
    pub fn firmware(&self) -> ([u64; 6], u32, u8, u16) {
        let word = |at: usize| {
            let bytes = self.config.get(at..).and_then(|rest| rest.first_chunk());
            bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        let mut addresses = [0; 6];
        for (index, address) in addresses.iter_mut().enumerate() {
            let register = word(bar_register(index));
            let wide = register & 7 == 4 && index < 5;
            let upper = if wide { word(bar_register(index.saturating_add(1))) } else { 0 };
            *address = u64::from(register) | u64::from(upper) << 32;
        }
        (addresses, word(0x30), word(0x3c) as u8, word(4) as u16)
    }
}

fn bar_register(index: usize) -> usize {
    index.saturating_mul(4).saturating_add(0x10)
}

/// Where the MSI-X table, or what is pending of it, ends in a BAR, if it lies there.
fn table_end(config: &ConfigSpace, index: usize) -> u64 {
    let Some(at) = capability::find(config, capability::MSIX) else { return 0 };
    let vectors = u64::from(config.read(at.saturating_add(2), 2) & 0x7ff).saturating_add(1);
    let end = |register: u32, bytes: u64| {
        if (register & 7) as usize == index { u64::from(register & !7).saturating_add(bytes) } else { 0 }
    };
    let table = end(config.read(at.saturating_add(4), 4), vectors.saturating_mul(16));
    table.max(end(config.read(at.saturating_add(8), 4), vectors.div_ceil(64).saturating_mul(8)))
}

/// A line of a dump: `10: 86 80 ...`; where it is, and its bytes if there are 16.
fn dump_line(line: &str) -> Option<(usize, Option<Vec<u8>>)> {
    let (offset, bytes) = line.split_once(": ")?;
    if !(2..=3).contains(&offset.len()) {
        return None;
    }
    let offset = usize::from_str_radix(offset, 16).ok()?;
    // `00:05.0 Ethernet controller: ...` has a colon, too.
    let is_hexadecimal = |word: &str| word.len() == 2 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words: Vec<&str> = bytes.split_whitespace().collect();
    if !words.first().is_some_and(|word| is_hexadecimal(word)) {
        return None;
    }
    let parsed: Option<Vec<u8>> = words
        .iter()
        .map(|word| if is_hexadecimal(word) { u8::from_str_radix(word, 16).ok() } else { None })
        .collect();
    Some((offset, parsed.filter(|bytes| bytes.len() == 16)))
}

/// A line that gives a BAR's size, or the ROM's: which (6 for the ROM), and the size if it is a power of two.
fn region_line(line: &str) -> Option<(usize, Option<u64>)> {
    let line = line.trim_start();
    let (place, rest) = if let Some(rest) = line.strip_prefix("Region ") {
        let (index, rest) = rest.split_once(':')?;
        (index.parse().ok().filter(|index| *index < 6)?, rest)
    } else {
        (6, line.strip_prefix("Expansion ROM at ")?)
    };
    let (_, size) = rest.split_once("[size=")?;
    let (size, _) = size.split_once(']')?;
    let digits = size.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match size.get(digits.len()..)? {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Some((place, None)),
    };
    let size = digits.parse::<u64>().ok().and_then(|size| size.checked_shl(unit));
    Some((place, size.filter(|size| size.is_power_of_two())))
}
