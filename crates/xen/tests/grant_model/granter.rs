//! What the granters' kernels do in the model.

use super::{BLANK, Entry, Kernel, Model, Result};
use ioctlab_xen::{
    DomainId, EndOfAccess, Grant, GrantAccess, GrantRef, GrantTarget, GrantVersion, Mfn, Refused,
};

impl Model {
    pub(crate) fn grant(&mut self, id: DomainId, grant: Grant) -> Result<GrantRef> {
        let domain = self.alive(id)?;
        if domain.version == GrantVersion::V1 && !matches!(grant.target, GrantTarget::Page(_)) {
            return Err(Refused::NotGrantV2);
        }
        if domain.free.is_empty() {
            if domain.frames == domain.max_frames {
                return Err(Refused::NoFreeGrant);
            }
            domain.grow();
        }
        let reference = domain.free.remove(0);
        domain.entries[reference as usize] = Entry { grant: Some(grant), kernel: Kernel::Granted, ..BLANK };
        Ok(GrantRef(reference))
    }

    pub(crate) fn grant_at(
        &mut self,
        id: DomainId,
        reference: GrantRef,
        remote: DomainId,
        mfn: Mfn,
        access: GrantAccess,
    ) -> Result<()> {
        let domain = self.alive(id)?;
        if reference.0 >= 8 {
            return Err(Refused::NotReservedGrant);
        }
        let entry = &mut domain.entries[reference.0 as usize];
        entry.grant = Some(Grant { remote, access, target: GrantTarget::Page(mfn) });
        entry.kernel = Kernel::Granted;
        if domain.version == GrantVersion::V1 {
            (entry.reading, entry.writing) = (false, false);
        }
        Ok(())
    }

    pub(crate) fn end_foreign_access(
        &mut self,
        id: DomainId,
        reference: GrantRef,
        page: Option<Mfn>,
    ) -> Result<EndOfAccess> {
        let domain = self.alive(id)?;
        let entry = domain.entries.get(reference.0 as usize).copied().unwrap_or(BLANK);
        if entry.kernel != Kernel::Granted {
            return Err(Refused::NotGranted);
        }
        if let Some(page) = page {
            self.owns(id, page)?;
        }
        if self.alive(id)?.end(reference.0) {
            if let Some(page) = page {
                self.let_go(page, |wanted, _| *wanted = false);
            }
            return Ok(EndOfAccess::Done);
        }
        let granted = match entry.grant.map(|grant| grant.target) {
            Some(GrantTarget::Page(mfn) | GrantTarget::SubPage { mfn, .. }) => Some(mfn),
            _ => None,
        };
        let held = page.or(granted.filter(|mfn| self.page_owner(*mfn) == Some(id)));
        if let Some(held) = held {
            self.let_go(held, |wanted, deferrals| {
                *deferrals += 1;
                *wanted = *wanted && page.is_none();
            });
        }
        self.alive(id)?.deferred.push((reference.0, held));
        Ok(EndOfAccess::Deferred)
    }

    pub(crate) fn retry_deferred(&mut self, id: DomainId) -> usize {
        let Ok(domain) = self.alive(id) else { return 0 };
        let rest = domain.deferred.split_off(domain.deferred.len().min(10));
        let tried = std::mem::replace(&mut domain.deferred, rest);
        for (reference, page) in tried {
            let domain = self.known_mut(id);
            if !domain.end(reference) {
                domain.deferred.push((reference, page));
            } else if let Some(page) = page {
                self.let_go(page, |_, deferrals| *deferrals -= 1);
            }
        }
        self.known_mut(id).deferred.len()
    }

    pub(crate) fn set_grant_version(&mut self, id: DomainId, version: GrantVersion) -> Result<()> {
        if self.alive(id)?.version == version {
            return Ok(());
        }
        if self.pins.iter().any(|pin| pin.granter == id && pin.reference.0 >= 8) {
            return Err(Refused::GrantsInUse);
        }
        let domain = self.alive(id)?;
        domain.version = version;
        domain.entries.truncate(8);
        domain.entries.resize(domain.frames * domain.per_frame(), BLANK);
        for entry in &mut domain.entries {
            if entry.kernel == Kernel::Deferred {
                entry.kernel = if entry.grant.is_some() { Kernel::Granted } else { Kernel::Free };
            }
        }
        domain.free = (8..domain.entries.len() as u32).collect();
        for (_, page) in std::mem::take(&mut domain.deferred) {
            if let Some(page) = page {
                self.let_go(page, |_, deferrals| *deferrals -= 1);
            }
        }
        Ok(())
    }
}
