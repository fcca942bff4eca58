//! A group's ioctls.

use alloc::vec::Vec;

use ioctlab_abi::vfio::{
    GROUP_CONTAINER_SET, GROUP_GET_DEVICE_FD, GROUP_GET_STATUS, GROUP_SET_CONTAINER, GROUP_UNSET_CONTAINER,
    GROUP_VIABLE,
};
use ioctlab_chardev::layout::{put, word};
use ioctlab_chardev::{
    CallResult, Caller, Capability, Errno, FileId, PAGE_SIZE, Request, UserMemory, UserPtr,
};

use crate::group::{Group, GroupKind};
use crate::{Bus, DeviceId, Minor, Vfio};

/// The size of `struct vfio_group_status`, in bytes.
const STATUS_SIZE: usize = 8;

/// What a group's ioctl comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupReply {
    /// It is done, and returns this.
    Value(i64),
    /// It returns a new descriptor, close-on-exec and for reading and writing, of a file that [`Vfio::open_device`] opens; its name is
    /// `anon_inode:[vfio-device]`.
    Device(DeviceId),
}

impl<M: Bus> Vfio<M> {
    /// `ioctl(2)` of a group.
    ///
    /// # Errors
    /// `ENOTTY` for a request that isn't a group's; else those of the request:
    /// - `GET_STATUS`: `EFAULT`; `EINVAL` for an `argsz` below 8; `ENODEV` if the group's devices are gone.
    /// - `SET_CONTAINER`: `EFAULT`; `EBADF` for a descriptor that isn't one; `EINVAL` if it is set; `ENODEV` if the group's devices
    ///   are gone; `EBADFD` for a file that is no container. `EPERM` if a native driver has a device of the group, if the
    ///   container's groups are of the other kind, and without `CAP_SYS_RAWIO` if no IOMMU translates for it; the IOMMU
    ///   driver's.
    /// - `UNSET_CONTAINER`: `EINVAL` if none is set; `EBUSY` while a device is open, or there is an external user.
    /// - `GET_DEVICE_FD`: `EFAULT`; `EINVAL` for a name of more than 4095 bytes; `ENODEV` if no device has that name; the bus's,
    ///   for a name with wrong options; `EINVAL` without container or IOMMU; `EPERM` without `CAP_SYS_RAWIO` if no IOMMU
    ///   translates for it, and the device isn't open yet.
    pub fn group_ioctl(
        &mut self,
        file: FileId,
        request: Request,
        argument: u64,
        caller: &mut dyn Caller,
        machine: &mut M,
    ) -> CallResult<GroupReply> {
        let minor = *self.group_files.get(&file).ok_or(Errno::EBADF)?;
        let argument = UserPtr(argument);
        match request {
            GROUP_GET_STATUS => self.get_status(minor, argument, caller, machine)?,
            GROUP_SET_CONTAINER => self.set_container(minor, argument, caller, machine)?,
            GROUP_UNSET_CONTAINER => self.unset_container(minor, machine)?,
            GROUP_GET_DEVICE_FD => {
                return Ok(GroupReply::Device(self.get_device(minor, argument, caller, machine)?));
            }
            _ => return Err(Errno::ENOTTY.into()),
        }
        Ok(GroupReply::Value(0))
    }

    fn get_status(
        &self,
        minor: Minor,
        argument: UserPtr,
        memory: &mut dyn UserMemory,
        machine: &M,
    ) -> Result<(), Errno> {
        let mut status: [u8; STATUS_SIZE] = memory.fetch(argument)?;
        let argsz = usize::try_from(word(&status, 0)).unwrap_or(usize::MAX);
        if argsz < STATUS_SIZE {
            return Err(Errno::EINVAL);
        }
        let group = self.groups.get(&minor).filter(|group| group.is_there()).ok_or(Errno::ENODEV)?;
        let flags = if group.container.is_some() {
            GROUP_CONTAINER_SET | GROUP_VIABLE
        } else if group.has_other_users(machine) {
            0
        } else {
            GROUP_VIABLE
        };
        put(&mut status, 4, &flags.to_ne_bytes());
        memory.write(argument, &status)?;
        Ok(())
    }

    fn set_container(
        &mut self,
        minor: Minor,
        argument: UserPtr,
        caller: &mut dyn Caller,
        machine: &mut M,
    ) -> Result<(), Errno> {
        let memory: &mut dyn UserMemory = caller;
        let descriptor = i32::from_ne_bytes(memory.fetch(argument)?);
        let file = caller.descriptor(descriptor)?;
        let group = self.groups.get_mut(&minor).ok_or(Errno::ENODEV)?;
        if group.container.is_some() {
            return Err(Errno::EINVAL);
        }
        if !group.is_there() {
            return Err(Errno::ENODEV);
        }
        let file = file.ok_or(Errno::EBADFD)?;
        let container =
            self.containers.get_mut(&file).filter(|container| container.is_open).ok_or(Errno::EBADFD)?;
        if group.kind == GroupKind::Noiommu && !caller.has_capability(Capability::SysRawio) {
            return Err(Errno::EPERM);
        }
        if !container.groups.is_empty() && container.kind != group.kind {
            return Err(Errno::EPERM);
        }
        if group.has_other_users(machine) {
            return Err(Errno::EPERM);
        }
        container.attach(minor, group.id, group.kind, machine)?;
        group.container = Some(file);
        Ok(())
    }

    fn unset_container(&mut self, minor: Minor, machine: &mut M) -> Result<(), Errno> {
        let group = self.groups.get(&minor).filter(|group| group.container.is_some());
        if group.ok_or(Errno::EINVAL)?.has_holders() {
            return Err(Errno::EBUSY);
        }
        self.detach_container(minor, machine);
        Ok(())
    }

    /// The first half of `GET_DEVICE_FD`: which device it is, and whether it may be opened. It changes nothing.
    fn get_device(
        &self,
        minor: Minor,
        argument: UserPtr,
        caller: &mut dyn Caller,
        machine: &mut M,
    ) -> Result<DeviceId, Errno> {
        let name = fetch_name(argument, caller)?;
        let group = self.groups.get(&minor).ok_or(Errno::ENODEV)?;
        let device = find_device(group, &name, machine)?;
        self.check_has_iommu(group)?;
        let is_open = self.devices.get(&device).is_some_and(|device| device.files > 0);
        if group.kind == GroupKind::Noiommu && !is_open && !caller.has_capability(Capability::SysRawio) {
            return Err(Errno::EPERM);
        }
        Ok(device)
    }

    /// A group's devices can be opened once its container has an IOMMU.
    pub(crate) fn check_has_iommu(&self, group: &Group) -> Result<(), Errno> {
        let container = group.container.and_then(|file| self.containers.get(&file));
        let has_iommu = container.is_some_and(|container| container.iommu.is_some());
        if has_iommu { Ok(()) } else { Err(Errno::EINVAL) }
    }
}

/// The device that answers to a name, the one that was added last being asked first.
fn find_device(group: &Group, name: &[u8], machine: &mut dyn Bus) -> Result<DeviceId, Errno> {
    for device in group.devices.iter().rev() {
        if machine.matches(*device, name)? {
            return Ok(*device);
        }
    }
    Err(Errno::ENODEV)
}

/// A string of a page at most with its NUL, which it is without here (`strndup_user`). Memory faults by the page, so what shares
/// a page with the string's end can be read.
fn fetch_name(at: UserPtr, memory: &mut dyn UserMemory) -> Result<Vec<u8>, Errno> {
    let page = usize::try_from(PAGE_SIZE).map_err(|_| Errno::EINVAL)?;
    let into_page = usize::try_from(at.0 & PAGE_SIZE.saturating_sub(1)).map_err(|_| Errno::EINVAL)?;
    let first = page.saturating_sub(into_page);
    let mut name = Vec::new();
    name.try_reserve_exact(page).map_err(|_| Errno::ENOMEM)?;
    for size in [first, page.saturating_sub(first)] {
        let start = name.len();
        name.resize(start.saturating_add(size), 0);
        memory.read(at.behind(start)?, name.get_mut(start..).unwrap_or_default())?;
        if let Some(length) = name.iter().position(|byte| *byte == 0) {
            name.truncate(length);
            return Ok(name);
        }
    }
    Err(Errno::EINVAL)
}
