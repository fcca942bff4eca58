//! What the driver needs of the machine: its IOMMU, and the accounts of locked memory.

use alloc::vec::Vec;
use core::fmt;

use ioctlab_chardev::{Errno, SpaceId};
use ioctlab_vfio::GroupId;

/// A domain of the machine's IOMMU (`struct iommu_domain`).
///
/// Numbers are never used twice in a lab's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(pub u64);

/// A range of IOVAs that isn't empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IovaRange {
    /// The first byte.
    pub start: u64,
    /// The last byte.
    pub last: u64,
}

/// Memory of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Whose.
    pub space: SpaceId,
    /// The address of its first byte there.
    pub vaddr: u64,
}

/// Something that Linux says in its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A group was refused: its devices could raise others' interrupts.
    NoInterruptRemapping,
    /// Memory was not locked, as there would be more than this limit in bytes.
    LimitExceeded(u64),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInterruptRemapping => f.write_str(
                "vfio_iommu_type1_attach_group: No interrupt remapping support.  Use the module param \
                 \"allow_unsafe_interrupts\" to enable VFIO IOMMU support on this platform",
            ),
            Self::LimitExceeded(bytes) => {
                write!(f, "vfio_pin_pages_remote: RLIMIT_MEMLOCK ({bytes}) exceeded")
            }
        }
    }
}

/// The machine's IOMMU (`struct iommu_ops`), and the accounts that all containers share.
pub trait Machine {
    /// Makes an empty domain that suits a group's devices (`iommu_paging_domain_alloc`).
    ///
    /// # Errors
    /// Why there can't be one: [`Errno::ENODEV`] if no IOMMU is in front of the devices, [`Errno::ENOMEM`].
    fn create_domain(&mut self, group: GroupId) -> Result<DomainId, Errno>;

    /// Forgets a domain. Nothing is mapped in it or attached to it.
    fn free_domain(&mut self, domain: DomainId);

    /// From now on the group's devices reach memory by the domain (`iommu_attach_group`).
    ///
    /// # Errors
    /// Why they can't.
    fn attach(&mut self, domain: DomainId, group: GroupId) -> Result<(), Errno>;

    /// They do no longer. If they didn't, nothing happens.
    fn detach(&mut self, domain: DomainId, group: GroupId);

    /// The IOVAs that a domain translates.
    fn aperture(&self, domain: DomainId) -> IovaRange;

    /// The sizes of pages, a bit each.
    fn page_sizes(&self, domain: DomainId) -> u64;

    /// Whether accesses that bypass caches are forbidden to the domain's devices (`enforce_cache_coherency`). Groups that
    /// don't agree in it get domains of their own.
    fn enforces_coherency(&mut self, domain: DomainId) -> bool;

    /// The IOVAs that can't be used for a group's devices, in order (`iommu_get_group_resv_regions`): not those that may be
    /// (`IOMMU_RESV_DIRECT_RELAXABLE`).
    fn reserved(&self, group: GroupId) -> Vec<IovaRange>;

    /// Whether the group's devices can raise their own interrupts only (`iommu_group_has_isolated_msi`).
    fn isolates_interrupts(&self, group: GroupId) -> bool;

    /// Maps a range, where nothing is mapped: devices may `read` it, `write` it. Costs the same for each size.
    ///
    /// # Errors
    /// The IOMMU's; then nothing is mapped.
    fn map(
        &mut self,
        domain: DomainId,
        range: IovaRange,
        memory: Memory,
        read: bool,
        write: bool,
    ) -> Result<(), Errno>;

    /// A range that was mapped by one call is of other memory from now on; the rights stay.
    fn retarget(&mut self, domain: DomainId, range: IovaRange, memory: Memory);

    /// Unmaps a range that was mapped by one call.
    fn unmap(&mut self, domain: DomainId, range: IovaRange);

    /// How many pages are locked for devices in an address space, for all containers
    /// (of `mm->locked_vm`; [`LockedMemory`](crate::LockedMemory) keeps them).
    fn locked_pages(&self, space: SpaceId) -> u64;

    /// The limit of locked memory that a caller with this one is held to, in bytes; `None` for none.
    fn locked_memory_limit(&self, of_caller: Option<u64>) -> Option<u64> {
        of_caller
    }

    /// So many pages more.
    fn lock_pages(&mut self, space: SpaceId, pages: u64);

    /// So many pages fewer.
    fn unlock_pages(&mut self, space: SpaceId, pages: u64);

    /// Something that belongs into the kernel's log.
    fn warn(&mut self, warning: Warning) {
        let _ = warning;
    }
}
