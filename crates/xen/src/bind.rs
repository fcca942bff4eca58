//! The calls that bind a port.

use crate::channel::{Binding, Channel};
use crate::{DomainId, GlobalVirqs, Hypervisor, Port, Refused, VcpuId, Virq, VirqScope};

impl Hypervisor {
    /// Allocates a port in `domain` that `remote` may bind to (`EVTCHNOP_alloc_unbound`). Either may be
    /// [`DomainId::SELF`]. The remote number needn't be any domain's, now or ever.
    ///
    /// # Errors
    /// In this order: [`Refused::NoSuchDomain`], [`Refused::Dying`], [`Refused::NoFreePort`], [`Refused::NotPrivileged`].
    pub fn alloc_unbound(
        &mut self,
        caller: DomainId,
        domain: DomainId,
        remote: DomainId,
    ) -> Result<Port, Refused> {
        self.domain(caller)?;
        let target = domain.resolve(caller);
        let vacancy = self.domain_mut(target)?.vacancy()?;
        self.check_control(caller, target)?;
        let binding = Binding::Unbound { remote: remote.resolve(caller) };
        Ok(self.domain_mut(target)?.fill(vacancy, binding, VcpuId::ZERO))
    }

    /// Allocates a port of Xen's own in `domain`, that `remote` may bind to (`alloc_unbound_xen_event_channel`: what Xen
    /// does for an I/O request server). The guest can't use it: `close`, `send` and `bind_vcpu` are refused, `status` isn't
    /// told, `reset` spares it. What `remote` sends to it goes to Xen, which here doesn't listen.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`], [`Refused::Dying`], [`Refused::NoFreePort`].
    pub fn alloc_unbound_xen(
        &mut self,
        domain: DomainId,
        vcpu: VcpuId,
        remote: DomainId,
    ) -> Result<Port, Refused> {
        let domain = self.domain_mut(domain)?;
        let vacancy = domain.vacancy()?;
        Ok(domain.ports.fill(vacancy, Channel::of_xen(Binding::Unbound { remote }, vcpu)))
    }

    /// Binds a fresh port of the caller to an unbound port of `remote`, and that one to it (`EVTCHNOP_bind_interdomain`).
    /// [`DomainId::SELF`] is the caller: a loopback.
    ///
    /// Always raises the local port: what was sent to the remote one while it was unbound is lost.
    ///
    /// # Errors
    /// In this order: [`Refused::NoSuchDomain`]; of the caller, [`Refused::Dying`], [`Refused::NoFreePort`]; of the remote
    /// port, [`Refused::NoSuchPort`], [`Refused::PortFree`], [`Refused::NotUnbound`], [`Refused::ForAnother`]. That the
    /// remote domain is dying doesn't matter while it has ports.
    pub fn bind_interdomain(
        &mut self,
        caller: DomainId,
        remote: DomainId,
        port: Port,
    ) -> Result<Port, Refused> {
        self.domain(caller)?;
        let remote = remote.resolve(caller);
        self.domain(remote)?;
        let vacancy = self.domain_mut(caller)?.vacancy()?;

        let far = self.domain_mut(remote)?.ports.get_mut(port)?;
        match far.binding {
            Binding::Unbound { remote } if remote == caller => {}
            Binding::Unbound { .. } => return Err(Refused::ForAnother),
            Binding::Interdomain { .. } | Binding::Pirq(_) | Binding::Virq(_) | Binding::Ipi => {
                return Err(Refused::NotUnbound);
            }
        }
        far.binding = Binding::Interdomain { remote: caller, port: vacancy.port() };

        let near = Binding::Interdomain { remote, port };
        let local = self.domain_mut(caller)?.fill(vacancy, near, VcpuId::ZERO);
        self.raise(caller, local);
        Ok(local)
    }

    /// Binds a fresh port of the caller to a VIRQ (`EVTCHNOP_bind_virq`).
    ///
    /// # Errors
    /// In this order: [`Refused::NoSuchDomain`], [`Refused::Vcpu0Only`], [`Refused::NoSuchVcpu`], [`Refused::NotHandler`]
    /// (only with [`GlobalVirqs::BoundByHandler`]), [`Refused::AlreadyBound`], [`Refused::Dying`],
    /// [`Refused::NoFreePort`]. Before all of them, a number that isn't a VIRQ's: [`Virq::try_from`].
    pub fn bind_virq(&mut self, caller: DomainId, virq: Virq, vcpu: VcpuId) -> Result<Port, Refused> {
        self.domain(caller)?.check_virq_vcpu(virq, vcpu)?;
        if self.global_virqs == GlobalVirqs::BoundByHandler
            && virq.scope() == VirqScope::Global
            && self.global_virq_handler(virq) != caller
        {
            return Err(Refused::NotHandler);
        }
        self.domain_mut(caller)?.bind_virq(virq, vcpu)
    }

    /// Binds a fresh port of the caller for interrupts to one of its own vcpus (`EVTCHNOP_bind_ipi`).
    ///
    /// # Errors
    /// In this order: [`Refused::NoSuchDomain`], [`Refused::NoSuchVcpu`], [`Refused::Dying`], [`Refused::NoFreePort`].
    pub fn bind_ipi(&mut self, caller: DomainId, vcpu: VcpuId) -> Result<Port, Refused> {
        self.domain_mut(caller)?.bind_ipi(vcpu)
    }

    /// Sends a port's events to another vcpu of the caller (`EVTCHNOP_bind_vcpu`). A port keeps its vcpu until it closes.
    ///
    /// # Errors
    /// In this order: [`Refused::NoSuchDomain`], [`Refused::NoSuchVcpu`], [`Refused::NoSuchPort`], [`Refused::XenPort`],
    /// [`Refused::PortFree`], [`Refused::VcpuFixed`].
    pub fn bind_vcpu(&mut self, caller: DomainId, port: Port, vcpu: VcpuId) -> Result<(), Refused> {
        let domain = self.domain_mut(caller)?;
        domain.check_vcpu(vcpu)?;
        let channel = domain.ports.get_mut(port)?;
        if channel.is_xens() {
            return Err(Refused::XenPort);
        }
        match channel.binding {
            Binding::Ipi => return Err(Refused::VcpuFixed),
            Binding::Virq(virq) if virq.scope() == VirqScope::Vcpu => return Err(Refused::VcpuFixed),
            Binding::Virq(_) | Binding::Pirq(_) | Binding::Unbound { .. } | Binding::Interdomain { .. } => {}
        }
        channel.vcpu = vcpu;
        Ok(())
    }
}
