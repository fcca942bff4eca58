//! The calls of the device, but for its ioctls.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use ioctlab_chardev::{Errno, FileId, Mapping, MappingId, MmapRequest, Pages};

use crate::GrantTable;
use crate::index_list::IndexList;
use crate::map::Map;

/// The module parameter `limit`, unless it is given: the most grants in one map.
pub const DEFAULT_LIMIT: u32 = 65_536;

/// A map's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MapId(u64);

/// `/dev/xen/gntdev` of one guest kernel, with all its open files.
///
/// Calls on a file that is not open are `EBADF`.
#[derive(Debug)]
pub struct Driver {
    limit: u32,
    pub(crate) files: BTreeMap<FileId, IndexList<MapId>>,
    maps: BTreeMap<MapId, Map>,
    mappings: BTreeMap<MappingId, MapId>,
    /// Mappings with a page whose contents change as it is unmapped.
    clearing: BTreeSet<MappingId>,
    next: u64,
}

impl Driver {
    /// A driver with no open files; `limit` is the most grants that one map may have.
    pub const fn new(limit: u32) -> Self {
        Self {
            limit,
            files: BTreeMap::new(),
            maps: BTreeMap::new(),
            mappings: BTreeMap::new(),
            clearing: BTreeSet::new(),
            next: 0,
        }
    }

    /// A file was opened: no maps. Of no effect if it is open already.
    pub fn open(&mut self, file: FileId) {
        self.files.entry(file).or_insert_with(IndexList::new);
    }

    /// Nothing refers to a file any more: its maps go, lowest index first. Of no effect if it is not open.
    pub fn release(&mut self, file: FileId, xen: &mut dyn GrantTable) {
        let Some(list) = self.files.remove(&file) else { return };
        for id in list.iter() {
            self.unlist(id, xen);
        }
    }

    /// `mmap(2)`, which maps the grants of a map (`gntdev_mmap`).
    ///
    /// # Errors
    /// `EINVAL` for a mapping that is private and writable; unless index and count are a map's; if that was mapped before,
    /// or that was tried; if any of its grants can't be mapped. `ENOMEM`.
    pub fn mmap(
        &mut self,
        file: FileId,
        request: &MmapRequest,
        xen: &mut dyn GrantTable,
    ) -> Result<Mapping, Errno> {
        let list = self.files.get(&file).ok_or(Errno::EBADF)?;
        if request.writable && !request.shared {
            return Err(Errno::EINVAL);
        }
        // The page number goes through an int. The length is compared as it is: Linux makes an int of it, too, and then
        // maps too little for a mapping of more than 2^32 pages.
        let index = request.page & u64::from(u32::MAX);
        let id = list.find(index, request.pages).ok_or(Errno::EINVAL)?;
        let map = self.maps.get_mut(&id).filter(|map| !map.was_mapped).ok_or(Errno::EINVAL)?;
        map.was_mapped = true;
        map.read_only = !request.writable;
        let frames = map.map_grants(xen)?;
        map.mapping = Some(request.mapping);
        let mapping = Mapping { pages: Pages::Frames(frames), read_only: map.read_only, inherited: false };
        self.mappings.insert(request.mapping, id);
        self.note_clearing(id);
        Ok(mapping)
    }

    /// Pages of a mapping are in the address space no longer: their grants are unmapped, as far as they are mapped.
    pub fn zap(&mut self, mapping: MappingId, first: u64, pages: u64, xen: &mut dyn GrantTable) {
        let Some(id) = self.mappings.get(&mapping).copied() else { return };
        if let Some(map) = self.maps.get_mut(&id) {
            map.unmap_grants(first, pages, xen);
        }
        self.note_clearing(id);
    }

    /// Nothing is left of a mapping: the rest of its grants is unmapped, and the map goes if its index went before.
    pub fn unmapped(&mut self, mapping: MappingId, xen: &mut dyn GrantTable) {
        let Some(id) = self.mappings.remove(&mapping) else { return };
        self.clearing.remove(&mapping);
        if let Some(map) = self.maps.get_mut(&id) {
            map.unmap_grants(0, map.pages(), xen);
            map.mapping = None;
        }
        self.drop_if_unused(id, xen);
    }

    /// Mappings with a page whose contents change as it is unmapped, and the page, counted from the mapping's first.
    pub fn changed_by_unmapping(&self) -> Vec<(MappingId, u64)> {
        let page = |mapping: &MappingId| self.map_of(*mapping)?.page_to_clear();
        self.clearing.iter().filter_map(|mapping| Some((*mapping, page(mapping)?))).collect()
    }

    /// A mapping is about to go with its process: clears the byte that is cleared then, once more.
    pub fn clear_ahead(&self, mapping: MappingId, xen: &mut dyn GrantTable) {
        if let Some((frame, offset)) = self.map_of(mapping).and_then(Map::mapped_byte) {
            xen.clear_byte(frame, offset);
        }
    }

    /// How many maps there are, in lists or mapped.
    pub fn maps(&self) -> usize {
        self.maps.len()
    }

    /// How many grants are mapped.
    pub fn live_grants(&self) -> usize {
        self.maps.values().map(Map::live_grants).sum()
    }

    /// Whether a map may have so many grants (`gntdev_test_page_count`).
    pub(crate) fn allows(&self, count: u32) -> bool {
        count > 0 && count <= self.limit
    }

    /// Adds a map to its file's list; returns its index.
    pub(crate) fn list(&mut self, mut map: Map) -> Result<u64, Errno> {
        let list = self.files.get_mut(&map.file).ok_or(Errno::EBADF)?;
        let id = MapId(self.next);
        self.next = self.next.saturating_add(1);
        map.index = list.add(map.pages(), id);
        let index = map.index;
        self.maps.insert(id, map);
        Ok(index)
    }

    /// A map is in its file's list no longer.
    pub(crate) fn unlist(&mut self, id: MapId, xen: &mut dyn GrantTable) {
        if let Some(map) = self.maps.get_mut(&id) {
            map.is_listed = false;
        }
        self.drop_if_unused(id, xen);
    }

    pub(crate) fn map_mut(&mut self, id: MapId) -> Option<&mut Map> {
        self.maps.get_mut(&id)
    }

    /// The map that a mapping is of, whichever file made it.
    pub(crate) fn map_of(&self, mapping: MappingId) -> Option<&Map> {
        self.maps.get(self.mappings.get(&mapping)?)
    }

    /// Takes note of whether unmapping changes a page of a map.
    pub(crate) fn note_clearing(&mut self, id: MapId) {
        let Some((mapping, page)) =
            self.maps.get(&id).and_then(|map| Some((map.mapping?, map.page_to_clear())))
        else {
            return;
        };
        if page.is_some() {
            self.clearing.insert(mapping);
        } else {
            self.clearing.remove(&mapping);
        }
    }

    /// Ends a map that nothing refers to any more: its event is sent (`gntdev_put_map`).
    fn drop_if_unused(&mut self, id: MapId, xen: &mut dyn GrantTable) {
        if self.maps.get(&id).is_none_or(|map| map.is_listed || map.mapping.is_some()) {
            return;
        }
        if let Some(port) = self.maps.remove(&id).and_then(|map| map.notify.held_port()) {
            xen.notify(port);
            xen.let_port_go(port);
        }
    }
}
