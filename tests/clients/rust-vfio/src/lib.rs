//! What both clients share: where the device is, QEMU's educational device (edu) itself, and memory for it.
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Registers in BAR 0, and the device's own memory as its DMA engine sees it.
pub const ID: u64 = 0x00;
pub const LIVENESS: u64 = 0x04;
pub const IRQ_STATUS: u64 = 0x24;
pub const IRQ_RAISE: u64 = 0x60;
pub const IRQ_ACK: u64 = 0x64;
const DMA_SOURCE: u64 = 0x80;
const DMA_TARGET: u64 = 0x88;
const DMA_COUNT: u64 = 0x90;
const DMA_COMMAND: u64 = 0x98;
const EDU_MEMORY: u32 = 0x40000;
pub const EDU_ID: u32 = 0x0100_00ed;
pub const PAGE: usize = 4096;

/// The device's directory in sysfs.
pub fn device() -> PathBuf {
    let address = std::env::var("VFIO_DEVICE").unwrap_or_else(|_| "0000:00:05.0".to_owned());
    PathBuf::from("/sys/bus/pci/devices").join(address)
}

/// The device's registers, whichever way they are reached.
pub trait Registers {
    fn read(&self, at: u64) -> u32;
    fn write(&self, at: u64, value: u32);

    fn is_edu(&self) {
        assert_eq!(self.read(ID), EDU_ID);
        self.write(LIVENESS, 0x1234_5678);
        assert_eq!(self.read(LIVENESS), !0x1234_5678);
    }

    /// Has the device copy; `end` returns when it is done.
    fn copy(&self, from: u32, to: u32, count: usize, command: u32, end: impl FnOnce()) {
        self.write(DMA_SOURCE, from);
        self.write(DMA_TARGET, to);
        self.write(DMA_COUNT, count as u32);
        self.write(DMA_COMMAND, command | 1);
        end();
        let start = Instant::now();
        while self.read(DMA_COMMAND) & 1 != 0 {
            assert!(start.elapsed() < Duration::from_secs(5), "the copy doesn't end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Copies the first page to the device and back to the second, each with an interrupt at its end.
    fn round_trip(&self, memory: &Pages, iova: u32, interrupt: impl Fn()) {
        memory.fill(0, |i| (i * 7) as u8);
        memory.fill(PAGE, |_| 0);
        let done = || {
            interrupt();
            assert_eq!(self.read(IRQ_STATUS), 0x100);
            self.write(IRQ_ACK, 0x100);
        };
        self.copy(iova, EDU_MEMORY, 1000, 4, done);
        self.copy(EDU_MEMORY, iova + PAGE as u32, 1000, 2 | 4, done);
        assert!((0..1000).all(|i| memory.get(PAGE + i) == (i * 7) as u8));
        assert_eq!(memory.get(PAGE + 1000), 0);
    }
}

/// Two pages of anonymous memory, which the device changes, too.
pub struct Pages(*mut u8);

extern "C" {
    fn mmap(at: *mut u8, size: usize, prot: i32, flags: i32, fd: i32, offset: i64) -> *mut u8;
}

impl Default for Pages {
    fn default() -> Self {
        // SAFETY: a new mapping, private and anonymous.
        let at = unsafe { mmap(std::ptr::null_mut(), Self::SIZE, 3, 0x22, -1, 0) };
        assert_ne!(at as isize, -1);
        Self(at)
    }
}

impl Pages {
    pub const SIZE: usize = 2 * PAGE;

    pub fn start(&self) -> *mut u8 {
        self.0
    }

    pub fn get(&self, at: usize) -> u8 {
        assert!(at < Self::SIZE);
        // SAFETY: within the mapping, which is never unmapped.
        unsafe { self.0.add(at).read_volatile() }
    }

    fn fill(&self, from: usize, value: impl Fn(usize) -> u8) {
        for i in 0..PAGE {
            // SAFETY: as above.
            unsafe { self.0.add(from + i).write_volatile(value(i)) };
        }
    }
}

/// Blocks until the eventfd is signalled, which must be once.
pub fn expect_event(mut fd: &File) {
    let mut count = [0; 8];
    assert_eq!(fd.read(&mut count).unwrap(), 8, "descriptor {}", fd.as_raw_fd());
    assert_eq!(u64::from_ne_bytes(count), 1);
}
