//! Machine memory: which pages there are, whose they are, and when one is free again.

use crate::free_frames::FreeFrames;
use crate::{DomainId, Hypervisor, Mfn, Refused};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

/// The size of a page.
pub const PAGE_SIZE: usize = 4096;

/// Most pages a machine can have: as far as a version 1 grant entry reaches (16 TiB).
const MOST_PAGES: u64 = 1 << 32;

/// The bytes of machine memory, which live with whoever runs the machine.
///
/// Neither call can fail: it is made for pages that a domain has, and doesn't cross the end of one. A page that a domain
/// gets for the first time, or again, is expected to be zero; see [`Hypervisor::next_freed`].
pub trait MachineMemory {
    /// Reads bytes of a page.
    fn read(&mut self, mfn: Mfn, offset: usize, to: &mut [u8]);

    /// Writes bytes of a page.
    fn write(&mut self, mfn: Mfn, offset: usize, from: &[u8]);
}

/// A page that isn't free.
#[derive(Debug)]
struct Page {
    /// Whose it is, until the last hold on it goes.
    owner: DomainId,
    /// The owner hasn't let go of it.
    owned: bool,
    /// Mappings of it by grants.
    pins: u64,
    /// Deferred ends of grants that hold it for the owner's kernel.
    deferrals: u64,
}

/// All pages.
#[derive(Debug)]
pub(crate) struct Memory {
    free: FreeFrames,
    pages: BTreeMap<Mfn, Page>,
    /// The pages of each domain.
    by_owner: BTreeSet<(DomainId, Mfn)>,
    /// Pages that nobody has any more, still to be scrubbed.
    freed: VecDeque<Mfn>,
}

impl Memory {
    /// 1 GiB.
    pub(crate) const fn new() -> Self {
        Self {
            free: FreeFrames::new(1 << 18),
            pages: BTreeMap::new(),
            by_owner: BTreeSet::new(),
            freed: VecDeque::new(),
        }
    }

    fn allocate(&mut self, owner: DomainId, count: usize) -> Result<Vec<Mfn>, Refused> {
        let wanted = u64::try_from(count).map_err(|_| Refused::OutOfMemory)?;
        if wanted > self.free.len() {
            return Err(Refused::OutOfMemory);
        }
        let mut frames = Vec::new();
        frames.try_reserve_exact(count).map_err(|_| Refused::OutOfMemory)?;
        if count > 0
            && let Some(first) = self.free.take_run(wanted)
        {
            frames.extend((first..first.saturating_add(wanted)).map(Mfn));
        }
        while frames.len() < count {
            // There are enough; this can't end early.
            let Some(frame) = self.free.take_run(1) else { break };
            frames.push(Mfn(frame));
        }
        for frame in &frames {
            self.pages.insert(*frame, Page { owner, owned: true, pins: 0, deferrals: 0 });
            self.by_owner.insert((owner, *frame));
        }
        Ok(frames)
    }

    /// Whose a page is, if it is anybody's.
    pub(crate) fn owner(&self, mfn: Mfn) -> Option<DomainId> {
        self.pages.get(&mfn).map(|page| page.owner)
    }

    /// # Errors
    /// [`Refused::NotPageOwner`].
    pub(crate) fn check_owned(&self, domain: DomainId, mfn: Mfn) -> Result<(), Refused> {
        match self.pages.get(&mfn) {
            Some(page) if page.owner == domain && page.owned => Ok(()),
            _ => Err(Refused::NotPageOwner),
        }
    }

    /// The owner lets go of a page.
    ///
    /// # Errors
    /// [`Refused::NotPageOwner`].
    pub(crate) fn let_go(&mut self, domain: DomainId, mfn: Mfn) -> Result<(), Refused> {
        self.check_owned(domain, mfn)?;
        self.change(mfn, |page| page.owned = false);
        Ok(())
    }

    /// A mapping more.
    pub(crate) fn pin(&mut self, mfn: Mfn) {
        self.change(mfn, |page| page.pins = page.pins.saturating_add(1));
    }

    /// A mapping less.
    pub(crate) fn unpin(&mut self, mfn: Mfn) {
        self.change(mfn, |page| page.pins = page.pins.saturating_sub(1));
    }

    /// The owner's kernel holds on to a page until a grant has ended; if told so, in place of the owner.
    pub(crate) fn defer(&mut self, mfn: Mfn, instead_of_owner: bool) {
        self.change(mfn, |page| {
            page.deferrals = page.deferrals.saturating_add(1);
            page.owned &= !instead_of_owner;
        });
    }

    /// It no longer does.
    pub(crate) fn end_deferral(&mut self, mfn: Mfn) {
        self.change(mfn, |page| page.deferrals = page.deferrals.saturating_sub(1));
    }

    /// The domain is gone, and its kernel with it: only mappings hold its pages now.
    pub(crate) fn abandon(&mut self, domain: DomainId) {
        let mut from = Mfn(0);
        while let Some((_, mfn)) =
            self.by_owner.range((domain, from)..=(domain, Mfn(u64::MAX))).next().copied()
        {
            self.change(mfn, |page| {
                page.owned = false;
                page.deferrals = 0;
            });
            from = Mfn(mfn.0.saturating_add(1));
        }
    }

    /// Whether any page is still this domain's.
    pub(crate) fn has_pages(&self, domain: DomainId) -> bool {
        self.by_owner.range((domain, Mfn(0))..=(domain, Mfn(u64::MAX))).next().is_some()
    }

    /// Changes who holds a page, and frees it if nobody does any more.
    fn change(&mut self, mfn: Mfn, change: impl FnOnce(&mut Page)) {
        let Some(page) = self.pages.get_mut(&mfn) else { return };
        change(page);
        if !page.owned && page.pins == 0 && page.deferrals == 0 {
            self.by_owner.remove(&(page.owner, mfn));
            self.pages.remove(&mfn);
            self.freed.push_back(mfn);
        }
    }
}

impl Hypervisor {
    /// Sets the size of machine memory: pages 0 up to this number, at most 2^32 of them (16 TiB). It starts with 262144
    /// (1 GiB), and doesn't get smaller than the highest page in use requires.
    pub fn set_machine_pages(&mut self, pages: u64) {
        self.memory.free.set_limit(pages.min(MOST_PAGES));
    }

    /// Gives a domain pages: the lowest that are in a row, or if there is no such row, the lowest there are.
    ///
    /// # Errors
    /// In this order: [`Refused::NoSuchDomain`], [`Refused::Dying`], [`Refused::OutOfMemory`].
    pub fn allocate_pages(&mut self, domain: DomainId, count: usize) -> Result<Vec<Mfn>, Refused> {
        if self.domain(domain)?.dying {
            return Err(Refused::Dying);
        }
        self.memory.allocate(domain, count)
    }

    /// A page's owner lets go of it. It stays the owner's, and others can go on using it, while anybody has it mapped by a
    /// grant, or the end of a grant is deferred; then it is freed.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`], [`Refused::NotPageOwner`].
    pub fn release_page(&mut self, domain: DomainId, mfn: Mfn) -> Result<(), Refused> {
        self.domain(domain)?;
        self.memory.let_go(domain, mfn)
    }

    /// Takes the next page that nobody has any more, in the order in which they became so. The layer above zeroes it before
    /// it makes another call; from now on it can be given to a domain again.
    pub fn next_freed(&mut self) -> Option<Mfn> {
        let mfn = self.memory.freed.pop_front()?;
        self.memory.free.give_back(mfn.0);
        Some(mfn)
    }

    /// Whose a page is, if it is anybody's. One that its owner has let go of remains its own while others hold it.
    pub fn page_owner(&self, mfn: Mfn) -> Option<DomainId> {
        self.memory.owner(mfn)
    }

    /// How many pages are somebody's.
    pub fn pages_in_use(&self) -> usize {
        self.memory.pages.len()
    }
}
