//! What the core needs of buses, of drivers that give it devices, and of IOMMU drivers.

use alloc::boxed::Box;
use alloc::vec::Vec;

use ioctlab_chardev::{CallResult, Caller, Errno, Mapping, MmapRequest, Request, UserPtr};

/// An IOMMU group, by the number that it has in `/sys/kernel/iommu_groups` and in `/dev/vfio`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// A device on some bus (`struct device`).
///
/// Numbers are never used twice in a lab's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub u32);

/// Which kind of driver a device is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberDriver {
    /// None.
    None,
    /// One that takes no part in DMA, and may be there while others use the group (`driver_managed_dma`: pci-stub, pcieport,
    /// and the drivers that use VFIO).
    Harmless,
    /// Any other.
    Native,
}

/// A device of an IOMMU group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The device.
    pub device: DeviceId,
    /// Its driver.
    pub driver: MemberDriver,
}

/// Buses, and the drivers of devices that programs use by VFIO (`vfio_device_ops`).
pub trait Bus {
    /// The devices of an IOMMU group.
    fn members(&self, group: GroupId) -> Vec<Member>;

    /// Whether a device has this name, and may be had by it (`match`; for vfio-pci the part behind a space is options).
    ///
    /// # Errors
    /// The driver's, for a name that is the device's but whose options aren't right.
    fn matches(&mut self, device: DeviceId, name: &[u8]) -> Result<bool, Errno>;

    /// The device is used from now on (`open_device`): its first file is opened.
    ///
    /// # Errors
    /// The driver's.
    fn open_device(&mut self, device: DeviceId) -> Result<(), Errno>;

    /// The device is used no longer (`close_device`): its last file is gone.
    fn close_device(&mut self, device: DeviceId);

    /// The device is wanted back; told for the `count`th time, from 0 on (`request`).
    fn request(&mut self, device: DeviceId, count: u32);
}

/// An IOMMU driver, as it is registered with the core (`vfio_iommu_driver_ops`). `M` is the machine that it drives.
pub trait IommuDriver<M: ?Sized>: Send {
    /// Its module's name; two of one name are the same driver.
    fn name(&self) -> &'static str;

    /// What `CHECK_EXTENSION` answers while no container has chosen it: above 0 for yes.
    fn check_extension(&self, extension: u64) -> i64;

    /// A container chooses it, as the kind of IOMMU that `extension` says.
    ///
    /// # Errors
    /// [`Errno::EINVAL`] for an extension that is no kind of IOMMU; [`Errno::ENOMEM`].
    fn open(&mut self, extension: u64) -> Result<Box<dyn Iommu<M>>, Errno>;
}

/// A container's IOMMU.
pub trait Iommu<M: ?Sized>: Send {
    /// The devices of a group get at memory by this IOMMU from now on.
    ///
    /// # Errors
    /// Why they can't.
    fn attach_group(&mut self, group: GroupId, machine: &mut M) -> Result<(), Errno>;

    /// They do no longer.
    fn detach_group(&mut self, group: GroupId, machine: &mut M);

    /// What `CHECK_EXTENSION` answers now.
    fn check_extension(&self, extension: u64) -> i64;

    /// An ioctl of the container that the core doesn't know.
    ///
    /// # Errors
    /// The driver's.
    fn ioctl(
        &mut self,
        request: Request,
        argument: u64,
        caller: &mut dyn Caller,
        machine: &mut M,
    ) -> CallResult<i64>;

    /// `read` of the container.
    ///
    /// # Errors
    /// The driver's.
    fn read(
        &mut self,
        to: UserPtr,
        count: usize,
        caller: &mut dyn Caller,
        machine: &mut M,
    ) -> CallResult<usize> {
        let _ = (to, count, caller, machine);
        Err(Errno::EINVAL.into())
    }

    /// `write` of the container.
    ///
    /// # Errors
    /// The driver's.
    fn write(
        &mut self,
        from: UserPtr,
        count: usize,
        caller: &mut dyn Caller,
        machine: &mut M,
    ) -> CallResult<usize> {
        let _ = (from, count, caller, machine);
        Err(Errno::EINVAL.into())
    }

    /// `mmap` of the container.
    ///
    /// # Errors
    /// The driver's.
    fn mmap(&mut self, request: &MmapRequest, machine: &mut M) -> Result<Mapping, Errno> {
        let _ = (request, machine);
        Err(Errno::ENODEV)
    }

    /// The container has no group any more: everything that is mapped goes (`release`).
    fn release(self: Box<Self>, machine: &mut M);
}
