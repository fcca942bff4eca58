//! Device nodes: what `/dev` shows, and `/proc` where a driver has files there.

use alloc::string::String;

/// A node's place in a lab's node table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// A character device's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceNumber {
    /// The major number: which driver (10 is Linux's miscellaneous devices).
    pub major: u32,
    /// The minor number: which of the driver's devices.
    pub minor: u32,
}

/// What stands behind the descriptors of a node's open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Behind {
    /// A stream: reads take records off it, and may wait for them.
    Stream,
    /// A file that is always ready: it is controlled, mapped, or has contents that don't change once it is open.
    File,
    /// A file that is always ready, and is read and written at positions, also past the one before; it can't be sought.
    Addressed,
}

/// A device node, or a file that a driver has elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Absolute path, without symbolic links: `/dev/xen/evtchn`. What isn't in any file system has a name without a slash
    /// at its start: `anon_inode:[vfio-device]`.
    pub path: String,
    /// The number that `stat` reports in `st_rdev`; `None` for a regular file.
    pub number: Option<DeviceNumber>,
    /// What its open files are like.
    pub behind: Behind,
    /// It isn't there now: the driver shows it later, or has taken it away.
    pub hidden: bool,
    /// Permission bits, as devtmpfs makes the node (misc devices: 0600).
    pub permissions: u32,
    /// Its driver takes the ioctls of 32-bit programs, too (`compat_ioctl`).
    pub compat: bool,
    /// The subsystem that serves it, by its place in the lab.
    pub subsystem: usize,
    /// Which of the subsystem's devices it is; the subsystem's own numbering.
    pub device: u32,
}

impl Node {
    /// Whether it can be opened by its path.
    pub fn has_path(&self) -> bool {
        self.path.starts_with('/')
    }
}
