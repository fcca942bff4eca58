//! How a guest's drivers see the hypervisor and the guest's own memory.

use ioctlab_abi::Errno;
use ioctlab_kernel::{Frame, MachineMemory};
use ioctlab_xen::{
    CopyEnd, DomainId, GrantAccess, GrantHandle, GrantRef, GrantStatus, Hypervisor, Mfn, Port, VcpuId, Virq,
};
use {ioctlab_evtchn as evtchn, ioctlab_gntalloc as gntalloc, ioctlab_gntdev as gntdev};

/// The hypervisor, as one domain's kernel sees it.
pub(super) struct Guest<'a> {
    pub(super) xen: &'a mut Hypervisor,
    pub(super) domain: DomainId,
    pub(super) abi: evtchn::ChannelAbi,
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

pub(super) fn port(port: Port) -> evtchn::Port {
    evtchn::Port(port.0)
}

/// What the grant drivers see: the hypervisor, machine memory, and the guest's event channels.
pub(super) struct Grants<'a> {
    pub(super) guest: Guest<'a>,
    pub(super) memory: &'a dyn MachineMemory,
    pub(super) evtchn: &'a mut evtchn::Driver,
}

impl Grants<'_> {
    fn clear(&mut self, frame: Frame, offset: u16) {
        self.memory.write(frame, offset.into(), &[0]);
    }

    fn hold(&mut self, port: u32) -> Result<(), Errno> {
        self.evtchn.hold_port(evtchn::Port(port))
    }

    fn let_go(&mut self, port: u32) {
        self.evtchn.let_port_go(evtchn::Port(port), &mut self.guest);
    }

    fn send(&mut self, port: u32) {
        // `notify_remote_via_evtchn` drops what the hypercall returns.
        let _ = self.guest.xen.send(self.guest.domain, Port(port));
    }
}

impl gntdev::GrantTable for Grants<'_> {
    fn map(&mut self, domain: u16, reference: u32, read_only: bool) -> Result<(u32, Frame), gntdev::Status> {
        let access = if read_only { GrantAccess::ReadOnly } else { GrantAccess::ReadWrite };
        let Guest { xen, domain: own, .. } = &mut self.guest;
        let mapped =
            xen.map_grant_ref(*own, DomainId(domain), GrantRef(reference), access).map_err(status)?;
        Ok((mapped.handle.0, Frame(mapped.mfn.0)))
    }

    fn unmap(&mut self, handle: u32) {
        // It can't fail for a handle that was given.
        let _ = self.guest.xen.unmap_grant_ref(self.guest.domain, GrantHandle(handle));
    }

    fn clear_byte(&mut self, frame: Frame, offset: u16) {
        self.clear(frame, offset);
    }

    fn copy_from(&mut self, source: gntdev::Location, to: &mut [u8]) -> Result<(), gntdev::Status> {
        let (domain, reference) = (DomainId(source.domain), GrantRef(source.reference));
        let Guest { xen, domain: own, .. } = &mut self.guest;
        xen.grant_read(*own, domain, reference, source.offset, to, &mut Bytes(self.memory)).map_err(status)
    }

    fn copy_to(&mut self, dest: gntdev::Location, from: &[u8]) -> Result<(), gntdev::Status> {
        let (domain, reference) = (DomainId(dest.domain), GrantRef(dest.reference));
        let Guest { xen, domain: own, .. } = &mut self.guest;
        xen.grant_write(*own, domain, reference, dest.offset, from, &mut Bytes(self.memory)).map_err(status)
    }

    fn copy_between(
        &mut self,
        source: gntdev::Location,
        dest: gntdev::Location,
        length: u16,
    ) -> Result<(), gntdev::Status> {
        let end = |at: gntdev::Location| CopyEnd::Grant {
            domain: DomainId(at.domain),
            reference: GrantRef(at.reference),
            offset: at.offset,
        };
        let Guest { xen, domain: own, .. } = &mut self.guest;
        xen.grant_copy(*own, end(source), end(dest), length, &mut Bytes(self.memory)).map_err(status)
    }

    fn hold_port(&mut self, port: u32) -> Result<(), Errno> {
        self.hold(port)
    }

    fn let_port_go(&mut self, port: u32) {
        self.let_go(port);
    }

    fn notify(&mut self, port: u32) {
        self.send(port);
    }
}

impl gntalloc::PageOwner for Grants<'_> {
    fn share(&mut self, remote: u16, read_only: bool) -> Result<(u32, Frame), Errno> {
        let access = if read_only { GrantAccess::ReadOnly } else { GrantAccess::ReadWrite };
        let Guest { xen, domain: own, .. } = &mut self.guest;
        let pages = xen.allocate_pages(*own, 1)?;
        let mfn = *pages.first().ok_or(Errno::ENOMEM)?;
        match xen.grant_foreign_access(*own, DomainId(remote), mfn, access) {
            Ok(reference) => Ok((reference.0, Frame(mfn.0))),
            Err(refused) => {
                let _ = xen.release_page(*own, mfn);
                Err(refused.into())
            }
        }
    }

    fn end_access(&mut self, reference: u32, frame: Frame) {
        // It can't fail for a grant that the guest has made. If it is in use, the guest's kernel tries again later.
        let page = Some(Mfn(frame.0));
        let _ = self.guest.xen.end_foreign_access(self.guest.domain, GrantRef(reference), page);
    }

    fn clear_byte(&mut self, frame: Frame, offset: u16) {
        self.clear(frame, offset);
    }

    fn hold_port(&mut self, port: u32) -> Result<(), Errno> {
        self.hold(port)
    }

    fn let_port_go(&mut self, port: u32) {
        self.let_go(port);
    }

    fn notify(&mut self, port: u32) {
        self.send(port);
    }
}

fn status(status: GrantStatus) -> gntdev::Status {
    gntdev::Status(status.code())
}

/// Machine memory, as the machine sees it.
struct Bytes<'a>(&'a dyn MachineMemory);

impl ioctlab_xen::MachineMemory for Bytes<'_> {
    fn read(&mut self, mfn: Mfn, offset: usize, to: &mut [u8]) {
        self.0.read(Frame(mfn.0), offset, to);
    }

    fn write(&mut self, mfn: Mfn, offset: usize, from: &[u8]) {
        self.0.write(Frame(mfn.0), offset, from);
    }
}
