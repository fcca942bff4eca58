//! Which device a path names, as the calling thread sees it.
//!
//! The kernel looks paths up, here as there; this only says from where. The result decides no more than whether a call is
//! served here, so a path that changes in between fools nobody but its own process.

use std::os::fd::OwnedFd;

use ioctlab_kernel::NodeId;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Stat};

use crate::isolation::Isolation;
use crate::run::Run;

/// The longest path that Linux takes, with its NUL.
pub(crate) const PATH_MAX: usize = 4096;
/// As many symbolic links as Linux follows in one path.
const LINKS_MAX: usize = 40;

/// A path as a call names it.
pub(crate) struct Named<'a> {
    /// The calling thread.
    pub(crate) thread: i32,
    /// The directory descriptor that a relative path starts at; `AT_FDCWD` for the current directory.
    pub(crate) directory: i32,
    /// The path.
    pub(crate) path: &'a [u8],
    /// Whether a symbolic link as the last component is followed.
    pub(crate) follow: bool,
}

/// What a path leads to.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// One of the lab's nodes.
    Node(NodeId),
    /// A descriptor of a process, by way of `/proc`: process id and number.
    Descriptor(i32, u32),
    /// A directory on the way to a node, which exists only as a placeholder: its path.
    Directory(String),
    /// Something below a node, as if that were a directory; with trapped paths only, where the kernel couldn't say so.
    BelowNode,
}

/// Looks a path up; `None` if it leads to nothing of ours, in which case the kernel knows best what to answer.
pub(crate) fn find(run: &Run, named: &Named<'_>) -> Option<Place> {
    if let Some((process, number)) = descriptor(named) {
        return Some(Place::Descriptor(process, number));
    }
    match run.tree.isolation {
        Isolation::Namespace => {
            // Nodes that aren't in /dev can't be put where they should be: they are known by their paths alone.
            if named.path.starts_with(b"/proc/")
                && let Some(node) = run.tree.node_elsewhere(&normalise(named.path))
            {
                return Some(Place::Node(node));
            }
            if is_in_sys(named) {
                return None;
            }
            let stat = look_up(run, named)?;
            run.tree.node_of((stat.st_dev, stat.st_ino)).map(|file| Place::Node(file.node))
        }
        Isolation::Paths => find_placeholder(run, named),
    }
}

/// The same with `openat2`'s restrictions on the way; a path that they forbid leads to nothing of ours.
pub(crate) fn find_restricted(run: &Run, named: &Named<'_>, restrictions: u64) -> Option<Place> {
    if run.tree.isolation == Isolation::Namespace && is_in_sys(named) {
        return None;
    }
    // CACHED lets a lookup fail for no lasting reason. This one need not.
    let restrictions = ResolveFlags::from_bits_retain(restrictions) - ResolveFlags::CACHED;
    if let Some(place) = try_restricted(run, named, restrictions) {
        return Some(place);
    }
    if run.tree.isolation == Isolation::Namespace {
        return None;
    }
    // A placeholder isn't where the path says, so what the path would meet on its way can't be tried out.
    let direct =
        absolute(named).is_some_and(|path| std::str::from_utf8(&path).is_ok_and(|p| run.tree.holds(p)));
    let confined = restrictions.intersects(ResolveFlags::BENEATH | ResolveFlags::IN_ROOT);
    let linked = restrictions.intersects(ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS) && !direct;
    if confined || linked { None } else { find(run, named) }
}

/// Whether a path is one in `/sys`, going by its text. No node is there; but the server's own file system is (see
/// [`crate::trees`]), and it had better not wait for itself: if it is killed, Linux lets nobody go who waits for an answer.
fn is_in_sys(named: &Named<'_>) -> bool {
    let may_be = named.path.starts_with(b"/sys/") || named.path.first() != Some(&b'/');
    may_be && absolute(named).is_some_and(|path| path.starts_with(b"/sys/"))
}

/// Has the kernel look the path up, with the restrictions, from where the calling thread would.
fn try_restricted(run: &Run, named: &Named<'_>, restrictions: ResolveFlags) -> Option<Place> {
    let start = match named.directory {
        libc::AT_FDCWD => format!("/proc/{}/cwd", named.thread),
        directory => format!("/proc/{}/fd/{directory}", named.thread),
    };
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    if !named.follow {
        flags |= OFlags::NOFOLLOW;
    }
    let file =
        rustix::fs::openat2(open_path(&start)?, named.path, flags, Mode::empty(), restrictions).ok()?;
    let stat = rustix::fs::fstat(file).ok()?;
    run.tree.node_of((stat.st_dev, stat.st_ino)).map(|file| Place::Node(file.node))
}

/// `/proc/PID/fd/N` and its other spellings.
fn descriptor(named: &Named<'_>) -> Option<(i32, u32)> {
    // Nearly no path is one of these: look before copying anything.
    let looks_like = |prefix: &[u8]| named.path.starts_with(prefix);
    if !named.follow {
        return None;
    }
    if named.path.first() == Some(&b'/') && !looks_like(b"/proc/") && !looks_like(b"/dev/") {
        return None;
    }
    let path = absolute(named)?;
    let path = std::str::from_utf8(&path).ok()?;
    match path {
        "/dev/stdin" => return Some((named.thread, 0)),
        "/dev/stdout" => return Some((named.thread, 1)),
        "/dev/stderr" => return Some((named.thread, 2)),
        _ => {}
    }
    descriptor_of(path, named.thread)
}

/// The process and number that a normalised path below `/proc` or `/dev/fd` names.
pub(crate) fn descriptor_of(path: &str, thread: i32) -> Option<(i32, u32)> {
    if let Some(number) = path.strip_prefix("/dev/fd/") {
        return Some((thread, number.parse().ok()?));
    }
    let mut parts = path.strip_prefix("/proc/")?.split('/');
    let process = match parts.next()? {
        "self" | "thread-self" => thread,
        process => process.parse().ok()?,
    };
    let mut part = parts.next()?;
    if part == "task" {
        parts.next()?;
        part = parts.next()?;
    }
    let number = parts.next().filter(|_| part == "fd")?.parse().ok()?;
    parts.next().is_none().then_some((process, number))
}

/// The path from the root directory, with `.`, `..` and doubled slashes taken out as text. `None` if a directory is gone.
pub(crate) fn absolute(named: &Named<'_>) -> Option<Vec<u8>> {
    Some(normalise(&absolute_unless_so(named)?))
}

fn start_of(named: &Named<'_>) -> Option<Vec<u8>> {
    let link = if named.directory == libc::AT_FDCWD {
        format!("/proc/{}/cwd", named.thread)
    } else {
        format!("/proc/{}/fd/{}", named.thread, named.directory)
    };
    Some(rustix::fs::readlink(link, Vec::new()).ok()?.into_bytes())
}

fn normalise(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut normal = Vec::with_capacity(path.len());
    for part in parts {
        normal.push(b'/');
        normal.extend_from_slice(part);
    }
    if normal.is_empty() { b"/".to_vec() } else { normal }
}

/// The file that a path leads to, as the calling thread sees it.
fn look_up(run: &Run, named: &Named<'_>) -> Option<Stat> {
    if !run.same_root() {
        let file = open_below_root(named.thread, &absolute_unless_so(named)?, named.follow)?;
        return rustix::fs::fstat(file).ok();
    }
    let flags = if named.follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    let path = named.path;
    if path.first() == Some(&b'/') {
        return rustix::fs::statat(CWD, path, flags).ok();
    }
    let mut from_there = if named.directory == libc::AT_FDCWD {
        format!("/proc/{}/cwd/", named.thread).into_bytes()
    } else {
        format!("/proc/{}/fd/{}/", named.thread, named.directory).into_bytes()
    };
    from_there.extend_from_slice(path);
    rustix::fs::statat(CWD, from_there, flags).ok()
}

/// An absolute path as it is (symbolic links make `..` more than text), a relative one from the root directory.
fn absolute_unless_so(named: &Named<'_>) -> Option<Vec<u8>> {
    if named.path.first() == Some(&b'/') {
        return Some(named.path.to_vec());
    }
    let mut whole = start_of(named)?;
    whole.push(b'/');
    whole.extend_from_slice(named.path);
    Some(whole)
}

fn open_below_root(thread: i32, path: &[u8], follow: bool) -> Option<OwnedFd> {
    let root = open_path(&format!("/proc/{thread}/root"))?;
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT).ok()
}

fn open_path(path: &str) -> Option<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// With trapped paths: follows symbolic links by hand, until the path is one of the tree's or leads elsewhere.
fn find_placeholder(run: &Run, named: &Named<'_>) -> Option<Place> {
    let whole = absolute_unless_so(named)?;
    if uses_node_as_directory(run, &whole) {
        return Some(Place::BelowNode);
    }
    let mut path = normalise(&whole);
    // A path that starts at a placeholder directory's descriptor.
    let root = run.tree.root.as_os_str().as_encoded_bytes();
    if let Some(inside) = path.strip_prefix(root).filter(|inside| inside.starts_with(b"/")) {
        path = inside.to_vec();
    }
    for _ in 0..LINKS_MAX {
        // What exists natively is found natively: most paths end here, after one look.
        let text = std::str::from_utf8(&path).ok()?;
        if run.tree.is_below_node(text) {
            return Some(Place::BelowNode);
        }
        if run.tree.holds(text) {
            return Some(match run.tree.node_at(text) {
                Some(node) => Place::Node(node),
                None => Place::Directory(text.to_owned()),
            });
        }
        if let Some((process, number)) = descriptor_of(text, named.thread).filter(|_| named.follow) {
            return Some(Place::Descriptor(process, number));
        }
        let exists = if named.follow { rustix::fs::stat(&*path) } else { rustix::fs::lstat(&*path) };
        if exists.is_ok() {
            return None;
        }
        path = through_first_link(&path, named.follow)?;
    }
    None
}

/// Whether the path goes on after a node (`/`, `/.`, `/../x`) in a way that normalising has taken away.
fn uses_node_as_directory(run: &Run, path: &[u8]) -> bool {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.skip(1).any(|(end, _)| {
        let before = path.get(..end).map(normalise).unwrap_or_default();
        std::str::from_utf8(&before).is_ok_and(|before| run.tree.node_at(before).is_some())
    })
}

/// Replaces the first component that is a symbolic link by what it leads to; `None` if there is none.
fn through_first_link(path: &[u8], follow_last: bool) -> Option<Vec<u8>> {
    let ends: Vec<usize> = (1..path.len())
        .filter(|&i| path.get(i) == Some(&b'/'))
        .chain(follow_last.then_some(path.len()))
        .collect();
    for end in ends {
        let prefix = path.get(..end)?;
        let Ok(target) = rustix::fs::readlink(prefix, Vec::new()) else { continue };
        let target = target.into_bytes();
        let mut whole = Vec::new();
        if target.first() != Some(&b'/') {
            let parent = prefix.iter().rposition(|&b| b == b'/')?;
            whole.extend_from_slice(prefix.get(..=parent)?);
        }
        whole.extend_from_slice(&target);
        whole.extend_from_slice(path.get(end..)?);
        return Some(normalise(&whole));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_have_many_spellings() {
        for path in
            ["/proc/self/fd/5", "/proc/7/fd/5", "/proc/thread-self/fd/5", "/proc/7/task/9/fd/5", "/dev/fd/5"]
        {
            assert_eq!(descriptor_of(path, 7), Some((7, 5)), "{path}");
        }
        for path in ["/proc/self/fd", "/proc/self/fdinfo/5", "/proc/self/fd/5/x", "/proc/x/fd/5", "/dev/fd/x"]
        {
            assert_eq!(descriptor_of(path, 7), None, "{path}");
        }
    }

    #[test]
    fn paths_are_normalised_as_text() {
        for (path, normal) in [("/a//b/./c", "/a/b/c"), ("/a/../../b", "/b"), ("/", "/"), ("/a/b/..", "/a")] {
            assert_eq!(normalise(path.as_bytes()), normal.as_bytes(), "{path}");
        }
    }
}
