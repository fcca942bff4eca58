//! A deliberately naive machine with grants, to compare the real one with: flat vectors and linear scans. An entry is
//! pinned if the list of pins has one of it, a page is free if nothing says otherwise.

mod copying;
mod granter;

use ioctlab_xen::{
    DomainId, DomainParams, Grant, GrantAccess, GrantHandle, GrantRef, GrantReport, GrantStatus,
    GrantTableSize, GrantVersion, MappedGrant, Mfn, Refused,
};

type Result<T> = std::result::Result<T, Refused>;
type Status<T> = std::result::Result<T, GrantStatus>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    Free,
    Granted,
    Deferred,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    grant: Option<Grant>,
    reading: bool,
    writing: bool,
    kernel: Kernel,
}

const BLANK: Entry = Entry { grant: None, reading: false, writing: false, kernel: Kernel::Free };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Free,
    /// Whose, whether it still wants it, and how many deferred ends hold it.
    Held(DomainId, bool, usize),
    Unscrubbed,
}

/// A use of an entry: by a mapping with a handle, or by a copy.
#[derive(Clone, Copy, Debug)]
struct Pin {
    granter: DomainId,
    reference: GrantRef,
    by: DomainId,
    access: GrantAccess,
    mfn: Mfn,
    start: usize,
    length: usize,
    handle: Option<GrantHandle>,
}

#[derive(Debug)]
pub(crate) struct Domain {
    pub(crate) id: DomainId,
    pub(crate) alive: bool,
    dying: bool,
    privileged: bool,
    pub(crate) version: GrantVersion,
    frames: usize,
    max_frames: usize,
    entries: Vec<Entry>,
    /// All free references, the next one first.
    free: Vec<u32>,
    pub(crate) deferred: Vec<(u32, Option<Mfn>)>,
    free_handles: Vec<u32>,
    handle_frames: u32,
    max_handle_frames: u32,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) domains: Vec<Domain>,
    pages: Vec<Page>,
    unscrubbed: Vec<Mfn>,
    pins: Vec<Pin>,
    pub(crate) bytes: Vec<Vec<u8>>,
}

/// More pages than any machine of the test has.
pub(crate) const PAGES: usize = 16;

impl Domain {
    fn per_frame(&self) -> usize {
        if self.version == GrantVersion::V1 { 512 } else { 256 }
    }

    fn grow(&mut self) {
        let old = self.entries.len();
        self.frames += 1;
        self.entries.resize(self.frames * self.per_frame(), BLANK);
        self.free.extend((old.max(8)..self.entries.len()).map(|reference| reference as u32));
    }

    /// Ends a grant as Linux tries to.
    fn end(&mut self, reference: u32) -> bool {
        let entry = &mut self.entries[reference as usize];
        let used = entry.reading || entry.writing;
        if self.version == GrantVersion::V2 || !used {
            entry.grant = None;
        }
        entry.kernel = if used { Kernel::Deferred } else { Kernel::Free };
        if !used && reference >= 8 {
            self.free.insert(0, reference);
        }
        !used
    }
}

impl Model {
    pub(crate) fn new(pages: usize) -> Self {
        Self {
            domains: vec![],
            pages: vec![Page::Free; pages],
            unscrubbed: vec![],
            pins: vec![],
            bytes: vec![vec![0; 4096]; PAGES],
        }
    }

    /// A domain that can make calls.
    fn alive(&mut self, id: DomainId) -> Result<&mut Domain> {
        self.domains.iter_mut().find(|domain| domain.id == id && domain.alive).ok_or(Refused::NoSuchDomain)
    }

    /// A domain that can be named as a granter.
    fn known(&self, id: DomainId) -> Status<&Domain> {
        self.domains.iter().find(|domain| domain.id == id).ok_or(GrantStatus::BadDomain)
    }

    fn known_mut(&mut self, id: DomainId) -> &mut Domain {
        self.domains.iter_mut().find(|domain| domain.id == id).expect("checked by the caller")
    }

    fn calls(&self, id: DomainId) -> Status<()> {
        if self.known(id)?.alive { Ok(()) } else { Err(GrantStatus::BadDomain) }
    }

    pub(crate) fn set_machine_pages(&mut self, pages: usize) {
        while self.pages.len() > pages && self.pages.last() == Some(&Page::Free) {
            self.pages.pop();
        }
        while self.pages.len() < pages {
            self.pages.push(Page::Free);
        }
    }

    pub(crate) fn create(&mut self, id: DomainId, params: &DomainParams) -> Result<()> {
        if id.0 >= 0x7ff0 {
            return Err(Refused::ReservedDomain);
        }
        if self.known(id).is_ok() {
            return Err(Refused::DomainExists);
        }
        if params.max_grant_frames == 0 {
            return Err(Refused::BadGrantFrames);
        }
        let mut domain = Domain {
            id,
            alive: true,
            dying: false,
            privileged: params.privileged,
            version: params.grant_version,
            frames: 0,
            max_frames: params.max_grant_frames as usize,
            entries: vec![],
            free: vec![],
            deferred: vec![],
            free_handles: vec![],
            handle_frames: 0,
            max_handle_frames: params.max_maptrack_frames,
        };
        domain.grow();
        self.domains.push(domain);
        Ok(())
    }

    pub(crate) fn begin_dying(&mut self, id: DomainId) -> Result<()> {
        self.alive(id)?.dying = true;
        Ok(())
    }

    pub(crate) fn destroy(&mut self, id: DomainId) -> Result<()> {
        let domain = self.alive(id)?;
        (domain.alive, domain.dying) = (false, true);
        domain.deferred.clear();
        let mut handles = self.handles(id);
        handles.sort();
        for handle in handles {
            let mapped = |pin: &Pin| pin.by == id && pin.handle == Some(handle);
            let place = self.pins.iter().position(mapped).expect("one of its handles");
            let pin = self.pins.remove(place);
            self.show_use(pin.granter, pin.reference);
            self.settle(pin.mfn);
        }
        for page in 0..self.pages.len() {
            if let Page::Held(owner, wanted, deferrals) = &mut self.pages[page]
                && *owner == id
            {
                (*wanted, *deferrals) = (false, 0);
                self.settle(Mfn(page as u64));
            }
        }
        self.bury();
        Ok(())
    }

    /// Frees a page that nobody has.
    fn settle(&mut self, mfn: Mfn) {
        let mapped = self.pins.iter().any(|pin| pin.handle.is_some() && pin.mfn == mfn);
        if matches!(self.pages[mfn.0 as usize], Page::Held(_, false, 0)) && !mapped {
            self.pages[mfn.0 as usize] = Page::Unscrubbed;
            self.unscrubbed.push(mfn);
        }
    }

    /// Forgets domains that are gone and have no pages.
    fn bury(&mut self) {
        let pages = &self.pages;
        self.domains.retain(|domain| {
            domain.alive || pages.iter().any(|page| matches!(page, Page::Held(id, ..) if *id == domain.id))
        });
    }

    pub(crate) fn allocate_pages(&mut self, id: DomainId, count: usize) -> Result<Vec<Mfn>> {
        if self.alive(id)?.dying {
            return Err(Refused::Dying);
        }
        let all: Vec<usize> = (0..self.pages.len()).filter(|page| self.pages[*page] == Page::Free).collect();
        if all.len() < count {
            return Err(Refused::OutOfMemory);
        }
        let row = all.windows(count.max(1)).find(|row| row[row.len() - 1] - row[0] == row.len() - 1);
        let taken = if count == 0 { vec![] } else { row.unwrap_or(&all[..count]).to_vec() };
        for page in &taken {
            self.pages[*page] = Page::Held(id, true, 0);
        }
        Ok(taken.into_iter().map(|page| Mfn(page as u64)).collect())
    }

    fn owns(&self, id: DomainId, mfn: Mfn) -> Result<()> {
        match self.pages.get(mfn.0 as usize) {
            Some(Page::Held(owner, true, _)) if *owner == id => Ok(()),
            _ => Err(Refused::NotPageOwner),
        }
    }

    pub(crate) fn release_page(&mut self, id: DomainId, mfn: Mfn) -> Result<()> {
        self.alive(id)?;
        self.owns(id, mfn)?;
        self.let_go(mfn, |wanted, _| *wanted = false);
        Ok(())
    }

    fn let_go(&mut self, mfn: Mfn, change: impl FnOnce(&mut bool, &mut usize)) {
        if let Page::Held(_, wanted, deferrals) = &mut self.pages[mfn.0 as usize] {
            change(wanted, deferrals);
        }
        self.settle(mfn);
    }

    pub(crate) fn next_freed(&mut self) -> Option<Mfn> {
        if self.unscrubbed.is_empty() {
            return None;
        }
        let mfn = self.unscrubbed.remove(0);
        self.pages[mfn.0 as usize] = Page::Free;
        Some(mfn)
    }

    pub(crate) fn page_owner(&self, mfn: Mfn) -> Option<DomainId> {
        match self.pages.get(mfn.0 as usize) {
            Some(Page::Held(owner, ..)) => Some(*owner),
            _ => None,
        }
    }

    pub(crate) fn map_grant_ref(
        &mut self,
        caller: DomainId,
        granter: DomainId,
        reference: GrantRef,
        access: GrantAccess,
    ) -> Status<MappedGrant> {
        self.calls(caller)?;
        self.known(granter)?;
        let mapper = self.known_mut(caller);
        let handle = if mapper.free_handles.len() >= 2 {
            mapper.free_handles.remove(0)
        } else if mapper.handle_frames < mapper.max_handle_frames {
            let first = mapper.handle_frames * 256;
            mapper.handle_frames += 1;
            mapper.free_handles = (first + 1..first + 256).chain(mapper.free_handles.clone()).collect();
            first
        } else {
            return Err(GrantStatus::NoDeviceSpace);
        };
        match self.pin(caller, granter, reference, access, Some(GrantHandle(handle))) {
            Ok(pin) => Ok(MappedGrant { handle: GrantHandle(handle), mfn: pin.mfn }),
            Err(status) => {
                self.known_mut(caller).free_handles.push(handle);
                Err(status)
            }
        }
    }

    pub(crate) fn unmap_grant_ref(&mut self, caller: DomainId, handle: GrantHandle) -> Status<()> {
        self.calls(caller)?;
        let place = self.pins.iter().position(|pin| pin.by == caller && pin.handle == Some(handle));
        let pin = self.pins.remove(place.ok_or(GrantStatus::BadHandle)?);
        self.known_mut(caller).free_handles.push(handle.0);
        self.show_use(pin.granter, pin.reference);
        self.settle(pin.mfn);
        self.bury();
        Ok(())
    }

    pub(crate) fn query_grant_size(&self, caller: DomainId, named: DomainId) -> Status<GrantTableSize> {
        self.calls(caller)?;
        let id = if named.0 == 0x7ff0 { caller } else { named };
        let domain = self.known(id)?;
        if id != caller && !self.known(caller)?.privileged {
            return Err(GrantStatus::PermissionDenied);
        }
        Ok(GrantTableSize { frames: domain.frames as u32, max_frames: domain.max_frames as u32 })
    }

    fn pins_of(&self, granter: DomainId, reference: GrantRef) -> Vec<Pin> {
        let of = |pin: &&Pin| pin.granter == granter && pin.reference == reference;
        self.pins.iter().filter(of).copied().collect()
    }

    /// Clears what an entry shows of pins that it no longer has.
    fn show_use(&mut self, granter: DomainId, reference: GrantRef) {
        let pins = self.pins_of(granter, reference);
        let Some(domain) = self.domains.iter_mut().find(|domain| domain.id == granter) else { return };
        let entry = &mut domain.entries[reference.0 as usize];
        entry.writing &= pins.iter().any(|pin| pin.access == GrantAccess::ReadWrite);
        entry.reading &= !pins.is_empty();
    }

    pub(crate) fn handles(&self, id: DomainId) -> Vec<GrantHandle> {
        self.pins.iter().filter(|pin| pin.by == id).filter_map(|pin| pin.handle).collect()
    }

    pub(crate) fn grants(&self, id: DomainId) -> Vec<(GrantRef, GrantReport)> {
        let Ok(domain) = self.known(id) else { return vec![] };
        let references = (0..domain.entries.len() as u32).map(GrantRef);
        references.filter_map(|reference| Some((reference, self.report(domain, reference)?))).collect()
    }

    fn report(&self, domain: &Domain, reference: GrantRef) -> Option<GrantReport> {
        let entry = domain.entries[reference.0 as usize];
        let pins = self.pins_of(domain.id, reference);
        let count = |access: GrantAccess| pins.iter().filter(|pin| pin.access == access).count() as u32;
        let used = entry.reading || entry.writing || !pins.is_empty();
        (entry.grant.is_some() || entry.kernel != Kernel::Free || used).then(|| GrantReport {
            grant: entry.grant,
            reading: entry.reading,
            writing: entry.writing,
            mapped_by: pins.first().map(|pin| pin.by),
            read_pins: count(GrantAccess::ReadOnly),
            write_pins: count(GrantAccess::ReadWrite),
            deferred: entry.kernel == Kernel::Deferred,
        })
    }
}
