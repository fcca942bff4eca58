//! How the nodes of a lab are shown to a run's processes.

mod namespace;
mod placeholder;
pub(crate) mod sysfs;

use std::borrow::Cow;
use std::path::PathBuf;

use ioctlab_kernel::{DeviceNumber, Node, NodeId};

pub(crate) use namespace::enter_user_namespace;
use namespace::native_path;
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
    files: Vec<NodeFile>,
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
        let files = nodes.iter().enumerate().map(|(index, node)| {
            let native = match isolation {
                Isolation::Namespace => native_path(&node.path),
                Isolation::Paths => Cow::Borrowed(&*node.path),
            };
            let path = format!("{view}{}{native}", root.display().to_string().trim_end_matches('/'));
            let stat = rustix::fs::stat(&*path)?;
            Ok(NodeFile { node: NodeId(index), path: node.path.clone(), stat, number: node.number })
        });
        let files = files.collect::<std::io::Result<_>>()?;
        Ok(Self { isolation, root, files })
    }

    /// The node whose file this is.
    pub(crate) fn node_of(&self, stat: &rustix::fs::Stat) -> Option<&NodeFile> {
        self.files.iter().find(|f| f.stat.st_ino == stat.st_ino && f.stat.st_dev == stat.st_dev)
    }

    /// A node's file.
    pub(crate) fn file(&self, node: NodeId) -> Option<&NodeFile> {
        self.files.iter().find(|f| f.node == node)
    }

    /// The node at this absolute path.
    pub(crate) fn node_at(&self, path: &str) -> Option<NodeId> {
        self.files.iter().find(|f| f.path == path).map(|f| f.node)
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
