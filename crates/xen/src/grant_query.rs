//! What can be asked about grants.

use crate::grant_entry::{Entry, Holder};
use crate::{DomainId, Grant, GrantRef, GrantStatus, GrantVersion, Hypervisor, Refused};

/// All there is to know of a grant-table entry, as Xen's console shows it (its key `g`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantReport {
    /// What the guest wrote; `None` for an entry of version 2 that it has cleared while it is in use.
    pub grant: Option<Grant>,
    /// Xen shows the guest that somebody uses it (`GTF_reading`).
    pub reading: bool,
    /// Xen shows the guest that somebody writes to it (`GTF_writing`).
    pub writing: bool,
    /// Who has it mapped.
    pub mapped_by: Option<DomainId>,
    /// How many mappings of it can only read.
    pub read_pins: u32,
    /// How many mappings of it can write.
    pub write_pins: u32,
    /// The kernel has ended it, and waits for the last user.
    pub deferred: bool,
}

impl GrantReport {
    fn new(entry: &Entry) -> Self {
        Self {
            grant: entry.grant,
            reading: entry.reading,
            writing: entry.writing,
            mapped_by: entry.pins.map(|pins| pins.pinned.by),
            read_pins: entry.pins.map_or(0, |pins| pins.reads.into()),
            write_pins: entry.pins.map_or(0, |pins| pins.writes.into()),
            deferred: entry.holder == Holder::Deferred,
        }
    }
}

/// The size of a grant table, in frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantTableSize {
    /// How many it has.
    pub frames: u32,
    /// How many it may have.
    pub max_frames: u32,
}

impl Hypervisor {
    /// The size of a domain's grant table (`GNTTABOP_query_size`). [`DomainId::SELF`] is the caller.
    ///
    /// # Errors
    /// [`GrantStatus::BadDomain`], then [`GrantStatus::PermissionDenied`] (for another domain than the caller).
    pub fn query_grant_size(
        &self,
        caller: DomainId,
        domain: DomainId,
    ) -> Result<GrantTableSize, GrantStatus> {
        if !self.exists(caller) {
            return Err(GrantStatus::BadDomain);
        }
        let target = domain.resolve(caller);
        let grants = self.grants.get(&target).ok_or(GrantStatus::BadDomain)?;
        self.check_control(caller, target).map_err(|_| GrantStatus::PermissionDenied)?;
        let (frames, max_frames) = grants.table.frames();
        Ok(GrantTableSize { frames, max_frames })
    }

    /// A domain's version of grant table.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`].
    pub fn grant_version(&self, domain: DomainId) -> Result<GrantVersion, Refused> {
        let grants = self.grants.get(&domain).ok_or(Refused::NoSuchDomain)?;
        Ok(grants.table.version())
    }

    /// An entry of a domain's grant table, if it is in use. The domain may be gone, but for pages that are mapped.
    pub fn grant_entry(&self, domain: DomainId, reference: GrantRef) -> Option<GrantReport> {
        let entry = self.grants.get(&domain)?.table.entry(reference).ok()?;
        (!entry.is_blank()).then(|| GrantReport::new(&entry))
    }

    /// The entries of a domain's grant table that are in use, lowest reference first. The domain may be gone, but for pages
    /// that are mapped; of others there are none.
    pub fn grants(&self, domain: DomainId) -> impl Iterator<Item = (GrantRef, GrantReport)> {
        let table = self.grants.get(&domain).map(|grants| &grants.table);
        table
            .into_iter()
            .flat_map(|table| table.iter().map(|(reference, entry)| (reference, GrantReport::new(entry))))
    }

    /// How many grants a domain has mapped; none for one that doesn't exist.
    pub fn maptrack_in_use(&self, domain: DomainId) -> usize {
        self.grants.get(&domain).map_or(0, |grants| grants.maptrack.len())
    }

    /// Whether a domain is gone but for pages that others have mapped. Until they are unmapped its number isn't free, though
    /// [`Hypervisor::exists`] says no; then [`Virq::DOM_EXC`](crate::Virq::DOM_EXC) is raised once more.
    pub fn is_zombie(&self, domain: DomainId) -> bool {
        self.grants.contains_key(&domain) && !self.exists(domain)
    }
}
