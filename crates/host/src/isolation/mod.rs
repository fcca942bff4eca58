//! How the nodes of a lab are shown to a run's processes.

mod namespace;
mod placeholder;
pub(crate) mod sysfs;

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ioctlab_kernel::{DeviceNumber, Node, NodeId};
use rustix::fs::{AtFlags, Mode, OFlags};

use crate::descriptor::Identity;
pub(crate) use namespace::enter_user_namespace;
pub use namespace::{Refusal, enter as enter_namespace};
pub use placeholder::Placeholders;

/// How a run's processes come to see the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// In a mount namespace of their own, with the nodes in a `/dev` of its own: only opens have to be trapped.
    Namespace,
    /// By trapping every call that names a path, where namespaces are not allowed. Slower.
    Paths,
}

/// The nodes of a lab as files, for a run.
///
/// In a namespace they are where they should be; with trapped paths they are placeholders elsewhere, and calls are led there.
pub struct Tree {
    /// How they are shown.
    pub isolation: Isolation,
    /// Where the tree is rooted: `/` in a namespace.
    pub root: PathBuf,
    /// The directory that is the root, or stands for it.
    view: OwnedFd,
    files: Vec<NodeFile>,
    hidden: Mutex<BTreeSet<NodeId>>,
}

/// A node's file.
pub(crate) struct NodeFile {
    pub(crate) node: NodeId,
    pub(crate) path: String,
    pub(crate) stat: rustix::fs::Stat,
    /// `None` for a regular file.
    pub(crate) number: Option<DeviceNumber>,
}

impl Tree {
    /// Looks at the nodes' files below `root` as they are seen from `view` (the root directory of a process of the run).
    ///
    /// # Errors
    /// If a node has no file there.
    pub fn new(isolation: Isolation, root: PathBuf, view: &str, nodes: &[Node]) -> std::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let view = rustix::fs::open(format!("{view}{}/", root.display()), flags, Mode::empty())?;
        let mut tree = Self { isolation, root, view, files: Vec::new(), hidden: Mutex::default() };
        for (index, node) in nodes.iter().enumerate().filter(|(_, node)| node.has_path()) {
            let stat =
                |hidden| rustix::fs::statat(&tree.view, tree.place(&node.path, hidden), AtFlags::empty());
            let (path, number, id) = (node.path.clone(), node.number, NodeId(index));
            // It may have come or gone since the files were made.
            let (stat, has_changed) = match stat(node.hidden) {
                Ok(stat) => (stat, false),
                Err(_) => (stat(!node.hidden)?, true),
            };
            tree.files.push(NodeFile { node: id, path, stat, number });
            if has_changed {
                tree.show(id, node);
            } else if node.hidden {
                tree.hidden().insert(id);
            }
        }
        Ok(tree)
    }

    /// Where the file of the node with this path is, from the directory that is the root.
    fn place(&self, path: &str, hidden: bool) -> String {
        let native = match self.isolation {
            Isolation::Namespace => namespace::native_path(path, hidden),
            Isolation::Paths => placeholder::placeholder_path(path, hidden),
        };
        native.trim_start_matches('/').to_owned()
    }

    /// Puts a node's file where it should be, or out of the way.
    pub(crate) fn show(&self, id: NodeId, node: &Node) {
        let (from, to) = (self.place(&node.path, !node.hidden), self.place(&node.path, node.hidden));
        for (at, _) in to.match_indices('/') {
            let _ = rustix::fs::mkdirat(&self.view, to.get(..at).unwrap_or_default(), Mode::from(0o755));
        }
        // What can't be moved stays where it is; the driver refuses to open what isn't there.
        let _ = rustix::fs::renameat(&self.view, from, &self.view, to);
        if node.hidden {
            self.hidden().insert(id);
        } else {
            self.hidden().remove(&id);
        }
    }

    fn hidden(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node whose file this is.
    pub(crate) fn node_of(&self, identity: Identity) -> Option<&NodeFile> {
        self.files.iter().find(|file| (file.stat.st_dev, file.stat.st_ino) == identity)
    }

    /// A node's file.
    pub(crate) fn file(&self, node: NodeId) -> Option<&NodeFile> {
        self.files.iter().find(|f| f.node == node)
    }

    /// The node at this absolute path.
    pub(crate) fn node_at(&self, path: &str) -> Option<NodeId> {
        let node = self.files.iter().find(|f| f.path == path)?.node;
        (!self.hidden().contains(&node)).then_some(node)
    }

    /// The node at this path as a program writes it, if it is one that isn't in `/dev`.
    pub(crate) fn node_elsewhere(&self, path: &[u8]) -> Option<NodeId> {
        if path.starts_with(b"/dev/") { None } else { self.node_at(std::str::from_utf8(path).ok()?) }
    }

    /// Whether a proper prefix of this absolute path is a node.
    pub(crate) fn is_below_node(&self, path: &str) -> bool {
        self.files.iter().any(|f| path.strip_prefix(&f.path).is_some_and(|rest| rest.starts_with('/')))
    }

    /// Whether `path` (absolute, without `.`, `..` and doubled slashes) is a node or a directory on the way to one.
    pub(crate) fn holds(&self, path: &str) -> bool {
        path.strip_prefix('/').is_some_and(|p| !p.is_empty() && path != "/dev")
            && self.files.iter().any(|f| {
                f.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    }
}
