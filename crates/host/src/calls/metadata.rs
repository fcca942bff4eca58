//! stat, readlink, access: what a device's descriptor or node says of itself.

use ioctlab_abi::Errno;
use ioctlab_kernel::{NodeId, UserMemory, UserPtr};

use super::Call;
use crate::isolation::{Isolation, NodeFile};
use crate::paths::{self, Named, Place};
use crate::sys::seccomp::Answer;

/// `S_IFCHR` and `S_IFREG`.
const CHARACTER_DEVICE: u32 = 0o020_000;
const REGULAR_FILE: u32 = 0o100_000;
/// The mode of a file that is in no file system: it has no type.
const ANONYMOUS_MODE: u32 = 0o600;
/// `STATX_BASIC_STATS`.
const BASIC_STATS: u32 = 0x7ff;

pub(super) fn fstat(call: &mut Call<'_>) -> Answer {
    match node_of_descriptor(call, call.argument(0)) {
        Some(node) => give_stat(call, node, call.argument(1)),
        None => Answer::Continue,
    }
}

/// `fstat` of 32-bit callers.
pub(super) fn fstat64(call: &mut Call<'_>) -> Answer {
    let Some(node) = node_of_descriptor(call, call.argument(0)) else { return Answer::Continue };
    let Some(file) = call.run.tree.file(node) else { return Answer::Continue };
    let bytes = stat64_bytes(&file.stat, device_mode(file), device_number(file));
    copy_out(call, call.argument(1), &bytes)
}

pub(super) fn stat(call: &mut Call<'_>) -> Answer {
    let follow = call.number == libc::SYS_stat;
    match node_of_path(call, libc::AT_FDCWD, call.argument(0), follow) {
        Lookup::Node(node) => give_stat(call, node, call.argument(1)),
        Lookup::Directory(path) => give_directory(call, &path, call.argument(1)),
        Lookup::Fails(errno) => errno.into(),
        Lookup::Elsewhere => Answer::Continue,
    }
}

pub(super) fn newfstatat(call: &mut Call<'_>) -> Answer {
    let flags = call.argument(3) as i32;
    if is_empty_path(call, call.argument(1), flags) {
        return match node_of_descriptor(call, call.argument(0)) {
            Some(node) => give_stat(call, node, call.argument(2)),
            None => Answer::Continue,
        };
    }
    let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
    match node_of_path(call, call.argument(0) as i32, call.argument(1), follow) {
        Lookup::Node(node) => give_stat(call, node, call.argument(2)),
        Lookup::Directory(path) => give_directory(call, &path, call.argument(2)),
        Lookup::Fails(errno) => errno.into(),
        Lookup::Elsewhere => Answer::Continue,
    }
}

pub(super) fn statx(call: &mut Call<'_>) -> Answer {
    let flags = call.argument(2) as i32;
    if is_empty_path(call, call.argument(1), flags) {
        return match node_of_descriptor(call, call.argument(0)) {
            Some(node) => give_statx(call, node),
            None => Answer::Continue,
        };
    }
    let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
    match node_of_path(call, call.argument(0) as i32, call.argument(1), follow) {
        Lookup::Node(node) => give_statx(call, node),
        Lookup::Directory(path) => {
            let real = call.run.tree.root.join(path.trim_start_matches('/'));
            match rustix::fs::stat(&real) {
                Ok(stat) => copy_out(call, call.argument(4), &statx_bytes(&stat, stat.st_mode, (0, 0))),
                Err(errno) => Errno::from_raw(errno.raw_os_error()).into(),
            }
        }
        Lookup::Fails(errno) => errno.into(),
        Lookup::Elsewhere => Answer::Continue,
    }
}

/// With trapped paths: permissions of a node are those of its placeholder, and so is the answer.
pub(super) fn access(call: &mut Call<'_>) -> Answer {
    let (directory, path, mode) = match call.number {
        libc::SYS_access => (libc::AT_FDCWD, call.argument(0), call.argument(1)),
        _ => (call.argument(0) as i32, call.argument(1), call.argument(2)),
    };
    let path = match node_of_path(call, directory, path, true) {
        Lookup::Node(node) => call.run.tree.file(node).map(|f| f.path.clone()).unwrap_or_default(),
        Lookup::Directory(path) => path,
        Lookup::Fails(errno) => return errno.into(),
        Lookup::Elsewhere => return Answer::Continue,
    };
    let real = call.run.tree.root.join(path.trim_start_matches('/'));
    match rustix::fs::access(&real, rustix::fs::Access::from_bits_truncate(mode as u32)) {
        Ok(()) => Answer::Value(0),
        Err(errno) => Errno::from_raw(errno.raw_os_error()).into(),
    }
}

/// Nodes have no extended attributes, as in devtmpfs.
pub(super) fn extended_attributes(call: &mut Call<'_>) -> Answer {
    let follow = matches!(call.number, libc::SYS_getxattr | libc::SYS_listxattr);
    let lists = matches!(call.number, libc::SYS_listxattr | libc::SYS_llistxattr);
    match node_of_path(call, libc::AT_FDCWD, call.argument(0), follow) {
        Lookup::Node(_) | Lookup::Directory(_) if lists => Answer::Value(0),
        Lookup::Node(_) | Lookup::Directory(_) => Errno::from_raw(libc::ENODATA).into(),
        Lookup::Fails(errno) => errno.into(),
        Lookup::Elsewhere => Answer::Continue,
    }
}

/// `/proc/PID/fd/N` of a device reads as the node's path, as it would if the node had been opened natively.
pub(super) fn readlink(call: &mut Call<'_>) -> Answer {
    let (directory, path, buffer, size) = match call.number {
        libc::SYS_readlink => (libc::AT_FDCWD, call.argument(0), call.argument(1), call.argument(2) as i32),
        _ => (call.argument(0) as i32, call.argument(1), call.argument(2), call.argument(3) as i32),
    };
    let Ok(size @ 1..) = usize::try_from(size) else { return Answer::Continue };
    let Some(path) = call.memory.read_string(path, paths::PATH_MAX) else { return Answer::Continue };
    if call.run.tree.isolation == Isolation::Paths {
        let named = Named { thread: call.thread, directory, path: &path, follow: false };
        match paths::find(call.run, &named) {
            // Neither is a symbolic link.
            Some(Place::Node(_) | Place::Directory(_)) => return Errno::EINVAL.into(),
            Some(Place::BelowNode) => return Errno::ENOTDIR.into(),
            Some(Place::Descriptor(..)) | None => {}
        }
    }
    // The last component of every spelling is a number; no other path is worth the work.
    if !path.last().is_some_and(u8::is_ascii_digit) {
        return Answer::Continue;
    }
    let named = Named { thread: call.thread, directory, path: &path, follow: false };
    let Some(whole) = paths::absolute(&named) else { return Answer::Continue };
    let Some((process, number)) =
        std::str::from_utf8(&whole).ok().and_then(|path| paths::descriptor_of(path, call.thread))
    else {
        return Answer::Continue;
    };
    let mut state = call.server.lock();
    let Some(file) = call.device_of(&mut state, process, number) else { return Answer::Continue };
    let Some(target) =
        state.kernel.file(file).and_then(|open| state.kernel.node(open.node)).map(|n| n.path.clone())
    else {
        return Answer::Continue;
    };
    drop(state);
    let target = target.as_bytes().get(..size).unwrap_or(target.as_bytes());
    match call.memory.write(UserPtr(buffer), target) {
        Ok(()) => Answer::Value(target.len() as i64),
        Err(_) => Errno::EFAULT.into(),
    }
}

enum Lookup {
    Node(NodeId),
    Directory(String),
    Fails(Errno),
    Elsewhere,
}

fn node_of_path(call: &mut Call<'_>, directory: i32, path: u64, follow: bool) -> Lookup {
    if call.run.tree.isolation == Isolation::Namespace {
        return Lookup::Elsewhere;
    }
    let Some(path) = call.memory.read_string(path, paths::PATH_MAX) else { return Lookup::Elsewhere };
    if path.is_empty() {
        return Lookup::Elsewhere;
    }
    match paths::find(call.run, &Named { thread: call.thread, directory, path: &path, follow }) {
        Some(Place::Node(node)) => Lookup::Node(node),
        Some(Place::Directory(path)) => Lookup::Directory(path),
        Some(Place::Descriptor(process, number)) => {
            call.node_behind(process, number).map_or(Lookup::Elsewhere, Lookup::Node)
        }
        Some(Place::BelowNode) => Lookup::Fails(Errno::ENOTDIR),
        None => Lookup::Elsewhere,
    }
}

fn node_of_descriptor(call: &mut Call<'_>, descriptor: u64) -> Option<NodeId> {
    let mut state = call.server.lock();
    let file = call.device(&mut state, descriptor)?;
    state.kernel.file(file).map(|open| open.node)
}

/// Whether the call is about the descriptor itself: an empty path, or none at all (Linux 6.11).
fn is_empty_path(call: &mut Call<'_>, path: u64, flags: i32) -> bool {
    let mut first = [0];
    flags & libc::AT_EMPTY_PATH != 0
        && (path == 0 || call.memory.read_some(path, &mut first) == 1 && first == [0])
}

fn give_stat(call: &mut Call<'_>, node: NodeId, to: u64) -> Answer {
    let Some(file) = call.run.tree.file(node) else {
        return match anonymous() {
            Some(stat) => copy_out(call, to, &stat_bytes(&stat, ANONYMOUS_MODE, 0)),
            None => Answer::Continue,
        };
    };
    let bytes = stat_bytes(&file.stat, device_mode(file), device_number(file));
    copy_out(call, to, &bytes)
}

fn give_directory(call: &mut Call<'_>, path: &str, to: u64) -> Answer {
    let real = call.run.tree.root.join(path.trim_start_matches('/'));
    match rustix::fs::stat(&real) {
        Ok(stat) => copy_out(call, to, &stat_bytes(&stat, stat.st_mode, 0)),
        Err(errno) => Errno::from_raw(errno.raw_os_error()).into(),
    }
}

fn give_statx(call: &mut Call<'_>, node: NodeId) -> Answer {
    let Some(file) = call.run.tree.file(node) else {
        return match anonymous() {
            Some(stat) => copy_out(call, call.argument(4), &statx_bytes(&stat, ANONYMOUS_MODE, (0, 0))),
            None => Answer::Continue,
        };
    };
    let bytes =
        statx_bytes(&file.stat, device_mode(file), file.number.map_or((0, 0), |n| (n.major, n.minor)));
    copy_out(call, call.argument(4), &bytes)
}

/// What `stat` says of a file that is in no file system: an eventfd of the server's own is such a one, too.
fn anonymous() -> Option<rustix::fs::Stat> {
    let anonymous = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).ok()?;
    rustix::fs::fstat(&anonymous).ok()
}

fn device_mode(file: &NodeFile) -> u32 {
    let kind = if file.number.is_some() { CHARACTER_DEVICE } else { REGULAR_FILE };
    kind | file.stat.st_mode & 0o7777
}

fn device_number(file: &NodeFile) -> u64 {
    file.number.map_or(0, |number| rustix::fs::makedev(number.major, number.minor))
}

fn copy_out(call: &mut Call<'_>, to: u64, bytes: &[u8]) -> Answer {
    match call.memory.write(UserPtr(to), bytes) {
        Ok(()) => Answer::Value(0),
        Err(_) => Errno::EFAULT.into(),
    }
}

/// `struct stat` as x86-64 lays it out.
fn stat_bytes(stat: &rustix::fs::Stat, mode: u32, device: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(144);
    for word in [stat.st_dev, stat.st_ino, stat.st_nlink] {
        bytes.extend(word.to_ne_bytes());
    }
    for half in [mode, stat.st_uid, stat.st_gid, 0] {
        bytes.extend(half.to_ne_bytes());
    }
    bytes.extend(device.to_ne_bytes());
    for word in [stat.st_size, stat.st_blksize, stat.st_blocks] {
        bytes.extend(word.to_ne_bytes());
    }
    for (seconds, nanoseconds) in times(stat) {
        bytes.extend(seconds.to_ne_bytes());
        bytes.extend(u64::from(nanoseconds).to_ne_bytes());
    }
    bytes.resize(144, 0);
    bytes
}

/// `struct stat64` as i386 lays it out: 96 bytes, without the padding that other architectures have.
fn stat64_bytes(stat: &rustix::fs::Stat, mode: u32, device: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(96);
    bytes.extend(stat.st_dev.to_ne_bytes());
    for half in [0, stat.st_ino as u32, mode, stat.st_nlink as u32, stat.st_uid, stat.st_gid] {
        bytes.extend(half.to_ne_bytes());
    }
    bytes.extend(device.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend(stat.st_size.to_ne_bytes());
    bytes.extend((stat.st_blksize as u32).to_ne_bytes());
    bytes.extend(stat.st_blocks.to_ne_bytes());
    for (seconds, nanoseconds) in times(stat) {
        bytes.extend((seconds as u32).to_ne_bytes());
        bytes.extend(nanoseconds.to_ne_bytes());
    }
    bytes.extend(stat.st_ino.to_ne_bytes());
    bytes
}

/// `struct statx`.
fn statx_bytes(stat: &rustix::fs::Stat, mode: u32, (major, minor): (u32, u32)) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend(BASIC_STATS.to_ne_bytes());
    bytes.extend((stat.st_blksize as u32).to_ne_bytes());
    bytes.extend(0u64.to_ne_bytes()); // attributes
    for half in [stat.st_nlink as u32, stat.st_uid, stat.st_gid, mode] {
        bytes.extend(half.to_ne_bytes());
    }
    for word in [stat.st_ino, stat.st_size as u64, stat.st_blocks as u64, 0] {
        bytes.extend(word.to_ne_bytes());
    }
    let [accessed, modified, changed] = times(stat);
    for (seconds, nanoseconds) in [accessed, (0, 0), changed, modified] {
        bytes.extend(seconds.to_ne_bytes());
        bytes.extend(u64::from(nanoseconds).to_ne_bytes());
    }
    let on = stat.st_dev;
    for half in [major, minor, rustix::fs::major(on), rustix::fs::minor(on)] {
        bytes.extend(half.to_ne_bytes());
    }
    bytes.resize(256, 0);
    bytes
}

fn times(stat: &rustix::fs::Stat) -> [(i64, u32); 3] {
    [
        (stat.st_atime, stat.st_atime_nsec as u32),
        (stat.st_mtime, stat.st_mtime_nsec as u32),
        (stat.st_ctime, stat.st_ctime_nsec as u32),
    ]
}
