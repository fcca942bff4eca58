//! What the driver needs of a PCI function, of the bus that it is on, and of the kernel's PCI core.

use alloc::vec::Vec;

use ioctlab_chardev::{AreaId, Errno, FileId};

/// How many bytes one access to a register has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// 1 byte.
    Byte,
    /// 2 bytes.
    Word,
    /// 4 bytes.
    Dword,
}

impl Width {
    /// The number of bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Dword => 4,
        }
    }

    /// The bits that a value of this width has.
    pub const fn mask(self) -> u32 {
        match self {
            Self::Byte => 0xff,
            Self::Word => 0xffff,
            Self::Dword => u32::MAX,
        }
    }

    /// The widest access that is aligned and has no more than `most` bytes; a byte if that is 0.
    pub(crate) const fn widest(at: u64, most: usize) -> Self {
        if most >= 4 && at & 3 == 0 {
            Self::Dword
        } else if most >= 2 && at & 1 == 0 {
            Self::Word
        } else {
            Self::Byte
        }
    }
}

/// What a BAR decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// I/O ports.
    Io,
    /// Memory.
    Memory {
        /// Its address has 64 bits, the upper half in the next BAR's register.
        wide: bool,
        /// It is prefetchable.
        prefetchable: bool,
        /// The memory that programs map; `None` if they can't.
        area: Option<AreaId>,
    },
}

/// A BAR, as firmware and the PCI core have set it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Its address on the bus; 0 if it has none: then it is as good as not there.
    pub address: u64,
    /// Its size in bytes, a power of two.
    pub size: u64,
    /// What it decodes.
    pub kind: BarKind,
}

/// The expansion ROM's BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rom {
    /// Its address on the bus; 0 if it has none.
    pub address: u64,
    /// Its size in bytes, a power of two.
    pub size: u64,
    /// How much of it the images in it take, in bytes; 0 if there is no valid one, and no ROM to be seen then.
    pub image: u64,
}

/// A kind of message-signalled interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Messages {
    /// MSI.
    Msi,
    /// MSI-X.
    Msix,
}

/// A function that a reset of the bus or slot affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The number of its IOMMU group; `None` if it is in none.
    pub group: Option<u32>,
    /// The PCI segment (domain).
    pub segment: u16,
    /// The bus.
    pub bus: u8,
    /// Device and function on the bus.
    pub devfn: u8,
    /// What the layer above calls it.
    pub token: u32,
    /// Whether it is bound to vfio-pci.
    pub is_bound: bool,
}

/// A PCI function with a type 0 header.
pub trait Function {
    /// The size of configuration space: 256 bytes, or 4096 if it is extended.
    fn config_size(&self) -> usize;

    /// Reads registers of configuration space; `offset` is aligned to the width and lies within the size.
    fn read_config(&mut self, offset: u16, width: Width) -> u32;

    /// Writes registers of configuration space; what isn't writable stays.
    fn write_config(&mut self, offset: u16, width: Width, value: u32);

    /// BAR 0 to 5; `None` for one that isn't there, or is the upper half of another.
    fn bar(&self, index: usize) -> Option<Bar>;

    /// The expansion ROM, if there is one.
    fn rom(&self) -> Option<Rom>;

    /// Whether the function can be reset alone (FLR, by its power state, ...).
    fn can_reset(&self) -> bool;

    /// Resets it: the registers of configuration space at once, the rest of the device before anybody gets at it again.
    fn reset(&mut self);

    /// Whether it asserts INTx now, whatever its command register lets through.
    fn intx_asserted(&mut self) -> bool;

    /// Enables message-signalled interrupts for vectors 0 to `count` - 1, and sets their messages up
    /// (`pci_alloc_irq_vectors`).
    ///
    /// # Errors
    /// Why they can't be had.
    fn enable_messages(&mut self, kind: Messages, count: u32) -> Result<(), Errno>;

    /// Enables one more vector of MSI-X, which is enabled (`pci_msix_alloc_irq_at`).
    ///
    /// # Errors
    /// Why it can't be had.
    fn add_vector(&mut self, vector: u32) -> Result<(), Errno>;

    /// Disables message-signalled interrupts (`pci_free_irq_vectors`).
    fn disable_messages(&mut self, kind: Messages);

    /// Whether programs' mappings of its memory reach it, else touching them is SIGBUS. Told whenever it changes.
    fn set_reachable(&mut self, reachable: bool);

    /// The functions that a reset of its slot or bus affects, it among them; `None` if there is no such reset, as on a root bus.
    fn neighbours(&self) -> Option<Vec<Neighbour>>;

    /// The number of the IOMMU group that an open file is of; `None` if it isn't of a group.
    fn group_of(&self, file: FileId) -> Option<u32>;

    /// Reads 4 bytes of vital product data; `None` if that fails.
    fn read_vpd(&mut self, address: u16) -> Option<u32> {
        let _ = address;
        None
    }

    /// Writes 4 bytes of vital product data; whether that went well.
    fn write_vpd(&mut self, address: u16, data: u32) -> bool {
        let _ = (address, data);
        false
    }
}
