//! The crate `pci-driver`, a library for drivers in user space.
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};

use pci_driver::backends::vfio::VfioPciDevice;
use pci_driver::config::caps::{Capability, MsiCapability};
use pci_driver::device::PciDevice;
use pci_driver::regions::{MappedOwningPciRegion, PciRegion, Permissions};
use rust_vfio::{device, expect_event, Pages, Registers, IRQ_ACK, IRQ_RAISE, PAGE};

const IOVA: u64 = 0x20_0000;

/// BAR 0 by reads and writes of the device's file.
struct Read<'a>(&'a dyn PciRegion);

impl Registers for Read<'_> {
    fn read(&self, at: u64) -> u32 {
        self.0.read_le_u32(at).unwrap()
    }
    fn write(&self, at: u64, value: u32) {
        self.0.write_le_u32(at, value).unwrap();
    }
}

fn event() -> File {
    extern "C" {
        fn eventfd(count: u32, flags: i32) -> i32;
    }
    // SAFETY: a new descriptor, which nobody else has.
    let fd = unsafe { eventfd(0, 0) };
    assert!(fd >= 0);
    // SAFETY: as above.
    unsafe { File::from_raw_fd(fd) }
}

fn main() {
    let edu = VfioPciDevice::open(device()).unwrap();
    assert!(VfioPciDevice::open(device()).is_err(), "the group is busy");
    let config = edu.config();
    assert_eq!(config.vendor_id().read().unwrap(), 0x1234);
    assert_eq!(config.device_id().read().unwrap(), 0x11e8);
    assert_eq!(config.class_code().base_class_code().read().unwrap(), 0x00);
    assert_eq!(config.class_code().sub_class_code().read().unwrap(), 0xff);
    let kinds: Vec<u8> =
        config.capabilities().unwrap().into_iter().map(|found| found.header().capability_id().read().unwrap()).collect();
    assert_eq!(kinds, [5]);
    assert_eq!(config.capabilities().unwrap().of_type::<MsiCapability>().unwrap().into_iter().count(), 1);
    config.command().memory_space_enable().write(true).unwrap();
    config.command().bus_master_enable().write(true).unwrap();
    assert!(config.command().bus_master_enable().read().unwrap());
    assert!(edu.rom().is_none() && edu.bar(1).is_none() && edu.reset().is_err());

    let bar = edu.bar(0).unwrap();
    assert_eq!(bar.len(), 0x10_0000);
    assert_eq!(bar.read_le_u32(0).unwrap(), rust_vfio::EDU_ID);
    assert!(bar.is_mappable());
    let mapped: MappedOwningPciRegion = bar.map(.., Permissions::ReadWrite).unwrap();
    let read = Read(&bar);
    read.is_edu();
    // What is mapped shows what the registers hold, and what is written there they hold then.
    assert_eq!(mapped.read_le_u32(0).unwrap(), rust_vfio::EDU_ID);
    mapped.write_le_u32(rust_vfio::LIVENESS, 99).unwrap();
    assert_eq!(read.read(rust_vfio::LIVENESS), !99);
    assert_eq!(mapped.read_le_u32(rust_vfio::LIVENESS).unwrap(), !99);

    let memory = Pages::default();
    let iommu = edu.iommu();
    assert_eq!(iommu.alignment(), PAGE);
    assert!(iommu.valid_iova_ranges()[0].contains(&IOVA));
    // SAFETY: the pages are read and written by volatile accesses only.
    unsafe { iommu.map(IOVA, Pages::SIZE, memory.start(), Permissions::ReadWrite) }.unwrap();
    let interrupts = edu.interrupts();
    assert_eq!([interrupts.intx().max(), interrupts.msi().max(), interrupts.msi_x().max()], [1, 1, 0]);
    let fired = event();
    interrupts.msi().enable(&[fired.as_raw_fd()]).unwrap();
    read.round_trip(&memory, IOVA as u32, || expect_event(&fired));
    interrupts.msi().disable().unwrap();
    assert!(iommu.unmap(IOVA, PAGE).is_err(), "half of a mapping");
    iommu.unmap(IOVA, Pages::SIZE).unwrap();

    interrupts.intx().enable(&[fired.as_raw_fd()]).unwrap();
    read.write(IRQ_RAISE, 4);
    expect_event(&fired);
    read.write(IRQ_ACK, 4);
    interrupts.intx().disable().unwrap();
    (&fired).write_all(&1u64.to_ne_bytes()).unwrap(); // an eventfd like any other
    expect_event(&fired);
    drop((mapped, bar, edu));
    drop(VfioPciDevice::open(device()).unwrap());
    println!("ok rust-pci-driver");
}
