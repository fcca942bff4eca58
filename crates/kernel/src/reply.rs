//! What becomes of a call besides a value: a new open file, or work that takes its time.

use alloc::boxed::Box;

use crate::{Caller, Errno};

/// What a call comes to.
pub enum Reply {
    /// It is done, and returns this.
    Value(i64),
    /// It returns a new descriptor, close-on-exec and for reading and writing: of this device of the subsystem's, which is
    /// opened as a node is.
    Open {
        /// Which of the subsystem's devices; see [`Node::device`](crate::Node::device).
        device: u32,
        /// What `/proc/PID/fd` shows of it: `anon_inode:[vfio-device]`.
        name: &'static str,
    },
    /// It is done when this is.
    Work(Box<dyn Work>),
}

impl From<i64> for Reply {
    fn from(value: i64) -> Self {
        Self::Value(value)
    }
}

/// What a call leads to that may take its time, as a device may: it is done while the kernel is not locked, so that a device
/// that hangs holds up nobody but its own clients. Meanwhile the call's file is to be [held](crate::Kernel::hold).
pub trait Work: Send {
    /// Does it. Nothing of the kernel is locked meanwhile.
    fn run(&mut self);

    /// With the kernel locked again: what the call returns. What it brings about elsewhere is drained after that.
    ///
    /// # Errors
    /// The call's.
    fn finish(self: Box<Self>, caller: &mut dyn Caller) -> Result<i64, Errno>;
}
