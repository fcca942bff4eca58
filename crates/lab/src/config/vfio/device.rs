//! `[[vfio.device]]`: a PCI device.

use std::ops::RangeInclusive;
use std::path::Path;

use ioctlab_pci::{Address, lspci};

use crate::config::source;
use crate::config::table::Table;
use crate::config::value::{Value, show_size};

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

pub(super) const HEADING: &str = "[[vfio.device]]";

/// The keys of `contents`: BARs by their indices, and the ROM.
const CONTENTS_KEYS: &[&str] = &["bar0", "bar1", "bar2", "bar3", "bar4", "bar5", "rom"];
const CONTENTS_HEADING: &str = "[vfio.device.contents]";

/// How many BARs a device can have.
const BARS: usize = 6;
/// The sizes that a BAR can have, in bytes. More than the most of memory than programs could map.
const BAR_SIZES: RangeInclusive<u64> = 4..=1 << 36;
/// The sizes of the test device's memory, and the one that it has unless it is given.
const TEST_MEMORIES: RangeInclusive<u64> = 4096..=1 << 36;
const TEST_MEMORY: u64 = 1 << 20;
/// The size of an edu's one BAR.
const EDU_BAR: u64 = 1 << 20;
/// The sizes that a ROM can have.
const ROM_SIZES: RangeInclusive<u64> = 2048..=16 << 20;
/// What firmware leaves as the interrupt line.
const INTERRUPT_LINE: u8 = 11;
/// IOMMU groups have numbers of the type `int`.
const GROUPS: RangeInclusive<u64> = 0..=i32::MAX as u64;
/// The longest name of a driver.
const DRIVER_MAX: usize = 64;

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
    /// Where firmware has put its BARs, from BAR 0 on; 0 for anywhere. At most 6.
    pub bar_addresses: Vec<u64>,
    /// Which line firmware has given its interrupt pin.
    pub interrupt_line: u8,
}

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Model {
    /// QEMU's educational device.
    Edu,
    /// The device to test programs with.
    Test {
        /// The size of its memory, in bytes: a power of two.
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
    /// The sizes of BARs, where they aren't in that text, in bytes: powers of two.
    pub bars: [Option<u64>; BARS],
    /// What is in its ROM, a power of two of bytes; empty if its size isn't given.
    pub rom: Vec<u8>,
    /// What BARs hold at first, from their starts on, by their indices.
    pub contents: Vec<(usize, Vec<u8>)>,
}

/// A device, and what its table says of its group.
pub(super) struct Read {
    pub(super) device: VfioDevice,
    pub(super) group: GivenGroup,
}

#[derive(Clone, Copy)]
pub(super) enum GivenGroup {
    /// Nothing.
    Any,
    Number(u32),
    /// No IOMMU translates for it.
    Without,
}

/// Reads one `[[vfio.device]]`; `None` if something was reported that makes the rest pointless.
pub(super) fn read(table: &Table<'_>, file: &str, noiommu: bool) -> Option<Read> {
    let address = table.require("address", "a PCI address (as \"0000:00:05.0\")");
    let address = address.and_then(|value| read_address(&value));
    let model = read_model(table, file);
    let group = table.get("group").map_or(Some(GivenGroup::Any), |value| read_group(&value, noiommu));
    let driver = table.get("driver").map_or(Some("vfio-pci".into()), |value| read_driver(&value));
    let bar_addresses = table
        .get("bar_addresses")
        .map(|value| read_bar_addresses(&value, model.as_ref()))
        .unwrap_or_default();
    let line = table.get("interrupt_line").and_then(|value| value.integer("a line", 0..=255));
    let line = line.and_then(|line| u8::try_from(line).ok());
    Some(Read {
        group: group?,
        device: VfioDevice {
            address: address?,
            model: model?,
            group: None,
            driver: driver.filter(|name| !name.is_empty()),
            bar_addresses,
            interrupt_line: line.unwrap_or(INTERRUPT_LINE),
        },
    })
}

fn read_address(value: &Value<'_>) -> Option<Address> {
    let address = value.text().and_then(|text| text.parse().ok());
    if address.is_none() {
        value.expected("a PCI address, SEGMENT:BUS:DEVICE.FUNCTION in hexadecimal (as \"0000:00:05.0\")");
    }
    address
}

fn read_group(value: &Value<'_>, noiommu: bool) -> Option<GivenGroup> {
    if value.text() == Some("none") {
        if !noiommu {
            value.reject(
                "a device without an IOMMU can't be used; `noiommu = true` in [vfio] would let it be",
            );
        }
        return Some(GivenGroup::Without);
    }
    let number = value.quiet_integer().filter(|number| GROUPS.contains(number));
    if number.is_none() {
        value.expected(format!("an IOMMU group's number from 0 to {}, or \"none\"", GROUPS.end()));
    }
    number.and_then(|number| u32::try_from(number).ok()).map(GivenGroup::Number)
}

/// A name that can be a directory of sysfs; empty for no driver.
fn read_driver(value: &Value<'_>) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name = value.text().filter(|name| name.len() <= DRIVER_MAX && name.chars().all(fits));
    if name.is_none() {
        value.expected("a driver's name (as \"vfio-pci\" or \"e1000\"), or \"\" for none");
    }
    name.map(String::from)
}

fn read_bar_addresses(value: &Value<'_>, model: Option<&Model>) -> Vec<u64> {
    let Some(items) = value.list("addresses") else { return Vec::new() };
    if items.len() > BARS {
        value.reject(format!("expected at most {BARS} addresses, found {}", items.len()));
    }
    let size = |index: usize| match model? {
        Model::Edu => (index == 0).then_some(EDU_BAR),
        Model::Test { .. } => None,
        Model::Clone(clone) => clone.bars.get(index).copied().flatten(),
    };
    let mut addresses = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Some(address) = item.integer("an address", 0..=u64::MAX) else { continue };
        // Not even I/O ports have addresses that aren't.
        let size = size(index).unwrap_or(*BAR_SIZES.start());
        if address % size != 0 {
            item.expected(format!("a multiple of the size of BAR {index}, {}", show_size(size)));
        }
        addresses.push(address);
    }
    addresses
}

fn read_model(table: &Table<'_>, file: &str) -> Option<Model> {
    let value = table.require("model", "\"edu\", \"test\" or \"clone\"")?;
    let model = value.choice(&[("edu", "edu"), ("test", "test"), ("clone", "clone")])?;
    for (key, owner) in
        [("memory", "test"), ("lspci", "clone"), ("bars", "clone"), ("rom", "clone"), ("contents", "clone")]
    {
        if let Some(value) = table.get(key).filter(|_| owner != model) {
            value.reject(format!("only a device of the model \"{owner}\" has this key"));
        }
    }
    match model {
        "edu" => Some(Model::Edu),
        "test" => {
            let memory = table.get("memory").map_or(Some(TEST_MEMORY), |v| power_of_two(&v, TEST_MEMORIES));
            memory.map(|memory| Model::Test { memory })
        }
        _ => read_clone(table, file).map(|clone| Model::Clone(Box::new(clone))),
    }
}

fn read_clone(table: &Table<'_>, file: &str) -> Option<CloneOf> {
    let dump = table.require("lspci", "a file with what `lspci -vvv -xxxx` prints of the device");
    let dump = dump.and_then(|value| read_dump(&value, file));
    let bars = table.get("bars").map(|value| read_bars(&value)).unwrap_or_default();
    let size = table.get("rom").and_then(|value| power_of_two(&value, ROM_SIZES));
    let mut rom = vec![0; size.and_then(|size| usize::try_from(size).ok()).unwrap_or(0)];
    let mut contents = Vec::new();
    if let Some(given) = table.get("contents").and_then(|v| v.table(CONTENTS_HEADING, CONTENTS_KEYS)) {
        for (index, key) in CONTENTS_KEYS.iter().enumerate() {
            let Some((value, bytes)) = given.get(key).and_then(|v| read_bytes(&v).map(|bytes| (v, bytes)))
            else {
                continue;
            };
            let more_than = |size| value.reject(format!("{} bytes are more than its {size}", bytes.len()));
            if let Some(size) = bars.get(index) {
                if let Some(size) = size.filter(|size| *size < bytes.len() as u64) {
                    more_than(show_size(size));
                }
                contents.push((index, bytes));
            } else if let Some(start) = rom.get_mut(..bytes.len()) {
                start.copy_from_slice(&bytes);
            } else if size.is_some() {
                more_than(show_size(rom.len() as u64));
            } else {
                value.reject(format!("the ROM's size isn't known; `rom` in {HEADING} gives it"));
            }
        }
    }
    Some(CloneOf { dump: dump?, bars, rom, contents })
}

/// Reads the file that is named, relative to the lab file.
fn read_dump(value: &Value<'_>, file: &str) -> Option<lspci::Dump> {
    let path = Path::new(file).parent().unwrap_or(Path::new("")).join(value.name()?);
    let shown = path.display();
    let parsed = source::bytes(&path, "what `lspci -xxxx` prints of a device")
        .map_err(|message| format!("{shown} {message}"))
        .and_then(|bytes| {
            lspci::Dump::parse(&String::from_utf8_lossy(&bytes)).map_err(|problem| match problem.line {
                0 => format!("{shown}: {problem}"),
                line => format!("{shown}:{line}: {problem}"),
            })
        });
    parsed.map_err(|message| value.reject(message)).ok()
}

/// The sizes of BARs, from BAR 0 on; 0 for what the dump says.
fn read_bars(value: &Value<'_>) -> [Option<u64>; BARS] {
    let mut bars = [None; BARS];
    let Some(items) = value.list("sizes") else { return bars };
    if items.len() > BARS {
        value.reject(format!("expected at most {BARS} sizes, found {}", items.len()));
    }
    for (bar, item) in bars.iter_mut().zip(&items) {
        if item.quiet_integer() != Some(0) {
            *bar = power_of_two(item, BAR_SIZES);
        }
    }
    bars
}

/// Bytes in hexadecimal, with spaces between them: "41 02 14 00".
fn read_bytes(value: &Value<'_>) -> Option<Vec<u8>> {
    let byte = |word: &str| {
        let is_one = word.len() == 2 && word.bytes().all(|c| c.is_ascii_hexdigit());
        is_one.then(|| u8::from_str_radix(word, 16).ok()).flatten()
    };
    let bytes: Option<Vec<u8>> = value.text().and_then(|text| text.split_whitespace().map(byte).collect());
    if bytes.is_none() {
        value.expected("bytes of two hexadecimal digits each (as \"41 02 14 00\")");
    }
    bytes
}

fn power_of_two(value: &Value<'_>, range: RangeInclusive<u64>) -> Option<u64> {
    let size = value.size(range)?;
    if !size.is_power_of_two() {
        value.expected("a power of two");
        return None;
    }
    Some(size)
}
