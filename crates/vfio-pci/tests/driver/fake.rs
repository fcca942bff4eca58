//! PCI functions: registers that can be written or not, BARs, and as much of a device behind them as the record shows.

use std::collections::{BTreeSet, VecDeque};

use ioctlab_chardev::{AreaId, Errno, FileId};
use ioctlab_vfio_pci::{Bar, BarKind, Function, Interrupt, Messages, Neighbour, Rom, Width};

pub(crate) const AREA: AreaId = AreaId(70);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Model {
    Edu { live: u32, status: u32 },
    E1000e,
    Nvme,
}

#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) config: Vec<u8>,
    pub(crate) writable: Vec<u8>,
    /// What a reset makes of the registers.
    pub(crate) power_on: Vec<u8>,
    pub(crate) bars: [Option<Bar>; 6],
    pub(crate) rom: Option<Rom>,
    pub(crate) can_reset: bool,
    pub(crate) resets: u32,
    pub(crate) intx: bool,
    /// What the device has sent, and nobody has dealt with.
    pub(crate) sent: VecDeque<Interrupt>,
    pub(crate) messages: Option<(Messages, BTreeSet<u32>)>,
    pub(crate) reachable: Option<bool>,
    pub(crate) neighbours: Option<Vec<Neighbour>>,
    pub(crate) groups: Vec<(FileId, u32)>,
    pub(crate) model: Model,
    pub(crate) vpd: Option<u32>,
}

pub(crate) const fn memory(address: u64, size: u64, wide: bool) -> Option<Bar> {
    Some(Bar { address, size, kind: BarKind::Memory { wide, prefetchable: false, area: Some(AREA) } })
}

impl Fake {
    pub(crate) fn new(size: usize, header: [u32; 16]) -> Self {
        let mut fake = Self {
            config: vec![0; size],
            writable: vec![0; size],
            power_on: Vec::new(),
            bars: [None; 6],
            rom: None,
            can_reset: false,
            resets: 0,
            intx: false,
            sent: VecDeque::new(),
            messages: None,
            reachable: None,
            neighbours: None,
            groups: Vec::new(),
            model: Model::E1000e,
            vpd: None,
        };
        for (index, value) in header.into_iter().enumerate() {
            fake.put(index * 4, value);
        }
        fake.allow(0x04, 0x0507);
        fake.allow(0x0c, 0xff);
        fake.allow(0x3c, 0xff);
        fake
    }

    /// Registers, whether they can be written or not.
    pub(crate) fn put(&mut self, at: usize, value: u32) {
        self.config[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Bits that can be written.
    pub(crate) fn allow(&mut self, at: usize, bits: u32) {
        self.writable[at..at + 4].copy_from_slice(&bits.to_le_bytes());
    }

    /// All is set up: this is how it is after a reset, but for BARs and the command register.
    pub(crate) fn built(mut self) -> Self {
        self.power_on = self.config.clone();
        self.power_on[4..6].fill(0);
        self.power_on[0x10..0x28].fill(0);
        self.power_on[0x30..0x34].fill(0);
        for index in 0..6 {
            self.allow(0x10 + 4 * index, u32::MAX);
        }
        self.allow(0x30, u32::MAX);
        self
    }

    /// QEMU's edu, as recorded in section A.
    pub(crate) fn edu() -> Self {
        let mut fake = Self::new(
            256,
            [
                0x11e8_1234,
                0x0010_0103,
                0x00ff_0010,
                0,
                0xfe80_0000,
                0,
                0,
                0,
                0,
                0,
                0,
                0x1100_1af4,
                0,
                0x40,
                0,
                0x0000_010a,
            ],
        );
        fake.put(0x40, 0x0080_0005);
        fake.allow(0x40, 0x0071_0000);
        fake.bars[0] = memory(0xfe80_0000, 0x10_0000, false);
        fake.model = Model::Edu { live: 0, status: 0 };
        fake.built()
    }

    /// QEMU's e1000e, as recorded in section B.
    pub(crate) fn e1000e() -> Self {
        let mut fake = Self::new(
            4096,
            [
                0x10d3_8086,
                0x0010_0103,
                0x0200_0000,
                0,
                0xfe94_0000,
                0xfe96_0000,
                0xd041,
                0xfe98_0000,
                0,
                0,
                0,
                0x0000_8086,
                0xfe90_0000,
                0xc8,
                0,
                0x0000_010b,
            ],
        );
        fake.put(0xc8, 0xc823_d001);
        fake.put(0xcc, 0x0000_2008);
        fake.allow(0xcc, 0x0000_1f03);
        fake.put(0xd0, 0x0080_e005);
        fake.allow(0xd0, 0x0071_0000);
        fake.put(0xe0, 0x0001_a010);
        fake.put(0xe4, 0x1000_8cc1); // FLR
        fake.put(0xe8, 0x0000_2810);
        fake.allow(0xe8, 0x0000_ffff);
        fake.put(0xa0, 0x0004_0011);
        fake.put(0xa4, 3);
        fake.put(0xa8, 0x2003);
        fake.allow(0xa0, 0xc000_0000);
        fake.put(0x100, 0x1402_0001);
        fake.put(0x140, 0x0001_0003);
        fake.allow(0x108, u32::MAX);
        fake.bars[0] = memory(0xfe94_0000, 0x2_0000, false);
        fake.bars[1] = memory(0xfe96_0000, 0x2_0000, false);
        fake.bars[2] = Some(Bar { address: 0xd040, size: 0x20, kind: BarKind::Io });
        fake.bars[3] = memory(0xfe98_0000, 0x4000, false);
        fake.rom = Some(Rom { address: 0xfe90_0000, size: 0x4_0000, image: 0x3_ee00 });
        fake.can_reset = true;
        fake.built()
    }

    /// QEMU's nvme, as recorded in section C.
    pub(crate) fn nvme() -> Self {
        let mut fake = Self::new(
            4096,
            [
                0x0010_1b36,
                0x0010_0103,
                0x0108_0202,
                0,
                0xfe98_4004,
                0,
                0,
                0,
                0,
                0,
                0,
                0x1100_1af4,
                0,
                0x40,
                0,
                0x0000_010b,
            ],
        );
        fake.put(0x40, 0x0040_8011);
        fake.put(0x44, 0x2000);
        fake.put(0x48, 0x3000);
        fake.allow(0x40, 0xc000_0000);
        fake.put(0x80, 0x0002_6010);
        fake.put(0x84, 0x1000_8000);
        fake.allow(0x88, 0x0000_ffff);
        fake.put(0x60, 0x0003_0001);
        fake.put(0x64, 0x0000_0008);
        fake.allow(0x64, 0x0000_0003);
        fake.bars[0] = memory(0xfe98_4000, 0x4000, true);
        fake.can_reset = true;
        fake.model = Model::Nvme;
        fake.built()
    }

    pub(crate) fn command(&self) -> u16 {
        u16::from_le_bytes([self.config[4], self.config[5]])
    }

    /// INTx rises or falls.
    pub(crate) fn set_intx(&mut self, level: bool) {
        self.intx = level;
        self.send_intx();
    }

    fn send_intx(&mut self) {
        if self.intx && self.command() & 0x400 == 0 {
            self.sent.push_back(Interrupt::Intx);
        }
    }

    pub(crate) fn mmio_read(&mut self, bar: usize, offset: u64, width: Width) -> u32 {
        let value = match (self.model, bar, offset) {
            (Model::Edu { .. }, 0, 0) => 0x0100_00ed,
            (Model::Edu { live, .. }, 0, 4) => live,
            (Model::Edu { status, .. }, 0, 0x24) => status,
            (Model::Edu { .. }, ..) => u32::MAX,
            (Model::E1000e, 0, 0) => 0x0014_0241,
            (Model::E1000e, 6, 0) => 0xe993_aa55,
            (Model::Nvme, 0, 0) => 0x0f01_07ff,
            _ => 0,
        };
        value & width.mask()
    }

    pub(crate) fn mmio_write(&mut self, bar: usize, offset: u64, value: u32) {
        let Model::Edu { live, status } = &mut self.model else { return };
        match (bar, offset) {
            (0, 4) => *live = !value,
            (0, 0x60) => {
                *status |= value;
                if self.messages.is_some() {
                    self.sent.push_back(Interrupt::Msi(0));
                } else {
                    self.set_intx(true);
                }
            }
            (0, 0x64) => {
                *status &= !value;
                let left = *status != 0;
                self.intx &= left;
            }
            _ => {}
        }
    }
}

impl Function for Fake {
    fn config_size(&self) -> usize {
        self.config.len()
    }

    fn read_config(&mut self, offset: u16, width: Width) -> u32 {
        assert_eq!(usize::from(offset) % width.bytes(), 0);
        let at = usize::from(offset);
        let mut config = self.config[at..at + width.bytes()].to_vec();
        if self.intx && (at..at + width.bytes()).contains(&6) {
            config[6 - at] |= 8;
        }
        config.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
    }

    fn write_config(&mut self, offset: u16, width: Width, value: u32) {
        assert_eq!(usize::from(offset) % width.bytes(), 0);
        let before = self.command();
        for (index, byte) in value.to_le_bytes().into_iter().enumerate().take(width.bytes()) {
            let at = usize::from(offset) + index;
            self.config[at] = self.config[at] & !self.writable[at] | byte & self.writable[at];
        }
        if before & !self.command() & 0x400 != 0 {
            self.send_intx();
        }
    }

    fn bar(&self, index: usize) -> Option<Bar> {
        self.bars.get(index).copied().flatten()
    }

    fn rom(&self) -> Option<Rom> {
        self.rom
    }

    fn can_reset(&self) -> bool {
        self.can_reset
    }

    fn reset(&mut self) {
        self.resets += 1;
        self.config = self.power_on.clone();
        self.intx = false;
    }

    fn intx_asserted(&mut self) -> bool {
        self.intx
    }

    fn enable_messages(&mut self, kind: Messages, count: u32) -> Result<(), Errno> {
        assert!(self.messages.is_none() && count > 0);
        self.messages = Some((kind, (0..count).collect()));
        Ok(())
    }

    fn add_vector(&mut self, vector: u32) -> Result<(), Errno> {
        let (kind, vectors) = self.messages.as_mut().expect("MSI-X is enabled");
        assert_eq!((*kind, vectors.insert(vector)), (Messages::Msix, true));
        Ok(())
    }

    fn disable_messages(&mut self, kind: Messages) {
        assert_eq!(self.messages.take().expect("enabled").0, kind);
    }

    fn set_reachable(&mut self, reachable: bool) {
        assert_ne!(self.reachable, Some(reachable), "only changes are told");
        self.reachable = Some(reachable);
    }

    fn neighbours(&self) -> Option<Vec<Neighbour>> {
        self.neighbours.clone()
    }

    fn group_of(&self, file: FileId) -> Option<u32> {
        self.groups.iter().find(|(group, _)| *group == file).map(|(_, number)| *number)
    }

    fn read_vpd(&mut self, address: u16) -> Option<u32> {
        self.vpd.map(|data| data.wrapping_add(u32::from(address)))
    }

    fn write_vpd(&mut self, address: u16, data: u32) -> bool {
        self.vpd = Some(data.wrapping_sub(u32::from(address)));
        true
    }
}
