//! `IOEVENTFD`: eventfds that write registers; and what any eventfd that is watched leads to.

use ioctlab_abi::vfio::PCI_OFFSET_SHIFT;
use ioctlab_chardev::layout::{long, word};
use ioctlab_chardev::{Caller, Errno, Event, EventId, UserMemory, UserPtr};

use crate::device::Device;
use crate::function::Function;
use crate::info::size;

/// The size of `struct vfio_device_ioeventfd` up to its descriptor, in bytes.
const SIZE: usize = 28;
/// The most of them that a device has (`VFIO_PCI_MAX_IOEVENTFDS`).
const MOST: usize = 1000;

/// A write to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterWrite {
    /// Which BAR.
    pub bar: u32,
    /// Where in it, in bytes.
    pub offset: u64,
    /// How many bytes: 1, 2, 4 or 8.
    pub width: u8,
    /// What is written.
    pub value: u64,
}

impl Device {
    /// # Errors
    /// `EFAULT`; `EINVAL` for `argsz`, flags other than one size, and what isn't in a BAR, or is in the MSI-X table; `EEXIST` for one
    /// that is there already; `ENODEV` to take away one that isn't; `ENOSPC` beyond 1000; `EBADF` and `EINVAL` for a
    /// descriptor that is no eventfd.
    pub(crate) fn set_ioeventfd(
        &mut self,
        argument: UserPtr,
        caller: &mut dyn Caller,
        function: &dyn Function,
    ) -> Result<(), Errno> {
        let memory: &mut dyn UserMemory = caller;
        let given: [u8; SIZE] = memory.fetch(argument)?;
        let (flags, position, value) = (word(&given, 4), long(&given, 8), long(&given, 16));
        let descriptor = word(&given, 24).cast_signed();
        if size(word(&given, 0)) < SIZE || flags & !0xf != 0 || flags.count_ones() != 1 || descriptor < -1 {
            return Err(Errno::EINVAL);
        }
        let bar =
            u32::try_from(position >> PCI_OFFSET_SHIFT).ok().filter(|bar| *bar < 6).ok_or(Errno::EINVAL)?;
        let offset = position & 1_u64.wrapping_shl(PCI_OFFSET_SHIFT).wrapping_sub(1);
        let end = offset.saturating_add(flags.into());
        if function.bar(bar).is_none_or(|bar| end > bar.size) {
            return Err(Errno::EINVAL);
        }
        let in_table = |(start, table_end): (u64, u64)| end > start && offset < table_end;
        if table(bar, function).is_some_and(in_table) {
            return Err(Errno::EINVAL);
        }
        let write = RegisterWrite { bar, offset, width: flags as u8, value };
        let known = self.register_writes.iter().position(|(_, other)| *other == write);
        match (known, descriptor) {
            (Some(place), ..0) => {
                let (event, _) = self.register_writes.swap_remove(place);
                self.events.push_back(Event::LetGo(event));
                Ok(())
            }
            (Some(_), _) => Err(Errno::EEXIST),
            (None, ..0) => Err(Errno::ENODEV),
            (None, _) if self.register_writes.len() >= MOST => Err(Errno::ENOSPC),
            (None, descriptor) => {
                let event = caller.event(descriptor)?;
                self.register_writes.push((event, write));
                self.events.push_back(Event::Watch(event));
                Ok(())
            }
        }
    }

    /// A program has signalled an eventfd that is being watched: what is to be written, if it leads to that.
    pub fn signalled(&mut self, event: EventId, function: &mut dyn Function) -> Option<RegisterWrite> {
        if self.unmasked_by(event, function) {
            return None;
        }
        self.register_writes.iter().find(|(other, _)| *other == event).map(|(_, write)| *write)
    }
}

/// Where the MSI-X table is in a BAR: its first byte, and the first behind it.
pub(crate) fn table(bar: u32, function: &dyn Function) -> Option<(u64, u64)> {
    let msix = function.msix().filter(|msix| msix.bar == bar)?;
    Some((msix.offset, msix.offset.saturating_add(u64::from(msix.vectors).saturating_mul(16))))
}
