//! Bitmaps of dirty pages, in a program's memory (`struct vfio_bitmap`).

use ioctlab_chardev::layout::long;
use ioctlab_chardev::{Caller, Errno, UserPtr};

use crate::container::fetch;
use crate::mappings::Dma;

/// The largest bitmap in bytes (`DIRTY_BITMAP_SIZE_MAX`): a bit for each of 2^31 pages.
pub(crate) const MAX_BITMAP: u64 = 0x1000_0000;
/// The most pages that a mapping can have while dirty pages are tracked (`DIRTY_BITMAP_PAGES_MAX`).
pub(crate) const MAX_PAGES: u64 = 0x7fff_ffff;
/// Where a program's addresses end (`TASK_SIZE_MAX`).
const ADDRESSES_END: u64 = 0x7fff_ffff_f000;
/// Bits that are written at once, in words of 64: a page of them, as each write is a call into the program's memory.
const WORDS: u64 = 512;

/// Where a program wants dirty pages reported: `u64 pgsize, u64 size, u64 data`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bitmap {
    /// What a bit stands for, in bytes.
    pub(crate) page_size: u64,
    bytes: u64,
    data: u64,
}

impl Bitmap {
    pub(crate) const SIZE: u64 = 24;

    pub(crate) fn parse(bytes: &[u8]) -> Self {
        Self { page_size: long(bytes, 0), bytes: long(bytes, 8), data: long(bytes, 16) }
    }

    /// Whether it can be for a range of so many bytes (`access_ok`, `verify_bitmap_size`).
    ///
    /// # Errors
    /// `EINVAL`.
    pub(crate) fn check(&self, range_bytes: u64) -> Result<(), Errno> {
        let in_reach = self.data.checked_add(self.bytes).is_some_and(|end| end <= ADDRESSES_END);
        // The processor shifts by the number's lower six bits: a page size of 0 doesn't shift.
        let shift = self.page_size.trailing_zeros();
        let pages = range_bytes.checked_shr(shift).unwrap_or(range_bytes);
        let needed = pages.div_ceil(64).saturating_mul(8);
        if !in_reach || pages == 0 || self.bytes == 0 || self.bytes > MAX_BITMAP || self.bytes < needed {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Reports all pages of a mapping as dirty (`update_user_bitmap`); the bitmap's first bit is the page at `base`. Whole
    /// words are written. The first keeps the bits that it has, if some are for pages before the mapping.
    ///
    /// # Errors
    /// `EFAULT`; what could be written of the bitmap is.
    pub(crate) fn report(
        &self,
        dma: &Dma,
        base: u64,
        page_shift: u32,
        caller: &mut dyn Caller,
    ) -> Result<(), Errno> {
        let pages = |bytes: u64| bytes.checked_shr(page_shift).unwrap_or(0);
        let before = pages(dma.range.start.saturating_sub(base));
        let start = self.data.wrapping_add((before / 64).wrapping_mul(8));
        let skipped = before % 64;
        let end = skipped.saturating_add(pages(dma.bytes()));
        let words = end.div_ceil(64);
        let kept = match skipped {
            0 => 0,
            _ => u64::from_ne_bytes(fetch(caller, start)?),
        };
        let mut done = 0;
        while done < words {
            let now = words.saturating_sub(done).min(WORDS);
            let mut bytes = [0; 8 * WORDS as usize];
            for (index, place) in (done..).zip(bytes.as_chunks_mut::<8>().0) {
                let mut word = ones_below(end.saturating_sub(index.saturating_mul(64)));
                if index == 0 {
                    word = word & !ones_below(skipped) | kept;
                }
                *place = word.to_ne_bytes();
            }
            let written = bytes.get(..now.saturating_mul(8) as usize).unwrap_or_default();
            caller.write(UserPtr(start.wrapping_add(done.wrapping_mul(8))), written)?;
            done = done.saturating_add(now);
        }
        Ok(())
    }
}

/// A word with so many bits set, from the lowest on; with all for 64 or more.
fn ones_below(bits: u64) -> u64 {
    match u32::try_from(bits) {
        Ok(bits) if bits < 64 => (1_u64 << bits).wrapping_sub(1),
        _ => u64::MAX,
    }
}
