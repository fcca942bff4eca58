//! Containers: `/dev/vfio/vfio`.

use alloc::boxed::Box;
use alloc::vec::Vec;

use ioctlab_abi::vfio::{API_VERSION, CHECK_EXTENSION, GET_API_VERSION, NOIOMMU_IOMMU, SET_IOMMU};
use ioctlab_chardev::{CallResult, Caller, Errno, FileId, Mapping, MmapRequest, Request, UserPtr};

use crate::group::GroupKind;
use crate::{Bus, GroupId, Iommu, Minor, Vfio};

/// The IOMMU that a container has.
pub(crate) enum Chosen<M> {
    /// A registered driver's.
    Of {
        /// The driver's name.
        driver: &'static str,
        iommu: Box<dyn Iommu<M>>,
    },
    /// None in truth (`vfio_noiommu_ops`).
    Noiommu,
}

/// What a container's groups share.
pub(crate) struct Container<M> {
    /// Whether its file is open.
    pub(crate) is_open: bool,
    /// In the order in which they were put into it, all of one kind.
    pub(crate) groups: Vec<(Minor, GroupId)>,
    pub(crate) kind: GroupKind,
    /// Only while there are groups.
    pub(crate) iommu: Option<Chosen<M>>,
}

impl<M> Container<M> {
    pub(crate) fn has_chosen(&self, name: &str) -> bool {
        matches!(&self.iommu, Some(Chosen::Of { driver, .. }) if *driver == name)
    }

    /// Puts a group into the container, and under its IOMMU if it has one.
    pub(crate) fn attach(
        &mut self,
        minor: Minor,
        group: GroupId,
        kind: GroupKind,
        machine: &mut M,
    ) -> Result<(), Errno> {
        if let Some(Chosen::Of { iommu, .. }) = &mut self.iommu {
            iommu.attach_group(group, machine)?;
        }
        self.kind = kind;
        self.groups.push((minor, group));
        Ok(())
    }

    /// Takes a group out. The last one takes the IOMMU with it: by its groups alone is a container privileged to have one.
    pub(crate) fn detach(&mut self, minor: Minor, machine: &mut M) {
        let Some(at) = self.groups.iter().position(|(other, _)| *other == minor) else { return };
        let (_, group) = self.groups.remove(at);
        if let Some(Chosen::Of { iommu, .. }) = &mut self.iommu {
            iommu.detach_group(group, machine);
        }
        if !self.groups.is_empty() {
            return;
        }
        if let Some(Chosen::Of { iommu, .. }) = self.iommu.take() {
            iommu.release(machine);
        }
    }
}

impl<M: Bus> Vfio<M> {
    /// `/dev/vfio/vfio` was opened: a new container. Of no effect if the file is open already.
    pub fn open_container(&mut self, file: FileId) {
        self.containers.entry(file).or_insert(Container {
            is_open: true,
            groups: Vec::new(),
            kind: GroupKind::Iommu,
            iommu: None,
        });
    }

    /// Nothing refers to a container's file any more. The container stays while groups are of it.
    pub fn release_container(&mut self, file: FileId) {
        if let Some(container) = self.containers.get_mut(&file) {
            container.is_open = false;
        }
        self.drop_unused_container(file);
    }

    pub(crate) fn drop_unused_container(&mut self, file: FileId) {
        if self
            .containers
            .get(&file)
            .is_some_and(|container| !container.is_open && container.groups.is_empty())
        {
            self.containers.remove(&file);
        }
    }

    /// `ioctl(2)` of a container.
    ///
    /// # Errors
    /// Those of `SET_IOMMU`; for a request that isn't VFIO's own those of the IOMMU driver, and `EINVAL` while none is chosen.
    ///
    /// `SET_IOMMU`: `EINVAL` without groups, or with an IOMMU; `ENODEV` if no driver knows that type; else why the
    /// last one that does couldn't open it, or attach all groups. `EPERM` for type 8 without `CAP_SYS_RAWIO`.
    pub fn container_ioctl(
        &mut self,
        file: FileId,
        request: Request,
        argument: u64,
        caller: &mut dyn Caller,
        machine: &mut M,
    ) -> CallResult<i64> {
        let container = open(self.containers.get_mut(&file))?;
        match request {
            GET_API_VERSION => Ok(API_VERSION),
            CHECK_EXTENSION => Ok(self.check_extension(file, argument)),
            SET_IOMMU => Ok(self.set_iommu(file, argument, caller, machine).map(|()| 0)?),
            _ => match &mut container.iommu {
                Some(Chosen::Of { iommu, .. }) => iommu.ioctl(request, argument, caller, machine),
                Some(Chosen::Noiommu) => Err(Errno::ENOTTY.into()),
                None => Err(Errno::EINVAL.into()),
            },
        }
    }

    /// `CHECK_EXTENSION`: what the container's IOMMU says; without one, the first positive answer of a driver that its groups
    /// could have, or the last one's.
    pub(crate) fn check_extension(&self, container: FileId, extension: u64) -> i64 {
        let Some(container) = self.containers.get(&container) else { return 0 };
        let noiommu = i64::from(self.unsafe_noiommu && extension == NOIOMMU_IOMMU);
        match &container.iommu {
            Some(Chosen::Of { iommu, .. }) => return iommu.check_extension(extension),
            Some(Chosen::Noiommu) => return noiommu,
            None => {}
        }
        let may_have = |kind| container.groups.is_empty() || container.kind == kind;
        let mut answer = 0;
        if may_have(GroupKind::Iommu) {
            for driver in self.drivers.iter().rev() {
                answer = driver.check_extension(extension);
                if answer > 0 {
                    return answer;
                }
            }
        }
        // The core's own driver is registered before all others, so it is asked last.
        if may_have(GroupKind::Noiommu) { noiommu } else { answer }
    }

    /// `read(2)` of a container.
    ///
    /// # Errors
    /// The IOMMU driver's; `EINVAL` while none is chosen.
    pub fn container_read(
        &mut self,
        file: FileId,
        to: UserPtr,
        count: usize,
        caller: &mut dyn Caller,
        machine: &mut M,
    ) -> CallResult<usize> {
        match &mut open(self.containers.get_mut(&file))?.iommu {
            Some(Chosen::Of { iommu, .. }) => iommu.read(to, count, caller, machine),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    /// `write(2)` of a container.
    ///
    /// # Errors
    /// The IOMMU driver's; `EINVAL` while none is chosen.
    pub fn container_write(
        &mut self,
        file: FileId,
        from: UserPtr,
        count: usize,
        caller: &mut dyn Caller,
        machine: &mut M,
    ) -> CallResult<usize> {
        match &mut open(self.containers.get_mut(&file))?.iommu {
            Some(Chosen::Of { iommu, .. }) => iommu.write(from, count, caller, machine),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    /// `mmap(2)` of a container.
    ///
    /// # Errors
    /// The IOMMU driver's; `ENODEV` while none is chosen.
    pub fn container_mmap(
        &mut self,
        file: FileId,
        request: &MmapRequest,
        machine: &mut M,
    ) -> Result<Mapping, Errno> {
        match &mut open(self.containers.get_mut(&file))?.iommu {
            Some(Chosen::Of { iommu, .. }) => iommu.mmap(request, machine),
            _ => Err(Errno::ENODEV),
        }
    }
}

/// A container whose file is open.
fn open<M>(container: Option<&mut Container<M>>) -> Result<&mut Container<M>, Errno> {
    container.filter(|container| container.is_open).ok_or(Errno::EBADF)
}
