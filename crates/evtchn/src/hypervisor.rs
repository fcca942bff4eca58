//! What the driver needs of Xen, as one guest sees it.

use ioctlab_chardev::Errno;

/// An event channel's number within a guest (`evtchn_port_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u32);

/// How guest and hypervisor share the state of event channels, which bounds the ports there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelAbi {
    /// Two levels of bit maps: 4096 channels on x86-64.
    TwoLevel,
    /// FIFO queues: up to 131072 channels, in pages of 1024 that the guest adds as it needs them.
    Fifo,
}

impl ChannelAbi {
    /// The number of ports that can exist (`xen_evtchn_max_channels`).
    pub const fn max_channels(self) -> u32 {
        match self {
            Self::TwoLevel => 4096,
            Self::Fifo => 131_072,
        }
    }
}

/// The hypervisor's event channels, as one guest sees them (`EVTCHNOP_*`, and the mask bits that guest and Xen share).
///
/// A port has a pending and a mask bit. The platform raises an upcall when a port becomes both pending and unmasked, and
/// clears the pending bit as the upcall is handed over, so that a port has at most one upcall under way. Whoever runs the
/// driver feeds each upcall to [`Driver::interrupt`](crate::Driver::interrupt), after the call that brought it about.
pub trait Hypervisor {
    /// Binds a fresh port to a virtual interrupt (`EVTCHNOP_bind_virq`). Neither number is checked before.
    ///
    /// # Errors
    /// Xen's: `EINVAL` for an unknown VIRQ or one that the vcpu can't have, `EEXIST` if it is bound already, `ENOSPC`.
    fn bind_virq(&mut self, virq: u32, vcpu: u32) -> Result<Port, Errno>;

    /// Binds a fresh port to a remote domain's unbound port, and makes it pending (`EVTCHNOP_bind_interdomain`).
    ///
    /// # Errors
    /// Xen's: `ESRCH` for a missing domain, `EINVAL` for a port that is not there for this guest, `ENOSPC`.
    fn bind_interdomain(&mut self, remote_domain: u16, remote_port: u32) -> Result<Port, Errno>;

    /// Allocates a port of this guest for a remote domain to bind to (`EVTCHNOP_alloc_unbound`, of `DOMID_SELF`).
    ///
    /// # Errors
    /// Xen's: `ENOSPC` if the guest is out of ports.
    fn alloc_unbound(&mut self, remote_domain: u16) -> Result<Port, Errno>;

    /// Closes a port, and drops its pending bit and an upcall that is under way (`EVTCHNOP_close`). It can't fail for a
    /// port that the guest has; if the guest doesn't, nothing happens.
    fn close(&mut self, port: Port);

    /// Notifies a port's remote end (`EVTCHNOP_send`). The driver ignores the result.
    ///
    /// # Errors
    /// Xen's: `EINVAL` for a port that can't be sent to.
    fn send(&mut self, port: Port) -> Result<(), Errno>;

    /// Sets a port's mask bit. The port is below [`Hypervisor::max_channels`], allocated or not.
    fn mask(&mut self, port: Port);

    /// Clears a port's mask bit; if the port was masked and is pending, its upcall is raised (`EVTCHNOP_unmask`).
    /// The port is below [`Hypervisor::max_channels`], allocated or not, masked or not.
    fn unmask(&mut self, port: Port);

    /// The ABI that guest and hypervisor agreed on; it doesn't change.
    fn abi(&self) -> ChannelAbi;

    /// The number of ports that can exist: 4096 with two levels, 131072 with FIFO queues.
    fn max_channels(&self) -> u32 {
        self.abi().max_channels()
    }
}
