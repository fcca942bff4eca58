//! MSI and MSI-X.

use alloc::collections::BTreeMap;

use ioctlab_chardev::{Caller, Errno, Event};

use crate::device::Open;
use crate::irqs::{Data, Irq, Vectors};
use crate::{Function, Messages};

impl Open {
    /// Whether a kind is enabled.
    pub(crate) fn uses(&self, kind: Messages) -> bool {
        matches!(&self.irq, Irq::Messages(vectors) if vectors.kind == kind)
    }

    /// A message was sent.
    pub(crate) fn handle_message(&mut self, kind: Messages, vector: u32) {
        if let Irq::Messages(vectors) = &self.irq
            && vectors.kind == kind
        {
            self.events.extend(vectors.triggers.get(&vector).copied().map(Event::Signal));
        }
    }

    /// `SET_IRQS`, `TRIGGER` of MSI or MSI-X: enables and disables it, sets what vectors signal, or signals it.
    ///
    /// # Errors
    /// `EINVAL` if something else is enabled, or for what isn't there; `ERANGE` to enable no vector; `EINVAL` to enable any in
    /// another power state than D0; the descriptors': then
    /// the vectors that were asked for signal nothing, and if it wasn't enabled before it isn't then.
    pub(crate) fn set_message_trigger(
        &mut self,
        kind: Messages,
        start: u32,
        count: u32,
        data: &Data,
        caller: &mut dyn Caller,
        function: &mut dyn Function,
    ) -> Result<(), Errno> {
        let is_enabled = self.uses(kind);
        if is_enabled && count == 0 && matches!(data, Data::None) {
            self.disable_messages(function);
            return Ok(());
        }
        if !is_enabled && !matches!(self.irq, Irq::None) {
            return Err(Errno::EINVAL);
        }
        if let Data::Descriptors(descriptors) = data {
            if is_enabled {
                return self.set_block(start, descriptors, caller, function);
            }
            self.enable_messages(kind, start.saturating_add(count), function)?;
            let result = self.set_block(start, descriptors, caller, function);
            if result.is_err() {
                self.disable_messages(function);
            }
            return result;
        }
        let Irq::Messages(vectors) = &self.irq else { return Err(Errno::EINVAL) };
        for (index, vector) in (start..start.saturating_add(count)).enumerate() {
            let event = vectors.triggers.get(&vector).filter(|_| data.asks_for(index));
            self.events.extend(event.copied().map(Event::Signal));
        }
        Ok(())
    }

    fn enable_messages(
        &mut self,
        kind: Messages,
        count: u32,
        function: &mut dyn Function,
    ) -> Result<(), Errno> {
        if count == 0 {
            return Err(Errno::ERANGE);
        }
        // The PCI core sets none up but in D0.
        if self.power_state != 0 {
            return Err(Errno::EINVAL);
        }
        function.enable_messages(kind, count)?;
        // INTx is off as long as messages are on (`pci_intx_for_msi`).
        function.let_intx(false);
        if kind == Messages::Msi {
            // The logarithm, rounded up.
            self.msi_qmax = count.next_power_of_two().trailing_zeros() as u16;
        }
        let enabled = (0..count).collect();
        self.irq = Irq::Messages(Vectors { kind, enabled, triggers: BTreeMap::new() });
        Ok(())
    }

    pub(crate) fn disable_messages(&mut self, function: &mut dyn Function) {
        if let Irq::Messages(vectors) = core::mem::replace(&mut self.irq, Irq::None) {
            self.events.extend(vectors.triggers.into_values().map(Event::LetGo));
            function.disable_messages(vectors.kind);
            function.let_intx(!self.hides_intx);
        }
    }

    /// Sets what vectors signal, from one on; after a failure none of those that were tried signals anything.
    fn set_block(
        &mut self,
        start: u32,
        descriptors: &[i32],
        caller: &mut dyn Caller,
        function: &mut dyn Function,
    ) -> Result<(), Errno> {
        for (vector, descriptor) in (start..).zip(descriptors) {
            if let Err(errno) = self.set_vector(vector, *descriptor, caller, function) {
                (start..vector).for_each(|vector| self.clear_vector(vector));
                return Err(errno);
            }
        }
        Ok(())
    }

    /// Sets what a vector signals: what it signalled before goes first, whatever comes of the rest.
    fn set_vector(
        &mut self,
        vector: u32,
        descriptor: i32,
        caller: &mut dyn Caller,
        function: &mut dyn Function,
    ) -> Result<(), Errno> {
        self.clear_vector(vector);
        let Irq::Messages(vectors) = &mut self.irq else { return Err(Errno::EINVAL) };
        if descriptor < 0 {
            return Ok(());
        }
        if !vectors.enabled.contains(&vector) {
            if vectors.kind == Messages::Msi {
                return Err(Errno::EINVAL);
            }
            function.add_vector(vector)?;
            vectors.enabled.insert(vector);
        }
        vectors.triggers.insert(vector, caller.event(descriptor)?);
        Ok(())
    }

    fn clear_vector(&mut self, vector: u32) {
        if let Irq::Messages(vectors) = &mut self.irq {
            self.events.extend(vectors.triggers.remove(&vector).map(Event::LetGo));
        }
    }
}
