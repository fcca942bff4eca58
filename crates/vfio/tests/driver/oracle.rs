//! The recorded transcripts (Linux 6.12, with and without interrupt remapping), replayed without a kernel layer.
//!
//! Each step is that of the probe program of the same name.

use std::fmt::Write;

use ioctlab_abi::vfio::{
    DEVICE_GET_INFO, GET_API_VERSION, GROUP_GET_STATUS, IOMMU_GET_INFO, IOMMU_MAP_DMA, IOMMU_UNMAP_DMA,
};
use ioctlab_chardev::{Errno, FileId, MappingId, MmapRequest, Request, UserPtr};
use ioctlab_vfio::{DeviceId, GroupId, MemberDriver};

use crate::memory::BASE;
use crate::oracle_group::group;
use crate::program::{Bench, plain};

/// The groups of steps that the core has a part in: containers, groups, groups of several devices.
const GROUPS: [&str; 4] = ["c.", "g.", "nv.", "two."];

/// Steps that are the kernel layer's, the host's, or vfio-pci's.
const NOT_THE_CORES: &[&str] = &[
    "c.stat",
    "c.lseek",
    "c.poll",
    "g.dup",
    "g.read",
    "g.mmap",
    "g.lseek",
    "g.devfd-flags",
    "two.hotreset-info",
    "two.hotreset",
];

/// `_IO(';', 250)`, which nobody knows.
pub(crate) const UNKNOWN: Request = Request(0x3bfa);

pub(crate) type Answer = Result<i64, Errno>;

pub(crate) struct Replay {
    pub(crate) bench: Bench,
    lines: String,
}

/// What the probe shows of a descriptor.
pub(crate) fn f01(number: Result<i32, Errno>) -> Answer {
    number.map(|_| 0)
}

/// C's `%#x`.
fn hex(number: u32) -> String {
    if number == 0 { "0".into() } else { format!("{number:#x}") }
}

impl Replay {
    /// Group 1 has the first edu, group 2 the two devices behind the bridge, of which the second has this driver.
    pub(crate) fn new(second: MemberDriver) -> Self {
        let mut bench = Bench::new();
        for (device, group, name) in [(1, 1, "0000:00:05.0"), (2, 2, "0000:01:01.0")] {
            bench.add(device, group);
            bench.machine.names.insert(DeviceId(device), name.into());
        }
        bench.machine.bind(3, 2, second);
        Self { bench, lines: String::new() }
    }

    pub(crate) fn say(&mut self, name: &str, result: Answer, info: &str) {
        let _ = match result {
            Ok(value) => writeln!(self.lines, "{name} -> {value} 0 {info}"),
            Err(errno) => writeln!(self.lines, "{name} -> -1 {errno} {info}"),
        };
    }

    pub(crate) fn run(&mut self, name: &str, result: Answer) {
        self.say(name, result, "-");
    }

    pub(crate) fn ioctl(&mut self, name: &str, number: i32, request: Request, argument: u64) {
        let result = self.bench.ioctl(number, request, argument);
        self.run(name, result);
    }

    pub(crate) fn status(&mut self, name: &str, group: i32, argsz: u32) {
        let (result, argsz, flags) = self.bench.status(group, argsz);
        self.say(name, result, &format!("argsz={argsz} flags={}", hex(flags)));
    }

    pub(crate) fn set(&mut self, name: &str, group: i32, container: i32) {
        let result = self.bench.set_container(group, container);
        self.run(name, result);
    }

    pub(crate) fn unset(&mut self, name: &str, group: i32) {
        let result = self.bench.unset_container(group);
        self.run(name, result);
    }

    pub(crate) fn set_iommu(&mut self, name: &str, container: i32, kind: u64) {
        let result = self.bench.set_iommu(container, kind);
        self.run(name, result);
    }

    pub(crate) fn extension(&mut self, name: &str, container: i32, extension: u64) {
        let result = self.bench.check_extension(container, extension);
        self.run(name, result);
    }

    /// A group's node; -1 if it can't be opened.
    pub(crate) fn open(&mut self, group: u32) -> i32 {
        self.bench.open_group(group).unwrap_or(-1)
    }

    pub(crate) fn device(&mut self, group: i32, name: &str) -> i32 {
        self.bench.get_device(group, name).unwrap_or(-1)
    }

    /// `GET_INFO` of a device, which is its driver's, if it is there.
    pub(crate) fn device_info(&mut self, name: &str, device: i32) {
        self.ioctl(name, device, DEVICE_GET_INFO, BASE);
    }

    pub(crate) fn map(&mut self, container: i32, iova: u64) -> Answer {
        let words = [32 | 3 << 32, 0x7000_0000, iova, 4096];
        let bytes: Vec<_> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let at = self.bench.put(&bytes);
        self.bench.ioctl(container, IOMMU_MAP_DMA, at)
    }

    pub(crate) fn unmap(&mut self, name: &str, container: i32, iova: u64) {
        let bytes: Vec<_> = [24, iova, 4096_u64].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let at = self.bench.put(&bytes);
        let result = self.bench.ioctl(container, IOMMU_UNMAP_DMA, at);
        let size = self.bench.word(16);
        self.say(name, result, &format!("unmapped={}", hex(size)));
    }

    fn container(&mut self) {
        let c = self.bench.open_container();
        self.run("c.open", Ok(0));
        let second = self.bench.open_container();
        self.run("c.open-rdonly", Ok(0));
        self.ioctl("c.rdonly-api", second, GET_API_VERSION, 0);
        self.bench.close(second);
        let Bench { vfio, process, machine, .. } = &mut self.bench;
        let (file, at) = (FileId(c as u64), UserPtr(BASE));
        let request = MmapRequest { mapping: MappingId(1), page: 0, pages: 1, shared: true, writable: false };
        let read = plain(vfio.container_read(file, at, 8, process, machine));
        let write = plain(vfio.container_write(file, at, 8, process, machine));
        let mapped = vfio.container_mmap(file, &request, machine);
        self.run("c.read", read.map(|size| size as i64));
        self.run("c.write", write.map(|size| size as i64));
        self.run("c.mmap", mapped.map(|_| 0));
        self.ioctl("c.api", c, GET_API_VERSION, 0);
        self.ioctl("c.api-arg", c, GET_API_VERSION, 77);
        for extension in 0..=20 {
            self.extension(&format!("c.ext-{extension}"), c, extension);
        }
        self.extension("c.ext-ffffffff", c, 0xffff_ffff);
        self.extension("c.ext-minus1", c, u64::MAX);
        self.extension("c.ext-2^32+1", c, 0x1_0000_0001);
        self.set_iommu("c.set-iommu-nogroup", c, 1);
        self.set_iommu("c.set-iommu-nogroup-99", c, 99);
        for (name, request) in [
            ("info-noiommu", IOMMU_GET_INFO),
            ("map-noiommu", IOMMU_MAP_DMA),
            ("unmap-noiommu", IOMMU_UNMAP_DMA),
            ("unknown", UNKNOWN),
            ("tcgets", Request(0x5401)),
            ("group-ioctl", GROUP_GET_STATUS),
            ("device-ioctl", DEVICE_GET_INFO),
        ] {
            self.ioctl(&format!("c.{name}"), c, request, BASE);
        }
        self.bench.close(c);
    }

    fn not_viable(&mut self) {
        let g = self.bench.open_group(2);
        let c = self.bench.open_container();
        self.run("nv.open", f01(g));
        let g = g.unwrap_or(-1);
        self.status("nv.status", g, 8);
        self.set("nv.set", g, c);
        self.status("nv.status-2", g, 8);
        self.set_iommu("nv.set-iommu", c, 3);
        let device = self.bench.get_device(g, "0000:01:01.0");
        self.run("nv.devfd", f01(device));
        // The program ends: its device goes last.
        self.bench.close(g);
        self.bench.close(c);
        self.bench.close(device.unwrap_or(-1));
    }

    fn two(&mut self) {
        let (c, g) = self.bench.up(2);
        let (a, b) = (self.bench.get_device(g, "0000:01:01.0"), self.bench.get_device(g, "0000:01:02.0"));
        self.run("two.dev1", f01(a));
        self.run("two.dev2", f01(b));
        self.unset("two.unset", g);
        self.bench.close(a.unwrap());
        self.unset("two.unset-one-closed", g);
        self.bench.close(b.unwrap());
        self.unset("two.unset-both-closed", g);
        self.bench.close(c);
        self.bench.close(g);

        let (c, g) = self.bench.up(2);
        let other = self.bench.open_group(1);
        self.run("two.group2-open", f01(other));
        let other = other.unwrap();
        self.map(c, 0x10_0000).unwrap();
        self.set("two.group2-set", other, c);
        self.status("two.group2-status", other, 8);
        self.unset("two.group1-unset", g);
        self.unmap("two.map-survives", c, 0x10_0000);
        self.unset("two.group2-unset", other);
        let mapped = self.map(c, 0x10_0000);
        self.run("two.map-after-last", mapped);
        for number in [other, c, g] {
            self.bench.close(number);
        }
    }

    /// The replayed steps are the recorded ones, and leave nothing behind.
    fn compare(&self, recorded: &str) {
        let is_the_cores = |line: &&str| {
            let is_in_group = GROUPS.iter().any(|start| line.starts_with(start));
            is_in_group && !NOT_THE_CORES.contains(&line.split(' ').next().unwrap())
        };
        let recorded: Vec<_> = recorded.lines().filter(is_the_cores).collect();
        let replayed: Vec<_> = self.lines.lines().collect();
        for (recorded, replayed) in recorded.iter().zip(&replayed) {
            assert_eq!(recorded, replayed);
        }
        assert_eq!(recorded.len(), replayed.len());
        assert_eq!((self.bench.vfio.containers(), self.bench.vfio.iommus()), (0, 0));
    }
}

#[test]
fn the_recorded_transcript() {
    let mut replay = Replay::new(MemberDriver::Native);
    replay.container();
    group(&mut replay);
    replay.not_viable();
    replay.bench.machine.bind(3, 2, MemberDriver::None);
    replay.not_viable();
    replay.bench.add(3, 2);
    replay.bench.machine.names.insert(DeviceId(3), "0000:01:02.0".into());
    replay.two();
    replay.not_viable();
    replay.compare(include_str!("../../../../tests/oracle/vfio.txt"));
}

#[test]
fn the_recorded_transcript_without_interrupt_remapping() {
    let mut replay = Replay::new(MemberDriver::Native);
    replay.bench.machine.refused.insert(("type1", GroupId(1)), Errno::EPERM);
    group(&mut replay);
    // The steps are the same for each device there: the first one's are enough.
    let record = include_str!("../../../../tests/oracle/vfio-nointremap.txt");
    let (first, _) = record.split_once("## B").unwrap();
    replay.compare(first);
}
