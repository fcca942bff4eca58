//! The wiring of a machine with VFIO: its PCI devices and IOMMU, Linux's drivers on them, and its part of sysfs.

mod access;
mod calls;
mod cell;
mod device;
mod dma;
mod drivers;
mod machine;
mod nodes;
mod quiet;
mod rom;
mod setup;
mod subsystem;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ioctlab_kernel::{DeviceMemory, DeviceNumber, Errno, EventId, FileId, Node, ProgramMemory, Tree};
use ioctlab_vfio::{DeviceId, GroupId, GroupKind, Minor, Vfio};

use crate::config;
use device::Slot;
use drivers::{DynamicIds, Unbinding};
use machine::Machine;
use tree::Sysfs;

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
    /// Eventfds that were signalled, and whose writes to registers haven't begun: what comes meanwhile is the same write.
    unwritten: BTreeSet<EventId>,
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
