//! Groups: `/dev/vfio/N`, and `/dev/vfio/noiommu-N`.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use ioctlab_chardev::{Errno, FileId};

use crate::{Bus, DeviceId, GroupId, MemberDriver, Vfio};

/// The minor number of a group's node; 20 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minor(pub u32);

/// The highest minor number (`MINORMASK`).
const LAST_MINOR: u32 = (1 << 20) - 1;

/// Whether an IOMMU translates for a group (`vfio_group_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind {
    /// It does.
    Iommu,
    /// None does: the group was made up for a single device, which gets at all memory.
    Noiommu,
}

/// A group's node in `/dev/vfio`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupNode {
    /// Its minor number.
    pub minor: Minor,
    /// Which group it is of.
    pub group: GroupId,
    /// Of which kind.
    pub kind: GroupKind,
}

impl GroupNode {
    /// Its name in `/dev/vfio`: `7`, or `noiommu-7`.
    pub fn name(&self) -> String {
        match self.kind {
            GroupKind::Iommu => format!("{}", self.group.0),
            GroupKind::Noiommu => format!("noiommu-{}", self.group.0),
        }
    }
}

/// A group's open file (`opened_file`), which may have no descriptors any more.
pub(crate) struct Opened {
    /// Whether there are descriptors of it.
    pub(crate) has_descriptors: bool,
    /// Who else keeps it open: open devices, and external users.
    pub(crate) holders: u32,
}

/// A group that devices were added to.
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) kind: GroupKind,
    /// Devices that programs can get, in the order in which they were added.
    pub(crate) devices: Vec<DeviceId>,
    /// How many devices there are, with those whose removal waits. At 0 the node is gone, and only the open file is left.
    pub(crate) drivers: u32,
    pub(crate) opened: Option<Opened>,
    /// By its file. Only while the group's own file is open.
    pub(crate) container: Option<FileId>,
}

impl Group {
    const fn new(id: GroupId, kind: GroupKind) -> Self {
        Self { id, kind, devices: Vec::new(), drivers: 0, opened: None, container: None }
    }

    /// Whether there are devices, and with them the IOMMU group.
    pub(crate) const fn is_there(&self) -> bool {
        self.drivers > 0
    }

    /// Whether there are none, and no file is open.
    const fn is_unused(&self) -> bool {
        self.drivers == 0 && self.opened.is_none()
    }

    pub(crate) fn has_holders(&self) -> bool {
        self.opened.as_ref().is_some_and(|opened| opened.holders > 0)
    }

    /// Whether somebody else's driver may use a device of the group's for DMA (`iommu_group_dma_owner_claimed`).
    pub(crate) fn has_other_users(&self, machine: &dyn Bus) -> bool {
        let is_native = |driver| driver == MemberDriver::Native;
        self.kind == GroupKind::Iommu
            && machine.members(self.id).iter().any(|member| is_native(member.driver))
    }
}

impl<M: Bus> Vfio<M> {
    /// The nodes of groups that are there now, by minor.
    pub fn groups(&self) -> impl Iterator<Item = GroupNode> + '_ {
        self.groups.iter().filter(|(_, group)| group.is_there()).map(|(minor, group)| GroupNode {
            minor: *minor,
            group: group.id,
            kind: group.kind,
        })
    }

    /// The node of a group, if it is there.
    pub fn group_node(&self, group: GroupId) -> Option<GroupNode> {
        self.groups().find(|node| node.group == group)
    }

    /// Whether a driver may be bound to a device of a group (`iommu_device_use_default_domain`).
    ///
    /// # Errors
    /// `EBUSY` for a native one while a container has the group.
    pub fn may_bind(&self, group: GroupId, driver: MemberDriver) -> Result<(), Errno> {
        let is_claimed =
            |other: &Group| other.id == group && other.kind == GroupKind::Iommu && other.container.is_some();
        if driver == MemberDriver::Native && self.groups.values().any(is_claimed) {
            return Err(Errno::EBUSY);
        }
        Ok(())
    }

    /// A group's node is opened. `rawio` says whether who opens it has `CAP_SYS_RAWIO`.
    ///
    /// # Errors
    /// `ENODEV` if there is no such group (any more); `EPERM` without `CAP_SYS_RAWIO` if no IOMMU translates for it; `EBUSY` if
    /// it is open, or something of an earlier open is still in use.
    pub fn open_group(&mut self, file: FileId, minor: Minor, rawio: bool) -> Result<(), Errno> {
        let group = self.groups.get_mut(&minor).filter(|group| group.is_there()).ok_or(Errno::ENODEV)?;
        if group.kind == GroupKind::Noiommu && !rawio {
            return Err(Errno::EPERM);
        }
        if group.opened.is_some() {
            return Err(Errno::EBUSY);
        }
        group.opened = Some(Opened { has_descriptors: true, holders: 0 });
        self.group_files.insert(file, minor);
        Ok(())
    }

    /// There are no more descriptors of a group's file. It stays open while devices of it or external users need it; of no effect
    /// if there were none.
    pub fn release_group(&mut self, file: FileId, machine: &mut M) {
        let Some(minor) = self.group_files.remove(&file) else { return };
        if let Some(opened) = self.opened_mut(minor) {
            opened.has_descriptors = false;
        }
        self.close_unused_group(minor, machine);
    }

    /// The group that a file is of (`vfio_file_iommu_group`); `None` for any other file, and once its devices are gone.
    pub fn group_of(&self, file: FileId) -> Option<GroupId> {
        let group = self.groups.get(self.group_files.get(&file)?)?;
        group.is_there().then_some(group.id)
    }

    /// Whether a file is of the group that a device is of (`vfio_file_has_dev`).
    pub fn file_has_device(&self, file: FileId, device: DeviceId) -> bool {
        let device = self.devices.get(&device);
        device.is_some_and(|device| self.group_files.get(&file) == Some(&device.minor))
    }

    /// The group that a device is added to: the one that is there, or a new one, at the lowest free minor.
    pub(crate) fn find_or_create_group(&mut self, id: GroupId, kind: GroupKind) -> Result<Minor, Errno> {
        if kind == GroupKind::Noiommu && !self.unsafe_noiommu {
            return Err(Errno::EINVAL);
        }
        if let Some(node) = self.group_node(id) {
            return if node.kind == kind { Ok(node.minor) } else { Err(Errno::EINVAL) };
        }
        let minor = lowest_free(&self.groups).ok_or(Errno::ENOSPC)?;
        self.groups.insert(minor, Group::new(id, kind));
        Ok(minor)
    }

    pub(crate) fn opened_mut(&mut self, minor: Minor) -> Option<&mut Opened> {
        self.groups.get_mut(&minor)?.opened.as_mut()
    }

    /// One more keeps a group's file open, which is open.
    pub(crate) fn hold_group(&mut self, minor: Minor) {
        if let Some(opened) = self.opened_mut(minor) {
            opened.holders = opened.holders.saturating_add(1);
        }
    }

    /// One of those does so no longer.
    pub(crate) fn let_group_go(&mut self, minor: Minor, machine: &mut M) {
        if let Some(opened) = self.opened_mut(minor) {
            opened.holders = opened.holders.saturating_sub(1);
        }
        self.close_unused_group(minor, machine);
    }

    /// Closes a group's file that nothing refers to any more (`vfio_group_fops_release`).
    fn close_unused_group(&mut self, minor: Minor, machine: &mut M) {
        if self.opened_mut(minor).is_none_or(|opened| opened.has_descriptors || opened.holders > 0) {
            return;
        }
        self.detach_container(minor, machine);
        if let Some(group) = self.groups.get_mut(&minor) {
            group.opened = None;
        }
        self.drop_unused_group(minor);
    }

    /// A group leaves its container, if it is of one.
    pub(crate) fn detach_container(&mut self, minor: Minor, machine: &mut M) {
        let Some(file) = self.groups.get_mut(&minor).and_then(|group| group.container.take()) else { return };
        if let Some(container) = self.containers.get_mut(&file) {
            container.detach(minor, machine);
        }
        self.drop_unused_container(file);
    }

    /// A group that nothing refers to gives its minor back.
    pub(crate) fn drop_unused_group(&mut self, minor: Minor) {
        if self.groups.get(&minor).is_some_and(Group::is_unused) {
            self.groups.remove(&minor);
        }
    }
}

fn lowest_free(groups: &BTreeMap<Minor, Group>) -> Option<Minor> {
    let taken = groups.keys().map(|minor| minor.0);
    let lowest = taken.zip(0..).find_map(|(taken, index)| (taken != index).then_some(index));
    let lowest = lowest.or_else(|| u32::try_from(groups.len()).ok())?;
    (lowest <= LAST_MINOR).then_some(Minor(lowest))
}
