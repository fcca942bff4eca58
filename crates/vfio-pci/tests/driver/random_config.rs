//! Random reads and writes of configuration space, against a model that knows of bytes only: which bits are virtual, which
//! can be written, and the few registers whose value depends on another.

use proptest::prelude::*;

use crate::bench::{BUFFER, Bench, CONFIG};
use crate::fake::Fake;
use ioctlab_chardev::Errno;

struct Model {
    virt: Vec<u8>,
    hardware: Vec<u8>,
    /// By byte: bits that are virtual, that programs can write, and that hardware lets change.
    is_virtual: Vec<u8>,
    writable: Vec<u8>,
    changeable: Vec<u8>,
}

/// In e1000e: bytes that are virtual as a whole, and those that can be written as a whole.
const VIRTUAL: &[std::ops::Range<usize>] = &[
    0..4,
    0x10..0x28,
    0x30..0x35,
    0x3c..0x3e,
    0xa1..0xa2,
    0xc9..0xca,
    0xd1..0xd3,
    0xd4..0xde,
    0xe1..0xe2,
    0x100..0x104,
    0x140..0x144,
];
const WRITABLE: &[std::ops::Range<usize>] = &[
    4..6,
    0xc..0xe,
    0xf..0x10,
    0x10..0x28,
    0x30..0x34,
    0x3c..0x3d,
    0x40..0xa0,
    0xac..0xc8,
    0xd2..0xd3,
    0xd4..0xe0,
    0xf4..0x100,
    0x12c..0x140,
    0x14c..0x1000,
];
/// What has more to it than bits: power, PCI Express's controls, error reporting.
const LEFT_OUT: &[std::ops::Range<usize>] = &[0xcc..0xd0, 0xe8..0xea, 0x104..0x11c];

fn is_in(ranges: &[std::ops::Range<usize>], at: usize) -> bool {
    ranges.iter().any(|range| range.contains(&at))
}

impl Model {
    fn new(fake: &Fake) -> Self {
        let bits = |ranges| (0..4096).map(|at| if is_in(ranges, at) { 0xff } else { 0 }).collect::<Vec<u8>>();
        let mut model = Self {
            virt: fake.config.clone(),
            hardware: fake.config.clone(),
            is_virtual: bits(VIRTUAL),
            writable: bits(WRITABLE),
            changeable: fake.writable.clone(),
        };
        model.is_virtual[5] = 4;
        model.is_virtual[6] = 0x10;
        // Power management events, which programs don't see.
        (model.is_virtual[0xcb], model.virt[0xcb]) = (0xf8, 0);
        model
    }

    fn read(&self, at: usize) -> u8 {
        let mut virt = self.virt[at];
        // BARs, which have as many bits as their size leaves, and flags.
        let sizes = [0xfffe_0000_u32, 0xfffe_0000, 0xffff_ffe0, 0xffff_c000, 0, 0];
        match at {
            0x10..0x28 => {
                let index = (at - 0x10) / 4;
                let flags = u8::from(at == 0x18);
                virt = virt & sizes[index].to_le_bytes()[at % 4] | flags;
            }
            0x30..0x34 => virt &= 0xfffc_0001_u32.to_le_bytes()[at % 4],
            _ => {}
        }
        virt & self.is_virtual[at] | self.hardware[at] & !self.is_virtual[at]
    }

    fn write(&mut self, at: usize, byte: u8) {
        let (virt, write) = (self.is_virtual[at], self.writable[at]);
        self.virt[at] = self.virt[at] & !(virt & write) | byte & virt & write;
        let change = !virt & write & self.changeable[at];
        self.hardware[at] = self.hardware[at] & !change | byte & change;
        if at == 0xd2 {
            // MSI isn't enabled, and has one vector.
            self.virt[at] &= !0x71;
            self.hardware[at] &= !0x71;
        }
    }
}

#[derive(Clone, Debug)]
enum Access {
    Read(u64, usize),
    Write(u64, Vec<u8>),
}

fn accesses() -> impl Strategy<Value = Vec<Access>> {
    let at = prop_oneof![4 => 0u64..0x44, 4 => 0xa0u64..0x108, 1 => 0x128u64..0x150, 1 => 0u64..4200];
    let read = (at.clone(), 1usize..20).prop_map(|(at, count)| Access::Read(at, count));
    let write =
        (at, prop::collection::vec(any::<u8>(), 1..12)).prop_map(|(at, bytes)| Access::Write(at, bytes));
    prop::collection::vec(prop_oneof![read, write], 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn bytes_are_as_their_bits_say(accesses in accesses()) {
        let mut fake = Fake::e1000e();
        fake.allow(0xc, u32::MAX);
        fake.allow(0x60, u32::MAX);
        fake.allow(0xb0, 0x00ff_ff00);
        fake.allow(0x130, u32::MAX);
        // Behind the end of MSI, in its last 4 bytes.
        fake.allow(0xdc, 0xffff_0000);
        let mut bench = Bench::new(fake);
        let mut model = Model::new(&bench.function);
        for access in accesses {
            match access {
                Access::Read(at, count) => {
                    let result = bench.pread(CONFIG + at, count);
                    if at as usize + count > 4096 {
                        prop_assert_eq!(result, Err(Errno::EFAULT));
                        continue;
                    }
                    prop_assert_eq!(result, Ok(count));
                    let bytes: [u8; 20] = bench.program.get(BUFFER);
                    let expected: Vec<u8> = (at as usize..at as usize + count).map(|at| model.read(at)).collect();
                    prop_assert_eq!(&bytes[..count], &expected, "{:#x}", at);
                }
                Access::Write(at, bytes) => {
                    let range = at as usize..at as usize + bytes.len();
                    if range.clone().any(|at| is_in(LEFT_OUT, at)) {
                        continue;
                    }
                    let result = bench.pwrite(CONFIG + at, &bytes);
                    if range.end > 4096 {
                        prop_assert_eq!(result, Err(Errno::EFAULT));
                        continue;
                    }
                    prop_assert_eq!(result, Ok(bytes.len()));
                    range.zip(bytes).for_each(|(at, byte)| model.write(at, byte));
                    // What the program's INTx disable does to the hardware's, it doesn't see.
                    let reachable = model.read(4) & 2 != 0;
                    prop_assert_eq!(bench.function.reachable, Some(reachable));
                }
            }
        }
    }

    /// Whatever a device's registers hold, and whatever is done to them, nothing panics.
    #[test]
    fn no_registers_are_too_strange(
        bytes in prop::collection::vec(any::<u8>(), 4096),
        pointers in prop::collection::vec((0x40usize..0x100, 0x40u8..=0xff, 0u8..0x16), 1..8),
        extended in any::<bool>(),
        accesses in accesses(),
    ) {
        let mut fake = Fake::e1000e();
        fake.config[0x40..].copy_from_slice(&bytes[0x40..]);
        fake.writable[0x40..].copy_from_slice(&bytes[..4096 - 0x40]);
        let mut at = 0x34;
        for (to, _, id) in pointers {
            fake.config[at] = to as u8;
            if to + 1 < 0x100 {
                fake.config[to] = id;
                at = to + 1;
            }
        }
        if !extended {
            fake.config.truncate(256);
            fake.writable.truncate(256);
        }
        fake.power_on = fake.config.clone();
        let mut bench = Bench::new(fake);
        for access in accesses {
            let _ = match access {
                Access::Read(at, count) => bench.pread(CONFIG + at, count),
                Access::Write(at, bytes) => bench.pwrite(CONFIG + at, &bytes),
            };
        }
        bench.close();
    }
}
