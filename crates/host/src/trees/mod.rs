//! A lab's trees of attributes, shown to its programs as a file system, by FUSE.
//!
//! A shell's `echo X > .../bind` is a write to descriptor 1, which no filter traps. As a file system's it arrives here, waits
//! for the driver's answer, and gets its errno.
//!
//! Each run has a mount ([`crate::isolation`]) with a connection of its own, and a thread that answers what the connection
//! asks. That thread never waits for the server: the server looks paths up while it is locked, and such a path may lead
//! through here. A write is carried out on one more thread, which all connections share.

mod connection;
mod interrupts;
mod names;
mod operations;
mod stores;
mod wire;
mod writers;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ioctlab_kernel::{Entry, Tree};

use crate::server::Server;
use connection::Connection;
use names::Names;
use stores::Job;

/// To whom the files belong, as the run's own user namespace numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: u32,
    /// The group.
    pub group: u32,
}

impl Owner {
    /// Who this process is.
    pub fn this_process() -> Self {
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        Self { user: user.as_raw(), group: group.as_raw() }
    }
}

/// The trees of a lab.
pub struct Trees {
    trees: Vec<Arc<dyn Tree>>,
    /// With the tree whose root it is.
    roots: Vec<(String, Arc<dyn Tree>)>,
    names: Mutex<Names>,
    /// Since the epoch: when all of it was made, as far as `stat` says.
    time: Duration,
    /// To the thread that carries out writes, once there is one.
    stores: Mutex<Option<Sender<Job>>>,
}

impl Trees {
    /// A lab's trees; none are fine.
    pub fn new(trees: Vec<Arc<dyn Tree>>) -> Self {
        let roots =
            trees.iter().flat_map(|tree| tree.roots().into_iter().map(|root| (root, Arc::clone(tree))));
        Self {
            roots: roots.collect(),
            names: Mutex::new(Names::new("/")),
            time: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
            stores: Mutex::new(None),
            trees,
        }
    }

    /// The directories to be shown, for [`crate::launch::start`].
    pub fn roots(&self) -> Vec<String> {
        self.roots.iter().map(|(root, _)| root.clone()).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    /// The tree that a path lies in.
    fn tree(&self, path: &str) -> Option<&dyn Tree> {
        let (_, tree) = self.roots.iter().find(|(root, _)| is_within(path, root))?;
        Some(&**tree)
    }

    /// What is at a path: in a tree, or on the way to one, which is how its root is found as it is mounted.
    fn entry(&self, path: &str) -> Option<Entry> {
        match self.tree(path) {
            Some(tree) => tree.entry(path),
            None => self.roots.iter().any(|(root, _)| is_within(root, path)).then_some(Entry::Directory),
        }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a path is a directory's own or lies below it.
fn is_within(path: &str, directory: &str) -> bool {
    let directory = directory.trim_end_matches('/');
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Server {
    /// Shows a lab's trees to a run: `device` is what came along with its listener (see
    /// [`crate::launch::Started::take_trees`]), and nobody else may hold it, so that what is asked of it fails when this server
    /// is gone. Serves it until it is unmounted.
    ///
    /// # Errors
    /// `EAGAIN` if no thread can be made.
    pub fn show_trees(self: &Arc<Self>, trees: &Arc<Trees>, device: OwnedFd, owner: Owner) -> io::Result<()> {
        let server = Arc::clone(self);
        // What a write has made readable is shown as after any call.
        let stores = stores::start(trees, move || server.with_kernel(|_| ()))?;
        let connection = Arc::new(Connection::new(Arc::clone(trees), device, owner, stores));
        std::thread::Builder::new().name("trees".into()).spawn(move || connection.serve())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::is_within;

    #[test]
    fn names_are_compared_as_a_whole() {
        for path in ["/sys/bus/pci", "/sys/bus/pci/devices"] {
            assert!(is_within(path, "/sys/bus/pci"), "{path}");
        }
        for path in ["/sys/bus", "/sys/bus/pci_express", "/sys/bus/pc", "/"] {
            assert!(!is_within(path, "/sys/bus/pci"), "{path}");
        }
        assert!(is_within("/sys", "/"));
    }
}
