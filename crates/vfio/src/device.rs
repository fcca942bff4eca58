//! Devices, and the files that programs have of them.

use ioctlab_chardev::{Errno, FileId};

use crate::group::GroupKind;
use crate::removal::Waiting;
use crate::{Bus, DeviceId, GroupId, Minor, Vfio};

/// A device that its driver gave to VFIO.
pub(crate) struct Device {
    pub(crate) minor: Minor,
    /// How many files there are of it (`open_count`).
    pub(crate) files: u32,
    /// Who else needs it to stay.
    pub(crate) references: u32,
    /// Its driver wants it back.
    pub(crate) removal: Option<Waiting>,
}

impl Device {
    pub(crate) const fn is_in_use(&self) -> bool {
        self.files > 0 || self.references > 0
    }
}

impl<M: Bus> Vfio<M> {
    /// A driver that uses VFIO has a device now (`vfio_add_group_dev`). The first of its group makes the group's node.
    ///
    /// # Errors
    /// `EBUSY` if it is there already; `EINVAL` if no IOMMU translates for it and that isn't allowed, or if the group is of the
    /// other kind; `ENOSPC` without a free minor.
    pub fn add_group_dev(&mut self, device: DeviceId, group: GroupId, kind: GroupKind) -> Result<(), Errno> {
        if self.devices.contains_key(&device) {
            return Err(Errno::EBUSY);
        }
        let minor = self.find_or_create_group(group, kind)?;
        if let Some(group) = self.groups.get_mut(&minor) {
            group.drivers = group.drivers.saturating_add(1);
            group.devices.push(device);
        }
        self.devices.insert(device, Device { minor, files: 0, references: 0, removal: None });
        Ok(())
    }

    /// Opens a device as a file: the second half of `GET_DEVICE_FD`. The first file of a device tells its driver; more share it.
    ///
    /// # Errors
    /// `ENODEV` if the device is gone, or wanted back; `EINVAL` if its group has no container with an IOMMU; the driver's.
    pub fn open_device(&mut self, file: FileId, device: DeviceId, machine: &mut M) -> Result<(), Errno> {
        let entry = self.registered(device)?;
        let (minor, is_first) = (entry.minor, entry.files == 0);
        self.check_has_iommu(self.groups.get(&minor).ok_or(Errno::ENODEV)?)?;
        if is_first {
            machine.open_device(device)?;
            self.hold_group(minor);
        }
        if let Some(device) = self.devices.get_mut(&device) {
            device.files = device.files.saturating_add(1);
        }
        self.device_files.insert(file, device);
        Ok(())
    }

    /// Nothing refers to a device's file any more, neither descriptors nor mappings. The last one tells the device's driver, and no
    /// longer keeps the group's file open. Of no effect if it is not open.
    pub fn release_device(&mut self, file: FileId, machine: &mut M) {
        let Some(id) = self.device_files.remove(&file) else { return };
        let Some(device) = self.devices.get_mut(&id) else { return };
        device.files = device.files.saturating_sub(1);
        let (minor, is_last) = (device.minor, device.files == 0);
        if is_last {
            machine.close_device(id);
            self.let_group_go(minor, machine);
        }
        self.remove_unused(id, machine);
    }

    /// The device that a file is of: the file's calls are its driver's.
    pub fn device_of(&self, file: FileId) -> Option<DeviceId> {
        self.device_files.get(&file).copied()
    }

    /// Another part of the kernel needs a device to stay (`vfio_device_get_from_dev`), until [`put_device`](Self::put_device).
    ///
    /// # Errors
    /// `ENODEV` if it is gone, or wanted back.
    pub fn get_device_from_dev(&mut self, device: DeviceId) -> Result<(), Errno> {
        self.registered(device)?;
        if let Some(device) = self.devices.get_mut(&device) {
            device.references = device.references.saturating_add(1);
        }
        Ok(())
    }

    /// It does so no longer (`vfio_device_put`). Of no effect if nobody does.
    pub fn put_device(&mut self, id: DeviceId, machine: &mut M) {
        if let Some(device) = self.devices.get_mut(&id) {
            device.references = device.references.saturating_sub(1);
        }
        self.remove_unused(id, machine);
    }

    /// A device that is there, and not wanted back.
    fn registered(&self, device: DeviceId) -> Result<&Device, Errno> {
        self.devices.get(&device).filter(|device| device.removal.is_none()).ok_or(Errno::ENODEV)
    }
}
