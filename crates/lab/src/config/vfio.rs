//! `[vfio]`: a machine with an IOMMU, and PCI devices that programs use by VFIO.

#[cfg(test)]
mod bad_sections;
mod device;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use ioctlab_pci::Address;

use super::table::Table;
use super::value::{Value, parse_size};
pub use device::{CloneOf, DEVICE_KEYS, Model, VfioDevice};
use device::{GivenGroup, HEADING, Read};

/// The keys of `[vfio]`.
pub const KEYS: &[&str] = &[
    "interrupt_remapping",
    "allow_unsafe_interrupts",
    "address_width",
    "dma_entry_limit",
    "locked_memory",
    "noiommu",
    "device",
];

/// How many bits an IOVA may have: fewer, and the MSI range wouldn't fit; more, and it wouldn't in five levels of tables.
const WIDTHS: RangeInclusive<u64> = 32..=57;
/// Those of a VT-d unit with three levels of tables.
const ADDRESS_WIDTH: u32 = 39;
/// `vfio_iommu_type1`'s own limit (`U16_MAX`).
const DMA_ENTRY_LIMIT: u32 = 65_535;

/// A machine with VFIO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vfio {
    /// Whether the IOMMU keeps a device from raising other interrupts than its own.
    pub interrupt_remapping: bool,
    /// `vfio_iommu_type1`'s module parameter: the IOMMU is used even if it doesn't.
    pub allow_unsafe_interrupts: bool,
    /// How many bits an IOVA has, 32 to 57.
    pub address_width: u32,
    /// `vfio_iommu_type1`'s module parameter: the most mappings of a container.
    pub dma_entry_limit: u32,
    /// How much memory a program may have mapped for devices.
    pub locked_memory: LockedMemory,
    /// `vfio`'s module parameter `enable_unsafe_noiommu_mode`.
    pub noiommu: bool,
    /// The devices, in the order of the file; each has another address.
    pub devices: Vec<VfioDevice>,
}

/// What limits the memory that programs lock by mapping it for devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockedMemory {
    /// `RLIMIT_MEMLOCK`, as on Linux.
    Process,
    /// Nothing.
    Unlimited,
    /// So many bytes, whatever a program's own limit.
    Bytes(u64),
}

/// Reads `[vfio]`; `file` is the lab file's name. What it gives for a table that something was reported about isn't used.
pub(super) fn read(table: &Table<'_>, file: &str) -> Vfio {
    let boolean = |key, otherwise| table.get(key).and_then(|value| value.boolean()).unwrap_or(otherwise);
    let small = |key, what, range, otherwise| {
        let given = table.get(key).and_then(|value| value.integer(what, range));
        given.and_then(|number| u32::try_from(number).ok()).unwrap_or(otherwise)
    };
    let noiommu = boolean("noiommu", false);
    let locked_memory = table.get("locked_memory").and_then(|value| read_locked_memory(&value));
    let tables = table.get("device").and_then(|value| value.tables(HEADING, DEVICE_KEYS));
    let tables = tables.unwrap_or_default();
    reject_repeats(&tables);
    let read = tables.iter().filter_map(|table| device::read(table, file, noiommu)).collect();
    Vfio {
        interrupt_remapping: boolean("interrupt_remapping", true),
        allow_unsafe_interrupts: boolean("allow_unsafe_interrupts", false),
        address_width: small("address_width", "a number of bits", WIDTHS, ADDRESS_WIDTH),
        dma_entry_limit: small("dma_entry_limit", "a limit", 0..=u32::MAX.into(), DMA_ENTRY_LIMIT),
        locked_memory: locked_memory.unwrap_or(LockedMemory::Process),
        noiommu,
        devices: with_groups(read),
    }
}

fn read_locked_memory(value: &Value<'_>) -> Option<LockedMemory> {
    let size = match value.text() {
        Some("process") => return Some(LockedMemory::Process),
        Some("unlimited") => return Some(LockedMemory::Unlimited),
        Some(text) => parse_size(text),
        None => value.quiet_integer(),
    };
    if size.is_none() {
        value.expected("\"process\", \"unlimited\", or a size (as 65536 or \"64MiB\")");
    }
    size.map(LockedMemory::Bytes)
}

/// Reports addresses that an earlier device has.
fn reject_repeats(devices: &[Table<'_>]) {
    let mut seen: Vec<(Address, usize)> = Vec::new();
    for value in devices.iter().filter_map(|table| table.get("address")) {
        let Some(address) = value.text().and_then(|text| text.parse().ok()) else { continue };
        match seen.iter().find(|(earlier, _)| *earlier == address) {
            Some((_, line)) => value.reject(format!("the device on line {line} is at {address} already")),
            None => seen.push((address, value.reader.line(value.span.start))),
        }
    }
}

/// Gives a group to each device that says nothing of one: that of the others in its slot, or on its bus unless that is a root
/// bus, as these can't be told apart or kept apart; else the lowest number that no other device has.
fn with_groups(read: Vec<Read>) -> Vec<VfioDevice> {
    let given = |read: &Read| match read.group {
        GivenGroup::Number(number) => Some(number),
        GivenGroup::Without | GivenGroup::Any => None,
    };
    let mut used: BTreeSet<u32> = read.iter().filter_map(given).collect();
    let mut known: Vec<(Address, u32)> =
        read.iter().filter_map(|read| Some((read.device.address, given(read)?))).collect();
    let mut devices = Vec::new();
    for Read { mut device, group } in read {
        device.group = match group {
            GivenGroup::Without => None,
            GivenGroup::Number(number) => Some(number),
            GivenGroup::Any => {
                let near = known.iter().find(|(other, _)| share(device.address, *other));
                let number = near.map_or_else(|| lowest_free(&used), |(_, number)| *number);
                used.insert(number);
                known.push((device.address, number));
                Some(number)
            }
        };
        devices.push(device);
    }
    devices
}

fn share(one: Address, other: Address) -> bool {
    let same_bus = (one.segment, one.bus) == (other.segment, other.bus);
    same_bus && (one.bus != 0 || one.device == other.device)
}

fn lowest_free(used: &BTreeSet<u32>) -> u32 {
    (0..u32::MAX).find(|number| !used.contains(number)).unwrap_or(u32::MAX)
}
