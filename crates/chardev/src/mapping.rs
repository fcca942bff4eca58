//! What a driver says of a mapping: which pages of machine memory it is made of. The host makes it real.

use alloc::vec::Vec;

/// A page of machine memory, [`PAGE_SIZE`] bytes, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame(pub u64);

/// The size of a page, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// One successful `mmap` of a device: what Linux has a `vm_area_struct` for, and all that it is split into later.
///
/// Numbers are never used twice in a lab's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MappingId(pub u64);

/// What an `mmap` asks for. The VFS's checks are done: the length is not 0, the offset is whole pages, and the access mode
/// of the file allows what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmapRequest {
    /// What the mapping is called from here on.
    pub mapping: MappingId,
    /// Where in the device it starts, in pages (`vm_pgoff`).
    pub page: u64,
    /// How long it is, in pages.
    pub pages: u64,
    /// `MAP_SHARED`, and not `MAP_PRIVATE` (`VM_SHARED`).
    pub shared: bool,
    /// `PROT_WRITE` (`VM_WRITE`).
    pub writable: bool,
}

/// Memory that a device decodes on its bus (a memory BAR, a window), by its number.
///
/// Numbers are never used twice in a lab's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AreaId(pub u64);

/// What a mapping is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Pages of machine memory, in order; as many as were asked for, or fewer: to touch what lies behind the last is SIGBUS.
    Frames(Vec<Frame>),
    /// Pages of a device's memory, from the `first` on. While the device doesn't decode it, to touch it is SIGBUS. It is
    /// `VM_IO | VM_PFNMAP`: `MADV_DONTNEED` is EINVAL.
    Area {
        /// The memory.
        area: AreaId,
        /// The number of the first page within it.
        first: u64,
    },
}

/// A mapping, as the driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// What it is made of.
    pub pages: Pages,
    /// The machine lets nobody write through it: after an `mprotect` that allows writing, a write is SIGBUS.
    pub read_only: bool,
    /// `fork` gives the child the mapping, too (no `VM_DONTCOPY`).
    pub inherited: bool,
}

impl Mapping {
    /// The pages of machine memory that it is made of; none if it is made of something else.
    pub fn frames(&self) -> &[Frame] {
        match &self.pages {
            Pages::Frames(frames) => frames,
            Pages::Area { .. } => &[],
        }
    }
}
