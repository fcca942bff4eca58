//! What a function is like, from which its configuration space is made.

use alloc::vec::Vec;

use crate::bar::{Bar, BarKind};
use crate::capability;
use crate::config::ConfigSpace;

/// The fixed part of a function's header.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Who made it.
    pub vendor: u16,
    /// What it is.
    pub device: u16,
    /// Who made the board.
    pub subsystem_vendor: u16,
    /// What board it is.
    pub subsystem: u16,
    /// Class, subclass and programming interface, in 24 bits.
    pub class: u32,
    /// Its revision.
    pub revision: u8,
    /// Which pin it interrupts by: 1 for INTA; 0 for none.
    pub interrupt_pin: u8,
}

impl Default for Header {
    /// The subsystem is QEMU's; there is a pin.
    fn default() -> Self {
        Self {
            vendor: 0xffff,
            device: 0xffff,
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
            class: 0x00ff00,
            revision: 0,
            interrupt_pin: 1,
        }
    }
}

/// A function to be made.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its header.
    pub header: Header,
    /// Its BARs; a 64-bit one leaves the next one's place empty.
    pub bars: [Option<Bar>; 6],
    /// How many MSI vectors it has: 1, 2, 4, 8, 16 or 32.
    pub msi: Option<u8>,
    /// How many MSI-X vectors it has, up to 2048, and in which BAR their table is: at its start, with the pending bits in its
    /// upper half.
    pub msix: Option<(u16, u8)>,
    /// It is on PCI Express: 4096 bytes of configuration space, and function-level reset.
    pub express: bool,
    /// The contents of its expansion ROM; a power of two of bytes, at least 2048.
    pub rom: Vec<u8>,
}

impl Description {
    /// One with nothing but a header.
    pub const fn new(header: Header) -> Self {
        Self { header, bars: [None; 6], msi: None, msix: None, express: false, rom: Vec::new() }
    }

    /// The configuration space of such a function, as it is after a reset.
    pub(crate) fn config(&self) -> ConfigSpace {
        let mut bytes = self.header();
        bytes.resize(if self.express { 4096 } else { 256 }, 0);
        let mut config = ConfigSpace::new(bytes);
        let mut at: usize = 0x40;
        // The pointer to the first one, and then that in the one before.
        let mut link = 0x34;
        for bytes in self.capabilities() {
            config.hold(at, &bytes);
            config.hold(link, &[at as u8]);
            config.hold(6, &[0x10]);
            link = at.saturating_add(1);
            at = at.saturating_add(bytes.len()).next_multiple_of(0x10);
        }
        describe_header(&mut config, &self.bars, self.rom.len() as u64);
        capability::describe_all(&mut config);
        config
    }

    /// The part of the header that says what it is.
    fn header(&self) -> Vec<u8> {
        let Header { vendor, device, subsystem_vendor, subsystem, class, revision, interrupt_pin } =
            self.header;
        let mut header = Vec::with_capacity(0x40);
        header.extend(vendor.to_le_bytes());
        header.extend(device.to_le_bytes());
        header.resize(8, 0);
        header.push(revision);
        header.extend(class.to_le_bytes().into_iter().take(3));
        header.resize(0x2c, 0);
        header.extend(subsystem_vendor.to_le_bytes());
        header.extend(subsystem.to_le_bytes());
        header.resize(0x3d, 0);
        header.push(interrupt_pin);
        header
    }

    fn capabilities(&self) -> Vec<Vec<u8>> {
        let mut capabilities = Vec::new();
        if let Some(vectors) = self.msi {
            // 64-bit addresses; how many vectors, as a power of two.
            let control = 0x80 | (vectors.clamp(1, 32).ilog2() as u16) << 1;
            let mut body = control.to_le_bytes().to_vec();
            body.resize(12, 0);
            capabilities.push(capability_bytes(capability::MSI, &body));
        }
        if let Some((vectors, bar)) = self.msix {
            let size = self.bars.get(usize::from(bar)).copied().flatten().map_or(0, |bar| bar.size);
            let pending = (size >> 1) as u32 | u32::from(bar);
            let mut body = vectors.clamp(1, 2048).saturating_sub(1).to_le_bytes().to_vec();
            body.extend(u32::from(bar).to_le_bytes());
            body.extend(pending.to_le_bytes());
            capabilities.push(capability_bytes(capability::MSIX, &body));
        }
        if self.express {
            capabilities.push(capability_bytes(capability::PCI_EXPRESS, &express()));
        }
        capabilities
    }
}

/// Says which bits of a header that is there already can be changed. What firmware and drivers have set up in it is undone;
/// errors that have happened are still there.
pub(crate) fn describe_header(config: &mut ConfigSpace, bars: &[Option<Bar>; 6], rom: u64) {
    // I/O, memory, bus mastering, SERR, and disabling the pin; others are there if they were set. Errors in the status are cleared
    // by writing 1. The pin isn't asserted.
    let command = 0x0507 | config.read(4, 2) & 0x07ff;
    config.let_write(4, command);
    config.let_clear(4, 0xf900_0000);
    config.clear(4, 0x0008_0000);
    // The size of cache lines, and the line of the pin.
    config.let_write(0x0c, 0x0000_00ff);
    config.let_write(0x3c, 0x0000_00ff);
    for (index, bar) in bars.iter().enumerate() {
        let Some(bar) = bar else { continue };
        let at = index.saturating_mul(4).saturating_add(0x10);
        let mask = bar.size.wrapping_neg();
        config.hold(at, &bar.type_bits().to_le_bytes());
        config.let_write(at, mask as u32);
        if bar.kind == BarKind::Memory64 {
            let upper = at.saturating_add(4);
            config.hold(upper, &[0; 4]);
            config.let_write(upper, (mask >> 32) as u32);
        }
    }
    config.hold(0x30, &[0; 4]);
    if rom > 0 {
        config.let_write(0x30, rom.wrapping_neg() as u32 | 1);
    }
}

fn capability_bytes(id: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = alloc::vec![id, 0];
    bytes.extend(body);
    bytes
}

/// A PCI Express endpoint of version 2, which can reset its function.
fn express() -> Vec<u8> {
    let mut body = Vec::with_capacity(58);
    body.extend(0x0002_u16.to_le_bytes());
    body.extend(0x1000_8000_u32.to_le_bytes());
    // Device control and status; a link of 2.5 GT/s and one lane.
    body.extend([0; 4]);
    body.extend(0x0000_0011_u32.to_le_bytes());
    body.extend([0, 0, 0x11, 0]);
    body.resize(58, 0);
    body
}
