//! A simulated Xen hypervisor, as far as event channels go: the machine behind `/dev/xen/evtchn`.
//!
//! [`Hypervisor`] owns the domains, their port tables, the event bits that it shares with each guest, and one queue of
//! upcalls. Its calls are the event-channel hypercalls with the prefix dropped (`EVTCHNOP_bind_virq` is
//! [`Hypervisor::bind_virq`]), with the rules, the order of checks and the error numbers of Xen 4.17
//! (`common/event_channel.c`); where a doc comment says "Xen", that is the version it means.
//!
//! # How events reach a guest
//! Each port has a pending and a masked bit. Raising a port sets pending; if that bit was clear and the port isn't masked,
//! the port joins the queue of upcalls, once. Nothing calls back: the layer above drains [`Hypervisor::next_upcall`].
//! A Linux guest then masks the port and clears pending in one step ([`Hypervisor::take`]), runs the handler, and unmasks
//! at its (perhaps late) end of interrupt ([`Hypervisor::unmask`]); whatever was raised meanwhile is delivered then, once.
//!
//! ```
//! use ioctlab_xen::{AfterTake, DomainId, DomainParams, Hypervisor};
//!
//! let mut xen = Hypervisor::new();
//! let (dom0, dom1) = (DomainId(0), DomainId(1));
//! xen.create(dom0, DomainParams::dom0())?;
//! xen.create(dom1, DomainParams::guest())?;
//!
//! let server = xen.alloc_unbound(dom1, DomainId::SELF, dom0)?;
//! let client = xen.bind_interdomain(dom0, dom1, server)?;
//! assert_eq!(xen.next_upcall(), Some((dom0, client)), "binding always raises the local port");
//!
//! xen.send(dom0, client)?;
//! assert_eq!(xen.next_upcall(), Some((dom1, server)));
//! assert!(xen.take(dom1, server, AfterTake::Masked)?);
//! xen.send(dom0, client)?;
//! xen.send(dom0, client)?;
//! assert_eq!(xen.next_upcall(), None, "the port is masked");
//! xen.unmask(dom1, server)?;
//! assert_eq!(xen.next_upcall(), Some((dom1, server)), "two sends are one event");
//! # Ok::<(), ioctlab_xen::Refused>(())
//! ```
//!
//! # Limits and cost
//! Memory grows and shrinks with the ports in use, whatever their numbers; the upcall queue never holds more entries than
//! there are ports. Every call takes logarithmic time in domains and ports, but for those that close many ports at once.
//! No allocation has a size that a client chooses.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;

mod bind;
mod channel;
mod close;
mod deliver;
mod domain;
mod free;
mod guest;
mod hypervisor;
mod ids;
mod params;
mod ports;
mod query;
mod refused;
mod upcalls;
mod virq;

pub use channel::Binding;
pub use guest::{AfterTake, EventBits};
pub use hypervisor::{GlobalVirqs, Hypervisor};
pub use ids::{DomainId, Port, VcpuId};
pub use params::{Abi, DomainParams, FreshPorts, KernelPort};
pub use query::{PortReport, Status};
pub use refused::Refused;
pub use virq::{ParseVirqError, Virq, VirqScope};
