//! A Xen of one domain (number 0) that loops back to itself, and a bench that puts a driver between.

use crate::memory::Memory;
pub(crate) use crate::memory::{BAD, BASE};
use ioctlab_abi::evtchn;
use ioctlab_chardev::{CallResult, Errno, FileId, Request, Stop, UserPtr};
use ioctlab_evtchn::{ChannelAbi, Driver, Hypervisor, Port};
use std::collections::{BTreeMap, VecDeque};

/// What the driver asked of Xen, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Virq(u32, u32),
    Interdomain(u16, u32),
    Unbound(u16),
    Close(u32),
    Send(u32),
    Mask(u32),
    Unmask(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Free,
    Unbound,
    Interdomain(u32),
    Virq(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Channel {
    kind: Kind,
    pending: bool,
    masked: bool,
}

/// Fresh ports are masked, as with the FIFO ABI. Ports are given out from the lowest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FakeXen {
    pub(crate) abi: ChannelAbi,
    /// The lowest port to give out.
    pub(crate) first: u32,
    /// VIRQs that the kernel holds.
    pub(crate) kernel_virqs: Vec<u32>,
    pub(crate) asked: Vec<Asked>,
    channels: BTreeMap<u32, Channel>,
    upcalls: VecDeque<u32>,
}

impl FakeXen {
    pub(crate) fn new(abi: ChannelAbi) -> Self {
        Self {
            abi,
            first: 1,
            kernel_virqs: Vec::new(),
            asked: Vec::new(),
            channels: BTreeMap::new(),
            upcalls: VecDeque::new(),
        }
    }

    fn channel(&mut self, port: u32) -> &mut Channel {
        self.channels.entry(port).or_insert(Channel { kind: Kind::Free, pending: false, masked: true })
    }

    fn allocate(&mut self, kind: Kind) -> Port {
        let port = (self.first..).find(|port| self.channel(*port).kind == Kind::Free).unwrap();
        self.channel(port).kind = kind;
        Port(port)
    }

    pub(crate) fn is_free(&self, port: u32) -> bool {
        self.channels.get(&port).is_none_or(|channel| channel.kind == Kind::Free)
    }

    pub(crate) fn is_masked(&self, port: u32) -> bool {
        self.channels.get(&port).is_none_or(|channel| channel.masked)
    }

    pub(crate) fn raise(&mut self, port: u32) {
        let channel = self.channel(port);
        if !std::mem::replace(&mut channel.pending, true) && !channel.masked {
            self.upcalls.push_back(port);
        }
    }

    pub(crate) fn raise_virq(&mut self, virq: u32) {
        let bound = self.channels.iter().find(|(_, channel)| channel.kind == Kind::Virq(virq));
        if let Some(port) = bound.map(|(port, _)| *port) {
            self.raise(port);
        }
    }

    pub(crate) fn next_upcall(&mut self) -> Option<Port> {
        let port = self.upcalls.pop_front()?;
        self.channel(port).pending = false;
        Some(Port(port))
    }
}

impl Hypervisor for FakeXen {
    fn bind_virq(&mut self, virq: u32, vcpu: u32) -> Result<Port, Errno> {
        self.asked.push(Asked::Virq(virq, vcpu));
        if virq >= 24 {
            return Err(Errno::EINVAL);
        }
        let bound = self.channels.values().any(|channel| channel.kind == Kind::Virq(virq));
        if bound || self.kernel_virqs.contains(&virq) {
            return Err(Errno::EEXIST);
        }
        Ok(self.allocate(Kind::Virq(virq)))
    }

    fn bind_interdomain(&mut self, remote_domain: u16, remote_port: u32) -> Result<Port, Errno> {
        self.asked.push(Asked::Interdomain(remote_domain, remote_port));
        if remote_domain != 0 {
            return Err(Errno::ESRCH);
        }
        if remote_port >= self.max_channels() || self.channel(remote_port).kind != Kind::Unbound {
            return Err(Errno::EINVAL);
        }
        let port = self.allocate(Kind::Interdomain(remote_port));
        self.channel(remote_port).kind = Kind::Interdomain(port.0);
        self.raise(port.0);
        Ok(port)
    }

    fn alloc_unbound(&mut self, remote_domain: u16) -> Result<Port, Errno> {
        self.asked.push(Asked::Unbound(remote_domain));
        Ok(self.allocate(Kind::Unbound))
    }

    fn close(&mut self, port: Port) {
        self.asked.push(Asked::Close(port.0));
        let channel = self.channel(port.0);
        let kind = channel.kind;
        *channel = Channel { kind: Kind::Free, pending: false, masked: channel.masked };
        if let Kind::Interdomain(peer) = kind {
            self.channel(peer).kind = Kind::Unbound;
        }
        self.upcalls.retain(|upcall| *upcall != port.0);
    }

    fn send(&mut self, port: Port) -> Result<(), Errno> {
        self.asked.push(Asked::Send(port.0));
        match self.channel(port.0).kind {
            Kind::Interdomain(peer) => self.raise(peer),
            Kind::Unbound => {}
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    fn mask(&mut self, port: Port) {
        self.asked.push(Asked::Mask(port.0));
        assert!(port.0 < self.max_channels());
        self.channel(port.0).masked = true;
    }

    fn unmask(&mut self, port: Port) {
        self.asked.push(Asked::Unmask(port.0));
        assert!(port.0 < self.max_channels());
        let channel = self.channel(port.0);
        if std::mem::replace(&mut channel.masked, false) && channel.pending {
            self.upcalls.push_back(port.0);
        }
    }

    fn abi(&self) -> ChannelAbi {
        self.abi
    }
}

/// A driver on its Xen, and one client.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) driver: Driver,
    pub(crate) xen: FakeXen,
    pub(crate) memory: Memory,
}

pub(crate) fn failed<T>(errno: Errno) -> CallResult<T> {
    Err(Stop::Fail(errno))
}

impl Bench {
    /// A bench with files 1 and 2 open.
    pub(crate) fn new(abi: ChannelAbi) -> Self {
        let mut bench =
            Self { driver: Driver::new(), xen: FakeXen::new(abi), memory: Memory(vec![0; 2 * 4096]) };
        bench.driver.open(F);
        bench.driver.open(G);
        bench
    }

    /// Feeds all upcalls to the driver.
    pub(crate) fn pump(&mut self) {
        while let Some(port) = self.xen.next_upcall() {
            self.driver.interrupt(port, &mut self.xen);
        }
    }

    /// An ioctl whose argument lies in good memory.
    pub(crate) fn ioctl(&mut self, file: FileId, request: Request, argument: &[u8]) -> CallResult<i64> {
        self.memory.0[..argument.len()].copy_from_slice(argument);
        self.ioctl_at(file, request, BASE)
    }

    pub(crate) fn ioctl_at(&mut self, file: FileId, request: Request, argument: u64) -> CallResult<i64> {
        self.driver.ioctl(file, request, argument, &mut self.memory, &mut self.xen)
    }

    /// An ioctl with a one-word argument.
    pub(crate) fn word(&mut self, file: FileId, request: Request, argument: u32) -> CallResult<i64> {
        self.ioctl(file, request, &argument.to_ne_bytes())
    }

    pub(crate) fn unbound(&mut self, file: FileId) -> u32 {
        self.word(file, evtchn::BIND_UNBOUND_PORT, 0).unwrap() as u32
    }

    pub(crate) fn interdomain(&mut self, file: FileId, domain: u32, port: u32) -> CallResult<i64> {
        let argument = [domain.to_ne_bytes(), port.to_ne_bytes()].concat();
        self.ioctl(file, evtchn::BIND_INTERDOMAIN, &argument)
    }

    /// Two ports bound to each other, with nothing pending, both enabled, nothing to read.
    pub(crate) fn pair(&mut self, file: FileId) -> (u32, u32) {
        let a = self.unbound(file);
        let b = self.interdomain(file, 0, a).unwrap() as u32;
        self.pump();
        assert_eq!(self.read(file, 4096), Ok(vec![b]));
        assert_eq!(self.write(file, &[b]), Ok(4));
        (a, b)
    }

    pub(crate) fn notify(&mut self, file: FileId, port: u32) -> CallResult<i64> {
        self.word(file, evtchn::NOTIFY, port)
    }

    pub(crate) fn unbind(&mut self, file: FileId, port: u32) -> CallResult<i64> {
        self.word(file, evtchn::UNBIND, port)
    }

    pub(crate) fn release(&mut self, file: FileId) {
        self.driver.release(file, &mut self.xen);
    }

    pub(crate) fn read_at(&mut self, file: FileId, to: u64, count: usize) -> CallResult<usize> {
        self.driver.read(file, UserPtr(to), count, &mut self.memory)
    }

    /// Reads into good memory; the ports read.
    pub(crate) fn read(&mut self, file: FileId, count: usize) -> CallResult<Vec<u32>> {
        let len = self.read_at(file, BASE, count)?;
        Ok(ports(&self.memory.0[..len]))
    }

    pub(crate) fn write_at(&mut self, file: FileId, from: u64, count: usize) -> CallResult<usize> {
        self.driver.write(file, UserPtr(from), count, &mut self.memory, &mut self.xen)
    }

    pub(crate) fn write(&mut self, file: FileId, ports: &[u32]) -> CallResult<usize> {
        for (slot, port) in self.memory.0.chunks_mut(4).zip(ports) {
            slot.copy_from_slice(&port.to_ne_bytes());
        }
        self.write_at(file, BASE, ports.len() * 4)
    }

    pub(crate) fn wakes(&mut self) -> Vec<FileId> {
        std::iter::from_fn(|| self.driver.next_wake()).collect()
    }

    /// What the driver asked of Xen since this was last called.
    pub(crate) fn asked(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.xen.asked)
    }
}

pub(crate) const F: FileId = FileId(1);
pub(crate) const G: FileId = FileId(2);

pub(crate) fn ports(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(4).map(|port| u32::from_ne_bytes(port.try_into().unwrap())).collect()
}
