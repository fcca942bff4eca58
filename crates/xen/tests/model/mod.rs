//! A deliberately naive hypervisor to compare the real one with: flat vectors, linear scans, no bookkeeping that could be
//! wrong. A port is a slot, the queue a list, and whatever has to be known is looked for.

mod events;

use ioctlab_xen::{
    Abi, Binding, DomainId, DomainParams, FreshPorts, GlobalVirqs, KernelPort, Port, Refused, VcpuId, Virq,
    VirqScope,
};

/// More ports than any sequence can use.
const SLOTS: usize = 256;

#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) binding: Binding,
    pub(crate) vcpu: VcpuId,
    pub(crate) xens: bool,
    pub(crate) pending: bool,
    pub(crate) masked: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Domain {
    pub(crate) id: DomainId,
    pub(crate) params: DomainParams,
    pub(crate) paused: bool,
    pub(crate) dying: bool,
    pub(crate) slots: Vec<Option<Slot>>,
    /// Ports below this have had memory.
    pub(crate) known: u32,
    pub(crate) pages: u32,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) domains: Vec<Domain>,
    pub(crate) queue: Vec<(DomainId, Port)>,
    pub(crate) handlers: Vec<DomainId>,
    pub(crate) rule: GlobalVirqs,
}

type Result<T> = std::result::Result<T, Refused>;

impl Domain {
    fn slot(&self, port: Port) -> Result<&Slot> {
        if port.0 >= self.known {
            return Err(Refused::NoSuchPort);
        }
        self.slots[port.0 as usize].as_ref().ok_or(Refused::PortFree)
    }

    fn slot_mut(&mut self, port: Port) -> &mut Slot {
        self.slots[port.0 as usize].as_mut().expect("checked by the caller")
    }

    fn find_free(&mut self) -> Result<Port> {
        if self.dying {
            return Err(Refused::Dying);
        }
        let port = (1..SLOTS).find(|port| self.slots[*port].is_none()).expect("too few slots") as u32;
        let limit = if self.params.abi == Abi::Fifo { 131_071 } else { 4095 };
        if port > limit || self.params.max_port.is_some_and(|own| port > own.0) {
            return Err(Refused::NoFreePort);
        }
        while self.known <= port {
            self.known += 64;
        }
        Ok(Port(port))
    }

    fn put(&mut self, port: Port, binding: Binding, vcpu: VcpuId) -> Port {
        let masked = self.params.fresh_ports == FreshPorts::Masked;
        self.slots[port.0 as usize] = Some(Slot { binding, vcpu, xens: false, pending: false, masked });
        port
    }

    fn has_vcpu(&self, vcpu: VcpuId) -> Result<()> {
        if vcpu.0 >= self.params.vcpus { Err(Refused::NoSuchVcpu) } else { Ok(()) }
    }

    fn virq_port(&self, virq: Virq, vcpu: VcpuId) -> Option<Port> {
        let per_vcpu = virq.scope() == VirqScope::Vcpu;
        let holds = |slot: &Slot| {
            slot.binding == Binding::Virq(virq) && (!per_vcpu || slot.vcpu == vcpu) && !slot.xens
        };
        (1..SLOTS).find(|port| self.slots[*port].as_ref().is_some_and(holds)).map(|port| Port(port as u32))
    }

    fn virq_vcpu_ok(&self, virq: Virq, vcpu: VcpuId) -> Result<()> {
        if virq.scope() != VirqScope::Vcpu && vcpu.0 != 0 {
            return Err(Refused::Vcpu0Only);
        }
        self.has_vcpu(vcpu)
    }

    fn bind_virq(&mut self, virq: Virq, vcpu: VcpuId) -> Result<Port> {
        self.virq_vcpu_ok(virq, vcpu)?;
        if self.virq_port(virq, vcpu).is_some() {
            return Err(Refused::AlreadyBound);
        }
        let port = self.find_free()?;
        Ok(self.put(port, Binding::Virq(virq), vcpu))
    }

    fn bind_ipi(&mut self, vcpu: VcpuId) -> Result<Port> {
        self.has_vcpu(vcpu)?;
        let port = self.find_free()?;
        Ok(self.put(port, Binding::Ipi, vcpu))
    }

    pub(crate) fn in_use(&self) -> Vec<Port> {
        (0..SLOTS).filter(|port| self.slots[*port].is_some()).map(|port| Port(port as u32)).collect()
    }

    pub(crate) fn nr_channels(&self) -> u32 {
        if self.params.abi == Abi::Fifo { self.pages * 1024 } else { 4096 }
    }
}

impl Model {
    pub(crate) fn new(rule: GlobalVirqs) -> Self {
        Self { domains: Vec::new(), queue: Vec::new(), handlers: vec![DomainId(0); 24], rule }
    }

    pub(crate) fn domain(&self, id: DomainId) -> Result<&Domain> {
        self.domains.iter().find(|domain| domain.id == id).ok_or(Refused::NoSuchDomain)
    }

    fn domain_mut(&mut self, id: DomainId) -> Result<&mut Domain> {
        self.domains.iter_mut().find(|domain| domain.id == id).ok_or(Refused::NoSuchDomain)
    }

    /// The two domains that a call is about, when the second may be "self".
    fn both(&self, caller: DomainId, named: DomainId) -> Result<DomainId> {
        self.domain(caller)?;
        let id = if named.0 == 0x7ff0 { caller } else { named };
        self.domain(id)?;
        Ok(id)
    }

    fn may_act(&self, caller: DomainId, target: DomainId) -> Result<()> {
        if caller == target || self.domain(caller)?.params.privileged {
            Ok(())
        } else {
            Err(Refused::NotPrivileged)
        }
    }

    pub(crate) fn create(&mut self, id: DomainId, params: DomainParams) -> Result<()> {
        if id.0 >= 0x7ff0 {
            return Err(Refused::ReservedDomain);
        }
        if self.domain(id).is_ok() {
            return Err(Refused::DomainExists);
        }
        if params.vcpus < 1 || params.vcpus > 8192 {
            return Err(Refused::BadVcpuCount);
        }
        let mut domain = Domain {
            id,
            params: params.clone(),
            paused: false,
            dying: false,
            slots: vec![None; SLOTS],
            known: 64,
            pages: 1,
        };
        for port in params.kernel_ports {
            match port {
                KernelPort::Virq(virq, vcpu) => domain.bind_virq(virq, vcpu)?,
                KernelPort::Ipi(vcpu) => domain.bind_ipi(vcpu)?,
                KernelPort::Pirq(irq) => {
                    if domain.slots.iter().flatten().any(|slot| slot.binding == Binding::Pirq(irq)) {
                        return Err(Refused::AlreadyBound);
                    }
                    let port = domain.find_free()?;
                    domain.put(port, Binding::Pirq(irq), VcpuId(0))
                }
                KernelPort::Unbound(remote) => {
                    let port = domain.find_free()?;
                    domain.put(port, Binding::Unbound { remote }, VcpuId(0))
                }
            };
        }
        self.domains.push(domain);
        Ok(())
    }

    pub(crate) fn begin_dying(&mut self, id: DomainId) -> Result<()> {
        self.domain_mut(id)?.dying = true;
        Ok(())
    }

    pub(crate) fn destroy(&mut self, id: DomainId) -> Result<()> {
        for port in self.domain(id)?.in_use() {
            self.drop_port(id, port);
        }
        self.domains.retain(|domain| domain.id != id);
        for handler in &mut self.handlers {
            if *handler == id {
                *handler = DomainId(0);
            }
        }
        let _ = self.raise_global_virq(Virq::DOM_EXC);
        Ok(())
    }

    pub(crate) fn set_paused(&mut self, id: DomainId, paused: bool) -> Result<()> {
        self.domain_mut(id)?.paused = paused;
        Ok(())
    }

    pub(crate) fn set_global_virq_handler(&mut self, id: DomainId, virq: Virq) -> Result<()> {
        self.domain(id)?;
        if virq.scope() != VirqScope::Global {
            return Err(Refused::NotGlobal);
        }
        self.handlers[virq.number() as usize] = id;
        Ok(())
    }

    pub(crate) fn init_control(&mut self, id: DomainId) -> Result<()> {
        let domain = self.domain_mut(id)?;
        if domain.params.abi == Abi::TwoLevel {
            domain.params.abi = Abi::Fifo;
            domain.pages = 0;
        }
        Ok(())
    }

    pub(crate) fn expand_array(&mut self, id: DomainId) -> Result<()> {
        let domain = self.domain_mut(id)?;
        match domain.params.abi {
            Abi::TwoLevel => Err(Refused::NotFifo),
            Abi::Fifo if domain.pages == 128 => Err(Refused::ArrayFull),
            Abi::Fifo => {
                domain.pages += 1;
                Ok(())
            }
        }
    }

    pub(crate) fn alloc_unbound(
        &mut self,
        caller: DomainId,
        named: DomainId,
        remote: DomainId,
    ) -> Result<Port> {
        let id = self.both(caller, named)?;
        let port = self.domain_mut(id)?.find_free()?;
        self.may_act(caller, id)?;
        let remote = if remote.0 == 0x7ff0 { caller } else { remote };
        Ok(self.domain_mut(id)?.put(port, Binding::Unbound { remote }, VcpuId(0)))
    }

    pub(crate) fn alloc_unbound_xen(&mut self, id: DomainId, vcpu: VcpuId, remote: DomainId) -> Result<Port> {
        let domain = self.domain_mut(id)?;
        let port = domain.find_free()?;
        domain.put(port, Binding::Unbound { remote }, vcpu);
        domain.slot_mut(port).xens = true;
        Ok(port)
    }

    pub(crate) fn bind_interdomain(
        &mut self,
        caller: DomainId,
        named: DomainId,
        remote_port: Port,
    ) -> Result<Port> {
        let remote = self.both(caller, named)?;
        let port = self.domain_mut(caller)?.find_free()?;
        match self.domain(remote)?.slot(remote_port)?.binding {
            Binding::Unbound { remote } if remote == caller => {}
            Binding::Unbound { .. } => return Err(Refused::ForAnother),
            _ => return Err(Refused::NotUnbound),
        }
        self.domain_mut(remote)?.slot_mut(remote_port).binding =
            Binding::Interdomain { remote: caller, port };
        self.domain_mut(caller)?.put(port, Binding::Interdomain { remote, port: remote_port }, VcpuId(0));
        self.raise(caller, port);
        Ok(port)
    }

    pub(crate) fn bind_virq(&mut self, caller: DomainId, virq: Virq, vcpu: VcpuId) -> Result<Port> {
        self.domain(caller)?.virq_vcpu_ok(virq, vcpu)?;
        let elsewhere = virq.scope() == VirqScope::Global && self.handlers[virq.number() as usize] != caller;
        if elsewhere && self.rule == GlobalVirqs::BoundByHandler {
            return Err(Refused::NotHandler);
        }
        self.domain_mut(caller)?.bind_virq(virq, vcpu)
    }

    pub(crate) fn bind_ipi(&mut self, caller: DomainId, vcpu: VcpuId) -> Result<Port> {
        self.domain_mut(caller)?.bind_ipi(vcpu)
    }

    pub(crate) fn bind_vcpu(&mut self, caller: DomainId, port: Port, vcpu: VcpuId) -> Result<()> {
        let domain = self.domain_mut(caller)?;
        domain.has_vcpu(vcpu)?;
        let slot = domain.slot(port)?;
        if slot.xens {
            return Err(Refused::XenPort);
        }
        if slot.binding == Binding::Ipi
            || matches!(slot.binding, Binding::Virq(virq) if virq.scope() == VirqScope::Vcpu)
        {
            return Err(Refused::VcpuFixed);
        }
        domain.slot_mut(port).vcpu = vcpu;
        Ok(())
    }

    pub(crate) fn close(&mut self, caller: DomainId, port: Port) -> Result<()> {
        if self.domain(caller)?.slot(port)?.xens {
            return Err(Refused::XenPort);
        }
        self.drop_port(caller, port);
        Ok(())
    }

    pub(crate) fn reset(&mut self, caller: DomainId, named: DomainId) -> Result<()> {
        let id = self.both(caller, named)?;
        self.may_act(caller, id)?;
        if caller != id && !self.domain(id)?.paused {
            return Err(Refused::NotPaused);
        }
        for port in self.domain(id)?.in_use() {
            if !self.domain(id)?.slot(port)?.xens {
                self.drop_port(id, port);
            }
        }
        self.domain_mut(id)?.params.abi = Abi::TwoLevel;
        Ok(())
    }

    fn drop_port(&mut self, id: DomainId, port: Port) {
        let domain = self.domain_mut(id).expect("checked by the caller");
        let slot = domain.slots[port.0 as usize].take().expect("checked by the caller");
        self.queue.retain(|queued| *queued != (id, port));
        if let Binding::Interdomain { remote, port } = slot.binding {
            self.domain_mut(remote).expect("a peer").slot_mut(port).binding = Binding::Unbound { remote: id };
        }
    }
}
