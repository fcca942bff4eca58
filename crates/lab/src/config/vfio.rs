//! `[vfio]` and `[[vfio.device]]`: a machine with an IOMMU, and PCI devices.

use std::path::Path;

use ioctlab_pci::{Address, lspci};

use super::table::Table;
use super::value::Value;

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

/// The keys of `[[vfio.device]]`.
pub const DEVICE_KEYS: &[&str] = &[
    "address",
    "model",
    "group",
    "driver",
    "memory",
    "lspci",
    "bars",
    "rom",
    "contents",
    "bar_addresses",
    "interrupt_line",
];

/// The keys of `contents`.
const CONTENTS_KEYS: &[&str] = &["bar0", "bar1", "bar2", "bar3", "bar4", "bar5", "rom"];

const HEADING: &str = "[[vfio.device]]";

/// How many bits of an address an IOMMU may translate.
const WIDTHS: std::ops::RangeInclusive<u64> = 32..=57;
/// Those of a VT-d unit with three levels of tables.
const ADDRESS_WIDTH: u32 = 39;
/// `vfio_iommu_type1`'s own limit.
const DMA_ENTRY_LIMIT: u32 = 65_535;
/// The test device's memory, unless it is given, and the most that there can be of a BAR's.
const TEST_MEMORY: u64 = 1 << 20;
const MOST_MEMORY: u64 = 1 << 36;
/// The sizes that a ROM can have.
const ROMS: std::ops::RangeInclusive<u64> = 2048..=16 << 20;
/// What firmware leaves as the interrupt line.
const INTERRUPT_LINE: u8 = 11;
/// The longest text of a device that is read, in bytes.
const LSPCI_MAX: u64 = 1 << 20;

/// A machine with VFIO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vfio {
    /// A device can raise no interrupts but its own.
    pub interrupt_remapping: bool,
    /// `vfio_iommu_type1`'s module parameter: the IOMMU is used even if not.
    pub allow_unsafe_interrupts: bool,
    /// How many bits an IOVA has.
    pub address_width: u32,
    /// `vfio_iommu_type1`'s module parameter: the most mappings of a container.
    pub dma_entry_limit: u32,
    /// How much memory a program may have mapped for devices.
    pub locked_memory: LockedMemory,
    /// `vfio`'s module parameter `enable_unsafe_noiommu_mode`.
    pub noiommu: bool,
    /// The devices, in the order of the file.
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

/// A PCI device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VfioDevice {
    /// Where it is.
    pub address: Address,
    /// What it is.
    pub model: Model,
    /// Its IOMMU group; `None` if no IOMMU translates for it.
    pub group: Option<u32>,
    /// The driver that it is bound to at first.
    pub driver: Option<String>,
    /// Where firmware has put its BARs; 0 for anywhere.
    pub bar_addresses: Vec<u64>,
    /// Which line firmware has given its interrupt pin.
    pub interrupt_line: u8,
}

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Model {
    /// QEMU's educational device.
    Edu,
    /// The device for tests.
    Test {
        /// The size of its memory, in bytes.
        memory: u64,
    },
    /// The shell of one that is elsewhere.
    Clone(Box<CloneOf>),
}

/// A device as `lspci` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneOf {
    /// What `lspci` printed.
    pub dump: lspci::Dump,
    /// The sizes of BARs, where they aren't in that text, in bytes.
    pub bars: [Option<u64>; 6],
    /// What is in its ROM; empty if that isn't given.
    pub rom: Vec<u8>,
    /// What BARs hold at first, from their starts on, by their indices.
    pub contents: Vec<(usize, Vec<u8>)>,
}

/// Reads `[vfio]`; `file` is the lab file's name.
pub(super) fn read(table: &Table<'_>, file: &str) -> Vfio {
    let boolean = |key, otherwise| table.get(key).and_then(|value| value.boolean()).unwrap_or(otherwise);
    let small = |key, what, range, otherwise| {
        let given = table.get(key).and_then(|value| value.integer(what, range));
        given.and_then(|number| u32::try_from(number).ok()).unwrap_or(otherwise)
    };
    let noiommu = boolean("noiommu", false);
    let tables = table
        .require("device", "at least one [[vfio.device]]")
        .and_then(|value| value.tables(HEADING, DEVICE_KEYS))
        .unwrap_or_default();
    reject_repeats(&tables);
    let mut devices: Vec<VfioDevice> = Vec::new();
    for table in &tables {
        if let Some(device) = read_device(table, file, noiommu, &devices) {
            devices.push(device);
        }
    }
    Vfio {
        interrupt_remapping: boolean("interrupt_remapping", true),
        allow_unsafe_interrupts: boolean("allow_unsafe_interrupts", false),
        address_width: small("address_width", "a number of bits", WIDTHS, ADDRESS_WIDTH),
        dma_entry_limit: small("dma_entry_limit", "a limit", 1..=u32::MAX.into(), DMA_ENTRY_LIMIT),
        locked_memory: table
            .get("locked_memory")
            .and_then(|value| read_locked_memory(&value))
            .unwrap_or(LockedMemory::Process),
        noiommu,
        devices,
    }
}

fn read_locked_memory(value: &Value<'_>) -> Option<LockedMemory> {
    match value.text() {
        Some("process") => Some(LockedMemory::Process),
        Some("unlimited") => Some(LockedMemory::Unlimited),
        Some(text) if super::value::parse_size(text).is_none() => {
            value.expected("\"process\", \"unlimited\" or a size (as 65536 or \"64MiB\")");
            None
        }
        _ => value.size(0..=u64::MAX).map(LockedMemory::Bytes),
    }
}

/// Reports addresses that an earlier device has.
fn reject_repeats(devices: &[Table<'_>]) {
    let mut seen: Vec<(Address, usize)> = Vec::new();
    for value in devices.iter().filter_map(|table| table.get("address")) {
        let Some(address) = value.text().and_then(|text| text.parse().ok()) else { continue };
        match seen.iter().find(|(earlier, _)| *earlier == address) {
            Some((_, line)) => {
                value.reject(format!("the device on line {line} is at {address} already"));
            }
            None => seen.push((address, value.reader.line(value.span.start))),
        }
    }
}

fn read_device(table: &Table<'_>, file: &str, noiommu: bool, before: &[VfioDevice]) -> Option<VfioDevice> {
    let address = table.require("address", "where the device is, like \"0000:00:05.0\"").and_then(|value| {
        let address = value.text().and_then(|text| text.parse().ok());
        if address.is_none() {
            value.expected("a PCI address, SEGMENT:BUS:DEVICE.FUNCTION in hexadecimal (as \"0000:00:05.0\")");
        }
        address
    });
    let model = read_model(table, file);
    let group = match table.get("group") {
        Some(value) if value.text() == Some("none") => {
            if !noiommu {
                value.reject("a device without an IOMMU needs `noiommu = true` in [vfio]");
            }
            Some(None)
        }
        Some(value) => value.integer("an IOMMU group, or \"none\":", 0..=0xffff_ffff).map(|n| Some(n as u32)),
        None => address.map(|address| Some(default_group(address, before))),
    };
    let driver = match table.get("driver") {
        Some(value) if value.text() == Some("") => None,
        Some(value) => value.name().map(str::to_owned),
        None => Some("vfio-pci".to_owned()),
    };
    let bar_addresses =
        table.get("bar_addresses").and_then(|value| value.list("addresses")).unwrap_or_default();
    let bar_addresses =
        bar_addresses.iter().filter_map(|value| value.integer("an address", 0..=u64::MAX)).take(6).collect();
    let line = table.get("interrupt_line").and_then(|value| value.integer("a line", 0..=255));
    Some(VfioDevice {
        address: address?,
        model: model?,
        group: group?,
        driver,
        bar_addresses,
        interrupt_line: line.map_or(INTERRUPT_LINE, |line| line as u8),
    })
}

/// The group of a device that says nothing: that of the devices on its bus, unless that is a root bus, where each device has its own
/// as if the slots were isolated; the lowest number that is free.
fn default_group(address: Address, before: &[VfioDevice]) -> u32 {
    let same = |other: &&VfioDevice| {
        let (one, other) = (address, other.address);
        let same_bus = (one.segment, one.bus) == (other.segment, other.bus);
        same_bus && (one.bus != 0 || one.device == other.device)
    };
    let found = before.iter().find(same).and_then(|device| device.group);
    found.unwrap_or_else(|| {
        (0..).find(|group| before.iter().all(|device| device.group != Some(*group))).unwrap_or(0)
    })
}

fn read_model(table: &Table<'_>, file: &str) -> Option<Model> {
    let value = table.require("model", "\"edu\", \"test\" or \"clone\"")?;
    let model = value.choice(&[("edu", "edu"), ("test", "test"), ("clone", "clone")])?;
    for (key, owner) in
        [("memory", "test"), ("lspci", "clone"), ("bars", "clone"), ("rom", "clone"), ("contents", "clone")]
    {
        if let Some(value) = table.get(key).filter(|_| owner != model) {
            value.reject(format!("only a device of the model \"{owner}\" has this"));
        }
    }
    match model {
        "edu" => Some(Model::Edu),
        "test" => {
            let memory = table
                .get("memory")
                .map_or(Some(TEST_MEMORY), |value| power_of_two(&value, 4096..=MOST_MEMORY));
            Some(Model::Test { memory: memory? })
        }
        _ => read_clone(table, file).map(|clone| Model::Clone(Box::new(clone))),
    }
}

fn read_clone(table: &Table<'_>, file: &str) -> Option<CloneOf> {
    let value = table.require("lspci", "a file with what `lspci -xxxx` prints of the device")?;
    let path = Path::new(file).parent().unwrap_or(Path::new("")).join(value.name()?);
    let shown = path.display();
    let text = match std::fs::metadata(&path).map(|metadata| metadata.len()) {
        Ok(LSPCI_MAX..) => Err("it has more than 1 MiB".to_owned()),
        _ => std::fs::read_to_string(&path).map_err(|error| {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_owned()
        }),
    };
    let dump = match text.map(|text| lspci::Dump::parse(&text)) {
        Ok(Ok(dump)) => dump,
        Ok(Err(problem)) if problem.line == 0 => {
            value.reject(format!("{shown}: {problem}"));
            return None;
        }
        Ok(Err(problem)) => {
            value.reject(format!("{shown}:{}: {problem}", problem.line));
            return None;
        }
        Err(reason) => {
            value.reject(format!("{shown} can't be read: {reason}"));
            return None;
        }
    };
    let mut bars = [None; 6];
    let sizes = table.get("bars").and_then(|value| value.list("sizes")).unwrap_or_default();
    for (place, value) in bars.iter_mut().zip(&sizes) {
        if value.quiet_integer() != Some(0) {
            *place = power_of_two(value, 4..=MOST_MEMORY);
        }
    }
    let mut contents = Vec::new();
    let mut rom = Vec::new();
    let size = table.get("rom").and_then(|value| power_of_two(&value, ROMS));
    if let Some(size) = size {
        rom = vec![0; usize::try_from(size).unwrap_or(0)];
    }
    if let Some(given) = table.get("contents").and_then(|value| value.table("contents", CONTENTS_KEYS)) {
        for (index, key) in CONTENTS_KEYS.iter().enumerate() {
            let Some(value) = given.get(key) else { continue };
            let Some(bytes) = read_bytes(&value) else { continue };
            if index < bars.len() {
                contents.push((index, bytes));
            } else if bytes.len() > rom.len() {
                value.reject("the ROM isn't so large; `rom` gives its size");
            } else {
                rom.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
            }
        }
    }
    Some(CloneOf { dump, bars, rom, contents })
}

/// Bytes in hexadecimal, with spaces between them: "41 02 14 00".
fn read_bytes(value: &Value<'_>) -> Option<Vec<u8>> {
    let byte = |word: &str| if word.len() == 2 { u8::from_str_radix(word, 16).ok() } else { None };
    let bytes: Option<Vec<u8>> = value.text().and_then(|text| text.split_whitespace().map(byte).collect());
    if bytes.is_none() {
        value.expected("bytes in hexadecimal (as \"41 02 14 00\")");
    }
    bytes
}

fn power_of_two(value: &Value<'_>, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
    let size = value.size(range)?;
    if !size.is_power_of_two() {
        value.expected("a power of two");
        return None;
    }
    Some(size)
}
