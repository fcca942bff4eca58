//! What a machine with VFIO looks like to the little kernel.

use ioctlab_kernel::{
    Access, CallResult, Caller, Errno, Event, EventId, FileId, Mapping, MappingId, MmapRequest, Opener,
    Reply, Request, Stop, Subsystem, UserPtr, Work,
};
use ioctlab_vfio::GroupReply;

use super::nodes::{self, Device};
use super::quiet::Quiet;
use super::{Opened, State, VfioHost};

impl Subsystem for VfioHost {
    fn open(&mut self, device: u32, file: FileId, _: Access, opener: Opener) -> Result<(), Errno> {
        let mut state = self.lock();
        let opened = match Device::from_number(device) {
            Device::Container => {
                state.vfio.open_container(file);
                Opened::Container
            }
            Device::Group(place) => {
                let minor = state.group_at(place).ok_or(Errno::ENODEV)?;
                state.vfio.open_group(file, minor, opener.rawio)?;
                Opened::Group
            }
            Device::Open(id) => {
                let State { vfio, machine, .. } = &mut *state;
                let result = vfio.open_device(file, id, machine);
                state.settle();
                result?;
                Opened::Device(id)
            }
        };
        state.files.insert(file, opened);
        Ok(())
    }

    fn release(&mut self, file: FileId) {
        let mut state = self.lock();
        let opened = state.files.remove(&file);
        let State { vfio, machine, .. } = &mut *state;
        match opened {
            Some(Opened::Container) => vfio.release_container(file),
            Some(Opened::Group) => vfio.release_group(file, machine),
            Some(Opened::Device(_)) => vfio.release_device(file, machine),
            None => {}
        }
        state.settle();
    }

    fn read_at(
        &mut self,
        file: FileId,
        position: u64,
        to: UserPtr,
        count: usize,
        caller: &mut dyn Caller,
    ) -> CallResult<Reply> {
        let mut state = self.lock();
        match state.opened(file)? {
            Opened::Container => {
                let State { vfio, machine, .. } = &mut *state;
                vfio.container_read(file, to, count, caller, machine).map(|bytes| Reply::Value(bytes as i64))
            }
            Opened::Group => Err(Errno::EINVAL.into()),
            Opened::Device(id) => state.read_device(self, id, position, to, count, caller),
        }
    }

    fn write_at(
        &mut self,
        file: FileId,
        position: u64,
        from: UserPtr,
        count: usize,
        caller: &mut dyn Caller,
    ) -> CallResult<Reply> {
        let mut state = self.lock();
        match state.opened(file)? {
            Opened::Container => {
                let State { vfio, machine, .. } = &mut *state;
                vfio.container_write(file, from, count, caller, machine)
                    .map(|bytes| Reply::Value(bytes as i64))
            }
            Opened::Group => Err(Errno::EINVAL.into()),
            Opened::Device(id) => {
                let reply = state.write_device(self, id, position, from, count, caller);
                state.settle();
                reply
            }
        }
    }

    fn ioctl(
        &mut self,
        file: FileId,
        request: Request,
        argument: u64,
        caller: &mut dyn Caller,
    ) -> CallResult<Reply> {
        let mut state = self.lock();
        let reply = match state.opened(file)? {
            Opened::Container => {
                let State { vfio, machine, .. } = &mut *state;
                let result = vfio.container_ioctl(file, request, argument, caller, machine);
                state.quiet(result)
            }
            Opened::Group => {
                let State { vfio, machine, .. } = &mut *state;
                match vfio.group_ioctl(file, request, argument, caller, machine) {
                    Ok(GroupReply::Value(value)) => state.quiet(Ok(value)),
                    Ok(GroupReply::Device(id)) => {
                        Ok(Reply::Open { device: Device::Open(id).number(), name: nodes::ANONYMOUS })
                    }
                    Err(stop) => Err(stop),
                }
            }
            Opened::Device(id) => state.device_ioctl(id, request, argument, caller),
        };
        state.settle();
        reply
    }

    fn mmap(&mut self, file: FileId, request: &MmapRequest) -> Result<Mapping, Errno> {
        let mut state = self.lock();
        match state.opened(file)? {
            Opened::Container => {
                let State { vfio, machine, .. } = &mut *state;
                vfio.container_mmap(file, request, machine)
            }
            Opened::Group => Err(Errno::ENODEV),
            Opened::Device(id) => state.map_device(id, request),
        }
    }

    fn unmapped(&mut self, mapping: MappingId) {
        // A mapping keeps its file, and that keeps everything else.
        let _ = mapping;
    }

    fn has_deferred(&self) -> bool {
        self.lock().vfio.has_waiting_removals()
    }

    fn retry_deferred(&mut self) {
        let mut state = self.lock();
        let State { vfio, machine, .. } = &mut *state;
        vfio.tick(machine);
        state.settle();
    }

    fn next_event(&mut self) -> Option<Event> {
        self.lock().machine.events.pop_front()
    }

    fn next_node_change(&mut self) -> Option<(u32, bool)> {
        self.lock().node_changes.pop_front()
    }

    fn signalled(&mut self, event: EventId) -> Option<Box<dyn Work>> {
        let mut state = self.lock();
        let work = state.event_signalled(self, event);
        state.settle();
        work
    }
}

impl State {
    fn opened(&self, file: FileId) -> Result<Opened, Errno> {
        self.files.get(&file).copied().ok_or(Errno::EBADF)
    }

    /// The answer of a call that may have taken memory away from devices: it is given when these have done with it.
    fn quiet(&mut self, result: CallResult<i64>) -> CallResult<Reply> {
        let busy = std::mem::take(&mut self.machine.unquiet);
        let result = match result {
            Ok(value) => Ok(value),
            Err(Stop::Fail(errno)) => Err(errno),
            Err(Stop::Wait) => return Err(Stop::Wait),
        };
        if busy.is_empty() {
            Ok(Reply::Value(result?))
        } else {
            Ok(Reply::Work(Box::new(Quiet::new(busy, result))))
        }
    }
}
