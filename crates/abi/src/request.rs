//! ioctl request numbers: direction, type, number and size, packed as `_IOC()` packs them.

/// Which way an ioctl's argument goes, as the request number says (drivers need not follow it, and Xen's do not).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `_IOC_NONE`
    None,
    /// `_IOC_WRITE`: the driver reads the argument.
    Write,
    /// `_IOC_READ`: the driver writes the argument.
    Read,
    /// Both.
    ReadWrite,
}

/// An ioctl request number. Linux drops the upper half of the register before a driver sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request(pub u32);

impl Request {
    /// `_IOC(direction, kind, number, size)`; `size` in bytes, below 2^14.
    pub const fn new(direction: Direction, kind: u8, number: u8, size: u16) -> Self {
        let direction: u32 = match direction {
            Direction::None => 0,
            Direction::Write => 1,
            Direction::Read => 2,
            Direction::ReadWrite => 3,
        };
        Self(direction << 30 | (size as u32 & 0x3fff) << 16 | (kind as u32) << 8 | number as u32)
    }

    /// The type byte (`_IOC_TYPE`), by which drivers keep out of each other's way.
    pub const fn kind(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// The number within the type (`_IOC_NR`).
    pub const fn number(self) -> u8 {
        self.0 as u8
    }

    /// The argument's size in bytes, as the number says.
    pub const fn size(self) -> usize {
        (self.0 >> 16 & 0x3fff) as usize
    }
}
