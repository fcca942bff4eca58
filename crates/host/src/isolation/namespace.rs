//! A user and mount namespace with a `/dev` that has the nodes.

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use ioctlab_kernel::Node;
use rustix::fs::{FileType, Mode};
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags};
use rustix::thread::UnshareFlags;

use crate::sys::process::unshare;

/// Where the old `/dev` is in the new one.
const HOST: &str = "/dev/.host";

/// Where the files of nodes are that can't be where they should.
const ELSEWHERE: &str = "/dev/.lab";

/// What was refused, and with which error.
#[derive(Debug)]
pub struct Refusal {
    /// The step that failed, as a person would say it.
    pub step: &'static str,
    /// The kernel's reason.
    pub error: io::Error,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.error)
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        refusal.error
    }
}

/// Says which step an error is of.
pub(super) trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, Refusal>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, Refusal> {
        self.map_err(|error| Refusal { step, error: error.into() })
    }
}

/// Moves this process (which must have one thread) into a mount namespace of its own whose `/dev` has `nodes` besides
/// everything that it had. An ordinary user needs a user namespace for that, in which user and group keep their ids.
///
/// # Errors
/// The step that was refused. If it is the first, nothing has changed.
pub fn enter(nodes: &[Node]) -> Result<(), Refusal> {
    let directory = std::env::current_dir().ok();
    let privileged = rustix::process::geteuid().is_root() && unshare(UnshareFlags::NEWNS).is_ok();
    if !privileged {
        enter_user_namespace(UnshareFlags::NEWNS)?;
    }
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .step("making mounts private")?;
    build_dev(nodes)?;
    // A current directory in the old /dev would still show it.
    if let Some(directory) = directory.filter(|d| d.starts_with("/dev")) {
        let _ = std::env::set_current_dir(directory);
    }
    Ok(())
}

/// Moves this process (which must have one thread) into a user namespace of its own, in which user and group keep their
/// ids, and into `others`.
///
/// # Errors
/// The step that was refused. If it is the first, nothing has changed.
pub(crate) fn enter_user_namespace(others: UnshareFlags) -> Result<(), Refusal> {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    unshare(UnshareFlags::NEWUSER | others).step("making a user namespace")?;
    // Without this an ordinary user may not map groups at all.
    fs::write("/proc/self/setgroups", "deny").step("giving up setgroups")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1")).step("mapping the user id")?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1")).step("mapping the group id")
}

/// Mounts a new `/dev` that has the old one's entries, each bound in its place, and the nodes.
///
/// The old one stays in sight as a whole, for `ptmx`: opening that makes Linux look for a `pts` beside it, and a file that
/// is bound in its place has nothing beside it. So `ptmx` becomes a symbolic link, as it is in containers.
fn build_dev(nodes: &[Node]) -> Result<(), Refusal> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let old = rustix::mount::open_tree(rustix::fs::CWD, "/dev", flags).step("copying /dev")?;
    rustix::mount::mount("tmpfs", "/dev", "tmpfs", MountFlags::NOSUID | MountFlags::NOEXEC, c"mode=755")
        .step("mounting a new /dev")?;
    fs::create_dir(HOST).step("keeping the old /dev")?;
    let source_is_the_copy = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&old, "", rustix::fs::CWD, HOST, source_is_the_copy)
        .step("keeping the old /dev")?;
    for entry in fs::read_dir(HOST).step("listing /dev")? {
        let entry = entry.step("listing /dev")?;
        // An entry that can't be carried over (it may have vanished just now) is no reason to run nothing at all.
        let _ = carry_over(&entry, &Path::new("/dev").join(entry.file_name()), nodes);
    }
    for node in nodes.iter().filter(|node| node.has_path()) {
        make_node(node).step("making a device node")?;
    }
    Ok(())
}

fn carry_over(entry: &fs::DirEntry, target: &Path, nodes: &[Node]) -> io::Result<()> {
    let kind = entry.file_type()?;
    if kind.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(entry.path())?, target);
    }
    if entry.file_name() == "ptmx" {
        return std::os::unix::fs::symlink(entry.path(), target);
    }
    if nodes.iter().any(|n| Path::new(&n.path).starts_with(target)) {
        // The lab's nodes replace what the machine has under that name, /dev/xen and all.
        return Ok(());
    }
    if kind.is_dir() {
        fs::create_dir(target)?;
    } else {
        fs::File::create(target)?;
    }
    Ok(rustix::mount::mount_bind_recursive(entry.path(), target)?)
}

/// Makes a node and the directories on the way to it.
///
/// With the privilege it gets its true number; without, Linux allows just one character device to be made, number 0:0.
/// Nobody opens either: opens are trapped. What isn't in `/dev` can't be put where it should be.
fn make_node(node: &Node) -> io::Result<()> {
    let path = native_path(&node.path, node.hidden);
    let path = Path::new(&*path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let permissions = Mode::from_raw_mode(node.permissions);
    match node.number {
        Some(number) => {
            let number = rustix::fs::makedev(number.major, number.minor);
            let make = |number| {
                let mode = Mode::RUSR | Mode::WUSR;
                rustix::fs::mknodat(rustix::fs::CWD, path, FileType::CharacterDevice, mode, number)
            };
            make(number).or_else(|_| make(0))?;
        }
        None => drop(fs::File::create(path)?),
    }
    rustix::fs::chmod(path, permissions)?;
    Ok(())
}

/// Where a node's file is in a namespace: where its path says if that is in `/dev`, and out of the way else. That of a
/// hidden node is out of the way, too, and ready to be moved.
pub(crate) fn native_path(path: &str, hidden: bool) -> Cow<'_, str> {
    if path.starts_with("/dev/") && !hidden {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(format!("{ELSEWHERE}{path}"))
    }
}
