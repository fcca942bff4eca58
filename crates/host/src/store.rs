//! The lab's own file system: files whose last reference is noticed.
//!
//! It is a tmpfs that nobody else sees. What stands behind a descriptor that is no stream is an empty file there, and each
//! mapping of machine memory or of a device's memory has an open file of its own. Each of these is opened by a name of its
//! own, which is removed at once; inotify reports the name when the last reference goes: descriptors and mappings, in
//! whatever process, also by SIGKILL.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use ioctlab_kernel::{AreaId, FileId, Frame, MappingId, PAGE_SIZE};
use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags, inotify};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use rustix::thread::UnshareFlags;

use crate::isolation;
use crate::launch;
use crate::sys::process;

/// The name of the file that holds machine memory.
const MEMORY: &str = "memory";
/// What the names of files behind descriptors and of mappings begin with; their numbers follow.
const FILE: u8 = b'f';
const MAPPING: u8 = b'm';
/// The size of machine memory, in bytes; pages that nobody has touched take no room.
const MEMORY_SIZE: u64 = 1 << 34;

/// The first frame beyond the end of machine memory.
pub(crate) const END: Frame = Frame(MEMORY_SIZE / PAGE_SIZE);

/// What has lost its last reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The file behind an open device.
    File(FileId),
    /// A mapping.
    Mapping(MappingId),
}

/// The lab's file system.
pub(crate) struct Store {
    directory: OwnedFd,
    /// Made when it is needed: to take one down again takes the kernel some 10 ms.
    closes: OnceLock<OwnedFd>,
    memory: OwnedFd,
    /// The device number that its files show.
    device: u64,
    /// Removed in the end, if it is somebody else's directory.
    _scratch: Option<Scratch>,
}

impl Store {
    /// Makes one; for a process with one thread.
    ///
    /// # Errors
    /// If no tmpfs can be mounted or found.
    pub(crate) fn new() -> io::Result<Self> {
        let (directory, scratch) = match mount().or_else(|_| mount_by_child()) {
            Ok(directory) => (directory, None),
            Err(_) => {
                let scratch = Scratch::make()?;
                let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
                (rustix::fs::open(&scratch.0, flags, Mode::empty())?, Some(scratch))
            }
        };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let memory = rustix::fs::openat(&directory, MEMORY, flags, Mode::RUSR | Mode::WUSR)?;
        rustix::fs::ftruncate(&memory, MEMORY_SIZE)?;
        let device = rustix::fs::fstat(&memory)?.st_dev;
        Ok(Self { directory, closes: OnceLock::new(), memory, device, _scratch: scratch })
    }

    /// Starts noticing closes. The first time it returns what becomes readable when something has lost its last reference.
    ///
    /// # Errors
    /// `EMFILE` if the user has too many inotify instances.
    pub(crate) fn start_noticing(&self) -> io::Result<Option<BorrowedFd<'_>>> {
        if self.closes.get().is_some() {
            return Ok(None);
        }
        let closes = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let path = format!("/proc/self/fd/{}", self.directory.as_raw_fd());
        let flags = inotify::WatchFlags::CLOSE_WRITE | inotify::WatchFlags::CLOSE_NOWRITE;
        inotify::add_watch(&closes, path, flags)?;
        let _ = self.closes.set(closes);
        Ok(self.closes.get().map(AsFd::as_fd))
    }

    /// The file behind an open device, which reads as `contents`; its descriptor, and its inode number.
    ///
    /// It is open for reading only, so that no client can fill it.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`, `ENOSPC`.
    pub(crate) fn open(&self, file: FileId, contents: &[u8]) -> io::Result<(OwnedFd, u64)> {
        let name = format!("{}{}", FILE as char, file.0);
        let create = OFlags::CREATE | OFlags::CLOEXEC;
        if !contents.is_empty() {
            // Another name: this close is nobody's last.
            let draft = format!("draft{}", file.0);
            let writer = rustix::fs::openat(&self.directory, &draft, create | OFlags::WRONLY, Mode::RUSR)?;
            rustix::io::write(&writer, contents)?;
            drop(writer);
            rustix::fs::renameat(&self.directory, &draft, &self.directory, &name)?;
        }
        let opened = rustix::fs::openat(&self.directory, &name, create | OFlags::RDONLY, Mode::RUSR)?;
        rustix::fs::unlinkat(&self.directory, &name, AtFlags::empty())?;
        let inode = rustix::fs::fstat(&opened)?.st_ino;
        Ok((opened, inode))
    }

    /// An open file of machine memory that only the mapping `mapping` will refer to.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`, `ENOSPC`.
    pub(crate) fn open_memory(&self, mapping: MappingId, writable: bool) -> io::Result<OwnedFd> {
        self.open_to_map(MEMORY, mapping, writable)
    }

    /// Makes the file that mappings of an area of device memory are of; it is empty.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`, `ENOSPC`.
    pub(crate) fn create_area(&self, area: AreaId) -> io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::openat(&self.directory, area_name(area), flags, mode)?)
    }

    /// An open file of an area that only the mapping `mapping` will refer to.
    ///
    /// # Errors
    /// As [`Store::open_memory`]'s; `ENOENT` if the area has no file.
    pub(crate) fn open_area(&self, area: AreaId, mapping: MappingId, writable: bool) -> io::Result<OwnedFd> {
        self.open_to_map(&area_name(area), mapping, writable)
    }

    /// Removes an area's file, if there is one; it goes with its last mapping.
    pub(crate) fn remove_area(&self, area: AreaId) {
        // There may be none; nothing else can go wrong.
        let _ = rustix::fs::unlinkat(&self.directory, area_name(area), AtFlags::empty());
    }

    /// Opens a file by a name of its own, that of a mapping.
    fn open_to_map(&self, file: &str, mapping: MappingId, writable: bool) -> io::Result<OwnedFd> {
        let name = format!("{}{}", MAPPING as char, mapping.0);
        rustix::fs::linkat(&self.directory, file, &self.directory, &name, AtFlags::empty())?;
        let access = if writable { OFlags::RDWR } else { OFlags::RDONLY };
        let opened = rustix::fs::openat(&self.directory, &name, access | OFlags::CLOEXEC, Mode::empty());
        rustix::fs::unlinkat(&self.directory, &name, AtFlags::empty())?;
        Ok(opened?)
    }

    /// Machine memory, as a file.
    pub(crate) fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// The device number of its files.
    pub(crate) fn device(&self) -> u64 {
        self.device
    }

    /// The next thing that has lost its last reference; `None` if there is none now.
    pub(crate) fn next_closed(&self, buffer: &mut Closes) -> Option<Closed> {
        if let (true, Some(closes)) = (buffer.queue.is_empty(), self.closes.get()) {
            let mut bytes = [MaybeUninit::uninit(); 4096];
            let mut reader = inotify::Reader::new(closes, &mut bytes);
            while let Ok(event) = reader.next() {
                buffer.queue.extend(event.file_name().and_then(parse));
                if reader.is_buffer_empty() {
                    break;
                }
            }
        }
        buffer.queue.pop_front()
    }
}

/// Closes that were read and not yet handled.
#[derive(Default)]
pub(crate) struct Closes {
    queue: std::collections::VecDeque<Closed>,
}

/// The name of an area's file: not one that is taken for a file's or a mapping's.
fn area_name(area: AreaId) -> String {
    format!("area{}", area.0)
}

fn parse(name: &CStr) -> Option<Closed> {
    let (kind, number) = name.to_bytes().split_first()?;
    let number = std::str::from_utf8(number).ok()?.parse().ok()?;
    match *kind {
        FILE => Some(Closed::File(FileId(number))),
        MAPPING => Some(Closed::Mapping(MappingId(number))),
        _ => None,
    }
}

/// The mapping that a path in `/proc/PID/maps` names, if it is a device's.
pub(crate) fn mapping_in_path(path: &[u8]) -> Option<MappingId> {
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    let name = path.rsplit(|&byte| byte == b'/').next()?;
    let number = name.strip_prefix(&[MAPPING])?;
    std::str::from_utf8(number).ok()?.parse().ok().map(MappingId)
}

/// A tmpfs that is mounted nowhere; it goes with its last descriptor.
fn mount() -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "mode", "0700")?;
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    Ok(rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// The same by a child in a user namespace of its own, where an ordinary user may.
fn mount_by_child() -> io::Result<OwnedFd> {
    let (ours, theirs) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    let child = process::fork(|| {
        if isolation::enter_user_namespace(UnshareFlags::NEWNS).is_ok()
            && let Ok(directory) = mount()
        {
            let _ = launch::send_with(&theirs, b"m", &[directory.as_fd()]);
        }
        process::exit_now(0);
    })?;
    drop(theirs);
    let mut byte = [0];
    let received = launch::receive_with(&ours, &mut byte);
    process::reap(child);
    received?.1.into_iter().next().ok_or_else(|| io::ErrorKind::PermissionDenied.into())
}

/// A directory of this process's own in a tmpfs that is there already, where nothing can be mounted.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> io::Result<Self> {
        /// `TMPFS_MAGIC`.
        const TMPFS: i64 = 0x0102_1994;
        // A process has one, but for tests.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let candidates = [Some(PathBuf::from("/dev/shm")), own, Some(std::env::temp_dir())];
        for parent in candidates.into_iter().flatten() {
            if !rustix::fs::statfs(&parent).is_ok_and(|f| f.f_type == TMPFS) {
                continue;
            }
            let path = parent.join(format!("ioctlab-memory-{}-{number}", std::process::id()));
            // Left by a process of the same number that was killed.
            let _ = std::fs::remove_dir_all(&path);
            if rustix::fs::mkdirat(CWD, &path, Mode::RWXU).is_ok() {
                return Ok(Self(path));
            }
        }
        Err(io::Error::other(
            "no tmpfs can be mounted, and none is to be found in /dev/shm, $XDG_RUNTIME_DIR or /tmp",
        ))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Gives a page of machine memory back to the system; it reads as zeros from then on.
pub(crate) fn scrub(memory: BorrowedFd<'_>, frame: Frame) {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    // It can't fail on a tmpfs for a range within the file.
    let _ = rustix::fs::fallocate(memory, flags, frame.0.saturating_mul(PAGE_SIZE), PAGE_SIZE);
}
