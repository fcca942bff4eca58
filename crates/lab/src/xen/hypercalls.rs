//! What programs learn of Xen by hypercalls of their own.

use std::collections::BTreeMap;

use ioctlab_abi::Errno;
use ioctlab_privcmd as privcmd;
use ioctlab_xen::{Binding, DomainId, Hypervisor, Port};

/// The hypervisor, as one domain's programs see it.
pub(super) struct Caller<'a> {
    pub(super) xen: &'a Hypervisor,
    pub(super) domain: DomainId,
    pub(super) domains: &'a BTreeMap<u16, Described>,
}

/// What there is to know of a domain that makes no difference to the machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Described {
    pub(super) vcpus: u32,
    /// The memory that the toolstack has given it, in bytes.
    pub(super) memory: u64,
}

impl privcmd::Hypercalls for Caller<'_> {
    fn caller(&self) -> u16 {
        self.domain.0
    }

    fn is_privileged(&self) -> bool {
        self.domain == DomainId::ZERO
    }

    fn domain_from(&self, first: u16) -> Option<privcmd::DomainInfo> {
        let id = self.xen.domains().find(|id| id.0 >= first)?;
        let described = self.domains.get(&id.0)?;
        let pages = described.memory / ioctlab_kernel::PAGE_SIZE;
        let dying = self.xen.is_dying(id).unwrap_or(false);
        // Whoever asks is running; what the others do just now isn't simulated.
        let activity =
            if id == self.domain { privcmd::DomainInfo::RUNNING } else { privcmd::DomainInfo::BLOCKED };
        Some(privcmd::DomainInfo {
            domain: id.0,
            flags: activity | if dying { privcmd::DomainInfo::DYING } else { 0 },
            pages,
            max_pages: pages,
            online_vcpus: described.vcpus,
            max_vcpu: described.vcpus.saturating_sub(1),
            ..privcmd::DomainInfo::default()
        })
    }

    fn port_status(&self, domain: u16, port: u32) -> Result<privcmd::PortStatus, Errno> {
        let status = self.xen.status(self.domain, DomainId(domain), Port(port))?;
        let state = match status.binding {
            None => privcmd::PortState::Closed,
            Some(Binding::Unbound { remote }) => privcmd::PortState::Unbound { remote: remote.0 },
            Some(Binding::Interdomain { remote, port }) => {
                privcmd::PortState::Interdomain { remote: remote.0, port: port.0 }
            }
            Some(Binding::Pirq(irq)) => privcmd::PortState::Pirq(irq),
            Some(Binding::Virq(virq)) => privcmd::PortState::Virq(virq.number()),
            Some(Binding::Ipi) => privcmd::PortState::Ipi,
        };
        Ok(privcmd::PortStatus { state, vcpu: status.vcpu.0 })
    }
}
