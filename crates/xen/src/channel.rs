//! One event channel: what it is bound to, and its event bits.

use crate::upcalls::{Ticket, Upcalls};
use crate::{DomainId, Port, VcpuId, Virq};

/// What a port is bound to (`ECS_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Awaiting a binding by the remote domain. The number needn't be any domain's.
    Unbound {
        /// Who may bind to it.
        remote: DomainId,
    },
    /// One end of a pair.
    Interdomain {
        /// The domain at the other end.
        remote: DomainId,
        /// Its port.
        port: Port,
    },
    /// Raised with a physical interrupt.
    Pirq(u32),
    /// Raised with a virtual interrupt.
    Virq(Virq),
    /// Raised by the domain itself.
    Ipi,
}

/// Who takes the events of a port (`xen_consumer`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consumer {
    Guest,
    Xen,
}

/// A port in use.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) binding: Binding,
    pub(crate) vcpu: VcpuId,
    pub(crate) consumer: Consumer,
    pending: bool,
    masked: bool,
    /// Held while the port waits in the queue of upcalls: only ever while pending and not masked.
    ticket: Option<Ticket>,
}

impl Channel {
    pub(crate) fn new(binding: Binding, vcpu: VcpuId, masked: bool) -> Self {
        Self { binding, vcpu, consumer: Consumer::Guest, pending: false, masked, ticket: None }
    }

    /// A port of Xen's own. Masked for good, since the guest can't unmask it: its events are never queued.
    pub(crate) fn of_xen(binding: Binding, vcpu: VcpuId) -> Self {
        Self { consumer: Consumer::Xen, ..Self::new(binding, vcpu, true) }
    }

    pub(crate) fn is_xens(&self) -> bool {
        self.consumer == Consumer::Xen
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.pending
    }

    pub(crate) fn is_masked(&self) -> bool {
        self.masked
    }

    /// Raises an event. One that is pending already absorbs it, queued or not.
    pub(crate) fn raise(&mut self, at: (DomainId, Port), upcalls: &mut Upcalls) {
        if self.pending {
            return;
        }
        self.pending = true;
        self.queue_if_due(at, upcalls);
    }

    /// Masks the port. An event that is queued stays pending, but is no longer due.
    pub(crate) fn mask(&mut self, upcalls: &mut Upcalls) {
        self.masked = true;
        self.leave_queue(upcalls);
    }

    /// Unmasks the port, and queues an event that is due. As in the FIFO ABI, an event that was handed out but not taken is
    /// due again, even if the port wasn't masked.
    pub(crate) fn unmask(&mut self, at: (DomainId, Port), upcalls: &mut Upcalls) {
        self.masked = false;
        self.queue_if_due(at, upcalls);
    }

    /// Clears pending; returns whether it was set.
    pub(crate) fn clear_pending(&mut self, upcalls: &mut Upcalls) -> bool {
        self.leave_queue(upcalls);
        core::mem::replace(&mut self.pending, false)
    }

    /// Notes that the queue has handed this port out.
    pub(crate) fn handed_out(&mut self) {
        self.ticket = None;
    }

    /// Leaves the queue: for good, when the port closes.
    pub(crate) fn leave_queue(&mut self, upcalls: &mut Upcalls) {
        if let Some(ticket) = self.ticket.take() {
            upcalls.withdraw(ticket);
        }
    }

    fn queue_if_due(&mut self, at: (DomainId, Port), upcalls: &mut Upcalls) {
        if self.pending && !self.masked && self.ticket.is_none() {
            self.ticket = Some(upcalls.push(at));
        }
    }
}
