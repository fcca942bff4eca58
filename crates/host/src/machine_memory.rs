//! The memory of a lab: that of its machines and of its devices, which programs have mapped, too, and that of its programs.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use ioctlab_kernel::{Frame, MachineMemory, PAGE_SIZE};

use crate::areas::Areas;
use crate::program_memory::Programs;
use crate::store::{self, Store};
use crate::sys::shared::Shared;

/// Machine memory as the lab's machines reach it. It is there from the moment a [`Server`](crate::Server) serves it;
/// before that it reads as zeros and what is written is lost. Clones are of the same memory.
#[derive(Clone, Default)]
pub struct Memory {
    machine: Arc<OnceLock<(Shared, OwnedFd)>>,
    areas: Areas,
    programs: Programs,
}

impl Memory {
    /// Machine memory that isn't there yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The memory of the lab's devices.
    pub fn areas(&self) -> &Areas {
        &self.areas
    }

    /// The memory of its programs, as its devices reach it.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Attaches it to the files that programs map.
    ///
    /// # Errors
    /// `ENOMEM`, `EMFILE`.
    pub(crate) fn attach(&self, store: &Arc<Store>) -> io::Result<()> {
        self.areas.attach(store);
        let size = rustix::fs::fstat(store.memory())?.st_size;
        let shared = Shared::map(store.memory(), usize::try_from(size).unwrap_or(usize::MAX))?;
        let file = store.memory().try_clone_to_owned()?;
        // Attached twice it stays with the first, which never happens: a lab has one server.
        let _ = self.machine.set((shared, file));
        Ok(())
    }

    fn shared(&self) -> Option<&Shared> {
        self.machine.get().map(|(shared, _)| shared)
    }
}

/// Where in the file a byte of a frame is. No frame is so high that this overflows; one beyond the file reads as zeros.
fn place(frame: Frame, offset: usize) -> usize {
    usize::try_from(frame.0.saturating_mul(PAGE_SIZE)).unwrap_or(usize::MAX).saturating_add(offset)
}

impl MachineMemory for Memory {
    fn read(&self, frame: Frame, offset: usize, to: &mut [u8]) {
        match self.shared() {
            Some(shared) => shared.read(place(frame, offset), to),
            None => to.fill(0),
        }
    }

    fn write(&self, frame: Frame, offset: usize, from: &[u8]) {
        if let Some(shared) = self.shared() {
            shared.write(place(frame, offset), from);
        }
    }

    fn load(&self, frame: Frame, offset: usize) -> u32 {
        self.shared().map_or(0, |shared| shared.load(place(frame, offset)))
    }

    fn store(&self, frame: Frame, offset: usize, value: u32) {
        if let Some(shared) = self.shared() {
            shared.store(place(frame, offset), value);
        }
    }

    fn scrub(&self, frame: Frame) {
        if let Some((_, file)) = self.machine.get() {
            store::scrub(std::os::fd::AsFd::as_fd(file), frame);
        }
    }
}
