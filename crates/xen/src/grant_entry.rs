//! One entry of a grant table: what the guest wrote into it, and who uses it.

use crate::{DomainId, GrantRef, GrantStatus, Mfn};

/// What a grant allows, or what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GrantAccess {
    /// Reading and writing.
    ReadWrite,
    /// Reading only (`GTF_readonly`, `GNTMAP_readonly`).
    ReadOnly,
}

/// What is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantTarget {
    /// A page (`GTF_permit_access`).
    Page(Mfn),
    /// Part of a page (`GTF_sub_page`), which can only be copied. Xen takes any numbers, and refuses what is beyond a page
    /// in each copy.
    SubPage {
        /// The page.
        mfn: Mfn,
        /// Where the part begins.
        offset: u16,
        /// How long it is.
        length: u16,
    },
    /// What another domain has granted to the granter (`GTF_transitive`), which can only be copied.
    Transitive {
        /// The other domain.
        domain: DomainId,
        /// Its grant.
        reference: GrantRef,
    },
}

impl GrantTarget {
    /// The page, unless it is another domain's to say.
    pub(crate) fn frame(self) -> Option<Mfn> {
        match self {
            Self::Page(mfn) | Self::SubPage { mfn, .. } => Some(mfn),
            Self::Transitive { .. } => None,
        }
    }
}

/// A valid entry, as the guest wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Whom it is for. The number as written: [`DomainId::SELF`] is nobody's.
    pub remote: DomainId,
    /// What it allows.
    pub access: GrantAccess,
    /// What is granted.
    pub target: GrantTarget,
}

/// What the granter's kernel does with an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nothing: it is free, or was never its own.
    #[default]
    Nobody,
    /// It has granted something.
    Granted,
    /// It has ended that, but somebody still uses it.
    Deferred,
}

/// Which bytes of which page an entry stands for while it is pinned, and for whom (`struct active_grant_entry`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pinned {
    pub(crate) by: DomainId,
    pub(crate) mfn: Mfn,
    pub(crate) start: u16,
    pub(crate) length: u16,
    /// For a transitive grant, the entry it led to, which is pinned as well.
    pub(crate) through: Option<(DomainId, GrantRef)>,
}

/// How often an entry is pinned, and what it is while it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pins {
    pub(crate) pinned: Pinned,
    pub(crate) reads: u8,
    pub(crate) writes: u8,
}

/// Most pins of a kind: each counter has eight bits, and one with the top bit set isn't raised any more
/// (`GNTPIN_incr2oflow_mask`).
const MOST_PINS: u8 = 128;

/// An entry that isn't blank.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Entry {
    /// What the guest wrote; `None` once it has cleared it.
    pub(crate) grant: Option<Grant>,
    /// `GTF_reading`: Xen set it with the first pin, and clears it with the last.
    pub(crate) reading: bool,
    /// `GTF_writing`: the same for those that write.
    pub(crate) writing: bool,
    pub(crate) pins: Option<Pins>,
    pub(crate) holder: Holder,
}

impl Entry {
    /// Whether Xen shows the guest that somebody uses the entry.
    pub(crate) fn in_use(&self) -> bool {
        self.reading || self.writing
    }

    /// Whether nothing is known of the entry that needs remembering.
    pub(crate) fn is_blank(&self) -> bool {
        self.grant.is_none() && self.pins.is_none() && self.holder == Holder::Nobody && !self.in_use()
    }

    /// Whether a pin would be the first, or the first to write: only then does Xen look at what the guest wrote.
    pub(crate) fn is_read_for(&self, access: GrantAccess) -> bool {
        match &self.pins {
            None => true,
            Some(pins) => access == GrantAccess::ReadWrite && pins.writes == 0,
        }
    }

    /// Whether `by` may pin the entry. In Xen's order: an entry that is pinned already must be so for the same domain, and
    /// its count have room; for the first pin, the entry must be meant for the domain; for the first one that writes, it must
    /// not be read-only (`_set_status`). Whether it is of the right type is for the caller to see.
    ///
    /// # Errors
    /// [`GrantStatus::GeneralError`].
    pub(crate) fn admit(&self, by: DomainId, access: GrantAccess) -> Result<(), GrantStatus> {
        if let Some(pins) = &self.pins {
            let count = match access {
                GrantAccess::ReadOnly => pins.reads,
                GrantAccess::ReadWrite => pins.writes,
            };
            if pins.pinned.by != by || count >= MOST_PINS {
                return Err(GrantStatus::GeneralError);
            }
        } else {
            let grant = self.grant.ok_or(GrantStatus::GeneralError)?;
            if grant.remote != by {
                return Err(GrantStatus::GeneralError);
            }
        }
        let read_only = self.grant.is_some_and(|grant| grant.access == GrantAccess::ReadOnly);
        if access == GrantAccess::ReadWrite && self.is_read_for(access) && read_only {
            return Err(GrantStatus::GeneralError);
        }
        Ok(())
    }

    /// Pins the entry, which has admitted it; `first` is what it stands for if it wasn't pinned.
    pub(crate) fn pin(&mut self, access: GrantAccess, first: Pinned) -> Pinned {
        if self.is_read_for(access) {
            self.reading = true;
            self.writing |= access == GrantAccess::ReadWrite;
        }
        let pins = self.pins.get_or_insert(Pins { pinned: first, reads: 0, writes: 0 });
        let count = match access {
            GrantAccess::ReadOnly => &mut pins.reads,
            GrantAccess::ReadWrite => &mut pins.writes,
        };
        *count = count.saturating_add(1);
        pins.pinned
    }

    /// Takes a pin away; returns what the entry stood for.
    pub(crate) fn unpin(&mut self, access: GrantAccess) -> Option<Pinned> {
        let pins = self.pins.as_mut()?;
        let pinned = pins.pinned;
        match access {
            GrantAccess::ReadOnly => pins.reads = pins.reads.saturating_sub(1),
            GrantAccess::ReadWrite => pins.writes = pins.writes.saturating_sub(1),
        }
        if pins.writes == 0 {
            self.writing = false;
            if pins.reads == 0 {
                self.reading = false;
                self.pins = None;
            }
        }
        Some(pinned)
    }
}
