//! A domain's grant table, and how its kernel manages the entries.

use crate::grant_entry::{Entry, Holder};
use crate::{Grant, GrantRef, GrantStatus, GrantTarget, Mfn, Refused};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// Which layout of grant table a domain uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GrantVersion {
    /// 512 entries in a frame. A guest clears an entry only when nobody uses it. Linux's choice on machines of up to 16 TiB.
    #[default]
    V1,
    /// 256 entries in a frame, with grants of parts of a page and of others' grants. Who uses an entry is told elsewhere, so
    /// that a guest can clear it at any time.
    V2,
}

impl GrantVersion {
    /// Entries in a frame of 4 KiB.
    pub const fn entries_per_frame(self) -> u32 {
        match self {
            Self::V1 => 512,
            Self::V2 => 256,
        }
    }
}

/// A grant whose end waits for its last user.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deferred {
    pub(crate) reference: GrantRef,
    /// The page that is held until then.
    pub(crate) page: Option<Mfn>,
}

/// The grant table of a domain.
#[derive(Debug)]
pub(crate) struct GrantTable {
    version: GrantVersion,
    frames: u32,
    max_frames: u32,
    /// Entries that aren't blank.
    entries: BTreeMap<GrantRef, Entry>,
    /// References that the kernel has had back, the next to be handed out last.
    returned: Vec<GrantRef>,
    /// References from here to the end of the table were never handed out: they come after those returned.
    fresh: u32,
    pub(crate) deferred: VecDeque<Deferred>,
}

impl GrantTable {
    /// A table of one frame.
    ///
    /// # Errors
    /// [`Refused::BadGrantFrames`].
    pub(crate) fn new(version: GrantVersion, max_frames: u32) -> Result<Self, Refused> {
        if max_frames == 0 {
            return Err(Refused::BadGrantFrames);
        }
        Ok(Self {
            version,
            frames: 1,
            max_frames,
            entries: BTreeMap::new(),
            returned: Vec::new(),
            fresh: GrantRef::RESERVED,
            deferred: VecDeque::new(),
        })
    }

    pub(crate) fn version(&self) -> GrantVersion {
        self.version
    }

    /// Frames now, and at most.
    pub(crate) fn frames(&self) -> (u32, u32) {
        (self.frames, self.max_frames)
    }

    /// How many entries there are.
    fn size(&self) -> u32 {
        self.frames.saturating_mul(self.version.entries_per_frame())
    }

    /// An entry, blank or not.
    ///
    /// # Errors
    /// [`GrantStatus::BadGrantRef`] beyond the table.
    pub(crate) fn entry(&self, reference: GrantRef) -> Result<Entry, GrantStatus> {
        if reference.0 >= self.size() {
            return Err(GrantStatus::BadGrantRef);
        }
        Ok(self.entries.get(&reference).copied().unwrap_or_default())
    }

    /// Entries that aren't blank.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (GrantRef, &Entry)> {
        self.entries.iter().map(|(reference, entry)| (*reference, entry))
    }

    /// Changes an entry of the table, and forgets it if it is blank then.
    pub(crate) fn change<T>(&mut self, reference: GrantRef, change: impl FnOnce(&mut Entry) -> T) -> T {
        let entry = self.entries.entry(reference).or_default();
        let result = change(entry);
        if entry.is_blank() {
            self.entries.remove(&reference);
        }
        result
    }

    /// The kernel takes a free reference: the one that came back last, or if there is none, the lowest it never had. The
    /// table grows by a frame if it must (`get_free_entries`).
    ///
    /// # Errors
    /// [`Refused::NoFreeGrant`].
    pub(crate) fn take_free(&mut self) -> Result<GrantRef, Refused> {
        if let Some(reference) = self.returned.pop() {
            return Ok(reference);
        }
        if self.fresh >= self.size() {
            if self.frames >= self.max_frames {
                return Err(Refused::NoFreeGrant);
            }
            self.frames = self.frames.saturating_add(1);
            if self.fresh >= self.size() {
                // References are of 32 bits.
                return Err(Refused::NoFreeGrant);
            }
        }
        let reference = GrantRef(self.fresh);
        self.fresh = self.fresh.saturating_add(1);
        Ok(reference)
    }

    /// Fills an entry. In version 1, where the bits that show its use are in the entry, they are overwritten; and frame
    /// numbers have 32 bits there.
    pub(crate) fn write(&mut self, reference: GrantRef, mut grant: Grant) {
        let v1 = self.version == GrantVersion::V1;
        if v1 && let GrantTarget::Page(mfn) = &mut grant.target {
            mfn.0 &= u64::from(u32::MAX);
        }
        self.change(reference, |entry| {
            entry.grant = Some(grant);
            entry.holder = Holder::Granted;
            if v1 {
                (entry.reading, entry.writing) = (false, false);
            }
        });
    }

    /// The kernel ends a grant if nobody uses it, and gets the reference back; returns whether it did. In version 2 the entry
    /// is no longer valid either way (`gnttab_end_foreign_access_ref_v1`, `_v2`).
    pub(crate) fn end(&mut self, reference: GrantRef) -> bool {
        let v2 = self.version == GrantVersion::V2;
        let ended = self.change(reference, |entry| {
            let ended = !entry.in_use();
            if ended || v2 {
                entry.grant = None;
            }
            entry.holder = if ended { Holder::Nobody } else { Holder::Deferred };
            ended
        });
        if ended && !reference.is_reserved() {
            self.returned.push(reference);
        }
        ended
    }

    /// Switches to another version: all entries but the reserved ones are cleared, and the kernel's are free again.
    ///
    /// # Errors
    /// [`Refused::GrantsInUse`] if others than the reserved ones are.
    pub(crate) fn set_version(&mut self, version: GrantVersion) -> Result<(), Refused> {
        let mut others = self.entries.range(GrantRef(GrantRef::RESERVED)..);
        if others.any(|(_, entry)| entry.pins.is_some()) {
            return Err(Refused::GrantsInUse);
        }
        self.entries.split_off(&GrantRef(GrantRef::RESERVED));
        self.entries.retain(|_, entry| {
            if entry.holder == Holder::Deferred {
                entry.holder = if entry.grant.is_some() { Holder::Granted } else { Holder::Nobody };
            }
            !entry.is_blank()
        });
        self.returned.clear();
        self.fresh = GrantRef::RESERVED;
        self.version = version;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_come_in_order_and_then_last_in_first_out() {
        let mut table = GrantTable::new(GrantVersion::V1, 2).unwrap();
        for expected in 8..512 {
            assert_eq!(table.take_free(), Ok(GrantRef(expected)));
            assert_eq!(table.frames(), (1, 2));
        }
        for reference in [9, 100, 8] {
            assert!(table.end(GrantRef(reference)));
        }
        assert!(table.end(GrantRef(3)), "a reserved one doesn't come back");
        for expected in [8, 100, 9].into_iter().chain(512..1024) {
            assert_eq!(table.take_free(), Ok(GrantRef(expected)));
        }
        assert_eq!((table.take_free(), table.frames()), (Err(Refused::NoFreeGrant), (2, 2)));
    }

    #[test]
    fn the_largest_table_ends_with_the_numbers() {
        let mut table = GrantTable::new(GrantVersion::V1, u32::MAX).unwrap();
        (table.frames, table.fresh) = (u32::MAX / 512, u32::MAX / 512 * 512);
        assert!(table.take_free().is_ok());
        table.fresh = u32::MAX;
        assert_eq!(table.take_free(), Err(Refused::NoFreeGrant));
        assert!(table.entry(GrantRef(u32::MAX - 1)).is_ok());
    }
}
