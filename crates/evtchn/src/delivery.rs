//! The event part: everything that an interrupt touches.
//!
//! Nothing here allocates, frees or touches user memory, but for [`Delivery::open`], [`Delivery::release`] and
//! [`Delivery::claim_for_kernel`], [`Delivery::hold`], and [`Room::allocate`], which needs no access to the event part. So a host can keep this
//! part under a spin lock that its interrupt handler takes.

use crate::{
    Hypervisor, Port,
    events::{ChannelBlock, Events, HandlerBlock, Ownership},
    inbox::Inbox,
};
use alloc::{collections::BTreeMap, vec::Vec};
use ioctlab_chardev::{Errno, FileId};

/// Handlers, rings and wake-ups of all files.
#[derive(Debug)]
pub(crate) struct Delivery {
    events: Events,
    inboxes: BTreeMap<FileId, Inbox>,
    due: Due,
}

/// How many inboxes have something due, so that finding none is quick.
#[derive(Debug)]
struct Due {
    /// A wake-up.
    wakes: usize,
    /// A report that the ring has grown.
    growths: usize,
}

/// What the event part lacks for one more binding: sizes of blocks.
#[derive(Debug)]
pub(crate) struct Room {
    ring: Option<usize>,
    channels: Option<usize>,
    handlers: Option<usize>,
}

/// Blocks for the event part: new ones before [`Delivery::adopt`], the old ones after.
#[derive(Debug)]
pub(crate) struct Blocks {
    ring: Vec<Port>,
    channels: ChannelBlock,
    handlers: HandlerBlock,
}

impl Room {
    /// Allocates what is lacking.
    ///
    /// # Errors
    /// `ENOMEM`
    pub(crate) fn allocate(&self) -> Result<Blocks, Errno> {
        let mut ring = block(self.ring)?;
        ring.resize(self.ring.unwrap_or(0), Port(0));
        Ok(Blocks { ring, channels: block(self.channels)?, handlers: block(self.handlers)? })
    }
}

fn block<T>(size: Option<usize>) -> Result<Vec<T>, Errno> {
    let mut block = Vec::new();
    block.try_reserve_exact(size.unwrap_or(0)).map_err(|_| Errno::ENOMEM)?;
    Ok(block)
}

impl Delivery {
    pub(crate) const fn new() -> Self {
        Self { events: Events::new(), inboxes: BTreeMap::new(), due: Due { wakes: 0, growths: 0 } }
    }

    pub(crate) fn open(&mut self, file: FileId) {
        self.inboxes.entry(file).or_default();
    }

    /// Forgets a file, with its unread events and a wake-up that is due. Its ports were unbound before.
    pub(crate) fn release(&mut self, file: FileId) {
        let Some(mut inbox) = self.inboxes.remove(&file) else { return };
        if inbox.take_wake() {
            self.due.wakes = self.due.wakes.saturating_sub(1);
        }
        if inbox.take_growth() {
            self.due.growths = self.due.growths.saturating_sub(1);
        }
    }

    pub(crate) fn claim_for_kernel(&mut self, port: Port) -> Result<(), Errno> {
        self.events.claim_for_kernel(port)
    }

    /// See [`Events::hold`].
    pub(crate) fn hold(&mut self, port: Port) -> Result<(), Errno> {
        self.events.hold(port)
    }

    /// See [`Events::let_go`].
    pub(crate) fn let_go(&mut self, port: Port, xen: &mut dyn Hypervisor) {
        self.events.let_go(port, xen);
    }

    pub(crate) fn channel_count(&self, xen: &dyn Hypervisor) -> u32 {
        self.events.channel_count(xen)
    }

    pub(crate) fn inbox(&self, file: FileId) -> Option<&Inbox> {
        self.inboxes.get(&file)
    }

    pub(crate) fn inbox_mut(&mut self, file: FileId) -> Option<&mut Inbox> {
        self.inboxes.get_mut(&file)
    }

    /// What is lacking for the file to have so many ports, one more than now.
    pub(crate) fn room(&self, file: FileId, bound_ports: usize) -> Room {
        let ring = self.inbox(file).and_then(|inbox| inbox.lacking(bound_ports));
        let (channels, handlers) = self.events.lacking();
        Room { ring, channels, handlers }
    }

    /// Swaps in the blocks that [`Room::allocate`] made; the caller drops the old ones.
    pub(crate) fn adopt(&mut self, file: FileId, blocks: &mut Blocks) {
        self.events.adopt(&mut blocks.channels, &mut blocks.handlers);
        if let Some(inbox) = self.inbox_mut(file) {
            inbox.adopt(&mut blocks.ring);
        }
    }

    /// See [`Events::attach`].
    pub(crate) fn attach(
        &mut self,
        file: FileId,
        port: Port,
        ownership: Ownership,
        xen: &mut dyn Hypervisor,
    ) -> Result<(), Errno> {
        self.events.attach(file, port, ownership, xen)
    }

    /// See [`Events::detach`]. What the ring holds of the port stays there.
    pub(crate) fn detach(&mut self, file: FileId, port: Port, xen: &mut dyn Hypervisor) {
        self.events.detach(file, port, xen);
    }

    /// See [`Events::enable`].
    pub(crate) fn enable(&mut self, file: FileId, port: Port, xen: &mut dyn Hypervisor) {
        if self.events.enable(file, port, xen) {
            push(&mut self.inboxes, &mut self.due, file, port);
        }
    }

    /// See [`Events::interrupt`].
    pub(crate) fn interrupt(&mut self, port: Port, xen: &mut dyn Hypervisor) {
        let (inboxes, due) = (&mut self.inboxes, &mut self.due);
        self.events.interrupt(port, xen, |file| push(inboxes, due, file, port));
    }

    /// The first file, by its number, that has a wake-up due; it no longer has.
    pub(crate) fn next_wake(&mut self) -> Option<FileId> {
        if self.due.wakes == 0 {
            return None;
        }
        self.due.wakes = self.due.wakes.saturating_sub(1);
        self.inboxes.iter_mut().find_map(|(file, inbox)| inbox.take_wake().then_some(*file))
    }

    /// The first file, by its number, whose ring has grown; it is not reported again until it grows once more.
    pub(crate) fn next_growth(&mut self) -> Option<FileId> {
        if self.due.growths == 0 {
            return None;
        }
        self.due.growths = self.due.growths.saturating_sub(1);
        self.inboxes.iter_mut().find_map(|(file, inbox)| inbox.take_growth().then_some(*file))
    }
}

fn push(inboxes: &mut BTreeMap<FileId, Inbox>, due: &mut Due, file: FileId, port: Port) {
    if let Some(inbox) = inboxes.get_mut(&file) {
        let pushed = inbox.push(port);
        due.wakes = due.wakes.saturating_add(usize::from(pushed.wakes));
        due.growths = due.growths.saturating_add(usize::from(pushed.grows));
    }
}
