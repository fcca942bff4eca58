//! The driver, as the core of VFIO knows it.

use alloc::boxed::Box;

use ioctlab_abi::vfio::{
    DMA_CC_IOMMU, TYPE1_IOMMU, TYPE1_NESTING_IOMMU, TYPE1V2_IOMMU, UNMAP_ALL, UPDATE_VADDR,
};
use ioctlab_chardev::Errno;
use ioctlab_vfio::{Iommu, IommuDriver};

use crate::Machine;
use crate::container::Container;

/// The module's parameters. A container has those from when it chose its IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Groups are allowed whose devices could raise others' interrupts.
    pub allow_unsafe_interrupts: bool,
    /// No large pages in the IOMMU. Ranges have no pages here, so it changes nothing.
    pub disable_hugepages: bool,
    /// How many mappings a container can have.
    pub dma_entry_limit: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { allow_unsafe_interrupts: false, disable_hugepages: false, dma_entry_limit: 65535 }
    }
}

/// The driver.
#[derive(Clone, Debug, Default)]
pub struct Driver {
    parameters: Parameters,
}

impl Driver {
    /// The driver with these parameters.
    pub fn new(parameters: Parameters) -> Self {
        Self { parameters }
    }
}

impl<M: Machine + ?Sized> IommuDriver<M> for Driver {
    fn name(&self) -> &'static str {
        "vfio-iommu-type1"
    }

    fn check_extension(&self, extension: u64) -> i64 {
        check_extension(extension, None)
    }

    fn open(&mut self, extension: u64) -> Result<Box<dyn Iommu<M>>, Errno> {
        let v2 = match extension {
            TYPE1_IOMMU => false,
            TYPE1V2_IOMMU => true,
            // `TYPE1_NESTING_IOMMU` is an extension only: no IOMMU of today's has it.
            _ => return Err(Errno::EINVAL),
        };
        Ok(Box::new(Container::new(v2, self.parameters)))
    }
}

/// What `CHECK_EXTENSION` answers, before a container has chosen the driver and after: then with whether all its domains
/// forbid accesses that bypass caches.
pub(crate) fn check_extension(extension: u64, coherent: Option<bool>) -> i64 {
    let there = match extension {
        TYPE1_IOMMU | TYPE1V2_IOMMU | TYPE1_NESTING_IOMMU | UNMAP_ALL => true,
        UPDATE_VADDR => coherent.is_some(),
        DMA_CC_IOMMU => coherent.unwrap_or(false),
        // Those of POWER machines' IOMMU among them.
        _ => false,
    };
    there.into()
}
