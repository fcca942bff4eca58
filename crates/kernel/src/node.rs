//! Device nodes: what `/dev` shows.

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

/// A character device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Absolute path, without symbolic links: `/dev/xen/evtchn`.
    pub path: String,
    /// The number that `stat` reports in `st_rdev`.
    pub number: DeviceNumber,
    /// Permission bits, as devtmpfs makes the node (misc devices: 0600).
    pub permissions: u32,
    /// The subsystem that serves it, by its place in the lab.
    pub subsystem: usize,
    /// Which of the subsystem's devices it is; the subsystem's own numbering.
    pub device: u32,
}
