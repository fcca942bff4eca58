//! The hypervisor: which domains there are, and who handles the machine's VIRQs.

use crate::domain::Domain;
use crate::map::Grants;
use crate::memory::Memory;
use crate::upcalls::Upcalls;
use crate::{Abi, DomainId, DomainParams, Refused, Virq, VirqScope};
use alloc::collections::BTreeMap;

/// Who may bind a global VIRQ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GlobalVirqs {
    /// Any domain; only the handler's is ever raised. Xen up to 4.20.
    #[default]
    BoundByAny,
    /// Its handler only; others are refused with `EBUSY`. Later versions of Xen.
    BoundByHandler,
}

/// A simulated Xen hypervisor: domains, and the event channels and grants between them.
///
/// Calls name their caller first. The caller is a domain by its own number, not [`DomainId::SELF`]; one that doesn't exist
/// is refused with [`Refused::NoSuchDomain`], or [`GrantStatus::BadDomain`](crate::GrantStatus::BadDomain), before all else.
#[derive(Debug)]
pub struct Hypervisor {
    pub(crate) domains: BTreeMap<DomainId, Domain>,
    pub(crate) upcalls: Upcalls,
    pub(crate) global_virqs: GlobalVirqs,
    /// The handlers that were set; domain 0 handles the rest.
    handlers: BTreeMap<Virq, DomainId>,
    pub(crate) memory: Memory,
    /// Of every domain, and of those that are gone but for their pages.
    pub(crate) grants: BTreeMap<DomainId, Grants>,
}

impl Default for Hypervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl Hypervisor {
    /// A machine without domains, with the rules of Xen 4.17.
    pub const fn new() -> Self {
        Self::with_global_virqs(GlobalVirqs::BoundByAny)
    }

    /// A machine without domains, with a choice of the rule that has changed since.
    pub const fn with_global_virqs(rule: GlobalVirqs) -> Self {
        Self {
            domains: BTreeMap::new(),
            upcalls: Upcalls::new(),
            global_virqs: rule,
            handlers: BTreeMap::new(),
            memory: Memory::new(),
            grants: BTreeMap::new(),
        }
    }

    /// Creates a domain, whose kernel binds its own ports at once (`XEN_DOMCTL_createdomain`). It has no pages yet.
    ///
    /// # Errors
    /// [`Refused::ReservedDomain`]; [`Refused::DomainExists`], also if it is gone but for pages that others have mapped;
    /// [`Refused::BadVcpuCount`]; [`Refused::BadGrantFrames`]; or, for the kernel's ports, what a binding is refused with.
    pub fn create(&mut self, id: DomainId, params: DomainParams) -> Result<(), Refused> {
        if id.is_reserved() {
            return Err(Refused::ReservedDomain);
        }
        if self.grants.contains_key(&id) {
            return Err(Refused::DomainExists);
        }
        Domain::check_vcpus(params.vcpus)?;
        let grants = Grants::new(&params)?;
        self.domains.insert(id, Domain::new(params)?);
        self.grants.insert(id, grants);
        Ok(())
    }

    /// Starts a domain's end (`XEN_DOMCTL_destroydomain`, first part): its ports stay, but it gets no more of them. For good.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`].
    pub fn begin_dying(&mut self, id: DomainId) -> Result<(), Refused> {
        self.domain_mut(id)?.dying = true;
        Ok(())
    }

    /// Ends a domain (`XEN_DOMCTL_destroydomain`, the rest): unmaps what it has mapped; closes all its ports, Xen's own
    /// included, so that each peer reverts to awaiting this domain's number; gives the VIRQs that it handles back to domain
    /// 0; lets go of its pages; and raises [`Virq::DOM_EXC`] there, which Xen does when the domain is gone.
    ///
    /// Pages that others have mapped remain, and its grant table with them, until they are unmapped; see
    /// [`Hypervisor::is_zombie`].
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`].
    pub fn destroy(&mut self, id: DomainId) -> Result<(), Refused> {
        self.begin_dying(id)?;
        self.release_mappings(id);
        self.close_all(id)?;
        self.handlers.retain(|_, handler| *handler != id);
        self.domains.remove(&id);
        self.abandon_memory(id);
        // Xen doesn't mind if nobody listens.
        let _ = self.raise_global_virq(Virq::DOM_EXC);
        Ok(())
    }

    /// Pauses a domain, or lets it run again (`XEN_DOMCTL_pausedomain`). Events are delivered all the same; what it changes
    /// here is only that others may [`Hypervisor::reset`] it.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`].
    pub fn set_paused(&mut self, id: DomainId, paused: bool) -> Result<(), Refused> {
        self.domain_mut(id)?.paused = paused;
        Ok(())
    }

    /// Makes a domain the handler of a global VIRQ (`XEN_DOMCTL_set_virq_handler`). Ports that are bound to it stay so.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`], [`Refused::NotGlobal`].
    pub fn set_global_virq_handler(&mut self, id: DomainId, virq: Virq) -> Result<(), Refused> {
        self.domain(id)?;
        if virq.scope() != VirqScope::Global {
            return Err(Refused::NotGlobal);
        }
        self.handlers.insert(virq, id);
        Ok(())
    }

    /// The domain that a global VIRQ goes to, or would if it existed: domain 0 unless set otherwise.
    pub fn global_virq_handler(&self, virq: Virq) -> DomainId {
        self.handlers.get(&virq).copied().unwrap_or(DomainId::ZERO)
    }

    /// Switches the caller to the FIFO ABI, with an event array of no pages (`EVTCHNOP_init_control`). Its ports keep their
    /// bindings and bits. Nothing happens if it uses FIFO already.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`].
    pub fn init_control(&mut self, caller: DomainId) -> Result<(), Refused> {
        let domain = self.domain_mut(caller)?;
        if domain.abi != Abi::Fifo {
            domain.use_abi(Abi::Fifo);
        }
        Ok(())
    }

    /// Adds a page, for 1024 more channels, to the caller's event array (`EVTCHNOP_expand_array`). Linux does so until there
    /// is room for the port that it is setting up; see [`Hypervisor::nr_channels`]. Events don't wait for it here.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`], [`Refused::NotFifo`], [`Refused::ArrayFull`] at 131072 channels.
    pub fn expand_array(&mut self, caller: DomainId) -> Result<(), Refused> {
        self.domain_mut(caller)?.expand_array()
    }

    /// # Errors
    /// [`Refused::NoSuchDomain`].
    pub(crate) fn domain(&self, id: DomainId) -> Result<&Domain, Refused> {
        self.domains.get(&id).ok_or(Refused::NoSuchDomain)
    }

    /// # Errors
    /// [`Refused::NoSuchDomain`].
    pub(crate) fn domain_mut(&mut self, id: DomainId) -> Result<&mut Domain, Refused> {
        self.domains.get_mut(&id).ok_or(Refused::NoSuchDomain)
    }

    /// Whether the caller may act on another domain (`XSM_TARGET` of Xen's default policy, without stub domains).
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`] for the caller, [`Refused::NotPrivileged`].
    pub(crate) fn check_control(&self, caller: DomainId, target: DomainId) -> Result<(), Refused> {
        if caller == target || self.domain(caller)?.privileged { Ok(()) } else { Err(Refused::NotPrivileged) }
    }
}
