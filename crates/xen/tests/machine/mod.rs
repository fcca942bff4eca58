//! The machine that tests of grants begin with.

use ioctlab_xen::{DomainId, DomainParams, GrantAccess, GrantRef, Hypervisor, MachineMemory, Mfn, PAGE_SIZE};

pub(crate) const ZERO: DomainId = DomainId(0);
pub(crate) const ONE: DomainId = DomainId(1);
pub(crate) const TWO: DomainId = DomainId(2);
pub(crate) const ABSENT: DomainId = DomainId(5);

/// Bytes of a few pages.
pub(crate) struct Bytes(pub(crate) Vec<[u8; PAGE_SIZE]>);

impl Bytes {
    /// Each page filled with its number.
    pub(crate) fn numbered() -> Self {
        Self((0..16).map(|page| [page; PAGE_SIZE]).collect())
    }
}

impl MachineMemory for Bytes {
    fn read(&mut self, mfn: Mfn, offset: usize, to: &mut [u8]) {
        to.copy_from_slice(&self.0[mfn.0 as usize][offset..][..to.len()]);
    }

    fn write(&mut self, mfn: Mfn, offset: usize, from: &[u8]) {
        self.0[mfn.0 as usize][offset..][..from.len()].copy_from_slice(from);
    }
}

/// Domains 0 (privileged), 1 and 2, and page 0, which is domain 1's; 1 and 2, which are domain 0's; and 3, domain 2's.
pub(crate) fn machine() -> Hypervisor {
    let mut xen = Hypervisor::new();
    xen.create(ZERO, DomainParams { kernel_ports: vec![], ..DomainParams::dom0() }).unwrap();
    for id in [ONE, TWO] {
        xen.create(id, DomainParams::bare()).unwrap();
    }
    assert_eq!(xen.allocate_pages(ONE, 1), Ok(vec![Mfn(0)]));
    assert_eq!(xen.allocate_pages(ZERO, 2), Ok(vec![Mfn(1), Mfn(2)]));
    assert_eq!(xen.allocate_pages(TWO, 1), Ok(vec![Mfn(3)]));
    xen
}

/// Domain 1 grants its page to domain 0.
pub(crate) fn granted(xen: &mut Hypervisor, access: GrantAccess) -> GrantRef {
    xen.grant_foreign_access(ONE, ZERO, Mfn(0), access).unwrap()
}
