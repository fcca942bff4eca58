//! Starting a run's program.
//!
//! The order matters. The process that will serve (or hand the listener over to who serves) enters the namespace first,
//! while it has one thread; it then forks, so that both see the same mounts; the child installs the filter, sends the
//! listener back, and execs. Its exec is trapped already: the parent has to serve before it waits for anything.

use std::ffi::{CString, OsString};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::pipe::PipeFlags;

use crate::isolation::Isolation;
use crate::sys::{process, seccomp};
use crate::{filter, signals};

/// A program that is about to run under a filter.
pub struct Started {
    /// Its process.
    pub pid: i32,
    listener: Option<OwnedFd>,
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

/// Forks a process that runs `command` under the filter for `isolation`. Its calls wait until they are served.
///
/// # Errors
/// If the process can't be made or refuses the filter.
pub fn start(command: &[OsString], isolation: Isolation) -> Result<Started, LaunchError> {
    let other = LaunchError::Other;
    let filter = filter::build(isolation).map_err(other)?;
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
        let error = match seccomp::install(&filter).and_then(|listener| send_listener(&theirs, listener)) {
            Err(error) => (FILTER_FAILED, error),
            Ok(()) => {
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
    match receive_listener(&ours) {
        Ok(listener) => Ok(Started { pid, listener: Some(listener), outcome }),
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

    /// Waits until the program runs. Its exec is trapped, so its calls have to be served by then.
    ///
    /// # Errors
    /// [`LaunchError::Exec`] if there is no such program, or it can't be executed.
    pub fn wait_for_exec(&mut self) -> Result<(), LaunchError> {
        read_outcome(&mut self.outcome)
    }
}

fn read_outcome(outcome: &mut std::fs::File) -> Result<(), LaunchError> {
    let mut report = Vec::new();
    outcome.read_to_end(&mut report).map_err(LaunchError::Other)?;
    match *report {
        [] => Ok(()),
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

fn send_listener(socket: &OwnedFd, listener: OwnedFd) -> io::Result<()> {
    send_with(socket, b"l", &[listener.as_fd()])
}

fn receive_listener(socket: &OwnedFd) -> io::Result<OwnedFd> {
    let (_, mut descriptors) = receive_with(socket, &mut [0])?;
    descriptors.pop().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
