//! A naive model of the core: it knows who has what open, and works all else out from that each time.

use std::collections::BTreeMap;

use ioctlab_chardev::Errno;
use ioctlab_vfio::{DeviceId, GroupId, GroupKind, MemberDriver};

use crate::fake::Asked;

/// The driver `other` is registered after `type1`, knows type 3 only, and can attach no group of this number.
pub(crate) const REFUSED_BY_OTHER: u32 = 12;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    Container,
    /// The group that it was opened as.
    Group(u32),
    Device(u32),
    External(u32),
    /// Another part of the kernel keeps a device.
    Reference(u32),
}

/// A group of the core's, by a number of the model's own: the same IOMMU group may be there again while a file is left of an
/// earlier time.
#[derive(Clone)]
pub(crate) struct Group {
    pub(crate) id: u32,
    pub(crate) kind: GroupKind,
    pub(crate) minor: u32,
    pub(crate) devices: Vec<u32>,
    pub(crate) container: Option<i32>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Chosen {
    Noiommu,
    Of(&'static str, u32),
}

#[derive(Clone, Default)]
pub(crate) struct Model {
    pub(crate) noiommu: bool,
    pub(crate) rawio: bool,
    /// Everything that is open, by the number of its file.
    pub(crate) open: BTreeMap<i32, Open>,
    pub(crate) groups: BTreeMap<u32, Group>,
    /// Groups of containers, in the order in which they came.
    pub(crate) order: Vec<u32>,
    pub(crate) chosen: BTreeMap<i32, Chosen>,
    pub(crate) iommus: BTreeMap<&'static str, u32>,
    /// Devices wanted back: how often and how long ago they were asked for.
    pub(crate) wanted: BTreeMap<u32, (u32, u32)>,
    pub(crate) removed: Vec<u32>,
    pub(crate) native: BTreeMap<u32, bool>,
    pub(crate) asked: Vec<Asked>,
    next: u32,
}

impl Model {
    /// The group of a device, whether it is wanted back or not.
    pub(crate) fn group_with(&self, device: u32) -> Option<u32> {
        self.groups.iter().find(|(_, group)| group.devices.contains(&device)).map(|(number, _)| *number)
    }

    /// The group that is there now.
    pub(crate) fn current(&self, id: u32) -> Option<u32> {
        self.groups
            .iter()
            .find(|(_, group)| group.id == id && !group.devices.is_empty())
            .map(|(number, _)| *number)
    }

    fn files_of(&self, device: u32) -> usize {
        self.open.values().filter(|open| **open == Open::Device(device)).count()
    }

    fn is_used(&self, device: u32) -> bool {
        self.files_of(device) > 0 || self.open.values().any(|open| *open == Open::Reference(device))
    }

    fn has_device_or_external(&self, group: u32) -> bool {
        let of_group = |device: &u32| self.files_of(*device) > 0;
        self.groups[&group].devices.iter().any(of_group)
            || self.open.values().any(|open| *open == Open::External(group))
    }

    fn is_open(&self, group: u32) -> bool {
        self.has_device_or_external(group) || self.open.values().any(|open| *open == Open::Group(group))
    }

    fn groups_of(&self, container: i32) -> Vec<u32> {
        let is_of = |group: &&u32| self.groups[*group].container == Some(container);
        self.order.iter().filter(is_of).copied().collect()
    }

    /// How many containers there are.
    pub(crate) fn containers(&self) -> usize {
        let mut all: Vec<_> = self.groups.values().filter_map(|group| group.container).collect();
        all.extend(self.open.iter().filter(|(_, open)| **open == Open::Container).map(|(number, _)| *number));
        all.sort_unstable();
        all.dedup();
        all.len()
    }

    fn leave(&mut self, group: u32) {
        let Some(container) = self.groups.get_mut(&group).unwrap().container.take() else { return };
        self.order.retain(|other| *other != group);
        let id = GroupId(self.groups[&group].id);
        if let Some(Chosen::Of(driver, number)) = self.chosen.get(&container).cloned() {
            self.asked.push(Asked::Detach(driver, number, id));
            if self.groups_of(container).is_empty() {
                self.asked.push(Asked::Release(driver, number));
            }
        }
        if self.groups_of(container).is_empty() {
            self.chosen.remove(&container);
        }
    }

    /// What follows from something not being there any more.
    fn settle(&mut self) {
        for group in self.groups.keys().copied().collect::<Vec<_>>() {
            if !self.is_open(group) {
                self.leave(group);
            }
        }
        let is_back = |device: &u32| !self.is_used(*device);
        for device in self.wanted.keys().copied().filter(is_back).collect::<Vec<_>>() {
            self.wanted.remove(&device);
            self.removed.push(device);
            self.forget(device);
        }
        for group in self.groups.keys().copied().collect::<Vec<_>>() {
            if self.groups[&group].devices.is_empty() && !self.is_open(group) {
                self.groups.remove(&group);
            }
        }
    }

    fn forget(&mut self, device: u32) {
        let group = self.group_with(device).unwrap();
        let devices = &mut self.groups.get_mut(&group).unwrap().devices;
        devices.retain(|other| *other != device);
        if devices.is_empty() {
            self.leave(group);
        }
    }

    pub(crate) fn add(&mut self, device: u32, id: u32, kind: GroupKind) -> Result<(), Errno> {
        if self.group_with(device).is_some() {
            return Err(Errno::EBUSY);
        }
        if kind == GroupKind::Noiommu && !self.noiommu {
            return Err(Errno::EINVAL);
        }
        let number = self.current(id).unwrap_or_else(|| {
            let minor = (0..).find(|minor| self.groups.values().all(|group| group.minor != *minor)).unwrap();
            self.groups.insert(self.next, Group { id, kind, minor, devices: vec![], container: None });
            self.next += 1;
            self.next - 1
        });
        self.groups.get_mut(&number).unwrap().devices.push(device);
        Ok(())
    }

    /// Whether it is done at once.
    pub(crate) fn remove(&mut self, device: u32) -> bool {
        if self.group_with(device).is_none() {
            return true;
        }
        if self.wanted.contains_key(&device) {
            return false;
        }
        if self.is_used(device) {
            self.wanted.insert(device, (1, 0));
            self.asked.push(Asked::Request(DeviceId(device), 0));
            return false;
        }
        self.forget(device);
        self.settle();
        true
    }

    pub(crate) fn tick(&mut self) {
        for (device, (count, seconds)) in &mut self.wanted {
            *seconds += 1;
            if *seconds == 10 {
                self.asked.push(Asked::Request(DeviceId(*device), *count));
                (*count, *seconds) = (*count + 1, 0);
            }
        }
    }

    pub(crate) fn open_group(&mut self, number: i32, id: u32) -> Result<(), Errno> {
        let group = self.current(id).ok_or(Errno::ENOENT)?;
        if self.groups[&group].kind == GroupKind::Noiommu && !self.rawio {
            return Err(Errno::EPERM);
        }
        if self.is_open(group) {
            return Err(Errno::EBUSY);
        }
        self.open.insert(number, Open::Group(group));
        Ok(())
    }

    pub(crate) fn close(&mut self, number: i32) {
        let Some(open) = self.open.remove(&number) else { return };
        if let Open::Device(device) = open
            && self.files_of(device) == 0
        {
            self.asked.push(Asked::Close(DeviceId(device)));
        }
        self.settle();
    }

    pub(crate) fn status(&self, group: u32) -> Result<u32, Errno> {
        let entry = &self.groups[&group];
        if entry.devices.is_empty() {
            return Err(Errno::ENODEV);
        }
        Ok(match entry.container {
            Some(_) => 3,
            None => u32::from(self.is_viable(group)),
        })
    }

    fn is_viable(&self, group: u32) -> bool {
        let group = &self.groups[&group];
        group.kind == GroupKind::Noiommu || !self.native.get(&group.id).copied().unwrap_or(false)
    }

    pub(crate) fn may_bind(&self, id: u32, driver: MemberDriver) -> bool {
        let is_claimed =
            |group: &Group| group.id == id && group.kind == GroupKind::Iommu && group.container.is_some();
        driver != MemberDriver::Native || !self.groups.values().any(is_claimed)
    }

    pub(crate) fn set_container(&mut self, group: u32, number: i32) -> Result<i64, Errno> {
        let file = *self.open.get(&number).ok_or(Errno::EBADF)?;
        let (id, kind) = (self.groups[&group].id, self.groups[&group].kind);
        if self.groups[&group].container.is_some() {
            return Err(Errno::EINVAL);
        }
        if self.groups[&group].devices.is_empty() {
            return Err(Errno::ENODEV);
        }
        if file != Open::Container {
            return Err(Errno::EBADFD);
        }
        let mixes = self.groups_of(number).iter().any(|other| self.groups[other].kind != kind);
        if (kind == GroupKind::Noiommu && !self.rawio) || mixes || !self.is_viable(group) {
            return Err(Errno::EPERM);
        }
        if let Some(Chosen::Of(driver, iommu)) = self.chosen.get(&number) {
            if *driver == "other" && id == REFUSED_BY_OTHER {
                return Err(Errno::EIO);
            }
            self.asked.push(Asked::Attach(driver, *iommu, GroupId(id)));
        }
        self.groups.get_mut(&group).unwrap().container = Some(number);
        self.order.push(group);
        Ok(0)
    }

    pub(crate) fn unset_container(&mut self, group: u32) -> Result<i64, Errno> {
        if self.groups[&group].container.is_none() {
            return Err(Errno::EINVAL);
        }
        if self.has_device_or_external(group) {
            return Err(Errno::EBUSY);
        }
        self.leave(group);
        Ok(0)
    }

    pub(crate) fn set_iommu(&mut self, container: i32, kind: u64) -> Result<i64, Errno> {
        let groups = self.groups_of(container);
        if groups.is_empty() || self.chosen.contains_key(&container) {
            return Err(Errno::EINVAL);
        }
        if self.groups[&groups[0]].kind == GroupKind::Noiommu {
            if kind != 8 || !self.noiommu {
                return Err(Errno::ENODEV);
            }
            if !self.rawio {
                return Err(Errno::EPERM);
            }
            self.chosen.insert(container, Chosen::Noiommu);
            return Ok(0);
        }
        let ids: Vec<_> = groups.iter().rev().map(|group| self.groups[group].id).collect();
        let mut refusal = Errno::ENODEV;
        for driver in ["other", "type1"] {
            let knows = if driver == "other" { kind == 3 } else { [1, 3, 6, 9].contains(&kind) };
            if !knows {
                continue;
            }
            if kind == 6 || kind == 9 {
                refusal = Errno::EINVAL;
                continue;
            }
            let iommu = self.iommus.entry(driver).or_default();
            let number = *iommu;
            *iommu += 1;
            let good = ids.iter().take_while(|id| driver == "type1" || **id != REFUSED_BY_OTHER).count();
            let attached = &ids[..good];
            self.asked.extend(attached.iter().map(|id| Asked::Attach(driver, number, GroupId(*id))));
            if good == ids.len() {
                self.chosen.insert(container, Chosen::Of(driver, number));
                return Ok(0);
            }
            self.asked.extend(attached.iter().rev().map(|id| Asked::Detach(driver, number, GroupId(*id))));
            self.asked.push(Asked::Release(driver, number));
            refusal = Errno::EIO;
        }
        Err(refusal)
    }

    pub(crate) fn check_extension(&self, container: i32, extension: u64) -> i64 {
        let noiommu = self.noiommu && extension == 8;
        let type1 = [1, 3, 6, 9].contains(&extension);
        let groups = self.groups_of(container);
        i64::from(match self.chosen.get(&container) {
            Some(Chosen::Of("other", _)) => extension == 3 || extension == 10,
            Some(Chosen::Of(..)) => type1 || extension == 10,
            Some(Chosen::Noiommu) => noiommu,
            None if groups.is_empty() => type1 || noiommu,
            None if self.groups[&groups[0]].kind == GroupKind::Noiommu => noiommu,
            None => type1,
        })
    }

    fn has_iommu(&self, group: u32) -> bool {
        self.groups[&group].container.is_some_and(|container| self.chosen.contains_key(&container))
    }

    /// `GET_DEVICE_FD`, of a device that can't be opened if it is broken.
    pub(crate) fn get_device(
        &mut self,
        group: u32,
        device: u32,
        broken: bool,
        number: i32,
    ) -> Result<(), Errno> {
        let entry = &self.groups[&group];
        if !entry.devices.contains(&device) || self.wanted.contains_key(&device) {
            return Err(Errno::ENODEV);
        }
        if !self.has_iommu(group) {
            return Err(Errno::EINVAL);
        }
        if self.files_of(device) == 0 {
            if entry.kind == GroupKind::Noiommu && !self.rawio {
                return Err(Errno::EPERM);
            }
            if broken {
                return Err(Errno::EIO);
            }
            self.asked.push(Asked::Open(DeviceId(device)));
        }
        self.open.insert(number, Open::Device(device));
        Ok(())
    }

    /// Another part of the kernel wants to use a group, or to keep a device.
    pub(crate) fn get_external(&mut self, file: i32, number: i32) -> Result<(), Errno> {
        let Some(Open::Group(group)) = self.open.get(&file).copied() else { return Err(Errno::EINVAL) };
        if !self.has_iommu(group) {
            return Err(Errno::EINVAL);
        }
        self.open.insert(number, Open::External(group));
        Ok(())
    }

    pub(crate) fn get_reference(&mut self, device: u32, number: i32) -> Result<(), Errno> {
        if self.group_with(device).is_none() || self.wanted.contains_key(&device) {
            return Err(Errno::ENODEV);
        }
        self.open.insert(number, Open::Reference(device));
        Ok(())
    }
}
