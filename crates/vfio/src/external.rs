//! Parts of the kernel that use a group by its file, as KVM does.

use ioctlab_chardev::{Errno, FileId};

use crate::{Bus, GroupId, Minor, Vfio};

/// A use of a group, to be given back by [`Vfio::put_external_user`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the group stays in use until this is given back"]
pub struct ExternalUser {
    minor: Minor,
    group: GroupId,
}

impl ExternalUser {
    /// The number of the group (`vfio_external_user_iommu_id`).
    pub const fn iommu_id(&self) -> GroupId {
        self.group
    }
}

impl<M: Bus> Vfio<M> {
    /// A program gave a group's file to another part of the kernel, which uses the group from now on
    /// (`vfio_group_get_external_user`). That keeps the file open, and the group in its container.
    ///
    /// # Errors
    /// `EINVAL` if the file isn't a group's, or its container isn't set, or has no IOMMU.
    pub fn get_external_user(&mut self, file: FileId) -> Result<ExternalUser, Errno> {
        let minor = *self.group_files.get(&file).ok_or(Errno::EINVAL)?;
        let group = self.groups.get(&minor).ok_or(Errno::EINVAL)?;
        self.check_has_iommu(group)?;
        let user = ExternalUser { minor, group: group.id };
        self.hold_group(minor);
        Ok(user)
    }

    /// That part of the kernel has done with the group (`vfio_group_put_external_user`).
    pub fn put_external_user(&mut self, user: ExternalUser, machine: &mut M) {
        self.let_group_go(user.minor, machine);
    }

    /// What `CHECK_EXTENSION` says for the group's container (`vfio_external_check_extension`); 0 once the group's devices are
    /// gone, and it is of none.
    pub fn external_check_extension(&self, user: &ExternalUser, extension: u64) -> i64 {
        let container = self.groups.get(&user.minor).and_then(|group| group.container);
        container.map_or(0, |file| self.check_extension(file, extension))
    }
}
