//! The numbers that Xen names things by.

use core::fmt;

/// A domain's number (`domid_t`).
///
/// Any 16-bit value can be named in a call; only those below [`DomainId::FIRST_RESERVED`] can belong to a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(pub u16);

impl DomainId {
    /// Domain 0, the control domain.
    pub const ZERO: Self = Self(0);
    /// The first number that no domain can have (`DOMID_FIRST_RESERVED`).
    pub const FIRST_RESERVED: Self = Self(0x7ff0);
    /// As an argument: the calling domain (`DOMID_SELF`, the same number).
    pub const SELF: Self = Self::FIRST_RESERVED;

    /// Whether no domain can have this number.
    pub const fn is_reserved(self) -> bool {
        self.0 >= Self::FIRST_RESERVED.0
    }

    /// The domain that this number means when `caller` says it: only [`DomainId::SELF`] means another than it says.
    pub(crate) fn resolve(self, caller: Self) -> Self {
        if self == Self::SELF { caller } else { self }
    }
}

impl fmt::Display for DomainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of an event channel within its domain (`evtchn_port_t`).
///
/// Any 32-bit value can be named in a call. Port 0 is never bound; the highest that can be is one less than the ABI's
/// number of channels, see [`Abi::channels`](crate::Abi::channels).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u32);

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a virtual CPU within its domain. Any value can be named; a domain has those below its vcpu count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VcpuId(pub u32);

impl VcpuId {
    /// The first vcpu, which every domain has, and which events go to unless told otherwise.
    pub const ZERO: Self = Self(0);
}

impl fmt::Display for VcpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A machine frame number: one page of machine memory (`mfn`).
///
/// Any value can be named in a call; the machine has those below its size, see [`Hypervisor::set_machine_pages`].
///
/// [`Hypervisor::set_machine_pages`]: crate::Hypervisor::set_machine_pages
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mfn(pub u64);

impl fmt::Display for Mfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The number of an entry in a domain's grant table (`grant_ref_t`). Any value can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantRef(pub u32);

impl GrantRef {
    /// Entries below this are the toolstack's (`GNTTAB_NR_RESERVED_ENTRIES`): 0 for the console, 1 for xenstore.
    pub const RESERVED: u32 = 8;

    /// Whether the entry is one that the guest's kernel never hands out.
    pub const fn is_reserved(self) -> bool {
        self.0 < Self::RESERVED
    }
}

impl fmt::Display for GrantRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a grant that a domain has mapped, within that domain (`grant_handle_t`). Any value can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantHandle(pub u32);

impl fmt::Display for GrantHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
