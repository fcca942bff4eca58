//! Reads and writes of a device's registers, as work that takes its time.

use std::sync::Arc;

use ioctlab_kernel::{Caller, Errno, EventId, UserMemory, UserPtr, Work};
use ioctlab_vfio::DeviceId;
use ioctlab_vfio_pci::BarAccess;

use super::VfioHost;
use super::cell::Cell;

/// An access to a BAR.
pub(super) struct Access {
    pub(super) host: VfioHost,
    pub(super) id: DeviceId,
    /// The eventfd that has brought it about, if nobody calls.
    pub(super) event: Option<EventId>,
    pub(super) cell: Arc<Cell>,
    /// How many bytes at the BAR's start are registers.
    pub(super) registers: u64,
    pub(super) access: BarAccess,
    /// Where what is read is to be copied to.
    pub(super) to: UserPtr,
    /// What was read, or what the call returns.
    pub(super) outcome: Outcome,
}

/// What came of an access.
pub(super) enum Outcome {
    Read(Vec<u8>),
    Written(Result<usize, Errno>),
}

impl Work for Access {
    fn run(&mut self) {
        if let Some(event) = self.event {
            self.host.lock().unwritten.remove(&event);
        }
        let (access, registers) = (&self.access, self.registers);
        let bar = access.bar as u8;
        let outcome = self.cell.with(|model, bus| {
            if access.bytes.is_some() {
                return Outcome::Written(access.write_by(|offset, width, value| {
                    if offset < registers {
                        model.write(bar, offset, width.bytes() as u8, value.into(), bus);
                    } else {
                        bus.ram_write(
                            bar,
                            offset,
                            value.to_le_bytes().get(..width.bytes()).unwrap_or_default(),
                        );
                    }
                }));
            }
            Outcome::Read(access.read_by(|offset, width| {
                if offset < registers {
                    return model.read(bar, offset, width.bytes() as u8, bus) as u32;
                }
                let mut bytes = [0; 4];
                bus.ram_read(bar, offset, bytes.get_mut(..width.bytes()).unwrap_or_default());
                u32::from_le_bytes(bytes)
            }))
        });
        // A device that doesn't answer reads as all ones, and what is written to it is lost.
        self.outcome = outcome.unwrap_or_else(|| match access.bytes {
            Some(_) => Outcome::Written(Ok(access.count)),
            None => Outcome::Read(vec![0xff; access.count]),
        });
    }

    fn finish(self: Box<Self>, caller: &mut dyn Caller) -> Result<i64, Errno> {
        let mut state = self.host.lock();
        state.machine.deliver(self.id);
        state.settle();
        match self.outcome {
            Outcome::Read(bytes) => {
                let memory: &mut dyn UserMemory = caller;
                memory.write(self.to, &bytes)?;
                Ok(bytes.len() as i64)
            }
            Outcome::Written(result) => result.map(|count| count as i64),
        }
    }
}

/// The models of these devices are reset.
pub(super) struct Reset {
    pub(super) cells: Vec<Arc<Cell>>,
    /// What the call returns.
    pub(super) value: i64,
}

impl Work for Reset {
    fn run(&mut self) {
        for cell in &self.cells {
            // They were told of it. It is done when whoever is at one has done with it.
            cell.with(|_, _| ());
        }
    }

    fn finish(self: Box<Self>, _: &mut dyn Caller) -> Result<i64, Errno> {
        Ok(self.value)
    }
}
