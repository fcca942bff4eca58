//! What the driver needs of Xen, as one guest sees it.

use crate::DomainInfo;
use ioctlab_chardev::Errno;

/// What a port is bound to (`EVTCHNSTAT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// It is free.
    Closed,
    /// It waits for a domain to bind to it.
    Unbound {
        /// The domain.
        remote: u16,
    },
    /// It is bound to another domain's.
    Interdomain {
        /// The domain.
        remote: u16,
        /// Its port.
        port: u32,
    },
    /// A physical interrupt.
    Pirq(u32),
    /// A virtual interrupt.
    Virq(u32),
    /// An interrupt between vcpus.
    Ipi,
}

/// A port's status (`EVTCHNOP_status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortStatus {
    /// What it is bound to.
    pub state: PortState,
    /// The vcpu that its events go to.
    pub vcpu: u32,
}

/// The hypervisor, as one guest sees it.
pub trait Hypercalls {
    /// The guest's own number.
    fn caller(&self) -> u16;

    /// Whether the guest is the control domain.
    fn is_privileged(&self) -> bool;

    /// The domain with this number, or the one with the next higher.
    fn domain_from(&self, first: u16) -> Option<DomainInfo>;

    /// A port's status. `DOMID_SELF` is the guest itself.
    ///
    /// # Errors
    /// Xen's: `ESRCH`, `EINVAL`, `EPERM` for another domain than the guest's own if it isn't privileged.
    fn port_status(&self, domain: u16, port: u32) -> Result<PortStatus, Errno>;

    /// A parameter of an HVM guest, below 39: 1 is the frame of the page that it shares with the store, 2 its port for
    /// the store. `None` for a domain that is no HVM guest. The domain exists, and the guest may know.
    fn hvm_param(&self, domain: u16, index: u32) -> Option<u64> {
        let _ = (domain, index);
        None
    }
}

/// The calling domain, as an argument, where Xen allows it (`DOMID_SELF`); the first number that no domain has, too.
pub(crate) const DOMID_SELF: u16 = 0x7ff0;
/// Xen's own pseudo domains, which pages may be mapped of (`DOMID_IO`, `DOMID_XEN`).
const PSEUDO_DOMAINS: [u16; 2] = [0x7ff1, 0x7ff2];

impl dyn Hypercalls + '_ {
    /// The domain with this very number (`rcu_lock_domain_by_id`).
    pub(crate) fn domain(&self, number: u16) -> Option<DomainInfo> {
        self.domain_from(number).filter(|info| info.domain == number)
    }

    /// Why a frame of a domain can't be mapped (`do_mmu_update`): there is none.
    pub(crate) fn refused_frame(&self, domain: u16) -> Errno {
        let exists = PSEUDO_DOMAINS.contains(&domain) || self.domain(domain).is_some();
        match (exists && domain != self.caller(), self.is_privileged()) {
            (false, _) => Errno::ESRCH,
            (true, false) => Errno::EPERM,
            (true, true) => Errno::EINVAL,
        }
    }

    /// Another domain than the guest's own (`rcu_lock_remote_domain_by_id`).
    ///
    /// # Errors
    /// `ESRCH`, then `EPERM`.
    pub(crate) fn remote_domain(&self, number: u16) -> Result<DomainInfo, Errno> {
        let info = self.domain(number).ok_or(Errno::ESRCH)?;
        if number == self.caller() { Err(Errno::EPERM) } else { Ok(info) }
    }
}
