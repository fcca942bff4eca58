//! Nodes as placeholder files in a directory of their own, for runs whose calls by path are trapped.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ioctlab_kernel::Node;
use rustix::fs::{Access, FileType, Mode};

use crate::sys::process;

/// Where the placeholders of nodes are that aren't there.
const HIDDEN: &str = "/.hidden";

/// A directory with a placeholder for each node; removed when dropped, or when this process ends in any other way.
pub struct Placeholders {
    root: PathBuf,
    /// Closed by this process's end, which is how the cleaner learns of it.
    _alive: OwnedFd,
}

impl Placeholders {
    /// Makes the placeholders, below the user's runtime directory or the one for temporary files. For a process with one
    /// thread.
    ///
    /// # Errors
    /// If no directory can be made there, or no process that cleans up.
    pub fn make(nodes: &[Node]) -> io::Result<Self> {
        let parent = std::env::var_os("XDG_RUNTIME_DIR")
            .map(PathBuf::from)
            .filter(|p| rustix::fs::access(p, Access::WRITE_OK | Access::EXEC_OK).is_ok())
            .unwrap_or_else(std::env::temp_dir);
        let root = parent.join(format!("ioctlab-{}", std::process::id()));
        // Left by a process of the same number that was killed together with its cleaner.
        let _ = fs::remove_dir_all(&root);
        let alive = start_cleaner(&root)?;
        fs::create_dir(&root)?;
        let made = Self { root, _alive: alive };
        for node in nodes.iter().filter(|node| node.has_path()) {
            make_placeholder(&made.root, node)?;
        }
        Ok(made)
    }

    /// The directory that stands for `/`.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl Drop for Placeholders {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Starts a process that waits until this one has ended, by whatever means, and then removes `root`.
fn start_cleaner(root: &Path) -> io::Result<OwnedFd> {
    let (wait, alive) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let (ready, detached) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    process::fork(move || {
        // Neither a terminal's signals nor somebody who reads this process's output are to wait for it.
        if crate::daemon::detach().is_err() {
            return;
        }
        // The parent makes no directory before this: a signal to its group no longer reaches the cleaner.
        drop(detached);
        process::close_all_but(&wait);
        while rustix::io::read(&wait, &mut [0u8]) == Err(rustix::io::Errno::INTR) {}
        let _ = fs::remove_dir_all(root);
    })?;
    while rustix::io::read(&ready, &mut [0u8]) == Err(rustix::io::Errno::INTR) {}
    Ok(alive)
}

/// Where a node's placeholder is below the root that stands for `/`.
pub(super) fn placeholder_path(path: &str, hidden: bool) -> Cow<'_, str> {
    if hidden { Cow::Owned(format!("{HIDDEN}{path}")) } else { Cow::Borrowed(path) }
}

/// Makes a character device where that is allowed (number 0:0 is, since Linux 5.8), so that listings show one.
fn make_placeholder(root: &Path, node: &Node) -> io::Result<()> {
    let path = root.join(placeholder_path(&node.path, node.hidden).trim_start_matches('/'));
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mode = Mode::from_raw_mode(node.permissions);
    let make_device = || rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::CharacterDevice, mode, 0);
    if node.number.is_none() || make_device().is_err() {
        fs::File::create(&path)?;
    }
    rustix::fs::chmod(&path, mode)?;
    Ok(())
}
