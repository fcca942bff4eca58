//! What a domain is created with.

use crate::{DomainId, GrantVersion, Port, VcpuId, Virq};
use alloc::vec::Vec;

/// Which of Xen's two event-channel ABIs a domain uses: how many channels it can have, and how it learns of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    /// The original: two levels of bitmaps in the shared-info page. Every domain starts, and after a reset restarts, so.
    TwoLevel,
    /// The FIFO ABI: linked lists in an event array that the guest provides page by page (Linux's choice).
    Fifo,
}

impl Abi {
    /// How many channels there can be, port 0 included: 4096 or 131072 (for a 64-bit guest).
    pub const fn channels(self) -> u32 {
        match self {
            Self::TwoLevel => 4096,
            Self::Fifo => 1 << 17,
        }
    }
}

/// The masked bit of a port that has just been bound.
///
/// Xen leaves that bit to the guest, also over a close. Here a free port has no bits: closing forgets them, and binding
/// starts them as the guest's kernel would have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FreshPorts {
    /// The event that a binding raises is queued at once: for a guest without a kernel of its own to unmask its ports.
    #[default]
    Unmasked,
    /// Nothing is queued until the guest unmasks the port: Linux masks all ports at boot, and each again before closing it.
    Masked,
}

/// A port that the guest's own kernel binds before anyone else can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelPort {
    /// Bound to a VIRQ on a vcpu.
    Virq(Virq, VcpuId),
    /// For interrupts between vcpus, going to this one.
    Ipi(VcpuId),
    /// Bound to a physical interrupt of this number.
    Pirq(u32),
    /// Awaiting a binding by this domain (the toolstack makes two: for xenstore and for the console).
    Unbound(DomainId),
}

/// What a domain is created with (`XEN_DOMCTL_createdomain`, and what its kernel then does before any user can).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainParams {
    /// The event-channel ABI that its kernel sets up.
    pub abi: Abi,
    /// The highest port it may use (`max_evtchn_port`); `None` leaves it to the ABI.
    pub max_port: Option<Port>,
    /// How many vcpus it has: 1 to 8192.
    pub vcpus: u32,
    /// Whether it may act on other domains (`is_privileged`), as the control domain may.
    pub privileged: bool,
    /// How ports start.
    pub fresh_ports: FreshPorts,
    /// The ports its kernel binds first, in this order, so from port 1 up.
    pub kernel_ports: Vec<KernelPort>,
    /// How many frames its grant table may grow to (`max_grant_frames`), at least 1.
    pub max_grant_frames: u32,
    /// How many frames it may use to keep track of what it has mapped (`max_maptrack_frames`), 256 grants in each.
    pub max_maptrack_frames: u32,
    /// The layout of grant table that its kernel sets up.
    pub grant_version: GrantVersion,
}

impl DomainParams {
    /// A guest as the toolstack makes them: FIFO, ports up to 1023 (`max_event_channels`), one vcpu, no privilege. Ports 1
    /// and 2 await domain 0 for xenstore and the console; then come the kernel's timer and IPIs, so that 8 is a user's first.
    /// Grant table and mappings have Xen's defaults (64 and 1024 frames), and version 1.
    pub fn guest() -> Self {
        let mut kernel_ports = Vec::from([KernelPort::Unbound(DomainId::ZERO); 2]);
        kernel_ports.push(KernelPort::Virq(Virq::TIMER, VcpuId::ZERO));
        kernel_ports.extend([KernelPort::Ipi(VcpuId::ZERO); 4]);
        Self {
            abi: Abi::Fifo,
            max_port: Some(Port(1023)),
            vcpus: 1,
            privileged: false,
            fresh_ports: FreshPorts::Unmasked,
            kernel_ports,
            max_grant_frames: 64,
            max_maptrack_frames: 1024,
            grant_version: GrantVersion::V1,
        }
    }

    /// Domain 0 as the oracle's was (Linux 6.12, PV, one vcpu): FIFO, no limit but the ABI's, privileged; its kernel holds
    /// VIRQs 0, 2, 9 and 16, and 13 ports in all, so that 14 is a user's first. What its other nine are bound to, the
    /// oracle can't tell: here xenstore, four IPIs and four interrupts of a PC.
    pub fn dom0() -> Self {
        let mut kernel_ports = Vec::from([KernelPort::Virq(Virq::TIMER, VcpuId::ZERO)]);
        kernel_ports.extend([KernelPort::Ipi(VcpuId::ZERO); 4]);
        kernel_ports.extend(
            [Virq::CONSOLE, Virq::PCPU_STATE, Virq::ARCH_0].map(|virq| KernelPort::Virq(virq, VcpuId::ZERO)),
        );
        kernel_ports.push(KernelPort::Unbound(DomainId::ZERO));
        kernel_ports.extend([4, 8, 9, 12].map(KernelPort::Pirq));
        Self { max_port: None, privileged: true, kernel_ports, ..Self::guest() }
    }

    /// A domain whose kernel holds no ports, otherwise like [`DomainParams::guest`].
    pub fn bare() -> Self {
        Self { kernel_ports: Vec::new(), ..Self::guest() }
    }
}
