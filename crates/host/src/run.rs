//! A run: one program and its descendants on a lab's devices.

use std::sync::atomic::{AtomicBool, Ordering};

use ioctlab_kernel::Opener;

use crate::isolation::Tree;

/// What all processes of a run have in common.
pub struct Run {
    /// Who they are to the devices' drivers.
    pub opener: Opener,
    /// How the nodes are shown to them.
    pub tree: Tree,
    same_root: AtomicBool,
}

impl Run {
    /// A run; `same_root` says whether its processes share the server's root directory and mounts.
    pub fn new(opener: Opener, tree: Tree, same_root: bool) -> Self {
        Self { opener, tree, same_root: AtomicBool::new(same_root) }
    }

    /// Whether an absolute path means the same to the server as to the run's processes.
    pub(crate) fn same_root(&self) -> bool {
        self.same_root.load(Ordering::Relaxed)
    }

    /// One of the run's processes may have got another root directory or other mounts.
    pub(crate) fn distrust_root(&self) {
        self.same_root.store(false, Ordering::Relaxed);
    }
}
