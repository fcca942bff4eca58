//! The machine that VFIO's core and drivers are on: PCI devices, the IOMMU, and the accounts of locked memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ioctlab_kernel::{DeviceMemory, Errno, Event, FileId, SpaceId};
use ioctlab_vfio::{Bus, DeviceId, GroupId, Member};
use {ioctlab_iommu as iommu, ioctlab_type1 as type1, ioctlab_vfio_pci as vfio_pci};

use super::device::{Seat, Slot, Surroundings};
use super::dma::{SharedDomain, Unit};
use super::drivers::{self, VFIO_PCI};
use crate::config::LockedMemory;

/// The machine.
pub(super) struct Machine {
    /// By their addresses as text.
    pub(super) slots: BTreeMap<String, Slot>,
    pub(super) memory: Arc<dyn DeviceMemory>,
    pub(super) unit: Arc<Unit>,
    pub(super) locked_memory: LockedMemory,
    /// What is to be done with programs' eventfds.
    pub(super) events: VecDeque<Event>,
    /// Domains that something was taken out of since it was last asked.
    pub(super) unquiet: Vec<Arc<SharedDomain>>,
    /// Open files of groups.
    pub(super) group_files: Arc<Vec<(FileId, u32)>>,
    domains: BTreeMap<type1::DomainId, Arc<SharedDomain>>,
    next_domain: u64,
    locked: type1::LockedMemory,
}

impl Machine {
    pub(super) fn new(memory: Arc<dyn DeviceMemory>, unit: Arc<Unit>, locked_memory: LockedMemory) -> Self {
        Self {
            slots: BTreeMap::new(),
            memory,
            unit,
            locked_memory,
            events: VecDeque::new(),
            unquiet: Vec::new(),
            group_files: Arc::default(),
            domains: BTreeMap::new(),
            next_domain: 0,
            locked: type1::LockedMemory::default(),
        }
    }

    pub(super) fn slot_of(&self, id: DeviceId) -> Option<&Slot> {
        self.slots.values().find(|slot| slot.id == id)
    }

    /// Lets `act` call the driver of a device that is bound to vfio-pci, and takes note of what that does to eventfds.
    pub(super) fn with_vfio<T>(
        &mut self,
        id: DeviceId,
        act: impl FnOnce(&mut vfio_pci::Device, &mut Seat<'_>) -> T,
    ) -> Option<T> {
        let surroundings = self.surroundings(id)?;
        let slot = self.slots.values_mut().find(|slot| slot.id == id)?;
        let result = slot.with_vfio(&*self.memory, &surroundings, act)?;
        self.collect(id);
        Some(result)
    }

    /// Hands what a device has raised to its driver.
    pub(super) fn deliver(&mut self, id: DeviceId) {
        let Some(surroundings) = self.surroundings(id) else { return };
        if let Some(slot) = self.slots.values_mut().find(|slot| slot.id == id) {
            slot.deliver(&*self.memory, &surroundings);
        }
        self.collect(id);
    }

    fn collect(&mut self, id: DeviceId) {
        let slot = self.slots.values_mut().find(|slot| slot.id == id);
        if let Some(vfio) = slot.and_then(|slot| slot.vfio.as_mut()) {
            self.events.extend(std::iter::from_fn(|| vfio.next_event()));
        }
    }

    /// The devices on the bus of a device, if that isn't a root bus: whoever resets it resets all of them.
    pub(super) fn on_bus_of(&self, slot: &Slot) -> Option<Vec<&Slot>> {
        let (segment, bus) = (slot.place.segment, slot.place.bus);
        let shares =
            |other: &&Slot| (other.place.segment, other.place.bus) == (segment, bus) && !other.pulled;
        (bus != 0).then(|| self.slots.values().filter(shares).collect())
    }

    fn surroundings(&self, id: DeviceId) -> Option<Surroundings> {
        let others = self.on_bus_of(self.slot_of(id)?);
        let neighbours = others.as_ref().map(|others| {
            let neighbour = |slot: &&Slot| vfio_pci::Neighbour {
                group: slot.iommu_group(),
                segment: slot.place.segment,
                bus: slot.place.bus,
                devfn: slot.place.devfn(),
                token: slot.id.0,
                is_bound: slot.driver() == Some(VFIO_PCI),
            };
            others.iter().map(neighbour).collect()
        });
        Some(Surroundings { neighbours, group_files: Arc::clone(&self.group_files) })
    }

    /// A device is on its bus again: it reaches memory as the others of its group do (`iommu_group_add_device`).
    pub(super) fn join_group(&self, address: &str) {
        let Some(slot) = self.slots.get(address) else { return };
        let others = slot.group().map(|group| self.group(GroupId(group)));
        slot.way.attach(others.and_then(|mut others| others.find_map(|other| other.way.domain())));
    }

    /// Resets a device's bus if nobody uses a device of it, and some device wasn't reset as it was closed.
    fn reset_unused_bus(&mut self, device: DeviceId) {
        let Some(shared) = self.slot_of(device).and_then(|slot| self.on_bus_of(slot)) else { return };
        let is_unused = |slot: &&Slot| slot.vfio.as_ref().is_some_and(|vfio| !vfio.is_open());
        let needs_reset = |slot: &&Slot| slot.vfio.as_ref().is_some_and(vfio_pci::Device::needs_reset);
        if !shared.iter().all(is_unused) || !shared.iter().any(needs_reset) {
            return;
        }
        let ids: Vec<DeviceId> = shared.iter().map(|slot| slot.id).collect();
        for id in ids {
            self.with_vfio(id, |vfio, seat| vfio.reset(seat));
        }
    }

    fn group(&self, group: GroupId) -> impl Iterator<Item = &Slot> {
        self.slots.values().filter(move |slot| slot.group() == Some(group.0) && !slot.pulled)
    }

    fn disturb(&mut self, domain: type1::DomainId) {
        if let Some(domain) = self.domains.get(&domain)
            && !self.unquiet.last().is_some_and(|last| Arc::ptr_eq(last, domain))
        {
            self.unquiet.push(Arc::clone(domain));
        }
    }
}

impl Bus for Machine {
    fn members(&self, group: GroupId) -> Vec<Member> {
        self.group(group)
            .map(|slot| Member { device: slot.id, driver: drivers::kind(slot.driver()) })
            .collect()
    }

    fn matches(&mut self, device: DeviceId, name: &[u8]) -> Result<bool, Errno> {
        let Some(own) = self.slot_of(device).map(|slot| slot.address().to_owned()) else { return Ok(false) };
        self.with_vfio(device, |vfio, _| vfio.matches(name, &own, None)).unwrap_or(Ok(false))
    }

    fn open_device(&mut self, device: DeviceId) -> Result<(), Errno> {
        self.with_vfio(device, |vfio, seat| vfio.open(seat)).ok_or(Errno::ENODEV)
    }

    fn close_device(&mut self, device: DeviceId) {
        self.with_vfio(device, |vfio, seat| vfio.close(seat));
        self.reset_unused_bus(device);
    }

    fn request(&mut self, device: DeviceId, count: u32) {
        self.with_vfio(device, |vfio, _| vfio.request(count));
    }
}

impl type1::Machine for Machine {
    fn create_domain(&mut self, _: GroupId) -> Result<type1::DomainId, Errno> {
        let id = type1::DomainId(self.next_domain);
        self.next_domain += 1;
        self.domains.insert(id, Arc::new(SharedDomain::new(&self.unit.properties)));
        Ok(id)
    }

    fn free_domain(&mut self, domain: type1::DomainId) {
        self.disturb(domain);
        self.domains.remove(&domain);
    }

    fn attach(&mut self, domain: type1::DomainId, group: GroupId) -> Result<(), Errno> {
        let domain = self.domains.get(&domain).ok_or(Errno::ENODEV)?;
        self.group(group).for_each(|slot| slot.way.attach(Some(Arc::clone(domain))));
        Ok(())
    }

    fn detach(&mut self, domain: type1::DomainId, group: GroupId) {
        self.group(group).for_each(|slot| slot.way.attach(None));
        self.disturb(domain);
    }

    fn aperture(&self, _: type1::DomainId) -> type1::IovaRange {
        range(&self.unit.properties.aperture())
    }

    fn page_sizes(&self, _: type1::DomainId) -> u64 {
        self.unit.properties.page_sizes
    }

    fn enforces_coherency(&mut self, _: type1::DomainId) -> bool {
        self.unit.properties.coherent
    }

    fn reserved(&self, _: GroupId) -> Vec<type1::IovaRange> {
        self.unit.properties.reserved.iter().map(range).collect()
    }

    fn isolates_interrupts(&self, _: GroupId) -> bool {
        self.unit.properties.interrupt_remapping
    }

    fn map(
        &mut self,
        domain: type1::DomainId,
        range: type1::IovaRange,
        memory: type1::Memory,
        read: bool,
        write: bool,
    ) -> Result<(), Errno> {
        let domain = self.domains.get(&domain).ok_or(Errno::ENODEV)?;
        let permissions = iommu::Permissions { read, write };
        Ok(domain.table().map(range.start, bytes(range), target(memory), permissions)?)
    }

    fn retarget(&mut self, domain: type1::DomainId, range: type1::IovaRange, memory: type1::Memory) {
        if let Some(domain) = self.domains.get(&domain) {
            domain.table().retarget(range.start, target(memory));
        }
        self.disturb(domain);
    }

    fn unmap(&mut self, domain: type1::DomainId, range: type1::IovaRange) {
        if let Some(domain) = self.domains.get(&domain) {
            domain.table().unmap(range.start, bytes(range));
        }
        self.disturb(domain);
    }

    fn locked_pages(&self, space: SpaceId) -> u64 {
        self.locked.pages(space)
    }

    fn locked_memory_limit(&self, of_caller: Option<u64>) -> Option<u64> {
        match self.locked_memory {
            LockedMemory::Process => of_caller,
            LockedMemory::Unlimited => None,
            LockedMemory::Bytes(bytes) => Some(bytes),
        }
    }

    fn lock_pages(&mut self, space: SpaceId, pages: u64) {
        self.locked.lock(space, pages);
    }

    fn unlock_pages(&mut self, space: SpaceId, pages: u64) {
        self.locked.unlock(space, pages);
    }
}

fn range(range: &iommu::AddressRange) -> type1::IovaRange {
    type1::IovaRange { start: range.start, last: range.last }
}

fn bytes(range: type1::IovaRange) -> u64 {
    // A range of all 2^64 bytes is one longer than a number can be; no aperture is so wide.
    (range.last - range.start).saturating_add(1)
}

fn target(memory: type1::Memory) -> iommu::Target {
    iommu::Target { space: memory.space.0, address: memory.vaddr }
}
