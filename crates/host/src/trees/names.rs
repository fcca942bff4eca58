//! The numbers of files.

use std::collections::HashMap;
use std::sync::Arc;

use ioctlab_kernel::Entry;

use super::wire::Change;

/// What has been seen of the trees' paths. A path keeps its numbers, whether there is something at it or not.
pub(crate) struct Names {
    /// The path of each node, from node 1 on.
    paths: Vec<Arc<str>>,
    /// The nodes of a path: at least one. The first is the file's number.
    nodes: HashMap<Arc<str>, Vec<u64>>,
    /// What was at a path when it was last looked up.
    seen: HashMap<Arc<str>, Entry>,
    /// Permissions and owners that were changed.
    changes: HashMap<Arc<str>, Change>,
}

impl Names {
    /// Node 1, which the kernel takes for the mount's own directory, is at `root`.
    pub(crate) fn new(root: &str) -> Self {
        let mut names =
            Self { paths: Vec::new(), nodes: HashMap::new(), seen: HashMap::new(), changes: HashMap::new() };
        names.add(root);
        names
    }

    /// The path of a node.
    pub(crate) fn path(&self, node: u64) -> Option<Arc<str>> {
        self.paths.get(usize::try_from(node).ok()?.checked_sub(1)?).cloned()
    }

    /// The number of the file at a path.
    pub(crate) fn number(&mut self, path: &str) -> u64 {
        match self.nodes.get(path).and_then(|nodes| nodes.first()) {
            Some(first) => *first,
            None => self.add(path),
        }
    }

    /// The nodes of a path.
    pub(crate) fn nodes(&self, path: &str) -> &[u64] {
        self.nodes.get(path).map_or(&[], Vec::as_slice)
    }

    /// A node at a path for which `is_free`: one that is there, or a new one.
    pub(crate) fn node(&mut self, path: &str, is_free: impl Fn(u64) -> bool) -> u64 {
        match self.nodes.get(path).and_then(|nodes| nodes.iter().find(|node| is_free(**node))) {
            Some(node) => *node,
            None => self.add(path),
        }
    }

    fn add(&mut self, path: &str) -> u64 {
        let path: Arc<str> = path.into();
        self.paths.push(Arc::clone(&path));
        let node = self.paths.len() as u64;
        self.nodes.entry(path).or_default().push(node);
        node
    }

    /// Something was found at a path.
    pub(crate) fn see(&mut self, path: &str, entry: Entry) {
        self.seen.insert(path.into(), entry);
    }

    /// What was last found at a path: an open file outlives its name.
    pub(crate) fn seen(&self, path: &str) -> Option<Entry> {
        self.seen.get(path).cloned()
    }

    /// Changes what is at a path.
    pub(crate) fn change(&mut self, path: &str, change: Change) {
        if change == Change::default() {
            return;
        }
        let own = self.changes.entry(path.into()).or_default();
        *own = Change {
            permissions: change.permissions.or(own.permissions),
            user: change.user.or(own.user),
            group: change.group.or(own.group),
        };
    }

    /// What has been changed of what is at a path.
    pub(crate) fn changed(&self, path: &str) -> Change {
        self.changes.get(path).copied().unwrap_or_default()
    }

    /// There is nothing at a path: what comes there is new.
    pub(crate) fn reset(&mut self, path: &str) {
        self.changes.remove(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_its_number() {
        let mut names = Names::new("/");
        let (a, b) = (names.number("/a"), names.number("/b"));
        assert_eq!((names.number("/"), names.number("/a"), names.number("/b")), (1, a, b));
        assert_ne!(a, b);
        // A node more, for while the first is in use.
        let second = names.node("/a", |node| node != a);
        assert_ne!(second, a);
        assert_eq!(names.node("/a", |node| node != a), second);
        assert_eq!(names.node("/a", |_| true), a);
        assert_eq!((names.number("/a"), names.path(second).as_deref()), (a, Some("/a")));
        assert_eq!((names.path(0), names.path(99), names.path(u64::MAX)), (None, None, None));
    }

    #[test]
    fn changes_add_up_and_go() {
        let mut names = Names::new("/");
        names.change("/a", Change { permissions: Some(0o600), ..Change::default() });
        names.change("/a", Change { user: Some(5), ..Change::default() });
        assert_eq!(names.changed("/a"), Change { permissions: Some(0o600), user: Some(5), group: None });
        names.reset("/a");
        assert_eq!(names.changed("/a"), Change::default());
    }
}
