//! `DEVICE_FEATURE`.

use ioctlab_abi::vfio::{FEATURE_GET, FEATURE_MASK, FEATURE_PROBE, FEATURE_SET};
use ioctlab_chardev::layout::word;
use ioctlab_chardev::{Caller, Errno, UserMemory, UserPtr};

use crate::device::Device;
use crate::function::Function;
use crate::info::size;

/// The size of `struct vfio_device_feature` without data, in bytes.
const SIZE: usize = 8;
/// Features of low power, and the size of the data of the second, in bytes.
const LOW_POWER_ENTRY: u32 = 3;
const LOW_POWER_ENTRY_WITH_WAKEUP: u32 = 4;
const LOW_POWER_EXIT: u32 = 5;
const WAKEUP_SIZE: usize = 8;

impl Device {
    /// # Errors
    /// `EFAULT`; `EINVAL` for `argsz` and flags; `ENOTTY` for a feature that the device hasn't; `EINVAL` for what can't be done with
    /// it, and to put to sleep what sleeps already.
    pub(crate) fn feature(
        &mut self,
        argument: UserPtr,
        caller: &mut dyn Caller,
        function: &mut dyn Function,
    ) -> Result<(), Errno> {
        let memory: &mut dyn UserMemory = caller;
        let given: [u8; SIZE] = memory.fetch(argument)?;
        let (argsz, flags) = (size(word(&given, 0)), word(&given, 4));
        if argsz < SIZE || flags & !(FEATURE_MASK | FEATURE_GET | FEATURE_SET | FEATURE_PROBE) != 0 {
            return Err(Errno::EINVAL);
        }
        let probes = flags & FEATURE_PROBE != 0;
        let (gets, sets) = (flags & FEATURE_GET != 0, flags & FEATURE_SET != 0);
        if !probes && gets && sets {
            return Err(Errno::EINVAL);
        }
        let feature = flags & FEATURE_MASK;
        let length = match feature {
            LOW_POWER_ENTRY | LOW_POWER_EXIT => 0,
            LOW_POWER_ENTRY_WITH_WAKEUP => WAKEUP_SIZE,
            _ => return Err(Errno::ENOTTY),
        };
        if gets {
            return Err(Errno::EINVAL);
        }
        if probes {
            return Ok(());
        }
        if !sets || argsz < SIZE.saturating_add(length) {
            return Err(Errno::EINVAL);
        }
        if feature == LOW_POWER_ENTRY_WITH_WAKEUP {
            let wakeup: [u8; WAKEUP_SIZE] = memory.fetch(argument.behind(SIZE)?)?;
            let descriptor = word(&wakeup, 0).cast_signed();
            if descriptor < 0 || word(&wakeup, 4) != 0 {
                return Err(Errno::EINVAL);
            }
            // Nothing ever wakes it but its program.
            let event = caller.event(descriptor)?;
            self.events.push_back(ioctlab_chardev::Event::LetGo(event));
        }
        let sleeps = feature != LOW_POWER_EXIT;
        if sleeps && self.is_asleep {
            return Err(Errno::EINVAL);
        }
        self.is_asleep = sleeps;
        self.update_reachable(function);
        Ok(())
    }
}
