//! The wiring of a machine with VFIO: its PCI devices and IOMMU, Linux's drivers on them, and its part of sysfs.

mod access;
mod cell;
mod device;
mod dma;
mod drivers;
mod machine;
mod nodes;
mod quiet;
mod setup;
mod subsystem;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ioctlab_kernel::{
    AreaId, CallResult, Caller, DeviceMemory, DeviceNumber, Errno, EventId, FileId, Mapping, MmapRequest,
    Node, ProgramMemory, Reply, Request, Tree, UserMemory, UserPtr, Work,
};
use ioctlab_vfio::{DeviceId, GroupId, GroupKind, Minor, Vfio};
use ioctlab_vfio_pci::{BarAccess, BarWrite, Done, Transfer};

use crate::config;
use access::{Access, Outcome, Reset};
use device::Slot;
use drivers::{DynamicIds, Unbinding};
use machine::Machine;
use tree::Sysfs;

/// The ROM's place among a device's regions.
const ROM: usize = ioctlab_abi::vfio::PCI_ROM_REGION as usize;

/// Something done to the machine from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VfioRequest {
    /// What devices there are, and who has them.
    List,
    /// Pull a device, once nobody uses it.
    Unplug(String),
    /// Put back a device that was pulled.
    Plug(String),
    /// Bind a driver to a device that has none.
    Bind(String, String),
    /// Take a device from its driver, once nobody uses it.
    Unbind(String),
    /// Whether a device is still to be given back, which was to be pulled or taken from its driver. The answer is empty if not.
    Waits(String),
    /// Have a device report an error that can't be corrected.
    Error(String),
    /// What devices tried to access and couldn't, since this was last asked.
    Faults,
}

/// A machine with VFIO. Shared between the kernel that serves calls, sysfs, and the outside.
#[derive(Clone)]
pub(crate) struct VfioHost(Arc<Mutex<State>>);

struct State {
    vfio: Vfio<Machine>,
    machine: Machine,
    ids: DynamicIds,
    /// Devices that are to be given back.
    unbinding: BTreeMap<DeviceId, Unbinding>,
    files: BTreeMap<FileId, Opened>,
    /// The groups that there can be, by their places among the nodes.
    groups: Vec<Group>,
    node_changes: VecDeque<(u32, bool)>,
    parameters: config::Vfio,
}

/// What an open file is of.
#[derive(Clone, Copy)]
enum Opened {
    Container,
    Group,
    Device(DeviceId),
}

/// A group that there can be.
struct Group {
    /// Its name in `/dev/vfio`.
    name: String,
    id: GroupId,
    kind: GroupKind,
    is_there: bool,
}

impl VfioHost {
    /// Sets up the machine that a lab file describes.
    ///
    /// # Errors
    /// A sentence that says which device can't be had, and why.
    pub(crate) fn new(
        config: &config::Vfio,
        memory: Arc<dyn DeviceMemory>,
        programs: Arc<dyn ProgramMemory>,
    ) -> Result<Self, String> {
        Ok(Self(Arc::new(Mutex::new(setup::state(config, memory, programs)?))))
    }

    /// The machine's nodes.
    pub(crate) fn nodes(&self, subsystem: usize) -> Vec<Node> {
        let state = self.lock();
        nodes::nodes(state.groups.iter().map(|group| (&*group.name, group.is_there)), subsystem)
    }

    /// Its part of sysfs.
    pub(crate) fn tree(&self) -> Arc<dyn Tree> {
        Arc::new(Sysfs(self.clone()))
    }

    /// Does something from outside; the answer is text for people. What waits until a device isn't used any more goes on
    /// waiting after this has returned.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(crate) fn act(&self, request: &VfioRequest) -> Result<String, String> {
        let mut state = self.lock();
        let known = |state: &State, address: &str| {
            let found = state.machine.slots.values().find(|slot| slot.address() == full(address));
            found
                .map(|slot| slot.address().to_owned())
                .ok_or_else(|| format!("there is no device `{address}`"))
        };
        let failed = |what: &str, errno: Errno| format!("{what}: {errno}");
        match request {
            VfioRequest::List => return Ok(state.list()),
            VfioRequest::Faults => return Ok(state.machine.unit.take_faults()),
            VfioRequest::Waits(address) => {
                let address = known(&state, address)?;
                let id = state.machine.slots.get(&address).map(|slot| slot.id);
                let waits = id.is_some_and(|id| state.unbinding.contains_key(&id));
                return Ok(if waits { format!("{address} is in use\n") } else { String::new() });
            }
            VfioRequest::Plug(address) => {
                let address = known(&state, address)?;
                state.plug(&address).map_err(|_| format!("the device {address} is there already"))?;
            }
            VfioRequest::Bind(address, driver) => {
                let address = known(&state, address)?;
                let slot = state.slot(&address).ok_or_else(|| format!("the device {address} isn't there"))?;
                if let Some(bound) = slot.driver() {
                    return Err(format!("{bound} is bound to {address} already"));
                }
                let drivers = state.driver_names();
                if !drivers.contains(&**driver) {
                    let drivers = drivers.into_iter().collect::<Vec<_>>().join(", ");
                    return Err(format!("the lab has no driver `{driver}`; it has {drivers}"));
                }
                state.set_override(&address, driver).map_err(|errno| failed(driver, errno))?;
                let bound = state.bind(driver, &address);
                bound.map_err(|errno| failed(&format!("binding {driver} to {address}"), errno))?;
            }
            VfioRequest::Unplug(address) | VfioRequest::Unbind(address) => {
                let address = known(&state, address)?;
                let (sender, receiver) = std::sync::mpsc::channel();
                let done = Box::new(move |result| {
                    let _ = sender.send(result);
                });
                match request {
                    VfioRequest::Unplug(_) => state.remove_device(&address, 0, done),
                    _ => match state.slot(&address).and_then(Slot::driver).map(str::to_owned) {
                        Some(driver) => state.unbind(&driver, &address, 0, done),
                        None => return Err(format!("no driver is bound to {address}")),
                    },
                }
                state.settle();
                return match receiver.try_recv() {
                    Ok(Ok(_)) => Ok(String::new()),
                    Ok(Err(errno)) => Err(failed(&address, errno)),
                    Err(_) => Ok(format!("{address} is in use: its user has been asked for it\n")),
                };
            }
            VfioRequest::Error(address) => {
                let address = known(&state, address)?;
                let id = state.slot(&address).ok_or_else(|| format!("the device {address} isn't there"))?.id;
                state.machine.with_vfio(id, |vfio, _| vfio.error());
            }
        }
        state.settle();
        Ok(String::new())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An address with its segment.
fn full(address: &str) -> String {
    address.parse::<ioctlab_pci::Address>().map_or_else(|_| address.to_owned(), |address| address.to_string())
}

impl State {
    /// The devices that are there.
    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.machine.slots.values().filter(|slot| !slot.pulled)
    }

    /// A device that is there.
    fn slot(&self, address: &str) -> Option<&Slot> {
        self.machine.slots.get(address).filter(|slot| !slot.pulled)
    }

    fn read_config(&self, address: &str, offset: u64, size: usize) -> Option<Vec<u8>> {
        Some(self.slot(address)?.read_config(offset, size))
    }

    fn write_config(&mut self, address: &str, offset: u64, bytes: &[u8]) -> Result<Option<usize>, Errno> {
        let slot = self.machine.slots.get_mut(address).filter(|slot| !slot.pulled).ok_or(Errno::ENODEV)?;
        slot.write_config(offset, bytes).map(Some)
    }

    /// The minor number of the group at a place among the nodes, if it is there.
    fn group_at(&self, place: u32) -> Option<Minor> {
        let group = self.groups.get(usize::try_from(place).ok()?)?;
        self.vfio.group_node(group.id).filter(|node| node.kind == group.kind).map(|node| node.minor)
    }

    /// The groups that are there: their names, and their nodes' numbers.
    fn vfio_groups(&self) -> Vec<(String, DeviceNumber)> {
        let there = self.groups.iter().enumerate().filter(|(_, group)| group.is_there);
        there
            .map(|(place, group)| {
                (group.name.clone(), DeviceNumber { major: nodes::GROUP_MAJOR, minor: place as u32 })
            })
            .collect()
    }

    /// Notes which groups' nodes have come or gone.
    fn update_nodes(&mut self) {
        for (place, group) in self.groups.iter_mut().enumerate() {
            let is_there = self.vfio.group_node(group.id).is_some_and(|node| node.kind == group.kind);
            if std::mem::replace(&mut group.is_there, is_there) != is_there {
                self.node_changes.push_back((nodes::Device::Group(place as u32).number(), is_there));
            }
        }
    }

    /// Does what the last call has brought about.
    fn settle(&mut self) {
        self.finish_removals();
        let files = self.files.iter().filter(|(_, opened)| matches!(opened, Opened::Group));
        let groups = files.filter_map(|(file, _)| Some((*file, self.vfio.group_of(*file)?.0))).collect();
        if *self.machine.group_files != groups {
            self.machine.group_files = Arc::new(groups);
        }
        self.update_nodes();
    }

    fn module_users(&self, module: &str) -> usize {
        let devices = self.slots().filter(|slot| slot.driver() == Some(drivers::VFIO_PCI)).count();
        match module {
            "vfio_pci" => devices,
            "vfio_iommu_type1" => self.vfio.iommus(),
            _ => self.files.len(),
        }
    }

    fn parameter(&self, module: &str, name: &str) -> String {
        let flag = |on: bool| if on { "Y" } else { "N" }.to_owned();
        match (module, name) {
            ("vfio", _) => flag(self.parameters.noiommu),
            (_, "allow_unsafe_interrupts") => flag(self.parameters.allow_unsafe_interrupts),
            (_, "dma_entry_limit") => self.parameters.dma_entry_limit.to_string(),
            (_, "ids") => String::new(),
            _ => flag(false),
        }
    }

    fn list(&self) -> String {
        let line = |slot: &Slot| {
            let ids = |offset| slot.function.config().read(offset, 2);
            let group = slot.group().map_or("no group".to_owned(), |group| format!("group {group}"));
            let state = if slot.pulled { "unplugged" } else { slot.driver().unwrap_or("no driver") };
            let users =
                self.files.values().filter(|opened| matches!(opened, Opened::Device(id) if *id == slot.id));
            let users = match users.count() {
                0 => String::new(),
                1 => ", open once".to_owned(),
                count => format!(", open {count} times"),
            };
            format!("{} {:04x}:{:04x} {group}, {state}{users}\n", slot.address(), ids(0), ids(2))
        };
        self.machine.slots.values().map(line).collect()
    }
}

/// Calls on devices.
impl State {
    fn read_device(
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
        let start = usize::try_from(access.offset).unwrap_or(usize::MAX);
        if access.bar == ROM {
            let rom = self.machine.slot_of(id).map_or(&[][..], |slot| slot.function.rom());
            let byte = |at: usize| rom.get(at).copied().unwrap_or(0xff);
            let bytes: Vec<u8> = (0..access.count).map(|at| byte(start.saturating_add(at))).collect();
            memory.write(to, &bytes)?;
            return Ok(Reply::Value(access.count as i64));
        }
        if let Some(area) = self.memory_of(id, &access) {
            let mut bytes = vec![0; access.count];
            self.machine.memory.read(area, access.offset, &mut bytes);
            memory.write(to, &bytes)?;
            return Ok(Reply::Value(access.count as i64));
        }
        self.access(host, id, access, to)
    }

    fn write_device(
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
        self.access(host, id, access, from)
    }

    /// The memory that an access is of, if none of it is a register, nor left out: that is there at once.
    fn memory_of(&self, id: DeviceId, access: &BarAccess) -> Option<AreaId> {
        let slot = self.machine.slot_of(id)?;
        let registers = slot.function.bar(access.bar as u8)?.registers;
        let is_memory = access.offset >= registers && access.excluded.is_empty();
        slot.areas.get(access.bar).copied().flatten().filter(|_| is_memory)
    }

    fn access(&self, host: &VfioHost, id: DeviceId, access: BarAccess, to: UserPtr) -> CallResult<Reply> {
        let slot = self.machine.slot_of(id).ok_or(Errno::ENODEV)?;
        let registers = slot.function.bar(access.bar as u8).ok_or(Errno::EINVAL)?.registers;
        let (host, cell) = (host.clone(), Arc::clone(&slot.cell));
        let outcome = Outcome::Read(Vec::new());
        Ok(Reply::Work(Box::new(Access { host, id, cell, registers, access, to, outcome })))
    }

    fn device_ioctl(
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

    fn map_device(&mut self, id: DeviceId, request: &MmapRequest) -> Result<Mapping, Errno> {
        let mapping =
            self.machine.with_vfio(id, |vfio, seat| vfio.mmap(request, seat)).ok_or(Errno::ENODEV)??;
        if let Some(slot) = self.machine.slot_of(id) {
            // A region's number is above its pages.
            slot.cell.show((request.page >> (ioctlab_abi::vfio::PCI_OFFSET_SHIFT - 12)) as u8);
        }
        Ok(mapping)
    }

    /// A program has signalled an eventfd that is being watched.
    fn event_signalled(&mut self, host: &VfioHost, event: EventId) -> Option<Box<dyn Work>> {
        let ids: Vec<DeviceId> =
            self.slots().filter(|slot| slot.vfio.is_some()).map(|slot| slot.id).collect();
        for id in ids {
            let write = self.machine.with_vfio(id, |vfio, seat| vfio.signalled(event, seat)).flatten();
            if let Some(BarWrite { bar, offset, width, data }) = write {
                let bytes = data.to_le_bytes().get(..width.bytes()).unwrap_or_default().to_vec();
                let access =
                    BarAccess { bar, offset, count: bytes.len(), excluded: 0..0, bytes: Some(bytes) };
                return match self.access(host, id, access, UserPtr(0)) {
                    Ok(Reply::Work(work)) => Some(work),
                    _ => None,
                };
            }
        }
        None
    }
}
