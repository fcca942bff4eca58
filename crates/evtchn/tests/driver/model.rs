//! The driver as a list of bindings that is searched from its beginning each time, and the operations that it knows.

use crate::fake::{FakeXen, failed};
use ioctlab_abi::evtchn;
use ioctlab_chardev::{CallResult, Errno, Request, Stop};
use ioctlab_evtchn::{Hypervisor, Port};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A port that the model's kernel keeps.
pub(crate) const KERNEL_PORT: u32 = 2;
pub(crate) const REQUESTS: [Request; 7] = [
    evtchn::BIND_VIRQ,
    evtchn::BIND_INTERDOMAIN,
    evtchn::BIND_UNBOUND_PORT,
    evtchn::UNBIND,
    evtchn::NOTIFY,
    evtchn::RESTRICT_DOMID,
    evtchn::BIND_STATIC,
];

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Open,
    Release,
    Virq(u32),
    Interdomain(u32, u32),
    Unbound(u32),
    Static(u32),
    Unbind(u32),
    Notify(u32),
    Reset,
    Restrict(u16),
    BadPointer(usize),
    /// Count, and how many bytes of it can be reached.
    Read(usize, usize),
    Write(Vec<u32>, usize),
    Peek(usize, usize),
    Consume(usize),
    Raise(u32),
    Upcalls(usize),
    Wakes(usize),
    /// By another driver of the guest, whatever the file.
    Hold(u32),
    LetGo(u32),
    /// So many stale entries in the ring.
    Stale(usize),
    /// So many more ports.
    Grow(usize),
}

#[derive(Default)]
pub(crate) struct File {
    pub(crate) ring: VecDeque<u32>,
    pub(crate) size: usize,
    pub(crate) overflowed: bool,
    pub(crate) restriction: Option<u16>,
    pub(crate) wake: bool,
}

#[derive(Clone, Copy)]
pub(crate) struct Binding {
    pub(crate) file: u64,
    pub(crate) port: u32,
    pub(crate) is_static: bool,
    pub(crate) enabled: bool,
    pub(crate) missed: bool,
}

/// All files and bindings, with a Xen of the model's own.
pub(crate) struct Model {
    pub(crate) xen: FakeXen,
    pub(crate) files: BTreeMap<u64, File>,
    pub(crate) bindings: Vec<Binding>,
    pub(crate) masked: BTreeSet<u32>,
    pub(crate) channels: u32,
    /// Ports, each as often as it is held, and those of them whose owner has gone.
    pub(crate) held: Vec<u32>,
    pub(crate) orphans: BTreeSet<u32>,
}

impl Model {
    pub(crate) fn find(&self, file: u64, port: u32) -> Option<usize> {
        self.bindings.iter().position(|binding| binding.file == file && binding.port == port)
    }

    pub(crate) fn push(&mut self, file: u64, port: u32) {
        let file = self.files.get_mut(&file).unwrap();
        if file.ring.len() == file.size {
            file.overflowed = true;
            return;
        }
        file.wake |= file.ring.is_empty();
        file.ring.push_back(port);
    }

    pub(crate) fn bind(&mut self, file: u64, port: u32, is_static: bool) -> Result<(), Errno> {
        if self.find(file, port).is_some() {
            return Err(Errno::EEXIST);
        }
        let bound = self.bindings.iter().filter(|binding| binding.file == file).count();
        let state = self.files.get_mut(&file).unwrap();
        if bound == state.size {
            state.size = if bound == 0 { 64 } else { 2 * bound };
        }
        if port >= self.xen.max_channels() {
            return Err(Errno::ENOMEM);
        }
        if port == KERNEL_PORT {
            return Err(Errno::EBUSY);
        }
        while self.channels <= port {
            self.channels += 1024;
        }
        self.bindings.push(Binding { file, port, is_static, enabled: true, missed: false });
        if !is_static {
            self.orphans.remove(&port);
        }
        if !self.masked.contains(&port) {
            self.xen.unmask(Port(port));
        }
        Ok(())
    }

    pub(crate) fn bind_new(&mut self, file: u64, port: Result<Port, Errno>) -> CallResult<i64> {
        let port = port?;
        if let Err(errno) = self.bind(file, port.0, false) {
            self.xen.close(port);
            return failed(errno);
        }
        Ok(i64::from(port.0))
    }

    pub(crate) fn unmask(&mut self, port: u32) {
        if self.masked.remove(&port) {
            self.xen.unmask(Port(port));
        }
    }

    pub(crate) fn unbind(&mut self, file: u64, port: u32) -> CallResult<i64> {
        let gone = self.bindings.remove(self.find(file, port).ok_or(Errno::ENOTCONN)?);
        let others: Vec<_> = self.bindings.iter().filter(|binding| binding.port == port).copied().collect();
        let close = !gone.is_static && others.iter().all(|other| other.is_static);
        if others.is_empty() {
            self.xen.mask(Port(port));
            self.masked.remove(&port);
        }
        if close && self.held.contains(&port) {
            self.orphans.insert(port);
        } else if close {
            self.xen.close(Port(port));
        }
        if close || others.iter().all(|other| other.enabled) {
            self.unmask(port);
        }
        Ok(0)
    }

    pub(crate) fn hold(&mut self, port: u32) -> Result<(), Errno> {
        let is_bound = self.bindings.iter().any(|binding| binding.port == port);
        if !is_bound && !self.held.contains(&port) {
            return Err(Errno::EINVAL);
        }
        self.held.push(port);
        Ok(())
    }

    pub(crate) fn let_go(&mut self, port: u32) {
        let Some(place) = self.held.iter().position(|held| *held == port) else { return };
        self.held.remove(place);
        if !self.held.contains(&port) && self.orphans.remove(&port) {
            self.xen.close(Port(port));
            self.unmask(port);
        }
    }

    pub(crate) fn interrupt(&mut self, port: u32) {
        let files: BTreeSet<_> =
            self.bindings.iter().filter(|binding| binding.port == port).map(|binding| binding.file).collect();
        if !files.is_empty() && self.masked.insert(port) {
            self.xen.mask(Port(port));
        }
        for file in files {
            let place = self.find(file, port).unwrap();
            let binding = &mut self.bindings[place];
            if std::mem::replace(&mut binding.enabled, false) {
                self.push(file, port);
            } else {
                binding.missed = true;
            }
        }
    }

    pub(crate) fn enable(&mut self, file: u64, port: u32) {
        let Some(place) = self.find(file, port) else { return };
        let binding = &mut self.bindings[place];
        if binding.enabled {
            return;
        }
        let missed = std::mem::take(&mut binding.missed);
        binding.enabled = !missed;
        self.unmask(port);
        if missed {
            self.push(file, port);
        }
    }

    /// An ioctl on an open file.
    pub(crate) fn ioctl(&mut self, file: u64, op: &Op) -> CallResult<i64> {
        let restriction = self.files[&file].restriction;
        match *op {
            Op::Virq(_) | Op::Unbound(_) | Op::Restrict(_) if restriction.is_some() => failed(Errno::EACCES),
            Op::Virq(virq) => {
                let port = self.xen.bind_virq(virq, 0);
                self.bind_new(file, port)
            }
            Op::Unbound(domain) => {
                let port = self.xen.alloc_unbound(domain as u16);
                self.bind_new(file, port)
            }
            Op::Interdomain(domain, port) => {
                if restriction.is_some_and(|only| u32::from(only) != domain) {
                    return failed(Errno::EACCES);
                }
                let port = self.xen.bind_interdomain(domain as u16, port);
                self.bind_new(file, port)
            }
            Op::Static(port) => match self.bind(file, port, true) {
                Err(Errno::EEXIST) => failed(Errno::EISCONN),
                other => other.map(|()| 0).map_err(Into::into),
            },
            Op::Unbind(port) if port >= self.channels => failed(Errno::EINVAL),
            Op::Unbind(port) => self.unbind(file, port),
            Op::Notify(port) => {
                self.find(file, port).ok_or(Errno::ENOTCONN)?;
                let _ = self.xen.send(Port(port));
                Ok(0)
            }
            Op::Reset => {
                let file = self.files.get_mut(&file).unwrap();
                file.ring.clear();
                file.overflowed = false;
                Ok(0)
            }
            Op::Restrict(domain) => {
                if !(1..0x7ff0).contains(&domain) {
                    return failed(Errno::EINVAL);
                }
                self.files.get_mut(&file).unwrap().restriction = Some(domain);
                Ok(0)
            }
            Op::BadPointer(request) => match REQUESTS[request] {
                evtchn::BIND_VIRQ | evtchn::BIND_UNBOUND_PORT | evtchn::RESTRICT_DOMID
                    if restriction.is_some() =>
                {
                    failed(Errno::EACCES)
                }
                _ => failed(Errno::EFAULT),
            },
            _ => unreachable!(),
        }
    }

    pub(crate) fn read(&mut self, file: u64, count: usize, reachable: usize) -> CallResult<Vec<u32>> {
        let file = self.files.get_mut(&file).unwrap();
        match count.min(4096) / 4 {
            0 => Ok(vec![]),
            _ if file.overflowed => failed(Errno::EFBIG),
            _ if file.ring.is_empty() => Err(Stop::Wait),
            wanted => {
                let len = wanted.min(file.ring.len());
                if 4 * len > reachable { failed(Errno::EFAULT) } else { Ok(file.ring.drain(..len).collect()) }
            }
        }
    }

    pub(crate) fn poll(&self, file: u64) -> u16 {
        match self.files.get(&file) {
            None => 0,
            Some(file) if file.overflowed => 0x8,
            Some(file) if file.ring.is_empty() => 0x104,
            Some(_) => 0x145,
        }
    }
}
