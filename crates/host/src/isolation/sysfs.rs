//! A `/sys` that has a lab's trees besides everything that it had.
//!
//! It is made by the process that becomes the program, in a mount namespace with a `/dev` of its own ([`super::namespace`]),
//! in two steps. First all is made in places of its own. Then, when the other end of the FUSE connection is with who serves it,
//! the trees' directories can be looked up, and it is put in place as a whole: before, and if anything is refused, `/sys` is as it
//! was.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use super::Refusal;
use super::namespace::Step;

const SYS: &str = "/sys";
/// Where the new one is made.
const NEW: &str = "/dev/.sys";
/// Where all of the trees are, as the server has them.
const TREES: &str = "/dev/.trees";

/// A `/sys` in the making.
pub(crate) struct NewSys {
    roots: Vec<String>,
}

/// Makes everything but what the server has to be there for; returns what it is to be served by, too.
///
/// # Errors
/// The step that was refused. Nothing is left then.
pub(crate) fn prepare(roots: &[String]) -> Result<(NewSys, OwnedFd), Refusal> {
    let new = NewSys { roots: roots.to_vec() };
    new.build().inspect_err(|_| clear_away()).map(|device| (new, device))
}

/// Opens a FUSE connection and mounts it.
///
/// # Errors
/// The step that was refused.
pub(crate) fn mount_fuse(at: &str) -> Result<OwnedFd, Refusal> {
    let device = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .step("opening /dev/fuse")?;
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    // An ordinary user is the only one that there is in the namespace. Without the option its processes outside are let in,
    // too, of which the server of a shared lab is one.
    let others = if user.is_root() { ",allow_other" } else { "" };
    let options = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions{others}",
        device.as_raw_fd(),
        user.as_raw(),
        group.as_raw()
    );
    let options = std::ffi::CString::new(options).map_err(io::Error::from).step("mounting FUSE")?;
    rustix::mount::mount("ioctlab", at, "fuse", flags(), &*options).step("mounting FUSE")?;
    Ok(device)
}

fn flags() -> MountFlags {
    MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC
}

impl NewSys {
    fn build(&self) -> Result<OwnedFd, Refusal> {
        if let Some(root) = self.roots.iter().find(|root| !root.starts_with("/sys/")) {
            let error = io::Error::new(io::ErrorKind::InvalidInput, format!("{root} isn't in /sys"));
            return Err(Refusal { step: "placing a tree", error });
        }
        fs::create_dir(TREES).step("making room for the trees")?;
        let device = mount_fuse(TREES)?;
        fs::create_dir(NEW).step("making room for a new /sys")?;
        rustix::mount::mount("sysfs", NEW, "tmpfs", flags(), c"mode=755").step("mounting a new /sys")?;
        self.fill(Path::new(SYS)).step("filling a new /sys")?;
        for root in &self.roots {
            fs::create_dir_all(in_new(Path::new(root))).step("making a tree's directory")?;
        }
        Ok(device)
    }

    /// Has a directory on the way to a tree, with all that it has now but the trees.
    fn fill(&self, directory: &Path) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let path = entry.path();
            let is_root = self.roots.iter().any(|root| path == Path::new(root));
            let leads_to_root = self.roots.iter().any(|root| Path::new(root).starts_with(&path));
            if is_root || leads_to_root {
                fs::create_dir(in_new(&path))?;
                if !is_root {
                    self.fill(&path)?;
                }
            } else {
                // An entry that can't be carried over (it may have vanished just now) is no reason to show no trees.
                let _ = carry_over(&entry, &in_new(&path));
            }
        }
        fs::set_permissions(in_new(directory), fs::metadata(directory)?.permissions())
    }

    /// Puts it in place. Waits for the server, which has to serve the connection by now.
    ///
    /// # Errors
    /// The step that was refused. Nothing is left then, and `/sys` is as it was.
    pub(crate) fn show(self) -> Result<(), Refusal> {
        let directory = std::env::current_dir().ok();
        let shown = self.put_in_place();
        clear_away();
        // A current directory in the old one would still show it.
        if let Some(directory) = directory.filter(|d| d.starts_with(SYS)) {
            let _ = std::env::set_current_dir(directory);
        }
        shown
    }

    fn put_in_place(&self) -> Result<(), Refusal> {
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        for root in &self.roots {
            let tree =
                rustix::mount::open_tree(CWD, format!("{TREES}{root}"), clone).step("finding a tree")?;
            let source_is_the_copy = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            rustix::mount::move_mount(&tree, "", CWD, in_new(Path::new(root)), source_is_the_copy)
                .step("mounting a tree")?;
        }
        rustix::mount::move_mount(CWD, NEW, CWD, SYS, MoveMountFlags::empty()).step("replacing /sys")
    }
}

/// Takes away what was made and isn't in place.
fn clear_away() {
    for place in [NEW, TREES] {
        // Neither need be there.
        let _ = rustix::mount::unmount(place, UnmountFlags::DETACH);
        let _ = fs::remove_dir(place);
    }
}

/// The place of something of `/sys` in the new one.
fn in_new(path: &Path) -> std::path::PathBuf {
    Path::new(NEW).join(path.strip_prefix(SYS).unwrap_or(path))
}

fn carry_over(entry: &fs::DirEntry, target: &Path) -> io::Result<()> {
    let kind = entry.file_type()?;
    if kind.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(entry.path())?, target);
    }
    if kind.is_dir() {
        fs::create_dir(target)?;
    } else {
        fs::File::create(target)?;
    }
    Ok(rustix::mount::mount_bind_recursive(entry.path(), target)?)
}
