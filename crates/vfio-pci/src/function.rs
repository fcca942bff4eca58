//! What the driver needs of a PCI function.

use alloc::vec::Vec;

use ioctlab_chardev::{AreaId, FileId};

/// A BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Its size in bytes.
    pub size: u64,
    /// It decodes memory, and not I/O ports.
    pub is_memory: bool,
    /// It takes the next one's register, too.
    pub is_wide: bool,
    /// Reads of it have no effects.
    pub is_prefetchable: bool,
    /// What programs map; `None` for I/O ports.
    pub area: Option<AreaId>,
}

/// Where the MSI-X table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msix {
    /// How many vectors there are.
    pub vectors: u32,
    /// In which BAR.
    pub bar: u32,
    /// Where in it, in bytes.
    pub offset: u64,
}

/// How a function's interrupts are enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not at all, or by its pin.
    Pin,
    /// By messages.
    Msi,
    /// By messages of a table.
    Msix,
}

/// A device that shares a reset, as `GET_PCI_HOT_RESET_INFO` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its IOMMU group.
    pub group: u32,
    /// The segment that it is in.
    pub segment: u16,
    /// The bus that it is on.
    pub bus: u8,
    /// Device and function.
    pub devfn: u8,
}

/// A PCI function, as the kernel's PCI core and its hardware have it.
pub trait Function {
    /// The size of configuration space, in bytes.
    fn config_size(&self) -> usize;

    /// Reads configuration space: 1, 2 or 4 bytes, aligned.
    fn read_config(&self, offset: usize, width: usize) -> u32;

    /// Writes configuration space.
    fn write_config(&mut self, offset: usize, width: usize, value: u32);

    /// A BAR by its index, 0 to 5.
    fn bar(&self, index: u32) -> Option<Bar>;

    /// The size of the ROM, in bytes; 0 if there is none.
    fn rom_size(&self) -> u64;

    /// The MSI-X table.
    fn msix(&self) -> Option<Msix>;

    /// How many MSI vectors there are.
    fn msi_vectors(&self) -> u32;

    /// Whether it is on PCI Express.
    fn is_express(&self) -> bool;

    /// Whether it can be reset by itself.
    fn can_reset(&self) -> bool;

    /// Resets its registers (the model's own are somebody else's business): as after power on.
    fn reset(&mut self);

    /// Whether its interrupt pin is asserted.
    fn is_asserted(&self) -> bool;

    /// Its interrupts are enabled in another way, with so many vectors.
    fn set_mode(&mut self, mode: Mode, vectors: u32);

    /// Whether programs reach its memory through mappings.
    fn set_reachable(&mut self, reachable: bool);

    /// Who shares its reset, itself included; `None` if it isn't behind a bridge that could.
    fn neighbours(&self) -> Option<Vec<Neighbour>>;

    /// The IOMMU group whose open file this is.
    fn group_of(&self, file: FileId) -> Option<u32>;

    /// Whether all of these are bound to this driver, or to none.
    fn may_reset_together(&self, neighbours: &[Neighbour]) -> bool;
}
