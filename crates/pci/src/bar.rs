//! Base address registers: where a function's memory is on its bus.

/// What a BAR decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// Memory below 4 GiB.
    Memory32,
    /// Memory anywhere; takes the next BAR's register, too.
    Memory64,
    /// I/O ports.
    Io,
}

/// A BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// What it decodes.
    pub kind: BarKind,
    /// Reads have no effects, and writes may be merged.
    pub prefetchable: bool,
    /// Its size in bytes: a power of two, at least 16 for memory and 4 for I/O.
    pub size: u64,
    /// How many bytes at its start are registers, in whole words; the rest is memory. All of an I/O BAR is registers.
    pub registers: u64,
}

impl Bar {
    /// 32-bit memory.
    pub const fn memory(size: u64) -> Self {
        Self { kind: BarKind::Memory32, prefetchable: false, size, registers: 0 }
    }

    /// 64-bit memory.
    pub const fn memory64(size: u64) -> Self {
        Self { kind: BarKind::Memory64, ..Self::memory(size) }
    }

    /// I/O ports.
    pub const fn io(size: u64) -> Self {
        Self { kind: BarKind::Io, prefetchable: false, size, registers: size }
    }

    /// The same with registers at its start.
    pub const fn with_registers(self, bytes: u64) -> Self {
        Self { registers: bytes, ..self }
    }

    /// The bits at the register's lower end, which say what it is.
    pub(crate) const fn type_bits(&self) -> u32 {
        let prefetchable = if self.prefetchable { 8 } else { 0 };
        match self.kind {
            BarKind::Memory32 => prefetchable,
            BarKind::Memory64 => 4 | prefetchable,
            BarKind::Io => 1,
        }
    }
}
