//! The memory of programs as devices reach it, at any time and not only while a program makes a call: the host's side of
//! [`ProgramMemory`].
//!
//! An address space is an open `/proc/PID/mem`. That stays with the address space (`mm_struct`) that the process had when it was
//! opened: after an `execve`, or the process's end, it reads and writes nothing, whatever has the number then. So there is no
//! moment at which a device could get at another program, as there would be with `process_vm_writev`, which goes by number.
//!
//! Large reads use `process_vm_readv` all the same, as it copies once where the file has the kernel copy twice. What it read
//! counts only if it turns out to have been the right program's, which can't be done for writes.
//!
//! It also overrides protections, as a device does that had the pages pinned before an `mprotect`. Only a shared mapping that
//! was made read-only refuses what is written.
//!
//! A pinned page stays a device's after it was unmapped. Here it doesn't: a device finds what is mapped at the address now.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use ioctlab_kernel::{BadAddress, Errno, ProgramMemory, SpaceId};
use rustix::event::{PollFd, PollFlags, poll};

use crate::address_map::AddressMap;
use crate::pinning;
use crate::sys::memory as raw;

/// From how many bytes on a read is large: what it saves is more than asking whose memory it was.
const LARGE: usize = 64 << 10;

/// The address spaces that devices reach. Clones are of the same ones.
#[derive(Clone, Default)]
pub struct Programs(Arc<All>);

#[derive(Default)]
struct All {
    table: RwLock<Table>,
    /// How many `execve`s there have been.
    execs: AtomicU64,
}

#[derive(Default)]
struct Table {
    spaces: HashMap<SpaceId, Arc<Space>>,
    of_process: HashMap<i32, SpaceId>,
    next: u64,
}

/// An address space.
struct Space {
    process: i32,
    /// Stands for the process, whatever becomes of its number.
    pidfd: OwnedFd,
    mem: File,
    maps: File,
    /// The process has tried to `execve`: it may have another address space, while others that shared this one keep it.
    is_doubtful: AtomicBool,
}

impl Programs {
    /// No address spaces.
    pub fn new() -> Self {
        Self::default()
    }

    /// The address space of a process, one of whose threads makes a call.
    ///
    /// Threads share theirs. Processes that share one (`CLONE_VM`, `vfork`) have a number each for it.
    ///
    /// # Errors
    /// `ESRCH` if the caller is gone; `EACCES`, `EPERM` if its memory can't be reached, as it isn't dumpable; `EMFILE`,
    /// `ENFILE`, `ENOMEM`.
    pub(crate) fn space_of(&self, process: i32, thread: i32, pidfd: &OwnedFd) -> io::Result<SpaceId> {
        let known = {
            let table = self.table();
            table.of_process.get(&process).and_then(|id| Some((*id, Arc::clone(table.spaces.get(id)?))))
        };
        if let Some((id, space)) = known
            && space.is_still_of(thread)
        {
            return Ok(id);
        }
        let execs = self.0.execs.load(Ordering::Acquire);
        let space = Space::open(process, thread, pidfd)?;
        // While it hasn't ended its number is nobody else's, so what was opened by it is its own.
        if space.has_ended() || !space.is_alive() {
            return Err(gone());
        }
        let mut table = self.0.table.write().unwrap_or_else(PoisonError::into_inner);
        table.forget_ended();
        table.forget(process);
        if execs != self.0.execs.load(Ordering::Acquire) {
            space.is_doubtful.store(true, Ordering::Release);
        }
        let id = SpaceId(table.next);
        table.next = table.next.saturating_add(1);
        table.spaces.insert(id, Arc::new(space));
        table.of_process.insert(process, id);
        Ok(id)
    }

    /// A process is about to `execve`, which may fail.
    pub(crate) fn doubt(&self, process: i32) {
        // Ordered with `space_of` by the lock: either the space is in the table, or the count tells of this.
        let table = self.table();
        self.0.execs.fetch_add(1, Ordering::AcqRel);
        if let Some(space) = table.of_process.get(&process).and_then(|id| table.spaces.get(id)) {
            space.is_doubtful.store(true, Ordering::Release);
        }
    }

    /// A process has ended.
    pub(crate) fn forget(&self, process: i32) {
        if self.table().of_process.contains_key(&process) {
            self.0.table.write().unwrap_or_else(PoisonError::into_inner).forget(process);
        }
    }

    /// Whether all of a range could be pinned (`pin_user_pages_remote`), at a cost for each thing that is mapped there.
    ///
    /// # Errors
    /// [`Errno::EFAULT`] if not.
    pub(crate) fn check_pinnable(
        &self,
        space: SpaceId,
        from: u64,
        bytes: u64,
        writable: bool,
    ) -> Result<(), Errno> {
        let space = self.get(space).ok_or(Errno::EFAULT)?;
        let mut map = AddressMap::new(&space.maps);
        pinning::check(&mut map, &space.mem, from, bytes, writable).map_err(Errno::from)
    }

    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.0.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, space: SpaceId) -> Option<Arc<Space>> {
        self.table().spaces.get(&space).cloned()
    }
}

impl ProgramMemory for Programs {
    fn read(&self, space: SpaceId, mut address: u64, mut to: &mut [u8]) -> Result<(), BadAddress> {
        let space = self.get(space).ok_or(BadAddress)?;
        while !to.is_empty() {
            let length = progress(space.read_some(address, to))?;
            to = to.get_mut(length..).ok_or(BadAddress)?;
            address = address.checked_add(length as u64).ok_or(BadAddress)?;
        }
        Ok(())
    }

    fn write(&self, space: SpaceId, mut address: u64, mut from: &[u8]) -> Result<(), BadAddress> {
        let space = self.get(space).ok_or(BadAddress)?;
        while !from.is_empty() {
            let length = progress(space.mem.write_at(from, address))?;
            from = from.get(length..).ok_or(BadAddress)?;
            address = address.checked_add(length as u64).ok_or(BadAddress)?;
        }
        Ok(())
    }
}

/// How far an access got. Nowhere, if the address space is gone.
fn progress(result: io::Result<usize>) -> Result<usize, BadAddress> {
    match result {
        Ok(0) => Err(BadAddress),
        Ok(length) => Ok(length),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(_) => Err(BadAddress),
    }
}

fn gone() -> io::Error {
    io::Error::from_raw_os_error(libc::ESRCH)
}

impl Table {
    fn forget(&mut self, process: i32) {
        if let Some(id) = self.of_process.remove(&process) {
            self.spaces.remove(&id);
        }
    }

    /// Forgets all processes that have ended.
    fn forget_ended(&mut self) {
        let Self { spaces, of_process, .. } = self;
        spaces.retain(|_, space| {
            let has_ended = space.has_ended();
            if has_ended {
                of_process.remove(&space.process);
            }
            !has_ended
        });
    }
}

impl Space {
    fn open(process: i32, thread: i32, pidfd: &OwnedFd) -> io::Result<Self> {
        Ok(Self {
            process,
            pidfd: pidfd.try_clone()?,
            mem: open_mem(process, thread)?,
            maps: File::open(format!("/proc/{process}/task/{thread}/maps"))?,
            is_doubtful: AtomicBool::new(false),
        })
    }

    /// Whether its process still has it, which has a thread of this number.
    fn is_still_of(&self, thread: i32) -> bool {
        !self.has_ended()
            && self.is_alive()
            && (!self.is_doubtful.load(Ordering::Acquire) || self.is_the_same(thread))
    }

    /// Reads as much as can be read at once.
    fn read_some(&self, address: u64, to: &mut [u8]) -> io::Result<usize> {
        let by_number = if to.len() < LARGE { None } else { self.read_by_number(address, to) };
        by_number.map_or_else(|| self.mem.read_at(to, address), Ok)
    }

    /// The same by the process's number; `None` if that doesn't do. What is protected can't be read like that.
    fn read_by_number(&self, address: u64, to: &mut [u8]) -> Option<usize> {
        if self.is_doubtful.load(Ordering::Acquire) {
            return None;
        }
        let length = raw::read(self.process, address, to).ok().filter(|length| *length > 0)?;
        // If the process has neither ended nor tried to `execve` by now, it hadn't when its memory was read.
        if !self.has_ended() && self.is_alive() && !self.is_doubtful.load(Ordering::Acquire) {
            return Some(length);
        }
        to.fill(0);
        None
    }

    fn has_ended(&self) -> bool {
        let now = rustix::time::Timespec::default();
        poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// Whether any process has it.
    fn is_alive(&self) -> bool {
        // Nothing is mapped at 0, which is an error; without an address space there is nothing to be read, which is none.
        !matches!(self.mem.read_at(&mut [0], 0), Ok(0))
    }

    /// Whether a thread of its process has it now. That is told by the random bytes that each `execve` leaves to the new program.
    fn is_the_same(&self, thread: i32) -> bool {
        let compare = || {
            let current = open_mem(self.process, thread)?;
            let address = random_bytes(&std::fs::read(format!("/proc/{}/task/{thread}/auxv", self.process))?);
            let (mut here, mut there) = ([0; 16], [0; 16]);
            let address = address.ok_or(io::ErrorKind::NotFound)?;
            current.read_exact_at(&mut here, address)?;
            self.mem.read_exact_at(&mut there, address)?;
            io::Result::Ok(here == there)
        };
        compare().unwrap_or(false)
    }
}

fn open_mem(process: i32, thread: i32) -> io::Result<File> {
    File::options().read(true).write(true).open(format!("/proc/{process}/task/{thread}/mem"))
}

/// Where the auxiliary vector says that 16 random bytes are (`AT_RANDOM`).
fn random_bytes(auxiliary: &[u8]) -> Option<u64> {
    let (words, _) = auxiliary.as_chunks::<8>();
    let (pairs, _) = words.as_chunks::<2>();
    let found = pairs.iter().find(|[kind, _]| u64::from_ne_bytes(*kind) == libc::AT_RANDOM);
    found.map(|[_, value]| u64::from_ne_bytes(*value))
}

#[cfg(test)]
#[path = "program_memory_tests.rs"]
mod tests;
