//! Resets that are wanted while some thread is at the device.

use ioctlab_iommu::{Properties, SourceId};
use ioctlab_kernel::{BadAddress, Errno, ProgramMemory, SpaceId};

use super::super::dma::Unit;
use super::*;

/// No memory at all.
struct Nothing;

impl DeviceMemory for Nothing {
    fn create(&self, _: u64) -> Result<AreaId, Errno> {
        Err(Errno::ENOMEM)
    }
    fn remove(&self, _: AreaId) {}
    fn read(&self, _: AreaId, _: u64, _: &mut [u8]) {}
    fn write(&self, _: AreaId, _: u64, _: &[u8]) {}
    fn set_reachable(&self, _: AreaId, _: bool) {}
}

impl ProgramMemory for Nothing {
    fn read(&self, _: SpaceId, _: u64, _: &mut [u8]) -> Result<(), BadAddress> {
        Err(BadAddress)
    }
    fn write(&self, _: SpaceId, _: u64, _: &[u8]) -> Result<(), BadAddress> {
        Err(BadAddress)
    }
}

/// One register.
struct Register(u64);

impl DeviceModel for Register {
    fn read(&mut self, _: u8, _: u64, _: u8, _: &mut dyn Bus) -> u64 {
        self.0
    }
    fn write(&mut self, _: u8, _: u64, _: u8, value: u64, _: &mut dyn Bus) {
        self.0 = value;
    }
    fn peek(&self, _: u8, _: u64) -> u32 {
        self.0 as u32
    }
    fn reset(&mut self, _: &mut dyn Bus) {
        self.0 = 0;
    }
}

fn cell() -> Cell {
    let unit = Arc::new(Unit::new(Properties::default(), Arc::new(Nothing)));
    let way = Arc::new(Way::new(SourceId(0), unit));
    Cell::new(Box::new(Register(7)), Surroundings::new(Arc::new(Nothing), way, [None; 6]))
}

fn read(cell: &Cell) -> Option<u64> {
    cell.with(|model, bus| model.read(0, 0, 4, bus))
}

/// A reset that came as a thread was at the device is done when that has done.
#[test]
fn whoever_is_at_the_device_resets_it() {
    let cell = cell();
    cell.with(|_, _| cell.reset());
    assert_eq!(read(&cell), Some(0));
}

/// If that was on its way back already, whoever comes next finds the device reset, and what it does isn't undone.
#[test]
fn whoever_comes_next_resets_it_first() {
    let cell = cell();
    lock(&cell.surroundings.wanted).reset = true;
    assert_eq!(read(&cell), Some(0));
    lock(&cell.surroundings.wanted).reset = true;
    cell.with(|model, bus| model.write(0, 0, 4, 9, bus));
    assert_eq!(read(&cell), Some(9));
}
