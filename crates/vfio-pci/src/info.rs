//! `GET_INFO`, `GET_REGION_INFO`, `GET_IRQ_INFO`: what a device has.

use alloc::vec::Vec;

use ioctlab_abi::vfio::{
    DEVICE_FLAGS_PCI, DEVICE_FLAGS_RESET, IRQ_AUTOMASKED, IRQ_EVENTFD, IRQ_MASKABLE, IRQ_NORESIZE,
    PCI_CONFIG_REGION, PCI_ERR_IRQ, PCI_INTX_IRQ, PCI_MSI_IRQ, PCI_MSIX_IRQ, PCI_NUM_IRQS, PCI_NUM_REGIONS,
    PCI_OFFSET_SHIFT, PCI_REQ_IRQ, PCI_ROM_REGION, REGION_CAP_MSIX_MAPPABLE, REGION_CAPS, REGION_MMAP,
    REGION_READ, REGION_WRITE,
};
use ioctlab_chardev::layout::word;
use ioctlab_chardev::{Caller, Errno, PAGE_SIZE, UserMemory, UserPtr};

use crate::device::Device;
use crate::function::{Bar, Function};

/// The sizes of the structs in bytes, and how much of them a program must know.
const INFO_SIZE: usize = 24;
const INFO_MIN: usize = 16;
const REGION_SIZE: usize = 32;
const IRQ_SIZE: usize = 16;

/// Where the interrupt pin is in configuration space.
const PIN: usize = 0x3d;

impl Device {
    /// # Errors
    /// `EFAULT`; `EINVAL` for an `argsz` below 16.
    pub(crate) fn get_info(
        &self,
        argument: UserPtr,
        caller: &mut dyn Caller,
        function: &dyn Function,
    ) -> Result<(), Errno> {
        let memory: &mut dyn UserMemory = caller;
        let given: [u8; INFO_MIN] = memory.fetch(argument)?;
        let argsz = word(&given, 0);
        let room = size(argsz);
        if room < INFO_MIN {
            return Err(Errno::EINVAL);
        }
        let reset = if function.can_reset() { DEVICE_FLAGS_RESET } else { 0 };
        let info = words(&[argsz, DEVICE_FLAGS_PCI | reset, PCI_NUM_REGIONS, PCI_NUM_IRQS, 0, 0]);
        memory.write(argument, info.get(..room.min(INFO_SIZE)).unwrap_or_default())?;
        Ok(())
    }

    /// # Errors
    /// `EFAULT`; `EINVAL` for an `argsz` below 32, and for a region that isn't there.
    pub(crate) fn get_region_info(
        &self,
        argument: UserPtr,
        caller: &mut dyn Caller,
        function: &dyn Function,
    ) -> Result<(), Errno> {
        let memory: &mut dyn UserMemory = caller;
        let given: [u8; REGION_SIZE] = memory.fetch(argument)?;
        let (mut argsz, index) = (word(&given, 0), word(&given, 8));
        if size(argsz) < REGION_SIZE {
            return Err(Errno::EINVAL);
        }
        let mut flags = 0;
        let mut bytes = 0;
        let mut capabilities = Vec::new();
        match index {
            PCI_CONFIG_REGION => {
                flags = REGION_READ | REGION_WRITE;
                bytes = function.config_size() as u64;
            }
            PCI_ROM_REGION => {
                bytes = function.rom_size();
                if bytes > 0 {
                    flags = REGION_READ;
                }
            }
            0..6 => {
                if let Some(bar) = function.bar(index) {
                    bytes = bar.size;
                    flags = REGION_READ | REGION_WRITE;
                    if can_map(&bar) {
                        flags |= REGION_MMAP;
                        if function.msix().is_some_and(|msix| msix.bar == index) {
                            capabilities.extend(REGION_CAP_MSIX_MAPPABLE.to_ne_bytes());
                            capabilities.extend(1_u16.to_ne_bytes());
                            capabilities.extend(0_u32.to_ne_bytes());
                        }
                    }
                }
            }
            _ => return Err(Errno::EINVAL),
        }
        let mut offset = 0;
        if !capabilities.is_empty() {
            flags |= REGION_CAPS;
            let needed = REGION_SIZE.saturating_add(capabilities.len());
            if size(argsz) < needed {
                argsz = needed as u32;
            } else {
                memory.write(argument.behind(REGION_SIZE)?, &capabilities)?;
                offset = REGION_SIZE as u32;
            }
        }
        let mut info = words(&[argsz, flags, index, offset]);
        info.extend(bytes.to_ne_bytes());
        info.extend(u64::from(index).checked_shl(PCI_OFFSET_SHIFT).unwrap_or(0).to_ne_bytes());
        memory.write(argument, &info)?;
        Ok(())
    }

    /// # Errors
    /// `EFAULT`; `EINVAL` for an `argsz` below 16, and for an index that isn't there (errors need PCI Express).
    pub(crate) fn get_irq_info(
        &self,
        argument: UserPtr,
        caller: &mut dyn Caller,
        function: &dyn Function,
    ) -> Result<(), Errno> {
        let memory: &mut dyn UserMemory = caller;
        let given: [u8; IRQ_SIZE] = memory.fetch(argument)?;
        let (argsz, index) = (word(&given, 0), word(&given, 8));
        if size(argsz) < IRQ_SIZE || index >= PCI_NUM_IRQS || index == PCI_ERR_IRQ && !function.is_express() {
            return Err(Errno::EINVAL);
        }
        let flags = match index {
            PCI_INTX_IRQ => IRQ_MASKABLE | IRQ_AUTOMASKED,
            // Vectors can be added while others are in use.
            PCI_MSIX_IRQ if function.msix().is_some() => 0,
            _ => IRQ_NORESIZE,
        };
        let count = self.interrupt_count(index, function);
        memory.write(argument, &words(&[argsz, IRQ_EVENTFD | flags, index, count]))?;
        Ok(())
    }

    /// How many interrupts there are of an index.
    pub(crate) fn interrupt_count(&self, index: u32, function: &dyn Function) -> u32 {
        match index {
            PCI_INTX_IRQ => {
                let pin = self.config.as_ref().map_or(0, |config| config.own(PIN, 1));
                u32::from(pin != 0)
            }
            PCI_MSI_IRQ => function.msi_vectors(),
            PCI_MSIX_IRQ => function.msix().map_or(0, |msix| msix.vectors),
            PCI_ERR_IRQ => u32::from(function.is_express()),
            PCI_REQ_IRQ => 1,
            _ => 0,
        }
    }
}

/// Whether programs can map a BAR: memory of whole pages.
pub(crate) fn can_map(bar: &Bar) -> bool {
    bar.is_memory && bar.area.is_some() && bar.size >= PAGE_SIZE
}

/// A size that a program gave.
pub(crate) fn size(argsz: u32) -> usize {
    usize::try_from(argsz).unwrap_or(usize::MAX)
}

/// Words one behind the other.
pub(crate) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
