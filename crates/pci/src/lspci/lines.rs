//! Lines of what `lspci` prints, each for itself.

use alloc::vec::Vec;

/// The bytes that each line of a dump has.
const BYTES: usize = 16;

/// A line, as far as it says something.
#[derive(Debug)]
pub(super) enum Line {
    /// Bytes of configuration space, and where they begin.
    Bytes(usize, Vec<u8>),
    /// What a BAR is, and its size in bytes.
    Region { place: Place, size: u64 },
    /// The expansion ROM's size in bytes.
    Rom(u64),
    /// Something else.
    Other,
}

/// How a line says which BAR it is of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// By its number (`-vv`).
    Index(usize),
    /// By what it decodes, and its address (`-v`).
    Address { io: bool, address: u64 },
}

/// Reads a line.
///
/// # Errors
/// What is wrong with one that is meant to be of these.
pub(super) fn read(line: &str) -> Result<Line, &'static str> {
    let line = line.trim();
    if let Some((offset, bytes)) = dump(line) {
        return Ok(Line::Bytes(offset, bytes_of(bytes).ok_or("expected 16 bytes in hexadecimal")?));
    }
    let (text, size) = match line.split_once("[size=") {
        Some((text, size)) => (text.trim(), read_size(size).ok_or(BAD_SIZE)),
        None => return Ok(Line::Other),
    };
    if text.starts_with("Expansion ROM at ") {
        return size.map(Line::Rom);
    }
    match region(text) {
        Some(place) => Ok(Line::Region { place, size: size? }),
        None => Ok(Line::Other),
    }
}

const BAD_SIZE: &str = "expected a size that is a power of two, as [size=16K]";

/// A line of a dump, `10: 86 80 ...`: where it is, and the rest. `00:05.0 ...` begins a device and is none.
fn dump(line: &str) -> Option<(usize, &str)> {
    let (offset, rest) = line.split_once(':')?;
    let is_offset = (2..=4).contains(&offset.len()) && offset.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_dump = is_offset && (rest.is_empty() || rest.starts_with(char::is_whitespace));
    Some((usize::from_str_radix(offset, 16).ok()?, rest)).filter(|_| is_dump)
}

fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let byte = |word: &str| {
        let is_byte = word.len() == 2 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        u8::from_str_radix(word, 16).ok().filter(|_| is_byte)
    };
    let bytes: Option<Vec<u8>> = text.split_whitespace().map(byte).collect();
    bytes.filter(|bytes| bytes.len() == BYTES)
}

/// Which BAR it is that a line describes: `Region 0: Memory at fe940000 (...)`, or the same without the number.
fn region(text: &str) -> Option<Place> {
    if let Some(rest) = text.strip_prefix("Region ") {
        let (index, _) = rest.split_once(':')?;
        return index.parse().ok().filter(|index| *index < 6).map(Place::Index);
    }
    let (io, rest) = match text.strip_prefix("Memory at ") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("I/O ports at ")?),
    };
    let address = rest.split_whitespace().next()?;
    Some(Place::Address { io, address: u64::from_str_radix(address, 16).ok()? })
}

/// `16K]`, in bytes, if it is a power of two.
fn read_size(text: &str) -> Option<u64> {
    let (size, _) = text.split_once(']')?;
    let digits = size.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit: u64 = match size.get(digits.len()..)? {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit).filter(|size| size.is_power_of_two())
}
