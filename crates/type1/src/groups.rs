//! Groups come and go.

use alloc::vec;
use alloc::vec::Vec;

use ioctlab_chardev::{Errno, PAGE_SIZE};
use ioctlab_vfio::GroupId;

use crate::container::{Container, WHOLE_PAGES};
use crate::iova::ValidIovas;
use crate::{DomainId, IovaRange, Machine, Warning};

/// A domain that groups are attached to (`struct vfio_domain`).
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) domain: DomainId,
    /// It forbids accesses that bypass caches.
    pub(crate) coherent: bool,
    /// In the order in which they came; there is always one.
    pub(crate) groups: Vec<GroupId>,
}

impl Container {
    /// Attaches a group, to a domain that is there or to one more, where all that is mapped is mapped, too.
    ///
    /// # Errors
    /// `EBUSY` while some mapping has no valid address; `EINVAL` for a group that is there, for one whose aperture has
    /// nothing in common with the others', or some of whose reserved IOVAs are mapped, or that leaves no valid IOVAs;
    /// `EPERM` if its devices could raise others' interrupts and that isn't allowed; the machine's.
    pub(crate) fn attach(
        &mut self,
        group: GroupId,
        machine: &mut (impl Machine + ?Sized),
    ) -> Result<(), Errno> {
        if self.vaddr_invalid > 0 {
            return Err(Errno::EBUSY);
        }
        if self.domains.iter().any(|attached| attached.groups.contains(&group)) {
            return Err(Errno::EINVAL);
        }
        let domain = machine.create_domain(group)?;
        if let Err(errno) = machine.attach(domain, group) {
            machine.free_domain(domain);
            return Err(errno);
        }
        self.attach_new(domain, group, machine).inspect_err(|_| {
            machine.detach(domain, group);
            machine.free_domain(domain);
        })
    }

    /// Goes on with a group that is attached to a domain of its own. If this fails it still is.
    fn attach_new(
        &mut self,
        domain: DomainId,
        group: GroupId,
        machine: &mut (impl Machine + ?Sized),
    ) -> Result<(), Errno> {
        let iovas = self.valid_with(domain, group, machine)?;
        if !self.allow_unsafe_interrupts && !machine.isolates_interrupts(group) {
            machine.warn(Warning::NoInterruptRemapping);
            return Err(Errno::EPERM);
        }
        let coherent = machine.enforces_coherency(domain);
        for attached in self.domains.iter_mut().filter(|attached| attached.coherent == coherent) {
            machine.detach(domain, group);
            if machine.attach(attached.domain, group).is_ok() {
                machine.free_domain(domain);
                attached.groups.push(group);
                self.iovas = iovas;
                return Ok(());
            }
            machine.attach(domain, group)?;
        }
        self.replay(domain, machine)?;
        self.domains.push(Attached { domain, coherent, groups: vec![group] });
        self.update_page_sizes(machine);
        self.iovas = iovas;
        Ok(())
    }

    /// What can be mapped with a further group.
    fn valid_with(
        &self,
        domain: DomainId,
        group: GroupId,
        machine: &(impl Machine + ?Sized),
    ) -> Result<ValidIovas, Errno> {
        let aperture = machine.aperture(domain);
        if self.conflicts(aperture) {
            return Err(Errno::EINVAL);
        }
        let reserved = machine.reserved(group);
        if reserved.iter().any(|range| self.mappings.first_in(*range).is_some()) {
            return Err(Errno::EINVAL);
        }
        let mut iovas = self.iovas.clone();
        iovas.narrow(aperture);
        iovas.exclude(&reserved)?;
        Ok(iovas)
    }

    /// Whether an aperture has nothing in common with what can be mapped, or lacks something that is
    /// (`vfio_iommu_aper_conflict`).
    fn conflicts(&self, aperture: IovaRange) -> bool {
        let Some(span) = self.iovas.span() else { return false };
        if aperture.start > span.last || aperture.last < span.start {
            return true;
        }
        let below = aperture.start.checked_sub(1).filter(|last| *last >= span.start);
        let above = aperture.last.checked_add(1).filter(|start| *start <= span.last);
        let below = below.map(|last| IovaRange { start: span.start, last });
        let above = above.map(|start| IovaRange { start, last: span.last });
        [below, above].into_iter().flatten().any(|lost| self.mappings.first_in(lost).is_some())
    }

    /// Maps all that is mapped in one more domain (`vfio_iommu_replay`).
    fn replay(&self, domain: DomainId, machine: &mut (impl Machine + ?Sized)) -> Result<(), Errno> {
        for dma in self.mappings.all() {
            if let Err(errno) = machine.map(domain, dma.range, dma.memory, dma.read, dma.write) {
                let before = IovaRange { start: 0, last: dma.range.start.saturating_sub(1) };
                if dma.range.start > 0 {
                    self.mappings.starting_in(before).for_each(|done| machine.unmap(domain, done.range));
                }
                return Err(errno);
            }
        }
        Ok(())
    }

    /// Detaches a group. With the last one all that is mapped goes.
    pub(crate) fn detach(&mut self, group: GroupId, machine: &mut (impl Machine + ?Sized)) {
        let Some(index) = self.domains.iter().position(|attached| attached.groups.contains(&group)) else {
            return;
        };
        let is_only_domain = self.domains.len() == 1;
        let Some(attached) = self.domains.get_mut(index) else { return };
        machine.detach(attached.domain, group);
        attached.groups.retain(|other| *other != group);
        let mut iovas = self.iovas.clone();
        if attached.groups.is_empty() {
            if is_only_domain {
                self.remove_all(machine);
            }
            let attached = self.domains.remove(index);
            for dma in self.mappings.all() {
                machine.unmap(attached.domain, dma.range);
            }
            machine.free_domain(attached.domain);
            iovas.widen(self.common_aperture(machine));
            self.update_page_sizes(machine);
        }
        self.refresh(iovas, machine);
    }

    /// The aperture that the domains have in common; all of 64 bits if there is no domain.
    fn common_aperture(&self, machine: &(impl Machine + ?Sized)) -> IovaRange {
        let all = IovaRange { start: 0, last: u64::MAX };
        self.domains.iter().map(|attached| machine.aperture(attached.domain)).fold(all, |common, aperture| {
            IovaRange { start: common.start.max(aperture.start), last: common.last.min(aperture.last) }
        })
    }

    /// What can be mapped now that a group is gone (`vfio_iommu_resv_refresh`). What was reserved for it alone at either end
    /// of the aperture stays so, as in Linux, unless its domain went with it.
    fn refresh(&mut self, iovas: ValidIovas, machine: &(impl Machine + ?Sized)) {
        let Some(span) = iovas.span() else { return };
        let mut refreshed = ValidIovas::default();
        refreshed.narrow(span);
        let groups = self.domains.iter().flat_map(|attached| &attached.groups);
        let reserved: Vec<IovaRange> = groups.flat_map(|group| machine.reserved(*group)).collect();
        if refreshed.exclude(&reserved).is_ok() {
            self.iovas = refreshed;
        }
    }

    /// `vfio_update_pgsize_bitmap`: pages smaller than the processor's come as one of its.
    fn update_page_sizes(&mut self, machine: &(impl Machine + ?Sized)) {
        let sizes = self.domains.iter().map(|attached| machine.page_sizes(attached.domain));
        let common = sizes.fold(u64::MAX, |common, sizes| common & sizes);
        self.page_sizes = if common & !WHOLE_PAGES == 0 { common } else { common & WHOLE_PAGES | PAGE_SIZE };
    }
}
