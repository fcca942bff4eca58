//! The driver as the core sees it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use ioctlab_abi::vfio::{
    DMA_CC_IOMMU, IOMMU_DIRTY_PAGES, IOMMU_GET_INFO, IOMMU_MAP_DMA, IOMMU_UNMAP_DMA, TYPE1_IOMMU,
    TYPE1_NESTING_IOMMU, TYPE1V2_IOMMU, UNMAP_ALL, UPDATE_VADDR,
};
use ioctlab_chardev::{CallResult, Caller, Errno, Request, UserPtr};
use ioctlab_vfio::{GroupId, Iommu, IommuDriver};

use crate::machine::{DomainId, Machine, Range};
use crate::mappings::Mappings;

/// The module parameter `dma_entry_limit`, unless it is given: the most mappings of a container.
pub const DEFAULT_DMA_ENTRY_LIMIT: u32 = 65_535;

/// The module's parameters.
#[derive(Clone, Copy, Debug)]
pub struct Parameters {
    /// Groups can be used though a device could raise others' interrupts.
    pub allow_unsafe_interrupts: bool,
    /// The most mappings that a container can have at a time.
    pub dma_entry_limit: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { allow_unsafe_interrupts: false, dma_entry_limit: DEFAULT_DMA_ENTRY_LIMIT }
    }
}

/// The driver, to be registered with the core.
pub struct Type1 {
    parameters: Parameters,
}

impl Type1 {
    /// The driver, loaded with these parameters.
    pub const fn new(parameters: Parameters) -> Self {
        Self { parameters }
    }
}

impl<M: Machine + ?Sized> IommuDriver<M> for Type1 {
    fn name(&self) -> &'static str {
        "vfio-iommu-type1"
    }

    fn check_extension(&self, extension: u64) -> i64 {
        // What depends on the IOMMU isn't known without one.
        i64::from(matches!(extension, TYPE1_IOMMU | TYPE1V2_IOMMU | TYPE1_NESTING_IOMMU | UNMAP_ALL))
    }

    fn open(&mut self, extension: u64) -> Result<Box<dyn Iommu<M>>, Errno> {
        let splits = match extension {
            TYPE1_IOMMU => true,
            TYPE1V2_IOMMU => false,
            _ => return Err(Errno::EINVAL),
        };
        Ok(Box::new(Container {
            parameters: self.parameters,
            is_v1: splits,
            domain: None,
            groups: Vec::new(),
            mappings: Mappings::default(),
            tracks_dirty_pages: false,
            is_coherent: false,
        }))
    }
}

/// A container's IOMMU (`vfio_iommu`).
pub(crate) struct Container {
    pub(crate) parameters: Parameters,
    /// Unmapping follows the rules of the first version.
    pub(crate) is_v1: bool,
    pub(crate) domain: Option<DomainId>,
    groups: Vec<GroupId>,
    pub(crate) mappings: Mappings,
    pub(crate) tracks_dirty_pages: bool,
    is_coherent: bool,
}

impl<M: Machine + ?Sized> Iommu<M> for Container {
    fn attach_group(&mut self, group: GroupId, machine: &mut M) -> Result<(), Errno> {
        if self.groups.contains(&group) {
            return Err(Errno::EINVAL);
        }
        let is_new = self.domain.is_none();
        let domain = match self.domain {
            Some(domain) => domain,
            None => machine.create_domain()?,
        };
        if let Err(errno) = self.attach_to(domain, group, machine) {
            if is_new {
                machine.free_domain(domain);
            }
            return Err(errno);
        }
        self.domain = Some(domain);
        self.is_coherent = machine.is_coherent();
        self.groups.push(group);
        Ok(())
    }

    fn detach_group(&mut self, group: GroupId, machine: &mut M) {
        let Some(place) = self.groups.iter().position(|other| *other == group) else { return };
        self.groups.swap_remove(place);
        let Some(domain) = self.domain else { return };
        if self.groups.is_empty() {
            self.unmap_everything(machine);
        }
        machine.detach(domain, group);
        if self.groups.is_empty() {
            machine.free_domain(domain);
            self.domain = None;
        }
    }

    fn check_extension(&self, extension: u64) -> i64 {
        match extension {
            // Every page is mapped for devices that say nothing of what they write: its address may change.
            UPDATE_VADDR => 1,
            DMA_CC_IOMMU => i64::from(self.is_coherent),
            TYPE1_IOMMU | TYPE1V2_IOMMU | TYPE1_NESTING_IOMMU | UNMAP_ALL => 1,
            _ => 0,
        }
    }

    fn ioctl(
        &mut self,
        request: Request,
        argument: u64,
        caller: &mut dyn Caller,
        machine: &mut M,
    ) -> CallResult<i64> {
        let argument = UserPtr(argument);
        match request {
            IOMMU_GET_INFO => self.get_info(argument, caller, machine)?,
            IOMMU_MAP_DMA => self.map_dma(argument, caller, machine)?,
            IOMMU_UNMAP_DMA => self.unmap_dma(argument, caller, machine)?,
            IOMMU_DIRTY_PAGES => self.dirty_pages(argument, caller, machine)?,
            _ => return Err(Errno::ENOTTY.into()),
        }
        Ok(0)
    }

    fn release(mut self: Box<Self>, machine: &mut M) {
        self.unmap_everything(machine);
        if let Some(domain) = self.domain {
            for group in core::mem::take(&mut self.groups) {
                machine.detach(domain, group);
            }
            machine.free_domain(domain);
        }
    }
}

impl Container {
    fn attach_to<M: Machine + ?Sized>(
        &self,
        domain: DomainId,
        group: GroupId,
        machine: &mut M,
    ) -> Result<(), Errno> {
        machine.attach(domain, group)?;
        if !machine.isolates_interrupts() && !self.parameters.allow_unsafe_interrupts {
            machine.detach(domain, group);
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// How many more mappings can be made.
    pub(crate) fn available(&self) -> u32 {
        let used = u32::try_from(self.mappings.len()).unwrap_or(u32::MAX);
        self.parameters.dma_entry_limit.saturating_sub(used)
    }
}

/// The smallest page's size, in bytes.
pub(crate) fn page_size<M: Machine + ?Sized>(machine: &M) -> u64 {
    1_u64.checked_shl(machine.page_sizes().trailing_zeros()).unwrap_or(1)
}

/// The ranges that can be mapped: the aperture without what is reserved.
pub(crate) fn valid_ranges<M: Machine + ?Sized>(machine: &M) -> Vec<Range> {
    let mut ranges = Vec::new();
    let Range { mut start, last } = machine.aperture();
    for reserved in machine.reserved() {
        if reserved.last < start || reserved.start > last {
            continue;
        }
        if let Some(before) = reserved.start.checked_sub(1).filter(|before| *before >= start) {
            ranges.push(Range { start, last: before });
        }
        match reserved.last.checked_add(1) {
            Some(next) => start = next,
            None => return ranges,
        }
    }
    if start <= last {
        ranges.push(Range { start, last });
    }
    ranges
}
