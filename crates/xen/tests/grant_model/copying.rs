//! The model's pins and copies.

use super::{Model, Pin, Status};
use ioctlab_xen::{
    CopyEnd, DomainId, Grant, GrantAccess, GrantHandle, GrantRef, GrantStatus, GrantTarget, Mfn,
};

/// Page, first byte and number of bytes.
type Window = (Mfn, usize, usize);

impl Model {
    /// Pins an entry: for a mapping if there is a handle, and otherwise for a copy.
    pub(super) fn pin(
        &mut self,
        by: DomainId,
        granter: DomainId,
        reference: GrantRef,
        access: GrantAccess,
        handle: Option<GrantHandle>,
    ) -> Status<Pin> {
        self.pin_at(by, granter, reference, access, handle, 0)
    }

    fn pin_at(
        &mut self,
        by: DomainId,
        granter: DomainId,
        reference: GrantRef,
        access: GrantAccess,
        handle: Option<GrantHandle>,
        depth: u32,
    ) -> Status<Pin> {
        let domain = self.known(granter)?;
        let dying = domain.dying;
        let entry = *domain.entries.get(reference.0 as usize).ok_or(GrantStatus::BadGrantRef)?;
        let pins = self.pins_of(granter, reference);
        let writes = access == GrantAccess::ReadWrite;
        let looked_at = pins.is_empty() || (writes && pins.iter().all(|pin| pin.access != access));

        if pins.iter().any(|pin| pin.by != by) {
            return Err(GrantStatus::GeneralError);
        }
        if pins.iter().filter(|pin| pin.access == access).count() >= 128 {
            return Err(GrantStatus::GeneralError);
        }
        if pins.is_empty() {
            match entry.grant {
                Some(Grant { remote, .. }) if remote != by => return Err(GrantStatus::GeneralError),
                Some(Grant { target: GrantTarget::Page(_), .. }) => {}
                Some(_) if handle.is_none() => {}
                _ => return Err(GrantStatus::GeneralError),
            }
        }
        if looked_at && writes && entry.grant.is_some_and(|grant| grant.access == GrantAccess::ReadOnly) {
            return Err(GrantStatus::GeneralError);
        }

        let (mut mfn, mut start, mut length) = (Mfn(u64::MAX), 0, 4096);
        match entry.grant.map(|grant| grant.target) {
            Some(GrantTarget::Page(page)) => mfn = page,
            Some(GrantTarget::SubPage { mfn: page, offset, length: len }) => {
                (mfn, start, length) = (page, offset.into(), len.into());
            }
            Some(GrantTarget::Transitive { domain, reference }) => {
                if depth > 0 || domain == granter || self.known(domain).is_err() {
                    return Err(GrantStatus::GeneralError);
                }
                let far = self.pin_at(granter, domain, reference, access, None, 1)?;
                (mfn, start, length) = (far.mfn, far.start, far.length);
            }
            None => {}
        }
        let transitive =
            entry.grant.is_some_and(|grant| matches!(grant.target, GrantTarget::Transitive { .. }));
        if let Some(first) = pins.first() {
            if entry.grant.is_none() {
                mfn = first.mfn;
            }
            if handle.is_none() && looked_at && !transitive && self.page_owner(mfn) != Some(granter) {
                return Err(GrantStatus::BadPage);
            }
            if handle.is_none() && !looked_at && !transitive && dying {
                return Err(GrantStatus::BadDomain);
            }
            (mfn, start, length) = (first.mfn, first.start, first.length);
        } else if !transitive && self.page_owner(mfn) != Some(granter) {
            return Err(GrantStatus::BadPage);
        }
        if looked_at {
            let entry = &mut self.known_mut(granter).entries[reference.0 as usize];
            entry.reading = true;
            entry.writing |= writes;
        }
        let pin = Pin { granter, reference, by, access, mfn, start, length, handle };
        self.pins.push(pin);
        Ok(pin)
    }

    fn find(&mut self, caller: DomainId, end: CopyEnd, access: GrantAccess) -> Status<Window> {
        match end {
            CopyEnd::Page { mfn, .. } if self.page_owner(mfn) == Some(caller) => Ok((mfn, 0, 4096)),
            CopyEnd::Page { .. } => Err(GrantStatus::BadPage),
            CopyEnd::Grant { domain, reference, .. } => {
                let granter = if domain.0 == 0x7ff0 { caller } else { domain };
                let pin = self.pin(caller, granter, reference, access, None)?;
                Ok((pin.mfn, pin.start, pin.length))
            }
        }
    }

    fn may_name(&self, caller: DomainId, end: CopyEnd) -> Status<()> {
        match end {
            CopyEnd::Page { domain, .. } if domain.0 != 0x7ff0 => Err(GrantStatus::PermissionDenied),
            CopyEnd::Page { .. } => Ok(()),
            CopyEnd::Grant { domain, .. } if domain.0 == 0x7ff0 => self.known(caller).map(|_| ()),
            CopyEnd::Grant { domain, .. } => self.known(domain).map(|_| ()),
        }
    }

    /// Whatever a copy pins is unpinned at its end: these are the last of the list.
    fn unpin_from(&mut self, kept: usize) {
        for pin in self.pins.split_off(kept) {
            self.show_use(pin.granter, pin.reference);
        }
    }

    pub(crate) fn grant_copy(
        &mut self,
        caller: DomainId,
        source: CopyEnd,
        dest: CopyEnd,
        length: u16,
    ) -> Status<()> {
        self.calls(caller)?;
        self.may_name(caller, source)?;
        self.may_name(caller, dest)?;
        let kept = self.pins.len();
        let from = self.find(caller, source, GrantAccess::ReadOnly);
        let found = from.and_then(|from| Ok((from, self.find(caller, dest, GrantAccess::ReadWrite)?)));
        self.unpin_from(kept);
        let (from, to) = found?;
        let (at, to_at) = (offset(source), offset(dest));
        let length = usize::from(length);
        if at + length > 4096 || to_at + length > 4096 {
            return Err(GrantStatus::BadCopyArg);
        }
        within(from, at, length)?;
        within(to, to_at, length)?;
        let bytes = self.bytes[from.0.0 as usize][at..at + length].to_vec();
        self.bytes[to.0.0 as usize][to_at..to_at + length].copy_from_slice(&bytes);
        Ok(())
    }

    /// A copy whose other end is the caller's own bytes: the granted ones.
    pub(crate) fn own_copy(
        &mut self,
        caller: DomainId,
        end: CopyEnd,
        access: GrantAccess,
        length: usize,
    ) -> Status<&mut [u8]> {
        self.calls(caller)?;
        self.may_name(caller, end)?;
        let kept = self.pins.len();
        let found = self.find(caller, end, access);
        self.unpin_from(kept);
        let window = found?;
        let at = offset(end);
        if at + length > 4096 {
            return Err(GrantStatus::BadCopyArg);
        }
        within(window, at, length)?;
        Ok(&mut self.bytes[window.0.0 as usize][at..at + length])
    }
}

fn within((_, start, size): Window, at: usize, length: usize) -> Status<()> {
    if at < start || at + length > start + size { Err(GrantStatus::GeneralError) } else { Ok(()) }
}

fn offset(end: CopyEnd) -> usize {
    match end {
        CopyEnd::Grant { offset, .. } | CopyEnd::Page { offset, .. } => offset.into(),
    }
}
