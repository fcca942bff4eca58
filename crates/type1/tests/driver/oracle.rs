//! What Linux printed, call by call: the group `t` of the probe, on a device behind QEMU's Intel IOMMU.

use ioctlab_abi::vfio::{
    IOMMU_DIRTY_PAGES, IOMMU_GET_INFO, IOMMU_MAP_DMA, IOMMU_UNMAP_DMA, TYPE1_NESTING_IOMMU,
};
use ioctlab_chardev::{Errno, SpaceId};
use ioctlab_type1::Parameters;

use crate::harness::{
    BITMAP, BUFFER, Lab, PAGE, halves, long, map_struct, open, program, unmap_struct, word,
};
use crate::memory::BAD;

const RECORD: &str = include_str!("../../../../tests/oracle/vfio.txt");
/// Memory of the probe's besides its buffer.
const OTHER: u64 = 0x7e00_0000_0000;

/// The steps of the group `t`: version 2, version 1, nesting.
fn is_of_type1(line: &str) -> bool {
    ["t2.", "t1.", "tn."].iter().any(|start| line.starts_with(start))
}

struct Probe {
    prefix: &'static str,
    lab: Lab,
    lines: Vec<String>,
}

impl Probe {
    fn say(&mut self, name: &str, result: Result<(), Errno>, extra: &str) {
        let (value, errno) = match result {
            Ok(()) => (0, "0".to_string()),
            Err(errno) => (-1, format!("{errno:?}")),
        };
        self.lines.push(format!("{}.{name} -> {value} {errno} {extra}", self.prefix));
    }

    fn map(&mut self, name: &str, flags: u32, vaddr: u64, iova: u64, size: u64) {
        let result = self.lab.map(flags, vaddr, iova, size);
        self.say(name, result, "-");
    }

    fn unmap(&mut self, name: &str, flags: u32, iova: u64, size: u64) -> u64 {
        let (result, unmapped) = self.lab.unmap(flags, iova, size);
        self.say(name, result, &format!("unmapped={}", hex(unmapped)));
        unmapped
    }

    fn info(&mut self, argsz: u32) {
        let (result, bytes) = self.lab.info(argsz);
        let (mut capabilities, mut at) = (String::new(), 0);
        if argsz >= 24 {
            at = word(&bytes, 16) as usize;
        }
        let offset = at;
        while result.is_ok() && at > 0 {
            let (id, version) = (word(&bytes, at) & 0xffff, word(&bytes, at) >> 16);
            capabilities += &format!(" cap{id}.v{version}@{at}");
            match id {
                1 => {
                    for index in 0..word(&bytes, at + 8) as usize {
                        let range = at + 16 + 16 * index;
                        capabilities += &format!("[{:x}-{:x}]", long(&bytes, range), long(&bytes, range + 8));
                    }
                }
                2 => {
                    let (flags, pages, max) =
                        (word(&bytes, at + 8), long(&bytes, at + 16), long(&bytes, at + 24));
                    capabilities += &format!("[fl={flags:x} pg={pages:x} max={max:x}]");
                }
                3 => capabilities += &format!("[avail={}]", word(&bytes, at + 8)),
                _ => {}
            }
            at = word(&bytes, at + 4) as usize;
        }
        let (size, flags, pages) = (word(&bytes, 0), hex(word(&bytes, 4).into()), hex(long(&bytes, 8)));
        let extra = format!("argsz={size} flags={flags} pgsizes={pages} cap_offset={offset}{capabilities}");
        self.say(&format!("info-argsz-{argsz}"), result, &extra);
    }

    fn run(&mut self) {
        self.structs();
        self.fields();
        self.memory();
        self.places();
        self.unmaps();
        self.dirty_pages();
        self.limit();
        self.map("pin-then-munmap", 3, BUFFER, 0x600_0000, 4 * PAGE);
        self.lab.program.pinnable.clear();
        self.unmap("pin-then-munmap.u", 0, 0x600_0000, 4 * PAGE);
    }

    fn structs(&mut self) {
        for argsz in [0, 15, 16, 20, 24, 64, 1024] {
            self.info(argsz);
        }
        for (name, request) in [("info", IOMMU_GET_INFO), ("map", IOMMU_MAP_DMA), ("unmap", IOMMU_UNMAP_DMA)]
        {
            let result = self.lab.call_at(request, BAD);
            self.say(&format!("{name}-badptr"), result, "-");
        }
        for argsz in [31, 64] {
            let mut bytes = map_struct(argsz, 3, BUFFER, 0x10_0000, PAGE);
            let result = self.lab.call(IOMMU_MAP_DMA, &mut bytes);
            self.say(&format!("map-argsz-{argsz}"), result, "-");
        }
        self.unmap("unmap-it", 0, 0x10_0000, PAGE);
        let result = self.lab.call(IOMMU_UNMAP_DMA, &mut unmap_struct(23, 0, 0x10_0000, PAGE));
        self.say("unmap-argsz-23", result, "-");
    }

    fn fields(&mut self) {
        self.map("flags-0", 0, BUFFER, 0x10_0000, PAGE);
        self.map("flags-r", 1, BUFFER, 0x10_0000, PAGE);
        self.map("flags-w", 2, BUFFER, 0x20_0000, PAGE);
        self.map("flags-rw", 3, BUFFER, 0x30_0000, PAGE);
        self.map("flags-4-vaddr", 4, BUFFER, 0x30_0000, PAGE);
        self.map("flags-8", 8 | 3, BUFFER, 0x40_0000, PAGE);
        self.map("flags-7", 7, BUFFER, 0x40_0000, PAGE);
        self.map("size-0", 3, BUFFER, 0x50_0000, 0);
        self.map("size-1", 3, BUFFER, 0x50_0000, 1);
        self.map("size-4095", 3, BUFFER, 0x50_0000, 4095);
        self.map("iova-misaligned", 3, BUFFER, 0x50_0001, PAGE);
        self.map("iova-800", 3, BUFFER, 0x50_0800, PAGE);
        self.map("va-misaligned", 3, BUFFER + 8, 0x50_0000, PAGE);
        self.map("iova-wrap", 3, BUFFER, 0xffff_ffff_ffff_f000, 2 * PAGE);
        self.map("iova-last-page", 3, BUFFER, 0xffff_ffff_ffff_f000, PAGE);
        self.map("va-wrap", 3, 0xffff_ffff_ffff_f000, 0x50_0000, 2 * PAGE);
        self.map("size-huge", 3, BUFFER, 0, 0xffff_ffff_ffff_f000);
        self.map("size-2^63", 3, BUFFER, 0, 1 << 63);
    }

    fn memory(&mut self) {
        self.map("va-null", 3, 0, 0x50_0000, PAGE);
        self.map("va-kernel", 3, 0xffff_8880_0000_0000, 0x50_0000, PAGE);
        self.lab.program.make_pinnable(OTHER, 2 * PAGE, false);
        self.map("va-readonly-rw", 3, OTHER, 0x50_0000, PAGE);
        self.map("va-readonly-r", 1, OTHER, 0x50_0000, PAGE);
        self.unmap("va-readonly-r.u", 0, 0x50_0000, PAGE);
        self.lab.program.pinnable.pop();
        self.map("va-none", 1, OTHER, 0x50_0000, PAGE);
        self.lab.program.make_pinnable(OTHER, PAGE, true);
        self.map("va-half-unmapped", 3, OTHER, 0x50_0000, 2 * PAGE);
        self.unmap("va-half-unmapped.left", 0, 0x50_0000, PAGE);
    }

    fn places(&mut self) {
        self.map("overlap-exact", 3, BUFFER, 0x30_0000, PAGE);
        self.map("overlap-part", 3, BUFFER, 0x2f_f000, 2 * PAGE);
        self.map("overlap-super", 3, BUFFER, 0, 0x80_0000);
        self.map("adjacent", 3, BUFFER + PAGE, 0x30_1000, PAGE);
        self.map("same-va-other-iova", 3, BUFFER, 0x31_0000, PAGE);
        self.map("iova-0", 3, BUFFER, 0, PAGE);
        self.unmap("iova-0.u", 0, 0, PAGE);
        self.map("iova-msi-fee00000", 3, BUFFER, 0xfee0_0000, PAGE);
        self.map("iova-cross-msi", 3, BUFFER, 0xfedf_f000, 2 * PAGE);
        self.map("iova-below-msi", 3, BUFFER, 0xfedf_f000, PAGE);
        self.unmap("iova-below-msi.u", 0, 0xfedf_f000, PAGE);
        self.map("iova-2^39-1page", 3, BUFFER, (1 << 39) - PAGE, PAGE);
        self.unmap("iova-2^39.u", 0, (1 << 39) - PAGE, PAGE);
        self.map("iova-2^39", 3, BUFFER, 1 << 39, PAGE);
        self.unmap("iova-2^39b.u", 0, 1 << 39, PAGE);
        self.map("iova-2^48", 3, BUFFER, 1 << 48, PAGE);
        self.map("iova-2^57", 3, BUFFER, 1 << 57, PAGE);
        self.map("iova-2^63", 3, BUFFER, 1 << 63, PAGE);
    }

    fn unmaps(&mut self) {
        self.map("u.map-16p", 3, BUFFER, 0x100_0000, 16 * PAGE);
        self.unmap("u.middle", 0, 0x100_4000, PAGE);
        if self.unmap("u.front", 0, 0x100_0000, PAGE) != 0 {
            self.map("u.remap-16p", 3, BUFFER, 0x100_0000, 16 * PAGE);
        }
        self.unmap("u.back", 0, 0x100_f000, PAGE);
        self.unmap("u.start-inside-to-past", 0, 0x100_8000, 16 * PAGE);
        self.unmap("u.before-to-inside", 0, 0xff_c000, 8 * PAGE);
        self.map("u.remap-16p-b", 3, BUFFER, 0x100_0000, 16 * PAGE);
        self.unmap("u.superset", 0, 0xff_0000, 64 * PAGE);
        self.unmap("u.again", 0, 0x100_0000, 16 * PAGE);
        self.map_four();
        self.unmap("u.4-adjacent-by-one", 0, 0x200_0000, 4 * PAGE);
        self.map_four();
        self.unmap("u.4-adjacent-middle-2", 0, 0x200_1000, 2 * PAGE);
        self.unmap("u.4-adjacent-rest", 0, 0x200_0000, 4 * PAGE);
        self.unmap("u.none", 0, 0x700_0000, PAGE);
        self.unmap("u.size-0", 0, 0x30_0000, 0);
        self.unmap("u.misaligned", 0, 0x30_0001, PAGE);
        self.unmap("u.size-1", 0, 0x30_0000, 1);
        self.unmap("u.wrap", 0, 0xffff_ffff_ffff_f000, 2 * PAGE);
        self.unmap("u.last-page", 0, 0xffff_ffff_ffff_f000, PAGE);
        self.unmap("u.flag-bad", 8, 0x30_0000, PAGE);
        self.unmap("u.flag-all-nonzero-iova", 2, 0x30_0000, 0);
        self.unmap("u.flag-all-nonzero-size", 2, 0, PAGE);
        self.unmap("u.flag-all+dirty", 3, 0, 0);
        self.unmap("u.flag-dirty-no-struct", 1, 0x30_0000, PAGE);
        self.unmap("u.flag-vaddr", 4, 0x30_0000, PAGE);
        self.unmap("u.flag-vaddr-again", 4, 0x30_0000, PAGE);
        self.map("u.map-vaddr-wrong-size", 4, BUFFER, 0x30_0000, 2 * PAGE);
        self.map("u.map-vaddr-back", 4, BUFFER, 0x30_0000, PAGE);
        self.unmap("u.flag-all", 2, 0, 0);
        self.unmap("u.flag-all-empty", 2, 0, 0);
        self.unmap("u.2^64-1page", 0, 0, 0xffff_ffff_ffff_f000);
    }

    fn map_four(&mut self) {
        for page in 0..4 {
            let mapped = self.lab.map(3, BUFFER + page * PAGE, 0x200_0000 + page * PAGE, PAGE);
            assert_eq!(mapped, Ok(()));
        }
    }

    fn dirty_pages(&mut self) {
        let flags =
            [("dirty-bad-flag", 8), ("dirty-start", 1), ("dirty-start-again", 1), ("dirty-two-flags", 3)];
        for (name, flags) in flags {
            self.dirty(name, flags);
        }
        self.map("dirty-map", 3, BUFFER, 0x10_0000, 64 * PAGE);
        self.lab.program.put(BITMAP, &[0; 64]);
        let result = self.lab.get_dirty(0x10_0000, 64 * PAGE, PAGE, 8, BITMAP);
        let bits = u64::from_ne_bytes(self.lab.program.get(BITMAP));
        self.say("dirty-get", result, &format!("bm={}", hex(bits)));
        self.get_dirty("dirty-get-bisect", 32 * PAGE, PAGE, 8);
        self.get_dirty("dirty-get-small", 64 * PAGE, PAGE, 4);
        self.get_dirty("dirty-get-pgsize-8k", 64 * PAGE, 2 * PAGE, 8);
        self.dirty("dirty-stop", 2);
        self.get_dirty("dirty-get-stopped", 64 * PAGE, PAGE, 8);
        self.dirty("dirty-stop-again", 2);
        self.unmap("u.all2", 2, 0, 0);
    }

    fn dirty(&mut self, name: &str, flags: u32) {
        let mut bytes = halves(&[8, flags]);
        let result = self.lab.call(IOMMU_DIRTY_PAGES, &mut bytes);
        self.say(name, result, "-");
    }

    fn get_dirty(&mut self, name: &str, size: u64, page: u64, bytes: u64) {
        let result = self.lab.get_dirty(0x10_0000, size, page, bytes, BITMAP);
        self.say(name, result, "-");
    }

    /// In a forked process.
    fn limit(&mut self) {
        let mut child = program(SpaceId(2));
        child.locked_memory_limit = Some(64 * PAGE);
        let parent = std::mem::replace(&mut self.lab.program, child);
        self.map("memlock-64p-in-limit", 3, BUFFER, 0x400_0000, 32 * PAGE);
        self.map("memlock-over", 3, BUFFER + 64 * PAGE, 0x500_0000, 64 * PAGE);
        self.unmap("memlock-over.left", 0, 0x500_0000, 64 * PAGE);
        self.unmap("memlock-u", 0, 0x400_0000, 32 * PAGE);
        self.lab.program = parent;
    }
}

fn hex(number: u64) -> String {
    if number == 0 { "0".to_string() } else { format!("{number:#x}") }
}

#[test]
fn every_line() {
    let mut lines = Vec::new();
    for (prefix, lab) in [("t2", Lab::v2()), ("t1", Lab::v1())] {
        let mut probe = Probe { prefix, lab, lines: Vec::new() };
        probe.run();
        lines.append(&mut probe.lines);
    }
    let nesting = open(TYPE1_NESTING_IOMMU, Parameters::default()).err();
    lines.push(format!("tn.nesting-up -> -1 {:?} -", nesting.expect("nothing nests")));
    let recorded: Vec<&str> = RECORD.lines().filter(|line| is_of_type1(line)).collect();
    for (recorded, line) in recorded.iter().zip(&lines) {
        assert_eq!(line, recorded);
    }
    assert_eq!(lines.len(), recorded.len());
}
