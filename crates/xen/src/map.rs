//! The calls that map grants and unmap them, and what becomes of mappings when a domain ends.

use crate::grant_entry::Pinned;
use crate::grant_table::GrantTable;
use crate::maptrack::{Mapping, Maptrack};
use crate::memory::PAGE_SIZE;
use crate::{
    DomainId, DomainParams, GrantAccess, GrantHandle, GrantRef, GrantStatus, GrantTarget, Hypervisor, Mfn,
    Refused, Virq,
};

/// What Xen keeps for a domain about grants: the table of what it grants, and of what it has mapped.
///
/// It outlives the domain while any of its pages is mapped.
#[derive(Debug)]
pub(crate) struct Grants {
    pub(crate) table: GrantTable,
    pub(crate) maptrack: Maptrack,
}

impl Grants {
    /// # Errors
    /// [`Refused::BadGrantFrames`].
    pub(crate) fn new(params: &DomainParams) -> Result<Self, Refused> {
        Ok(Self {
            table: GrantTable::new(params.grant_version, params.max_grant_frames)?,
            maptrack: Maptrack::new(params.max_maptrack_frames),
        })
    }
}

/// A grant that was mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedGrant {
    /// What to unmap it by.
    pub handle: GrantHandle,
    /// The page.
    pub mfn: Mfn,
}

impl Hypervisor {
    /// Maps a grant of `granter`, which may be the caller, but not by the name of [`DomainId::SELF`]
    /// (`GNTTABOP_map_grant_ref`, with `GNTMAP_host_map`). The granter may be dying, or gone while its pages are mapped.
    ///
    /// # Errors
    /// In this order:
    /// - [`GrantStatus::BadDomain`]: there is no such granter (nor, here, caller);
    /// - [`GrantStatus::NoDeviceSpace`]: the caller has as many mapped as it may;
    /// - [`GrantStatus::BadGrantRef`]: the reference is beyond the table;
    /// - [`GrantStatus::GeneralError`]: the entry isn't in use, isn't for the caller, isn't of a whole page, is read-only where
    ///   writing is asked for, or is mapped 128 times so already;
    /// - [`GrantStatus::BadPage`]: the page isn't the granter's.
    ///
    /// While an entry is mapped, only the counts and, for the first mapping that writes, the read-only flag are looked at.
    pub fn map_grant_ref(
        &mut self,
        caller: DomainId,
        granter: DomainId,
        reference: GrantRef,
        access: GrantAccess,
    ) -> Result<MappedGrant, GrantStatus> {
        if !self.exists(caller) || !self.grants.contains_key(&granter) {
            return Err(GrantStatus::BadDomain);
        }
        let handle = self.maptrack_mut(caller)?.take().ok_or(GrantStatus::NoDeviceSpace)?;
        match self.pin_for_map(caller, granter, reference, access) {
            Ok(mfn) => {
                self.memory.pin(mfn);
                self.maptrack_mut(caller)?.fill(handle, Mapping { granter, reference, access });
                Ok(MappedGrant { handle, mfn })
            }
            Err(status) => {
                self.maptrack_mut(caller)?.give_back(handle);
                Err(status)
            }
        }
    }

    /// Unmaps a grant (`GNTTABOP_unmap_grant_ref`). With the last mapping goes a page that its owner has let go of.
    ///
    /// # Errors
    /// [`GrantStatus::BadDomain`] if the caller doesn't exist, [`GrantStatus::BadHandle`].
    pub fn unmap_grant_ref(&mut self, caller: DomainId, handle: GrantHandle) -> Result<(), GrantStatus> {
        if !self.exists(caller) {
            return Err(GrantStatus::BadDomain);
        }
        let mapping = self.maptrack_mut(caller)?.remove(handle).ok_or(GrantStatus::BadHandle)?;
        self.unpin_mapping(mapping);
        Ok(())
    }

    /// Unmaps all that a domain has mapped (`gnttab_release_mappings`).
    pub(crate) fn release_mappings(&mut self, id: DomainId) {
        while let Ok(maptrack) = self.maptrack_mut(id)
            && let Some(mapping) = maptrack.first().and_then(|handle| maptrack.remove(handle))
        {
            self.unpin_mapping(mapping);
        }
    }

    /// A domain is gone; its grants go as well, unless its pages are mapped.
    pub(crate) fn abandon_memory(&mut self, id: DomainId) {
        self.memory.abandon(id);
        if !self.memory.has_pages(id) {
            self.grants.remove(&id);
        }
    }

    fn pin_for_map(
        &mut self,
        caller: DomainId,
        granter: DomainId,
        reference: GrantRef,
        access: GrantAccess,
    ) -> Result<Mfn, GrantStatus> {
        let grants = self.grants.get_mut(&granter).ok_or(GrantStatus::BadDomain)?;
        let entry = grants.table.entry(reference)?;
        entry.admit(caller, access)?;
        let first = match (entry.pins, entry.grant.map(|grant| grant.target)) {
            (Some(pins), _) => pins.pinned,
            (None, Some(GrantTarget::Page(mfn))) => {
                if self.memory.owner(mfn) != Some(granter) {
                    return Err(GrantStatus::BadPage);
                }
                Pinned { by: caller, mfn, start: 0, length: PAGE_SIZE as u16, through: None }
            }
            (None, _) => return Err(GrantStatus::GeneralError),
        };
        Ok(grants.table.change(reference, |entry| entry.pin(access, first)).mfn)
    }

    fn unpin_mapping(&mut self, mapping: Mapping) {
        let Mapping { granter, reference, access } = mapping;
        let Some(grants) = self.grants.get_mut(&granter) else { return };
        let Some(pinned) = grants.table.change(reference, |entry| entry.unpin(access)) else { return };
        self.memory.unpin(pinned.mfn);
        if !self.exists(granter) && !self.memory.has_pages(granter) {
            self.grants.remove(&granter);
            // Now Xen is done with the domain, and says so once more.
            let _ = self.raise_global_virq(Virq::DOM_EXC);
        }
    }

    fn maptrack_mut(&mut self, id: DomainId) -> Result<&mut Maptrack, GrantStatus> {
        self.grants.get_mut(&id).map(|grants| &mut grants.maptrack).ok_or(GrantStatus::BadDomain)
    }
}
