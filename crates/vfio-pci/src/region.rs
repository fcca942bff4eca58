//! Reads, writes and mappings of regions: configuration space, BARs, the ROM.

use core::ops::Range;

use ioctlab_abi::vfio::{PCI_CONFIG_REGION, PCI_OFFSET_SHIFT, PCI_ROM_REGION};
use ioctlab_chardev::{CallResult, Caller, Errno, Mapping, MmapRequest, PAGE_SIZE, Pages, UserPtr};

use crate::access::MAX_TRANSFER;
use crate::device::Open;
use crate::registers::is_writable;
use crate::{Bar, BarAccess, BarKind, Device, Function};

const CONFIG: u64 = PCI_CONFIG_REGION as u64;
const ROM: u64 = PCI_ROM_REGION as u64;
/// A page's number in the device's file has the region's index from this bit on.
const PAGE_SHIFT_OF_REGION: u32 = PCI_OFFSET_SHIFT - 12;

/// What a `read` or `write` comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// It is done, and has moved so many bytes.
    Done(usize),
    /// It is done as soon as the device has been reset, and has moved so many bytes.
    Reset(usize),
    /// The layer above does it. A read's bytes it copies to the program after that.
    Bar(BarAccess),
}

impl Device {
    /// `read` at a position: region `position >> 40`.
    ///
    /// # Errors
    /// `EINVAL` for a region that isn't there, or a position past its end; `EFAULT` past the end of configuration space, and for
    /// the buffer; `ENOMEM` if the ROM isn't valid, which it isn't either while the device doesn't decode memory; else `EIO` then.
    pub fn read(
        &mut self,
        position: u64,
        to: UserPtr,
        count: usize,
        caller: &mut dyn Caller,
        function: &mut dyn Function,
    ) -> CallResult<Transfer> {
        if count == 0 {
            return Ok(Transfer::Done(0));
        }
        let open = self.opened()?;
        open.wake(function);
        let (region, offset) = split(position);
        if region == CONFIG {
            return Ok(open.read_config(offset, to, count, caller, function)?);
        }
        let (access, needs_memory) = open.bar_access(region, offset, count, function)?;
        if needs_memory && !open.memory_is_enabled() {
            return Ok(Transfer::Done(read_unreachable(&access, to, caller)?));
        }
        Ok(Transfer::Bar(access))
    }

    /// `write` at a position: region `position >> 40`.
    ///
    /// # Errors
    /// As [`read`](Self::read)'s; `EINVAL` for the ROM. Bytes before one that fails may have been written.
    pub fn write(
        &mut self,
        position: u64,
        from: UserPtr,
        count: usize,
        caller: &mut dyn Caller,
        function: &mut dyn Function,
    ) -> CallResult<Transfer> {
        if count == 0 {
            return Ok(Transfer::Done(0));
        }
        let open = self.opened()?;
        open.wake(function);
        let (region, offset) = split(position);
        match region {
            CONFIG => return Ok(open.write_config(offset, from, count, caller, function)?),
            ROM => return Err(Errno::EINVAL.into()),
            _ => {}
        }
        let (mut access, needs_memory) = open.bar_access(region, offset, count, function)?;
        if needs_memory && !open.memory_is_enabled() {
            return Ok(Transfer::Done(write_unreachable(&access, from, caller)?));
        }
        access.fetch(from, caller)?;
        Ok(Transfer::Bar(access))
    }

    /// `mmap`: memory BARs, shared.
    ///
    /// # Errors
    /// `EINVAL` for anything else, and beyond the BAR's last page.
    pub fn mmap(&mut self, request: &MmapRequest, function: &dyn Function) -> Result<Mapping, Errno> {
        self.opened()?;
        let region = usize::try_from(request.page >> PAGE_SHIFT_OF_REGION).map_err(|_| Errno::EINVAL)?;
        let first = request.page & ((1 << PAGE_SHIFT_OF_REGION) - 1);
        if !request.shared {
            return Err(Errno::EINVAL);
        }
        let bar = function.bar(region).ok_or(Errno::EINVAL)?;
        let BarKind::Memory { area: Some(area), .. } = bar.kind else { return Err(Errno::EINVAL) };
        let end = first.saturating_add(request.pages);
        if !is_mappable(&bar) || end > bar.size.div_ceil(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        Ok(Mapping { pages: Pages::Area { area, first }, read_only: false, inherited: true })
    }
}

/// Region and offset of a position.
pub(crate) const fn split(position: u64) -> (u64, u64) {
    (position >> PCI_OFFSET_SHIFT, position & ((1 << PCI_OFFSET_SHIFT) - 1))
}

/// Whether programs can map a BAR (`vfio_pci_probe_mmaps`): memory of whole pages, or that has a page to itself.
pub(crate) const fn is_mappable(bar: &Bar) -> bool {
    matches!(bar.kind, BarKind::Memory { area: Some(_), .. })
        && bar.size > 0
        && (bar.size >= PAGE_SIZE || bar.address & (PAGE_SIZE - 1) == 0)
}

/// A read while the device doesn't decode: what is left out reads as ones up to the first access, which fails.
fn read_unreachable(access: &BarAccess, to: UserPtr, caller: &mut dyn Caller) -> Result<usize, Errno> {
    for piece in access.pieces() {
        if piece.width.is_some() {
            return Err(Errno::EIO);
        }
        caller.write(to.behind(piece.index)?, &alloc::vec![0xff; piece.bytes])?;
    }
    Ok(access.count)
}

/// A write while the device doesn't decode: the first access's bytes are fetched, and it fails.
fn write_unreachable(access: &BarAccess, from: UserPtr, caller: &mut dyn Caller) -> Result<usize, Errno> {
    let Some(piece) = access.pieces().find(|piece| piece.width.is_some()) else { return Ok(access.count) };
    let mut bytes = [0; 4];
    let bytes = bytes.get_mut(..piece.bytes).unwrap_or_default();
    caller.read(from.behind(piece.index)?, bytes)?;
    Err(Errno::EIO)
}

impl Open {
    /// An access to a BAR or the ROM, as far as it lies within it, and whether it needs memory decoding (`vfio_pci_bar_rw`).
    fn bar_access(
        &self,
        region: u64,
        offset: u64,
        count: usize,
        function: &dyn Function,
    ) -> Result<(BarAccess, bool), Errno> {
        let bar = usize::try_from(region).map_err(|_| Errno::EINVAL)?;
        let (address, size, excluded, is_memory) = if region == ROM {
            let rom = function.rom().ok_or(Errno::EINVAL)?;
            (rom.address, rom.size, rom.image..rom.size, true)
        } else {
            let found = function.bar(bar).ok_or(Errno::EINVAL)?;
            (found.address, found.size, self.msix_range(bar), found.kind != BarKind::Io)
        };
        let room = size.checked_sub(offset).filter(|room| *room > 0 && address != 0).ok_or(Errno::EINVAL)?;
        // Images are found by reading them: without decoding there are only ones.
        if region == ROM && (excluded.start == 0 || !self.memory_is_enabled()) {
            return Err(Errno::ENOMEM);
        }
        let count = count.min(usize::try_from(room).unwrap_or(usize::MAX)).min(MAX_TRANSFER);
        Ok((BarAccess { bar, offset, count, excluded, bytes: None }, is_memory))
    }

    /// The part of a BAR that is the MSI-X table; empty if none is.
    pub(crate) fn msix_range(&self, bar: usize) -> Range<u64> {
        self.msix_table.filter(|table| table.bar == bar).map_or(0..0, |table| table.start..table.end)
    }

    /// Where an access to configuration space starts, if all of it lies within.
    fn config_start(&self, offset: u64, count: usize) -> Result<u16, Errno> {
        let start = u16::try_from(offset).map_err(|_| Errno::EFAULT)?;
        let end = usize::from(start).checked_add(count).ok_or(Errno::EFAULT)?;
        if end > self.config.size() { Err(Errno::EFAULT) } else { Ok(start) }
    }

    fn read_config(
        &mut self,
        offset: u64,
        to: UserPtr,
        count: usize,
        caller: &mut dyn Caller,
        function: &mut dyn Function,
    ) -> Result<Transfer, Errno> {
        let start = self.config_start(offset, count)?;
        let mut bytes = alloc::vec::Vec::with_capacity(count);
        while let Some(left) = count.checked_sub(bytes.len()).filter(|left| *left > 0) {
            let place = self.config.place(start.saturating_add(bytes.len() as u16), left);
            let value = self.config.read(function, &place).to_le_bytes();
            bytes.extend(value.into_iter().take(place.width.bytes()));
        }
        caller.write(to, &bytes)?;
        Ok(Transfer::Done(count))
    }

    fn write_config(
        &mut self,
        offset: u64,
        from: UserPtr,
        count: usize,
        caller: &mut dyn Caller,
        function: &mut dyn Function,
    ) -> Result<Transfer, Errno> {
        let start = self.config_start(offset, count)?;
        let mut fetched = alloc::vec![0; count];
        let has_all = caller.read(from, &mut fetched).is_ok();
        let (mut done, mut is_reset) = (0, false);
        while let Some(left) = count.checked_sub(done).filter(|left| *left > 0) {
            let place = self.config.place(start.saturating_add(done as u16), left);
            let width = place.width.bytes();
            // What can't be written isn't even fetched.
            if is_writable(&place) {
                let mut value = [0; 4];
                let bytes = value.get_mut(..width).unwrap_or_default();
                match fetched.get(done..).and_then(|rest| rest.get(..width)) {
                    Some(from) if has_all => bytes.copy_from_slice(from),
                    _ => caller.read(from.behind(done)?, bytes)?,
                }
                is_reset |= self.write_register(function, &place, u32::from_le_bytes(value));
                self.note_reachable(function);
            }
            done = done.saturating_add(width);
        }
        Ok(if is_reset { Transfer::Reset(count) } else { Transfer::Done(count) })
    }
}
