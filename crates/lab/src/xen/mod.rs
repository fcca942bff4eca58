//! The wiring of a Xen host: one hypervisor, and for each domain a Linux kernel's drivers.

mod guest;
mod hypercalls;
mod nodes;
mod setup;
mod store;
mod subsystem;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ioctlab_abi::Errno;
use ioctlab_kernel::{FileId, Frame, MachineMemory, MappingId, Node};
use ioctlab_xen::{AfterTake, Binding, DomainId, Hypervisor, Port, VcpuId, Virq};
use {ioctlab_evtchn as evtchn, ioctlab_xenbus as xenbus};

use crate::config;
use guest::{Grants, Guest, port};
use hypercalls::Described;
use nodes::Device;
use setup::{Host, Kernel};
use store::Ring;

/// How often a guest's kernel looks at its store's ring before it waits for the next event.
const STORE_ROUNDS: usize = 4;

/// Something done to the Xen host from outside of its domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XenRequest {
    /// Raise a VIRQ.
    RaiseVirq {
        /// The domain that it is raised in.
        domain: u16,
        /// Which VIRQ, by name or number.
        virq: String,
        /// On which vcpu; 0 for VIRQs that are not per vcpu.
        vcpu: u32,
    },
}

/// A Xen host with the drivers of its domains' kernels. Shared between the kernel that serves calls and the outside.
pub(crate) struct XenHost(Arc<Mutex<State>>);

struct State {
    xen: Hypervisor,
    memory: Box<dyn MachineMemory>,
    kernels: BTreeMap<u16, Kernel>,
    domains: BTreeMap<u16, Described>,
    files: BTreeMap<FileId, Opened>,
    mappings: BTreeMap<MappingId, Opened>,
    abi: evtchn::ChannelAbi,
    /// The domains besides domain 0, for whichever store there is.
    guests: Vec<xenbus::Guest>,
    toolstack: xenbus::Toolstack,
    /// The store's end of its connection to domain 0, by which one store is told from the next.
    store: Option<Port>,
}

/// Which domain's kernel an open file belongs to, and which of its devices.
#[derive(Clone, Copy)]
struct Opened {
    domain: u16,
    device: Device,
}

impl XenHost {
    /// Sets up the host that a lab file describes.
    ///
    /// # Errors
    /// A sentence that says which domain can't be had, and why.
    pub(crate) fn new(config: &config::Xen, memory: Box<dyn MachineMemory>) -> Result<Self, String> {
        let Host { xen, kernels, domains, guests, abi } = Host::new(config)?;
        Ok(Self(Arc::new(Mutex::new(State {
            xen,
            memory,
            kernels,
            domains,
            files: BTreeMap::new(),
            mappings: BTreeMap::new(),
            abi,
            toolstack: xenbus::Toolstack::new(&guests),
            guests,
            store: None,
        }))))
    }

    /// The same host, to be acted on from outside.
    pub(crate) fn handle(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// The nodes that its kernels have.
    pub(crate) fn nodes(config: &config::Xen, subsystem: usize) -> Vec<Node> {
        nodes::nodes(config, subsystem)
    }

    /// Does something from outside.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(crate) fn act(&self, request: &XenRequest) -> Result<(), String> {
        match request {
            XenRequest::RaiseVirq { domain, virq, vcpu } => {
                let parsed: Virq = virq.parse().map_err(|error| format!("`{virq}`: {error}"))?;
                let mut state = self.lock();
                let result = state.xen.raise_virq(DomainId(*domain), parsed, VcpuId(*vcpu));
                state.settle();
                result.map_err(|refused| format!("VIRQ {parsed} of domain {domain}: {refused}"))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn opened(&self, file: FileId) -> Result<Opened, Errno> {
        self.files.get(&file).copied().ok_or(Errno::EBADF)
    }

    fn kernel(&self, file: FileId) -> Option<(&Kernel, Device)> {
        let opened = self.files.get(&file)?;
        Some((self.kernels.get(&opened.domain)?, opened.device))
    }

    /// Lets `act` call the event-channel driver of a domain.
    fn with_evtchn<T>(
        &mut self,
        domain: u16,
        act: impl FnOnce(&mut evtchn::Driver, &mut Guest<'_>) -> T,
    ) -> Option<T> {
        let kernel = self.kernels.get_mut(&domain)?;
        let mut guest = Guest { xen: &mut self.xen, domain: DomainId(domain), abi: self.abi };
        Some(act(&mut kernel.evtchn, &mut guest))
    }

    /// Lets `act` call one of the grant drivers of a domain, with what these need.
    fn with_grants<T>(
        &mut self,
        domain: u16,
        act: impl FnOnce(&mut Drivers<'_>, &mut Grants<'_>) -> T,
    ) -> Option<T> {
        let kernel = self.kernels.get_mut(&domain)?;
        let guest = Guest { xen: &mut self.xen, domain: DomainId(domain), abi: self.abi };
        let mut grants = Grants { guest, memory: &*self.memory, evtchn: &mut kernel.evtchn };
        let mut drivers = Drivers { gntdev: &mut kernel.gntdev, gntalloc: &mut kernel.gntalloc };
        Some(act(&mut drivers, &mut grants))
    }

    /// Does what the last call has brought about: hands the hypervisor's upcalls to the kernels that they are for, and takes
    /// care of pages that nobody has any more, until nothing is left.
    fn settle(&mut self) {
        while let Some((domain, upcall)) = self.xen.next_upcall() {
            // Linux masks the port and takes the event before it runs the handler.
            let taken = self.xen.take(domain, upcall, AfterTake::Masked);
            let Some(kernel) = self.kernels.get_mut(&domain.0).filter(|_| taken == Ok(true)) else {
                continue;
            };
            if kernel.store.is_some_and(|store| store.port == upcall) {
                // A handler of the kernel's own, which is done with the event when it has run.
                let _ = self.xen.unmask(domain, upcall);
                self.talk_to_store(domain.0);
            } else {
                let mut guest = Guest { xen: &mut self.xen, domain, abi: self.abi };
                kernel.evtchn.interrupt(port(upcall), &mut guest);
            }
        }
        while let Some(mfn) = self.xen.next_freed() {
            self.memory.scrub(Frame(mfn.0));
        }
        // A store that ends says nothing.
        if self.store.is_some() && self.store_port().is_none() {
            self.store = None;
        }
    }

    /// A domain's kernel moves what there is between its store and its programs.
    fn talk_to_store(&mut self, domain: u16) {
        let introduces = domain == 0 && self.notice_store();
        let Some(kernel) = self.kernels.get_mut(&domain) else { return };
        let Some(connection) = kernel.store else { return };
        let mut ring =
            Ring { xen: &mut self.xen, memory: &*self.memory, domain: DomainId(domain), connection };
        for _ in 0..STORE_ROUNDS {
            let more = kernel.bus.interrupt(&mut ring);
            if introduces {
                self.toolstack.advance(&mut kernel.bus);
            }
            if !more && !kernel.bus.has_unsent() {
                break;
            }
        }
    }

    /// Whether domain 0 has a store. A new one is told of the domains anew.
    fn notice_store(&mut self) -> bool {
        let store = self.store_port();
        if store.is_some() && store != self.store {
            self.toolstack = xenbus::Toolstack::new(&self.guests);
        }
        self.store = store;
        store.is_some()
    }

    /// The store's end of its connection to domain 0.
    fn store_port(&self) -> Option<Port> {
        let connection = self.kernels.get(&0)?.store?;
        match self.xen.status(DomainId::ZERO, DomainId::ZERO, connection.port).ok()?.binding? {
            Binding::Interdomain { port, .. } => Some(port),
            _ => None,
        }
    }

    /// Sends what a program has had queued for its domain's store.
    fn send_to_store(&mut self, domain: u16) {
        if self.kernels.get(&domain).is_some_and(|kernel| kernel.bus.has_unsent()) {
            self.talk_to_store(domain);
        }
    }
}

/// A domain's grant drivers.
struct Drivers<'a> {
    gntdev: &'a mut ioctlab_gntdev::Driver,
    gntalloc: &'a mut ioctlab_gntalloc::Driver,
}
