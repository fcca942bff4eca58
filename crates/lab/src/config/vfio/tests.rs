//! What good `[vfio]` sections are read as.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::config::Lab;

/// A header of 64 bytes, as `lspci -x` prints it.
pub(super) const HEADER: &str = "\
00:05.0 Unassigned class [00ff]: Device 1234:11e8 (rev 10)
00: 34 12 e8 11 03 01 10 00 10 00 ff 00 00 00 00 00
10: 00 00 80 fe 00 00 00 00 00 00 00 00 00 00 00 00
20: 00 00 00 00 00 00 00 00 00 00 00 00 f4 1a 00 11
30: 00 00 00 00 40 00 00 00 00 00 00 00 0b 01 00 00
";

fn vfio(text: &str) -> Vfio {
    Lab::parse("x.toml", text).unwrap_or_else(|errors| panic!("{errors}")).vfio.expect("[vfio]")
}

pub(super) fn device(lines: &str) -> String {
    format!("[[vfio.device]]\naddress = \"00:05.0\"\n{lines}\n")
}

/// A directory that goes when it is dropped.
pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ioctlab-lab-vfio-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("a file");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn defaults() {
    let plain = vfio("[vfio]\n");
    let expected = Vfio {
        interrupt_remapping: true,
        allow_unsafe_interrupts: false,
        address_width: 39,
        dma_entry_limit: 65_535,
        locked_memory: LockedMemory::Process,
        noiommu: false,
        devices: Vec::new(),
    };
    assert_eq!(plain, expected);
    let expected = VfioDevice {
        address: "0000:00:05.0".parse().expect("an address"),
        model: Model::Edu,
        group: Some(0),
        driver: Some("vfio-pci".into()),
        bar_addresses: Vec::new(),
        interrupt_line: 11,
    };
    assert_eq!(vfio(&device("model = \"edu\"")).devices, [expected]);
}

#[test]
fn every_key() {
    let full = vfio(
        r#"
        [vfio]
        interrupt_remapping = false
        allow_unsafe_interrupts = true
        address_width = 0x30
        dma_entry_limit = 0
        locked_memory = "64 MiB"
        noiommu = true
        [[vfio.device]]
        address = "a:1:1f.7"
        model = "test"
        memory = 0x1000
        group = "none"
        driver = ""
        interrupt_line = 255
        bar_addresses = [0xfe00_0000, 0, 0x38_0000_0000]
        [[vfio.device]]
        address = "0000:00:05.0"
        model = "edu"
        group = 0x7fff_ffff
        driver = "pci-stub"
        bar_addresses = [0xfe80_0000]
        "#,
    );
    assert_eq!((full.interrupt_remapping, full.allow_unsafe_interrupts, full.noiommu), (false, true, true));
    assert_eq!((full.address_width, full.dma_entry_limit), (48, 0));
    assert_eq!(full.locked_memory, LockedMemory::Bytes(64 << 20));
    let [test, edu] = &full.devices[..] else { panic!("two devices") };
    assert_eq!(test.address.to_string(), "000a:01:1f.7");
    assert_eq!((&test.model, test.group, &test.driver), (&Model::Test { memory: 4096 }, None, &None));
    assert_eq!((test.interrupt_line, &test.bar_addresses[..]), (255, &[0xfe00_0000, 0, 0x38_0000_0000][..]));
    assert_eq!((edu.group, edu.driver.as_deref()), (Some(0x7fff_ffff), Some("pci-stub")));
    for (text, limit) in [
        ("\"process\"", LockedMemory::Process),
        ("\"unlimited\"", LockedMemory::Unlimited),
        ("0", LockedMemory::Bytes(0)),
        ("\"0x10000\"", LockedMemory::Bytes(65_536)),
    ] {
        assert_eq!(vfio(&format!("[vfio]\nlocked_memory = {text}\n")).locked_memory, limit);
    }
}

#[test]
fn groups_that_are_not_given() {
    let groups = |devices: &[(&str, &str)]| -> Vec<Option<u32>> {
        let table = |(address, group): &(&str, &str)| {
            let group = if group.is_empty() { String::new() } else { format!(", group = {group}") };
            format!("{{ address = \"{address}\", model = \"edu\"{group} }}")
        };
        let tables: Vec<String> = devices.iter().map(table).collect();
        let text = format!("[vfio]\nnoiommu = true\ndevice = [{}]\n", tables.join(", "));
        vfio(&text).devices.iter().map(|device| device.group).collect()
    };
    // A group each on a root bus, but for functions of one slot.
    assert_eq!(groups(&[("00:01.0", ""), ("00:02.0", ""), ("00:01.1", "")]), [Some(0), Some(1), Some(0)]);
    // One behind a bridge; another segment's bus is another bus.
    let buses = [("01:00.0", ""), ("01:05.0", ""), ("02:00.0", ""), ("1:01:00.0", "")];
    assert_eq!(groups(&buses), [Some(0), Some(0), Some(1), Some(2)]);
    // None that is given to others, wherever in the file; but that of neighbours.
    assert_eq!(groups(&[("00:01.0", ""), ("00:02.0", "0"), ("00:03.0", "")]), [Some(1), Some(0), Some(2)]);
    assert_eq!(groups(&[("01:01.0", ""), ("01:02.0", "9")]), [Some(9), Some(9)]);
    // One without an IOMMU is nobody's neighbour.
    assert_eq!(groups(&[("01:01.0", "\"none\""), ("01:02.0", "")]), [None, Some(0)]);
}

#[test]
fn clones() {
    let directory = Directory::new("clones");
    directory.write("e.lspci", HEADER.as_bytes());
    let lab = directory.write(
        "lab.toml",
        device(
            "model = \"clone\"\nlspci = \"e.lspci\"\nbars = [\"1MiB\", 0, 4]\nrom = \"2KiB\"\n\
             bar_addresses = [0xfe80_0000]\ncontents = { bar0 = \"41 02\", bar2 = \"00 01 02 03\", bar5 = \"\", rom = \"55 AA\" }",
        )
        .as_bytes(),
    );
    let lab = Lab::load(&lab).unwrap_or_else(|errors| panic!("{errors}"));
    let Model::Clone(clone) = &lab.vfio.expect("[vfio]").devices[0].model else { panic!("a clone") };
    assert_eq!(clone.bars, [Some(1 << 20), None, Some(4), None, None, None]);
    assert_eq!(clone.contents, [(0, vec![0x41, 2]), (2, vec![0, 1, 2, 3]), (5, vec![])]);
    assert_eq!((clone.rom.len(), &clone.rom[..4]), (2048, &[0x55, 0xaa, 0, 0][..]));
}

#[test]
fn the_labs_of_the_transcripts() {
    let load = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../labs").join(name);
        Lab::load(&path).unwrap_or_else(|errors| panic!("{errors}")).vfio.expect("[vfio]")
    };
    let recorded = load("oracle-vfio.toml");
    let shown: Vec<_> = recorded.devices.iter().map(|d| (d.address.to_string(), d.group)).collect();
    let expected = [
        ("0000:00:05.0", 5),
        ("0000:00:06.0", 6),
        ("0000:00:07.0", 7),
        ("0000:01:01.0", 9),
        ("0000:01:02.0", 9),
    ];
    assert_eq!(shown, expected.map(|(address, group)| (address.to_owned(), Some(group))));
    assert!(recorded.interrupt_remapping);
    let without = load("oracle-vfio-nointremap.toml");
    assert_eq!(without, Vfio { interrupt_remapping: false, ..recorded });
}
