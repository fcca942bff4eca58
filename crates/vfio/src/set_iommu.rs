//! How a container gets its IOMMU.

use alloc::boxed::Box;
use alloc::vec::Vec;

use ioctlab_abi::vfio::NOIOMMU_IOMMU;
use ioctlab_chardev::{Caller, Capability, Errno, FileId};

use crate::container::Chosen;
use crate::group::GroupKind;
use crate::{Bus, GroupId, Iommu, IommuDriver, Vfio};

impl<M: Bus> Vfio<M> {
    /// `SET_IOMMU` (`vfio_ioctl_set_iommu`).
    pub(crate) fn set_iommu(
        &mut self,
        container: FileId,
        extension: u64,
        caller: &mut dyn Caller,
        machine: &mut M,
    ) -> Result<(), Errno> {
        let container = self.containers.get_mut(&container).ok_or(Errno::EBADF)?;
        if container.groups.is_empty() || container.iommu.is_some() {
            return Err(Errno::EINVAL);
        }
        let chosen = match container.kind {
            GroupKind::Noiommu => choose_none(self.unsafe_noiommu, extension, caller)?,
            GroupKind::Iommu => {
                // The group that came last is the first of Linux's list.
                let groups: Vec<_> = container.groups.iter().rev().map(|(_, group)| *group).collect();
                choose(&mut self.drivers, extension, &groups, machine)?
            }
        };
        container.iommu = Some(chosen);
        Ok(())
    }
}

/// The core's own driver, for groups without an IOMMU; it has nothing to attach (`vfio_noiommu_ops`).
fn choose_none<M>(enabled: bool, extension: u64, caller: &mut dyn Caller) -> Result<Chosen<M>, Errno> {
    if !enabled || extension != NOIOMMU_IOMMU {
        return Err(Errno::ENODEV);
    }
    if !caller.has_capability(Capability::SysRawio) {
        return Err(Errno::EPERM);
    }
    Ok(Chosen::Noiommu)
}

/// The first driver that knows the type and takes all groups. One that fails doesn't keep others from being tried.
fn choose<M: Bus>(
    drivers: &mut [Box<dyn IommuDriver<M>>],
    extension: u64,
    groups: &[GroupId],
    machine: &mut M,
) -> Result<Chosen<M>, Errno> {
    let mut refusal = Errno::ENODEV;
    for driver in drivers.iter_mut().rev().filter(|driver| driver.check_extension(extension) > 0) {
        let mut iommu = match driver.open(extension) {
            Ok(iommu) => iommu,
            Err(errno) => {
                refusal = errno;
                continue;
            }
        };
        match attach_all(&mut *iommu, groups, machine) {
            Ok(()) => return Ok(Chosen::Of { driver: driver.name(), iommu }),
            Err(errno) => {
                iommu.release(machine);
                refusal = errno;
            }
        }
    }
    Err(refusal)
}

/// Attaches groups; if one can't be, those before it are detached, last one first.
fn attach_all<M: Bus>(iommu: &mut dyn Iommu<M>, groups: &[GroupId], machine: &mut M) -> Result<(), Errno> {
    for (attached, group) in groups.iter().enumerate() {
        if let Err(errno) = iommu.attach_group(*group, machine) {
            for group in groups.iter().take(attached).rev() {
                iommu.detach_group(*group, machine);
            }
            return Err(errno);
        }
    }
    Ok(())
}
