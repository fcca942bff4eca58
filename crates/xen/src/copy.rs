//! Copies from and to grants, which map nothing.

use crate::grant_entry::{Entry, Pinned};
use crate::memory::{MachineMemory, PAGE_SIZE};
use crate::{DomainId, GrantAccess, GrantRef, GrantStatus, GrantTarget, Hypervisor, Mfn};

/// One end of a [`Hypervisor::grant_copy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyEnd {
    /// What a domain has granted to the caller (`GNTCOPY_source_gref`, `GNTCOPY_dest_gref`).
    Grant {
        /// The granter; [`DomainId::SELF`] is the caller.
        domain: DomainId,
        /// Its grant.
        reference: GrantRef,
        /// Where in the page, not in what is granted of it, to begin.
        offset: u16,
    },
    /// A page of the caller's own.
    Page {
        /// [`DomainId::SELF`]. Nothing else will do, not even the caller's number.
        domain: DomainId,
        /// The page.
        mfn: Mfn,
        /// Where in it to begin.
        offset: u16,
    },
}

/// What a domain may copy from or to: part of a page, and from where in it.
#[derive(Clone, Copy, Debug)]
struct Window {
    mfn: Mfn,
    start: u16,
    length: u16,
}

impl Window {
    /// All of a page.
    fn page(mfn: Mfn) -> Self {
        Self { mfn, start: 0, length: PAGE_SIZE as u16 }
    }

    /// # Errors
    /// [`GrantStatus::GeneralError`].
    fn check(self, offset: u16, length: usize) -> Result<(), GrantStatus> {
        let end = usize::from(self.start).saturating_add(usize::from(self.length));
        if offset < self.start || end_of(offset, length) > end {
            return Err(GrantStatus::GeneralError);
        }
        Ok(())
    }
}

fn end_of(offset: u16, length: usize) -> usize {
    usize::from(offset).saturating_add(length)
}

/// An end, found and pinned, to be released.
#[derive(Clone, Copy, Debug)]
struct Claim {
    window: Window,
    pinned: Option<(DomainId, GrantRef, GrantAccess)>,
}

impl Hypervisor {
    /// Copies bytes within a page to within a page (`GNTTABOP_copy`). They may be the same one.
    ///
    /// # Errors
    /// In this order, at each point the source before the destination:
    /// - [`GrantStatus::BadDomain`]: the caller doesn't exist;
    /// - [`GrantStatus::PermissionDenied`]: a page that isn't [`DomainId::SELF`]'s; [`GrantStatus::BadDomain`]: no such granter;
    /// - [`GrantStatus::BadGrantRef`], [`GrantStatus::GeneralError`], [`GrantStatus::BadPage`] as for
    ///   [`Hypervisor::map_grant_ref`], but that parts of pages and others' grants can be copied;
    ///   [`GrantStatus::BadDomain`] from or to a page that is mapped, if its owner is dying; [`GrantStatus::BadPage`] for a page
    ///   that isn't the caller's;
    /// - [`GrantStatus::BadCopyArg`]: either end crosses the end of its page;
    /// - [`GrantStatus::GeneralError`]: more than what is granted of the page.
    pub fn grant_copy(
        &mut self,
        caller: DomainId,
        source: CopyEnd,
        dest: CopyEnd,
        length: u16,
        memory: &mut dyn MachineMemory,
    ) -> Result<(), GrantStatus> {
        if !self.exists(caller) {
            return Err(GrantStatus::BadDomain);
        }
        self.check_end_domain(caller, source)?;
        self.check_end_domain(caller, dest)?;
        let from = self.claim_end(caller, source, GrantAccess::ReadOnly)?;
        let to = self.claim_end(caller, dest, GrantAccess::ReadWrite);
        let result = to.and_then(|to| {
            let length = usize::from(length);
            let (from_offset, to_offset) = (offset_of(source), offset_of(dest));
            if end_of(from_offset, length) > PAGE_SIZE || end_of(to_offset, length) > PAGE_SIZE {
                return Err(GrantStatus::BadCopyArg);
            }
            from.window.check(from_offset, length)?;
            to.window.check(to_offset, length)?;
            let mut buffer = [0; PAGE_SIZE];
            let bytes = buffer.get_mut(..length).ok_or(GrantStatus::BadCopyArg)?;
            memory.read(from.window.mfn, from_offset.into(), bytes);
            memory.write(to.window.mfn, to_offset.into(), bytes);
            Ok(())
        });
        if let Ok(to) = to {
            self.release(to);
        }
        self.release(from);
        result
    }

    /// Copies from a grant to the beginning of a page of the caller's own, whose bytes are here: as
    /// [`Hypervisor::grant_copy`] does.
    ///
    /// # Errors
    /// As [`Hypervisor::grant_copy`].
    pub fn grant_read(
        &mut self,
        caller: DomainId,
        granter: DomainId,
        reference: GrantRef,
        offset: u16,
        to: &mut [u8],
        memory: &mut dyn MachineMemory,
    ) -> Result<(), GrantStatus> {
        let end = CopyEnd::Grant { domain: granter, reference, offset };
        let mfn = self.with_end(caller, end, GrantAccess::ReadOnly, to.len())?;
        memory.read(mfn, offset.into(), to);
        Ok(())
    }

    /// Copies to a grant from the beginning of a page of the caller's own, whose bytes are here: as
    /// [`Hypervisor::grant_copy`] does.
    ///
    /// # Errors
    /// As [`Hypervisor::grant_copy`].
    pub fn grant_write(
        &mut self,
        caller: DomainId,
        granter: DomainId,
        reference: GrantRef,
        offset: u16,
        from: &[u8],
        memory: &mut dyn MachineMemory,
    ) -> Result<(), GrantStatus> {
        let end = CopyEnd::Grant { domain: granter, reference, offset };
        let mfn = self.with_end(caller, end, GrantAccess::ReadWrite, from.len())?;
        memory.write(mfn, offset.into(), from);
        Ok(())
    }

    /// All checks of a copy whose other end is the caller's own; returns the page to copy from or to.
    fn with_end(
        &mut self,
        caller: DomainId,
        end: CopyEnd,
        access: GrantAccess,
        length: usize,
    ) -> Result<Mfn, GrantStatus> {
        if !self.exists(caller) {
            return Err(GrantStatus::BadDomain);
        }
        self.check_end_domain(caller, end)?;
        let claim = self.claim_end(caller, end, access)?;
        let offset = offset_of(end);
        let result = if end_of(offset, length) > PAGE_SIZE {
            Err(GrantStatus::BadCopyArg)
        } else {
            claim.window.check(offset, length)
        };
        self.release(claim);
        result.map(|()| claim.window.mfn)
    }

    /// Whether an end's domain can be named so (`gnttab_copy_lock_domain`).
    fn check_end_domain(&self, caller: DomainId, end: CopyEnd) -> Result<(), GrantStatus> {
        match end {
            CopyEnd::Page { domain: DomainId::SELF, .. } => Ok(()),
            CopyEnd::Page { .. } => Err(GrantStatus::PermissionDenied),
            CopyEnd::Grant { domain, .. } if self.grants.contains_key(&domain.resolve(caller)) => Ok(()),
            CopyEnd::Grant { .. } => Err(GrantStatus::BadDomain),
        }
    }

    /// Finds an end's page, and pins its grant (`gnttab_copy_claim_buf`).
    fn claim_end(
        &mut self,
        caller: DomainId,
        end: CopyEnd,
        access: GrantAccess,
    ) -> Result<Claim, GrantStatus> {
        match end {
            CopyEnd::Page { mfn, .. } if self.memory.owner(mfn) == Some(caller) => {
                Ok(Claim { window: Window::page(mfn), pinned: None })
            }
            CopyEnd::Page { .. } => Err(GrantStatus::BadPage),
            CopyEnd::Grant { domain, reference, .. } => {
                let granter = domain.resolve(caller);
                let pinned = self.claim_grant(granter, reference, caller, access, true)?;
                let window = Window { mfn: pinned.mfn, start: pinned.start, length: pinned.length };
                Ok(Claim { window, pinned: Some((granter, reference, access)) })
            }
        }
    }

    /// Pins a grant, and if it is transitive, the one that it leads to (`acquire_grant_for_copy`).
    fn claim_grant(
        &mut self,
        granter: DomainId,
        reference: GrantRef,
        by: DomainId,
        access: GrantAccess,
        transitive: bool,
    ) -> Result<Pinned, GrantStatus> {
        let grants = self.grants.get(&granter).ok_or(GrantStatus::BadDomain)?;
        let entry = grants.table.entry(reference)?;
        entry.admit(by, access)?;
        let first = match entry.grant.map(|grant| grant.target) {
            Some(GrantTarget::Transitive { domain, reference }) => {
                if !transitive || domain == granter || !self.grants.contains_key(&domain) {
                    return Err(GrantStatus::GeneralError);
                }
                let target = self.claim_grant(domain, reference, granter, access, false)?;
                Pinned { by, through: Some((domain, reference)), ..target }
            }
            _ if entry.is_read_for(access) => self.find_page(granter, &entry, by)?,
            _ => match entry.pins {
                Some(pins) if !self.is_on_its_way(granter) => pins.pinned,
                _ => return Err(GrantStatus::BadDomain),
            },
        };
        let grants = self.grants.get_mut(&granter).ok_or(GrantStatus::BadDomain)?;
        Ok(grants.table.change(reference, |entry| entry.pin(access, first)))
    }

    /// What an entry that isn't transitive stands for, as it is written now; or was, when it was pinned and then cleared.
    fn find_page(&self, granter: DomainId, entry: &Entry, by: DomainId) -> Result<Pinned, GrantStatus> {
        let page = |mfn| Pinned { by, mfn, start: 0, length: PAGE_SIZE as u16, through: None };
        let found = match (entry.grant.map(|grant| grant.target), entry.pins) {
            (Some(GrantTarget::Page(mfn)), _) => page(mfn),
            (Some(GrantTarget::SubPage { mfn, offset, length }), _) => {
                Pinned { start: offset, length, ..page(mfn) }
            }
            (_, Some(pins)) => pins.pinned,
            (_, None) => return Err(GrantStatus::GeneralError),
        };
        if self.memory.owner(found.mfn) == Some(granter) { Ok(found) } else { Err(GrantStatus::BadPage) }
    }

    fn release(&mut self, claim: Claim) {
        let Some((granter, reference, access)) = claim.pinned else { return };
        let mut next = Some((granter, reference));
        while let Some((granter, reference)) = next {
            let grants = self.grants.get_mut(&granter);
            let pinned =
                grants.and_then(|grants| grants.table.change(reference, |entry| entry.unpin(access)));
            next = pinned.and_then(|pinned| pinned.through);
        }
    }

    /// Whether a domain is dying, or gone but for its pages.
    fn is_on_its_way(&self, id: DomainId) -> bool {
        self.domain(id).map_or(true, |domain| domain.dying)
    }
}

fn offset_of(end: CopyEnd) -> u16 {
    match end {
        CopyEnd::Grant { offset, .. } | CopyEnd::Page { offset, .. } => offset,
    }
}
