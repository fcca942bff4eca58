//! `GET_INFO`, `GET_REGION_INFO`, `GET_IRQ_INFO`.

use ioctlab_abi::vfio::{
    DEVICE_FLAGS_PCI, DEVICE_FLAGS_RESET, IRQ_AUTOMASKED, IRQ_EVENTFD, IRQ_MASKABLE, IRQ_NORESIZE,
    PCI_CONFIG_REGION, PCI_ERR_IRQ, PCI_INTX_IRQ, PCI_MSIX_IRQ, PCI_NUM_IRQS, PCI_NUM_REGIONS,
    PCI_OFFSET_SHIFT, PCI_ROM_REGION, REGION_CAP_MSIX_MAPPABLE, REGION_CAPS, REGION_MMAP, REGION_READ,
    REGION_WRITE,
};
use ioctlab_chardev::layout::{put, word};
use ioctlab_chardev::{Caller, Errno, UserMemory, UserPtr};

use crate::Function;
use crate::device::Open;
use crate::region::is_mappable;

/// The first version of `struct vfio_device_info`, and today's.
const DEVICE_INFO_MIN: usize = 16;
const DEVICE_INFO_SIZE: usize = 24;
const REGION_INFO_SIZE: usize = 32;
/// `struct vfio_info_cap_header`, which is all that the capability has.
const CAPABILITY_SIZE: usize = 8;
const IRQ_INFO_SIZE: usize = 16;

/// The size that a struct says it has.
///
/// # Errors
/// `EINVAL` if that is too small.
fn size_of(bytes: &[u8], least: usize) -> Result<usize, Errno> {
    usize::try_from(word(bytes, 0)).ok().filter(|size| *size >= least).ok_or(Errno::EINVAL)
}

impl Open {
    /// `GET_INFO`. As much is written back as the struct has room for.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` for a struct of less than 16 bytes.
    pub(crate) fn get_info(&self, argument: UserPtr, caller: &mut dyn Caller) -> Result<(), Errno> {
        let header: [u8; DEVICE_INFO_MIN] = (caller as &mut dyn UserMemory).fetch(argument)?;
        let size = size_of(&header, DEVICE_INFO_MIN)?;
        let reset = if self.reset_works { DEVICE_FLAGS_RESET } else { 0 };
        let mut info = [0; DEVICE_INFO_SIZE];
        let fields = [word(&header, 0), DEVICE_FLAGS_PCI | reset, PCI_NUM_REGIONS, PCI_NUM_IRQS];
        put(&mut info, 0, fields.map(u32::to_ne_bytes).as_flattened());
        caller.write(argument, info.get(..size).unwrap_or(&info))?;
        Ok(())
    }

    /// `GET_REGION_INFO`.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` for a struct of less than 32 bytes, or a region that isn't there.
    pub(crate) fn get_region_info(
        &self,
        argument: UserPtr,
        caller: &mut dyn Caller,
        function: &dyn Function,
    ) -> Result<(), Errno> {
        let mut info: [u8; REGION_INFO_SIZE] = (caller as &mut dyn UserMemory).fetch(argument)?;
        let size = size_of(&info, REGION_INFO_SIZE)?;
        let index = word(&info, 8);
        let (mut flags, bytes, has_table) = match index {
            PCI_CONFIG_REGION => (REGION_READ | REGION_WRITE, self.config.size() as u64, false),
            PCI_ROM_REGION => match function.rom().filter(|rom| rom.address != 0 && rom.image > 0) {
                Some(rom) => (REGION_READ, rom.size, false),
                None => (0, 0, false),
            },
            0..PCI_ROM_REGION => self.bar_info(index as usize, function),
            _ => return Err(Errno::EINVAL),
        };
        if has_table {
            flags |= REGION_CAPS;
            let whole = REGION_INFO_SIZE.saturating_add(CAPABILITY_SIZE);
            let mut offset = 0_u32;
            if size < whole {
                put(&mut info, 0, &(whole as u32).to_ne_bytes());
            } else {
                offset = REGION_INFO_SIZE as u32;
                let mut capability = [0; CAPABILITY_SIZE];
                put(&mut capability, 0, &REGION_CAP_MSIX_MAPPABLE.to_ne_bytes());
                put(&mut capability, 2, &1_u16.to_ne_bytes());
                caller.write(argument.behind(REGION_INFO_SIZE)?, &capability)?;
            }
            put(&mut info, 12, &offset.to_ne_bytes());
        }
        put(&mut info, 4, &flags.to_ne_bytes());
        put(&mut info, 16, &bytes.to_ne_bytes());
        put(&mut info, 24, &(u64::from(index) << PCI_OFFSET_SHIFT).to_ne_bytes());
        caller.write(argument, &info)?;
        Ok(())
    }

    /// A BAR's flags and size, and whether the MSI-X table is in it, and can be mapped with it.
    fn bar_info(&self, index: usize, function: &dyn Function) -> (u32, u64, bool) {
        let Some(bar) = function.bar(index).filter(|bar| bar.size > 0) else { return (0, 0, false) };
        if is_mappable(&bar) {
            (REGION_READ | REGION_WRITE | REGION_MMAP, bar.size, !self.msix_range(index).is_empty())
        } else {
            (REGION_READ | REGION_WRITE, bar.size, false)
        }
    }

    /// `GET_IRQ_INFO`. MSI-X vectors can be added while it is enabled.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` for a struct of less than 16 bytes, an index that isn't there, or errors of a device that isn't
    /// PCI Express.
    pub(crate) fn get_irq_info(
        &self,
        argument: UserPtr,
        caller: &mut dyn Caller,
        function: &mut dyn Function,
    ) -> Result<(), Errno> {
        let mut info: [u8; IRQ_INFO_SIZE] = (caller as &mut dyn UserMemory).fetch(argument)?;
        size_of(&info, IRQ_INFO_SIZE)?;
        let index = word(&info, 8);
        if index >= PCI_NUM_IRQS || index == PCI_ERR_IRQ && !self.is_express {
            return Err(Errno::EINVAL);
        }
        let flags = match index {
            PCI_INTX_IRQ => IRQ_MASKABLE | IRQ_AUTOMASKED,
            PCI_MSIX_IRQ if self.msix_at.is_some() => 0,
            _ => IRQ_NORESIZE,
        };
        put(&mut info, 4, &(IRQ_EVENTFD | flags).to_ne_bytes());
        put(&mut info, 12, &self.irq_count(index, function).to_ne_bytes());
        caller.write(argument, &info)?;
        Ok(())
    }
}
