//! The core, and what isn't a call on a file of its: which IOMMU drivers there are, and what is alive.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use ioctlab_chardev::{Errno, FileId};

use crate::container::Container;
use crate::device::Device;
use crate::group::Group;
use crate::{Bus, DeviceId, IommuDriver, Minor};

/// VFIO of one kernel, with all its open files. `M` is the machine that it runs on.
///
/// Calls on a file that is not open, or is of another kind, are `EBADF`.
pub struct Vfio<M> {
    /// In the order in which they were registered.
    pub(crate) drivers: Vec<Box<dyn IommuDriver<M>>>,
    pub(crate) unsafe_noiommu: bool,
    /// By the file that each was made for; it may be closed by now.
    pub(crate) containers: BTreeMap<FileId, Container<M>>,
    pub(crate) groups: BTreeMap<Minor, Group>,
    /// Of files that have descriptors. Others are in their group alone.
    pub(crate) group_files: BTreeMap<FileId, Minor>,
    pub(crate) devices: BTreeMap<DeviceId, Device>,
    pub(crate) device_files: BTreeMap<FileId, DeviceId>,
    /// Devices whose removal had to wait, and is complete.
    pub(crate) removed: VecDeque<DeviceId>,
}

impl<M: Bus> Default for Vfio<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Bus> Vfio<M> {
    /// No IOMMU drivers, no groups, no open files; devices without an IOMMU are not allowed.
    pub const fn new() -> Self {
        Self {
            drivers: Vec::new(),
            unsafe_noiommu: false,
            containers: BTreeMap::new(),
            groups: BTreeMap::new(),
            group_files: BTreeMap::new(),
            devices: BTreeMap::new(),
            device_files: BTreeMap::new(),
            removed: VecDeque::new(),
        }
    }

    /// The module parameter `enable_unsafe_noiommu_mode`, which may be changed at any time: whether devices that no IOMMU
    /// translates for may be added and used. What is in use stays so.
    pub const fn set_unsafe_noiommu_mode(&mut self, enabled: bool) {
        self.unsafe_noiommu = enabled;
    }

    /// An IOMMU driver is there from now on (`vfio_register_iommu_driver`). The latest is asked first.
    ///
    /// # Errors
    /// `EINVAL` if one of its name is there already.
    pub fn register_iommu_driver(&mut self, driver: Box<dyn IommuDriver<M>>) -> Result<(), Errno> {
        if self.drivers.iter().any(|other| other.name() == driver.name()) {
            return Err(Errno::EINVAL);
        }
        self.drivers.push(driver);
        Ok(())
    }

    /// An IOMMU driver's module is to be removed (`delete_module`, `vfio_unregister_iommu_driver`).
    ///
    /// # Errors
    /// `ENOENT` if there is none of that name; `EAGAIN` while a container has chosen it.
    pub fn unregister_iommu_driver(&mut self, name: &str) -> Result<(), Errno> {
        let at = self.drivers.iter().position(|driver| driver.name() == name).ok_or(Errno::ENOENT)?;
        if self.containers.values().any(|container| container.has_chosen(name)) {
            return Err(Errno::EAGAIN);
        }
        self.drivers.remove(at);
        Ok(())
    }

    /// How many containers there are: of open files, or with groups.
    pub fn containers(&self) -> usize {
        self.containers.len()
    }

    /// How many containers have an IOMMU.
    pub fn iommus(&self) -> usize {
        self.containers.values().filter(|container| container.iommu.is_some()).count()
    }

    /// How many minors are taken: by groups that have devices, and by those whose file is still open.
    pub fn minors(&self) -> usize {
        self.groups.len()
    }

    /// How many devices there are, with those whose removal waits.
    pub fn devices(&self) -> usize {
        self.devices.len()
    }
}
