//! INTx: a level that masks itself when it is signalled, until the program says that it has dealt with it.

use ioctlab_chardev::{Caller, Errno, Event, EventId};

use crate::Function;
use crate::device::Open;
use crate::irqs::{Data, Irq};

/// INTx, enabled.
#[derive(Debug)]
pub(crate) struct Intx {
    /// What is signalled.
    pub(crate) trigger: Option<EventId>,
    /// What unmasks it when it is signalled.
    pub(crate) unmask: Option<EventId>,
    pub(crate) masked: bool,
}

impl Open {
    pub(crate) const fn intx(&mut self) -> Option<&mut Intx> {
        match &mut self.irq {
            Irq::Intx(intx) => Some(intx),
            Irq::None | Irq::Messages(_) => None,
        }
    }

    /// The eventfd that unmasks INTx.
    pub(crate) fn unmask_event(&mut self) -> Option<EventId> {
        self.intx().and_then(|intx| intx.unmask)
    }

    /// Masks INTx (`vfio_pci_intx_mask`). While it isn't enabled, the hardware's bit follows the virtual one.
    pub(crate) fn mask_intx(&mut self, function: &mut dyn Function) {
        let can_mask = self.can_mask_intx;
        let Some(intx) = self.intx() else {
            if can_mask {
                function.let_intx(false);
            }
            return;
        };
        if !intx.masked {
            intx.masked = true;
            if can_mask {
                function.let_intx(false);
            }
        }
    }

    /// Unmasks INTx (`vfio_pci_intx_unmask`). If it is still asserted it is signalled again, and stays masked.
    pub(crate) fn unmask_intx(&mut self, function: &mut dyn Function) {
        let (can_mask, disabled) = (self.can_mask_intx, self.intx_disabled);
        let Some(intx) = self.intx() else {
            if can_mask {
                function.let_intx(true);
            }
            return;
        };
        if !intx.masked || disabled {
            return;
        }
        if !can_mask {
            intx.masked = false;
            if function.intx_asserted() {
                self.handle_intx(function);
            }
        } else if function.check_and_unmask_intx() {
            intx.masked = false;
        } else {
            self.signal_intx();
        }
    }

    /// The interrupt handler (`vfio_intx_handler`).
    pub(crate) fn handle_intx(&mut self, function: &mut dyn Function) {
        let can_mask = self.can_mask_intx;
        let Some(intx) = self.intx() else { return };
        if !intx.masked && (!can_mask || function.check_and_mask_intx()) {
            intx.masked = true;
            self.signal_intx();
        }
    }

    /// Signals INTx, masked or not, unless the program has disabled it in the command register.
    fn signal_intx(&mut self) {
        if self.intx_disabled {
            return;
        }
        let event = self.intx().and_then(|intx| intx.trigger).map(Event::Signal);
        self.events.extend(event);
    }

    /// `SET_IRQS`, `MASK` of INTx.
    ///
    /// # Errors
    /// `EINVAL` unless it is enabled, and asked for; `ENOTTY` for eventfds.
    pub(crate) fn set_intx_mask(
        &mut self,
        start: u32,
        count: u32,
        data: &Data,
        function: &mut dyn Function,
    ) -> Result<(), Errno> {
        if self.intx().is_none() || (start, count) != (0, 1) {
            return Err(Errno::EINVAL);
        }
        if matches!(data, Data::Descriptors(_)) {
            return Err(Errno::ENOTTY);
        }
        if data.asks_for(0) {
            self.mask_intx(function);
        }
        Ok(())
    }

    /// `SET_IRQS`, `UNMASK` of INTx: now, or whenever an eventfd is signalled.
    ///
    /// # Errors
    /// `EINVAL` unless it is enabled, and asked for; the descriptor's; `EBUSY` if there is an eventfd already.
    pub(crate) fn set_intx_unmask(
        &mut self,
        start: u32,
        count: u32,
        data: &Data,
        caller: &mut dyn Caller,
        function: &mut dyn Function,
    ) -> Result<(), Errno> {
        if (start, count) != (0, 1) {
            return Err(Errno::EINVAL);
        }
        let intx = self.intx().ok_or(Errno::EINVAL)?;
        let Data::Descriptors(descriptors) = data else {
            if data.asks_for(0) {
                self.unmask_intx(function);
            }
            return Ok(());
        };
        match descriptors.first() {
            Some(descriptor @ 0..) => {
                let event = caller.event(*descriptor)?;
                if intx.unmask.is_some() {
                    self.events.push_back(Event::LetGo(event));
                    return Err(Errno::EBUSY);
                }
                intx.unmask = Some(event);
                self.events.push_back(Event::Watch(event));
            }
            _ => {
                let event = intx.unmask.take().map(Event::LetGo);
                self.events.extend(event);
            }
        }
        Ok(())
    }

    /// `SET_IRQS`, `TRIGGER` of INTx: enables and disables it, sets what is signalled, or signals it.
    ///
    /// # Errors
    /// `EINVAL` if something else is enabled, or for what isn't there; the descriptor's.
    pub(crate) fn set_intx_trigger(
        &mut self,
        start: u32,
        count: u32,
        data: &Data,
        caller: &mut dyn Caller,
        function: &mut dyn Function,
    ) -> Result<(), Errno> {
        let is_enabled = self.intx().is_some();
        if is_enabled && count == 0 && matches!(data, Data::None) {
            self.disable_intx();
            return Ok(());
        }
        if matches!(self.irq, Irq::Messages(_)) || (start, count) != (0, 1) {
            return Err(Errno::EINVAL);
        }
        match data {
            Data::Descriptors(descriptors) => {
                // As recorded: any negative number enables INTx, without anything to be signalled.
                let trigger = match descriptors.first() {
                    Some(descriptor @ 0..) => Some(caller.event(*descriptor)?),
                    _ => None,
                };
                match self.intx() {
                    Some(intx) => {
                        let before = core::mem::replace(&mut intx.trigger, trigger);
                        self.events.extend(before.map(Event::LetGo));
                    }
                    None => self.enable_intx(trigger, function),
                }
            }
            _ if !is_enabled => return Err(Errno::EINVAL),
            data => {
                if data.asks_for(0) {
                    self.signal_intx();
                }
            }
        }
        Ok(())
    }

    fn enable_intx(&mut self, trigger: Option<EventId>, function: &mut dyn Function) {
        let masked = self.intx_disabled;
        self.irq = Irq::Intx(Intx { trigger, unmask: None, masked });
        if self.can_mask_intx {
            function.let_intx(!masked);
        }
        // It may be asserted already.
        if function.intx_asserted() {
            self.handle_intx(function);
        }
    }

    pub(crate) fn disable_intx(&mut self) {
        if let Irq::Intx(intx) = core::mem::replace(&mut self.irq, Irq::None) {
            self.events.extend(intx.unmask.into_iter().chain(intx.trigger).map(Event::LetGo));
        }
    }
}
