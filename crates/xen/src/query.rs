//! What can be asked of the hypervisor.

use crate::channel::Binding;
use crate::{Abi, DomainId, EventBits, Hypervisor, Port, Refused, VcpuId};

/// A port's status, as [`Hypervisor::status`] tells it (`EVTCHNSTAT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is bound to; `None` if it is free (`EVTCHNSTAT_closed`).
    pub binding: Option<Binding>,
    /// The vcpu that its events go to.
    pub vcpu: VcpuId,
}

/// All there is to know of a port in use, as Xen's console shows it (its key `e`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortReport {
    /// Its number.
    pub port: Port,
    /// What it is bound to.
    pub binding: Binding,
    /// The vcpu that its events go to.
    pub vcpu: VcpuId,
    /// Whether it is Xen's own, not the guest's.
    pub xens: bool,
    /// Its event bits; Xen's own have none.
    pub bits: EventBits,
}

impl Hypervisor {
    /// A port's status (`EVTCHNOP_status`). [`DomainId::SELF`] is the caller.
    ///
    /// # Errors
    /// In this order: [`Refused::NoSuchDomain`], [`Refused::NoSuchPort`], [`Refused::XenPortStatus`],
    /// [`Refused::NotPrivileged`] (for another domain than the caller). A free port is no error.
    pub fn status(&self, caller: DomainId, domain: DomainId, port: Port) -> Result<Status, Refused> {
        self.domain(caller)?;
        let target = domain.resolve(caller);
        let channel = match self.domain(target)?.ports.get(port) {
            Ok(channel) if channel.is_xens() => return Err(Refused::XenPortStatus),
            Ok(channel) => Some(channel),
            Err(Refused::PortFree) => None,
            Err(refused) => return Err(refused),
        };
        self.check_control(caller, target)?;
        Ok(match channel {
            Some(channel) => Status { binding: Some(channel.binding), vcpu: channel.vcpu },
            None => Status { binding: None, vcpu: VcpuId::ZERO },
        })
    }

    /// The domains, lowest number first.
    pub fn domains(&self) -> impl Iterator<Item = DomainId> {
        self.domains.keys().copied()
    }

    /// Whether there is such a domain, dying or not.
    pub fn exists(&self, id: DomainId) -> bool {
        self.domains.contains_key(&id)
    }

    /// Whether a domain is dying.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`].
    pub fn is_dying(&self, id: DomainId) -> Result<bool, Refused> {
        Ok(self.domain(id)?.dying)
    }

    /// A domain's ABI.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`].
    pub fn abi(&self, id: DomainId) -> Result<Abi, Refused> {
        Ok(self.domain(id)?.abi)
    }

    /// How many channels a domain's kernel has room for now, port 0 included: with the two-level ABI 4096, with FIFO a
    /// multiple of 1024 that grows with its event array (what Linux calls `xen_evtchn_nr_channels`).
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`].
    pub fn nr_channels(&self, id: DomainId) -> Result<u32, Refused> {
        Ok(self.domain(id)?.nr_channels())
    }

    /// How many ports a domain has in use, Xen's own included.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`].
    pub fn ports_in_use(&self, id: DomainId) -> Result<usize, Refused> {
        Ok(self.domain(id)?.ports.len())
    }

    /// A domain's ports in use, lowest first.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`].
    pub fn ports(&self, id: DomainId) -> Result<impl Iterator<Item = PortReport>, Refused> {
        Ok(self.domain(id)?.ports.iter().map(|(port, channel)| {
            let xens = channel.is_xens();
            PortReport {
                port,
                binding: channel.binding,
                vcpu: channel.vcpu,
                xens,
                bits: if xens {
                    EventBits::default()
                } else {
                    EventBits { pending: channel.is_pending(), masked: channel.is_masked() }
                },
            }
        }))
    }
}
