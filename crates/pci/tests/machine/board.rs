//! A board with one device: the RAM of its BARs, memory behind an IOMMU, and what arrived of interrupts.

use std::collections::BTreeMap;

use ioctlab_pci::{Bus, Device, DeviceModel, DmaFault, Function, InterruptMode};

/// What memory is mapped in, in bytes.
const PAGE: u64 = 4096;

pub(crate) struct Board {
    pub(crate) function: Function,
    model: Box<dyn DeviceModel>,
    ram: BTreeMap<u8, Vec<u8>>,
    pub(crate) memory: Memory,
    pub(crate) arrived: Arrived,
}

/// Pages that the device reaches.
#[derive(Default)]
pub(crate) struct Memory {
    /// By address, with whether they may be written.
    pages: BTreeMap<u64, (Vec<u8>, bool)>,
    /// What the device did: address, length, whether it wrote.
    pub(crate) accesses: Vec<(u64, usize, bool)>,
}

/// What arrived of interrupts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) messages: Vec<u16>,
    /// Levels of the pin as it was set.
    pub(crate) pin: Vec<bool>,
}

impl Board {
    /// As firmware leaves it, with decoding and bus mastering on.
    pub(crate) fn new(device: Device) -> Self {
        let Device { function, model } = device;
        let ram = (0..6)
            .filter_map(|index| Some((index, vec![0; function.bar(index)?.size.min(16 << 20) as usize])))
            .collect();
        let (memory, arrived) = (Memory::default(), Arrived::default());
        let mut board = Self { function, model, ram, memory, arrived };
        board.configure(4, 2, 7);
        board
    }

    /// Writes to configuration space; the model is reset if that resets the function.
    pub(crate) fn configure(&mut self, offset: usize, width: usize, value: u32) -> bool {
        let is_reset = self.function.write_config(offset, width, value);
        if is_reset {
            self.with_model(|model, bus| model.reset(bus));
        }
        is_reset
    }

    fn with_model<T>(&mut self, act: impl FnOnce(&mut dyn DeviceModel, &mut dyn Bus) -> T) -> T {
        let Self { function, model, ram, memory, arrived } = self;
        let mut wires = Wires { function, ram, memory, arrived };
        let result = act(model.as_mut(), &mut wires);
        while model.run(&mut wires) {}
        result
    }

    pub(crate) fn read(&mut self, bar: u8, offset: u64, width: u8) -> u64 {
        let value = self.with_model(|model, bus| model.read(bar, offset, width, bus));
        value & (u64::MAX >> (64 - 8 * u32::from(width)))
    }

    pub(crate) fn write(&mut self, bar: u8, offset: u64, width: u8, value: u64) {
        self.with_model(|model, bus| model.write(bar, offset, width, value, bus));
    }

    /// A word of BAR 0.
    pub(crate) fn get(&mut self, offset: u64) -> u32 {
        self.read(0, offset, 4) as u32
    }

    pub(crate) fn set(&mut self, offset: u64, value: u32) {
        self.write(0, offset, 4, value.into());
    }

    pub(crate) fn get_long(&mut self, offset: u64) -> u64 {
        self.read(0, offset, 8)
    }

    pub(crate) fn set_long(&mut self, offset: u64, value: u64) {
        self.write(0, offset, 8, value);
    }

    pub(crate) fn peek(&self, offset: u64) -> u32 {
        self.model.peek(0, offset)
    }

    /// Resets function and model, as a driver does.
    pub(crate) fn reset(&mut self) {
        self.function.reset();
        self.with_model(|model, bus| model.reset(bus));
    }

    pub(crate) fn ram(&mut self, bar: u8) -> &mut Vec<u8> {
        self.ram.get_mut(&bar).unwrap()
    }

    /// What has arrived since this was last asked.
    pub(crate) fn take(&mut self) -> Arrived {
        core::mem::take(&mut self.arrived)
    }
}

impl Memory {
    /// Maps zeroed pages.
    pub(crate) fn map(&mut self, iova: u64, pages: u64, writable: bool) {
        for page in 0..pages {
            self.pages.insert(iova + page * PAGE, (vec![0; PAGE as usize], writable));
        }
    }

    pub(crate) fn unmap(&mut self, iova: u64) {
        self.pages.remove(&iova);
    }

    /// What the program itself has there.
    pub(crate) fn put(&mut self, iova: u64, bytes: &[u8]) {
        for (at, byte) in (iova..).zip(bytes) {
            self.pages.get_mut(&(at & !(PAGE - 1))).unwrap().0[(at % PAGE) as usize] = *byte;
        }
    }

    pub(crate) fn bytes(&self, iova: u64, count: u64) -> Vec<u8> {
        (iova..iova + count).map(|at| self.pages[&(at & !(PAGE - 1))].0[(at % PAGE) as usize]).collect()
    }

    /// The byte at an address, if the device may do that with it.
    fn byte(&mut self, iova: Option<u64>, writes: bool) -> Result<&mut u8, DmaFault> {
        let iova = iova.ok_or(DmaFault)?;
        let (bytes, writable) = self.pages.get_mut(&(iova & !(PAGE - 1))).ok_or(DmaFault)?;
        if writes && !*writable { Err(DmaFault) } else { Ok(&mut bytes[(iova % PAGE) as usize]) }
    }
}

struct Wires<'a> {
    function: &'a mut Function,
    ram: &'a mut BTreeMap<u8, Vec<u8>>,
    memory: &'a mut Memory,
    arrived: &'a mut Arrived,
}

impl Bus for Wires<'_> {
    fn dma_read(&mut self, iova: u64, to: &mut [u8]) -> Result<(), DmaFault> {
        self.memory.accesses.push((iova, to.len(), false));
        if !self.bus_master() {
            return Err(DmaFault);
        }
        for (index, to) in to.iter_mut().enumerate() {
            *to = *self.memory.byte(iova.checked_add(index as u64), false)?;
        }
        Ok(())
    }

    fn dma_write(&mut self, iova: u64, from: &[u8]) -> Result<(), DmaFault> {
        self.memory.accesses.push((iova, from.len(), true));
        if !self.bus_master() {
            return Err(DmaFault);
        }
        for (index, from) in from.iter().enumerate() {
            *self.memory.byte(iova.checked_add(index as u64), true)? = *from;
        }
        Ok(())
    }

    fn set_intx(&mut self, asserted: bool) {
        self.function.set_asserted(asserted);
        self.arrived.pin.push(asserted);
    }

    fn message(&mut self, vector: u16) {
        let vectors = match self.interrupt_mode() {
            InterruptMode::Intx => 0,
            InterruptMode::Msi => self.function.msi_vectors(),
            InterruptMode::Msix => self.function.msix().map_or(0, |msix| msix.vectors),
        };
        if self.bus_master() && vector < vectors {
            self.arrived.messages.push(vector);
        }
    }

    fn bus_master(&self) -> bool {
        self.function.is_bus_master()
    }

    fn interrupt_mode(&self) -> InterruptMode {
        self.function.interrupt_mode()
    }

    fn ram_read(&mut self, bar: u8, offset: u64, to: &mut [u8]) {
        to.copy_from_slice(&self.ram[&bar][offset as usize..][..to.len()]);
    }

    fn ram_write(&mut self, bar: u8, offset: u64, from: &[u8]) {
        self.ram.get_mut(&bar).unwrap()[offset as usize..][..from.len()].copy_from_slice(from);
    }
}
