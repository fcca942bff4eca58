//! `SET_IRQS`: what is asked for, and who is asked (`vfio_set_irqs_validate_and_prepare`, `vfio_pci_set_irqs_ioctl`).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use ioctlab_abi::vfio::{
    IRQ_SET_ACTION_MASK, IRQ_SET_ACTION_TRIGGER, IRQ_SET_ACTION_TYPE_MASK, IRQ_SET_ACTION_UNMASK,
    IRQ_SET_DATA_BOOL, IRQ_SET_DATA_EVENTFD, IRQ_SET_DATA_NONE, IRQ_SET_DATA_TYPE_MASK, PCI_ERR_IRQ,
    PCI_INTX_IRQ, PCI_MSI_IRQ, PCI_MSIX_IRQ, PCI_NUM_IRQS, PCI_REQ_IRQ,
};
use ioctlab_chardev::layout::word;
use ioctlab_chardev::{Caller, Errno, Event, EventId, UserMemory, UserPtr};

use crate::device::Open;
use crate::hardware::{INTERRUPT_PIN, MSI_FLAGS, MSIX_FLAGS, MSIX_FLAGS_QSIZE};
use crate::intx::Intx;
use crate::{Function, Messages};

/// The size of `struct vfio_irq_set` without its data.
const HEADER_SIZE: usize = 20;

/// Which interrupts are enabled.
#[derive(Debug)]
pub(crate) enum Irq {
    None,
    Intx(Intx),
    Messages(Vectors),
}

/// Enabled message-signalled interrupts.
#[derive(Debug)]
pub(crate) struct Vectors {
    pub(crate) kind: Messages,
    /// Those that have a message.
    pub(crate) enabled: BTreeSet<u32>,
    /// Those of them that signal something.
    pub(crate) triggers: BTreeMap<u32, EventId>,
}

/// The data of a call.
#[derive(Debug)]
pub(crate) enum Data {
    None,
    Bools(Vec<u8>),
    Descriptors(Vec<i32>),
}

impl Data {
    /// Whether to do to the one at `index` what is asked.
    pub(crate) fn asks_for(&self, index: usize) -> bool {
        match self {
            Self::None => true,
            Self::Bools(bools) => bools.get(index).is_some_and(|byte| *byte != 0),
            Self::Descriptors(_) => false,
        }
    }
}

impl Open {
    /// How many interrupts an index has (`vfio_pci_get_irq_count`).
    pub(crate) fn irq_count(&self, index: u32, function: &mut dyn Function) -> u32 {
        match index {
            PCI_INTX_IRQ if self.hides_intx || self.is_virtual => 0,
            PCI_INTX_IRQ => u32::from(function.byte(INTERRUPT_PIN) != 0),
            PCI_MSI_IRQ => self.msi_at.map_or(0, |at| {
                let order = function.word(at.saturating_add(MSI_FLAGS)) >> 1 & 7;
                1_u32.wrapping_shl(u32::from(order))
            }),
            PCI_MSIX_IRQ => self.msix_at.map_or(0, |at| {
                u32::from(function.word(at.saturating_add(MSIX_FLAGS)) & MSIX_FLAGS_QSIZE).saturating_add(1)
            }),
            PCI_ERR_IRQ => u32::from(self.is_express),
            PCI_REQ_IRQ => 1,
            _ => 0,
        }
    }

    /// `SET_IRQS`.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` for a size that is too small, flags and indices that aren't there, interrupts that the device doesn't
    /// have; `EFAULT` for the data; `ENOTTY` for an action that the index doesn't have; else the action's.
    pub(crate) fn set_irqs(
        &mut self,
        argument: UserPtr,
        caller: &mut dyn Caller,
        function: &mut dyn Function,
    ) -> Result<(), Errno> {
        let header: [u8; HEADER_SIZE] = (caller as &mut dyn UserMemory).fetch(argument)?;
        let [size, flags, index, start, count] = [0, 4, 8, 12, 16].map(|at| word(&header, at));
        let room =
            usize::try_from(size).ok().and_then(|size| size.checked_sub(HEADER_SIZE)).ok_or(Errno::EINVAL)?;
        let known = IRQ_SET_DATA_TYPE_MASK | IRQ_SET_ACTION_TYPE_MASK;
        if index >= PCI_NUM_IRQS || flags & !known != 0 {
            return Err(Errno::EINVAL);
        }
        let there = self.irq_count(index, function);
        if start >= there || start.saturating_add(count) > there {
            return Err(Errno::EINVAL);
        }
        let data = fetch_data(flags, count, room, argument.behind(HEADER_SIZE), caller)?;
        match (index, flags & IRQ_SET_ACTION_TYPE_MASK) {
            (PCI_INTX_IRQ, IRQ_SET_ACTION_MASK) => self.set_intx_mask(start, count, &data, function),
            (PCI_INTX_IRQ, IRQ_SET_ACTION_UNMASK) => {
                self.set_intx_unmask(start, count, &data, caller, function)
            }
            (PCI_INTX_IRQ, IRQ_SET_ACTION_TRIGGER) => {
                self.set_intx_trigger(start, count, &data, caller, function)
            }
            (PCI_MSI_IRQ, IRQ_SET_ACTION_TRIGGER) => {
                self.set_message_trigger(Messages::Msi, start, count, &data, caller, function)
            }
            (PCI_MSIX_IRQ, IRQ_SET_ACTION_TRIGGER) => {
                self.set_message_trigger(Messages::Msix, start, count, &data, caller, function)
            }
            (PCI_ERR_IRQ, IRQ_SET_ACTION_TRIGGER) if self.is_express => {
                set_single(&mut self.error, count, &data, caller, &mut self.events)
            }
            (PCI_REQ_IRQ, IRQ_SET_ACTION_TRIGGER) => {
                set_single(&mut self.request, count, &data, caller, &mut self.events)
            }
            _ => Err(Errno::ENOTTY),
        }
    }

    /// Disables whatever is enabled.
    pub(crate) fn disable_irqs(&mut self, function: &mut dyn Function) {
        match self.irq {
            Irq::None => {}
            Irq::Intx(_) => self.disable_intx(),
            Irq::Messages(_) => self.disable_messages(function),
        }
    }
}

/// Fetches a call's data; `count` is at most the number of interrupts that a device can have.
fn fetch_data(
    flags: u32,
    count: u32,
    room: usize,
    at: Result<UserPtr, ioctlab_chardev::BadAddress>,
    caller: &mut dyn Caller,
) -> Result<Data, Errno> {
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    let each = match flags & IRQ_SET_DATA_TYPE_MASK {
        IRQ_SET_DATA_NONE => return Ok(Data::None),
        IRQ_SET_DATA_BOOL => 1,
        IRQ_SET_DATA_EVENTFD => 4,
        _ => return Err(Errno::EINVAL),
    };
    let size = count.saturating_mul(each);
    if room < size {
        return Err(Errno::EINVAL);
    }
    let mut bytes = alloc::vec![0; size];
    if size > 0 {
        caller.read(at?, &mut bytes)?;
    }
    Ok(if each == 1 {
        Data::Bools(bytes)
    } else {
        Data::Descriptors(bytes.as_chunks().0.iter().map(|bytes| i32::from_ne_bytes(*bytes)).collect())
    })
}

/// An index with one eventfd, and nothing behind it that would have to be enabled (`vfio_pci_set_ctx_trigger_single`).
fn set_single(
    held: &mut Option<EventId>,
    count: u32,
    data: &Data,
    caller: &mut dyn Caller,
    events: &mut alloc::collections::VecDeque<Event>,
) -> Result<(), Errno> {
    match data {
        Data::None => match *held {
            None => return Err(Errno::EINVAL),
            Some(event) if count > 0 => events.push_back(Event::Signal(event)),
            Some(event) => {
                events.push_back(Event::LetGo(event));
                *held = None;
            }
        },
        Data::Bools(bools) => {
            let wanted = *bools.first().ok_or(Errno::EINVAL)? != 0;
            events.extend(held.filter(|_| wanted).map(Event::Signal));
        }
        Data::Descriptors(descriptors) => {
            let event = match *descriptors.first().ok_or(Errno::EINVAL)? {
                -1 => None,
                // As recorded: another negative number changes nothing.
                ..0 => return Ok(()),
                descriptor => Some(caller.event(descriptor)?),
            };
            events.extend(core::mem::replace(held, event).map(Event::LetGo));
        }
    }
    Ok(())
}
