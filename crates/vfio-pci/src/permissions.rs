//! Which bits of configuration space are virtual, and which can be written: `struct perm_bits`, as tables.
//!
//! A bit that isn't virtual is the hardware's; one that isn't listed is the hardware's and can't be written.

use crate::Width;
use crate::hardware::{MSI_FLAGS_64BIT, MSI_FLAGS_MASKBIT};

const NONE: u32 = 0;
const ALL: u32 = u32::MAX;

/// A field of a capability.
#[derive(Debug)]
pub(crate) struct Field {
    /// Where it is, in the capability.
    offset: u16,
    width: Width,
    /// Its bits that are virtual.
    virt: u32,
    /// Its bits that can be written.
    write: u32,
}

const fn byte(offset: u16, virt: u32, write: u32) -> Field {
    Field { offset, width: Width::Byte, virt, write }
}

const fn word(offset: u16, virt: u32, write: u32) -> Field {
    Field { offset, width: Width::Word, virt, write }
}

const fn dword(offset: u16, virt: u32, write: u32) -> Field {
    Field { offset, width: Width::Dword, virt, write }
}

/// Where the next capability is: always virtual, so that capabilities can be hidden.
const NEXT: Field = byte(1, ALL, NONE);

/// The header.
pub(crate) const HEADER: &[Field] = &[
    word(0x00, ALL, NONE),    // vendor
    word(0x02, ALL, NONE),    // device
    word(0x04, 0x0400, ALL),  // command: INTx disable is virtual
    word(0x06, 0x0010, NONE), // status: whether there are capabilities
    byte(0x0c, NONE, ALL),    // cache line size
    byte(0x0d, NONE, ALL),    // latency timer
    byte(0x0f, NONE, ALL),    // BIST
    dword(0x10, ALL, ALL),    // BARs
    dword(0x14, ALL, ALL),
    dword(0x18, ALL, ALL),
    dword(0x1c, ALL, ALL),
    dword(0x20, ALL, ALL),
    dword(0x24, ALL, ALL),
    dword(0x30, ALL, ALL), // ROM
    byte(0x34, ALL, NONE), // capabilities
    byte(0x3c, ALL, ALL),  // interrupt line
    byte(0x3d, ALL, NONE), // interrupt pin
];

/// Power management: the state itself is set by another way; PME isn't there for programs.
pub(crate) const PM: &[Field] = &[NEXT, word(2, 0xf800, NONE), dword(4, 0x8100, !0x8103)];

/// Vital product data.
pub(crate) const VPD: &[Field] = &[NEXT, word(2, ALL, ALL), dword(4, ALL, ALL)];

/// PCI-X: the command and the ECC control register.
pub(crate) const PCIX: &[Field] = &[NEXT, word(2, NONE, ALL), dword(8, NONE, ALL)];

/// PCI Express: device control, of which FLR and sizes are virtual and phantom functions can't be had, and device control 2
/// but for ARI forwarding.
pub(crate) const EXPRESS: &[Field] = &[NEXT, word(0x08, 0xf0e0, !0x0200), word(0x28, NONE, !0x0020)];

/// Advanced features: FLR.
pub(crate) const AF: &[Field] = &[NEXT, byte(4, 1, 1)];

const MSI_32: &[Field] = &[NEXT, byte(2, ALL, ALL), dword(4, ALL, ALL), word(8, ALL, ALL)];
const MSI_32_MASK: &[Field] = &[
    NEXT,
    byte(2, ALL, ALL),
    dword(4, ALL, ALL),
    word(8, ALL, ALL),
    dword(12, NONE, ALL),
    dword(16, NONE, ALL),
];
const MSI_64: &[Field] =
    &[NEXT, byte(2, ALL, ALL), dword(4, ALL, ALL), dword(8, ALL, ALL), word(12, ALL, ALL)];
const MSI_64_MASK: &[Field] = &[
    NEXT,
    byte(2, ALL, ALL),
    dword(4, ALL, ALL),
    dword(8, ALL, ALL),
    word(12, ALL, ALL),
    dword(16, NONE, ALL),
    dword(20, NONE, ALL),
];

/// MSI, by its flags. All of the lower half of the flags can be written in the virtual copy, as recorded: also what says that
/// addresses have 64 bits.
pub(crate) const fn msi(flags: u16) -> &'static [Field] {
    match (flags & MSI_FLAGS_64BIT != 0, flags & MSI_FLAGS_MASKBIT != 0) {
        (false, false) => MSI_32,
        (false, true) => MSI_32_MASK,
        (true, false) => MSI_64,
        (true, true) => MSI_64_MASK,
    }
}

/// The first 4 bytes of an extended capability.
const EXTENDED_HEADER: Field = dword(0, ALL, NONE);

/// Advanced error reporting.
pub(crate) const ERR: &[Field] = &[
    EXTENDED_HEADER,
    dword(0x04, NONE, 0x03ff_f031), // uncorrectable: status, mask, severity
    dword(0x08, NONE, 0x03ff_f031),
    dword(0x0c, NONE, 0x03ff_f031),
    dword(0x10, NONE, 0x0000_f1c1), // correctable: status, mask
    dword(0x14, NONE, 0x0000_f1c1),
    dword(0x18, NONE, 0x0000_0140), // ECRC generation and check
];

/// Power budgeting: which data are to be seen. Linux lets the data register be written instead of the selector.
pub(crate) const POWER_BUDGET: &[Field] = &[EXTENDED_HEADER, byte(8, NONE, ALL)];

/// The bits of an access within a capability that are virtual, and those that can be written.
pub(crate) fn bits(fields: &[Field], offset: u16, width: Width) -> (u32, u32) {
    let (mut virt, mut write) = (0, 0);
    for index in (0..width.bytes()).rev() {
        let at = offset.saturating_add(index as u16);
        let found = fields.iter().find_map(|field| {
            let within = at.checked_sub(field.offset).map(usize::from)?;
            let (virt, write) = (field.virt.to_le_bytes(), field.write.to_le_bytes());
            (within < field.width.bytes()).then_some((*virt.get(within)?, *write.get(within)?))
        });
        let (byte_virt, byte_write) = found.unwrap_or((0, 0));
        virt = virt << 8 | u32::from(byte_virt);
        write = write << 8 | u32::from(byte_write);
    }
    (virt, write)
}
