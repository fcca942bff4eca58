//! A map: grants that were named together, and what has been mapped of them.

use alloc::vec::Vec;

use ioctlab_abi::gntdev::{NOTIFY_CLEAR_BYTE, NOTIFY_SEND_EVENT};
use ioctlab_chardev::{Errno, FileId, Frame, MappingId, PAGE_SIZE};

use crate::GrantTable;

/// A grant, as a program names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    pub(crate) domain: u32,
    pub(crate) reference: u32,
}

/// What is to happen as a map goes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Notify {
    pub(crate) actions: u32,
    /// The byte to be cleared, counted from the map's first.
    pub(crate) byte: u64,
    pub(crate) port: u32,
}

impl Notify {
    /// The port that is held for it.
    pub(crate) fn held_port(self) -> Option<u32> {
        (self.actions & NOTIFY_SEND_EVENT != 0).then_some(self.port)
    }
}

/// A map.
#[derive(Debug)]
pub(crate) struct Map {
    /// The file it was made by.
    pub(crate) file: FileId,
    /// Where it is, or was, in its file's list; in pages.
    pub(crate) index: u64,
    pub(crate) grants: Vec<Grant>,
    /// It is in its file's list.
    pub(crate) is_listed: bool,
    /// It was mapped, or that was tried: it can't be again.
    pub(crate) was_mapped: bool,
    /// It was mapped for reading only.
    pub(crate) read_only: bool,
    /// Its mapping, while that is there.
    pub(crate) mapping: Option<MappingId>,
    /// The grants that are mapped, by page; empty unless some are.
    mapped: Vec<Option<(u32, Frame)>>,
    pub(crate) notify: Notify,
}

impl Map {
    pub(crate) const fn new(file: FileId, grants: Vec<Grant>) -> Self {
        Self {
            file,
            index: 0,
            grants,
            is_listed: true,
            was_mapped: false,
            read_only: false,
            mapping: None,
            mapped: Vec::new(),
            notify: Notify { actions: 0, byte: 0, port: 0 },
        }
    }

    /// Maps all grants, or none (`gntdev_map_grant_pages`); returns their pages.
    ///
    /// # Errors
    /// `ENOMEM`; `EINVAL` if any can't be mapped.
    pub(crate) fn map_grants(&mut self, xen: &mut dyn GrantTable) -> Result<Vec<Frame>, Errno> {
        let mut frames = Vec::new();
        frames.try_reserve_exact(self.grants.len()).map_err(|_| Errno::ENOMEM)?;
        let mut mapped = Vec::new();
        mapped.try_reserve_exact(self.grants.len()).map_err(|_| Errno::ENOMEM)?;
        for grant in &self.grants {
            // Xen's domain numbers have 16 bits; the rest is cut off.
            let result = xen.map(grant.domain as u16, grant.reference, self.read_only).ok();
            frames.extend(result.map(|(_, frame)| frame));
            mapped.push(result);
        }
        self.mapped = mapped;
        if frames.len() == self.grants.len() {
            return Ok(frames);
        }
        self.unmap_grants(0, self.pages(), xen);
        Err(Errno::EINVAL)
    }

    /// Unmaps those grants of a range of pages that are mapped, and clears the notification's byte if it is among them.
    pub(crate) fn unmap_grants(&mut self, first: u64, pages: u64, xen: &mut dyn GrantTable) {
        let start = usize::try_from(first).unwrap_or(usize::MAX).min(self.mapped.len());
        let pages = usize::try_from(pages).unwrap_or(usize::MAX);
        let end = start.saturating_add(pages).min(self.mapped.len());
        if let Some((page, _)) = self.byte_to_clear()
            && (start..end).contains(&page)
            && let Some((frame, offset)) = self.mapped_byte()
        {
            xen.clear_byte(frame, offset);
            self.notify.actions &= !NOTIFY_CLEAR_BYTE;
        }
        for grant in self.mapped.get_mut(start..end).unwrap_or_default() {
            if let Some((handle, _)) = grant.take() {
                xen.unmap(handle);
            }
        }
    }

    /// The page, if it is mapped, whose contents change when it is unmapped.
    pub(crate) fn page_to_clear(&self) -> Option<u64> {
        let (page, _) = self.byte_to_clear()?;
        self.mapped.get(page)?.as_ref()?;
        u64::try_from(page).ok()
    }

    /// The byte to be cleared, if its page is mapped.
    pub(crate) fn mapped_byte(&self) -> Option<(Frame, u16)> {
        let (page, offset) = self.byte_to_clear()?;
        let (_, frame) = (*self.mapped.get(page)?)?;
        Some((frame, offset))
    }

    /// The page and byte to be cleared. Through a read-only mapping nothing is.
    fn byte_to_clear(&self) -> Option<(usize, u16)> {
        if self.notify.actions & NOTIFY_CLEAR_BYTE == 0 || self.read_only {
            return None;
        }
        let page = usize::try_from(self.notify.byte.checked_div(PAGE_SIZE)?).ok()?;
        let offset = u16::try_from(self.notify.byte.checked_rem(PAGE_SIZE)?).ok()?;
        Some((page, offset))
    }

    pub(crate) fn pages(&self) -> u64 {
        u64::try_from(self.grants.len()).unwrap_or(u64::MAX)
    }

    /// How many of its grants are mapped.
    pub(crate) fn live_grants(&self) -> usize {
        self.mapped.iter().flatten().count()
    }
}
