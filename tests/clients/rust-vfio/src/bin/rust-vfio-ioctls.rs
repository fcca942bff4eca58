//! The crate `vfio-ioctls`, which virtual machine monitors in Rust are built on.
use std::os::fd::{FromRawFd, IntoRawFd};
use std::sync::Arc;

use rust_vfio::{device, expect_event, Pages, Registers, IRQ_ACK, IRQ_RAISE, PAGE};
use vfio_ioctls::{VfioContainer, VfioDevice, VfioOps};
use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC};

const BAR0: u32 = 0;
const CONFIG: u32 = 7;
const INTX: u32 = 0;
const MSI: u32 = 1;
const IOVA: u64 = 0x10_0000;

struct Edu(VfioDevice);

impl Registers for Edu {
    fn read(&self, at: u64) -> u32 {
        let mut value = [0; 4];
        self.0.region_read(BAR0, &mut value, at);
        u32::from_le_bytes(value)
    }
    fn write(&self, at: u64, value: u32) {
        self.0.region_write(BAR0, &value.to_le_bytes(), at);
    }
}

/// An eventfd as the crate wants it, and as a file to read from.
fn event() -> (EventFd, std::fs::File) {
    let event = EventFd::new(EFD_CLOEXEC).unwrap();
    let copy = event.try_clone().unwrap().into_raw_fd();
    // SAFETY: the copy is ours, and nobody else's.
    (event, unsafe { std::fs::File::from_raw_fd(copy) })
}

fn session(container: &Arc<VfioContainer>) {
    let ops: Arc<dyn VfioOps> = container.clone();
    let edu = Edu(VfioDevice::new(&device(), ops, false).unwrap());
    let mut id = [0; 4];
    edu.0.region_read(CONFIG, &mut id, 0);
    assert_eq!(id, [0x34, 0x12, 0xe8, 0x11]);
    edu.0.region_write(CONFIG, &[6, 0], 4); // memory, bus master
    assert_eq!(edu.0.get_region_size(BAR0), 0x10_0000);
    assert_eq!(edu.0.get_region_size(CONFIG), 0x100);
    assert_eq!(edu.0.max_interrupts(), 1);
    assert_eq!(edu.0.get_irq_info(INTX).unwrap().flags, 7);
    edu.is_edu();
    edu.0.reset(); // does nothing, as the device says that it can't

    let memory = Pages::default();
    // SAFETY: the pages are read and written by volatile accesses only.
    unsafe { container.vfio_dma_map(IOVA, Pages::SIZE, memory.start()) }.unwrap();
    // SAFETY: as above; this is refused.
    assert!(unsafe { container.vfio_dma_map(IOVA + PAGE as u64, PAGE, memory.start()) }.is_err());
    let (msi, fired) = event();
    edu.0.enable_msi(vec![&msi]).unwrap();
    assert!(edu.0.enable_irq(INTX, vec![&msi]).is_err()); // one kind at a time
    edu.0.trigger_irq(MSI, 0).unwrap();
    expect_event(&fired);
    edu.round_trip(&memory, IOVA as u32, || expect_event(&fired));
    edu.0.disable_msi().unwrap();
    assert!(container.vfio_dma_unmap(IOVA, PAGE).is_err()); // half of a mapping
    container.vfio_dma_unmap(IOVA, Pages::SIZE).unwrap();

    let (intx, fired) = event();
    let (resample, _) = event();
    edu.0.enable_irq(INTX, vec![&intx]).unwrap();
    edu.0.set_irq_resample_fd(INTX, vec![&resample]).unwrap();
    edu.write(IRQ_RAISE, 1);
    expect_event(&fired);
    edu.0.unmask_irq(INTX).unwrap(); // not acknowledged: once more
    expect_event(&fired);
    resample.write(1).unwrap();
    expect_event(&fired);
    edu.write(IRQ_ACK, 1);
    edu.0.unmask_irq(INTX).unwrap();
    edu.0.disable_irq(INTX).unwrap();
}

fn main() {
    let container = Arc::new(VfioContainer::new(None).unwrap());
    for _ in 0..2 {
        session(&container); // dropping the device takes its group out of the container
    }
    drop(container);
    session(&Arc::new(VfioContainer::new(None).unwrap()));
    println!("ok rust-vfio-ioctls");
}
