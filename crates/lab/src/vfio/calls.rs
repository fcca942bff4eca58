//! Calls on devices: what their driver answers, and what is left to be done by the machine.

use std::sync::Arc;

use ioctlab_abi::vfio::PCI_ROM_REGION;
use ioctlab_kernel::{
    AreaId, CallResult, Caller, Errno, EventId, Mapping, MmapRequest, Reply, Request, UserMemory, UserPtr,
    Work,
};
use ioctlab_vfio::DeviceId;
use ioctlab_vfio_pci::{BarAccess, BarWrite, Done, Transfer};

use super::access::{Access, Outcome, Reset};
use super::{State, VfioHost};

/// The ROM's place among a device's regions.
const ROM: usize = PCI_ROM_REGION as usize;

impl State {
    pub(super) fn read_device(
        &mut self,
        host: &VfioHost,
        id: DeviceId,
        position: u64,
        to: UserPtr,
        count: usize,
        caller: &mut dyn Caller,
    ) -> CallResult<Reply> {
        let transfer = self.machine.with_vfio(id, |vfio, seat| vfio.read(position, to, count, caller, seat));
        let access = match transfer.ok_or(Errno::ENODEV)?? {
            Transfer::Done(bytes) => return Ok(Reply::Value(bytes as i64)),
            Transfer::Reset(bytes) => return self.reset(&[id], bytes as i64),
            Transfer::Bar(access) => access,
        };
        let memory: &mut dyn UserMemory = caller;
        if access.bar == ROM {
            let rom = self.machine.slot_of(id).map_or(&[][..], |slot| slot.function.rom());
            let byte = |at: u64| usize::try_from(at).ok().and_then(|at| rom.get(at)).copied().unwrap_or(0xff);
            let bytes = access.read_by(|at, _| u32::from_le_bytes([0, 1, 2, 3].map(|next| byte(at + next))));
            memory.write(to, &bytes)?;
            return Ok(Reply::Value(access.count as i64));
        }
        if let Some(area) = self.memory_of(id, &access) {
            let mut bytes = vec![0; access.count];
            self.machine.memory.read(area, access.offset, &mut bytes);
            memory.write(to, &bytes)?;
            return Ok(Reply::Value(access.count as i64));
        }
        Ok(Reply::Work(Box::new(self.access(host, id, access, to)?)))
    }

    pub(super) fn write_device(
        &mut self,
        host: &VfioHost,
        id: DeviceId,
        position: u64,
        from: UserPtr,
        count: usize,
        caller: &mut dyn Caller,
    ) -> CallResult<Reply> {
        let transfer =
            self.machine.with_vfio(id, |vfio, seat| vfio.write(position, from, count, caller, seat));
        let access = match transfer.ok_or(Errno::ENODEV)?? {
            Transfer::Done(bytes) => return Ok(Reply::Value(bytes as i64)),
            Transfer::Reset(bytes) => return self.reset(&[id], bytes as i64),
            Transfer::Bar(access) => access,
        };
        if let (Some(area), Some(bytes)) = (self.memory_of(id, &access), &access.bytes) {
            self.machine.memory.write(area, access.offset, bytes);
            return if bytes.len() < access.count {
                Err(Errno::EFAULT.into())
            } else {
                Ok(Reply::Value(access.count as i64))
            };
        }
        Ok(Reply::Work(Box::new(self.access(host, id, access, from)?)))
    }

    /// The memory that an access is of, if none of it is a register, nor left out: that is there at once.
    fn memory_of(&self, id: DeviceId, access: &BarAccess) -> Option<AreaId> {
        let slot = self.machine.slot_of(id)?;
        let registers = slot.function.bar(access.bar as u8)?.registers;
        let is_memory = access.offset >= registers && access.excluded.is_empty();
        slot.areas.get(access.bar).copied().flatten().filter(|_| is_memory)
    }

    fn access(&self, host: &VfioHost, id: DeviceId, access: BarAccess, to: UserPtr) -> Result<Access, Errno> {
        let slot = self.machine.slot_of(id).ok_or(Errno::ENODEV)?;
        let registers = slot.function.bar(access.bar as u8).ok_or(Errno::EINVAL)?.registers;
        let (host, cell) = (host.clone(), Arc::clone(&slot.cell));
        let outcome = Outcome::Read(Vec::new());
        Ok(Access { host, id, event: None, cell, registers, access, to, outcome })
    }

    pub(super) fn device_ioctl(
        &mut self,
        id: DeviceId,
        request: Request,
        argument: u64,
        caller: &mut dyn Caller,
    ) -> CallResult<Reply> {
        let done = self.machine.with_vfio(id, |vfio, seat| vfio.ioctl(request, argument, caller, seat));
        match done.ok_or(Errno::ENODEV)?? {
            Done::Value(value) => Ok(Reply::Value(value)),
            Done::Reset => self.reset(&[id], 0),
            Done::HotReset(tokens) => {
                let ids: Vec<DeviceId> = tokens.into_iter().map(DeviceId).collect();
                for id in &ids {
                    self.machine.with_vfio(*id, |vfio, seat| vfio.reset(seat));
                }
                self.reset(&ids, 0)
            }
        }
    }

    /// The answer of a call that has reset devices: `value`, once their models are, too.
    fn reset(&self, ids: &[DeviceId], value: i64) -> CallResult<Reply> {
        let cells = ids.iter().filter_map(|id| Some(Arc::clone(&self.machine.slot_of(*id)?.cell))).collect();
        Ok(Reply::Work(Box::new(Reset { cells, value })))
    }

    pub(super) fn map_device(&mut self, id: DeviceId, request: &MmapRequest) -> Result<Mapping, Errno> {
        let mapping =
            self.machine.with_vfio(id, |vfio, seat| vfio.mmap(request, seat)).ok_or(Errno::ENODEV)??;
        if let Some(slot) = self.machine.slot_of(id) {
            // A region's number is above its pages.
            slot.cell.show((request.page >> (ioctlab_abi::vfio::PCI_OFFSET_SHIFT - 12)) as u8);
        }
        Ok(mapping)
    }

    /// A program has signalled an eventfd that is being watched.
    pub(super) fn event_signalled(&mut self, host: &VfioHost, event: EventId) -> Option<Box<dyn Work>> {
        let ids: Vec<DeviceId> =
            self.slots().filter(|slot| slot.vfio.is_some()).map(|slot| slot.id).collect();
        for id in ids {
            let write = self.machine.with_vfio(id, |vfio, seat| vfio.signalled(event, seat)).flatten();
            if let Some(BarWrite { bar, offset, width, data }) = write {
                let bytes = data.to_le_bytes().get(..width.bytes()).unwrap_or_default().to_vec();
                let access =
                    BarAccess { bar, offset, count: bytes.len(), excluded: 0..0, bytes: Some(bytes) };
                let access = self.access(host, id, access, UserPtr(0)).ok()?;
                let is_first = self.unwritten.insert(event);
                return is_first.then(|| Box::new(Access { event: Some(event), ..access }) as Box<dyn Work>);
            }
        }
        None
    }
}
