//! Dirty pages. The IOMMU doesn't track them, so a page that devices can get at counts as written.

use ioctlab_abi::vfio::{DIRTY_PAGES_GET_BITMAP, DIRTY_PAGES_START, DIRTY_PAGES_STOP};
use ioctlab_chardev::layout::{long, word};
use ioctlab_chardev::{Caller, Errno, UserMemory, UserPtr};

use crate::driver::{Container, page_size};
use crate::machine::Machine;

/// The size of `struct vfio_iommu_type1_dirty_bitmap`, in bytes, and of `struct vfio_bitmap`.
const DIRTY_SIZE: usize = 8;
pub(crate) const BITMAP_SIZE: usize = 24;
/// The size of `struct vfio_iommu_type1_dirty_bitmap_get`, in bytes.
const RANGE_SIZE: usize = 40;

/// The most bytes that a bitmap may have.
pub(crate) const BITMAP_MAX: u64 = 1 << 28;
/// What is written of a bitmap at a time, in bytes.
const CHUNK: usize = 4096;

/// Where dirty pages are to be reported, a bit each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bitmap {
    /// The size of a page, in bytes.
    pub(crate) page: u64,
    bytes: u64,
    at: UserPtr,
}

impl Bitmap {
    /// # Errors
    /// `EFAULT`.
    pub(crate) fn fetch(at: UserPtr, memory: &mut dyn UserMemory) -> Result<Self, Errno> {
        let bitmap: [u8; BITMAP_SIZE] = memory.fetch(at)?;
        Ok(Self::parse(&bitmap))
    }

    fn parse(bitmap: &[u8]) -> Self {
        Self { page: long(bitmap, 0), bytes: long(bitmap, 8), at: UserPtr(long(bitmap, 16)) }
    }

    /// Whether it has room for the pages of so many bytes (`verify_bitmap_size`).
    ///
    /// # Errors
    /// `EINVAL`.
    pub(crate) fn check(&self, bytes: u64) -> Result<(), Errno> {
        let pages = bytes.checked_shr(self.page.trailing_zeros()).unwrap_or(0);
        let needed = words(pages).saturating_mul(8);
        if pages == 0 || self.bytes == 0 || self.bytes > BITMAP_MAX || self.bytes < needed {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Sets the bits of a mapping's pages; the bitmap's first is that of `iova`.
    ///
    /// # Errors
    /// `EFAULT`.
    pub(crate) fn report(
        &self,
        iova: u64,
        start: u64,
        bytes: u64,
        memory: &mut dyn UserMemory,
    ) -> Result<(), Errno> {
        let shift = self.page.trailing_zeros();
        let first = start.wrapping_sub(iova).checked_shr(shift).unwrap_or(0);
        let count = bytes.checked_shr(shift).unwrap_or(0);
        let (word, into_word) = (first >> 6, first & 63);
        let mut at = UserPtr(self.at.0.wrapping_add(word.saturating_mul(8)));
        // What the first word has before these bits stays.
        let mut before = [0; 8];
        if into_word > 0 {
            memory.read(at, &mut before)?;
        }
        let kept =
            u64::from_ne_bytes(before) & 1_u64.checked_shl(into_word as u32).unwrap_or(0).wrapping_sub(1);
        let bits = into_word.saturating_add(count);
        let total = words(bits);
        let mut written: u64 = 0;
        while written < total {
            let mut chunk = [0; CHUNK];
            let mut length = 0;
            for place in chunk.chunks_exact_mut(8) {
                if written >= total {
                    break;
                }
                let mut value = match bits.saturating_sub(written.saturating_mul(64)) {
                    left @ 0..64 => 1_u64.checked_shl(left as u32).unwrap_or(0).wrapping_sub(1),
                    _ => u64::MAX,
                };
                if written == 0 {
                    value = value & u64::MAX.checked_shl(into_word as u32).unwrap_or(0) | kept;
                }
                place.copy_from_slice(&value.to_ne_bytes());
                written = written.saturating_add(1);
                length = usize::saturating_add(length, 8);
            }
            memory.write(at, chunk.get(..length).unwrap_or_default())?;
            at = at.behind(length)?;
        }
        Ok(())
    }
}

/// How many 64-bit words so many bits take.
fn words(bits: u64) -> u64 {
    bits.div_ceil(64)
}

impl Container {
    /// `IOMMU_DIRTY_PAGES`.
    ///
    /// # Errors
    /// `EACCES` in the first version; `EFAULT`; `EINVAL` for `argsz`, for none or several flags, for a range that isn't whole pages,
    /// splits a mapping or wraps, for a bitmap that isn't right, and while pages aren't tracked.
    pub(crate) fn dirty_pages<M: Machine + ?Sized>(
        &mut self,
        argument: UserPtr,
        caller: &mut dyn Caller,
        machine: &M,
    ) -> Result<(), Errno> {
        if self.is_v1 {
            return Err(Errno::EACCES);
        }
        let memory: &mut dyn UserMemory = caller;
        let dirty: [u8; DIRTY_SIZE] = memory.fetch(argument)?;
        let argsz = usize::try_from(word(&dirty, 0)).unwrap_or(usize::MAX);
        match word(&dirty, 4) {
            _ if argsz < DIRTY_SIZE => Err(Errno::EINVAL),
            DIRTY_PAGES_START => {
                self.tracks_dirty_pages = true;
                Ok(())
            }
            DIRTY_PAGES_STOP => {
                self.tracks_dirty_pages = false;
                Ok(())
            }
            DIRTY_PAGES_GET_BITMAP if argsz < DIRTY_SIZE.saturating_add(RANGE_SIZE) => Err(Errno::EINVAL),
            DIRTY_PAGES_GET_BITMAP => {
                let range: [u8; RANGE_SIZE] = memory.fetch(argument.behind(DIRTY_SIZE)?)?;
                self.report_dirty(&range, memory, page_size(machine))
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn report_dirty(&self, range: &[u8], memory: &mut dyn UserMemory, page: u64) -> Result<(), Errno> {
        let (iova, bytes) = (long(range, 0), long(range, 8));
        let bitmap = Bitmap::parse(range.get(16..).unwrap_or_default());
        let end = iova.checked_add(bytes).ok_or(Errno::EINVAL)?;
        bitmap.check(bytes)?;
        if bitmap.page != page || (iova | bytes) & page.wrapping_sub(1) != 0 || bytes == 0 {
            return Err(Errno::EINVAL);
        }
        if !self.tracks_dirty_pages || self.mappings.would_split(iova, bytes) {
            return Err(Errno::EINVAL);
        }
        let mut next = self.mappings.next_from(iova);
        while let Some((start, dma)) = next.filter(|(start, _)| *start < end) {
            bitmap.report(iova, start, dma.bytes, memory)?;
            next = start.checked_add(dma.bytes).and_then(|behind| self.mappings.next_from(behind));
        }
        Ok(())
    }
}
