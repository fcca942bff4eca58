//! A machine with a naive IOMMU, which complains of calls that no driver may make.

use std::collections::BTreeMap;

use ioctlab_chardev::{Errno, SpaceId};
use ioctlab_type1::{DomainId, IovaRange, LockedMemory, Machine, Memory, Warning};
use ioctlab_vfio::GroupId;

/// What the IOMMU in front of a group is like.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// What `create_domain` answers if there is none.
    pub(crate) refused: Option<Errno>,
    pub(crate) aperture: IovaRange,
    pub(crate) page_sizes: u64,
    pub(crate) coherent: bool,
    pub(crate) reserved: Vec<IovaRange>,
    pub(crate) isolated: bool,
}

impl Default for Group {
    /// As recorded.
    fn default() -> Self {
        Self {
            refused: None,
            aperture: IovaRange { start: 0, last: 0x7f_ffff_ffff },
            page_sizes: 0x4020_1000,
            coherent: false,
            reserved: vec![IovaRange { start: 0xfee0_0000, last: 0xfeef_ffff }],
            isolated: true,
        }
    }
}

/// A range, its memory, and whether devices may read and write it.
pub(crate) type Mapped = (IovaRange, Memory, bool, bool);

#[derive(Debug)]
pub(crate) struct Domain {
    like: Group,
    pub(crate) groups: Vec<GroupId>,
    pub(crate) mapped: BTreeMap<u64, Mapped>,
}

#[derive(Debug, Default)]
pub(crate) struct Fake {
    pub(crate) groups: BTreeMap<GroupId, Group>,
    pub(crate) domains: BTreeMap<DomainId, Domain>,
    pub(crate) locked: LockedMemory,
    pub(crate) warnings: Vec<Warning>,
    /// So many calls of `map` succeed, if there is a number.
    pub(crate) maps_left: Option<u32>,
    /// What `attach` to a domain that isn't empty answers.
    pub(crate) refuse_sharing: bool,
    /// Calls of `map`, `retarget` and `unmap`.
    pub(crate) calls: u64,
    made: u64,
}

impl Fake {
    pub(crate) fn with_group(group: u32, like: Group) -> Self {
        Self { groups: BTreeMap::from([(GroupId(group), like)]), ..Self::default() }
    }

    /// Where a device of the group finds an IOVA, and whether it may read and write it.
    pub(crate) fn translate(&self, group: GroupId, iova: u64) -> Option<(SpaceId, u64, bool, bool)> {
        let domain = self.domains.values().find(|domain| domain.groups.contains(&group))?;
        let (_, (range, memory, read, write)) = domain.mapped.range(..=iova).next_back()?;
        let there = iova <= range.last;
        there.then(|| (memory.space, memory.vaddr + (iova - range.start), *read, *write))
    }

    fn domain(&mut self, domain: DomainId) -> &mut Domain {
        self.domains.get_mut(&domain).expect("a domain that is there")
    }
}

impl Machine for Fake {
    fn create_domain(&mut self, group: GroupId) -> Result<DomainId, Errno> {
        let like = self.groups.get(&group).ok_or(Errno::ENODEV)?.clone();
        if let Some(errno) = like.refused {
            return Err(errno);
        }
        self.made += 1;
        let id = DomainId(self.made);
        self.domains.insert(id, Domain { like, groups: Vec::new(), mapped: BTreeMap::new() });
        Ok(id)
    }

    fn free_domain(&mut self, domain: DomainId) {
        let gone = self.domains.remove(&domain).expect("a domain that is there");
        assert!(gone.groups.is_empty() && gone.mapped.is_empty(), "{gone:?}");
    }

    fn attach(&mut self, domain: DomainId, group: GroupId) -> Result<(), Errno> {
        let elsewhere = self.domains.values().any(|domain| domain.groups.contains(&group));
        assert!(!elsewhere, "attached twice");
        if self.refuse_sharing && !self.domain(domain).groups.is_empty() {
            return Err(Errno::EINVAL);
        }
        self.domain(domain).groups.push(group);
        Ok(())
    }

    fn detach(&mut self, domain: DomainId, group: GroupId) {
        self.domain(domain).groups.retain(|other| *other != group);
    }

    fn aperture(&self, domain: DomainId) -> IovaRange {
        self.domains[&domain].like.aperture
    }

    fn page_sizes(&self, domain: DomainId) -> u64 {
        self.domains[&domain].like.page_sizes
    }

    fn enforces_coherency(&mut self, domain: DomainId) -> bool {
        self.domain(domain).like.coherent
    }

    fn reserved(&self, group: GroupId) -> Vec<IovaRange> {
        self.groups[&group].reserved.clone()
    }

    fn isolates_interrupts(&self, group: GroupId) -> bool {
        self.groups[&group].isolated
    }

    fn map(
        &mut self,
        domain: DomainId,
        range: IovaRange,
        memory: Memory,
        read: bool,
        write: bool,
    ) -> Result<(), Errno> {
        self.calls += 1;
        if let Some(left) = &mut self.maps_left {
            *left = left.checked_sub(1).ok_or(Errno::ENOMEM)?;
        }
        let mapped = &mut self.domain(domain).mapped;
        let before = mapped.range(..=range.last).next_back();
        assert!(before.is_none_or(|(_, mapped)| mapped.0.last < range.start), "{range:x?} is mapped");
        mapped.insert(range.start, (range, memory, read, write));
        Ok(())
    }

    fn retarget(&mut self, domain: DomainId, range: IovaRange, memory: Memory) {
        self.calls += 1;
        let mapped = self.domain(domain).mapped.get_mut(&range.start).expect("a range that is mapped");
        assert_eq!(mapped.0, range);
        mapped.1 = memory;
    }

    fn unmap(&mut self, domain: DomainId, range: IovaRange) {
        self.calls += 1;
        let gone = self.domain(domain).mapped.remove(&range.start);
        assert_eq!(gone.map(|mapped| mapped.0), Some(range));
    }

    fn locked_pages(&self, space: SpaceId) -> u64 {
        self.locked.pages(space)
    }

    fn lock_pages(&mut self, space: SpaceId, pages: u64) {
        self.locked.lock(space, pages);
    }

    fn unlock_pages(&mut self, space: SpaceId, pages: u64) {
        assert!(pages <= self.locked.pages(space), "fewer than none are locked");
        self.locked.unlock(space, pages);
    }

    fn warn(&mut self, warning: Warning) {
        self.warnings.push(warning);
    }
}

/// The aperture of an IOMMU of 57 bits.
pub(crate) fn wide() -> IovaRange {
    IovaRange { start: 0, last: (1 << 57) - 1 }
}
