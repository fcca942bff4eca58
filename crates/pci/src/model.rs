//! What a device does: the trait of its model, and of the bus as it has it.

use alloc::boxed::Box;

use crate::function::Function;

/// A function and what it does.
pub struct Device {
    /// What software finds at its address.
    pub function: Function,
    /// What its registers do.
    pub model: Box<dyn DeviceModel>,
}

/// What a device does.
///
/// Offsets are within a BAR, and within its registers ([`Bar::registers`](crate::Bar::registers)); widths are 1, 2, 4 or 8 bytes,
/// aligned. Values are little-endian, as on the bus; bits beyond the width don't count.
pub trait DeviceModel: Send {
    /// A register is read. What isn't a register reads as all ones.
    fn read(&mut self, bar: u8, offset: u64, width: u8, bus: &mut dyn Bus) -> u64;

    /// A register is written.
    fn write(&mut self, bar: u8, offset: u64, width: u8, value: u64, bus: &mut dyn Bus);

    /// The word that a register at a multiple of 4 holds now, without any effect: what a program sees that has it mapped.
    fn peek(&self, bar: u8, offset: u64) -> u32;

    /// The function was reset.
    fn reset(&mut self, bus: &mut dyn Bus);

    /// Goes on with what an access has started; whether there is more to do. Called after each access until there isn't.
    fn run(&mut self, bus: &mut dyn Bus) -> bool {
        let _ = bus;
        false
    }
}

/// A device's access to memory was not carried out: nothing is mapped there, it may not, or the device is no bus master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaFault;

/// How a function's interrupts are enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptMode {
    /// By its pin.
    Intx,
    /// By messages.
    Msi,
    /// By messages of a table.
    Msix,
}

/// The bus, as a device has it.
pub trait Bus {
    /// Reads memory at an address of the IOMMU's.
    ///
    /// # Errors
    /// [`DmaFault`]; then `to` holds nothing of use.
    fn dma_read(&mut self, iova: u64, to: &mut [u8]) -> Result<(), DmaFault>;

    /// Writes memory at an address of the IOMMU's.
    ///
    /// # Errors
    /// [`DmaFault`]; what lies before the bytes that can't be written may have been.
    fn dma_write(&mut self, iova: u64, from: &[u8]) -> Result<(), DmaFault>;

    /// Gives the interrupt pin a level; it keeps it.
    fn set_intx(&mut self, asserted: bool);

    /// Sends the message of a vector. One that isn't enabled is dropped.
    fn message(&mut self, vector: u16);

    /// Whether the device may do DMA and send messages.
    fn bus_master(&self) -> bool;

    /// How its interrupts are enabled.
    fn interrupt_mode(&self) -> InterruptMode;

    /// Interrupts by the message of a vector or, if messages aren't enabled, by the pin.
    fn interrupt(&mut self, vector: u16) {
        match self.interrupt_mode() {
            InterruptMode::Intx => self.set_intx(true),
            InterruptMode::Msi | InterruptMode::Msix => self.message(vector),
        }
    }

    /// Reads a BAR that is memory.
    fn ram_read(&mut self, bar: u8, offset: u64, to: &mut [u8]);

    /// Writes a BAR that is memory.
    fn ram_write(&mut self, bar: u8, offset: u64, from: &[u8]);
}
