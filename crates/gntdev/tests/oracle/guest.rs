//! A guest's kernel, but for its drivers of grants: pages, grants (to itself, as it is alone), and event channels.

use std::collections::BTreeMap;

use ioctlab_chardev::{Errno, Frame};
use ioctlab_evtchn::{self as evtchn, Hypervisor, Port};
use ioctlab_gntalloc::PageOwner;
use ioctlab_gntdev::{GrantTable, Location, Status};

use crate::channels::Channels;
use crate::client::PAGE;

/// This domain. As a grant's owner it must go by its number.
const SELF: u16 = 0;
const KERNEL_PORTS: u32 = 14;

/// A grant.
#[derive(Debug)]
struct Grant {
    remote: u16,
    read_only: bool,
    frame: u64,
    /// How many times it is mapped.
    mapped: usize,
    /// Its end has come while it was mapped: the kernel tries again later, which here it never is.
    has_ended: bool,
}

#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) evtchn: evtchn::Driver,
    pub(crate) xen: Channels,
    pub(crate) pages: BTreeMap<u64, Vec<u8>>,
    grants: BTreeMap<u32, Grant>,
    handles: BTreeMap<u32, u32>,
    next: u32,
}

impl Guest {
    pub(crate) fn new() -> Self {
        let mut evtchn = evtchn::Driver::new();
        for port in 0..KERNEL_PORTS {
            evtchn.claim_for_kernel(Port(port)).unwrap();
        }
        let xen = Channels::new(KERNEL_PORTS);
        let (pages, grants, handles) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { evtchn, xen, pages, grants, handles, next: 7 }
    }

    /// Hands over what interrupts are due.
    pub(crate) fn pump(&mut self) {
        while let Some(port) = self.xen.next_upcall() {
            self.evtchn.interrupt(port, &mut self.xen);
        }
    }

    /// Nothing is mapped, and nothing granted but what the kernel has yet to try again.
    pub(crate) fn is_clean(&self) {
        assert_eq!((self.handles.len(), self.xen.count()), (0, 0));
        assert!(self.grants.values().all(|grant| grant.has_ended && grant.mapped == 0), "{self:?}");
        assert_eq!(self.grants.len(), self.pages.len());
    }

    fn grant(&mut self, domain: u16, reference: u32, writes: bool) -> Result<&mut Grant, Status> {
        if domain != SELF {
            return Err(Status(-2));
        }
        let grant = self.grants.get_mut(&reference).ok_or(Status(-3))?;
        if grant.remote != SELF || writes && grant.read_only {
            return Err(Status(-1));
        }
        Ok(grant)
    }

    fn bytes(&mut self, at: Location, length: usize, writes: bool) -> Result<&mut [u8], Status> {
        let frame = self.grant(at.domain, at.reference, writes)?.frame;
        let start = usize::from(at.offset);
        Ok(&mut self.pages.get_mut(&frame).unwrap()[start..start + length])
    }
}

impl GrantTable for Guest {
    fn map(&mut self, domain: u16, reference: u32, read_only: bool) -> Result<(u32, Frame), Status> {
        let grant = self.grant(domain, reference, !read_only)?;
        grant.mapped += 1;
        let frame = Frame(grant.frame);
        self.next += 1;
        self.handles.insert(self.next, reference);
        Ok((self.next, frame))
    }

    fn unmap(&mut self, handle: u32) {
        let reference = self.handles.remove(&handle).expect("a handle is unmapped once");
        self.grants.get_mut(&reference).unwrap().mapped -= 1;
    }

    fn clear_byte(&mut self, frame: Frame, offset: u16) {
        self.pages.get_mut(&frame.0).expect("a page that is there")[usize::from(offset)] = 0;
    }

    fn copy_from(&mut self, source: Location, to: &mut [u8]) -> Result<(), Status> {
        to.copy_from_slice(self.bytes(source, to.len(), false)?);
        Ok(())
    }

    fn copy_to(&mut self, dest: Location, from: &[u8]) -> Result<(), Status> {
        self.bytes(dest, from.len(), true)?.copy_from_slice(from);
        Ok(())
    }

    fn copy_between(&mut self, source: Location, dest: Location, length: u16) -> Result<(), Status> {
        let bytes = self.bytes(source, length.into(), false)?.to_vec();
        self.copy_to(dest, &bytes)
    }

    fn hold_port(&mut self, port: u32) -> Result<(), Errno> {
        self.evtchn.hold_port(Port(port))
    }

    fn let_port_go(&mut self, port: u32) {
        self.evtchn.let_port_go(Port(port), &mut self.xen);
    }

    fn notify(&mut self, port: u32) {
        self.xen.send(Port(port)).expect("a port that is there");
    }
}

impl PageOwner for Guest {
    fn share(&mut self, remote: u16, read_only: bool) -> Result<(u32, Frame), Errno> {
        self.next += 1;
        let frame = 1000 + u64::from(self.next);
        self.pages.insert(frame, vec![0; PAGE]);
        self.grants.insert(self.next, Grant { remote, read_only, frame, mapped: 0, has_ended: false });
        Ok((self.next, Frame(frame)))
    }

    fn end_access(&mut self, reference: u32, frame: Frame) {
        let grant = self.grants.get_mut(&reference).unwrap();
        assert_eq!(grant.frame, frame.0);
        assert!(!std::mem::replace(&mut grant.has_ended, true), "access ends once");
        if grant.mapped == 0 {
            self.grants.remove(&reference);
            self.pages.remove(&frame.0);
        }
    }

    fn clear_byte(&mut self, frame: Frame, offset: u16) {
        GrantTable::clear_byte(self, frame, offset);
    }

    fn hold_port(&mut self, port: u32) -> Result<(), Errno> {
        GrantTable::hold_port(self, port)
    }

    fn let_port_go(&mut self, port: u32) {
        GrantTable::let_port_go(self, port);
    }

    fn notify(&mut self, port: u32) {
        GrantTable::notify(self, port);
    }
}
