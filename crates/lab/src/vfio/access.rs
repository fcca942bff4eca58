//! Reads and writes of a device's registers, as work that takes its time.

use std::sync::Arc;

use ioctlab_kernel::{Caller, Errno, UserMemory, UserPtr, Work};
use ioctlab_vfio::DeviceId;
use ioctlab_vfio_pci as vfio_pci;

use super::VfioHost;
use super::cell::Cell;

/// An access to a BAR.
pub(super) struct Access {
    pub(super) host: VfioHost,
    pub(super) id: DeviceId,
    pub(super) cell: Arc<Cell>,
    pub(super) bar: u8,
    /// How many bytes at the BAR's start are registers.
    pub(super) registers: u64,
    pub(super) offset: u64,
    /// What is left out, from its first byte to the first behind it.
    pub(super) excluded: (u64, u64),
    pub(super) kind: Kind,
}

/// Which way it goes.
pub(super) enum Kind {
    /// So many bytes are read, and are to be copied there.
    Read(Vec<u8>, UserPtr),
    /// These are written.
    Write(Vec<u8>),
}

impl Work for Access {
    fn run(&mut self) {
        let (bar, registers) = (self.bar, self.registers);
        let (reads, bytes) = match &mut self.kind {
            Kind::Read(bytes, _) => (true, bytes),
            Kind::Write(bytes) => (false, bytes),
        };
        let start = self.offset;
        let pieces = vfio_pci::split(start, bytes.len(), self.excluded);
        let answered = self.cell.with(|model, bus| {
            for (offset, width, is_asked) in pieces {
                let at = usize::try_from(offset - start).unwrap_or(usize::MAX);
                let Some(piece) = bytes.get_mut(at..at + width) else { break };
                match (is_asked, offset < registers, reads) {
                    (false, _, true) => piece.fill(0xff),
                    (false, _, false) => {}
                    (true, true, true) => {
                        let value = model.read(bar, offset, width as u8, bus).to_le_bytes();
                        piece.copy_from_slice(value.get(..width).unwrap_or(&[0xff; 8]));
                    }
                    (true, true, false) => {
                        let mut value = [0; 8];
                        value.iter_mut().zip(&*piece).for_each(|(to, from)| *to = *from);
                        model.write(bar, offset, width as u8, u64::from_le_bytes(value), bus);
                    }
                    (true, false, true) => bus.ram_read(bar, offset, piece),
                    (true, false, false) => bus.ram_write(bar, offset, piece),
                }
            }
        });
        // A device that doesn't answer reads as all ones, and what is written to it is lost.
        if answered.is_none() && reads {
            bytes.fill(0xff);
        }
    }

    fn finish(self: Box<Self>, caller: &mut dyn Caller) -> Result<i64, Errno> {
        let mut state = self.host.lock();
        state.machine.deliver(self.id);
        state.settle();
        match self.kind {
            Kind::Read(bytes, to) => {
                let memory: &mut dyn UserMemory = caller;
                memory.write(to, &bytes)?;
                Ok(bytes.len() as i64)
            }
            Kind::Write(bytes) => Ok(bytes.len() as i64),
        }
    }
}

/// The models of these devices are reset.
pub(super) struct Reset {
    pub(super) cells: Vec<Arc<Cell>>,
}

impl Work for Reset {
    fn run(&mut self) {
        for cell in &self.cells {
            cell.reset();
            // Until some thread has done with it.
            cell.with(|_, _| ());
        }
    }

    fn finish(self: Box<Self>, _: &mut dyn Caller) -> Result<i64, Errno> {
        Ok(0)
    }
}
