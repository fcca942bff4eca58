//! What the kernel asks of a tree's files, but for writes.

use std::time::Instant;

use ioctlab_abi::Errno;
use ioctlab_kernel::{Entry, Tree};

use super::connection::Connection;
use super::wire::{self, Attributes, Operation, Request};
use crate::sys::misc;

/// The most bytes that sysfs reads or writes at once.
pub(crate) const PAGE: usize = 4096;

/// Has the kernel look a path up again. A program doesn't see it.
const ESTALE: Errno = Errno::from_raw(libc::ESTALE);

impl Connection {
    /// The answer to a request.
    ///
    /// # Errors
    /// Those of sysfs, and the attribute's own. `ENOSYS` has the kernel do what it does for any file system.
    pub(crate) fn answer(&self, request: &Request<'_>) -> Result<Vec<u8>, Errno> {
        match request.operation {
            Operation::Init { flags } => return Ok(wire::init(flags)),
            Operation::StatFs => return Ok(wire::file_system()),
            Operation::Create => return Err(Errno::EACCES),
            Operation::Rearrange => return Err(Errno::EPERM),
            Operation::ListXattr { size } => return Ok(wire::no_xattrs(size)),
            Operation::OpenDirectory => return Ok(wire::opened_directory()),
            Operation::Nothing => return Ok(Vec::new()),
            _ => {}
        }
        let path = self.trees.names().path(request.node).ok_or(Errno::ENOENT)?;
        match request.operation {
            Operation::Lookup { name } => self.look_up(&path, name),
            Operation::GetAttributes => self.attributes(&path),
            Operation::SetAttributes(change) => {
                // A new size and new times are accepted, and change nothing.
                self.trees.names().change(&path, change);
                self.attributes(&path)
            }
            Operation::ReadLink => match self.trees.entry(&path) {
                Some(Entry::Link(target)) => Ok(target.into_bytes()),
                Some(_) => Err(Errno::EINVAL),
                None => Err(Errno::ENOENT),
            },
            Operation::Open { flags } => self.open(&path, flags, request),
            Operation::Close { flags } => {
                if access(flags).1 {
                    self.writers().close(request.node);
                }
                Ok(Vec::new())
            }
            // A program has it mapped, and has made a call whose argument is there: what would have to answer may be locked for it.
            Operation::Read { .. } if is_own(request.thread) => Err(Errno::EIO),
            Operation::Read { offset, size } => self.read(&path, offset, size),
            Operation::List { offset, size } => Ok(self.list(&path, offset, size)),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn look_up(&self, directory: &str, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let path = join(directory, name);
        let Some(entry) = self.trees.entry(&path) else {
            self.trees.names().reset(&path);
            return Err(Errno::ENOENT);
        };
        let attributes = self.attributes_of(&path, &entry, 2);
        self.trees.names().see(&path, entry);
        Ok(wire::entry(self.node(&path), &attributes))
    }

    fn attributes(&self, path: &str) -> Result<Vec<u8>, Errno> {
        let entry = self.trees.entry(path).or_else(|| self.trees.names().seen(path)).ok_or(Errno::ENOENT)?;
        let links = match (&entry, self.trees.tree(path)) {
            (Entry::Directory, Some(tree)) => 2 + directories(tree, path),
            _ => 2,
        };
        Ok(wire::attributes(&self.attributes_of(path, &entry, links)))
    }

    /// What `stat` shows; `links` are a directory's.
    fn attributes_of(&self, path: &str, entry: &Entry, links: u32) -> Attributes {
        let mut names = self.trees.names();
        let changed = names.changed(path);
        let (size, links) = match entry {
            Entry::Directory => (0, links),
            Entry::Link(_) => (0, 1),
            Entry::Attribute { size, .. } => (*size, 1),
        };
        let mode = mode(entry);
        Attributes {
            number: names.number(path),
            size,
            mode: changed.permissions.map_or(mode, |permissions| mode & libc::S_IFMT | permissions),
            links,
            user: changed.user.unwrap_or(self.owner.user),
            group: changed.group.unwrap_or(self.owner.group),
            time: self.trees.time,
        }
    }

    /// Even root can't open an attribute for what nobody may do with it.
    fn open(&self, path: &str, flags: u32, request: &Request<'_>) -> Result<Vec<u8>, Errno> {
        let entry = self.trees.entry(path).ok_or(Errno::ENODEV)?;
        let mode = self.attributes_of(path, &entry, 0).mode;
        let (reads, writes) = access(flags);
        if reads && mode & 0o444 == 0 || writes && mode & 0o222 == 0 {
            return Err(Errno::EACCES);
        }
        if writes && !self.writers().open(request.node, request.thread, Instant::now()) {
            return Err(ESTALE);
        }
        Ok(wire::opened())
    }

    fn read(&self, path: &str, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let size = PAGE.min(size as usize);
        let tree = self.trees.tree(path).ok_or(Errno::ENODEV)?;
        match tree.show(path, offset, size) {
            Ok(mut bytes) => {
                bytes.truncate(size);
                Ok(bytes)
            }
            Err(errno) => Err(unless_gone(tree, path, errno)),
        }
    }

    /// A directory's names from `offset` on. They come in the order of their numbers, so that a listing in several parts
    /// misses nothing that stays, and shows nothing twice.
    fn list(&self, path: &str, offset: u64, size: u32) -> Vec<u8> {
        let Some(tree) = self.trees.tree(path) else { return Vec::new() };
        let names = tree.list(path).into_iter();
        let mut entries: Vec<(u64, u64, u32, String)> = names
            .filter_map(|name| {
                let below = join(path, &name);
                let mode = mode(&tree.entry(&below)?);
                let number = self.trees.names().number(&below);
                Some((number.saturating_add(2), number, mode, name))
            })
            .collect();
        let own = self.trees.names().number(path);
        let above = self.trees.names().number(parent(path));
        entries.push((1, own, libc::S_IFDIR, ".".to_owned()));
        entries.push((2, above, libc::S_IFDIR, "..".to_owned()));
        entries.sort_unstable();
        let mut listing = Vec::new();
        for (place, number, mode, name) in entries.iter().filter(|entry| entry.0 > offset) {
            if !wire::list(&mut listing, size, *number, *place, *mode, name) {
                break;
            }
        }
        listing
    }
}

/// Whether a thread is one of this process's, or can't be told from one: it has no number here.
fn is_own(thread: u32) -> bool {
    thread == 0 || misc::in_group(std::process::id() as i32, thread as i32)
}

/// Whether an open is for reading, and for writing.
fn access(flags: u32) -> (bool, bool) {
    match flags as i32 & libc::O_ACCMODE {
        libc::O_RDONLY => (true, false),
        libc::O_WRONLY => (false, true),
        _ => (true, true),
    }
}

/// An open file's attribute that is no longer there is ENODEV, as in sysfs.
pub(crate) fn unless_gone(tree: &dyn Tree, path: &str, errno: Errno) -> Errno {
    if errno == Errno::ENOENT && tree.entry(path).is_none() { Errno::ENODEV } else { errno }
}

/// The type of an entry, and its permissions.
fn mode(entry: &Entry) -> u32 {
    match entry {
        Entry::Directory => libc::S_IFDIR | 0o755,
        Entry::Link(_) => libc::S_IFLNK | 0o777,
        Entry::Attribute { permissions, .. } => libc::S_IFREG | permissions & 0o7777,
    }
}

/// How many directories there are in a directory.
fn directories(tree: &dyn Tree, path: &str) -> u32 {
    let names = tree.list(path);
    names.iter().filter(|name| tree.entry(&join(path, name)) == Some(Entry::Directory)).count() as u32
}

fn join(directory: &str, name: &str) -> String {
    format!("{}/{name}", directory.trim_end_matches('/'))
}

fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}
