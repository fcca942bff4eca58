//! Talking to a shared lab's server.
//!
//! The server listens at an abstract Unix address, which goes when it goes: nothing is left behind by a server that was
//! killed. Messages are lines of text in one packet; the answer is `ok`, what was asked for, or `error` and a reason.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::Duration;

use ioctlab_host::isolation::Isolation;
use ioctlab_host::{Owner, launch};
use ioctlab_kernel::{Behind, DeviceNumber, Node};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType};

use crate::run::{eprint, plain};

/// What a lab's description says of a node whose files are read and written at positions; nothing else matters to a run.
pub(crate) const POSITIONED: &str = "positioned";

/// The longest message.
pub(crate) const MESSAGE_MAX: usize = 65_536;

/// A connection to a lab's server.
pub(crate) struct Connection {
    socket: OwnedFd,
    name: String,
}

/// What a run has to know of a lab.
pub(crate) struct Description {
    /// Its device nodes.
    pub(crate) nodes: Vec<Node>,
    /// Its directories in `/sys`.
    pub(crate) trees: Vec<String>,
    /// The domain to run as.
    pub(crate) domain: u16,
}

/// The address of the lab of this name, of this user.
pub(crate) fn address(name: &str) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new_abstract_name(format!("{}{name}", prefix()).as_bytes())?)
}

fn prefix() -> String {
    format!("ioctlab/{}/", rustix::process::geteuid().as_raw())
}

/// A socket for either side.
pub(crate) fn socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Connects to a lab.
///
/// # Errors
/// A sentence that says that there is no such lab, or what else is wrong.
pub(crate) fn connect(name: &str) -> Result<Connection, String> {
    let failed = |error: io::Error| format!("connecting to the lab `{name}`: {}", plain(&error));
    let socket = socket().map_err(failed)?;
    let address = address(name).map_err(failed)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => {}
        Err(rustix::io::Errno::CONNREFUSED) => {
            return Err(format!(
                "no lab `{name}` is up; `ioctlab up {name}` brings one up, `ioctlab list` lists them"
            ));
        }
        Err(errno) => return Err(failed(errno.into())),
    }
    if !is_own(&socket) {
        return Err(format!("the lab `{name}` is another user's"));
    }
    Ok(Connection { socket, name: name.to_owned() })
}

/// Whether the other side is this user. Anybody may bind or connect to an abstract address.
pub(crate) fn is_own(socket: &OwnedFd) -> bool {
    rustix::net::sockopt::socket_peercred(socket).is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

/// Who the other side is, as it was when it connected.
///
/// # Errors
/// None for a connection.
pub(crate) fn peer(socket: &OwnedFd) -> io::Result<Owner> {
    let peer = rustix::net::sockopt::socket_peercred(socket)?;
    Ok(Owner { user: peer.uid.as_raw(), group: peer.gid.as_raw() })
}

/// The names of the labs that are up.
pub(crate) fn names() -> io::Result<Vec<String>> {
    let marker = format!("@{}", prefix());
    let table = fs::read_to_string("/proc/net/unix")?;
    let mut names: Vec<String> = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(7)?.strip_prefix(&marker).map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Waits until nothing is left of a lab that has been taken down, so that its name is free. It takes the kernel a moment.
pub(crate) fn wait_until_gone(name: &str) {
    for _ in 0..500 {
        if !names().is_ok_and(|names| names.iter().any(|other| other == name)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Connection {
    /// Sends a request and returns the answer.
    ///
    /// # Errors
    /// The server's reason, or that it is gone.
    pub(crate) fn ask(&self, request: &str) -> Result<String, String> {
        rustix::net::send(&self.socket, request.as_bytes(), SendFlags::NOSIGNAL).map_err(|_| self.gone())?;
        self.answer()
    }

    /// What the lab has, and the domain to run as.
    ///
    /// # Errors
    /// If the lab has no such domain.
    pub(crate) fn describe(&self, domain: Option<u16>) -> Result<Description, String> {
        let request = domain.map_or("describe".to_owned(), |domain| format!("describe {domain}"));
        let answer = self.ask(&request)?;
        let mut description = Description { nodes: Vec::new(), trees: Vec::new(), domain: 0 };
        for line in answer.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match *words {
                ["domain", id] => description.domain = id.parse().map_err(|_| self.confused())?,
                ["tree", root] => description.trees.push(root.to_owned()),
                ["node", number, presence, behind, permissions, path] => description.nodes.push(Node {
                    path: path.to_owned(),
                    hidden: presence == "hidden",
                    compat: false,
                    number: parse_number(number).ok_or_else(|| self.confused())?,
                    permissions: permissions.parse().map_err(|_| self.confused())?,
                    behind: if behind == POSITIONED { Behind::Addressed } else { Behind::Stream },
                    // The server knows which subsystem serves it.
                    subsystem: 0,
                    device: 0,
                }),
                _ => return Err(self.confused()),
            }
        }
        Ok(description)
    }

    /// Has the server serve a run: its listener, and the connection of its trees if it shows any.
    ///
    /// # Errors
    /// The server's reason.
    pub(crate) fn attach(
        &self,
        domain: u16,
        isolation: Isolation,
        root: &Path,
        pid: i32,
        served: &[OwnedFd],
    ) -> Result<(), String> {
        let how = match isolation {
            Isolation::Namespace => "namespace",
            Isolation::Paths => "paths",
        };
        let request = format!("attach {domain} {how} {pid} {}", root.display());
        let served: Vec<BorrowedFd<'_>> = served.iter().map(AsFd::as_fd).collect();
        launch::send_with(&self.socket, request.as_bytes(), &served).map_err(|_| self.gone())?;
        self.answer().map(drop)
    }

    fn answer(&self) -> Result<String, String> {
        let mut buffer = vec![0; MESSAGE_MAX];
        let (_, length) =
            rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::empty()).map_err(|_| self.gone())?;
        let answer = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
        match answer.split_once('\n') {
            Some(("ok", rest)) => Ok(rest.to_owned()),
            Some(("error", reason)) => Err(reason.to_owned()),
            _ => Err(self.gone()),
        }
    }

    fn gone(&self) -> String {
        format!("the server of the lab `{}` is gone", self.name)
    }

    fn confused(&self) -> String {
        format!("the server of the lab `{}` is of another version of ioctlab", self.name)
    }
}

/// A node's number in a lab's description: `MAJOR:MINOR`, or `file` for a regular file. `None` if it is neither.
fn parse_number(text: &str) -> Option<Option<DeviceNumber>> {
    if text == "file" {
        return Some(None);
    }
    let (major, minor) = text.split_once(':')?;
    Some(Some(DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? }))
}

/// Says so if the server goes away while a program runs; stops watching when dropped.
pub(crate) struct Watch {
    socket: OwnedFd,
    ending: Arc<AtomicBool>,
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

/// How long a server has to say that it is there. One that is stopped says nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// Starts watching a connection's server. Without a thread for it, nothing is said.
pub(crate) fn watch(connection: Connection) -> Option<Watch> {
    let socket = connection.socket.try_clone().ok()?;
    let ending = Arc::new(AtomicBool::new(false));
    let expected = Arc::clone(&ending);
    let (end, ended) = std::sync::mpsc::channel();
    let watch = move || {
        // The server says nothing unless it is asked: what comes is its end, or its answer as watching ends.
        let heard = rustix::net::recv(&connection.socket, &mut [0u8; 1], RecvFlags::empty());
        let is_there = matches!(heard, Ok((_, 1..)));
        if !is_there && !expected.load(Ordering::Relaxed) {
            eprint(&format!("{}: device calls and opens fail from now on", connection.gone()));
        }
        // Nobody waits for it if the program goes on without a server.
        let _ = end.send(());
    };
    let thread = std::thread::Builder::new().spawn(watch).ok();
    Some(Watch { socket, ending, ended, thread })
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The program may have ended because its server did, just now: only the server's answer says that it didn't.
        let _ = rustix::net::send(&self.socket, b"status", SendFlags::NOSIGNAL);
        if self.ended.recv_timeout(PATIENCE).is_err() {
            self.ending.store(true, Ordering::Relaxed);
            let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
