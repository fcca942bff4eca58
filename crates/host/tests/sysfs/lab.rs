//! A lab with a tree and nothing else, which runs a program; in a process of its own, that has one thread as it starts.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use ioctlab_host::isolation::{self, Isolation};
use ioctlab_host::signals::{self, Change};
use ioctlab_host::{Memory, Owner, Run, Server, Trees, launch};
use ioctlab_kernel::{Kernel, Opener, Tree};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::fake::Fake;

/// The first argument of a process that runs the rest in a lab of its own.
pub(crate) const PRIVATE: &str = "in-a-lab-of-its-own";
/// ... in a lab that it serves itself, while the run is another process.
pub(crate) const SHARED: &str = "in-a-shared-lab";
/// ... in a lab without trees.
pub(crate) const BARE: &str = "in-a-lab-without-trees";
/// A shared lab's run. Its standard input leads to the server.
const ATTACHED: &str = "attached";

/// Is such a process, if this is to be one; returns its exit status.
pub(crate) fn main(arguments: &[OsString]) -> Option<i32> {
    let (how, command) = arguments.split_first()?;
    match how.to_str()? {
        PRIVATE => Some(run_private(trees(), command)),
        BARE => Some(run_private(Trees::new(Vec::new()).into(), command)),
        SHARED => Some(serve_shared(command)),
        ATTACHED => Some(attach(command)),
        _ => None,
    }
}

fn trees() -> Arc<Trees> {
    let tree: Arc<dyn Tree> = Arc::new(Fake::new());
    Arc::new(Trees::new(vec![tree]))
}

fn server() -> Arc<Server> {
    let server = Server::new(Kernel::new(Vec::new(), Vec::new()), &Memory::new(), None).unwrap();
    server.watch().unwrap();
    server
}

fn run(root: &str, same_root: bool) -> Run {
    let tree = isolation::Tree::new(Isolation::Namespace, PathBuf::from("/"), root, &[]).unwrap();
    Run::new(Opener { domain: 0, rawio: false }, tree, same_root)
}

fn run_private(trees: Arc<Trees>, command: &[OsString]) -> i32 {
    isolation::enter_namespace(&[]).unwrap();
    let mut started = launch::start(command, Isolation::Namespace, &[], &trees.roots()).unwrap();
    let server = server();
    server.supervise(run("", true), started.take_listener().unwrap()).unwrap();
    if let Some(connection) = started.take_trees() {
        server.show_trees(&trees, connection, Owner::this_process()).unwrap();
    }
    finish(&mut started)
}

fn finish(started: &mut launch::Started) -> i32 {
    if let Some(reason) = started.wait_for_exec().unwrap() {
        eprintln!("no trees: {reason}");
    }
    match signals::wait_for(started.pid) {
        Change::Exited(status) => status,
        Change::Killed(signal) | Change::Stopped(signal) => 128 + signal,
    }
}

fn serve_shared(command: &[OsString]) -> i32 {
    let pair =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let (ours, theirs) = pair.unwrap();
    let mut attached = Command::new(std::env::current_exe().unwrap());
    attached.arg(ATTACHED).args(command).stdin(Stdio::from(theirs));
    let mut child = attached.spawn().unwrap();
    drop(attached);
    let mut message = [0; 16];
    let (length, descriptors) = launch::receive_with(&ours, &mut message).unwrap();
    let pid = std::str::from_utf8(&message[..length]).unwrap();
    let [listener, connection] = <[OwnedFd; 2]>::try_from(descriptors).unwrap();
    let server = server();
    server.supervise(run(&format!("/proc/{pid}/root"), false), listener).unwrap();
    server.show_trees(&trees(), connection, Owner::this_process()).unwrap();
    child.wait().unwrap().code().unwrap()
}

fn attach(command: &[OsString]) -> i32 {
    isolation::enter_namespace(&[]).unwrap();
    let mut started = launch::start(command, Isolation::Namespace, &[], &Fake::new().roots()).unwrap();
    let (listener, connection) = (started.take_listener().unwrap(), started.take_trees().unwrap());
    let pid = started.pid.to_string();
    launch::send_with(std::io::stdin(), pid.as_bytes(), &[listener.as_fd(), connection.as_fd()]).unwrap();
    drop((listener, connection));
    finish(&mut started)
}
