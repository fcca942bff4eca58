//! `IOMMU_UNMAP_DMA`.

use ioctlab_abi::vfio::{DMA_UNMAP_ALL, DMA_UNMAP_GET_DIRTY_BITMAP, DMA_UNMAP_VADDR};
use ioctlab_chardev::layout::{long, put, word};
use ioctlab_chardev::{Caller, Errno, UserPtr};

use crate::bitmap::Bitmap;
use crate::container::{Container, fetch};
use crate::{IovaRange, Machine};

const SIZE: usize = 24;
const SIZE_WITH_BITMAP: u32 = 48;

impl Container {
    /// `IOMMU_UNMAP_DMA`: `u32 argsz, u32 flags, u64 iova, u64 size`, and a bitmap with `GET_DIRTY_BITMAP`. What was
    /// unmapped is written back as the size. With `VADDR` nothing is unmapped, but the addresses are not valid any longer.
    ///
    /// # Errors
    /// In this order: `EFAULT`; `EINVAL` for an `argsz` below 24, for a flag that isn't one, for a bitmap with `ALL` or
    /// `VADDR`; for a bitmap, `EINVAL` if `argsz` has no room for it, `EFAULT`, `EINVAL` if it can't be for the range. Then
    /// those of [`Self::unmap_range`]. `EFAULT` if the size can't be written: all is unmapped then.
    pub(crate) fn unmap_dma(
        &mut self,
        argument: u64,
        caller: &mut dyn Caller,
        machine: &mut (impl Machine + ?Sized),
    ) -> Result<(), Errno> {
        let mut bytes: [u8; SIZE] = fetch(caller, argument)?;
        let (argsz, flags) = (word(&bytes, 0), word(&bytes, 4));
        let (iova, size) = (long(&bytes, 8), long(&bytes, 16));
        let known = DMA_UNMAP_GET_DIRTY_BITMAP | DMA_UNMAP_ALL | DMA_UNMAP_VADDR;
        if argsz < SIZE as u32 || flags & !known != 0 {
            return Err(Errno::EINVAL);
        }
        let bitmap = if flags & DMA_UNMAP_GET_DIRTY_BITMAP == 0 {
            None
        } else {
            if flags & (DMA_UNMAP_ALL | DMA_UNMAP_VADDR) != 0 || argsz < SIZE_WITH_BITMAP {
                return Err(Errno::EINVAL);
            }
            let bytes: [u8; Bitmap::SIZE as usize] = fetch(caller, argument.wrapping_add(SIZE as u64))?;
            let bitmap = Bitmap::parse(&bytes);
            bitmap.check(size)?;
            Some(bitmap)
        };
        let range = self.range_to_unmap(iova, size, flags & DMA_UNMAP_ALL != 0)?;
        let unmapped = if flags & DMA_UNMAP_VADDR != 0 {
            self.invalidate_vaddr(range)?
        } else {
            self.unmap_range(range, bitmap, caller, machine)?
        };
        put(&mut bytes, 16, &unmapped.to_ne_bytes());
        caller.write(UserPtr(argument), &bytes)?;
        Ok(())
    }

    /// # Errors
    /// `EINVAL` for an IOVA or size that isn't whole pages, for what is empty or wraps, for an IOVA or a size with `ALL`.
    fn range_to_unmap(&self, iova: u64, size: u64, all: bool) -> Result<IovaRange, Errno> {
        let last = match (all, size.checked_sub(1)) {
            (true, None) if iova == 0 => Some(u64::MAX),
            (false, Some(behind_first)) if self.is_whole_pages(iova | size) => iova.checked_add(behind_first),
            _ => None,
        };
        Ok(IovaRange { start: iova, last: last.ok_or(Errno::EINVAL)? })
    }

    /// Whether the range takes mappings in: those that start in it.
    ///
    /// # Errors
    /// `EINVAL` for a range that cuts a mapping, in the second version.
    fn takes_in(&self, range: IovaRange) -> Result<bool, Errno> {
        if self.v2 {
            return if self.mappings.cut_by(range) { Err(Errno::EINVAL) } else { Ok(true) };
        }
        // The first version stops at a mapping that starts before the range.
        Ok(self.mappings.at(range.start).is_none_or(|dma| dma.range.start >= range.start))
    }

    /// Unmaps, and returns how many bytes.
    ///
    /// # Errors
    /// `EINVAL` for a bitmap unless dirty pages are tracked, in pages of the smallest size, and as [`Self::takes_in`];
    /// `EFAULT` if the bitmap can't be written: mappings before the one that it couldn't be written for are unmapped.
    fn unmap_range(
        &mut self,
        range: IovaRange,
        bitmap: Option<Bitmap>,
        caller: &mut dyn Caller,
        machine: &mut (impl Machine + ?Sized),
    ) -> Result<u64, Errno> {
        if let Some(bitmap) = bitmap
            && (!self.dirty_page_tracking || bitmap.page_size != 1_u64 << self.page_shift())
        {
            return Err(Errno::EINVAL);
        }
        let mut unmapped = 0_u64;
        if !self.takes_in(range)? {
            return Ok(unmapped);
        }
        while let Some(dma) = self.mappings.first_starting_in(range) {
            if let Some(bitmap) = bitmap {
                bitmap.report(&dma, range.start, self.page_shift(), caller)?;
            }
            unmapped = unmapped.saturating_add(dma.bytes());
            self.remove(dma, machine);
        }
        Ok(unmapped)
    }

    /// Makes addresses invalid, and returns of how many bytes.
    ///
    /// # Errors
    /// As [`Self::takes_in`]; `EINVAL` if one is invalid already.
    fn invalidate_vaddr(&mut self, range: IovaRange) -> Result<u64, Errno> {
        let mut found = 0_u64;
        if !self.takes_in(range)? {
            return Ok(found);
        }
        if self.mappings.starting_in(range).any(|dma| dma.vaddr_invalid) {
            return Err(Errno::EINVAL);
        }
        for dma in self.mappings.starting_in_mut(range) {
            dma.vaddr_invalid = true;
            self.vaddr_invalid = self.vaddr_invalid.saturating_add(1);
            found = found.saturating_add(dma.bytes());
        }
        Ok(found)
    }
}
