//! Starting a run's program.
//!
//! The order matters. The process that will serve (or hand the listener over to who serves) enters the namespace first,
//! while it has one thread; it then forks, so that both see the same mounts; the child installs the filter, sends the
//! listener back, and execs. Its exec is trapped already: the parent has to serve before it waits for anything. If there are
//! trees to be shown, their FUSE connection comes with the listener, and before it execs the child waits to see them.

use std::ffi::{CString, OsString};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use ioctlab_kernel::Node;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::pipe::PipeFlags;

use crate::isolation::sysfs::{self, NewSys};
use crate::isolation::{Isolation, Refusal};
use crate::sys::{process, seccomp};
use crate::{filter, signals};

/// A program that is about to run under a filter.
pub struct Started {
    /// Its process.
    pub pid: i32,
    listener: Option<OwnedFd>,
    trees: Option<OwnedFd>,
    outcome: std::fs::File,
}

/// Why a program could not be started.
#[derive(Debug)]
pub enum LaunchError {
    /// The filter was refused. `EBUSY`: this process runs under such a filter already.
    Filter(io::Error),
    /// The program could not be executed.
    Exec(io::Error),
    /// Something else went wrong in between.
    Other(io::Error),
}

impl std::fmt::Display for LaunchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Filter(error) => write!(f, "installing the seccomp filter: {error}"),
            Self::Exec(error) | Self::Other(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for LaunchError {}

/// What the child reports on the pipe when it fails; nothing if it didn't.
const FILTER_FAILED: u8 = 1;
const EXEC_FAILED: u8 = 2;
/// It goes on without the trees: the step that was refused follows, after its length.
const NO_TREES: u8 = 3;

/// Forks a process that runs `command` under the filter for `isolation` and a lab with these nodes. Its calls wait until they are
/// served. In a namespace it sees the `trees`, directories in `/sys`, as soon as they are served; with trapped paths it never does.
///
/// # Errors
/// If the process can't be made or refuses the filter.
pub fn start(
    command: &[OsString],
    isolation: Isolation,
    nodes: &[Node],
    trees: &[String],
) -> Result<Started, LaunchError> {
    let other = LaunchError::Other;
    let filter = filter::build(isolation, nodes).map_err(other)?;
    let arguments: Vec<CString> = command
        .iter()
        .map(|argument| CString::new(argument.clone().into_vec()).map_err(io::Error::from))
        .collect::<io::Result<_>>()
        .map_err(LaunchError::Exec)?;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|e| other(e.into()))?;
    let (outcome, report) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| other(e.into()))?;
    let mask = signals::prepare();
    let pid = process::fork(|| {
        let shows_trees = isolation == Isolation::Namespace && !trees.is_empty();
        let (new_sys, connection) = prepare_trees(trees, shows_trees, &report);
        let sent = seccomp::install(&filter).and_then(|listener| send_start(&theirs, listener, connection));
        let error = match sent {
            Err(error) => (FILTER_FAILED, error),
            Ok(()) => {
                show_trees(new_sys, &report);
                signals::reset(&mask);
                (EXEC_FAILED, process::exec(&arguments))
            }
        };
        let [a, b, c, d] = error.1.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes();
        let _ = rustix::io::write(&report, &[error.0, a, b, c, d]);
    })
    .map_err(other)?;
    drop(theirs);
    drop(report);
    let mut outcome = std::fs::File::from(outcome);
    match receive_start(&ours) {
        Ok((listener, trees)) => Ok(Started { pid, listener: Some(listener), trees, outcome }),
        Err(error) => Err(read_outcome(&mut outcome).err().unwrap_or(other(error))),
    }
}

impl Started {
    /// Where its trapped calls arrive. To be held by nobody but who serves them: as long as anybody holds it, calls wait.
    ///
    /// # Errors
    /// If it was taken before.
    pub fn take_listener(&mut self) -> io::Result<OwnedFd> {
        self.listener.take().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Where what is asked of the trees arrives, if there are any that can be shown. To be held by nobody but who serves them.
    pub fn take_trees(&mut self) -> Option<OwnedFd> {
        self.trees.take()
    }

    /// Waits until the program runs, with its trees or, for the reason that is returned, without. Its exec is trapped, so its
    /// calls have to be served by then, and the trees.
    ///
    /// # Errors
    /// [`LaunchError::Exec`] if there is no such program, or it can't be executed.
    pub fn wait_for_exec(&mut self) -> Result<Option<String>, LaunchError> {
        read_outcome(&mut self.outcome)
    }
}

/// Prepares to show trees; says so if that is refused.
fn prepare_trees(roots: &[String], wanted: bool, report: &OwnedFd) -> (Option<NewSys>, Option<OwnedFd>) {
    if !wanted {
        return (None, None);
    }
    match sysfs::prepare(roots) {
        Ok((new, connection)) => (Some(new), Some(connection)),
        Err(refusal) => {
            report_refusal(report, &refusal);
            (None, None)
        }
    }
}

fn show_trees(new: Option<NewSys>, report: &OwnedFd) {
    if let Some(refusal) = new.and_then(|new| new.show().err()) {
        report_refusal(report, &refusal);
    }
}

fn report_refusal(report: &OwnedFd, refusal: &Refusal) {
    let text = refusal.to_string();
    let length = text.len().min(usize::from(u8::MAX));
    let mut message = vec![NO_TREES, length as u8];
    message.extend_from_slice(text.as_bytes().get(..length).unwrap_or_default());
    // Nobody is left to be told if this fails.
    let _ = rustix::io::write(report, &message);
}

/// Reads what the child has to say of its start; returns why there are no trees, if so.
fn read_outcome(outcome: &mut std::fs::File) -> Result<Option<String>, LaunchError> {
    let mut report = Vec::new();
    outcome.read_to_end(&mut report).map_err(LaunchError::Other)?;
    let mut end = &*report;
    let mut refusal = None;
    if let [NO_TREES, length, rest @ ..] = end
        && let Some((text, rest)) = rest.split_at_checked(usize::from(*length))
    {
        refusal = Some(String::from_utf8_lossy(text).into_owned());
        end = rest;
    }
    match *end {
        [] => Ok(refusal),
        [FILTER_FAILED, a, b, c, d] => Err(LaunchError::Filter(error(a, b, c, d))),
        [EXEC_FAILED, a, b, c, d] => Err(LaunchError::Exec(error(a, b, c, d))),
        _ => Err(LaunchError::Other(io::ErrorKind::InvalidData.into())),
    }
}

fn error(a: u8, b: u8, c: u8, d: u8) -> io::Error {
    io::Error::from_raw_os_error(i32::from_ne_bytes([a, b, c, d]))
}

/// Sends descriptors along with a message.
///
/// # Errors
/// As sendmsg's.
pub fn send_with(
    socket: impl AsFd,
    message: &[u8],
    descriptors: &[std::os::fd::BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    rustix::net::sendmsg(socket, &[io::IoSlice::new(message)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a message of at most `message.len()` bytes and what descriptors came along; returns its length.
///
/// # Errors
/// As recvmsg's.
pub fn receive_with(socket: impl AsFd, message: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket,
        &mut [io::IoSliceMut::new(message)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut descriptors = Vec::new();
    for ancillary in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = ancillary {
            descriptors.extend(rights);
        }
    }
    Ok((received.bytes, descriptors))
}

fn send_start(socket: &OwnedFd, listener: OwnedFd, trees: Option<OwnedFd>) -> io::Result<()> {
    let mut descriptors = vec![listener.as_fd()];
    descriptors.extend(trees.as_ref().map(OwnedFd::as_fd));
    send_with(socket, b"l", &descriptors)
}

fn receive_start(socket: &OwnedFd) -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    let (_, descriptors) = receive_with(socket, &mut [0])?;
    let mut descriptors = descriptors.into_iter();
    let listener = descriptors.next().ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((listener, descriptors.next()))
}
