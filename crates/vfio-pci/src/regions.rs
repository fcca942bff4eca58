//! `read`, `write` and `mmap` of a device's regions.

use alloc::vec;
use alloc::vec::Vec;

use ioctlab_abi::vfio::{PCI_CONFIG_REGION, PCI_OFFSET_SHIFT, PCI_ROM_REGION};
use ioctlab_chardev::{Errno, Mapping, MmapRequest, PAGE_SIZE, Pages, UserMemory, UserPtr};

use crate::device::Device;
use crate::function::Function;
use crate::info::can_map;
use crate::ioeventfd::table;

/// The most that is read or written at once of a BAR, in bytes: the rest is left for another call, as a short count says.
const MOST: usize = 1 << 20;

/// What a `read` or a `write` comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// It is done, and moved so many bytes.
    Done(usize),
    /// These bytes are to be read from a BAR, or from the ROM, and then copied to the program.
    Read {
        /// 0 to 5, or 6 for the ROM.
        region: u32,
        /// Where, in bytes.
        offset: u64,
        /// How many.
        count: usize,
        /// What reads as all ones there: the MSI-X table, from its first byte to the first behind it.
        excluded: (u64, u64),
    },
    /// These bytes are to be written to a BAR.
    Write {
        /// 0 to 5.
        region: u32,
        /// Where, in bytes.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
        /// What isn't written there, as for reads.
        excluded: (u64, u64),
    },
}

impl Device {
    /// `read(2)` at a position.
    ///
    /// # Errors
    /// `EINVAL` for a region that isn't there, and beyond its end; `EIO` while memory is disabled; `EFAULT` beyond the end of
    /// configuration space, and for a bad buffer.
    pub fn read(
        &mut self,
        position: u64,
        to: UserPtr,
        count: usize,
        memory: &mut dyn UserMemory,
        function: &mut dyn Function,
    ) -> Result<Transfer, Errno> {
        if count == 0 {
            return Ok(Transfer::Done(0));
        }
        let (region, offset) = split_position(position);
        if region == PCI_CONFIG_REGION {
            return self.read_config(offset, to, count, memory, function).map(Transfer::Done);
        }
        let (count, excluded) = self.check(region, offset, count, function)?;
        Ok(Transfer::Read { region, offset, count, excluded })
    }

    /// `write(2)` at a position.
    ///
    /// # Errors
    /// As [`read`](Self::read)'s; `EINVAL` for the ROM.
    pub fn write(
        &mut self,
        position: u64,
        from: UserPtr,
        count: usize,
        memory: &mut dyn UserMemory,
        function: &mut dyn Function,
    ) -> Result<Transfer, Errno> {
        if count == 0 {
            return Ok(Transfer::Done(0));
        }
        let (region, offset) = split_position(position);
        match region {
            PCI_CONFIG_REGION => {
                return self.write_config(offset, from, count, memory, function).map(Transfer::Done);
            }
            PCI_ROM_REGION => return Err(Errno::EINVAL),
            _ => {}
        }
        let (count, excluded) = self.check(region, offset, count, function)?;
        let mut bytes = vec![0; count];
        memory.read(from, &mut bytes)?;
        Ok(Transfer::Write { region, offset, bytes, excluded })
    }

    /// How much of a BAR or the ROM an access reaches, and what of that is left out.
    fn check(
        &self,
        region: u32,
        offset: u64,
        count: usize,
        function: &dyn Function,
    ) -> Result<(usize, (u64, u64)), Errno> {
        let (size, is_memory) = match region {
            PCI_ROM_REGION => (function.rom_size(), true),
            _ => function.bar(region).map_or((0, true), |bar| (bar.size, bar.is_memory)),
        };
        let left = size.checked_sub(offset).filter(|left| *left > 0).ok_or(Errno::EINVAL)?;
        if is_memory && !self.has_memory(function) {
            return Err(Errno::EIO);
        }
        let count = count.min(MOST).min(usize::try_from(left).unwrap_or(usize::MAX));
        Ok((count, table(region, function).unwrap_or((0, 0))))
    }

    /// `mmap(2)`.
    ///
    /// # Errors
    /// `EINVAL` unless it is shared, of a BAR of memory, and within it.
    pub fn mmap(&self, request: &MmapRequest, function: &dyn Function) -> Result<Mapping, Errno> {
        let shift = PCI_OFFSET_SHIFT.saturating_sub(PAGE_SIZE.trailing_zeros());
        let region = request.page.checked_shr(shift).unwrap_or(u64::MAX);
        let first = request.page & 1_u64.wrapping_shl(shift).wrapping_sub(1);
        let bar =
            u32::try_from(region).ok().filter(|region| *region < 6).and_then(|region| function.bar(region));
        let bar = bar.filter(|bar| request.shared && can_map(bar)).ok_or(Errno::EINVAL)?;
        let pages = bar.size.div_ceil(PAGE_SIZE);
        if first.checked_add(request.pages).is_none_or(|end| end > pages) {
            return Err(Errno::EINVAL);
        }
        let area = bar.area.ok_or(Errno::EINVAL)?;
        Ok(Mapping { pages: Pages::Area { area, first }, read_only: false, inherited: true })
    }
}

/// Which region a position is in, and where in it. One that isn't any is none of those there are.
fn split_position(position: u64) -> (u32, u64) {
    let region = u32::try_from(position >> PCI_OFFSET_SHIFT).unwrap_or(u32::MAX);
    (region, position & 1_u64.wrapping_shl(PCI_OFFSET_SHIFT).wrapping_sub(1))
}

/// The accesses that a transfer of `count` bytes at `offset` is made of (`vfio_pci_core_do_io_rw`): offset, width in bytes, and
/// whether the device is asked at all; what lies in `excluded` isn't. Words, half words and bytes, as they are aligned.
pub fn split(offset: u64, count: usize, excluded: (u64, u64)) -> impl Iterator<Item = (u64, usize, bool)> {
    let end = offset.saturating_add(count as u64);
    let (start, table_end) = excluded;
    let mut at = offset;
    core::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let here = at;
        let is_excluded = here >= start && here < table_end;
        let limit = if here < start { end.min(start) } else { end };
        if is_excluded {
            at = end.min(table_end);
            return Some((here, usize::try_from(at.saturating_sub(here)).unwrap_or(0), false));
        }
        let left = limit.saturating_sub(here);
        let width = if left >= 4 && here.is_multiple_of(4) {
            4
        } else if left >= 2 && here.is_multiple_of(2) {
            2
        } else {
            1
        };
        at = here.saturating_add(width);
        Some((here, width as usize, true))
    })
}
