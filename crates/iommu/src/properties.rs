//! What kind of IOMMU it is.

use alloc::vec;
use alloc::vec::Vec;

/// A range of addresses that isn't empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// The first byte.
    pub start: u64,
    /// The last byte.
    pub last: u64,
}

impl AddressRange {
    /// The range of so many bytes; `None` if there are none, or if it wraps.
    pub fn new(start: u64, bytes: u64) -> Option<Self> {
        let last = start.checked_add(bytes.checked_sub(1)?)?;
        Some(Self { start, last })
    }
}

/// What an IOMMU can do. [`Properties::default`] is an Intel one (VT-d) of the kind that QEMU has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// How many bits an address of a device's has, 1 to 64 (default 39).
    pub address_bits: u32,
    /// The sizes of pages, a bit each (default 4 KiB, 2 MiB, 1 GiB). The smallest is what ranges are aligned to.
    pub page_sizes: u64,
    /// Addresses that no device's memory may be mapped at (default the window of interrupt messages).
    pub reserved: Vec<AddressRange>,
    /// A device can raise only its own interrupts (default yes).
    pub interrupt_remapping: bool,
    /// Accesses that bypass caches can be forbidden (default no).
    pub coherent: bool,
    /// Written pages are remembered (default no).
    pub dirty_tracking: bool,
}

impl Default for Properties {
    fn default() -> Self {
        Self {
            address_bits: 39,
            page_sizes: 0x4020_1000,
            reserved: vec![AddressRange { start: 0xfee0_0000, last: 0xfeef_ffff }],
            interrupt_remapping: true,
            coherent: false,
            dirty_tracking: false,
        }
    }
}

impl Properties {
    /// The addresses that it translates; those [reserved](Self::reserved) are among them.
    pub fn aperture(&self) -> AddressRange {
        let unused = 64_u32.saturating_sub(self.address_bits);
        AddressRange { start: 0, last: u64::MAX.checked_shr(unused).unwrap_or(0) }
    }

    /// The smallest page's size in bytes; 1 if there is none.
    pub fn smallest_page(&self) -> u64 {
        1_u64.checked_shl(self.page_sizes.trailing_zeros()).unwrap_or(1)
    }
}
