//! Trees of small files, as sysfs has them.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::Errno;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A directory.
    Directory,
    /// A symbolic link, and what it says.
    Link(String),
    /// An attribute: a file that is made as it is read, and acted on as it is written.
    Attribute {
        /// Its permission bits.
        permissions: u32,
        /// The size that `stat` shows: 4096, or that of a binary attribute.
        size: u64,
    },
}

/// Says what became of a write to an attribute: the bytes written, or an errno.
pub type Stored = Box<dyn FnOnce(Result<usize, Errno>) + Send>;

/// Trees of attributes, with what may change about them at any time.
///
/// Paths are absolute and without symbolic links: `/sys/bus/pci/drivers/vfio-pci/bind`. No call here waits for anything.
pub trait Tree: Send + Sync {
    /// The directories that are this tree's whole, with everything in them: `/sys/bus/pci`. None lies in another.
    fn roots(&self) -> Vec<String>;

    /// What is at a path; `None` if there is nothing.
    fn entry(&self, path: &str) -> Option<Entry>;

    /// The names in a directory, without `.` and `..`; empty for anything else.
    fn list(&self, path: &str) -> Vec<String>;

    /// Reads an attribute from `offset` on, `size` bytes at most.
    ///
    /// # Errors
    /// [`Errno::ENOENT`] if there is none; the attribute's own.
    fn show(&self, path: &str, offset: u64, size: usize) -> Result<Vec<u8>, Errno>;

    /// Writes to an attribute. `done` is called once, perhaps much later: taking a device from its driver waits until nobody
    /// uses it.
    fn store(&self, path: &str, offset: u64, bytes: &[u8], done: Stored);
}
