//! The VFS's checks before a driver sees a call, and the life of open files.

use std::sync::{Arc, Mutex};

use ioctlab_kernel::{
    Access, BadAddress, CallResult, Caller, DeviceNumber, Errno, FileId, Frame, Kernel, Mapping, MappingId,
    MmapCall, MmapRequest, Node, NodeId, Opener, Pages, PollEvents, Reply, Request, Stop, Subsystem,
    UserMemory, UserPtr,
};

/// What a driver was told, in order.
type Log = Arc<Mutex<Vec<String>>>;

struct Recorder(Log);

impl Recorder {
    fn note(&self, call: String) {
        self.0.lock().expect("no test panics while noting").push(call);
    }
}

impl Subsystem for Recorder {
    fn open(&mut self, device: u32, file: FileId, _: Access, opener: Opener) -> Result<(), Errno> {
        self.note(format!("open {device} {} {}", file.0, opener.domain));
        if device == 1 { Err(Errno::ENODEV) } else { Ok(()) }
    }

    fn release(&mut self, file: FileId) {
        self.note(format!("release {}", file.0));
    }

    fn read(&mut self, _: FileId, _: UserPtr, count: usize, _: &mut dyn UserMemory) -> CallResult<usize> {
        self.note(format!("read {count}"));
        Ok(count)
    }

    fn write(&mut self, _: FileId, _: UserPtr, count: usize, _: &mut dyn UserMemory) -> CallResult<usize> {
        self.note(format!("write {count}"));
        Ok(count)
    }

    fn ioctl(&mut self, _: FileId, request: Request, argument: u64, _: &mut dyn Caller) -> CallResult<Reply> {
        self.note(format!("ioctl {:#x} {argument}", request.0));
        Err(Errno::ENOSYS.into())
    }

    fn mmap(&mut self, file: FileId, request: &MmapRequest) -> Result<Mapping, Errno> {
        let MmapRequest { mapping, page, pages, shared, writable } = *request;
        self.note(format!("mmap {} {} {page}+{pages} {shared} {writable}", file.0, mapping.0));
        let frames = (page..page + pages).map(Frame).collect();
        if page == 9 {
            Err(Errno::ENOENT)
        } else {
            Ok(Mapping { pages: Pages::Frames(frames), read_only: false, inherited: true })
        }
    }

    fn zap(&mut self, mapping: MappingId, first: u64, pages: u64) {
        self.note(format!("zap {} {first}+{pages}", mapping.0));
    }

    fn unmapped(&mut self, mapping: MappingId) {
        self.note(format!("unmapped {}", mapping.0));
    }

    fn poll(&self, _: FileId) -> PollEvents {
        PollEvents::OUT
    }
}

struct NoMemory;

impl Caller for NoMemory {}

impl UserMemory for NoMemory {
    fn read(&mut self, _: UserPtr, _: &mut [u8]) -> Result<(), BadAddress> {
        Err(BadAddress)
    }

    fn write(&mut self, _: UserPtr, _: &[u8]) -> Result<(), BadAddress> {
        Err(BadAddress)
    }
}

fn kernel() -> (Kernel, Log) {
    let log = Log::default();
    let node = |device, subsystem| Node {
        path: format!("/dev/x{device}"),
        number: Some(DeviceNumber { major: 10, minor: 1 }),
        behind: ioctlab_kernel::Behind::Stream,
        hidden: false,
        compat: false,
        permissions: 0o600,
        subsystem,
        device,
    };
    let nodes = vec![node(0, 0), node(1, 0), node(2, 7)];
    (Kernel::new(vec![Box::new(Recorder(Arc::clone(&log)))], nodes), log)
}

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().expect("no test panics while noting"))
}

const OPENER: Opener = Opener { domain: 3, rawio: false };

#[test]
fn a_file_is_released_exactly_once_and_its_number_is_never_used_again() {
    let (mut kernel, log) = kernel();
    let first = kernel.open(NodeId(0), Access::from_flags(2), 0, OPENER).expect("the driver agrees");
    kernel.release(first);
    kernel.release(first);
    let second = kernel.open(NodeId(0), Access::from_flags(2), 0, OPENER).expect("the driver agrees");
    assert_ne!(first, second);
    assert_eq!(taken(&log), ["open 0 1 3", "release 1", "open 0 2 3"]);
    assert_eq!(kernel.open_files(), 1);
    assert_eq!(kernel.read(first, UserPtr(0), 4, &mut NoMemory), Err(Stop::Fail(Errno::EBADF)));
    assert_eq!(kernel.ioctl(first, Request(1), 0, &mut NoMemory).err(), Some(Stop::Fail(Errno::EBADF)));
}

#[test]
fn a_call_keeps_its_file() {
    let (mut kernel, log) = kernel();
    let file = kernel.open(NodeId(0), Access::from_flags(2), 0, OPENER).expect("the driver agrees");
    kernel.hold(file);
    kernel.hold(file);
    kernel.release(file);
    kernel.let_go(file);
    assert_eq!(taken(&log), ["open 0 1 3"]);
    kernel.let_go(file);
    assert_eq!(taken(&log), ["release 1"]);
    kernel.let_go(file);
    assert!(taken(&log).is_empty());
}

#[test]
fn an_open_that_fails_leaves_nothing() {
    let (mut kernel, log) = kernel();
    assert_eq!(kernel.open(NodeId(1), Access::from_flags(2), 0, OPENER), Err(Errno::ENODEV));
    assert_eq!(
        kernel.open(NodeId(2), Access::from_flags(2), 0, OPENER),
        Err(Errno::ENXIO),
        "nothing serves it"
    );
    assert_eq!(kernel.open(NodeId(9), Access::from_flags(2), 0, OPENER), Err(Errno::ENXIO), "no such node");
    assert_eq!(kernel.open_files(), 0);
    assert_eq!(taken(&log), ["open 1 1 3"]);
}

#[test]
fn access_modes_are_checked_before_the_buffer() {
    let beyond = UserPtr(0x8000_0000_0000);
    for (flags, reads, writes) in [(0, true, false), (1, false, true), (2, true, true), (3, false, false)] {
        let (mut kernel, _) = kernel();
        let access = Access::from_flags(flags);
        assert_eq!(access.flags(), flags);
        let file = kernel.open(NodeId(0), access, 0, OPENER).expect("the driver agrees");
        let expected = |allowed| if allowed { Errno::EFAULT } else { Errno::EBADF };
        let read = kernel.read(file, beyond, 1, &mut NoMemory);
        assert_eq!(read, Err(Stop::Fail(expected(reads))), "read with {flags}");
        let write = kernel.write(file, beyond, 1, &mut NoMemory);
        assert_eq!(write, Err(Stop::Fail(expected(writes))), "write with {flags}");
        // A control call needs neither.
        assert_eq!(kernel.ioctl(file, Request(5), 0, &mut NoMemory).err(), Some(Stop::Fail(Errno::ENOSYS)));
    }
}

#[test]
fn buffers_are_checked_as_the_vfs_does() {
    const LIMIT: u64 = 0x7fff_ffff_f000;
    let (mut kernel, log) = kernel();
    let file = kernel.open(NodeId(0), Access::from_flags(2), 0, OPENER).expect("the driver agrees");
    taken(&log);
    for (address, count, expected) in [
        (8, 4, Ok(4)),
        (0, 0, Ok(0)),
        (LIMIT - 4, 4, Ok(4)),
        (LIMIT, 0, Ok(0)),
        (LIMIT - 4, 5, Err(Errno::EFAULT)),
        (u64::MAX, 2, Err(Errno::EFAULT)),
        (8, 1 << 63, Err(Errno::EFAULT)),
        (0, 0x1_0000_0000, Ok(0x7fff_f000)),
    ] {
        let result = kernel.read(file, UserPtr(address), count, &mut NoMemory);
        assert_eq!(result, expected.map_err(Stop::Fail), "{count} bytes at {address:#x}");
    }
    assert_eq!(taken(&log).len(), 5, "a refused call never reaches the driver");
}

const SHARED: MmapCall = MmapCall { offset: 0x1000, length: 0x2000, shared: true, writable: true };

#[test]
fn a_file_lasts_as_long_as_its_mappings() {
    for descriptors_go_first in [true, false] {
        let (mut kernel, log) = kernel();
        let file = kernel.open(NodeId(0), Access::from_flags(2), 0, OPENER).expect("the driver agrees");
        let (first, mapping) = kernel.mmap(file, &SHARED).expect("the driver agrees");
        let (second, _) = kernel.mmap(file, &SHARED).expect("the driver agrees");
        assert_eq!(mapping.frames(), [Frame(1), Frame(2)]);
        assert_eq!((kernel.mapped_file(first), kernel.mappings()), (Some(file), 2));
        kernel.zap(first, 1, 1);
        assert_eq!(
            taken(&log),
            ["open 0 1 3", "mmap 1 1 1+2 true true", "mmap 1 2 1+2 true true", "zap 1 1+1"]
        );
        kernel.unmapped(first);
        if descriptors_go_first {
            kernel.release(file);
            kernel.release(file);
            assert_eq!(taken(&log), ["unmapped 1"], "still mapped");
            kernel.unmapped(second);
            assert_eq!(taken(&log), ["unmapped 2", "release 1"]);
        } else {
            kernel.unmapped(second);
            assert_eq!(taken(&log), ["unmapped 1", "unmapped 2"], "still open");
            kernel.release(file);
            assert_eq!(taken(&log), ["release 1"]);
        }
        kernel.unmapped(second);
        kernel.zap(second, 0, 1);
        kernel.release(file);
        assert!(taken(&log).is_empty(), "what is gone is gone");
        assert_eq!((kernel.open_files(), kernel.mappings()), (0, 0));
    }
}

#[test]
fn mmap_is_refused_in_linuxs_order() {
    let readable = Access::from_flags(0);
    let cases = [
        (readable, MmapCall { offset: 1, length: 0, ..SHARED }, Errno::EINVAL),
        (readable, MmapCall { length: 0, ..SHARED }, Errno::EINVAL),
        (readable, MmapCall { length: u64::MAX, ..SHARED }, Errno::ENOMEM),
        (readable, SHARED, Errno::EACCES),
        (Access::from_flags(1), MmapCall { shared: false, writable: false, ..SHARED }, Errno::EACCES),
        (Access::from_flags(3), MmapCall { writable: false, ..SHARED }, Errno::EACCES),
        (Access::from_flags(2), MmapCall { offset: 0x9000, ..SHARED }, Errno::ENOENT),
    ];
    for (access, call, errno) in cases {
        let (mut kernel, log) = kernel();
        let file = kernel.open(NodeId(0), access, 0, OPENER).expect("the driver agrees");
        taken(&log);
        assert_eq!(kernel.mmap(file, &call).err(), Some(errno), "{access:?} {call:?}");
        assert_eq!(
            taken(&log).len(),
            usize::from(errno == Errno::ENOENT),
            "only the driver's own errors are its own"
        );
        kernel.release(file);
        assert_eq!((taken(&log).len(), kernel.mappings()), (1, 0), "nothing is left to wait for");
    }
    let (mut kernel, _) = kernel();
    let file = kernel.open(NodeId(0), readable, 0, OPENER).expect("the driver agrees");
    assert!(kernel.mmap(file, &MmapCall { writable: false, length: 1, ..SHARED }).is_ok());
    assert!(
        kernel.mmap(file, &MmapCall { shared: false, ..SHARED }).is_ok(),
        "a private page is one's own to write"
    );
}
