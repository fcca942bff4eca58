//! What `poll` says of a file.

use core::ops::{BitOr, BitOrAssign};

/// A set of poll events, with `poll(2)`'s numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PollEvents(pub u16);

impl PollEvents {
    /// Data can be read (`POLLIN`).
    pub const IN: Self = Self(0x001);
    /// Data can be written (`POLLOUT`).
    pub const OUT: Self = Self(0x004);
    /// An error is pending (`POLLERR`).
    pub const ERR: Self = Self(0x008);
    /// Normal data can be read (`POLLRDNORM`).
    pub const RDNORM: Self = Self(0x040);
    /// Normal data can be written (`POLLWRNORM`).
    pub const WRNORM: Self = Self(0x100);

    /// Whether all of `other`'s events are in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for PollEvents {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for PollEvents {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
