//! The calls that raise events, and the queue that tells guests of them.

use crate::channel::Binding;
use crate::domain::Source;
use crate::{DomainId, Hypervisor, Port, Refused, VcpuId, Virq, VirqScope};

impl Hypervisor {
    /// Raises the other end of a port of the caller (`EVTCHNOP_send`); through an IPI's port, the port itself. Through an
    /// unbound port nothing is sent, and that is no error.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`], [`Refused::NoSuchPort`], [`Refused::PortFree`], [`Refused::XenPort`],
    /// [`Refused::NotSendable`] through a VIRQ's or PIRQ's.
    pub fn send(&mut self, caller: DomainId, port: Port) -> Result<(), Refused> {
        let channel = self.domain(caller)?.ports.get(port)?;
        if channel.is_xens() {
            return Err(Refused::XenPort);
        }
        match channel.binding {
            Binding::Interdomain { remote, port } => self.raise(remote, port),
            Binding::Ipi => self.raise(caller, port),
            Binding::Unbound { .. } => {}
            Binding::Virq(_) | Binding::Pirq(_) => return Err(Refused::NotSendable),
        }
        Ok(())
    }

    /// Raises a VIRQ in a domain, as Xen or its hardware would (`send_guest_vcpu_virq`, `send_guest_global_virq`). The vcpu
    /// matters for per-vcpu VIRQs; for others it is 0.
    ///
    /// # Errors
    /// In this order: [`Refused::NoSuchDomain`], [`Refused::Vcpu0Only`], [`Refused::NoSuchVcpu`], [`Refused::NotHandler`]
    /// (a global VIRQ goes to its handler and to no other), [`Refused::VirqNotBound`].
    pub fn raise_virq(&mut self, domain: DomainId, virq: Virq, vcpu: VcpuId) -> Result<(), Refused> {
        let target = self.domain(domain)?;
        target.check_virq_vcpu(virq, vcpu)?;
        if virq.scope() == VirqScope::Global && self.global_virq_handler(virq) != domain {
            return Err(Refused::NotHandler);
        }
        let port = target.port_of(Source::virq(virq, vcpu)).ok_or(Refused::VirqNotBound)?;
        self.raise(domain, port);
        Ok(())
    }

    /// Raises a global VIRQ in whichever domain handles it (`send_global_virq`).
    ///
    /// # Errors
    /// [`Refused::NotGlobal`], [`Refused::VirqNotBound`] (also if the handler doesn't exist).
    pub fn raise_global_virq(&mut self, virq: Virq) -> Result<(), Refused> {
        if virq.scope() != VirqScope::Global {
            return Err(Refused::NotGlobal);
        }
        match self.raise_virq(self.global_virq_handler(virq), virq, VcpuId::ZERO) {
            Err(Refused::NoSuchDomain) => Err(Refused::VirqNotBound),
            result => result,
        }
    }

    /// Takes the next upcall out of the queue: this domain is to be told that this port has an event. Ports come in the
    /// order in which their events fell due. Each was pending and unmasked a moment ago and still is: masking, clearing or
    /// closing a port takes it out of the queue. It stays pending until the guest takes the event ([`Hypervisor::take`]).
    pub fn next_upcall(&mut self) -> Option<(DomainId, Port)> {
        let (domain, port) = self.upcalls.pop()?;
        if let Ok(channel) = self.domain_mut(domain).and_then(|domain| domain.ports.get_mut(port)) {
            channel.handed_out();
        }
        Some((domain, port))
    }

    /// How many upcalls are queued: never more than there are ports.
    pub fn upcalls_queued(&self) -> usize {
        self.upcalls.len()
    }

    /// Raises a port; a free one ignores it.
    pub(crate) fn raise(&mut self, id: DomainId, port: Port) {
        if let Some(domain) = self.domains.get_mut(&id)
            && let Ok(channel) = domain.ports.get_mut(port)
        {
            channel.raise((id, port), &mut self.upcalls);
        }
    }
}
