//! Interrupts: `SET_IRQS`, and what the device raises.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use ioctlab_abi::vfio::{
    IRQ_SET_ACTION_MASK, IRQ_SET_ACTION_TRIGGER, IRQ_SET_ACTION_TYPE_MASK, IRQ_SET_ACTION_UNMASK,
    IRQ_SET_DATA_BOOL, IRQ_SET_DATA_EVENTFD, IRQ_SET_DATA_NONE, IRQ_SET_DATA_TYPE_MASK, PCI_ERR_IRQ,
    PCI_INTX_IRQ, PCI_MSI_IRQ, PCI_MSIX_IRQ, PCI_NUM_IRQS, PCI_REQ_IRQ,
};
use ioctlab_chardev::layout::word;
use ioctlab_chardev::{Caller, Errno, Event, EventId, UserMemory, UserPtr};

use crate::device::Device;
use crate::function::{Function, Mode};
use crate::info::size;

/// The size of `struct vfio_irq_set` without data, in bytes.
const SET_SIZE: usize = 20;
/// The command register, and its bit that disables the pin.
const COMMAND: usize = 4;
const INTX_DISABLE: u32 = 1 << 10;

/// Which kind of interrupts is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Pin,
    Msi,
    Msix,
}

/// A device's interrupts.
#[derive(Default)]
pub(crate) struct Interrupts {
    /// `None` while none are in use.
    pub(crate) kind: Option<Kind>,
    /// What is signalled, by vector; the pin's is 0.
    triggers: BTreeMap<u32, EventId>,
    /// The pin doesn't interrupt until it is unmasked.
    is_masked: bool,
    /// A program has disabled the pin in its command register.
    is_pin_disabled: bool,
    /// What unmasks the pin.
    unmask: Option<EventId>,
    /// What is signalled for errors, and when the device is wanted back.
    pub(crate) single: [Option<EventId>; 2],
}

/// Where errors are in [`Interrupts::single`], and requests.
const ERROR: usize = 0;
const REQUEST: usize = 1;

/// What comes with a `SET_IRQS`.
enum Data<'a> {
    None,
    Bool(&'a [u8]),
    Eventfd(&'a [u8]),
}

impl Data<'_> {
    /// Whether the interrupt at this place is meant.
    fn is_set(&self, place: u32) -> bool {
        match self {
            Self::None => true,
            Self::Bool(bytes) => bytes.get(size(place)).is_some_and(|byte| *byte != 0),
            Self::Eventfd(_) => false,
        }
    }

    /// The descriptor at this place.
    fn descriptor(&self, place: u32) -> i32 {
        let Self::Eventfd(bytes) = self else { return -1 };
        word(bytes, size(place).saturating_mul(4)).cast_signed()
    }
}

impl Device {
    /// # Errors
    /// `EFAULT`; `EINVAL` for `argsz`, an index or a range that isn't there, and flags other than one kind of data; `ENOTTY` for what
    /// an index doesn't do; `EINVAL` for what can't be done now; `EBADF` and `EINVAL` for descriptors that are no eventfds.
    pub(crate) fn set_irqs(
        &mut self,
        argument: UserPtr,
        caller: &mut dyn Caller,
        function: &mut dyn Function,
    ) -> Result<(), Errno> {
        let memory: &mut dyn UserMemory = caller;
        let set: [u8; SET_SIZE] = memory.fetch(argument)?;
        let [argsz, flags, index, start, count] = [0, 4, 8, 12, 16].map(|offset| word(&set, offset));
        let there = self.interrupt_count(index, function);
        let length = check(argsz, flags, index, start, count, there)?;
        let mut bytes = vec![0; length];
        memory.read(argument.behind(SET_SIZE)?, &mut bytes)?;
        let data = match flags & IRQ_SET_DATA_TYPE_MASK {
            IRQ_SET_DATA_BOOL => Data::Bool(&bytes),
            IRQ_SET_DATA_EVENTFD => Data::Eventfd(&bytes),
            _ => Data::None,
        };
        match (index, flags & IRQ_SET_ACTION_TYPE_MASK) {
            (PCI_INTX_IRQ, IRQ_SET_ACTION_MASK) => self.mask(start, count, &data, function),
            (PCI_INTX_IRQ, IRQ_SET_ACTION_UNMASK) => self.unmask(start, count, &data, caller, function),
            (PCI_INTX_IRQ, IRQ_SET_ACTION_TRIGGER) => self.set_pin(start, count, &data, caller, function),
            (PCI_MSI_IRQ, IRQ_SET_ACTION_TRIGGER) => {
                self.set_messages(Kind::Msi, start, count, &data, caller, function)
            }
            (PCI_MSIX_IRQ, IRQ_SET_ACTION_TRIGGER) => {
                self.set_messages(Kind::Msix, start, count, &data, caller, function)
            }
            (PCI_ERR_IRQ, IRQ_SET_ACTION_TRIGGER) => self.set_single(ERROR, count, &data, caller),
            (PCI_REQ_IRQ, IRQ_SET_ACTION_TRIGGER) => self.set_single(REQUEST, count, &data, caller),
            _ => Err(Errno::ENOTTY),
        }
    }

    /// The pin: enabled, given another eventfd, disabled, or signalled as if by the device.
    fn set_pin(
        &mut self,
        start: u32,
        count: u32,
        data: &Data<'_>,
        caller: &mut dyn Caller,
        function: &mut dyn Function,
    ) -> Result<(), Errno> {
        let is_pin = self.interrupts.kind == Some(Kind::Pin);
        if is_pin && count == 0 && matches!(data, Data::None) {
            self.disable_interrupts(function);
            return Ok(());
        }
        if !(is_pin || self.interrupts.kind.is_none()) || start != 0 || count != 1 {
            return Err(Errno::EINVAL);
        }
        if matches!(data, Data::Eventfd(_)) {
            let trigger = event(data.descriptor(0), caller)?;
            if !is_pin {
                self.interrupts.kind = Some(Kind::Pin);
                self.interrupts.is_masked = self.interrupts.is_pin_disabled;
                disable_pin(self.interrupts.is_masked, function);
            }
            self.set_trigger(0, trigger);
            self.interrupt(function);
            return Ok(());
        }
        if !is_pin {
            return Err(Errno::EINVAL);
        }
        if data.is_set(0) {
            self.signal_pin();
        }
        Ok(())
    }

    fn mask(
        &mut self,
        start: u32,
        count: u32,
        data: &Data<'_>,
        function: &mut dyn Function,
    ) -> Result<(), Errno> {
        self.check_pin(start, count)?;
        if matches!(data, Data::Eventfd(_)) {
            return Err(Errno::ENOTTY);
        }
        if data.is_set(0) {
            self.mask_pin(function);
        }
        Ok(())
    }

    fn unmask(
        &mut self,
        start: u32,
        count: u32,
        data: &Data<'_>,
        caller: &mut dyn Caller,
        function: &mut dyn Function,
    ) -> Result<(), Errno> {
        self.check_pin(start, count)?;
        if matches!(data, Data::Eventfd(_)) {
            match data.descriptor(0) {
                ..0 => self.forget_unmask(),
                descriptor => {
                    let event = caller.event(descriptor)?;
                    if self.interrupts.unmask.is_some() {
                        self.events.push_back(Event::LetGo(event));
                        return Err(Errno::EBUSY);
                    }
                    self.interrupts.unmask = Some(event);
                    self.events.push_back(Event::Watch(event));
                }
            }
        } else if data.is_set(0) {
            self.unmask_pin(function);
        }
        Ok(())
    }

    fn check_pin(&self, start: u32, count: u32) -> Result<(), Errno> {
        let is_right = self.interrupts.kind == Some(Kind::Pin) && start == 0 && count == 1;
        if is_right { Ok(()) } else { Err(Errno::EINVAL) }
    }

    fn mask_pin(&mut self, function: &mut dyn Function) {
        if self.interrupts.kind != Some(Kind::Pin) {
            disable_pin(true, function);
        } else if !self.interrupts.is_masked {
            disable_pin(true, function);
            self.interrupts.is_masked = true;
        }
    }

    /// Unmasks the pin. If it is still asserted, it interrupts again at once, and stays masked
    /// (`vfio_pci_intx_unmask_handler`).
    fn unmask_pin(&mut self, function: &mut dyn Function) {
        if self.interrupts.kind != Some(Kind::Pin) {
            disable_pin(false, function);
            return;
        }
        if !self.interrupts.is_masked || self.interrupts.is_pin_disabled {
            return;
        }
        if function.is_asserted() {
            self.signal_pin();
        } else {
            disable_pin(false, function);
            self.interrupts.is_masked = false;
        }
    }

    /// A program's command register says whether the pin is disabled.
    pub(crate) fn set_pin_disabled(&mut self, disabled: bool, function: &mut dyn Function) {
        if disabled == self.interrupts.is_pin_disabled {
            return;
        }
        self.interrupts.is_pin_disabled = disabled;
        if disabled {
            self.mask_pin(function);
        } else {
            self.unmask_pin(function);
        }
    }

    fn signal_pin(&mut self) {
        if !self.interrupts.is_pin_disabled
            && let Some(trigger) = self.interrupts.triggers.get(&0)
        {
            self.events.push_back(Event::Signal(*trigger));
        }
    }

    /// The device's pin may be asserted (`vfio_intx_handler`): it interrupts, and is masked until somebody unmasks it.
    pub fn interrupt(&mut self, function: &mut dyn Function) {
        if self.interrupts.kind == Some(Kind::Pin) && !self.interrupts.is_masked && function.is_asserted() {
            disable_pin(true, function);
            self.interrupts.is_masked = true;
            self.signal_pin();
        }
    }

    /// The device has sent the message of a vector (`vfio_msihandler`).
    pub fn message(&mut self, vector: u32) {
        if matches!(self.interrupts.kind, Some(Kind::Msi | Kind::Msix))
            && let Some(trigger) = self.interrupts.triggers.get(&vector)
        {
            self.events.push_back(Event::Signal(*trigger));
        }
    }

    /// Messages: enabled, given other eventfds, disabled, or signalled as if by the device.
    fn set_messages(
        &mut self,
        kind: Kind,
        start: u32,
        count: u32,
        data: &Data<'_>,
        caller: &mut dyn Caller,
        function: &mut dyn Function,
    ) -> Result<(), Errno> {
        let is_kind = self.interrupts.kind == Some(kind);
        if is_kind && count == 0 && matches!(data, Data::None) {
            self.disable_interrupts(function);
            return Ok(());
        }
        if !is_kind && self.interrupts.kind.is_some() {
            return Err(Errno::EINVAL);
        }
        if matches!(data, Data::Eventfd(_)) {
            if !is_kind {
                self.enable_messages(kind, start.saturating_add(count), function);
            }
            let result = self.set_block(start, count, data, caller);
            if result.is_err() && !is_kind {
                self.disable_interrupts(function);
            }
            return result;
        }
        if !is_kind {
            return Err(Errno::EINVAL);
        }
        for place in 0..count {
            if data.is_set(place) {
                self.message(start.saturating_add(place));
            }
        }
        Ok(())
    }

    fn enable_messages(&mut self, kind: Kind, vectors: u32, function: &mut dyn Function) {
        self.interrupts.kind = Some(kind);
        match kind {
            Kind::Msix => function.set_mode(Mode::Msix, vectors),
            _ => function.set_mode(Mode::Msi, vectors),
        }
        if kind == Kind::Msi
            && let Some(config) = &mut self.config
        {
            config.set_msi_vectors(vectors);
        }
    }

    /// Gives vectors their eventfds; if one can't be had, all of these have none.
    fn set_block(
        &mut self,
        start: u32,
        count: u32,
        data: &Data<'_>,
        caller: &mut dyn Caller,
    ) -> Result<(), Errno> {
        for place in 0..count {
            let vector = start.saturating_add(place);
            self.set_trigger(vector, None);
            match event(data.descriptor(place), caller) {
                Ok(trigger) => self.set_trigger(vector, trigger),
                Err(errno) => {
                    (start..vector).for_each(|vector| self.set_trigger(vector, None));
                    return Err(errno);
                }
            }
        }
        Ok(())
    }

    fn set_trigger(&mut self, vector: u32, trigger: Option<EventId>) {
        let old = match trigger {
            Some(trigger) => self.interrupts.triggers.insert(vector, trigger),
            None => self.interrupts.triggers.remove(&vector),
        };
        self.events.extend(old.map(Event::LetGo));
    }

    fn forget_unmask(&mut self) {
        self.events.extend(self.interrupts.unmask.take().map(Event::LetGo));
    }

    /// No kind of interrupts is in use any more.
    pub(crate) fn disable_kind(&mut self, function: &mut dyn Function) {
        self.forget_unmask();
        let vectors: Vec<u32> = self.interrupts.triggers.keys().copied().collect();
        vectors.into_iter().for_each(|vector| self.set_trigger(vector, None));
        if self.interrupts.kind.take() == Some(Kind::Pin) {
            disable_pin(self.interrupts.is_pin_disabled, function);
        }
        self.interrupts.is_masked = false;
    }

    /// Errors and requests: one eventfd each.
    fn set_single(
        &mut self,
        which: usize,
        count: u32,
        data: &Data<'_>,
        caller: &mut dyn Caller,
    ) -> Result<(), Errno> {
        let known = self.interrupts.single.get(which).copied().flatten();
        let replace = |device: &mut Self, new: Option<EventId>| {
            if let Some(place) = device.interrupts.single.get_mut(which) {
                *place = new;
            }
            device.events.extend(known.map(Event::LetGo));
        };
        match data {
            Data::None => {
                let trigger = known.ok_or(Errno::EINVAL)?;
                if count > 0 {
                    self.events.push_back(Event::Signal(trigger));
                } else {
                    replace(self, None);
                }
            }
            _ if count == 0 => return Err(Errno::EINVAL),
            Data::Bool(_) => {
                if data.is_set(0) {
                    self.events.extend(known.map(Event::Signal));
                }
            }
            Data::Eventfd(_) => match data.descriptor(0) {
                -1 => replace(self, None),
                ..-1 => {}
                descriptor => {
                    let new = caller.event(descriptor)?;
                    replace(self, Some(new));
                }
            },
        }
        Ok(())
    }

    /// The device is wanted back (`vfio_pci_core_request`): its user is told each time.
    pub fn request(&mut self) {
        self.events.extend(self.interrupts.single.get(REQUEST).copied().flatten().map(Event::Signal));
    }

    /// The device has reported an error that isn't correctable (`vfio_pci_core_aer_err_detected`).
    pub fn error(&mut self) {
        self.events.extend(self.interrupts.single.get(ERROR).copied().flatten().map(Event::Signal));
    }

    /// A program has signalled the eventfd that unmasks the pin; whether it is that one.
    pub(crate) fn unmasked_by(&mut self, event: EventId, function: &mut dyn Function) -> bool {
        let is_it = self.interrupts.unmask == Some(event);
        if is_it {
            self.unmask_pin(function);
        }
        is_it
    }
}

/// Holds the eventfd of a descriptor; a negative one is none.
fn event(descriptor: i32, caller: &mut dyn Caller) -> Result<Option<EventId>, Errno> {
    if descriptor < 0 { Ok(None) } else { caller.event(descriptor).map(Some) }
}

/// Sets or clears the hardware's bit that disables the pin.
fn disable_pin(disabled: bool, function: &mut dyn Function) {
    let command = function.read_config(COMMAND, 2);
    let wanted = if disabled { command | INTX_DISABLE } else { command & !INTX_DISABLE };
    function.write_config(COMMAND, 2, wanted);
}

/// Checks what doesn't depend on the index (`vfio_set_irqs_validate_and_prepare`); returns the length of the data, in bytes.
fn check(argsz: u32, flags: u32, index: u32, start: u32, count: u32, there: u32) -> Result<usize, Errno> {
    let known = IRQ_SET_DATA_TYPE_MASK | IRQ_SET_ACTION_TYPE_MASK;
    let end = start.checked_add(count).filter(|end| *end < u32::MAX).ok_or(Errno::EINVAL)?;
    if size(argsz) < SET_SIZE || index >= PCI_NUM_IRQS || flags & !known != 0 || start >= there || end > there
    {
        return Err(Errno::EINVAL);
    }
    let width: usize = match flags & IRQ_SET_DATA_TYPE_MASK {
        IRQ_SET_DATA_NONE => 0,
        IRQ_SET_DATA_BOOL => 1,
        IRQ_SET_DATA_EVENTFD => 4,
        _ => return Err(Errno::EINVAL),
    };
    // There are no more than 2048 of any.
    let length = size(count).saturating_mul(width);
    if size(argsz).saturating_sub(SET_SIZE) < length {
        return Err(Errno::EINVAL);
    }
    Ok(length)
}
