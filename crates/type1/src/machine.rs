//! What the driver needs of the IOMMU, and of the system's accounts.

use alloc::vec::Vec;

use ioctlab_chardev::{Errno, SpaceId};
use ioctlab_vfio::GroupId;

/// A domain of the IOMMU: what the devices attached to it have in common.
///
/// Numbers are never used twice in a lab's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(pub u64);

/// A range of IOVAs that isn't empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub start: u64,
    /// The last.
    pub last: u64,
}

/// Memory of a program's that devices are to get at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// Whose.
    pub space: SpaceId,
    /// Its address there.
    pub address: u64,
    /// Devices may read it.
    pub read: bool,
    /// Devices may write it.
    pub write: bool,
}

/// The IOMMU, and the accounts of locked memory (`mm_struct::locked_vm`), which all containers share.
pub trait Machine {
    /// A new domain without devices.
    ///
    /// # Errors
    /// `ENOMEM`.
    fn create_domain(&mut self) -> Result<DomainId, Errno>;

    /// A domain goes, with everything that is mapped in it.
    fn free_domain(&mut self, domain: DomainId);

    /// The devices of a group use a domain from now on.
    ///
    /// # Errors
    /// `EBUSY`, `ENODEV`: why they can't.
    fn attach(&mut self, domain: DomainId, group: GroupId) -> Result<(), Errno>;

    /// They use none any more.
    fn detach(&mut self, domain: DomainId, group: GroupId);

    /// Whether a device can raise no interrupts but its own (interrupt remapping).
    fn isolates_interrupts(&self) -> bool;

    /// Whether devices' accesses are coherent with caches, whatever they ask for.
    fn is_coherent(&self) -> bool;

    /// The sizes of pages, a bit each.
    fn page_sizes(&self) -> u64;

    /// The IOVAs that the IOMMU translates.
    fn aperture(&self) -> Range;

    /// Those of them that nothing may be mapped at, in order and apart.
    fn reserved(&self) -> Vec<Range>;

    /// Maps a range that is whole pages, within the aperture, and free.
    ///
    /// # Errors
    /// `ENOMEM`.
    fn map(&mut self, domain: DomainId, iova: u64, bytes: u64, memory: Pinned) -> Result<(), Errno>;

    /// Unmaps a range as it was mapped.
    fn unmap(&mut self, domain: DomainId, iova: u64, bytes: u64);

    /// How many pages of an address space are locked by drivers, over all containers.
    fn locked(&self, space: SpaceId) -> u64;

    /// The limit of locked memory that a caller with this one is held to, in bytes.
    fn locked_memory_limit(&self, of_caller: Option<u64>) -> Option<u64> {
        of_caller
    }

    /// Changes that by so many.
    fn account(&mut self, space: SpaceId, pages: i64);
}
