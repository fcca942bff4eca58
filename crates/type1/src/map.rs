//! `MAP_DMA`.

use ioctlab_abi::vfio::{DMA_MAP_READ, DMA_MAP_VADDR, DMA_MAP_WRITE};
use ioctlab_chardev::layout::{long, word};
use ioctlab_chardev::{Caller, Capability, Errno, PAGE_SIZE, UserMemory, UserPtr};

use crate::driver::{Container, page_size, valid_ranges};
use crate::machine::{Machine, Pinned};
use crate::mappings::Dma;

/// The size of `struct vfio_iommu_type1_dma_map`, in bytes.
const MAP_SIZE: usize = 32;

impl Container {
    /// # Errors
    /// In Linux's order: `EFAULT`; `EINVAL` for `argsz`, flags, a size of 0, what isn't whole pages, and what wraps; `ENOENT` and
    /// `EINVAL` for an address given anew to what isn't waiting for one; `EEXIST` if anything is mapped in the range;
    /// `ENOSPC` with too many mappings; `EINVAL` for IOVAs that can't be mapped; `EFAULT` for memory that can't be used
    /// so; `ENOMEM` beyond the limit of locked memory.
    pub(crate) fn map_dma<M: Machine + ?Sized>(
        &mut self,
        argument: UserPtr,
        caller: &mut dyn Caller,
        machine: &mut M,
    ) -> Result<(), Errno> {
        let memory: &mut dyn UserMemory = caller;
        let map: [u8; MAP_SIZE] = memory.fetch(argument)?;
        let flags = word(&map, 4);
        let (address, iova, bytes) = (long(&map, 8), long(&map, 16), long(&map, 24));
        let known = DMA_MAP_READ | DMA_MAP_WRITE | DMA_MAP_VADDR;
        if usize::try_from(word(&map, 0)).unwrap_or(usize::MAX) < MAP_SIZE || flags & !known != 0 {
            return Err(Errno::EINVAL);
        }
        let (read, write) = (flags & DMA_MAP_READ != 0, flags & DMA_MAP_WRITE != 0);
        let gives_anew = flags & DMA_MAP_VADDR != 0;
        if (read || write) == gives_anew {
            return Err(Errno::EINVAL);
        }
        if bytes == 0 || (bytes | iova | address) & page_size(machine).wrapping_sub(1) != 0 {
            return Err(Errno::EINVAL);
        }
        let last = iova.checked_add(bytes.wrapping_sub(1)).ok_or(Errno::EINVAL)?;
        if address.checked_add(bytes.wrapping_sub(1)).is_none() {
            return Err(Errno::EINVAL);
        }
        let found = self.mappings.first_in(iova, bytes);
        if gives_anew {
            let (start, dma) = found.ok_or(Errno::ENOENT)?;
            if !dma.is_invalid || (start, dma.bytes) != (iova, bytes) {
                return Err(Errno::EINVAL);
            }
            return self.give_anew(iova, address, caller, machine);
        }
        if found.is_some() {
            return Err(Errno::EEXIST);
        }
        if self.available() == 0 {
            return Err(Errno::ENOSPC);
        }
        if !valid_ranges(machine).iter().any(|range| range.start <= iova && last <= range.last) {
            return Err(Errno::EINVAL);
        }
        let domain = self.domain.ok_or(Errno::EINVAL)?;
        let memory = Pinned { space: caller.space()?, address, read, write };
        caller.check_pinnable(UserPtr(address), bytes, write)?;
        let pages = bytes.checked_div(PAGE_SIZE).unwrap_or(0);
        self.check_limit(memory, pages, caller, machine)?;
        machine.map(domain, iova, bytes, memory)?;
        machine.account(memory.space, i64::try_from(pages).unwrap_or(i64::MAX));
        self.mappings.insert(iova, Dma { bytes, memory, is_invalid: false });
        Ok(())
    }

    /// Whether so many more pages may be locked (`vfio_lock_acct`).
    fn check_limit<M: Machine + ?Sized>(
        &self,
        memory: Pinned,
        pages: u64,
        caller: &mut dyn Caller,
        machine: &M,
    ) -> Result<(), Errno> {
        let limit = machine.locked_memory_limit(caller.locked_memory_limit());
        let Some(limit) = limit else { return Ok(()) };
        let locked = machine.locked(memory.space).saturating_add(caller.locked_pages()).saturating_add(pages);
        if locked > limit.checked_div(PAGE_SIZE).unwrap_or(0) && !caller.has_capability(Capability::IpcLock) {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    /// A mapping is of other memory from now on, that of whoever calls (`VFIO_DMA_MAP_FLAG_VADDR`).
    fn give_anew<M: Machine + ?Sized>(
        &mut self,
        iova: u64,
        address: u64,
        caller: &mut dyn Caller,
        machine: &mut M,
    ) -> Result<(), Errno> {
        let space = caller.space()?;
        let domain = self.domain.ok_or(Errno::EINVAL)?;
        let dma = self.mappings.get_mut(iova).ok_or(Errno::ENOENT)?;
        let pages = i64::try_from(dma.bytes.checked_div(PAGE_SIZE).unwrap_or(0)).unwrap_or(i64::MAX);
        let memory = Pinned { space, address, ..dma.memory };
        machine.unmap(domain, iova, dma.bytes);
        machine.map(domain, iova, dma.bytes, memory)?;
        machine.account(dma.memory.space, pages.saturating_neg());
        machine.account(space, pages);
        dma.memory = memory;
        dma.is_invalid = false;
        Ok(())
    }
}
