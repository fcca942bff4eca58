//! Devices as they are set up, what mappings of their registers show, and what their configuration space does to them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ioctlab_kernel::{AreaId, BadAddress, DeviceMemory, Errno, ProgramMemory, SpaceId};
use ioctlab_pci::InterruptMode;
use ioctlab_vfio_pci::{Function, Messages};

use super::device::Surroundings;
use super::{State, setup};
use crate::config;

/// Registers of `edu`, and what some hold that holds nothing.
const LIVENESS: u64 = 0x04;
const STATUS: u64 = 0x24;
const RAISE: u64 = 0x60;
const ACKNOWLEDGE: u64 = 0x64;
const ONES: u32 = u32::MAX;

/// Areas, each as far as it was written.
#[derive(Default)]
struct Areas(Mutex<Vec<Vec<u8>>>);

impl DeviceMemory for Areas {
    fn create(&self, _: u64) -> Result<AreaId, Errno> {
        let mut areas = self.0.lock().unwrap();
        areas.push(Vec::new());
        Ok(AreaId(areas.len() as u64 - 1))
    }
    fn remove(&self, _: AreaId) {}
    fn read(&self, area: AreaId, offset: u64, to: &mut [u8]) {
        let area = &self.0.lock().unwrap()[area.0 as usize];
        for (at, to) in (offset as usize..).zip(to) {
            *to = area.get(at).copied().unwrap_or(0);
        }
    }
    fn write(&self, area: AreaId, offset: u64, from: &[u8]) {
        let area = &mut self.0.lock().unwrap()[area.0 as usize];
        let range = offset as usize..offset as usize + from.len();
        area.resize(area.len().max(range.end), 0);
        area[range].copy_from_slice(from);
    }
    fn set_reachable(&self, _: AreaId, _: bool) {}
}

/// Programs that have no memory.
struct Nobody;

impl ProgramMemory for Nobody {
    fn read(&self, _: SpaceId, _: u64, _: &mut [u8]) -> Result<(), BadAddress> {
        Err(BadAddress)
    }
    fn write(&self, _: SpaceId, _: u64, _: &[u8]) -> Result<(), BadAddress> {
        Err(BadAddress)
    }
}

struct World {
    state: State,
    memory: Arc<Areas>,
}

impl World {
    /// Devices from 0000:01:00.0 on, each with these keys.
    fn new(devices: &[&str]) -> Self {
        Self::try_new(devices).unwrap()
    }

    fn try_new(devices: &[&str]) -> Result<Self, String> {
        let mut text = "[vfio]\n".to_owned();
        for (number, keys) in (1..).zip(devices) {
            text += &format!("[[vfio.device]]\naddress = \"{}\"\n{keys}\n", Self::address(number));
        }
        let config = config::Lab::parse("devices", &text).unwrap().vfio.unwrap();
        let memory = Arc::new(Areas::default());
        let state = setup::state(&config, memory.clone(), Arc::new(Nobody))?;
        Ok(Self { state, memory })
    }

    fn address(number: usize) -> String {
        format!("0000:{:02x}:{:02x}.0", number % 256, number / 256)
    }

    /// Maps BAR 0 of the first device.
    fn map(&self) -> AreaId {
        let slot = &self.state.machine.slots[&Self::address(1)];
        slot.cell.show(0);
        slot.areas[0].unwrap()
    }

    fn load(&self, area: AreaId, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.memory.read(area, offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn store(&self, area: AreaId, offset: u64, value: u32) {
        self.memory.write(area, offset, &value.to_le_bytes());
    }

    /// Reads a register by a call.
    fn read(&self, offset: u64) -> u32 {
        let slot = &self.state.machine.slots[&Self::address(1)];
        slot.cell.with(|model, bus| model.read(0, offset, 4, bus) as u32).unwrap()
    }

    fn write(&self, offset: u64, value: u32) {
        let slot = &self.state.machine.slots[&Self::address(1)];
        slot.cell.with(|model, bus| model.write(0, offset, 4, value.into(), bus)).unwrap();
    }

    /// Writes to configuration space, as by sysfs.
    fn configure(&mut self, offset: u64, bytes: &[u8]) {
        let slot = self.state.machine.slots.get_mut(&Self::address(1)).unwrap();
        assert_eq!(slot.write_config(offset, bytes), Ok(bytes.len()));
    }

    fn config(&self, offset: usize, width: usize) -> u32 {
        self.state.machine.slots[&Self::address(1)].function.config().read(offset, width)
    }

    /// Has the driver enable and disable messages.
    fn with_seat(&mut self, act: impl FnOnce(&mut dyn Function)) {
        let slot = self.state.machine.slots.get_mut(&Self::address(1)).unwrap();
        let surroundings = Surroundings { neighbours: None, group_files: Arc::default() };
        slot.with_vfio(&*self.memory, &surroundings, |_, seat| act(seat)).unwrap();
    }

    fn mode(&self) -> InterruptMode {
        self.state.machine.slots[&Self::address(1)].function.interrupt_mode()
    }
}

#[test]
fn what_is_no_register_is_ones_in_mappings() {
    let world = World::new(&["model = \"edu\""]);
    let area = world.state.machine.slots[&World::address(1)].areas[0].unwrap();
    assert_eq!([0, 0xa0, 0xf_fffc].map(|at| world.load(area, at)), [0; 3], "it isn't mapped yet");
    assert_eq!(world.map(), area);
    for at in (0..1 << 20).step_by(4) {
        assert_eq!(world.load(area, at), world.read(at), "{at:#x}");
    }
    // Mapped once more, it isn't brought back to that behind a program's back.
    world.store(area, 0x1000, 5);
    world.map();
    assert_eq!(world.load(area, 0x1000), 5);
    // What is memory in other devices is left alone.
    let world = World::new(&["model = \"test\""]);
    let area = world.map();
    for at in (0..4096).step_by(4) {
        assert_eq!(world.load(area, at), world.read(at), "{at:#x}");
    }
    let slot = &world.state.machine.slots[&World::address(1)];
    slot.cell.show(2);
    assert_eq!([0, 4096, 0xf_fffc].map(|at| world.load(slot.areas[2].unwrap(), at)), [0; 3]);
}

#[test]
fn stores_act_once() {
    let world = World::new(&["model = \"edu\""]);
    let area = world.map();
    world.store(area, RAISE, 3);
    assert_eq!(world.read(STATUS), 3);
    assert_eq!(world.load(area, RAISE), ONES, "that holds nothing");
    world.write(ACKNOWLEDGE, 3);
    assert_eq!((world.read(STATUS), world.load(area, STATUS)), (0, 0), "it isn't raised again");
    world.store(area, ACKNOWLEDGE, 1);
    world.read(STATUS);
    world.write(RAISE, 1);
    assert_eq!(world.read(STATUS), 1, "nor acknowledged again");
    // Also a store that makes no difference, or isn't allowed.
    world.write(LIVENESS, 0x1234);
    world.store(area, LIVENESS, 0x1234);
    world.store(area, 0, 7);
    assert_eq!((world.read(LIVENESS), world.load(area, LIVENESS)), (!0x1234, !0x1234));
    assert_eq!(world.load(area, 0), 0x0100_00ed);
    world.write(LIVENESS, 5);
    assert_eq!((world.read(LIVENESS), world.load(area, LIVENESS)), (!5, !5));
}

/// As `setpci` does it, past any driver.
#[test]
fn configuration_space_resets_the_model() {
    let mut world = World::new(&["model = \"test\""]);
    let area = world.map();
    world.write(8, 5);
    let express = 0x60;
    assert_eq!(world.config(express, 1), 0x10);
    world.configure(express as u64 + 8, &[0xff, 0x7f]);
    assert_eq!(world.read(8), 5);
    world.configure(express as u64 + 9, &[0x80]);
    assert_eq!((world.read(8), world.load(area, 8)), (0, 0));
    assert_eq!(world.config(4, 2), 0);
}

#[test]
fn registers_show_how_interrupts_are_enabled() {
    let mut world = World::new(&["model = \"test\""]);
    let (msi, msix) = (0x42, 0x52);
    assert_eq!([world.config(msi - 2, 1), world.config(msix - 2, 1)], [5, 0x11]);
    world.with_seat(|seat| seat.enable_messages(Messages::Msi, 3).unwrap());
    assert_eq!((world.config(msi, 2), world.mode()), (0xa7, InterruptMode::Msi));
    world.with_seat(|seat| seat.disable_messages(Messages::Msi));
    assert_eq!((world.config(msi, 2), world.mode()), (0x86, InterruptMode::Intx));
    world.with_seat(|seat| seat.enable_messages(Messages::Msix, 3).unwrap());
    assert_eq!((world.config(msix, 2), world.mode()), (0x801f, InterruptMode::Msix));
    world.with_seat(|seat| seat.disable_messages(Messages::Msix));
    assert_eq!((world.config(msix, 2), world.mode()), (0x1f, InterruptMode::Intx));
}

/// BARs of 32 bits are below 4 GiB, also beside large ones, and no two are at the same place.
#[test]
fn firmware_gives_every_bar_a_place() {
    let edu = "model = \"edu\"";
    let large = "model = \"test\"\nmemory = \"64GiB\"";
    let mut devices = vec![large; 5];
    devices.extend([edu; 40]);
    let world = World::new(&devices);
    let mut places = BTreeMap::new();
    for slot in world.state.machine.slots.values() {
        for index in 0..6 {
            let Some(bar) = slot.function.bar(index) else { continue };
            let address = slot.function.bar_address(index);
            assert!(address >= 0xc000_0000 && address % bar.size == 0, "{address:#x}");
            assert!(bar.size > 1 << 30 || address + bar.size <= 0xfec0_0000, "{address:#x}");
            assert_eq!(places.insert(address, bar.size), None);
        }
    }
    let ends: Vec<u64> = places.iter().map(|(address, size)| address + size).collect();
    assert!(places.keys().skip(1).zip(ends).all(|(start, end)| end <= *start), "{places:x?}");
    // There are 1004 MiB of them.
    assert!(World::try_new(&[edu; 1004]).is_ok());
    let full = World::try_new(&[edu; 1005]).map(|_| ());
    let message = "the device 0000:ed:03.0: BAR 0: there are no addresses left for 1048576 bytes";
    assert_eq!(full, Err(message.into()));
}
