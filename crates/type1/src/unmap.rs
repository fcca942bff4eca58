//! `UNMAP_DMA`.

use ioctlab_abi::vfio::{DMA_UNMAP_ALL, DMA_UNMAP_GET_DIRTY_BITMAP, DMA_UNMAP_VADDR};
use ioctlab_chardev::layout::{long, put, word};
use ioctlab_chardev::{Caller, Errno, PAGE_SIZE, UserMemory, UserPtr};

use crate::dirty::{BITMAP_SIZE, Bitmap};
use crate::driver::{Container, page_size};
use crate::machine::Machine;
use crate::mappings::Dma;

/// The size of `struct vfio_iommu_type1_dma_unmap` without what a flag adds, in bytes.
const UNMAP_SIZE: usize = 24;

impl Container {
    /// The number of bytes unmapped is written back if it succeeds.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` for `argsz` and flags, a range that isn't whole pages, wraps or is empty (and one at all, if everything
    /// is to go), what would split a mapping (in the second version), a bitmap that isn't right or without dirty tracking, and
    /// an address that is invalid already.
    pub(crate) fn unmap_dma<M: Machine + ?Sized>(
        &mut self,
        argument: UserPtr,
        caller: &mut dyn Caller,
        machine: &mut M,
    ) -> Result<(), Errno> {
        let memory: &mut dyn UserMemory = caller;
        let mut unmap: [u8; UNMAP_SIZE] = memory.fetch(argument)?;
        let (argsz, flags) = (usize::try_from(word(&unmap, 0)).unwrap_or(usize::MAX), word(&unmap, 4));
        let known = DMA_UNMAP_GET_DIRTY_BITMAP | DMA_UNMAP_ALL | DMA_UNMAP_VADDR;
        if argsz < UNMAP_SIZE || flags & !known != 0 {
            return Err(Errno::EINVAL);
        }
        let reports = flags & DMA_UNMAP_GET_DIRTY_BITMAP != 0;
        if reports && flags & (DMA_UNMAP_ALL | DMA_UNMAP_VADDR) != 0 {
            return Err(Errno::EINVAL);
        }
        let (iova, bytes) = (long(&unmap, 8), long(&unmap, 16));
        let mut bitmap = None;
        if reports {
            if argsz < UNMAP_SIZE.saturating_add(BITMAP_SIZE) {
                return Err(Errno::EINVAL);
            }
            let given = Bitmap::fetch(argument.behind(UNMAP_SIZE)?, memory)?;
            given.check(bytes)?;
            bitmap = Some(given);
        }
        let page = page_size(machine);
        if iova & page.wrapping_sub(1) != 0 {
            return Err(Errno::EINVAL);
        }
        let all = flags & DMA_UNMAP_ALL != 0;
        let bytes = match (all, bytes) {
            (true, 0) if iova == 0 => u64::MAX,
            (true, _) | (false, 0) => return Err(Errno::EINVAL),
            (false, bytes) if bytes & page.wrapping_sub(1) != 0 => return Err(Errno::EINVAL),
            (false, bytes) => bytes,
        };
        if !all && iova.checked_add(bytes.wrapping_sub(1)).is_none() {
            return Err(Errno::EINVAL);
        }
        if bitmap.is_some_and(|bitmap| !self.tracks_dirty_pages || bitmap.page != page) {
            return Err(Errno::EINVAL);
        }
        if !self.is_v1 && !all && self.mappings.would_split(iova, bytes) {
            return Err(Errno::EINVAL);
        }
        let unmapped = if flags & DMA_UNMAP_VADDR != 0 {
            self.invalidate(iova, bytes)?
        } else {
            self.unmap_range(iova, bytes, bitmap, memory, machine)?
        };
        put(&mut unmap, 16, &unmapped.to_ne_bytes());
        memory.write(argument, &unmap)?;
        Ok(())
    }

    fn unmap_range<M: Machine + ?Sized>(
        &mut self,
        iova: u64,
        bytes: u64,
        bitmap: Option<Bitmap>,
        memory: &mut dyn UserMemory,
        machine: &mut M,
    ) -> Result<u64, Errno> {
        let mut unmapped: u64 = 0;
        while let Some((start, dma)) = self.mappings.first_in(iova, bytes) {
            // The first version leaves a mapping alone unless its first page goes; then all of it does.
            if self.is_v1 && iova > start {
                break;
            }
            if let Some(bitmap) = bitmap {
                bitmap.report(iova, start, dma.bytes, memory)?;
            }
            unmapped = unmapped.saturating_add(dma.bytes);
            self.mappings.remove(start);
            self.let_go(start, &dma, machine);
        }
        Ok(unmapped)
    }

    /// The addresses of a range's mappings become invalid: all of them, or none if one was so before.
    fn invalidate(&mut self, iova: u64, bytes: u64) -> Result<u64, Errno> {
        let mut starts = alloc::vec::Vec::new();
        let mut unmapped: u64 = 0;
        let end = u128::from(iova).saturating_add(bytes.into());
        let mut next = self.mappings.first_in(iova, bytes);
        while let Some((start, dma)) = next.filter(|(start, _)| u128::from(*start) < end) {
            if self.is_v1 && iova > start {
                break;
            }
            if dma.is_invalid {
                return Err(Errno::EINVAL);
            }
            unmapped = unmapped.saturating_add(dma.bytes);
            starts.push(start);
            next = start.checked_add(dma.bytes).and_then(|behind| self.mappings.next_from(behind));
        }
        for start in starts {
            if let Some(dma) = self.mappings.get_mut(start) {
                dma.is_invalid = true;
            }
        }
        Ok(unmapped)
    }

    pub(crate) fn unmap_everything<M: Machine + ?Sized>(&mut self, machine: &mut M) {
        while let Some((start, dma)) = self.mappings.pop() {
            self.let_go(start, &dma, machine);
        }
    }

    fn let_go<M: Machine + ?Sized>(&self, start: u64, dma: &Dma, machine: &mut M) {
        if let Some(domain) = self.domain {
            machine.unmap(domain, start, dma.bytes);
        }
        let pages = i64::try_from(dma.bytes.checked_div(PAGE_SIZE).unwrap_or(0)).unwrap_or(i64::MAX);
        machine.account(dma.memory.space, pages.saturating_neg());
    }
}
