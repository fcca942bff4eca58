//! What the kernel of a domain that grants does with its grant table: as Linux does it (`drivers/xen/grant-table.c`).
//!
//! In Xen the table is memory that both share, and none of these is a hypercall but [`Hypervisor::set_grant_version`].

use crate::grant_entry::Holder;
use crate::grant_table::{Deferred, GrantTable};
use crate::{DomainId, Grant, GrantAccess, GrantRef, GrantTarget, GrantVersion, Hypervisor, Mfn, Refused};

/// Deferred ends that one run of the timer tries (`free_per_iteration`).
const DEFERRED_PER_RUN: usize = 10;

/// How [`Hypervisor::end_foreign_access`] went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOfAccess {
    /// The grant is over, its reference free, and its page let go of.
    Done,
    /// Somebody still uses it. The timer's work ([`Hypervisor::retry_deferred`]) ends it later.
    Deferred,
}

impl Hypervisor {
    /// Grants a page to a domain (`gnttab_grant_foreign_access`). Nothing is checked: neither that the domain exists, nor
    /// that the page is the granter's. [`DomainId::SELF`] is written as it is, and matches nobody.
    ///
    /// The reference is the one that was freed last, or the lowest from 8 up that was never used.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`], [`Refused::NoFreeGrant`].
    pub fn grant_foreign_access(
        &mut self,
        domain: DomainId,
        remote: DomainId,
        mfn: Mfn,
        access: GrantAccess,
    ) -> Result<GrantRef, Refused> {
        self.grant(domain, Grant { remote, access, target: GrantTarget::Page(mfn) })
    }

    /// Grants part of a page to a domain, for copies only.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`], [`Refused::NotGrantV2`], [`Refused::NoFreeGrant`].
    pub fn grant_sub_page(
        &mut self,
        domain: DomainId,
        remote: DomainId,
        mfn: Mfn,
        access: GrantAccess,
        offset: u16,
        length: u16,
    ) -> Result<GrantRef, Refused> {
        self.grant(domain, Grant { remote, access, target: GrantTarget::SubPage { mfn, offset, length } })
    }

    /// Grants to a domain, for copies only, what `trans_domain` has granted to this one with `trans_ref`.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`], [`Refused::NotGrantV2`], [`Refused::NoFreeGrant`].
    pub fn grant_transitive(
        &mut self,
        domain: DomainId,
        remote: DomainId,
        access: GrantAccess,
        trans_domain: DomainId,
        trans_ref: GrantRef,
    ) -> Result<GrantRef, Refused> {
        let target = GrantTarget::Transitive { domain: trans_domain, reference: trans_ref };
        self.grant(domain, Grant { remote, access, target })
    }

    /// Fills one of the reserved entries, 0 to 7, as the toolstack does for the console (0) and xenstore (1). Whatever was
    /// there is overwritten.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`], [`Refused::NotReservedGrant`].
    pub fn grant_at(
        &mut self,
        domain: DomainId,
        reference: GrantRef,
        remote: DomainId,
        mfn: Mfn,
        access: GrantAccess,
    ) -> Result<(), Refused> {
        let table = self.table_mut(domain)?;
        if !reference.is_reserved() {
            return Err(Refused::NotReservedGrant);
        }
        table.write(reference, Grant { remote, access, target: GrantTarget::Page(mfn) });
        Ok(())
    }

    /// Ends a grant, and lets go of a page with it (`gnttab_end_foreign_access`). If somebody uses the grant, its end is
    /// deferred: with a version 1 table the entry stays as it is, and can even be mapped again. The page is then no longer
    /// the caller's to release, but goes when the grant does; if none is named, the granted one is held until then.
    ///
    /// # Errors
    /// In this order: [`Refused::NoSuchDomain`], [`Refused::NotGranted`], [`Refused::NotPageOwner`]. Linux would corrupt its
    /// own memory.
    pub fn end_foreign_access(
        &mut self,
        domain: DomainId,
        reference: GrantRef,
        page: Option<Mfn>,
    ) -> Result<EndOfAccess, Refused> {
        let table = self.table_mut(domain)?;
        let entry = table.entry(reference).map_err(|_| Refused::NotGranted)?;
        if entry.holder != Holder::Granted {
            return Err(Refused::NotGranted);
        }
        if let Some(page) = page {
            self.memory.check_owned(domain, page)?;
        }
        let granted = entry.grant.and_then(|grant| grant.target.frame());
        if self.table_mut(domain)?.end(reference) {
            if let Some(page) = page {
                self.memory.let_go(domain, page)?;
            }
            return Ok(EndOfAccess::Done);
        }
        let held = page.or(granted.filter(|mfn| self.memory.owner(*mfn) == Some(domain)));
        if let Some(held) = held {
            self.memory.defer(held, page.is_some());
        }
        self.table_mut(domain)?.deferred.push_back(Deferred { reference, page: held });
        Ok(EndOfAccess::Deferred)
    }

    /// What a domain's timer does every second while ends are deferred (`gnttab_handle_deferred`): tries the ten that have
    /// waited longest, ends those that nobody uses any more, and puts the rest last. Returns how many are left.
    pub fn retry_deferred(&mut self, domain: DomainId) -> usize {
        for _ in 0..self.deferred(domain).min(DEFERRED_PER_RUN) {
            let Ok(table) = self.table_mut(domain) else { break };
            let Some(next) = table.deferred.pop_front() else { break };
            if !table.end(next.reference) {
                table.deferred.push_back(next);
            } else if let Some(page) = next.page {
                self.memory.end_deferral(page);
            }
        }
        self.deferred(domain)
    }

    /// How many ends of grants are deferred in a domain; none in one that doesn't exist.
    pub fn deferred(&self, domain: DomainId) -> usize {
        match self.domains.get(&domain).and_then(|_| self.grants.get(&domain)) {
            Some(grants) => grants.table.deferred.len(),
            None => 0,
        }
    }

    /// Switches the caller's grant table to another version (`GNTTABOP_set_version`), after which its kernel starts afresh:
    /// all entries but the reserved ones are cleared, and no end is deferred any more. Nothing happens if it has that version.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`]; [`Refused::GrantsInUse`] if somebody has other than reserved ones mapped.
    pub fn set_grant_version(&mut self, caller: DomainId, version: GrantVersion) -> Result<(), Refused> {
        let table = self.table_mut(caller)?;
        if table.version() == version {
            return Ok(());
        }
        table.set_version(version)?;
        for deferred in core::mem::take(&mut table.deferred) {
            if let Some(page) = deferred.page {
                self.memory.end_deferral(page);
            }
        }
        Ok(())
    }

    fn grant(&mut self, domain: DomainId, grant: Grant) -> Result<GrantRef, Refused> {
        let table = self.table_mut(domain)?;
        if table.version() == GrantVersion::V1 && !matches!(grant.target, GrantTarget::Page(_)) {
            return Err(Refused::NotGrantV2);
        }
        let reference = table.take_free()?;
        table.write(reference, grant);
        Ok(reference)
    }

    /// The grant table of a domain that isn't gone.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`].
    fn table_mut(&mut self, domain: DomainId) -> Result<&mut GrantTable, Refused> {
        self.domain(domain)?;
        self.grants.get_mut(&domain).map(|grants| &mut grants.table).ok_or(Refused::NoSuchDomain)
    }
}
