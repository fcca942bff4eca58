//! The open family.

use std::io;
use std::os::fd::OwnedFd;

use ioctlab_abi::Errno;
use ioctlab_kernel::{Access, FileId, NodeId, Opener};
use rustix::fs::OFlags;

use super::Call;
use crate::isolation::Isolation;
use crate::paths::{self, Named, Place};
use crate::permission::Identity;
use crate::server::State;
use crate::sys::seccomp::Answer;
use crate::trace::Record;
use crate::window;

/// Flags that act at the time of opening only and don't show in `F_GETFL`.
const MOMENTARY: i32 = libc::O_CREAT | libc::O_EXCL | libc::O_NOCTTY | libc::O_TRUNC | libc::O_CLOEXEC;
/// `struct open_how` as of its first version, in bytes.
const OPEN_HOW_SIZE: usize = 24;
/// The largest `open_how` that any kernel takes, in bytes.
const PAGE: usize = 4096;

/// What an open asks for.
struct Request {
    directory: i32,
    path: u64,
    flags: i32,
    /// `openat2`'s restrictions on the way to the file.
    resolve: u64,
}

pub(super) fn open(call: &mut Call<'_>) -> Answer {
    let (path, flags) = (call.argument(0), call.argument(1) as i32);
    open_device(call, &Request { directory: libc::AT_FDCWD, path, flags, resolve: 0 })
}

pub(super) fn creat(call: &mut Call<'_>) -> Answer {
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
    open_device(call, &Request { directory: libc::AT_FDCWD, path: call.argument(0), flags, resolve: 0 })
}

pub(super) fn openat(call: &mut Call<'_>) -> Answer {
    let (directory, path, flags) = (call.argument(0) as i32, call.argument(1), call.argument(2) as i32);
    open_device(call, &Request { directory, path, flags, resolve: 0 })
}

pub(super) fn openat2(call: &mut Call<'_>) -> Answer {
    let (directory, path) = (call.argument(0) as i32, call.argument(1));
    // Whatever is wrong with a `how` is the kernel's to say, before it looks at the path.
    let Ok(size @ OPEN_HOW_SIZE..=PAGE) = usize::try_from(call.argument(3)) else { return Answer::Continue };
    let mut how = vec![0; size];
    if call.memory.read_some(call.argument(2), &mut how) != size {
        return Answer::Continue;
    }
    let (words, _) = how.as_chunks::<8>();
    let [flags, mode, resolve, ..] = words else { return Answer::Continue };
    if how.iter().skip(OPEN_HOW_SIZE).any(|&byte| byte != 0) {
        return Answer::Continue;
    }
    let (flags, mode, resolve) =
        (u64::from_ne_bytes(*flags), u64::from_ne_bytes(*mode), u64::from_ne_bytes(*resolve));
    let known = OFlags::all().bits() as u64 | libc::O_LARGEFILE as u64;
    let creates = flags & (libc::O_CREAT | libc::O_TMPFILE & !libc::O_DIRECTORY) as u64 != 0;
    if flags & !known != 0 || mode & !0o7777 != 0 || mode != 0 && !creates || resolve >= 0x40 {
        return Answer::Continue;
    }
    let with_path = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    if flags & libc::O_PATH as u64 != 0 && flags & !(with_path as u64) != 0 {
        return Answer::Continue;
    }
    open_device(call, &Request { directory, path, flags: flags as i32, resolve })
}

/// Opens a device if that is what the path names; the kernel opens everything else, and says what is wrong with a path.
fn open_device(call: &mut Call<'_>, request: &Request) -> Answer {
    let Some(path) = call.memory.read_string(request.path, paths::PATH_MAX) else { return Answer::Continue };
    if path.is_empty() {
        return Answer::Continue;
    }
    let named = Named {
        thread: call.thread,
        directory: request.directory,
        path: &path,
        follow: request.flags & libc::O_NOFOLLOW == 0,
    };
    let found = match request.resolve {
        0 => paths::find(call.run, &named),
        restrictions => paths::find_restricted(call.run, &named, restrictions),
    };
    let node = match found {
        None => return Answer::Continue,
        Some(Place::Node(node)) => node,
        Some(Place::Descriptor(process, number)) => {
            // Opening a device by way of an open descriptor opens its node once more.
            match call.node_behind(process, number) {
                Some(node) => node,
                None => return Answer::Continue,
            }
        }
        Some(Place::Directory(directory)) => return open_placeholder(call, request, &directory),
        Some(Place::BelowNode) => return Errno::ENOTDIR.into(),
    };
    if call.run.tree.isolation == Isolation::Paths {
        if path.last() == Some(&b'/') || request.flags & libc::O_DIRECTORY != 0 {
            return Errno::ENOTDIR.into();
        }
        if request.flags & libc::O_PATH != 0 {
            // A mere path can't be handed over, and nothing else stands for one.
            return Errno::EOPNOTSUPP.into();
        }
        if request.flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL {
            return Errno::EEXIST.into();
        }
    } else if request.flags & (libc::O_PATH | libc::O_DIRECTORY) != 0
        || request.flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL
    {
        // These don't get as far as the driver; the node itself gives the right answer.
        return Answer::Continue;
    }
    if call.is_traced() {
        call.record = Some(Record::open(&path, request.flags));
    }
    let access = Access::from_flags(request.flags as u32);
    let identity = Identity::of(call.thread);
    if let (Some(identity), Some(file)) = (&identity, call.run.tree.file(node))
        && !identity.may_open(&file.stat, access)
    {
        return Errno::EACCES.into();
    }
    let opener = Opener { rawio: identity.is_some_and(|identity| identity.has_rawio()), ..call.run.opener };
    let opened = {
        let mut state = call.server.lock();
        state.handle_pending_events();
        open_node(&mut state, node, request.flags, opener)
    };
    match opened {
        Ok((file, client)) => give(call, file, client, request.flags),
        Err(errno) => errno.into(),
    }
}

fn open_node(
    state: &mut State,
    node: NodeId,
    flags: i32,
    opener: Opener,
) -> Result<(FileId, OwnedFd), Errno> {
    let access = Access::from_flags(flags as u32);
    let shown = (flags & !(MOMENTARY | libc::O_ACCMODE | libc::O_NONBLOCK | libc::O_APPEND)) as u32;
    let file = state.kernel.open(node, access, shown, opener)?;
    if flags & libc::O_DIRECT != 0 {
        // The VFS finds out after the driver's open that a character device can't do that.
        state.release(file);
        return Err(Errno::EINVAL);
    }
    back(state, file, OFlags::from_bits_retain(flags as u32) & (OFlags::NONBLOCK | OFlags::APPEND))
}

/// Gives an open file what stands behind its descriptors, with these status flags; releases it if that can't be had.
pub(super) fn back(state: &mut State, file: FileId, status: OFlags) -> Result<(FileId, OwnedFd), Errno> {
    match state.back(file, status) {
        Ok(client) => Ok((file, client)),
        Err(error) => {
            state.release(file);
            Err(error.raw_os_error().map_or(Errno::ENOMEM, Errno::from_raw))
        }
    }
}

/// Gives the caller its descriptor, and with it the answer.
pub(super) fn give(call: &Call<'_>, file: FileId, client: OwnedFd, flags: i32) -> Answer {
    match add_descriptor(call, file, &client, flags & libc::O_CLOEXEC != 0, 0) {
        // From here on the caller alone holds the client's end, and its last close is seen as a hang-up.
        Ok(number) => Answer::Given(number),
        Err(error) => {
            call.server.lock().release(file);
            error.raw_os_error().map_or(Errno::EMFILE, Errno::from_raw).into()
        }
    }
}

/// Adds a descriptor for `file` to the caller's table, in the window if there is room at or above `minimum`, and answers
/// with its number.
///
/// The caller does its part of that itself, so the lab is not locked meanwhile: somebody may have frozen it.
///
/// # Errors
/// `EMFILE` if the caller's limit is reached; `ENOENT` if the caller is gone.
pub(super) fn add_descriptor(
    call: &Call<'_>,
    file: FileId,
    client: &OwnedFd,
    close_on_exec: bool,
    minimum: u32,
) -> io::Result<u32> {
    let (group, free) = {
        let mut state = call.server.lock();
        state.heard_of(call.thread);
        let group = state.group(call.thread)?;
        let is_free = |place: &usize| {
            let number = window::FIRST + *place as u32;
            // A process with very many files may have some of its own in the window.
            number >= minimum
                && rustix::fs::readlink(format!("/proc/{}/fd/{number}", call.thread), Vec::new()).is_err()
        };
        let free = state.processes.free_places(group).find(is_free);
        if let Some(place) = free {
            state.processes.doubt_everywhere(place);
        }
        (group, free)
    };
    if let Some(place) = free {
        let number = window::FIRST + place as u32;
        match call.listener.add_and_answer(call.id, client, Some(number), close_on_exec) {
            Ok(_) => {
                call.server.lock().processes.set(group, place, file);
                return Ok(number);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Err(error),
            // Beyond the caller's limit of descriptors: the lowest free number may do.
            Err(_) => {}
        }
    }
    call.listener.add_and_answer(call.id, client, None, close_on_exec)
}

/// With trapped paths: opens what stands for a directory. With `O_PATH` it is opened for reading, as mere paths can't be
/// handed over.
fn open_placeholder(call: &Call<'_>, request: &Request, path: &str) -> Answer {
    let real = call.run.tree.root.join(path.trim_start_matches('/'));
    let flags = OFlags::from_bits_retain(request.flags as u32) - OFlags::PATH;
    match rustix::fs::open(&real, flags | OFlags::CLOEXEC, rustix::fs::Mode::empty()) {
        Ok(file) => {
            match call.listener.add_and_answer(call.id, file, None, flags.contains(OFlags::CLOEXEC)) {
                Ok(number) => Answer::Given(number),
                Err(error) => error.raw_os_error().map_or(Errno::EMFILE, Errno::from_raw).into(),
            }
        }
        Err(errno) => Errno::from_raw(errno.raw_os_error()).into(),
    }
}
