//! Mappings of devices: the checks before a driver's `mmap`, and how long an open file lasts because of them.

use alloc::collections::BTreeMap;

use crate::{Errno, FileId, Kernel, Mapping, MappingId, MmapRequest, PAGE_SIZE};

/// What a process asks of `mmap`, as far as a device is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmapCall {
    /// Where in the device, in bytes.
    pub offset: u64,
    /// How much, in bytes; rounded up to whole pages.
    pub length: u64,
    /// `MAP_SHARED` or `MAP_SHARED_VALIDATE`, and not `MAP_PRIVATE`.
    pub shared: bool,
    /// `PROT_WRITE`.
    pub writable: bool,
}

/// The mappings that there are, by number, and whose they are.
pub(crate) struct Mappings {
    files: BTreeMap<MappingId, FileId>,
    next: u64,
}

impl Mappings {
    pub(crate) const fn new() -> Self {
        Self { files: BTreeMap::new(), next: 1 }
    }
}

impl Kernel {
    /// `mmap` of a device. The mapping counts as made from here on: if the host can't make it, it says so by
    /// [`Kernel::unmapped`], as Linux closes what it could not set up.
    ///
    /// # Errors
    /// In Linux's order: [`Errno::EINVAL`] for an offset that isn't whole pages or a length of 0, [`Errno::ENOMEM`] for
    /// one that no process has room for, [`Errno::EACCES`] if the access mode forbids it; then the driver's,
    /// [`Errno::ENODEV`] if it maps nothing.
    pub fn mmap(&mut self, file: FileId, call: &MmapCall) -> Result<(MappingId, Mapping), Errno> {
        if !call.offset.is_multiple_of(PAGE_SIZE) || call.length == 0 {
            return Err(Errno::EINVAL);
        }
        let pages = call.length.div_ceil(PAGE_SIZE);
        if pages > crate::files::ADDRESS_LIMIT / PAGE_SIZE {
            return Err(Errno::ENOMEM);
        }
        let access = self.file(file).ok_or(Errno::EBADF)?.access;
        if call.shared && call.writable && !access.write || !access.read {
            return Err(Errno::EACCES);
        }
        let page = call.offset.checked_div(PAGE_SIZE).unwrap_or(0);
        let mapping = MappingId(self.mappings.next);
        let request = MmapRequest { mapping, page, pages, shared: call.shared, writable: call.writable };
        let (_, subsystem) = self.lookup(file)?;
        let made = subsystem.mmap(file, &request)?;
        self.mappings.next = self.mappings.next.saturating_add(1);
        self.mappings.files.insert(mapping, file);
        self.hold(file);
        Ok((mapping, made))
    }

    /// Some pages of a mapping, counted from its first, are in the address space no longer: a part was unmapped, or its
    /// page-table entries were dropped (`MADV_DONTNEED`). The mapping itself goes on, with what is left of it.
    pub fn zap(&mut self, mapping: MappingId, first: u64, pages: u64) {
        if let Some(file) = self.mapped_file(mapping)
            && let Ok((_, subsystem)) = self.lookup(file)
        {
            subsystem.zap(mapping, first, pages);
        }
    }

    /// Nothing is left of a mapping, in any process. A file that nothing else referred to is released with it.
    pub fn unmapped(&mut self, mapping: MappingId) {
        let Some(file) = self.mappings.files.remove(&mapping) else { return };
        if let Ok((_, subsystem)) = self.lookup(file) {
            subsystem.unmapped(mapping);
        }
        self.let_go(file);
    }

    /// The file that a mapping was made of.
    pub fn mapped_file(&self, mapping: MappingId) -> Option<FileId> {
        self.mappings.files.get(&mapping).copied()
    }

    /// How many mappings there are.
    pub fn mappings(&self) -> usize {
        self.mappings.files.len()
    }
}
