//! `IOMMU_MAP_DMA`.

use ioctlab_abi::vfio::{DMA_MAP_READ, DMA_MAP_VADDR, DMA_MAP_WRITE};
use ioctlab_chardev::layout::{long, word};
use ioctlab_chardev::{Caller, Errno};

use crate::bitmap::MAX_PAGES;
use crate::container::{Container, fetch};
use crate::locked::{check_pinnable, check_room};
use crate::mappings::Dma;
use crate::{IovaRange, Machine, Memory};

const SIZE: usize = 32;

impl Container {
    /// `IOMMU_MAP_DMA`: `u32 argsz, u32 flags, u64 vaddr, u64 iova, u64 size`.
    ///
    /// # Errors
    /// In this order: `EFAULT`; `EINVAL` for an `argsz` below 32, for a flag that isn't one, for both rights and `VADDR` or
    /// neither, for what is empty, isn't whole pages, or wraps. Then with `VADDR` those of [`Self::change_vaddr`]; else
    /// `EEXIST` if something is mapped there; `ENOSPC` if the container has all mappings that it can have; `EINVAL` unless
    /// it lies within one valid range; `EFAULT` or `ENOMEM` for memory that can't be pinned or locked; `EINVAL` while dirty
    /// pages are tracked, for more than they can be tracked for.
    pub(crate) fn map_dma(
        &mut self,
        argument: u64,
        caller: &mut dyn Caller,
        machine: &mut (impl Machine + ?Sized),
    ) -> Result<(), Errno> {
        let bytes: [u8; SIZE] = fetch(caller, argument)?;
        let (argsz, flags) = (word(&bytes, 0), word(&bytes, 4));
        let (vaddr, iova, size) = (long(&bytes, 8), long(&bytes, 16), long(&bytes, 24));
        if argsz < SIZE as u32 || flags & !(DMA_MAP_READ | DMA_MAP_WRITE | DMA_MAP_VADDR) != 0 {
            return Err(Errno::EINVAL);
        }
        let (read, write) = (flags & DMA_MAP_READ != 0, flags & DMA_MAP_WRITE != 0);
        let set_vaddr = flags & DMA_MAP_VADDR != 0;
        if (read || write) == set_vaddr || !self.is_whole_pages(size | iova | vaddr) {
            return Err(Errno::EINVAL);
        }
        let behind_first = size.checked_sub(1).ok_or(Errno::EINVAL)?;
        let last = iova.checked_add(behind_first).ok_or(Errno::EINVAL)?;
        vaddr.checked_add(behind_first).ok_or(Errno::EINVAL)?;
        let range = IovaRange { start: iova, last };
        if set_vaddr {
            return self.change_vaddr(range, vaddr, caller, machine);
        }
        if self.mappings.first_in(range).is_some() {
            return Err(Errno::EEXIST);
        }
        if self.dma_avail == 0 {
            return Err(Errno::ENOSPC);
        }
        if !self.iovas.allow(range) {
            return Err(Errno::EINVAL);
        }
        let space = caller.space()?;
        check_pinnable(vaddr, size, write, space, caller, machine)?;
        let dma = Dma { range, memory: Memory { space, vaddr }, read, write, vaddr_invalid: false };
        if self.dirty_page_tracking && !self.can_be_tracked(&dma) {
            return Err(Errno::EINVAL);
        }
        self.add(dma, machine)
    }

    /// Whether dirty pages of a mapping can be tracked.
    pub(crate) fn can_be_tracked(&self, dma: &Dma) -> bool {
        dma.bytes().checked_shr(self.page_shift()).unwrap_or(0) <= MAX_PAGES
    }

    /// Maps in all domains, or in none.
    fn add(&mut self, dma: Dma, machine: &mut (impl Machine + ?Sized)) -> Result<(), Errno> {
        for (index, attached) in self.domains.iter().enumerate() {
            if let Err(errno) = machine.map(attached.domain, dma.range, dma.memory, dma.read, dma.write) {
                self.domains.iter().take(index).for_each(|done| machine.unmap(done.domain, dma.range));
                return Err(errno);
            }
        }
        machine.lock_pages(dma.memory.space, dma.pages());
        self.dma_avail = self.dma_avail.saturating_sub(1);
        self.mappings.insert(dma);
        Ok(())
    }

    /// `VADDR`: gives a mapping whose address isn't valid another, of the caller. Nobody looks what is there.
    ///
    /// # Errors
    /// `ENOENT` if nothing is mapped in the range; `EINVAL` unless it is that of a mapping whose address isn't valid;
    /// `ENOMEM` if the caller isn't who mapped it and may not lock so much.
    fn change_vaddr(
        &mut self,
        range: IovaRange,
        vaddr: u64,
        caller: &mut dyn Caller,
        machine: &mut (impl Machine + ?Sized),
    ) -> Result<(), Errno> {
        let found = *self.mappings.first_in(range).ok_or(Errno::ENOENT)?;
        if !found.vaddr_invalid || found.range != range {
            return Err(Errno::EINVAL);
        }
        let memory = Memory { space: caller.space()?, vaddr };
        if memory.space != found.memory.space {
            check_room(found.pages(), memory.space, caller, machine)?;
            machine.lock_pages(memory.space, found.pages());
            machine.unlock_pages(found.memory.space, found.pages());
        }
        if let Some(dma) = self.mappings.get_mut(range.start) {
            dma.memory = memory;
            dma.vaddr_invalid = false;
            self.vaddr_invalid = self.vaddr_invalid.saturating_sub(1);
        }
        for attached in &self.domains {
            machine.retarget(attached.domain, range, memory);
        }
        Ok(())
    }
}
