//! A program that makes calls, for tests of drivers that ask more of a caller than its memory. Included next to `memory.rs`,
//! as `crate::memory`.
#![allow(dead_code, reason = "no driver asks for all of it")]

use std::collections::{BTreeMap, BTreeSet};

use ioctlab_chardev::{
    BadAddress, Caller, Capability, Errno, EventId, FileId, MappingId, SpaceId, UserMemory, UserPtr,
};

use crate::memory::Memory;

/// What a descriptor of the program stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Descriptor {
    /// An open file of the lab's.
    File(FileId),
    /// An eventfd, by a number of the test's own: duplicates have the same.
    Eventfd(u64),
    /// Anything else.
    Other,
}

/// A range of addresses that can be pinned, or written, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pinnable {
    pub(crate) start: u64,
    /// The last byte.
    pub(crate) last: u64,
    pub(crate) writable: bool,
}

/// A program: its memory, and everything else that a driver may ask. Nothing pinnable is where `memory` is unless a test
/// says so.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) memory: Memory,
    pub(crate) descriptors: BTreeMap<i32, Descriptor>,
    /// Whose eventfd each [`EventId`] is, by the number in [`Descriptor::Eventfd`]. A test removes what is let go.
    pub(crate) events: BTreeMap<EventId, u64>,
    /// `None` if the program is gone.
    pub(crate) space: Option<SpaceId>,
    pub(crate) pinnable: Vec<Pinnable>,
    pub(crate) locked_memory_limit: Option<u64>,
    pub(crate) locked_pages: u64,
    capabilities: BTreeSet<&'static str>,
    next_event: u64,
    /// How often the driver asked whether memory can be pinned.
    pub(crate) pin_checks: u32,
}

impl Program {
    /// A program with so many bytes of memory, no descriptors, no capabilities and no limit of locked memory.
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            memory: Memory(vec![0; bytes]),
            descriptors: BTreeMap::new(),
            events: BTreeMap::new(),
            space: Some(SpaceId(1)),
            pinnable: Vec::new(),
            locked_memory_limit: None,
            locked_pages: 0,
            capabilities: BTreeSet::new(),
            next_event: 0,
            pin_checks: 0,
        }
    }

    /// From now on this range can be pinned.
    pub(crate) fn make_pinnable(&mut self, start: u64, bytes: u64, writable: bool) {
        self.pinnable.push(Pinnable { start, last: start + (bytes - 1), writable });
    }

    /// Gives or takes a capability.
    pub(crate) fn set_capability(&mut self, capability: Capability, has: bool) {
        if has {
            self.capabilities.insert(name(capability));
        } else {
            self.capabilities.remove(name(capability));
        }
    }

    /// Puts bytes into the program's memory, which must be there.
    pub(crate) fn put(&mut self, at: u64, bytes: &[u8]) {
        self.memory.write(UserPtr(at), bytes).expect("memory to put something in");
    }

    /// Bytes of the program's memory, which must be there.
    pub(crate) fn get<const N: usize>(&mut self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.memory.read(UserPtr(at), &mut bytes).expect("memory to look at");
        bytes
    }
}

/// `Capability` has no order of its own.
fn name(capability: Capability) -> &'static str {
    match capability {
        Capability::IpcLock => "CAP_IPC_LOCK",
        Capability::SysRawio => "CAP_SYS_RAWIO",
    }
}

impl UserMemory for Program {
    fn read(&mut self, from: UserPtr, to: &mut [u8]) -> Result<(), BadAddress> {
        self.memory.read(from, to)
    }

    fn write(&mut self, to: UserPtr, from: &[u8]) -> Result<(), BadAddress> {
        self.memory.write(to, from)
    }

    fn mapping_from(&mut self, address: UserPtr) -> Option<MappingId> {
        self.memory.mapping_from(address)
    }
}

impl Caller for Program {
    fn descriptor(&mut self, number: i32) -> Result<Option<FileId>, Errno> {
        match self.descriptors.get(&number) {
            Some(Descriptor::File(file)) => Ok(Some(*file)),
            Some(Descriptor::Eventfd(_) | Descriptor::Other) => Ok(None),
            None => Err(Errno::EBADF),
        }
    }

    fn event(&mut self, number: i32) -> Result<EventId, Errno> {
        match self.descriptors.get(&number) {
            Some(Descriptor::Eventfd(eventfd)) => {
                self.next_event += 1;
                let id = EventId(self.next_event);
                self.events.insert(id, *eventfd);
                Ok(id)
            }
            Some(_) => Err(Errno::EINVAL),
            None => Err(Errno::EBADF),
        }
    }

    fn space(&mut self) -> Result<SpaceId, Errno> {
        self.space.ok_or(Errno::ESRCH)
    }

    fn check_pinnable(&mut self, from: UserPtr, bytes: u64, writable: bool) -> Result<(), Errno> {
        self.pin_checks += 1;
        let Some(last) = from.0.checked_add(bytes - 1) else { return Err(Errno::EFAULT) };
        let mut at = from.0;
        // Each step goes on to the end of some range, which is there or nothing is.
        loop {
            let here = self.pinnable.iter().filter(|range| range.start <= at && at <= range.last);
            let fits = here.filter(|range| range.writable || !writable);
            let Some(end) = fits.map(|range| range.last).max() else { return Err(Errno::EFAULT) };
            if end >= last {
                return Ok(());
            }
            at = end + 1;
        }
    }

    fn locked_memory_limit(&mut self) -> Option<u64> {
        self.locked_memory_limit
    }

    fn locked_pages(&mut self) -> u64 {
        self.locked_pages
    }

    fn has_capability(&mut self, capability: Capability) -> bool {
        self.capabilities.contains(name(capability))
    }
}
