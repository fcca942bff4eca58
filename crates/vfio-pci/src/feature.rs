//! `FEATURE`: the token of virtual functions, and low power (`vfio_ioctl_device_feature`, `vfio_pci_core_ioctl_feature`).

use ioctlab_abi::vfio::{FEATURE_GET, FEATURE_MASK, FEATURE_PROBE, FEATURE_SET};
use ioctlab_chardev::layout::word;
use ioctlab_chardev::{Caller, Errno, Event, UserMemory, UserPtr};

use crate::device::Open;
use crate::{Device, Function};

const HEADER_SIZE: usize = 8;

const PCI_VF_TOKEN: u32 = 0;
const LOW_POWER_ENTRY: u32 = 3;
const LOW_POWER_ENTRY_WITH_WAKEUP: u32 = 4;
const LOW_POWER_EXIT: u32 = 5;

impl Device {
    /// `FEATURE`. All that there are can be set only.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` for a struct of less than 8 bytes, unknown flags, or getting and setting at once; `ENOTTY` for a feature
    /// that the device hasn't; `EINVAL` to get it, to do nothing with it, or for too little data; `EFAULT` for the data; else
    /// the feature's.
    pub(crate) fn feature(
        &mut self,
        argument: UserPtr,
        caller: &mut dyn Caller,
        function: &mut dyn Function,
    ) -> Result<(), Errno> {
        let header: [u8; HEADER_SIZE] = (caller as &mut dyn UserMemory).fetch(argument)?;
        let flags = word(&header, 4);
        let size = usize::try_from(word(&header, 0)).map_err(|_| Errno::EINVAL)?;
        let room = size.checked_sub(HEADER_SIZE).ok_or(Errno::EINVAL)?;
        let (get, set) = (flags & FEATURE_GET != 0, flags & FEATURE_SET != 0);
        let probe = flags & FEATURE_PROBE != 0;
        let known = FEATURE_MASK | FEATURE_GET | FEATURE_SET | FEATURE_PROBE;
        if flags & !known != 0 || get && set && !probe {
            return Err(Errno::EINVAL);
        }
        let feature = flags & FEATURE_MASK;
        let needed = match feature {
            PCI_VF_TOKEN if self.token.is_some() => 16,
            LOW_POWER_ENTRY_WITH_WAKEUP => 8,
            LOW_POWER_ENTRY | LOW_POWER_EXIT => 0,
            _ => return Err(Errno::ENOTTY),
        };
        if get {
            return Err(Errno::EINVAL);
        }
        if probe {
            return Ok(());
        }
        if !set || room < needed {
            return Err(Errno::EINVAL);
        }
        let data = argument.behind(HEADER_SIZE)?;
        if feature == PCI_VF_TOKEN {
            let uuid = (caller as &mut dyn UserMemory).fetch(data)?;
            self.token.iter_mut().for_each(|token| token.uuid = uuid);
            return Ok(());
        }
        let open = self.opened()?;
        match feature {
            LOW_POWER_ENTRY => open.enter_low_power(None, function),
            LOW_POWER_ENTRY_WITH_WAKEUP => {
                let entry: [u8; 8] = (caller as &mut dyn UserMemory).fetch(data)?;
                let descriptor = word(&entry, 0).cast_signed();
                if descriptor < 0 {
                    return Err(Errno::EINVAL);
                }
                let event = caller.event(descriptor)?;
                let result = open.enter_low_power(Some(event), function);
                if result.is_err() {
                    open.events.push_back(Event::LetGo(event));
                }
                result
            }
            _ => {
                open.low_power = None;
                open.note_reachable(function);
                Ok(())
            }
        }
    }
}

impl Open {
    fn enter_low_power(
        &mut self,
        event: Option<ioctlab_chardev::EventId>,
        function: &mut dyn Function,
    ) -> Result<(), Errno> {
        if self.low_power.is_some() {
            return Err(Errno::EINVAL);
        }
        self.low_power = Some(event);
        // It is suspended from D0, whatever state the program has put it into, and resumed to that.
        self.set_power_state(function, 0);
        self.note_reachable(function);
        Ok(())
    }

    /// A call has the device resumed: that ends low power if the program is told of it.
    pub(crate) fn wake(&mut self, function: &mut dyn Function) {
        if let Some(Some(event)) = self.low_power {
            self.low_power = None;
            self.events.extend([Event::Signal(event), Event::LetGo(event)]);
            self.note_reachable(function);
        }
    }
}
