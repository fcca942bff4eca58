//! Where a function is.

use core::fmt;
use core::str::FromStr;

/// A function's address: `0000:00:05.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The segment (domain).
    pub segment: u16,
    /// The bus.
    pub bus: u8,
    /// The device, up to 31.
    pub device: u8,
    /// The function, up to 7.
    pub function: u8,
}

impl Address {
    /// Device and function in one byte (`devfn`).
    pub const fn devfn(self) -> u8 {
        self.device << 3 | self.function & 7
    }

    /// Bus, device and function in 16 bits, as requests are marked on the bus.
    pub const fn requester(self) -> u16 {
        (self.bus as u16) << 8 | self.devfn() as u16
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, bus, device, function } = self;
        write!(f, "{segment:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

/// A text that is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress;

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected SEGMENT:BUS:DEVICE.FUNCTION in hexadecimal, like 0000:00:05.0")
    }
}

impl core::error::Error for BadAddress {}

impl FromStr for Address {
    type Err = BadAddress;

    /// The segment may be left out.
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let (rest, function) = text.rsplit_once('.').ok_or(BadAddress)?;
        let (rest, device) = rest.rsplit_once(':').ok_or(BadAddress)?;
        let (segment, bus) = rest.rsplit_once(':').unwrap_or(("0", rest));
        let number = |text: &str, digits: usize, limit: u16| {
            let fits = !text.is_empty() && text.len() <= digits && !text.starts_with('+');
            let number = u16::from_str_radix(text, 16).ok().filter(|number| fits && *number <= limit);
            number.ok_or(BadAddress)
        };
        let byte = |text, limit| number(text, 2, limit).map(|number| number as u8);
        Ok(Self {
            segment: number(segment, 4, 0xffff)?,
            bus: byte(bus, 0xff)?,
            device: byte(device, 0x1f)?,
            function: byte(function, 7)?,
        })
    }
}
