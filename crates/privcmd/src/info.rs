//! What Xen tells of a domain (`xen_domctl_getdomaininfo`).

use ioctlab_chardev::layout::put;

/// The size of what it is copied as, in bytes.
pub(crate) const INFO_SIZE: usize = 112;

/// A domain, as the control domain's tools see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DomainInfo {
    /// Its number.
    pub domain: u16,
    /// [`DomainInfo::DYING`] and others; in bits 16 to 23 the reason for its shutdown.
    pub flags: u32,
    /// Pages that it has.
    pub pages: u64,
    /// Pages that it may have.
    pub max_pages: u64,
    /// The frame of the page that it shares with Xen.
    pub shared_info_frame: u64,
    /// How long it has run, in nanoseconds.
    pub cpu_time: u64,
    /// Vcpus that are on line.
    pub online_vcpus: u32,
    /// The highest number of a vcpu.
    pub max_vcpu: u32,
    /// Its UUID.
    pub handle: [u8; 16],
    /// The width of its addresses, in bits.
    pub address_bits: u8,
}

impl DomainInfo {
    /// It is being destroyed.
    pub const DYING: u32 = 1;
    /// It is an HVM guest.
    pub const HVM: u32 = 2;
    /// It has shut down.
    pub const SHUTDOWN: u32 = 4;
    /// It is paused.
    pub const PAUSED: u32 = 8;
    /// All its vcpus wait for something.
    pub const BLOCKED: u32 = 0x10;
    /// One of its vcpus runs.
    pub const RUNNING: u32 = 0x20;

    pub(crate) fn to_bytes(self) -> [u8; INFO_SIZE] {
        let mut bytes = [0; INFO_SIZE];
        put(&mut bytes, 0, &self.domain.to_ne_bytes());
        put(&mut bytes, 4, &self.flags.to_ne_bytes());
        put(&mut bytes, 8, &self.pages.to_ne_bytes());
        put(&mut bytes, 16, &self.max_pages.to_ne_bytes());
        put(&mut bytes, 48, &self.shared_info_frame.to_ne_bytes());
        put(&mut bytes, 56, &self.cpu_time.to_ne_bytes());
        put(&mut bytes, 64, &self.online_vcpus.to_ne_bytes());
        put(&mut bytes, 68, &self.max_vcpu.to_ne_bytes());
        put(&mut bytes, 76, &self.handle);
        put(&mut bytes, 96, &[self.address_bits]);
        bytes
    }
}
