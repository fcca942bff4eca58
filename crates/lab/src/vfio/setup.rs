//! Setting up the machine that a lab file describes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use ioctlab_iommu::{Properties, SourceId};
use ioctlab_kernel::{DeviceMemory, ProgramMemory};
use ioctlab_pci::{Address, BarKind, Device, Firmware, lspci, models};
use ioctlab_type1 as type1;
use ioctlab_vfio::{DeviceId, GroupId, GroupKind, GroupNode, Minor, Vfio};

use super::cell::{Bar, Cell, Surroundings};
use super::device::{Parts, Slot};
use super::dma::{Unit, Way};
use super::drivers::{DynamicIds, VFIO_PCI};
use super::machine::Machine;
use super::{Group, State};
use crate::config::{self, Model};

/// Where firmware puts memory BARs, and the rest of them if they are of 64 bits; and I/O BARs.
const MEMORY: Range<u64> = 0xc000_0000..0xfec0_0000;
const MEMORY64: u64 = 0x40_0000_0000;
const PORTS: Range<u64> = 0xc000..0x1_0000;
/// The largest BAR of 64 bits that it puts among those of 32.
const LARGE: u64 = 16 << 20;
/// What firmware leaves in the command register: I/O, memory, SERR.
const COMMAND: u16 = 0x0103;

/// The state of a machine that nobody has used yet.
///
/// # Errors
/// A sentence that says which device can't be had, and why.
pub(super) fn state(
    config: &config::Vfio,
    memory: Arc<dyn DeviceMemory>,
    programs: Arc<dyn ProgramMemory>,
) -> Result<State, String> {
    let properties = Properties {
        address_bits: config.address_width,
        interrupt_remapping: config.interrupt_remapping,
        ..Properties::default()
    };
    let unit = Arc::new(Unit::new(properties, programs));
    let mut vfio = Vfio::new();
    vfio.set_unsafe_noiommu_mode(config.noiommu);
    let parameters = type1::Parameters {
        disable_hugepages: false,
        allow_unsafe_interrupts: config.allow_unsafe_interrupts,
        dma_entry_limit: config.dma_entry_limit,
    };
    vfio.register_iommu_driver(Box::new(type1::Driver::new(parameters)))
        .map_err(|errno| errno.to_string())?;
    let machine = Machine::new(memory, unit, config.locked_memory);
    let mut state = State {
        vfio,
        machine,
        ids: DynamicIds::default(),
        unbinding: BTreeMap::new(),
        unwritten: BTreeSet::new(),
        files: BTreeMap::new(),
        groups: Vec::new(),
        node_changes: VecDeque::new(),
        parameters: config.clone(),
    };
    let mut room = Room { memory: MEMORY, memory64: MEMORY64, ports: PORTS };
    for (place, device) in config.devices.iter().enumerate() {
        let id = DeviceId(place as u32);
        let address = device.address.to_string();
        let failed = |why: String| format!("the device {address}: {why}");
        let slot = slot(id, device, &state.machine, &mut room).map_err(failed)?;
        state.machine.slots.insert(address.clone(), slot);
    }
    let own_groups = free_groups(config);
    let without = config.devices.iter().filter(|device| device.group.is_none());
    for (device, number) in without.zip(own_groups) {
        if let Some(slot) = state.machine.slots.get_mut(&device.address.to_string()) {
            slot.own_group = number;
        }
    }
    state.groups = groups(&state.machine);
    for device in &config.devices {
        let address = device.address.to_string();
        if let Some(driver) = &device.driver {
            let failed = |errno| format!("the device {address}: binding {driver}: {errno}");
            if driver == VFIO_PCI
                && let Some(slot) = state.machine.slots.get_mut(&address)
            {
                slot.driver_override = Some(driver.clone());
            }
            state.attach(&address, driver).map_err(failed)?;
        }
    }
    state.node_changes.clear();
    Ok(state)
}

/// The numbers that no group has, lowest first: groups that are made up have numbers among the others.
fn free_groups(config: &config::Vfio) -> impl Iterator<Item = u32> + use<> {
    let taken: BTreeSet<u32> = config.devices.iter().filter_map(|device| device.group).collect();
    (0..).filter(move |number| !taken.contains(number))
}

/// The groups that there can be, those with an IOMMU first.
fn groups(machine: &Machine) -> Vec<Group> {
    let numbers = |of| {
        let all = machine.slots.values().map(Slot::vfio_group);
        all.filter(|(_, kind)| *kind == of).map(|(id, _)| id).collect::<BTreeSet<GroupId>>()
    };
    let group = |kind| {
        move |id| Group {
            name: GroupNode { minor: Minor(0), group: id, kind }.name(),
            id,
            kind,
            is_there: false,
        }
    };
    let with = numbers(GroupKind::Iommu).into_iter().map(group(GroupKind::Iommu));
    with.chain(numbers(GroupKind::Noiommu).into_iter().map(group(GroupKind::Noiommu))).collect()
}

/// Where there are addresses left for firmware to give out.
struct Room {
    memory: Range<u64>,
    memory64: u64,
    ports: Range<u64>,
}

impl Room {
    /// An address for a BAR.
    ///
    /// # Errors
    /// There is none left.
    fn place(&mut self, bar: &ioctlab_pci::Bar) -> Result<u64, String> {
        let range = match bar.kind {
            BarKind::Io => &mut self.ports,
            BarKind::Memory64 if bar.size > LARGE => {
                let start = self.memory64.next_multiple_of(bar.size);
                self.memory64 = start + bar.size;
                return Ok(start);
            }
            _ => &mut self.memory,
        };
        let start = range.start.next_multiple_of(bar.size);
        if start + bar.size > range.end {
            return Err(format!("there are no addresses left for {} bytes", bar.size));
        }
        range.start = start + bar.size;
        Ok(start)
    }
}

fn slot(
    id: DeviceId,
    config: &config::VfioDevice,
    machine: &Machine,
    room: &mut Room,
) -> Result<Slot, String> {
    let mut contents = Vec::new();
    let mut firmware = Firmware { bars: [0; 6], rom: 0, line: config.interrupt_line, command: COMMAND };
    let Device { mut function, model } = match &config.model {
        Model::Edu => models::edu::device(),
        Model::Test { memory } => models::test::device(*memory),
        Model::Clone(clone) => {
            let found = clone.dump.firmware();
            let line = if found.line == 0 { config.interrupt_line } else { found.line };
            firmware = Firmware { line, ..found };
            contents.extend(clone.contents.iter().cloned());
            let overrides = lspci::Overrides { bars: clone.bars, rom: clone.rom.clone() };
            clone.dump.device(&overrides).map_err(|problem| problem.to_string())?
        }
    };
    let mut areas = [None; 6];
    let mut bars = [None; 6];
    for index in 0..6 {
        let Some(bar) = function.bar(index as u8) else { continue };
        let (Some(area), Some(at), Some(address)) =
            (areas.get_mut(index), bars.get_mut(index), firmware.bars.get_mut(index))
        else {
            continue;
        };
        if let Some(given) = config.bar_addresses.get(index).filter(|given| **given != 0) {
            *address = *given;
        } else if *address == 0 {
            *address = room.place(&bar).map_err(|why| format!("BAR {index}: {why}"))?;
        }
        if bar.kind != BarKind::Io {
            let bytes = bar.size.next_multiple_of(4096);
            let made =
                machine.memory.create(bytes).map_err(|errno| format!("memory for BAR {index}: {errno}"))?;
            *area = Some(made);
            let shown = match config.model {
                Model::Edu => bar.registers.min(models::edu::REGISTERS),
                _ => bar.registers,
            };
            *at = Some(Bar { area: made, registers: shown, empty: bar.registers - shown });
        }
    }
    for (index, bytes) in contents {
        if let Some(Some(area)) = areas.get(index) {
            machine.memory.write(*area, 0, &bytes);
        }
    }
    function.configure(&firmware);
    let way = Arc::new(Way::new(source(config.address), Arc::clone(&machine.unit)));
    let surroundings = Surroundings::new(Arc::clone(&machine.memory), Arc::clone(&way), bars);
    let cell = Arc::new(Cell::new(model, surroundings));
    let native = config.driver.clone().filter(|driver| driver != VFIO_PCI);
    let place = config.address;
    Ok(Slot::new(Parts { id, place, group: config.group, native, function, cell, way, areas }))
}

fn source(address: Address) -> SourceId {
    SourceId(address.requester())
}
