//! A container's IOMMU (`struct vfio_iommu`).

use alloc::boxed::Box;
use alloc::vec::Vec;

use ioctlab_abi::vfio::{IOMMU_DIRTY_PAGES, IOMMU_GET_INFO, IOMMU_MAP_DMA, IOMMU_UNMAP_DMA};
use ioctlab_chardev::{BadAddress, CallResult, Caller, Errno, PAGE_SIZE, Request, UserMemory, UserPtr};
use ioctlab_vfio::{GroupId, Iommu};

use crate::driver::check_extension;
use crate::groups::Attached;
use crate::iova::ValidIovas;
use crate::mappings::{Dma, Mappings};
use crate::{IovaRange, Machine, Parameters};

/// A container that has chosen this driver.
#[derive(Debug)]
pub(crate) struct Container {
    /// The second version of type 1.
    pub(crate) v2: bool,
    pub(crate) allow_unsafe_interrupts: bool,
    /// How many mappings more there can be.
    pub(crate) dma_avail: u32,
    pub(crate) mappings: Mappings,
    /// How many mappings have no valid address.
    pub(crate) vaddr_invalid: u32,
    pub(crate) domains: Vec<Attached>,
    pub(crate) iovas: ValidIovas,
    /// The sizes of pages that all domains have, a bit each.
    pub(crate) page_sizes: u64,
    pub(crate) dirty_page_tracking: bool,
}

/// Sizes from a page of the processor's on.
pub(crate) const WHOLE_PAGES: u64 = !(PAGE_SIZE - 1);

impl Container {
    pub(crate) fn new(v2: bool, parameters: Parameters) -> Self {
        Self {
            v2,
            allow_unsafe_interrupts: parameters.allow_unsafe_interrupts,
            dma_avail: parameters.dma_entry_limit,
            mappings: Mappings::default(),
            vaddr_invalid: 0,
            domains: Vec::new(),
            iovas: ValidIovas::default(),
            page_sizes: WHOLE_PAGES,
            dirty_page_tracking: false,
        }
    }

    /// The smallest page, as a power of two.
    pub(crate) fn page_shift(&self) -> u32 {
        self.page_sizes.trailing_zeros().min(63)
    }

    /// Whether a number is whole pages of the smallest size.
    pub(crate) fn is_whole_pages(&self, number: u64) -> bool {
        number.trailing_zeros() >= self.page_shift()
    }

    /// Takes a mapping out of everything (`vfio_remove_dma`).
    pub(crate) fn remove(&mut self, dma: Dma, machine: &mut (impl Machine + ?Sized)) {
        if self.mappings.remove(dma.range.start).is_none() {
            return;
        }
        for attached in &self.domains {
            machine.unmap(attached.domain, dma.range);
        }
        machine.unlock_pages(dma.memory.space, dma.pages());
        self.dma_avail = self.dma_avail.saturating_add(1);
        if dma.vaddr_invalid {
            self.vaddr_invalid = self.vaddr_invalid.saturating_sub(1);
        }
    }

    pub(crate) fn remove_all(&mut self, machine: &mut (impl Machine + ?Sized)) {
        let all = IovaRange { start: 0, last: u64::MAX };
        while let Some(dma) = self.mappings.first_starting_in(all) {
            self.remove(dma, machine);
        }
    }
}

impl<M: Machine + ?Sized> Iommu<M> for Container {
    fn attach_group(&mut self, group: GroupId, machine: &mut M) -> Result<(), Errno> {
        self.attach(group, machine)
    }

    fn detach_group(&mut self, group: GroupId, machine: &mut M) {
        self.detach(group, machine);
    }

    fn check_extension(&self, extension: u64) -> i64 {
        check_extension(extension, Some(self.domains.iter().all(|attached| attached.coherent)))
    }

    fn ioctl(
        &mut self,
        request: Request,
        argument: u64,
        caller: &mut dyn Caller,
        machine: &mut M,
    ) -> CallResult<i64> {
        match request {
            IOMMU_GET_INFO => self.get_info(argument, caller)?,
            IOMMU_MAP_DMA => self.map_dma(argument, caller, machine)?,
            IOMMU_UNMAP_DMA => self.unmap_dma(argument, caller, machine)?,
            IOMMU_DIRTY_PAGES => self.dirty_pages(argument, caller)?,
            _ => return Err(Errno::ENOTTY.into()),
        }
        Ok(0)
    }

    fn release(mut self: Box<Self>, machine: &mut M) {
        self.remove_all(machine);
        while let Some(group) = self.domains.iter().find_map(|attached| attached.groups.first().copied()) {
            self.detach(group, machine);
        }
    }
}

/// Fetches a struct of the program's.
pub(crate) fn fetch<const N: usize>(caller: &mut dyn Caller, from: u64) -> Result<[u8; N], BadAddress> {
    let memory: &mut dyn UserMemory = caller;
    memory.fetch(UserPtr(from))
}
