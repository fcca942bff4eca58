//! The calls of the device, but for its ioctls.

use crate::{Hypervisor, Port, delivery::Delivery, sorted::SortedMap};
use alloc::{collections::BTreeMap, vec::Vec};
use ioctlab_abi::evtchn::{PORT_SIZE, word};
use ioctlab_chardev::{CallResult, Errno, FileId, PollEvents, Stop, UserMemory, UserPtr};

/// The most that one read or write moves, in bytes (a page).
pub const MAX_TRANSFER: usize = 4096;

/// The size of the copy between ring and user memory, in bytes: small enough for a kernel's stack.
const BOUNCE_SIZE: usize = 512;

/// `/dev/xen/evtchn` of one guest kernel, with all its open files.
///
/// Calls on a file that is not open are `EBADF`.
#[derive(Debug)]
pub struct Driver {
    pub(crate) controls: BTreeMap<FileId, Control>,
    pub(crate) delivery: Delivery,
}

/// A file's control part: what interrupts don't touch.
#[derive(Debug)]
pub(crate) struct Control {
    /// The ports bound to this file.
    pub(crate) bound: SortedMap<Port, ()>,
    /// The one remote domain that this file may still bind to.
    pub(crate) restriction: Option<u16>,
}

impl Default for Driver {
    fn default() -> Self {
        Self::new()
    }
}

impl Driver {
    /// A driver with no open files.
    pub const fn new() -> Self {
        Self { controls: BTreeMap::new(), delivery: Delivery::new() }
    }

    /// Notes a port that the guest's kernel uses itself (the console's, the store's, its VIRQs'): `BIND_STATIC` of it
    /// is `EBUSY`, as the kernel doesn't share its interrupt (`request_irq`).
    ///
    /// # Errors
    /// `ENOMEM`
    pub fn claim_for_kernel(&mut self, port: Port) -> Result<(), Errno> {
        self.delivery.claim_for_kernel(port)
    }

    /// Keeps a port from being closed, for another driver of the guest that is to send through it later (`evtchn_get`).
    ///
    /// # Errors
    /// `EINVAL` unless a file has it bound, or it is held already, or beyond 32,767 references, of which its being bound is
    /// one; `ENOMEM`.
    pub fn hold_port(&mut self, port: Port) -> Result<(), Errno> {
        self.delivery.hold(port)
    }

    /// Undoes one [`Driver::hold_port`]; a port that was unbound meanwhile is closed with the last (`evtchn_put`).
    pub fn let_port_go(&mut self, port: Port, xen: &mut dyn Hypervisor) {
        self.delivery.let_go(port, xen);
    }

    /// A file was opened: no ports, no restriction, an empty ring of no size. Of no effect if it is open already.
    pub fn open(&mut self, file: FileId) {
        self.controls.entry(file).or_insert(Control { bound: SortedMap::new(), restriction: None });
        self.delivery.open(file);
    }

    /// The last reference to a file went: unbinds its ports in ascending order, each as `UNBIND` does, then drops its
    /// unread events and a wake-up that is due. Of no effect if it is not open.
    pub fn release(&mut self, file: FileId, xen: &mut dyn Hypervisor) {
        let Some(control) = self.controls.remove(&file) else { return };
        for port in control.bound.keys() {
            self.delivery.detach(file, port, xen);
        }
        self.delivery.release(file);
    }

    /// `read(2)`: takes whole ports off the ring, oldest first, up to [`MAX_TRANSFER`]. Returns the bytes read.
    ///
    /// A count of 0 to 3 bytes is 0 before anything else. A port read stays disabled until it is written back.
    ///
    /// # Errors
    /// `EFBIG` after an overflow, until `RESET`; then [`Stop::Wait`] if the ring is empty (`EAGAIN` for a non-blocking
    /// file); then `EFAULT`, which takes nothing off the ring.
    pub fn read(
        &mut self,
        file: FileId,
        to: UserPtr,
        count: usize,
        memory: &mut dyn UserMemory,
    ) -> CallResult<usize> {
        let inbox = self.delivery.inbox_mut(file).ok_or(Errno::EBADF)?;
        let wanted = whole_ports(count);
        if wanted == 0 {
            return Ok(0);
        }
        if inbox.is_overflowed() {
            return Err(Errno::EFBIG.into());
        }
        let ports = wanted.min(inbox.unread());
        if ports == 0 {
            return Err(Stop::Wait);
        }
        let total = ports.saturating_mul(PORT_SIZE);
        let mut done: usize = 0;
        while done < total {
            let mut bounce = [0; BOUNCE_SIZE];
            let chunk = bounce.get_mut(..total.saturating_sub(done).min(BOUNCE_SIZE)).unwrap_or_default();
            let copied = inbox.peek(done / PORT_SIZE, chunk);
            memory.write(to.behind(done)?, chunk)?;
            done = done.saturating_add(copied);
        }
        inbox.consume(ports);
        Ok(total)
    }

    /// `write(2)`: enables the ports whose numbers are written, up to [`MAX_TRANSFER`]. Returns the bytes taken, in whole
    /// ports, whatever they were: a port that isn't bound to this file, or is enabled already, is ignored.
    ///
    /// # Errors
    /// `EFAULT` before any port is enabled; a count of 0 to 3 bytes is 0 before that. `ENOMEM`.
    pub fn write(
        &mut self,
        file: FileId,
        from: UserPtr,
        count: usize,
        memory: &mut dyn UserMemory,
        xen: &mut dyn Hypervisor,
    ) -> CallResult<usize> {
        if !self.controls.contains_key(&file) {
            return Err(Errno::EBADF.into());
        }
        let total = whole_ports(count).saturating_mul(PORT_SIZE);
        if total == 0 {
            return Ok(0);
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(total).map_err(|_| Errno::ENOMEM)?;
        bytes.resize(total, 0);
        memory.read(from, &mut bytes)?;
        let (ports, _) = bytes.as_chunks::<PORT_SIZE>();
        for port in ports {
            self.delivery.enable(file, Port(word(*port)), xen);
        }
        Ok(total)
    }

    /// `poll(2)`: always writable; readable unless the ring is empty; after an overflow nothing but `POLLERR`.
    ///
    /// Of a file that is not open: nothing.
    pub fn poll(&self, file: FileId) -> PollEvents {
        self.delivery.inbox(file).map(|inbox| inbox.poll()).unwrap_or_default()
    }

    /// The hypervisor raised an upcall for a port: masks it, and queues it in the ring of each file that has it enabled,
    /// or marks the file overflowed if the ring is full. Disables it for these files until they write it back. A port that
    /// nobody bound is ignored.
    ///
    /// Doesn't allocate or free.
    pub fn interrupt(&mut self, port: Port, xen: &mut dyn Hypervisor) {
        self.delivery.interrupt(port, xen);
    }

    /// The next file whose ring went from empty to non-empty since it was last returned here: its readers and pollers are
    /// to be woken, and `SIGIO` sent to its owners. In ascending order of files, each once however often that happened.
    ///
    /// The ring may have been emptied again meanwhile; a file that was released is not returned.
    pub fn next_wake(&mut self) -> Option<FileId> {
        self.delivery.next_wake()
    }

    /// The next file whose ring has grown since it was last returned here, in ascending order of files.
    ///
    /// For a host that shows the ring in a kernel object, where readers may have taken ports that the ring still holds: there
    /// a growth matters even if the ring was not empty.
    pub fn next_growth(&mut self) -> Option<FileId> {
        self.delivery.next_growth()
    }

    /// The ports in a file's ring; 0 if it is not open.
    pub fn unread(&self, file: FileId) -> usize {
        self.delivery.inbox(file).map_or(0, |inbox| inbox.unread())
    }

    /// Copies ports from a file's ring as `read` would, oldest first, without taking them off: starts `skip` ports in,
    /// and copies as many whole ports as fit. Returns the bytes copied. An overflow doesn't matter here.
    pub fn peek(&self, file: FileId, skip: usize, to: &mut [u8]) -> usize {
        self.delivery.inbox(file).map_or(0, |inbox| inbox.peek(skip, to))
    }

    /// Takes the oldest ports off a file's ring, at most as many as there are. They stay disabled, as those read do.
    pub fn consume(&mut self, file: FileId, ports: usize) {
        if let Some(inbox) = self.delivery.inbox_mut(file) {
            inbox.consume(ports);
        }
    }

    /// Whether an event found the file's ring full since it was opened or last reset: reads are `EFBIG`.
    pub fn is_overflowed(&self, file: FileId) -> bool {
        self.delivery.inbox(file).is_some_and(|inbox| inbox.is_overflowed())
    }
}

/// The whole ports in a transfer of so many bytes, which is cut to a page.
fn whole_ports(count: usize) -> usize {
    count.min(MAX_TRANSFER) / PORT_SIZE
}
