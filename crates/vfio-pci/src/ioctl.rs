//! The device's ioctls.

use alloc::vec::Vec;

use ioctlab_abi::vfio::{
    DEVICE_FEATURE, DEVICE_GET_INFO, DEVICE_GET_IRQ_INFO, DEVICE_GET_PCI_HOT_RESET_INFO,
    DEVICE_GET_REGION_INFO, DEVICE_IOEVENTFD, DEVICE_PCI_HOT_RESET, DEVICE_RESET, DEVICE_SET_IRQS,
};
use ioctlab_chardev::{CallResult, Caller, Errno, Request, UserPtr};

use crate::{Device, Function};

/// What an ioctl comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is done, and returns this.
    Value(i64),
    /// It returns 0 as soon as the device has been reset; its registers in configuration space are already.
    Reset,
    /// These functions, by their tokens, are reset together: [`Device::reset`] of each, and the rest of the devices. Then it
    /// returns 0.
    HotReset(Vec<u32>),
}

impl Device {
    /// `ioctl(2)`.
    ///
    /// # Errors
    /// `ENOTTY` for a request that PCI devices don't have; else those of the request.
    pub fn ioctl(
        &mut self,
        request: Request,
        argument: u64,
        caller: &mut dyn Caller,
        function: &mut dyn Function,
    ) -> CallResult<Done> {
        let open = self.opened()?;
        open.wake(function);
        let argument = UserPtr(argument);
        match request {
            DEVICE_GET_INFO => open.get_info(argument, caller)?,
            DEVICE_GET_REGION_INFO => open.get_region_info(argument, caller, function)?,
            DEVICE_GET_IRQ_INFO => open.get_irq_info(argument, caller, function)?,
            DEVICE_SET_IRQS => open.set_irqs(argument, caller, function)?,
            DEVICE_RESET => {
                if !open.reset_works {
                    return Err(Errno::EINVAL.into());
                }
                open.reset_awake(function);
                return Ok(Done::Reset);
            }
            DEVICE_GET_PCI_HOT_RESET_INFO => open.get_hot_reset_info(argument, caller, function)?,
            DEVICE_PCI_HOT_RESET => {
                return Ok(Done::HotReset(open.hot_reset(argument, caller, function)?));
            }
            DEVICE_IOEVENTFD => open.set_ioeventfd(argument, caller, function)?,
            DEVICE_FEATURE => self.feature(argument, caller, function)?,
            _ => return Err(Errno::ENOTTY.into()),
        }
        Ok(Done::Value(0))
    }
}
