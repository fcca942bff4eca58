//! The event channels of a domain (number 0) that is alone: what it binds to is itself.

use std::collections::{BTreeMap, VecDeque};

use ioctlab_chardev::Errno;
use ioctlab_evtchn::{ChannelAbi, Hypervisor, Port};

/// A channel: its peer, if it has one, and its two bits.
#[derive(Debug, Default)]
struct Channel {
    peer: Option<u32>,
    pending: bool,
    unmasked: bool,
}

#[derive(Debug)]
pub(crate) struct Channels {
    channels: BTreeMap<u32, Channel>,
    /// The lowest port that is not the kernel's.
    first: u32,
    upcalls: VecDeque<Port>,
}

impl Channels {
    pub(crate) fn new(first: u32) -> Self {
        Self { channels: BTreeMap::new(), first, upcalls: VecDeque::new() }
    }

    pub(crate) fn next_upcall(&mut self) -> Option<Port> {
        let port = self.upcalls.pop_front()?;
        self.channels.entry(port.0).or_default().pending = false;
        Some(port)
    }

    /// How many channels there are.
    pub(crate) fn count(&self) -> usize {
        self.channels.len()
    }

    fn allocate(&mut self, peer: Option<u32>) -> u32 {
        let port = (self.first..).find(|port| !self.channels.contains_key(port)).unwrap();
        self.channels.insert(port, Channel { peer, ..Channel::default() });
        port
    }

    fn raise(&mut self, port: u32) {
        let channel = self.channels.get_mut(&port).unwrap();
        if !std::mem::replace(&mut channel.pending, true) && channel.unmasked {
            self.upcalls.push_back(Port(port));
        }
    }
}

impl Hypervisor for Channels {
    fn bind_virq(&mut self, _: u32, _: u32) -> Result<Port, Errno> {
        Err(Errno::EEXIST)
    }

    fn bind_interdomain(&mut self, remote_domain: u16, remote_port: u32) -> Result<Port, Errno> {
        if remote_domain != 0 {
            return Err(Errno::ESRCH);
        }
        self.channels.get(&remote_port).filter(|remote| remote.peer.is_none()).ok_or(Errno::EINVAL)?;
        let port = self.allocate(Some(remote_port));
        self.channels.get_mut(&remote_port).unwrap().peer = Some(port);
        self.raise(port);
        Ok(Port(port))
    }

    fn alloc_unbound(&mut self, _: u16) -> Result<Port, Errno> {
        Ok(Port(self.allocate(None)))
    }

    fn close(&mut self, port: Port) {
        let channel = self.channels.remove(&port.0).expect("a channel is closed once");
        if let Some(peer) = channel.peer {
            self.channels.get_mut(&peer).unwrap().peer = None;
        }
        self.upcalls.retain(|upcall| *upcall != port);
    }

    fn send(&mut self, port: Port) -> Result<(), Errno> {
        if let Some(peer) = self.channels.get(&port.0).ok_or(Errno::EINVAL)?.peer {
            self.raise(peer);
        }
        Ok(())
    }

    fn mask(&mut self, port: Port) {
        self.channels.get_mut(&port.0).unwrap().unmasked = false;
    }

    fn unmask(&mut self, port: Port) {
        let channel = self.channels.get_mut(&port.0).unwrap();
        if !std::mem::replace(&mut channel.unmasked, true) && channel.pending {
            self.upcalls.push_back(port);
        }
    }

    fn abi(&self) -> ChannelAbi {
        ChannelAbi::Fifo
    }
}
