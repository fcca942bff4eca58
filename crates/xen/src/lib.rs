//! A simulated Xen hypervisor, as far as event channels and grant tables go: the machine behind `/dev/xen/evtchn`,
//! `/dev/xen/gntdev` and `/dev/xen/gntalloc`.
//!
//! [`Hypervisor`] owns the domains, their port tables, the event bits that it shares with each guest, one queue of upcalls,
//! the pages of machine memory (not their bytes), and each domain's grant table and mappings. Its calls are the hypercalls
//! with the prefix dropped (`EVTCHNOP_bind_virq` is [`Hypervisor::bind_virq`], `GNTTABOP_map_grant_ref` is
//! [`Hypervisor::map_grant_ref`]), with the rules, the order of checks, the error numbers and the grant statuses of Xen 4.17
//! (`common/event_channel.c`, `common/grant_table.c`); where a doc comment says "Xen", that is the version it means. What a
//! guest does to its own grant table is no hypercall; it is done as Linux 6.12 does it.
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
//! # How memory is shared
//! A domain grants a page ([`Hypervisor::grant_foreign_access`]), tells another domain the reference, and that one maps it
//! ([`Hypervisor::map_grant_ref`]) or copies from and to it ([`Hypervisor::grant_copy`]). A page lives until its owner and
//! all mappings have let go of it; then the layer above, which has the bytes, drains it from [`Hypervisor::next_freed`]
//! and scrubs it.
//!
//! ```
//! use ioctlab_xen::{DomainId, DomainParams, EndOfAccess, GrantAccess, Hypervisor};
//!
//! let mut xen = Hypervisor::new();
//! let (dom0, dom1) = (DomainId(0), DomainId(1));
//! xen.create(dom0, DomainParams::dom0())?;
//! xen.create(dom1, DomainParams::guest())?;
//!
//! let page = xen.allocate_pages(dom1, 1)?[0];
//! let reference = xen.grant_foreign_access(dom1, dom0, page, GrantAccess::ReadWrite)?;
//! let mapped = xen.map_grant_ref(dom0, dom1, reference, GrantAccess::ReadWrite).unwrap();
//! assert_eq!(mapped.mfn, page);
//!
//! assert_eq!(xen.end_foreign_access(dom1, reference, Some(page))?, EndOfAccess::Deferred);
//! assert_eq!(xen.retry_deferred(dom1), 1, "still mapped");
//! xen.unmap_grant_ref(dom0, mapped.handle).unwrap();
//! assert_eq!(xen.retry_deferred(dom1), 0);
//! assert_eq!(xen.next_freed(), Some(page));
//! # Ok::<(), ioctlab_xen::Refused>(())
//! ```
//!
//! # Limits and cost
//! Memory grows and shrinks with the ports, pages, grants and mappings in use, whatever their numbers; what remains after
//! them are lists of free references and handles, within each domain's limits. The upcall queue never holds more entries
//! than there are ports. Every call takes logarithmic time, but for those that end many things at once, and
//! [`Hypervisor::allocate_pages`] for more than one page, which looks at each length of free runs. The one allocation whose
//! size a client chooses, that call's, can fail.
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
mod copy;
mod deliver;
mod domain;
mod free;
mod free_frames;
mod grant_entry;
mod grant_query;
mod grant_status;
mod grant_table;
mod granter;
mod guest;
mod hypervisor;
mod ids;
mod map;
mod maptrack;
mod memory;
mod params;
mod ports;
mod query;
mod refused;
mod upcalls;
mod virq;

pub use channel::Binding;
pub use copy::CopyEnd;
pub use grant_entry::{Grant, GrantAccess, GrantTarget};
pub use grant_query::{GrantReport, GrantTableSize};
pub use grant_status::GrantStatus;
pub use grant_table::GrantVersion;
pub use granter::EndOfAccess;
pub use guest::{AfterTake, EventBits};
pub use hypervisor::{GlobalVirqs, Hypervisor};
pub use ids::{DomainId, GrantHandle, GrantRef, Mfn, Port, VcpuId};
pub use map::MappedGrant;
pub use memory::{MachineMemory, PAGE_SIZE};
pub use params::{Abi, DomainParams, FreshPorts, KernelPort};
pub use query::{PortReport, Status};
pub use refused::Refused;
pub use virq::{ParseVirqError, Virq, VirqScope};
