//! One domain: its parameters and limits, its ports, and what raises them.

use crate::channel::{Binding, Channel};
use crate::ports::{PortTable, Vacancy};
use crate::{Abi, DomainParams, FreshPorts, KernelPort, Port, Refused, VcpuId, Virq, VirqScope};
use alloc::collections::BTreeMap;

/// Most vcpus that any domain can have on x86 (`MAX_VIRT_CPUS`).
const MAX_VCPUS: u32 = 8192;

/// Event words in a page of the FIFO ABI's event array.
const ARRAY_PAGE: u32 = 1024;

/// An interrupt that can be bound to one port only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Virq(Virq, VcpuId),
    Pirq(u32),
}

impl Source {
    /// A VIRQ as its domain files it: all but per-vcpu ones under vcpu 0, wherever their events go.
    pub(crate) fn virq(virq: Virq, vcpu: VcpuId) -> Self {
        match virq.scope() {
            VirqScope::Vcpu => Self::Virq(virq, vcpu),
            VirqScope::Domain | VirqScope::Global => Self::Virq(virq, VcpuId::ZERO),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Domain {
    pub(crate) abi: Abi,
    pub(crate) privileged: bool,
    pub(crate) paused: bool,
    pub(crate) dying: bool,
    pub(crate) ports: PortTable,
    /// Pages of the event array, while the ABI is FIFO.
    array_pages: u32,
    max_port: Option<Port>,
    vcpus: u32,
    fresh_ports: FreshPorts,
    bound: BTreeMap<Source, Port>,
}

impl Domain {
    /// A domain whose kernel has bound its ports.
    ///
    /// # Errors
    /// [`Refused::BadVcpuCount`], or what a binding is refused with.
    pub(crate) fn new(params: DomainParams) -> Result<Self, Refused> {
        Self::check_vcpus(params.vcpus)?;
        let mut domain = Self {
            abi: params.abi,
            privileged: params.privileged,
            paused: false,
            dying: false,
            ports: PortTable::new(),
            array_pages: 0,
            max_port: params.max_port,
            vcpus: params.vcpus,
            fresh_ports: params.fresh_ports,
            bound: BTreeMap::new(),
        };
        let mut highest = Port(0);
        for port in params.kernel_ports {
            highest = domain.bind_for_kernel(port)?;
        }
        // The guest has expanded its event array as far as its own ports need.
        domain.array_pages = (highest.0 / ARRAY_PAGE).saturating_add(1);
        Ok(domain)
    }

    /// # Errors
    /// [`Refused::BadVcpuCount`].
    pub(crate) fn check_vcpus(count: u32) -> Result<(), Refused> {
        if count == 0 || count > MAX_VCPUS { Err(Refused::BadVcpuCount) } else { Ok(()) }
    }

    fn bind_for_kernel(&mut self, port: KernelPort) -> Result<Port, Refused> {
        match port {
            KernelPort::Virq(virq, vcpu) => self.bind_virq(virq, vcpu),
            KernelPort::Ipi(vcpu) => self.bind_ipi(vcpu),
            KernelPort::Pirq(irq) => self.bind_source(Source::Pirq(irq), Binding::Pirq(irq), VcpuId::ZERO),
            KernelPort::Unbound(remote) => {
                let vacancy = self.vacancy()?;
                Ok(self.fill(vacancy, Binding::Unbound { remote }, VcpuId::ZERO))
            }
        }
    }

    /// Binds a VIRQ of this domain, whoever its handler is.
    pub(crate) fn bind_virq(&mut self, virq: Virq, vcpu: VcpuId) -> Result<Port, Refused> {
        self.check_virq_vcpu(virq, vcpu)?;
        self.bind_source(Source::virq(virq, vcpu), Binding::Virq(virq), vcpu)
    }

    pub(crate) fn bind_ipi(&mut self, vcpu: VcpuId) -> Result<Port, Refused> {
        self.check_vcpu(vcpu)?;
        let vacancy = self.vacancy()?;
        Ok(self.fill(vacancy, Binding::Ipi, vcpu))
    }

    fn bind_source(&mut self, source: Source, binding: Binding, vcpu: VcpuId) -> Result<Port, Refused> {
        if self.bound.contains_key(&source) {
            return Err(Refused::AlreadyBound);
        }
        let vacancy = self.vacancy()?;
        let port = self.fill(vacancy, binding, vcpu);
        self.bound.insert(source, port);
        Ok(port)
    }

    /// The port that an interrupt raises.
    pub(crate) fn port_of(&self, source: Source) -> Option<Port> {
        self.bound.get(&source).copied()
    }

    /// The lowest free port (`get_free_port`).
    ///
    /// # Errors
    /// [`Refused::Dying`], then [`Refused::NoFreePort`].
    pub(crate) fn vacancy(&mut self) -> Result<Vacancy, Refused> {
        if self.dying {
            return Err(Refused::Dying);
        }
        let last = Port(self.abi.channels().saturating_sub(1));
        self.ports.vacancy(self.max_port.map_or(last, |own| own.min(last)))
    }

    /// Puts a port to use for the guest.
    pub(crate) fn fill(&mut self, vacancy: Vacancy, binding: Binding, vcpu: VcpuId) -> Port {
        let masked = self.fresh_ports == FreshPorts::Masked;
        self.ports.fill(vacancy, Channel::new(binding, vcpu, masked))
    }

    /// Frees a port, and the interrupt that was bound to it.
    pub(crate) fn free(&mut self, port: Port) -> Option<Channel> {
        let channel = self.ports.remove(port)?;
        match channel.binding {
            Binding::Virq(virq) => self.bound.remove(&Source::virq(virq, channel.vcpu)),
            Binding::Pirq(irq) => self.bound.remove(&Source::Pirq(irq)),
            Binding::Unbound { .. } | Binding::Interdomain { .. } | Binding::Ipi => None,
        };
        Some(channel)
    }

    /// # Errors
    /// [`Refused::NoSuchVcpu`] at or above the domain's count.
    pub(crate) fn check_vcpu(&self, vcpu: VcpuId) -> Result<(), Refused> {
        if vcpu.0 < self.vcpus { Ok(()) } else { Err(Refused::NoSuchVcpu) }
    }

    /// # Errors
    /// [`Refused::Vcpu0Only`] for other than per-vcpu VIRQs, then [`Refused::NoSuchVcpu`].
    pub(crate) fn check_virq_vcpu(&self, virq: Virq, vcpu: VcpuId) -> Result<(), Refused> {
        if virq.scope() != VirqScope::Vcpu && vcpu != VcpuId::ZERO {
            return Err(Refused::Vcpu0Only);
        }
        self.check_vcpu(vcpu)
    }

    /// How many channels the guest has room for, so that ports at or above are out of range to it.
    pub(crate) fn nr_channels(&self) -> u32 {
        match self.abi {
            Abi::TwoLevel => self.abi.channels(),
            Abi::Fifo => self.array_pages.saturating_mul(ARRAY_PAGE),
        }
    }

    /// Adds a page to the event array.
    pub(crate) fn expand_array(&mut self) -> Result<(), Refused> {
        if self.abi != Abi::Fifo {
            return Err(Refused::NotFifo);
        }
        if self.nr_channels() >= self.abi.channels() {
            return Err(Refused::ArrayFull);
        }
        self.array_pages = self.array_pages.saturating_add(1);
        Ok(())
    }

    /// Switches ABIs. An event array starts without pages.
    pub(crate) fn use_abi(&mut self, abi: Abi) {
        self.abi = abi;
        self.array_pages = 0;
    }
}
