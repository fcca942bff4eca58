//! Binding devices to drivers, as what is written to sysfs asks for.

use std::collections::{BTreeMap, BTreeSet};

use ioctlab_kernel::{Errno, Stored};
use ioctlab_vfio::{GroupKind, MemberDriver, Removal};

use super::State;
use super::device::{Ids, Slot};

/// The driver that gives devices to VFIO.
pub(super) const VFIO_PCI: &str = "vfio-pci";
/// Drivers that are there whether or not a device of the lab's has them.
const ALWAYS: &[&str] = &[VFIO_PCI, "pci-stub", "pcieport"];
/// Those of them that do no DMA of their own, and may have devices of a group that is in use (`driver_managed_dma`).
const HARMLESS: &[&str] = &["pci-stub", "pcieport"];
/// The longest name that `driver_override` takes, in bytes.
const OVERRIDE_MAX: usize = 4094;

/// The ids that drivers were told of at run time (`new_id`).
#[derive(Default)]
pub(super) struct DynamicIds(BTreeMap<String, BTreeSet<Ids>>);

/// Which kind of driver has this name.
pub(super) fn kind(driver: Option<&str>) -> MemberDriver {
    match driver {
        None => MemberDriver::None,
        Some(name) if name == VFIO_PCI || HARMLESS.contains(&name) => MemberDriver::Harmless,
        Some(_) => MemberDriver::Native,
    }
}

/// A device's name or the like, as it is written to sysfs: without the newline that `echo` adds.
pub(super) fn word(text: &str) -> &str {
    text.strip_suffix('\n').unwrap_or(text)
}

/// A number that says yes or no (`kstrtoul`): whether it isn't 0.
pub(super) fn boolean(text: &str) -> Result<bool, Errno> {
    word(text).parse::<u64>().map(|number| number != 0).map_err(|_| Errno::EINVAL)
}

/// What goes on when a device that is in use has been given back.
pub(super) struct Unbinding {
    /// The device goes with it.
    removes: bool,
    /// Who waits, and what is said to them.
    waiting: Vec<(usize, Stored)>,
}

impl State {
    /// The drivers that there are.
    pub(super) fn driver_names(&self) -> BTreeSet<&str> {
        let native = self.machine.slots.values().filter_map(|slot| slot.native.as_deref());
        ALWAYS.iter().copied().chain(native).collect()
    }

    /// `bind`: of one driver to one device.
    pub(super) fn bind(&mut self, driver: &str, address: &str) -> Result<(), Errno> {
        let slot = self.slot(address).ok_or(Errno::ENODEV)?;
        if !self.matches(driver, slot) {
            return Err(Errno::ENODEV);
        }
        if slot.driver().is_some() {
            return Err(Errno::EBUSY);
        }
        self.attach(address, driver)
    }

    /// `drivers_probe`: whichever driver wants the device.
    pub(super) fn probe(&mut self, address: &str) -> Result<(), Errno> {
        let slot = self.slot(address).ok_or(Errno::ENODEV)?;
        if slot.driver().is_some() {
            return Ok(());
        }
        let wanting =
            self.driver_names().into_iter().find(|driver| self.matches(driver, slot)).map(str::to_owned);
        match wanting {
            Some(driver) => self.attach(address, &driver),
            None => Ok(()),
        }
    }

    /// `unbind`: waits until nobody uses the device.
    pub(super) fn unbind(&mut self, driver: &str, address: &str, length: usize, done: Stored) {
        match self.slot(address) {
            Some(slot) if slot.driver() == Some(driver) => self.detach(address, false, length, done),
            _ => done(Err(Errno::ENODEV)),
        }
    }

    /// `remove`: the device is pulled, once nobody uses it.
    pub(super) fn remove_device(&mut self, address: &str, length: usize, done: Stored) {
        match self.slot(address) {
            Some(_) => self.detach(address, true, length, done),
            None => done(Err(Errno::ENODEV)),
        }
    }

    /// `rescan`: devices that were pulled are found again.
    pub(super) fn rescan_if(&mut self, text: &str) -> Result<(), Errno> {
        if boolean(text)? {
            let pulled: Vec<String> = self
                .machine
                .slots
                .values()
                .filter(|slot| slot.pulled)
                .map(|slot| slot.address().to_owned())
                .collect();
            for address in pulled {
                self.plug(&address)?;
            }
        }
        Ok(())
    }

    /// A device that was pulled is put back; whichever driver wants it gets it.
    pub(super) fn plug(&mut self, address: &str) -> Result<(), Errno> {
        let slot = self.machine.slots.get_mut(address).filter(|slot| slot.pulled).ok_or(Errno::ENODEV)?;
        slot.pulled = false;
        slot.driver_override = None;
        self.machine.join_group(address);
        // It is there all the same if a driver wants it and can't have it.
        let _ = self.probe(address);
        Ok(())
    }

    /// `driver_override`: the only driver that may have the device; none of it is written as a line without anything on it.
    pub(super) fn set_override(&mut self, address: &str, text: &str) -> Result<usize, Errno> {
        if text.len() > OVERRIDE_MAX {
            return Err(Errno::EINVAL);
        }
        let slot = self.machine.slots.get_mut(address).ok_or(Errno::ENODEV)?;
        let name = text.split('\n').next().unwrap_or_default();
        slot.driver_override = (!name.is_empty()).then(|| name.to_owned());
        Ok(text.len())
    }

    /// `new_id`: a driver takes devices of these ids, too, and those that nobody has at once.
    pub(super) fn new_id(&mut self, driver: &str, text: &str) -> Result<(), Errno> {
        let ids = Ids::parse(text).ok_or(Errno::EINVAL)?;
        if !self.ids.0.entry(driver.to_owned()).or_default().insert(ids) {
            return Err(Errno::EEXIST);
        }
        let free: Vec<String> = self
            .slots()
            .filter(|slot| slot.driver().is_none() && self.matches(driver, slot))
            .map(|slot| slot.address().to_owned())
            .collect();
        for address in free {
            // One that can't be bound is none of the writer's business.
            let _ = self.attach(&address, driver);
        }
        Ok(())
    }

    /// `remove_id`: a driver takes devices of these ids no longer; it keeps those that it has.
    pub(super) fn remove_id(&mut self, driver: &str, text: &str) -> Result<(), Errno> {
        let ids = Ids::parse(text).ok_or(Errno::EINVAL)?;
        let known = self.ids.0.get_mut(driver).ok_or(Errno::ENODEV)?;
        let found = known.iter().find(|other| other.is_named_by(&ids)).copied().ok_or(Errno::ENODEV)?;
        known.remove(&found);
        Ok(())
    }

    /// Whether a driver would take a device (`pci_match_device`).
    fn matches(&self, driver: &str, slot: &Slot) -> bool {
        match &slot.driver_override {
            Some(only) => only == driver,
            None => {
                slot.native.as_deref() == Some(driver)
                    || self.ids.0.get(driver).is_some_and(|ids| ids.iter().any(|ids| ids.cover(&slot.ids())))
            }
        }
    }

    /// Binds a driver to a device that has none.
    pub(super) fn attach(&mut self, address: &str, driver: &str) -> Result<(), Errno> {
        let Some(slot) = self.machine.slots.get(address) else { return Err(Errno::ENODEV) };
        let (id, (group, group_kind)) = (slot.id, slot.vfio_group());
        if group_kind == GroupKind::Iommu {
            self.vfio.may_bind(group, kind(Some(driver)))?;
        }
        if driver == VFIO_PCI {
            self.vfio.add_group_dev(id, group, group_kind)?;
            if let Some(slot) = self.machine.slots.get_mut(address) {
                slot.vfio = Some(ioctlab_vfio_pci::Device::new(ioctlab_vfio_pci::Role::Plain));
            }
        }
        if let Some(slot) = self.machine.slots.get_mut(address) {
            slot.set_driver(Some(driver));
        }
        self.update_nodes();
        Ok(())
    }

    /// Takes a device from its driver, and pulls it if it is to be pulled; tells `done` when that has happened.
    fn detach(&mut self, address: &str, removes: bool, length: usize, done: Stored) {
        let Some(slot) = self.machine.slots.get(address) else { return done(Err(Errno::ENODEV)) };
        let id = slot.id;
        let waits = slot.driver() == Some(VFIO_PCI) && {
            let Self { vfio, machine, .. } = self;
            vfio.del_group_dev(id, machine) == Removal::Waits
        };
        if waits {
            let unbinding =
                self.unbinding.entry(id).or_insert_with(|| Unbinding { removes: false, waiting: Vec::new() });
            unbinding.removes |= removes;
            unbinding.waiting.push((length, done));
            // A group whose last device is on its way out can't be opened any more.
            self.update_nodes();
        } else {
            self.finish_detaching(address, removes);
            done(Ok(length));
        }
    }

    fn finish_detaching(&mut self, address: &str, removes: bool) {
        if let Some(slot) = self.machine.slots.get_mut(address) {
            slot.vfio = None;
            slot.set_driver(None);
            if removes {
                slot.pulled = true;
                slot.way.attach(None);
            }
        }
        self.update_nodes();
    }

    /// Goes on with what waited for devices that have been given back.
    pub(super) fn finish_removals(&mut self) {
        while let Some(id) = self.vfio.next_removed() {
            let unbinding = self.unbinding.remove(&id);
            let address =
                self.machine.slots.values().find(|slot| slot.id == id).map(|slot| slot.address().to_owned());
            if let (Some(unbinding), Some(address)) = (unbinding, address) {
                self.finish_detaching(&address, unbinding.removes);
                for (length, done) in unbinding.waiting {
                    done(Ok(length));
                }
            }
        }
    }
}
