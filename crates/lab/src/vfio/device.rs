//! A PCI device of the machine: its function, its model at work, and the driver that it is bound to.

use std::sync::Arc;

use ioctlab_kernel::{AreaId, DeviceMemory, Errno, FileId};
use ioctlab_pci::{Address, BarKind, Function, InterruptMode};
use ioctlab_vfio::{DeviceId, GroupId, GroupKind};
use ioctlab_vfio_pci as vfio_pci;

use super::cell::{Cell, Conditions, Raised};
use super::dma::Way;
use super::rom;

/// Where a BAR's register is in configuration space, and the ROM's.
const BAR: usize = 0x10;
const ROM: usize = 0x30;
/// Linux's flags of a resource (`IORESOURCE_*`).
const RESOURCE_IO: u64 = 0x0004_0101;
const RESOURCE_MEMORY: u64 = 0x0004_0200;
const RESOURCE_PREFETCHABLE: u64 = 0x2000;
const RESOURCE_WIDE: u64 = 0x0010_0000;
const RESOURCE_ROM: u64 = 0x0004_6200;
/// How many resources a device has that isn't a bridge: six BARs, the ROM, and six of virtual functions.
const RESOURCES: usize = 13;

/// What a driver's table of devices says, or what a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ids {
    vendor: u32,
    device: u32,
    subsystem_vendor: u32,
    subsystem: u32,
    class: u32,
    class_mask: u32,
}

/// Stands for any (`PCI_ANY_ID`).
const ANY: u32 = u32::MAX;

impl Ids {
    /// As they are written to `new_id`: vendor and device, and then perhaps those of the subsystem, class, and mask.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let words: Vec<u32> = text
            .split_whitespace()
            .map(|word| u32::from_str_radix(word, 16))
            .collect::<Result<_, _>>()
            .ok()?;
        let [vendor, device, ref rest @ ..] = *words else { return None };
        let at = |place: usize, otherwise| rest.get(place).copied().unwrap_or(otherwise);
        Some(Self {
            vendor,
            device,
            subsystem_vendor: at(0, ANY),
            subsystem: at(1, ANY),
            class: at(2, 0),
            class_mask: at(3, 0),
        })
    }

    /// Whether a device with those ids is one of these.
    pub(super) fn cover(&self, device: &Self) -> bool {
        let is = |known: u32, given: u32| known == ANY || known == given;
        is(self.vendor, device.vendor)
            && is(self.device, device.device)
            && is(self.subsystem_vendor, device.subsystem_vendor)
            && is(self.subsystem, device.subsystem)
            && (self.class ^ device.class) & self.class_mask == 0
    }

    /// Whether `remove_id` with those takes these away.
    pub(super) fn is_named_by(&self, given: &Self) -> bool {
        let is = |known: u32, given: u32| given == ANY || known == given;
        (self.vendor, self.device) == (given.vendor, given.device)
            && is(self.subsystem_vendor, given.subsystem_vendor)
            && is(self.subsystem, given.subsystem)
    }
}

/// A device.
pub(super) struct Slot {
    pub(super) id: DeviceId,
    pub(super) place: Address,
    /// The address as text.
    address: String,
    group: Option<u32>,
    /// The number of the group that VFIO makes up for it, if it is in none.
    pub(super) own_group: u32,
    driver: Option<String>,
    /// The driver whose device it is, where that isn't vfio-pci.
    pub(super) native: Option<String>,
    pub(super) driver_override: Option<String>,
    /// It isn't there now.
    pub(super) pulled: bool,
    pub(super) function: Function,
    pub(super) cell: Arc<Cell>,
    pub(super) way: Arc<Way>,
    pub(super) areas: [Option<AreaId>; 6],
    /// While it is bound to vfio-pci.
    pub(super) vfio: Option<vfio_pci::Device>,
}

/// What a slot is made of.
pub(super) struct Parts {
    pub(super) id: DeviceId,
    pub(super) place: Address,
    pub(super) group: Option<u32>,
    pub(super) native: Option<String>,
    pub(super) function: Function,
    pub(super) cell: Arc<Cell>,
    pub(super) way: Arc<Way>,
    pub(super) areas: [Option<AreaId>; 6],
}

impl Slot {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { id, place, group, native, function, cell, way, areas } = parts;
        Self {
            id,
            place,
            address: place.to_string(),
            group,
            own_group: 0,
            driver: None,
            native,
            driver_override: None,
            pulled: false,
            function,
            cell,
            way,
            areas,
            vfio: None,
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Its IOMMU group, if an IOMMU translates for it.
    pub(super) fn group(&self) -> Option<u32> {
        self.group
    }

    /// The group that VFIO has it in.
    pub(super) fn vfio_group(&self) -> (GroupId, GroupKind) {
        match self.group {
            Some(number) => (GroupId(number), GroupKind::Iommu),
            None => (GroupId(self.own_group), GroupKind::Noiommu),
        }
    }

    /// The group that it is in as the rest of the kernel has it: without an IOMMU, what VFIO has made up while it is bound.
    pub(super) fn iommu_group(&self) -> Option<u32> {
        self.group.or(self.vfio.as_ref().map(|_| self.own_group))
    }

    pub(super) fn driver(&self) -> Option<&str> {
        self.driver.as_deref()
    }

    pub(super) fn set_driver(&mut self, driver: Option<&str>) {
        self.driver = driver.map(str::to_owned);
    }

    /// The number of its `vfio-dev`, while it is bound to vfio-pci.
    pub(super) fn vfio_number(&self) -> Option<u32> {
        self.vfio.as_ref().map(|_| self.id.0)
    }

    pub(super) fn path_below_devices(&self) -> String {
        format!("pci0000:00/{}", self.address)
    }

    pub(super) fn config_size(&self) -> u64 {
        self.function.config().size() as u64
    }

    pub(super) fn ids(&self) -> Ids {
        let read = |offset, width| self.function.config().read(offset, width);
        Ids {
            vendor: read(0, 2),
            device: read(2, 2),
            subsystem_vendor: read(0x2c, 2),
            subsystem: read(0x2e, 2),
            class: read(8, 4) >> 8,
            class_mask: u32::MAX,
        }
    }

    /// The device may do what its registers say from now on.
    pub(super) fn update_conditions(&self) {
        let (bus_master, mode) = (self.function.is_bus_master(), self.function.interrupt_mode());
        self.cell.set_conditions(Conditions { bus_master, mode });
    }

    /// Hands what the device has raised to its driver.
    pub(super) fn deliver(&mut self, memory: &dyn DeviceMemory, surroundings: &Surroundings) {
        for raised in self.cell.take_raised() {
            let interrupt = match (raised, self.function.interrupt_mode()) {
                (Raised::Pin(asserted), _) => {
                    self.function.set_asserted(asserted);
                    if !asserted {
                        continue;
                    }
                    vfio_pci::Interrupt::Intx
                }
                (Raised::Message(vector), InterruptMode::Msix) => vfio_pci::Interrupt::Msix(vector.into()),
                (Raised::Message(vector), _) => vfio_pci::Interrupt::Msi(vector.into()),
            };
            self.with_vfio(memory, surroundings, |vfio, seat| vfio.interrupt(interrupt, seat));
        }
    }

    /// Lets `act` call the driver, if the device is bound to vfio-pci.
    pub(super) fn with_vfio<T>(
        &mut self,
        memory: &dyn DeviceMemory,
        surroundings: &Surroundings,
        act: impl FnOnce(&mut vfio_pci::Device, &mut Seat<'_>) -> T,
    ) -> Option<T> {
        let vfio = self.vfio.as_mut()?;
        let mut seat =
            Seat { function: &mut self.function, cell: &self.cell, areas: &self.areas, memory, surroundings };
        let result = act(vfio, &mut seat);
        self.update_conditions();
        Some(result)
    }

    /// Its BARs and ROM as sysfs names them, with their sizes in bytes.
    pub(super) fn resources(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        let bars =
            (0..6u8).filter_map(|index| Some((format!("resource{index}"), self.function.bar(index)?.size)));
        let rom = self.function.rom().len() as u64;
        bars.chain((rom > 0).then(|| ("rom".to_owned(), rom)))
    }

    /// The text of an attribute.
    pub(super) fn attribute(&self, name: &str) -> Option<String> {
        let read = |offset, width| self.function.config().read(offset, width);
        Some(match name {
            "vendor" => format!("{:#06x}\n", read(0, 2)),
            "device" => format!("{:#06x}\n", read(2, 2)),
            "subsystem_vendor" => format!("{:#06x}\n", read(0x2c, 2)),
            "subsystem_device" => format!("{:#06x}\n", read(0x2e, 2)),
            "class" => format!("{:#08x}\n", read(8, 4) >> 8),
            "revision" => format!("{:#04x}\n", read(8, 1)),
            "irq" => format!("{}\n", read(0x3c, 1)),
            "resource" => self.resource(),
            "modalias" => format!("{}\n", self.modalias()),
            "driver_override" => format!("{}\n", self.driver_override.as_deref().unwrap_or("(null)")),
            "enable" => format!("{}\n", u32::from(read(4, 2) & 3 != 0)),
            "numa_node" => "-1\n".to_owned(),
            "local_cpus" => "1\n".to_owned(),
            "local_cpulist" => "0\n".to_owned(),
            "dma_mask_bits" => "64\n".to_owned(),
            "consistent_dma_mask_bits" => "64\n".to_owned(),
            "msi_bus" => "1\n".to_owned(),
            "broken_parity_status" | "ari_enabled" => "0\n".to_owned(),
            "power_state" => "D0\n".to_owned(),
            "uevent" => self.uevent(),
            _ => return None,
        })
    }

    fn modalias(&self) -> String {
        let read = |offset, width| self.function.config().read(offset, width);
        format!(
            "pci:v{:08X}d{:08X}sv{:08X}sd{:08X}bc{:02X}sc{:02X}i{:02X}",
            read(0, 2),
            read(2, 2),
            read(0x2c, 2),
            read(0x2e, 2),
            read(0xb, 1),
            read(0xa, 1),
            read(9, 1)
        )
    }

    fn uevent(&self) -> String {
        let read = |offset, width| self.function.config().read(offset, width);
        let driver = self.driver().map(|driver| format!("DRIVER={driver}\n")).unwrap_or_default();
        format!(
            "{driver}PCI_CLASS={:X}\nPCI_ID={:04X}:{:04X}\nPCI_SUBSYS_ID={:04X}:{:04X}\nPCI_SLOT_NAME={}\nMODALIAS={}\n",
            read(8, 4) >> 8,
            read(0, 2),
            read(2, 2),
            read(0x2c, 2),
            read(0x2e, 2),
            self.address,
            self.modalias()
        )
    }

    /// A line for each resource: its first byte, its last, and what it is.
    fn resource(&self) -> String {
        let mut lines = vec![(0, 0, 0); RESOURCES];
        let read = |offset| u64::from(self.function.config().read(offset, 4));
        for index in 0..6 {
            let Some(bar) = self.function.bar(index as u8) else { continue };
            let register = BAR + index * 4;
            let wide = bar.kind == BarKind::Memory64;
            let upper = if wide { read(register + 4) << 32 } else { 0 };
            let start = read(register) & !(if bar.kind == BarKind::Io { 3 } else { 15 }) | upper;
            let mut flags = if bar.kind == BarKind::Io { RESOURCE_IO } else { RESOURCE_MEMORY };
            flags |= if bar.prefetchable { RESOURCE_PREFETCHABLE | 8 } else { 0 };
            flags |= if wide { RESOURCE_WIDE | 4 } else { 0 };
            if let Some(line) = lines.get_mut(index) {
                *line = (start, start + (bar.size - 1), flags);
            }
        }
        let rom = self.function.rom().len() as u64;
        if let (Some(line), 1..) = (lines.get_mut(6), rom) {
            let start = read(ROM) & !0x7ff;
            *line = (start, start + rom - 1, RESOURCE_ROM);
        }
        lines.iter().map(|(start, end, flags)| format!("{start:#018x} {end:#018x} {flags:#018x}\n")).collect()
    }
}

/// What a function's driver must know of the rest of the machine.
pub(super) struct Surroundings {
    /// Who shares its reset.
    pub(super) neighbours: Option<Vec<vfio_pci::Neighbour>>,
    /// Open files of groups.
    pub(super) group_files: Arc<Vec<(FileId, u32)>>,
}

/// A function as its driver has it.
pub(super) struct Seat<'a> {
    function: &'a mut Function,
    cell: &'a Cell,
    areas: &'a [Option<AreaId>; 6],
    memory: &'a dyn DeviceMemory,
    surroundings: &'a Surroundings,
}

impl vfio_pci::Function for Seat<'_> {
    fn config_size(&self) -> usize {
        self.function.config().size()
    }

    fn read_config(&mut self, offset: u16, width: vfio_pci::Width) -> u32 {
        self.function.config().read(offset.into(), width.bytes())
    }

    fn write_config(&mut self, offset: u16, width: vfio_pci::Width, value: u32) {
        if self.function.write_config(offset.into(), width.bytes(), value) {
            self.cell.reset();
        }
    }

    fn bar(&self, index: usize) -> Option<vfio_pci::Bar> {
        let bar = self.function.bar(u8::try_from(index).ok()?)?;
        let kind = match bar.kind {
            BarKind::Io => vfio_pci::BarKind::Io,
            kind => vfio_pci::BarKind::Memory {
                wide: kind == BarKind::Memory64,
                prefetchable: bar.prefetchable,
                area: self.areas.get(index).copied().flatten(),
            },
        };
        Some(vfio_pci::Bar { address: self.function.bar_address(index as u8), size: bar.size, kind })
    }

    fn rom(&self) -> Option<vfio_pci::Rom> {
        let size = self.function.rom().len() as u64;
        let address = u64::from(self.function.config().read(ROM, 4) & !0x7ff);
        (size > 0).then_some(vfio_pci::Rom { address, size, image: rom::images(self.function.rom()) })
    }

    fn can_reset(&self) -> bool {
        self.function.can_reset()
    }

    fn reset(&mut self) {
        self.function.reset();
        self.cell.reset();
    }

    fn intx_asserted(&mut self) -> bool {
        self.function.is_asserted()
    }

    fn enable_messages(&mut self, kind: vfio_pci::Messages, count: u32) -> Result<(), Errno> {
        match kind {
            vfio_pci::Messages::Msi => self.function.enable_msi(u16::try_from(count).unwrap_or(u16::MAX)),
            vfio_pci::Messages::Msix => self.function.enable_msix(true),
        }
        Ok(())
    }

    fn add_vector(&mut self, _: u32) -> Result<(), Errno> {
        Ok(())
    }

    fn disable_messages(&mut self, kind: vfio_pci::Messages) {
        match kind {
            vfio_pci::Messages::Msi => self.function.enable_msi(0),
            vfio_pci::Messages::Msix => self.function.enable_msix(false),
        }
    }

    fn set_reachable(&mut self, reachable: bool) {
        for area in self.areas.iter().flatten() {
            self.memory.set_reachable(*area, reachable);
        }
    }

    fn neighbours(&self) -> Option<Vec<vfio_pci::Neighbour>> {
        self.surroundings.neighbours.clone()
    }

    fn group_of(&self, file: FileId) -> Option<u32> {
        self.surroundings.group_files.iter().find(|(other, _)| *other == file).map(|(_, group)| *group)
    }
}

/// What sysfs reads and writes of configuration space goes past any driver.
impl Slot {
    pub(super) fn read_config(&self, offset: u64, size: usize) -> Vec<u8> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        self.function.config().bytes().iter().skip(start).take(size).copied().collect()
    }

    pub(super) fn write_config(&mut self, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let size = self.function.config().size();
        let count = bytes.len().min(size.saturating_sub(start));
        for (at, byte) in bytes.iter().take(count).enumerate() {
            if self.function.write_config(start + at, 1, (*byte).into()) {
                self.cell.reset();
            }
        }
        self.update_conditions();
        Ok(count)
    }
}
