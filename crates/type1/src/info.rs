//! `GET_INFO`: page sizes, and a chain of capabilities.

use alloc::vec::Vec;

use ioctlab_abi::vfio::{
    IOMMU_INFO_CAP_DMA_AVAIL, IOMMU_INFO_CAP_IOVA_RANGE, IOMMU_INFO_CAP_MIGRATION, IOMMU_INFO_CAPS,
    IOMMU_INFO_PGSIZES,
};
use ioctlab_chardev::layout::word;
use ioctlab_chardev::{Caller, Errno, UserMemory, UserPtr};

use crate::dirty::BITMAP_MAX;
use crate::driver::{Container, page_size, valid_ranges};
use crate::machine::Machine;

/// The size of `struct vfio_iommu_type1_info`, in bytes, and how much of it a program must know.
const INFO_SIZE: usize = 24;
const INFO_MIN: usize = 16;

impl Container {
    /// # Errors
    /// `EFAULT`; `EINVAL` for an `argsz` below 16. Where there isn't room for the capabilities, `argsz` says how much they need.
    pub(crate) fn get_info<M: Machine + ?Sized>(
        &self,
        argument: UserPtr,
        caller: &mut dyn Caller,
        machine: &M,
    ) -> Result<(), Errno> {
        let memory: &mut dyn UserMemory = caller;
        let given: [u8; INFO_MIN] = memory.fetch(argument)?;
        let argsz = word(&given, 0);
        let room = usize::try_from(argsz).unwrap_or(usize::MAX);
        if room < INFO_MIN {
            return Err(Errno::EINVAL);
        }
        let capabilities = self.capabilities(machine);
        let needed = INFO_SIZE.saturating_add(capabilities.len());
        let has_room = room >= needed;
        if has_room {
            memory.write(argument.behind(INFO_SIZE)?, &capabilities)?;
        }
        let size = if has_room { argsz } else { u32::try_from(needed).unwrap_or(u32::MAX) };
        let offset = if has_room { INFO_SIZE as u32 } else { 0 };
        let mut info = Vec::with_capacity(INFO_SIZE);
        info.extend(size.to_ne_bytes());
        info.extend((IOMMU_INFO_PGSIZES | IOMMU_INFO_CAPS).to_ne_bytes());
        info.extend(machine.page_sizes().to_ne_bytes());
        info.extend(offset.to_ne_bytes());
        info.extend(0_u32.to_ne_bytes());
        memory.write(argument, info.get(..room.min(INFO_SIZE)).unwrap_or_default())?;
        Ok(())
    }

    fn capabilities<M: Machine + ?Sized>(&self, machine: &M) -> Vec<u8> {
        let mut migration = Vec::new();
        migration.extend(0_u32.to_ne_bytes());
        migration.extend(0_u32.to_ne_bytes());
        migration.extend(page_size(machine).to_ne_bytes());
        migration.extend(BITMAP_MAX.to_ne_bytes());
        let mut available = self.available().to_ne_bytes().to_vec();
        available.extend(0_u32.to_ne_bytes());
        let valid = valid_ranges(machine);
        let mut ranges = Vec::new();
        ranges.extend(u32::try_from(valid.len()).unwrap_or(u32::MAX).to_ne_bytes());
        ranges.extend(0_u32.to_ne_bytes());
        for range in valid {
            ranges.extend(range.start.to_ne_bytes());
            ranges.extend(range.last.to_ne_bytes());
        }
        chain(&[
            (IOMMU_INFO_CAP_MIGRATION, migration),
            (IOMMU_INFO_CAP_DMA_AVAIL, available),
            (IOMMU_INFO_CAP_IOVA_RANGE, ranges),
        ])
    }
}

/// Capabilities one behind the other, each with its number, version 1, and where the next one is.
fn chain(capabilities: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    for (place, (id, body)) in capabilities.iter().enumerate() {
        let is_last = place.saturating_add(1) == capabilities.len();
        let end = INFO_SIZE.saturating_add(bytes.len()).saturating_add(8).saturating_add(body.len());
        let next = if is_last { 0 } else { u32::try_from(end).unwrap_or(0) };
        bytes.extend(id.to_ne_bytes());
        bytes.extend(1_u16.to_ne_bytes());
        bytes.extend(next.to_ne_bytes());
        bytes.extend(body);
    }
    bytes
}
