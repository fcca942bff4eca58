//! The wiring of a Xen host: one hypervisor, and for each domain a Linux kernel's drivers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ioctlab_abi::Errno;
use ioctlab_evtchn as evtchn;
use ioctlab_kernel::{
    Access, CallResult, DeviceNumber, FileId, Node, Opener, PollEvents, Request, Subsystem, UserMemory,
    UserPtr,
};
use ioctlab_xen::{
    Abi, AfterTake, DomainId, DomainParams, FreshPorts, Hypervisor, KernelPort, Port, Refused, VcpuId, Virq,
    VirqScope,
};

use crate::{config, kernel_log};

/// Linux's major number of miscellaneous devices.
const MISC_MAJOR: u32 = 10;
/// Linux's major number of `/dev/null` and its like, and its minor number of `/dev/kmsg`.
const MEMORY_MAJOR: u32 = 1;
const KMSG_MINOR: u32 = 11;

/// The subsystem's own numbers of its devices.
const EVTCHN: u32 = 0;
const KMSG: u32 = 1;

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
    guests: BTreeMap<u16, evtchn::Driver>,
    files: BTreeMap<FileId, Opened>,
    abi: evtchn::ChannelAbi,
}

/// Which domain's kernel an open file belongs to, and which of its devices.
#[derive(Clone, Copy)]
struct Opened {
    domain: u16,
    device: u32,
}

impl XenHost {
    /// Sets up the host that a lab file describes.
    ///
    /// # Errors
    /// A sentence that says which domain can't be had, and why.
    pub(crate) fn new(config: &config::Xen) -> Result<Self, String> {
        let mut xen = Hypervisor::new();
        let mut guests = BTreeMap::new();
        for domain in &config.domains {
            let problem = |refused: Refused| format!("domain {}: {refused}", domain.id);
            xen.create(DomainId(domain.id), params(config, domain)).map_err(problem)?;
            let mut driver = evtchn::Driver::new();
            for port in 1..=domain.kernel_ports {
                driver
                    .claim_for_kernel(evtchn::Port(port))
                    .map_err(|errno| format!("domain {}: {errno}", domain.id))?;
            }
            guests.insert(domain.id, driver);
        }
        let abi = match config.event_channels {
            config::EventChannels::TwoLevel => evtchn::ChannelAbi::TwoLevel,
            config::EventChannels::Fifo => evtchn::ChannelAbi::Fifo,
        };
        Ok(Self(Arc::new(Mutex::new(State { xen, guests, files: BTreeMap::new(), abi }))))
    }

    /// The same host, to be acted on from outside.
    pub(crate) fn handle(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// The nodes that its kernels have.
    pub(crate) fn nodes(config: &config::Xen, subsystem: usize) -> Vec<Node> {
        let mut nodes = vec![Node {
            path: "/dev/xen/evtchn".into(),
            number: DeviceNumber { major: MISC_MAJOR, minor: config.evtchn_minor },
            permissions: 0o600,
            subsystem,
            device: EVTCHN,
        }];
        if config.console_to_ring {
            nodes.push(Node {
                path: "/dev/kmsg".into(),
                number: DeviceNumber { major: MEMORY_MAJOR, minor: KMSG_MINOR },
                permissions: 0o644,
                subsystem,
                device: KMSG,
            });
        }
        nodes
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
                state.deliver();
                result.map_err(|refused| format!("VIRQ {parsed} of domain {domain}: {refused}"))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn params(config: &config::Xen, domain: &config::Domain) -> DomainParams {
    let mut kernel_ports = Vec::new();
    for virq in &domain.kernel_virqs {
        let vcpus = if virq.scope() == VirqScope::Vcpu { domain.vcpus } else { 1 };
        kernel_ports.extend((0..vcpus).map(|vcpu| KernelPort::Virq(*virq, VcpuId(vcpu))));
    }
    // What else the guest's kernel holds makes no difference to programs but for the numbers that are taken.
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
        // No driver of grants is there yet.
        max_grant_frames: 64,
        max_maptrack_frames: 1024,
        grant_version: ioctlab_xen::GrantVersion::V1,
    }
}

/// The hypervisor as one domain's kernel sees it.
struct Guest<'a> {
    xen: &'a mut Hypervisor,
    domain: DomainId,
    abi: evtchn::ChannelAbi,
}

impl evtchn::Hypervisor for Guest<'_> {
    fn bind_virq(&mut self, virq: u32, vcpu: u32) -> Result<evtchn::Port, Errno> {
        let virq = Virq::try_from(virq).map_err(|_| Errno::EINVAL)?;
        Ok(port(self.xen.bind_virq(self.domain, virq, VcpuId(vcpu))?))
    }

    fn bind_interdomain(&mut self, remote_domain: u16, remote_port: u32) -> Result<evtchn::Port, Errno> {
        Ok(port(self.xen.bind_interdomain(self.domain, DomainId(remote_domain), Port(remote_port))?))
    }

    fn alloc_unbound(&mut self, remote_domain: u16) -> Result<evtchn::Port, Errno> {
        Ok(port(self.xen.alloc_unbound(self.domain, DomainId::SELF, DomainId(remote_domain))?))
    }

    fn close(&mut self, port: evtchn::Port) {
        // The guest may have bound a port that Xen doesn't know of (statically): then there is nothing to close.
        let _ = self.xen.close(self.domain, Port(port.0));
    }

    fn send(&mut self, port: evtchn::Port) -> Result<(), Errno> {
        Ok(self.xen.send(self.domain, Port(port.0))?)
    }

    fn mask(&mut self, port: evtchn::Port) {
        let _ = self.xen.mask(self.domain, Port(port.0));
    }

    fn unmask(&mut self, port: evtchn::Port) {
        let _ = self.xen.unmask(self.domain, Port(port.0));
    }

    fn abi(&self) -> evtchn::ChannelAbi {
        self.abi
    }
}

fn port(port: Port) -> evtchn::Port {
    evtchn::Port(port.0)
}

impl State {
    /// The driver and the hypervisor of the domain that a file belongs to.
    fn guest(&mut self, file: FileId) -> Result<(&mut evtchn::Driver, Guest<'_>), Errno> {
        let domain = self.files.get(&file).filter(|open| open.device == EVTCHN).ok_or(Errno::EBADF)?.domain;
        let driver = self.guests.get_mut(&domain).ok_or(Errno::ENXIO)?;
        Ok((driver, Guest { xen: &mut self.xen, domain: DomainId(domain), abi: self.abi }))
    }

    fn driver(&self, file: FileId) -> Option<&evtchn::Driver> {
        self.guests.get(&self.files.get(&file).filter(|open| open.device == EVTCHN)?.domain)
    }

    /// Hands the hypervisor's upcalls to the kernels that they are for, until none is left.
    fn deliver(&mut self) {
        while let Some((domain, upcall)) = self.xen.next_upcall() {
            // Linux masks the port and takes the event before it runs the handler.
            let taken = self.xen.take(domain, upcall, AfterTake::Masked);
            if let (Ok(true), Some(driver)) = (taken, self.guests.get_mut(&domain.0)) {
                let mut guest = Guest { xen: &mut self.xen, domain, abi: self.abi };
                driver.interrupt(port(upcall), &mut guest);
            }
        }
    }
}

impl Subsystem for XenHost {
    fn open(&mut self, device: u32, file: FileId, access: Access, opener: Opener) -> Result<(), Errno> {
        let mut state = self.lock();
        // A domain that the lab doesn't have has no kernel with these drivers in it.
        let driver = state.guests.get_mut(&opener.domain).ok_or(Errno::ENXIO)?;
        match device {
            EVTCHN => driver.open(file),
            _ => kernel_log::open(access)?,
        }
        state.files.insert(file, Opened { domain: opener.domain, device });
        Ok(())
    }

    fn release(&mut self, file: FileId) {
        let mut state = self.lock();
        if let Ok((driver, mut guest)) = state.guest(file) {
            driver.release(file, &mut guest);
        }
        state.files.remove(&file);
        state.deliver();
    }

    fn read(
        &mut self,
        file: FileId,
        to: UserPtr,
        count: usize,
        memory: &mut dyn UserMemory,
    ) -> CallResult<usize> {
        self.lock().guest(file)?.0.read(file, to, count, memory)
    }

    fn write(
        &mut self,
        file: FileId,
        from: UserPtr,
        count: usize,
        memory: &mut dyn UserMemory,
    ) -> CallResult<usize> {
        let mut state = self.lock();
        if let Some(log) = state.files.get(&file).copied().filter(|open| open.device == KMSG) {
            let message = kernel_log::write(from, count, memory)?;
            if message.is_shown() && log.domain == 0 {
                // Xen puts what domain 0 prints into its console ring; nobody need listen.
                let _ = state.xen.raise_global_virq(Virq::CON_RING);
                state.deliver();
            }
            return Ok(count);
        }
        let (driver, mut guest) = state.guest(file)?;
        let result = driver.write(file, from, count, memory, &mut guest);
        state.deliver();
        result
    }

    fn ioctl(
        &mut self,
        file: FileId,
        request: Request,
        argument: u64,
        memory: &mut dyn UserMemory,
    ) -> CallResult<i64> {
        let mut state = self.lock();
        if state.files.get(&file).is_some_and(|open| open.device == KMSG) {
            return Err(Errno::ENOTTY.into());
        }
        let (driver, mut guest) = state.guest(file)?;
        let result = driver.ioctl(file, request, argument, memory, &mut guest);
        state.deliver();
        result
    }

    fn poll(&self, file: FileId) -> PollEvents {
        self.lock().driver(file).map_or(PollEvents::default(), |driver| driver.poll(file))
    }

    fn unread(&self, file: FileId) -> usize {
        self.lock().driver(file).map_or(0, |driver| driver.unread(file) * PORT)
    }

    fn would_read(&self, file: FileId, count: usize) -> usize {
        let state = self.lock();
        let Some(driver) = state.driver(file).filter(|driver| !driver.is_overflowed(file)) else { return 0 };
        (count.min(evtchn::MAX_TRANSFER) / PORT).min(driver.unread(file)) * PORT
    }

    fn peek(&self, file: FileId, to: &mut [u8]) -> usize {
        self.lock().driver(file).map_or(0, |driver| driver.peek(file, 0, to))
    }

    fn consume(&mut self, file: FileId, bytes: usize) {
        if let Ok((driver, _)) = self.lock().guest(file) {
            driver.consume(file, bytes / PORT);
        }
    }

    fn next_changed(&mut self) -> Option<FileId> {
        self.lock().guests.values_mut().find_map(evtchn::Driver::next_growth)
    }
}

/// A port in the stream, in bytes.
const PORT: usize = ioctlab_abi::evtchn::PORT_SIZE;
