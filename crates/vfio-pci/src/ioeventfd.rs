//! `IOEVENTFD`: eventfds that write a register when they are signalled.

use ioctlab_chardev::layout::{long, word};
use ioctlab_chardev::{Caller, Errno, Event, EventId, UserMemory, UserPtr};

use crate::device::Open;
use crate::region::split;
use crate::{BarKind, Function, Width};

/// The most ioeventfds that a device has.
pub const MAX_IOEVENTFDS: usize = 1000;

const SIZE: usize = 28;
/// The flags, which are sizes in bytes.
const SIZE_MASK: u32 = 0xf;

/// A write to a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarWrite {
    /// Which BAR, 0 to 5.
    pub bar: usize,
    /// Where in it.
    pub offset: u64,
    /// How wide it is.
    pub width: Width,
    /// What is written; upper bits that the width hasn't are of no effect.
    pub data: u64,
}

/// An eventfd, and what it writes.
#[derive(Debug)]
pub(crate) struct IoEvent {
    pub(crate) event: EventId,
    write: BarWrite,
}

impl Open {
    /// `IOEVENTFD`: sets one, or takes it away by a descriptor of -1. Writes of 8 bytes aren't there, as on x86-64 before
    /// Linux 6.14.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` for sizes, flags and places that don't fit, or in the MSI-X table; `EEXIST` for one that is there;
    /// `ENODEV` to take away one that isn't; `ENOSPC` for more than [`MAX_IOEVENTFDS`]; the descriptor's.
    pub(crate) fn set_ioeventfd(
        &mut self,
        argument: UserPtr,
        caller: &mut dyn Caller,
        function: &dyn Function,
    ) -> Result<(), Errno> {
        let bytes: [u8; SIZE] = (caller as &mut dyn UserMemory).fetch(argument)?;
        let (size, flags) = (word(&bytes, 0), word(&bytes, 4));
        let (position, data) = (long(&bytes, 8), long(&bytes, 16));
        let descriptor = word(&bytes, 24).cast_signed();
        if usize::try_from(size).is_ok_and(|size| size < SIZE)
            || flags & !SIZE_MASK != 0
            || flags.count_ones() != 1
            || descriptor < -1
        {
            return Err(Errno::EINVAL);
        }
        let (region, offset) = split(position);
        let bar = usize::try_from(region).map_err(|_| Errno::EINVAL)?;
        let end = offset.saturating_add(u64::from(flags));
        let table = self.msix_range(bar);
        let fits = function.bar(bar).is_some_and(|found| end <= found.size);
        if !fits || !table.is_empty() && end > table.start && offset < table.end {
            return Err(Errno::EINVAL);
        }
        let width = match flags {
            1 => Width::Byte,
            2 => Width::Word,
            4 => Width::Dword,
            _ => return Err(Errno::EINVAL),
        };
        let write = BarWrite { bar, offset, width, data };
        match self.ioeventfds.iter().position(|io| io.write == write) {
            Some(at) if descriptor == -1 => {
                let event = self.ioeventfds.remove(at).event;
                self.events.push_back(Event::LetGo(event));
                return Ok(());
            }
            Some(_) => return Err(Errno::EEXIST),
            None if descriptor == -1 => return Err(Errno::ENODEV),
            None => {}
        }
        if self.ioeventfds.len() >= MAX_IOEVENTFDS {
            return Err(Errno::ENOSPC);
        }
        let event = caller.event(descriptor)?;
        self.ioeventfds.push(IoEvent { event, write });
        self.events.push_back(Event::Watch(event));
        Ok(())
    }

    /// What an eventfd writes; nothing while the device doesn't decode memory.
    pub(crate) fn write_of(&self, event: EventId, function: &dyn Function) -> Option<BarWrite> {
        let write = self.ioeventfds.iter().find(|io| io.event == event)?.write;
        let is_port = function.bar(write.bar).is_some_and(|bar| bar.kind == BarKind::Io);
        (is_port || self.memory_is_enabled()).then_some(write)
    }
}
