//! Linux's VFIO core: containers, groups and devices, as a pure state machine.
//!
//! A program opens `/dev/vfio/vfio`, which makes a container, and `/dev/vfio/N`, a group of devices that an IOMMU can't tell
//! apart. It puts the group into the container, chooses a kind of IOMMU for the container, and gets descriptors of the
//! group's devices. [`Vfio`] is the core of one kernel, with all its open files. [`Bus`] is what it needs of buses and of
//! the drivers that give it devices; [`IommuDriver`] and [`Iommu`] are what an IOMMU driver gives it.
//!
//! Behaviour is that of Linux 6.12 (`drivers/vfio/{group,container,vfio_main}.c`) without iommufd, and what programs see of
//! it is as recorded there.
//!
//! # Calls
//! - Containers: [`Vfio::open_container`], [`Vfio::container_ioctl`], [`Vfio::release_container`]; `read`, `write` and `mmap`
//!   are passed on to the IOMMU driver.
//! - Groups: [`Vfio::open_group`], [`Vfio::group_ioctl`], [`Vfio::release_group`]. `read` and `write` are `EINVAL` and `mmap` is
//!   `ENODEV` before a call gets here.
//! - Devices: a group's `GET_DEVICE_FD` says which device is to be opened; [`Vfio::open_device`] opens it as a file,
//!   [`Vfio::device_of`] tells whose calls are that device's driver's, and [`Vfio::release_device`] ends it.
//! - The layer that binds drivers: [`Vfio::add_group_dev`], [`Vfio::del_group_dev`], [`Vfio::next_removed`], [`Vfio::tick`], and
//!   [`Vfio::may_bind`] before it binds any other driver.
//! - Other parts of the kernel that use a group by its file, as KVM does: [`Vfio::get_external_user`].
//!
//! A 32-bit program's calls are the same ones: no struct differs.
//!
//! # Who keeps what
//! - A container is there while its file is open or a group is of it.
//! - A group's file is open while there are descriptors of it, or a device of the group is open, or an external user has it;
//!   then it leaves its container. The last group to leave takes the container's IOMMU with it.
//! - A group is there, with its node, while it has devices; its minor is taken until its file is closed, too.
//! - A device is there until its driver has taken it back, which waits until nobody uses it.
//!
//! # A group's viability
//! Nobody else may use a group's devices while a container has it: it is claimed as it is put into one (`EPERM` if some device of
//! it is bound to a native driver), and from then on such a driver can't be bound ([`Vfio::may_bind`]). Linux's older
//! rule looked at all drivers at each call, was told by the bus of every bind and unbind for that, and stopped the machine when
//! a native driver was bound to a group in use. With the claim there is nothing to be told of.
//!
//! # Differences from Linux
//! - An external user counts as a user of the container, as in Linux before 6.0: while there is one, `UNSET_CONTAINER` is
//!   `EBUSY`. Today KVM only keeps the group's file open.
//! - `GET_DEVICE_FD` checks all it can before a descriptor is chosen: where both fail, `EINVAL` and `EPERM` come before `EMFILE`.
//! - A device that is added twice is `EBUSY`, as in older kernels, and not `EINVAL`.
//! - A signal to who waits for a removal doesn't make the next request come at once.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;

mod container;
mod device;
mod external;
mod group;
mod group_ioctl;
mod platform;
mod removal;
mod set_iommu;
mod vfio;

pub use external::ExternalUser;
pub use group::{GroupKind, GroupNode, Minor};
pub use group_ioctl::GroupReply;
pub use platform::{Bus, DeviceId, GroupId, Iommu, IommuDriver, Member, MemberDriver};
pub use removal::{REQUEST_INTERVAL, Removal};
pub use vfio::Vfio;
