//! `IOMMU_GET_INFO`.

use alloc::vec::Vec;

use ioctlab_abi::vfio::{
    IOMMU_INFO_CAP_DMA_AVAIL, IOMMU_INFO_CAP_IOVA_RANGE, IOMMU_INFO_CAP_MIGRATION, IOMMU_INFO_CAPS,
    IOMMU_INFO_PGSIZES,
};
use ioctlab_chardev::layout::{put, word};
use ioctlab_chardev::{Caller, Errno, UserPtr};

use crate::bitmap::MAX_BITMAP;
use crate::container::{Container, fetch};

/// The struct's size, and where capabilities begin.
const SIZE: usize = 24;
/// Without the capabilities' offset.
const MIN_SIZE: usize = 16;

impl Container {
    /// `IOMMU_GET_INFO`. If `argsz` has no room for the capabilities, it comes back as what would have.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` for an `argsz` below 16.
    pub(crate) fn get_info(&self, argument: u64, caller: &mut dyn Caller) -> Result<(), Errno> {
        let header: [u8; MIN_SIZE] = fetch(caller, argument)?;
        let argsz = word(&header, 0);
        let given = usize::try_from(argsz).unwrap_or(usize::MAX);
        if given < MIN_SIZE {
            return Err(Errno::EINVAL);
        }
        let capabilities = self.capabilities();
        let needed = SIZE.saturating_add(capabilities.len());
        let mut info = [0; SIZE];
        put(&mut info, 0, &argsz.to_ne_bytes());
        put(&mut info, 4, &(IOMMU_INFO_PGSIZES | IOMMU_INFO_CAPS).to_ne_bytes());
        put(&mut info, 8, &self.page_sizes.to_ne_bytes());
        if given < needed {
            let needed = u32::try_from(needed).map_err(|_| Errno::ENOMEM)?;
            put(&mut info, 0, &needed.to_ne_bytes());
        } else {
            caller.write(UserPtr(argument).behind(SIZE)?, &capabilities)?;
            put(&mut info, 16, &(SIZE as u32).to_ne_bytes());
        }
        caller.write(UserPtr(argument), info.get(..given).unwrap_or(&info))?;
        Ok(())
    }

    /// The chain of capabilities, as it is behind the struct.
    fn capabilities(&self) -> Vec<u8> {
        let mut chain = Chain::default();
        chain.add(IOMMU_INFO_CAP_MIGRATION, |body| {
            body.extend([0; 8]);
            body.extend((1_u64 << self.page_shift()).to_ne_bytes());
            body.extend(MAX_BITMAP.to_ne_bytes());
        });
        chain.add(IOMMU_INFO_CAP_DMA_AVAIL, |body| {
            body.extend(self.dma_avail.to_ne_bytes());
            body.extend(0_u32.to_ne_bytes());
        });
        let ranges = self.iovas.ranges();
        if !ranges.is_empty() {
            chain.add(IOMMU_INFO_CAP_IOVA_RANGE, |body| {
                body.extend((ranges.len() as u32).to_ne_bytes());
                body.extend(0_u32.to_ne_bytes());
                for range in ranges {
                    body.extend(range.start.to_ne_bytes());
                    body.extend(range.last.to_ne_bytes());
                }
            });
        }
        chain.bytes
    }
}

/// Capabilities in a row: `u16 id, u16 version, u32 next`, and so on. `next` is an offset from the struct's start, 0 for the
/// last.
#[derive(Default)]
struct Chain {
    bytes: Vec<u8>,
    last: Option<usize>,
}

impl Chain {
    /// Adds one of version 1, whose size is a multiple of 8.
    fn add(&mut self, id: u16, body: impl FnOnce(&mut Vec<u8>)) {
        let at = self.bytes.len();
        if let Some(last) = self.last.replace(at) {
            let offset = SIZE.saturating_add(at) as u32;
            put(&mut self.bytes, last.saturating_add(4), &offset.to_ne_bytes());
        }
        self.bytes.extend(id.to_ne_bytes());
        self.bytes.extend(1_u16.to_ne_bytes());
        self.bytes.extend(0_u32.to_ne_bytes());
        body(&mut self.bytes);
    }
}
