//! A guest kernel's connection to xenstore: the page and the port that it shares with the store.

use ioctlab_kernel::{Frame, MachineMemory};
use ioctlab_xen::{DomainId, Hypervisor, Port};
use ioctlab_xenbus as xenbus;

/// Where a guest's store page and port are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    /// The page with the rings.
    pub(super) page: Frame,
    /// The guest's own port.
    pub(super) port: Port,
}

/// The page and the port, as the guest's kernel uses them.
pub(super) struct Ring<'a> {
    pub(super) xen: &'a mut Hypervisor,
    pub(super) memory: &'a dyn MachineMemory,
    pub(super) domain: DomainId,
    pub(super) connection: Connection,
}

impl xenbus::Ring for Ring<'_> {
    fn load(&mut self, offset: usize) -> u32 {
        self.memory.load(self.connection.page, offset)
    }

    fn store(&mut self, offset: usize, value: u32) {
        self.memory.store(self.connection.page, offset, value);
    }

    fn read(&mut self, offset: usize, to: &mut [u8]) {
        self.memory.read(self.connection.page, offset, to);
    }

    fn write(&mut self, offset: usize, from: &[u8]) {
        self.memory.write(self.connection.page, offset, from);
    }

    fn notify(&mut self) {
        // Without a store at the other end nobody hears it.
        let _ = self.xen.send(self.domain, self.connection.port);
    }
}
