//! Resets of a slot or bus: `GET_PCI_HOT_RESET_INFO` and `PCI_HOT_RESET`.

use alloc::vec::Vec;

use ioctlab_chardev::layout::{put, word};
use ioctlab_chardev::{Caller, Errno, UserMemory, UserPtr};

use crate::Function;
use crate::device::Open;

/// The size of both structs without what follows.
const HEADER_SIZE: usize = 12;
/// The size of `struct vfio_pci_dependent_device`.
const DEVICE_SIZE: usize = 8;

impl Open {
    /// `GET_PCI_HOT_RESET_INFO`: the devices, and how many there are.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` for a struct of less than 12 bytes; `ENODEV` if there is no such reset; `ENOSPC` if there isn't room
    /// for all devices: it says how many there are then, and no more; `EPERM` if one is in no IOMMU group.
    pub(crate) fn get_hot_reset_info(
        &self,
        argument: UserPtr,
        caller: &mut dyn Caller,
        function: &dyn Function,
    ) -> Result<(), Errno> {
        let mut header: [u8; HEADER_SIZE] = (caller as &mut dyn UserMemory).fetch(argument)?;
        let size = usize::try_from(word(&header, 0)).map_err(|_| Errno::EINVAL)?;
        let room = size.checked_sub(HEADER_SIZE).ok_or(Errno::EINVAL)?;
        let room = room.checked_div(DEVICE_SIZE).unwrap_or(0);
        let devices = function.neighbours().ok_or(Errno::ENODEV)?;
        put(&mut header, 4, &0_u32.to_ne_bytes());
        put(&mut header, 8, &u32::try_from(devices.len()).unwrap_or(u32::MAX).to_ne_bytes());
        if devices.len() > room {
            caller.write(argument, &header)?;
            return Err(Errno::ENOSPC);
        }
        let mut bytes = Vec::new();
        for device in &devices {
            let group = device.group.ok_or(Errno::EPERM)?;
            bytes.extend(group.to_ne_bytes());
            bytes.extend(device.segment.to_ne_bytes());
            bytes.extend([device.bus, device.devfn]);
        }
        caller.write(argument.behind(HEADER_SIZE)?, &bytes)?;
        caller.write(argument, &header)?;
        Ok(())
    }

    /// `PCI_HOT_RESET`: which functions are to be reset.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` for a struct of less than 12 bytes, flags, or no groups; `ENODEV` if there is no such reset; `EINVAL`
    /// for more groups than devices; `EFAULT` for them; `EBADF`, and `EINVAL` for what isn't a group; `EINVAL` unless all devices
    /// are bound to vfio-pci, and in these groups.
    pub(crate) fn hot_reset(
        &self,
        argument: UserPtr,
        caller: &mut dyn Caller,
        function: &dyn Function,
    ) -> Result<Vec<u32>, Errno> {
        let header: [u8; HEADER_SIZE] = (caller as &mut dyn UserMemory).fetch(argument)?;
        let [size, flags, count] = [0, 4, 8].map(|at| word(&header, at));
        if usize::try_from(size).is_ok_and(|size| size < HEADER_SIZE) || flags != 0 || count == 0 {
            return Err(Errno::EINVAL);
        }
        let devices = function.neighbours().ok_or(Errno::ENODEV)?;
        let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
        if count > devices.len() {
            return Err(Errno::EINVAL);
        }
        let mut bytes = alloc::vec![0; count.saturating_mul(4)];
        caller.read(argument.behind(HEADER_SIZE)?, &mut bytes)?;
        let mut groups = Vec::new();
        for descriptor in bytes.as_chunks().0 {
            let file = caller.descriptor(i32::from_ne_bytes(*descriptor))?;
            groups.push(file.and_then(|file| function.group_of(file)).ok_or(Errno::EINVAL)?);
        }
        let allowed = devices
            .iter()
            .all(|device| device.is_bound && device.group.is_some_and(|group| groups.contains(&group)));
        if allowed { Ok(devices.iter().map(|device| device.token).collect()) } else { Err(Errno::EINVAL) }
    }
}
