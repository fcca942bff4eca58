//! The model's events: raising them, the bits, the queue, and what status tells.

use super::{Model, Result};
use ioctlab_xen::{AfterTake, Binding, DomainId, EventBits, Port, Refused, Status, VcpuId, Virq, VirqScope};

impl Model {
    pub(crate) fn send(&mut self, caller: DomainId, port: Port) -> Result<()> {
        let slot = self.domain(caller)?.slot(port)?;
        if slot.xens {
            return Err(Refused::XenPort);
        }
        match slot.binding {
            Binding::Unbound { .. } => {}
            Binding::Interdomain { remote, port } => self.raise(remote, port),
            Binding::Ipi => self.raise(caller, port),
            Binding::Virq(_) | Binding::Pirq(_) => return Err(Refused::NotSendable),
        }
        Ok(())
    }

    pub(crate) fn raise_virq(&mut self, id: DomainId, virq: Virq, vcpu: VcpuId) -> Result<()> {
        let domain = self.domain(id)?;
        domain.virq_vcpu_ok(virq, vcpu)?;
        if virq.scope() == VirqScope::Global && self.handlers[virq.number() as usize] != id {
            return Err(Refused::NotHandler);
        }
        let port = domain.virq_port(virq, vcpu).ok_or(Refused::VirqNotBound)?;
        self.raise(id, port);
        Ok(())
    }

    pub(crate) fn raise_global_virq(&mut self, virq: Virq) -> Result<()> {
        if virq.scope() != VirqScope::Global {
            return Err(Refused::NotGlobal);
        }
        let handler = self.handlers[virq.number() as usize];
        let port = self.domain(handler).ok().and_then(|domain| domain.virq_port(virq, VcpuId(0)));
        self.raise(handler, port.ok_or(Refused::VirqNotBound)?);
        Ok(())
    }

    pub(super) fn raise(&mut self, id: DomainId, port: Port) {
        let slot = self.domain_mut(id).expect("checked by the caller").slot_mut(port);
        if slot.xens || slot.pending {
            return;
        }
        slot.pending = true;
        if !slot.masked {
            self.queue.push((id, port));
        }
    }

    pub(crate) fn next_upcall(&mut self) -> Option<(DomainId, Port)> {
        if self.queue.is_empty() { None } else { Some(self.queue.remove(0)) }
    }

    pub(crate) fn take(&mut self, id: DomainId, port: Port, then: AfterTake) -> Result<bool> {
        self.event_bits(id, port)?;
        self.queue.retain(|queued| *queued != (id, port));
        let slot = self.domain_mut(id)?.slot_mut(port);
        slot.masked |= then == AfterTake::Masked;
        Ok(std::mem::take(&mut slot.pending))
    }

    pub(crate) fn mask(&mut self, id: DomainId, port: Port) -> Result<()> {
        self.event_bits(id, port)?;
        self.queue.retain(|queued| *queued != (id, port));
        self.domain_mut(id)?.slot_mut(port).masked = true;
        Ok(())
    }

    pub(crate) fn unmask(&mut self, id: DomainId, port: Port) -> Result<()> {
        match self.event_bits(id, port) {
            Err(Refused::PortFree | Refused::XenPort) => return Ok(()),
            other => other?,
        };
        let slot = self.domain_mut(id)?.slot_mut(port);
        slot.masked = false;
        if slot.pending && !self.queue.contains(&(id, port)) {
            self.queue.push((id, port));
        }
        Ok(())
    }

    pub(crate) fn event_bits(&self, id: DomainId, port: Port) -> Result<EventBits> {
        let slot = self.domain(id)?.slot(port)?;
        if slot.xens {
            return Err(Refused::XenPort);
        }
        Ok(EventBits { pending: slot.pending, masked: slot.masked })
    }

    pub(crate) fn status(&self, caller: DomainId, named: DomainId, port: Port) -> Result<Status> {
        let id = self.both(caller, named)?;
        let status = match self.domain(id)?.slot(port) {
            Ok(slot) if slot.xens => return Err(Refused::XenPortStatus),
            Ok(slot) => Status { binding: Some(slot.binding), vcpu: slot.vcpu },
            Err(Refused::PortFree) => Status { binding: None, vcpu: VcpuId(0) },
            Err(refused) => return Err(refused),
        };
        self.may_act(caller, id)?;
        Ok(status)
    }
}
