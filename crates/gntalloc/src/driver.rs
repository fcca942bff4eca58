//! The calls of the device, but for its ioctls.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use ioctlab_abi::gntdev::{NOTIFY_CLEAR_BYTE, NOTIFY_SEND_EVENT};
use ioctlab_chardev::{Errno, FileId, Frame, Mapping, MappingId, MmapRequest, Pages};

use crate::PageOwner;

/// The module parameter `limit`, unless it is given: the most pages over all files.
pub const DEFAULT_LIMIT: u32 = 1024;

/// A page's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PageId(u64);

/// What is to happen as a page goes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Notify {
    pub(crate) actions: u32,
    /// The byte of the page to be cleared.
    pub(crate) offset: u16,
    pub(crate) port: u32,
}

impl Notify {
    /// The port that is held for it.
    pub(crate) fn held_port(self) -> Option<u32> {
        (self.actions & NOTIFY_SEND_EVENT != 0).then_some(self.port)
    }
}

/// A page that is shared.
#[derive(Debug)]
pub(crate) struct Page {
    reference: u32,
    frame: Frame,
    /// What refers to it: its file, and mappings.
    users: usize,
    pub(crate) notify: Notify,
}

/// An open file.
#[derive(Debug, Default)]
pub(crate) struct File {
    /// The pages by their indices, in pages. An index is never used twice.
    pub(crate) pages: BTreeMap<u64, PageId>,
    pub(crate) next_index: u64,
}

/// `/dev/xen/gntalloc` of one guest kernel, with all its open files.
///
/// Calls on a file that is not open are `EBADF`.
#[derive(Debug)]
pub struct Driver {
    pub(crate) limit: u32,
    /// Pages that there are, or are being made.
    pub(crate) count: u64,
    pub(crate) files: BTreeMap<FileId, File>,
    pub(crate) pages: BTreeMap<PageId, Page>,
    mappings: BTreeMap<MappingId, Vec<PageId>>,
    /// Pages with a byte to be cleared.
    pub(crate) clearing: BTreeSet<PageId>,
    next: u64,
}

impl Driver {
    /// A driver with no open files; `limit` is the most pages that there may be over all files.
    pub const fn new(limit: u32) -> Self {
        Self {
            limit,
            count: 0,
            files: BTreeMap::new(),
            pages: BTreeMap::new(),
            mappings: BTreeMap::new(),
            clearing: BTreeSet::new(),
            next: 0,
        }
    }

    /// A file was opened: no pages. Of no effect if it is open already.
    pub fn open(&mut self, file: FileId) {
        self.files.entry(file).or_default();
    }

    /// Nothing refers to a file any more: its pages go, lowest index first. Of no effect if it is not open.
    pub fn release(&mut self, file: FileId, owner: &mut dyn PageOwner) {
        let Some(file) = self.files.remove(&file) else { return };
        for page in file.pages.into_values() {
            self.let_go(page, owner);
        }
    }

    /// `mmap(2)` of pages with consecutive indices (`gntalloc_mmap`). Whether the other domain may write to them doesn't
    /// matter.
    ///
    /// # Errors
    /// `EINVAL` for a private mapping; `ENOENT` unless the file has a page at each of the indices; `ENOMEM`.
    pub fn mmap(&mut self, file: FileId, request: &MmapRequest) -> Result<Mapping, Errno> {
        let file = self.files.get(&file).ok_or(Errno::EBADF)?;
        if !request.shared {
            return Err(Errno::EINVAL);
        }
        let pages = file.find(request.page, request.pages).ok_or(Errno::ENOENT)??;
        let mut frames = Vec::new();
        frames.try_reserve_exact(pages.len()).map_err(|_| Errno::ENOMEM)?;
        for id in &pages {
            if let Some(page) = self.pages.get_mut(id) {
                page.users = page.users.saturating_add(1);
                frames.push(page.frame);
            }
        }
        self.mappings.insert(request.mapping, pages);
        Ok(Mapping { pages: Pages::Frames(frames), read_only: false, inherited: true })
    }

    /// Nothing is left of a mapping: its pages are in use by it no longer.
    pub fn unmapped(&mut self, mapping: MappingId, owner: &mut dyn PageOwner) {
        for page in self.mappings.remove(&mapping).unwrap_or_default() {
            self.let_go(page, owner);
        }
    }

    /// Mappings that are the last to refer to a page with a byte to be cleared.
    pub fn changed_by_unmapping(&self) -> Vec<MappingId> {
        if self.clearing.is_empty() {
            return Vec::new();
        }
        let is_last = |id: &PageId| {
            self.clearing.contains(id) && self.pages.get(id).is_some_and(|page| page.users == 1)
        };
        let changing = self.mappings.iter().filter(|(_, pages)| pages.iter().any(is_last));
        changing.map(|(mapping, _)| *mapping).collect()
    }

    /// How many pages there are.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Adds a page, which its file refers to.
    pub(crate) fn add(&mut self, reference: u32, frame: Frame) -> PageId {
        let id = PageId(self.next);
        self.next = self.next.saturating_add(1);
        self.pages.insert(id, Page { reference, frame, users: 1, notify: Notify::default() });
        id
    }

    /// Something refers to a page no longer; with the last it goes (`__del_gref`): first its byte is cleared, then its event
    /// is sent, then access ends.
    pub(crate) fn let_go(&mut self, id: PageId, owner: &mut dyn PageOwner) {
        let Some(page) = self.pages.get_mut(&id) else { return };
        page.users = page.users.saturating_sub(1);
        if page.users > 0 {
            return;
        }
        let Some(page) = self.pages.remove(&id) else { return };
        self.clearing.remove(&id);
        if page.notify.actions & NOTIFY_CLEAR_BYTE != 0 {
            owner.clear_byte(page.frame, page.notify.offset);
        }
        if let Some(port) = page.notify.held_port() {
            owner.notify(port);
            owner.let_port_go(port);
        }
        owner.end_access(page.reference, page.frame);
        self.count = self.count.saturating_sub(1);
    }
}

impl File {
    /// The pages at `count` consecutive indices; `None` unless there are that many, and at least one.
    pub(crate) fn find(&self, index: u64, count: u64) -> Option<Result<Vec<PageId>, Errno>> {
        let end = index.checked_add(count)?;
        // Counted before anything is allocated: a client chooses the count.
        let there = self.pages.range(index..end).count();
        if count == 0 || u64::try_from(there) != Ok(count) {
            return None;
        }
        let mut pages = Vec::new();
        if pages.try_reserve_exact(there).is_err() {
            return Some(Err(Errno::ENOMEM));
        }
        pages.extend(self.pages.range(index..end).map(|(_, page)| *page));
        Some(Ok(pages))
    }
}
