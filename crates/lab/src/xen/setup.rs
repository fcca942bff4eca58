//! From a lab file's `[xen]` to a hypervisor with its domains, and a kernel for each of them.

use std::collections::BTreeMap;

use ioctlab_kernel::Frame;
use ioctlab_xen::{
    Abi, Binding, DomainId, DomainParams, FreshPorts, GrantAccess, GrantRef, GrantVersion, Hypervisor,
    KernelPort, Port, Refused, VcpuId, VirqScope,
};
use {
    ioctlab_evtchn as evtchn, ioctlab_gntalloc as gntalloc, ioctlab_gntdev as gntdev,
    ioctlab_privcmd as privcmd, ioctlab_xenbus as xenbus,
};

use super::hypercalls::Described;
use super::store::Connection;
use crate::config;

/// The grant by which the store gets at a guest's page (`GNTTAB_RESERVED_XENSTORE`).
const STORE_GRANT: GrantRef = GrantRef(1);

/// A guest's kernel: its drivers.
pub(super) struct Kernel {
    pub(super) evtchn: evtchn::Driver,
    pub(super) gntdev: gntdev::Driver,
    pub(super) gntalloc: gntalloc::Driver,
    pub(super) privcmd: privcmd::Driver,
    pub(super) bus: xenbus::Bus,
    /// `None` if the lab file leaves its kernel no port for it.
    pub(super) store: Option<Connection>,
}

/// What a lab file describes.
pub(super) struct Host {
    pub(super) xen: Hypervisor,
    pub(super) kernels: BTreeMap<u16, Kernel>,
    pub(super) domains: BTreeMap<u16, Described>,
    pub(super) guests: Vec<xenbus::Guest>,
    pub(super) abi: evtchn::ChannelAbi,
}

impl Host {
    /// # Errors
    /// A sentence that says which domain can't be had, and why.
    pub(super) fn new(config: &config::Xen) -> Result<Self, String> {
        let mut host = Self {
            xen: Hypervisor::new(),
            kernels: BTreeMap::new(),
            domains: BTreeMap::new(),
            guests: Vec::new(),
            abi: match config.event_channels {
                config::EventChannels::TwoLevel => evtchn::ChannelAbi::TwoLevel,
                config::EventChannels::Fifo => evtchn::ChannelAbi::Fifo,
            },
        };
        host.xen.set_machine_pages(config.machine_memory / ioctlab_kernel::PAGE_SIZE);
        for domain in &config.domains {
            host.add(config, domain).map_err(|problem| format!("domain {}: {problem}", domain.id))?;
        }
        Ok(host)
    }

    fn add(&mut self, config: &config::Xen, domain: &config::Domain) -> Result<(), String> {
        let id = DomainId(domain.id);
        let refused = |refused: Refused| refused.to_string();
        self.xen.create(id, params(config, domain)).map_err(refused)?;
        let mut evtchn = evtchn::Driver::new();
        for port in 1..=domain.kernel_ports {
            evtchn.claim_for_kernel(evtchn::Port(port)).map_err(|errno| errno.to_string())?;
        }
        let store = self.connect_to_store(id).map_err(refused)?;
        let kernel = Kernel {
            evtchn,
            gntdev: gntdev::Driver::new(config.gntdev_limit),
            gntalloc: gntalloc::Driver::new(config.gntalloc_limit),
            privcmd: privcmd::Driver::new(),
            bus: xenbus::Bus::new(store.map_or(0, |store| store.port.0)),
            store,
        };
        self.kernels.insert(domain.id, kernel);
        self.domains.insert(domain.id, Described { vcpus: domain.vcpus, memory: domain.memory });
        if let Some(store) = store.filter(|_| id != DomainId::ZERO) {
            self.guests.push(xenbus::Guest {
                domain: domain.id,
                name: domain.name.clone().unwrap_or_else(|| format!("domain-{}", domain.id)),
                store_frame: store.page.0,
                store_port: store.port.0,
            });
        }
        Ok(())
    }

    /// Gives a domain the page that it shares with the store, which runs in domain 0, by the port that was set aside.
    ///
    /// # Errors
    /// [`Refused::OutOfMemory`].
    fn connect_to_store(&mut self, id: DomainId) -> Result<Option<Connection>, Refused> {
        let is_stores = |binding| binding == Binding::Unbound { remote: DomainId::ZERO };
        let Some(port) =
            self.xen.ports(id)?.find(|report| is_stores(report.binding)).map(|report| report.port)
        else {
            return Ok(None);
        };
        let page = *self.xen.allocate_pages(id, 1)?.first().ok_or(Refused::OutOfMemory)?;
        if id != DomainId::ZERO {
            self.xen.grant_at(id, STORE_GRANT, DomainId::ZERO, page, GrantAccess::ReadWrite)?;
        }
        self.xen.unmask(id, port)?;
        Ok(Some(Connection { page: Frame(page.0), port }))
    }
}

fn params(config: &config::Xen, domain: &config::Domain) -> DomainParams {
    let mut kernel_ports = Vec::new();
    for virq in &domain.kernel_virqs {
        let vcpus = if virq.scope() == VirqScope::Vcpu { domain.vcpus } else { 1 };
        kernel_ports.extend((0..vcpus).map(|vcpu| KernelPort::Virq(*virq, VcpuId(vcpu))));
    }
    // One of the others is for xenstore. What the rest is for makes no difference to programs.
    if (kernel_ports.len() as u32) < domain.kernel_ports {
        kernel_ports.push(KernelPort::Unbound(DomainId::ZERO));
    }
    kernel_ports.resize(domain.kernel_ports as usize, KernelPort::Ipi(VcpuId::ZERO));
    DomainParams {
        abi: match config.event_channels {
            config::EventChannels::TwoLevel => Abi::TwoLevel,
            config::EventChannels::Fifo => Abi::Fifo,
        },
        max_port: domain.max_event_channel_port.map(Port),
        vcpus: domain.vcpus,
        privileged: domain.id == 0,
        fresh_ports: FreshPorts::Masked,
        kernel_ports,
        max_grant_frames: domain.max_grant_frames,
        max_maptrack_frames: domain.max_maptrack_frames,
        grant_version: match domain.grant_version {
            config::GrantTableVersion::V1 => GrantVersion::V1,
            config::GrantTableVersion::V2 => GrantVersion::V2,
        },
    }
}
