//! The bus: its parts, what moves over the ring, and what it may keep.

use crate::{
    Complaint, Ring,
    client::Client,
    complaint::Complaints,
    file::File,
    incoming::{Incoming, Received},
    outgoing::{Outgoing, Waiter, cost},
    ring::has_input,
    watches::Watches,
};
use alloc::collections::BTreeMap;
use ioctlab_abi::xenbus::kind;
use ioctlab_chardev::{Errno, FileId};

/// What a file may make the kernel keep in unanswered requests and watches, in bytes, so much for each included.
pub const MAX_HELD: usize = 4 << 20;
/// The same for all files, open and released, and the kernel.
pub const MAX_HELD_IN_ALL: usize = 32 << 20;

/// The most messages that one interrupt takes from the ring.
const MESSAGES_PER_INTERRUPT: usize = 256;

/// A guest kernel's connection to xenstore, with all open files of `/dev/xen/xenbus`.
#[derive(Debug)]
pub struct Bus {
    /// The event channel to the store; 0 for none.
    pub(crate) port: u32,
    pub(crate) files: BTreeMap<FileId, File>,
    pub(crate) watches: Watches,
    pub(crate) outgoing: Outgoing,
    incoming: Incoming,
    pub(crate) client: Client,
    pub(crate) complaints: Complaints,
    /// What everything that is kept counts for.
    pub(crate) held: usize,
    /// How many files have a report of growth due.
    pub(crate) growths: usize,
}

impl Bus {
    /// A bus on the event channel to the store, which has just been set up. With port 0 there is no store, and the device
    /// can't be opened.
    pub const fn new(port: u32) -> Self {
        Self {
            port,
            files: BTreeMap::new(),
            watches: Watches::new(),
            outgoing: Outgoing::new(),
            incoming: Incoming::new(),
            client: Client::new(),
            complaints: Complaints::new(),
            held: 0,
            growths: 0,
        }
    }

    /// Moves bytes over the ring: takes the store's messages, then sends requests as far as there is room
    /// (`xenbus_thread`). To be called when the store's event channel has fired, and when [`Bus::has_unsent`] is true after
    /// a call. Returns whether there is more to take: it is to be called again, after others had their turn.
    pub fn interrupt(&mut self, ring: &mut dyn Ring) -> bool {
        let mut messages: usize = 0;
        while messages < MESSAGES_PER_INTERRUPT && has_input(ring) && self.receive(ring) {
            messages = messages.saturating_add(1);
        }
        while let Err(request) = self.outgoing.send(ring) {
            self.complaints.push(Complaint::BadRequestIndices);
            self.settle(request, kind::ERROR, b"EIO\0");
        }
        messages == MESSAGES_PER_INTERRUPT && has_input(ring)
    }

    /// Whether requests are queued that [`Bus::interrupt`] would send, if there is room in the ring.
    pub fn has_unsent(&self) -> bool {
        self.outgoing.has_unsent()
    }

    /// The next complaint about the store; of many only the first are kept.
    pub fn next_complaint(&mut self) -> Option<Complaint> {
        self.complaints.pop()
    }

    /// Takes one message, or what is there of it; false if there is no more to come of it now.
    fn receive(&mut self, ring: &mut dyn Ring) -> bool {
        let header = match self.incoming.receive(ring) {
            Received::Message(header) => header,
            Received::Nothing => return false,
            Received::Wrong(complaint) => {
                self.complaints.push(complaint);
                return true;
            }
        };
        let body = self.incoming.take_body();
        if header.kind == kind::WATCH_EVENT {
            self.watch_event(&body);
        } else if let Some(request) = self.outgoing.answered(header.request) {
            self.settle(request, header.kind, &body);
        } else {
            self.complaints.push(Complaint::UnknownRequest(header.request));
        }
        true
    }

    /// Queues a request for a file that is open or released; its answer is awaited.
    ///
    /// # Errors
    /// `ENOMEM`, also if there is too much already.
    pub(crate) fn ask(
        &mut self,
        kind: u32,
        transaction: u32,
        payload: &[&[u8]],
        waiter: Waiter,
    ) -> Result<(), Errno> {
        let length = payload.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        let cost = cost(length);
        if let Waiter::File(file, ..) = waiter {
            self.check_room(file, cost)?;
        }
        self.outgoing.queue(kind, transaction, payload, waiter)?;
        self.held = self.held.saturating_add(cost);
        if let Waiter::File(file, ..) = waiter
            && let Some(file) = self.files.get_mut(&file)
        {
            file.held = file.held.saturating_add(cost);
            file.in_flight = file.in_flight.saturating_add(1);
        }
        Ok(())
    }

    /// Whether the kernel may keep so much more for a file.
    ///
    /// # Errors
    /// `EBADF`, `ENOMEM`
    pub(crate) fn check_room(&self, file: FileId, cost: usize) -> Result<(), Errno> {
        let file = self.files.get(&file).ok_or(Errno::EBADF)?;
        let fits =
            cost <= MAX_HELD.saturating_sub(file.held) && cost <= MAX_HELD_IN_ALL.saturating_sub(self.held);
        if fits { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Adds to what is kept for a file.
    pub(crate) fn hold(&mut self, file: FileId, cost: usize) {
        self.held = self.held.saturating_add(cost);
        if let Some(file) = self.files.get_mut(&file) {
            file.held = file.held.saturating_add(cost);
        }
    }

    /// The reverse of [`Bus::hold`].
    pub(crate) fn let_go(&mut self, file: FileId, cost: usize) {
        self.held = self.held.saturating_sub(cost);
        if let Some(file) = self.files.get_mut(&file) {
            file.held = file.held.saturating_sub(cost);
        }
    }
}
