//! The calls that close ports: one, or all of a domain's.

use crate::channel::Binding;
use crate::{Abi, DomainId, Hypervisor, Port, Refused};

impl Hypervisor {
    /// Closes a port of the caller (`EVTCHNOP_close`). Its number is free at once; an event that was pending or queued is
    /// gone, and nothing of it reaches the port's next owner. A peer reverts to unbound, awaiting the closer, and keeps its
    /// bits and its vcpu; nothing is raised there.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`], [`Refused::NoSuchPort`], [`Refused::PortFree`] (port 0 is never bound),
    /// [`Refused::XenPort`].
    pub fn close(&mut self, caller: DomainId, port: Port) -> Result<(), Refused> {
        if self.domain(caller)?.ports.get(port)?.is_xens() {
            return Err(Refused::XenPort);
        }
        self.close_any(caller, port);
        Ok(())
    }

    /// Closes all ports of a domain but Xen's own, and puts it back to the two-level ABI (`EVTCHNOP_reset`).
    /// [`DomainId::SELF`] is the caller. What the guest's kernel held is gone as well. One step here; Xen may take several.
    ///
    /// # Errors
    /// In this order: [`Refused::NoSuchDomain`], [`Refused::NotPrivileged`], [`Refused::NotPaused`] (for another domain
    /// than the caller).
    pub fn reset(&mut self, caller: DomainId, domain: DomainId) -> Result<(), Refused> {
        self.domain(caller)?;
        let target = domain.resolve(caller);
        let paused = self.domain(target)?.paused;
        self.check_control(caller, target)?;
        if target != caller && !paused {
            return Err(Refused::NotPaused);
        }
        self.close_from_the_top(target, false)?;
        self.domain_mut(target)?.use_abi(Abi::TwoLevel);
        Ok(())
    }

    /// Closes all ports of a domain, Xen's own included.
    pub(crate) fn close_all(&mut self, id: DomainId) -> Result<(), Refused> {
        self.close_from_the_top(id, true)
    }

    fn close_from_the_top(&mut self, id: DomainId, xens_too: bool) -> Result<(), Refused> {
        let mut bound = Port(u32::MAX);
        while let Some(port) = self.domain(id)?.ports.last_below(bound) {
            bound = port;
            if xens_too || !self.domain(id)?.ports.get(port)?.is_xens() {
                self.close_any(id, port);
            }
        }
        Ok(())
    }

    fn close_any(&mut self, id: DomainId, port: Port) {
        let Some(mut channel) = self.domains.get_mut(&id).and_then(|domain| domain.free(port)) else {
            return;
        };
        channel.leave_queue(&mut self.upcalls);
        if let Binding::Interdomain { remote, port } = channel.binding
            && let Some(domain) = self.domains.get_mut(&remote)
            && let Ok(peer) = domain.ports.get_mut(port)
        {
            peer.binding = Binding::Unbound { remote: id };
        }
    }
}
