//! `IOMMU_DIRTY_PAGES`.

use ioctlab_abi::vfio::{DIRTY_PAGES_GET_BITMAP, DIRTY_PAGES_START, DIRTY_PAGES_STOP};
use ioctlab_chardev::layout::{long, word};
use ioctlab_chardev::{Caller, Errno};

use crate::IovaRange;
use crate::bitmap::Bitmap;
use crate::container::{Container, fetch};

const SIZE: usize = 8;
/// `u64 iova, u64 size`, and a bitmap.
const RANGE_SIZE: usize = 16 + Bitmap::SIZE as usize;

impl Container {
    /// `IOMMU_DIRTY_PAGES`: `u32 argsz, u32 flags`, of which one, and a range and a bitmap with `GET_BITMAP`. To start what
    /// is started and to stop what is stopped changes nothing.
    ///
    /// # Errors
    /// In this order: `EACCES` in the first version; `EFAULT`; `EINVAL` for an `argsz` below 8, for a flag that isn't one,
    /// for none or several; to start, `EINVAL` if some mapping has more than 2^31 - 1 pages; else those of
    /// [`Self::get_dirty`].
    pub(crate) fn dirty_pages(&mut self, argument: u64, caller: &mut dyn Caller) -> Result<(), Errno> {
        if !self.v2 {
            return Err(Errno::EACCES);
        }
        let bytes: [u8; SIZE] = fetch(caller, argument)?;
        let (argsz, flags) = (word(&bytes, 0), word(&bytes, 4));
        if argsz < SIZE as u32 {
            return Err(Errno::EINVAL);
        }
        match flags {
            DIRTY_PAGES_START => {
                if !self.dirty_page_tracking && !self.mappings.all().all(|dma| self.can_be_tracked(dma)) {
                    return Err(Errno::EINVAL);
                }
                self.dirty_page_tracking = true;
                Ok(())
            }
            DIRTY_PAGES_STOP => {
                self.dirty_page_tracking = false;
                Ok(())
            }
            DIRTY_PAGES_GET_BITMAP if argsz >= (SIZE + RANGE_SIZE) as u32 => {
                self.get_dirty(argument.wrapping_add(SIZE as u64), caller)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// `GET_BITMAP`. Bits for what isn't mapped stay as they are, but for those in a word with others.
    ///
    /// # Errors
    /// In this order: `EFAULT`; `EINVAL` for a range that wraps or ends with the last IOVA, for a bitmap that can't be for
    /// it, or of other pages than the smallest, for what isn't whole pages, if dirty pages aren't tracked, if a mapping is
    /// cut; `EFAULT` for the bitmap.
    fn get_dirty(&self, argument: u64, caller: &mut dyn Caller) -> Result<(), Errno> {
        let bytes: [u8; RANGE_SIZE] = fetch(caller, argument)?;
        let (iova, size) = (long(&bytes, 0), long(&bytes, 8));
        let bitmap = Bitmap::parse(bytes.get(16..).unwrap_or_default());
        let end = iova.checked_add(size).ok_or(Errno::EINVAL)?;
        bitmap.check(size)?;
        if bitmap.page_size != 1_u64 << self.page_shift()
            || !self.is_whole_pages(iova | size)
            || !self.dirty_page_tracking
        {
            return Err(Errno::EINVAL);
        }
        let range = IovaRange { start: iova, last: end.checked_sub(1).ok_or(Errno::EINVAL)? };
        if self.mappings.cut_by(range) {
            return Err(Errno::EINVAL);
        }
        for dma in self.mappings.starting_in(range) {
            bitmap.report(dma, iova, self.page_shift(), caller)?;
        }
        Ok(())
    }
}
