//! The process that makes a trapped call, as drivers may ask about it.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use ioctlab_kernel::{
    BadAddress, Caller, Capability, Errno, EventId, FileId, MappingId, SpaceId, UserMemory, UserPtr,
};
use rustix::process::PidfdGetfdFlags;

use crate::descriptor::{self, Identity};
use crate::eventfds::Eventfds;
use crate::memory::ClientMemory;
use crate::process_limits;
use crate::program_memory::Programs;

/// A calling process, with what of the server's state tells about it.
pub(crate) struct Process<'a> {
    pub(crate) memory: &'a mut ClientMemory,
    pub(crate) thread: i32,
    /// Its number; that of a thread that is gone is its own.
    pub(crate) group: i32,
    pub(crate) pidfd: Option<&'a OwnedFd>,
    pub(crate) identities: &'a HashMap<Identity, FileId>,
    pub(crate) eventfds: &'a mut Eventfds,
    pub(crate) programs: &'a Programs,
}

impl Caller for Process<'_> {
    fn descriptor(&mut self, number: i32) -> Result<Option<FileId>, Errno> {
        let number = u32::try_from(number).map_err(|_| Errno::EBADF)?;
        let identity = descriptor::behind(self.thread, number).map_err(|_| Errno::EBADF)?;
        Ok(self.identities.get(&identity).copied())
    }

    fn event(&mut self, number: i32) -> Result<EventId, Errno> {
        let pidfd = self.pidfd.ok_or(Errno::EBADF)?;
        let copied = rustix::process::pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty());
        let copy = copied.map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
        self.eventfds.hold(copy)
    }

    fn space(&mut self) -> Result<SpaceId, Errno> {
        let pidfd = self.pidfd.ok_or(Errno::ESRCH)?;
        let space = self.programs.space_of(self.group, self.thread, pidfd);
        space.map_err(|error| error.raw_os_error().map_or(Errno::ENOMEM, Errno::from_raw))
    }

    fn check_pinnable(&mut self, from: UserPtr, bytes: u64, writable: bool) -> Result<(), Errno> {
        // A process without memory that could be reached has none that could be pinned.
        let space = self.space().map_err(|_| Errno::EFAULT)?;
        self.programs.check_pinnable(space, from.0, bytes, writable)
    }

    fn locked_memory_limit(&mut self) -> Option<u64> {
        process_limits::locked_memory_limit(self.group)
    }

    fn locked_pages(&mut self) -> u64 {
        process_limits::locked_pages(self.group)
    }

    fn has_capability(&mut self, capability: Capability) -> bool {
        process_limits::has_capability(self.thread, capability)
    }
}

impl UserMemory for Process<'_> {
    fn read(&mut self, from: UserPtr, to: &mut [u8]) -> Result<(), BadAddress> {
        self.memory.read(from, to)
    }

    fn write(&mut self, to: UserPtr, from: &[u8]) -> Result<(), BadAddress> {
        self.memory.write(to, from)
    }

    fn check_writable(&mut self, to: UserPtr, length: usize) -> Result<(), BadAddress> {
        self.memory.check_writable(to, length)
    }

    fn mapping_from(&mut self, address: UserPtr) -> Option<MappingId> {
        self.memory.mapping_from(address)
    }
}
