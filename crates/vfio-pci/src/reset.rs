//! `RESET`, `GET_PCI_HOT_RESET_INFO`, `PCI_HOT_RESET`.

use alloc::vec;
use alloc::vec::Vec;

use ioctlab_chardev::layout::word;
use ioctlab_chardev::{Caller, Errno, UserMemory, UserPtr};

use crate::device::{Device, Done, hardware, restore};
use crate::function::{Function, Neighbour};
use crate::info::{size, words};

/// The size of `struct vfio_pci_hot_reset_info` and of `struct vfio_pci_hot_reset` without what follows, in bytes, and of a device.
const SIZE: usize = 12;
const DEVICE_SIZE: usize = 8;

impl Device {
    /// # Errors
    /// `EINVAL` if it can't be reset by itself.
    pub(crate) fn reset(&mut self, function: &mut dyn Function) -> Result<Done, Errno> {
        if !function.can_reset() {
            return Err(Errno::EINVAL);
        }
        self.reset_function(function);
        Ok(Done::Reset)
    }

    /// The device is reset with others of its bus; its model is, too.
    pub fn reset_with_others(&mut self, function: &mut dyn Function) {
        let held = hardware(function);
        function.reset();
        restore(&held, function);
        self.update_reachable(function);
    }

    /// # Errors
    /// `EFAULT`; `EINVAL` for an `argsz` below 12; `ENODEV` on a root bus; `ENOSPC` if there are more devices than room for them.
    pub(crate) fn hot_reset_info(
        &self,
        argument: UserPtr,
        caller: &mut dyn Caller,
        function: &dyn Function,
    ) -> Result<(), Errno> {
        let memory: &mut dyn UserMemory = caller;
        let given: [u8; SIZE] = memory.fetch(argument)?;
        let argsz = word(&given, 0);
        if size(argsz) < SIZE {
            return Err(Errno::EINVAL);
        }
        let neighbours = function.neighbours().ok_or(Errno::ENODEV)?;
        let room = size(argsz).saturating_sub(SIZE).checked_div(DEVICE_SIZE).unwrap_or(0);
        let mut at = argument.behind(SIZE)?;
        for Neighbour { group, segment, bus, devfn } in neighbours.iter().take(room) {
            let mut entry = words(&[*group]);
            entry.extend(segment.to_ne_bytes());
            entry.extend([*bus, *devfn]);
            memory.write(at, &entry)?;
            at = at.behind(DEVICE_SIZE)?;
        }
        let count = u32::try_from(neighbours.len()).unwrap_or(u32::MAX);
        memory.write(argument, &words(&[argsz, 0, count]))?;
        if neighbours.len() > room { Err(Errno::ENOSPC) } else { Ok(()) }
    }

    /// # Errors
    /// `EFAULT`; `EINVAL` for `argsz`, flags, no descriptors, or more than there are devices; `ENODEV` on a root bus; `EBADF` and
    /// `EINVAL` for descriptors that are no groups'; `EINVAL` unless all devices are of these groups and bound to the driver.
    pub(crate) fn hot_reset(
        &mut self,
        argument: UserPtr,
        caller: &mut dyn Caller,
        function: &dyn Function,
    ) -> Result<Done, Errno> {
        let memory: &mut dyn UserMemory = caller;
        let given: [u8; SIZE] = memory.fetch(argument)?;
        let (argsz, flags, count) = (word(&given, 0), word(&given, 4), size(word(&given, 8)));
        if size(argsz) < SIZE || flags != 0 || count == 0 {
            return Err(Errno::EINVAL);
        }
        let neighbours = function.neighbours().ok_or(Errno::ENODEV)?;
        if count > neighbours.len() {
            return Err(Errno::EINVAL);
        }
        let mut descriptors = vec![0; count.saturating_mul(4)];
        memory.read(argument.behind(SIZE)?, &mut descriptors)?;
        let mut groups = Vec::new();
        for descriptor in descriptors.chunks_exact(4) {
            let file = caller.descriptor(word(descriptor, 0).cast_signed())?;
            groups.push(file.and_then(|file| function.group_of(file)).ok_or(Errno::EINVAL)?);
        }
        let are_owned = neighbours.iter().all(|neighbour| groups.contains(&neighbour.group));
        if !are_owned || !function.may_reset_together(&neighbours) {
            return Err(Errno::EINVAL);
        }
        Ok(Done::HotReset(neighbours))
    }
}
