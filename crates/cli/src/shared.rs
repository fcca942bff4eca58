//! Labs that several runs share: up, down, list, and acting on them from outside.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use ioctlab_host::daemon::{self, Ready};
use ioctlab_host::isolation::{Isolation, Tree};
use ioctlab_host::launch;
use ioctlab_host::{Memory, Owner, Run, Server, Trace, Trees};
use ioctlab_kernel::{Behind, Opener};
use ioctlab_lab::{Lab, Request, XenRequest, config};
use rustix::net::SendFlags;

use crate::arguments::{Up, Xen, XenCommand};
use crate::run::plain;
use crate::{control, lab_file, vfio};

/// Brings a lab up in the background.
///
/// # Errors
/// What is wrong with the lab file, or that there is such a lab.
pub(crate) fn up(arguments: &Up) -> Result<u8, String> {
    let config = lab_file::load(arguments.lab.as_deref())?;
    let memory = Memory::new();
    let (lab, kernel) = Lab::new(&config, lab_file::memories(&memory))?;
    let file = arguments.lab.as_ref().map_or("(built in)".to_owned(), |path| path.display().to_string());
    let trace = match &arguments.trace {
        None => None,
        Some(path) => Some(Trace::new(
            File::create(path)
                .map_err(|error| format!("the trace file {}: {}", path.display(), plain(&error)))?,
        )),
    };
    let name = arguments.name.clone();
    let trees = Arc::new(Trees::new(lab.trees()));
    daemon::start(move |ready| {
        let server =
            match Server::new(kernel, &memory, trace).and_then(|server| server.watch().map(|()| server)) {
                Ok(server) => server,
                Err(error) => return ready.fail(&plain(&error)),
            };
        Shared { name, file, config, lab, trees, server }.serve(ready);
    })?;
    say(&format!("lab {0} is up; `ioctlab run --in {0} -- PROGRAM` runs programs in it", arguments.name))
}

/// Takes a lab down.
///
/// # Errors
/// If there is no such lab.
pub(crate) fn down(name: &str) -> Result<u8, String> {
    control::connect(name)?.ask("down")?;
    control::wait_until_gone(name);
    say(&format!("lab {name} is down"))
}

/// Lists the labs that are up.
///
/// # Errors
/// If they can't be looked up.
pub(crate) fn list() -> Result<u8, String> {
    let mut text = String::new();
    for name in control::names().map_err(|error| plain(&error))? {
        // One that goes down at this moment is not up.
        if let Ok(status) = control::connect(&name).and_then(|lab| lab.ask("status")) {
            let _ = writeln!(text, "{name:<16} {}", status.trim_end());
        }
    }
    if text.is_empty() {
        text.push_str("no lab is up; `ioctlab up NAME` brings one up\n");
    }
    say(text.trim_end())
}

/// Acts on a lab's Xen host.
///
/// # Errors
/// What the lab has against it.
pub(crate) fn xen(arguments: &Xen) -> Result<u8, String> {
    let XenCommand::Virq { in_lab, domain, vcpu, virq } = &arguments.command;
    control::connect(in_lab)?.ask(&format!("virq {domain} {vcpu} {virq}"))?;
    Ok(0)
}

fn say(text: &str) -> Result<u8, String> {
    writeln!(io::stdout(), "{text}").map(|()| 0).map_err(|error| plain(&error))
}

/// A shared lab, as its server has it.
struct Shared {
    name: String,
    file: String,
    config: config::Lab,
    lab: Lab,
    trees: Arc<Trees>,
    server: Arc<Server>,
}

impl Shared {
    fn serve(self, ready: Ready) {
        let socket = match self.listen() {
            Ok(socket) => socket,
            Err(reason) => return ready.fail(&reason),
        };
        ready.succeed();
        let shared = Arc::new(self);
        loop {
            match rustix::net::accept_with(&socket, rustix::net::SocketFlags::CLOEXEC) {
                Ok(connection) if control::is_own(&connection) => {
                    let shared = Arc::clone(&shared);
                    let serve = move || shared.converse(&connection);
                    // Without a thread the connection is closed, and its other side says that the server is gone.
                    let _ = std::thread::Builder::new().name("control".into()).spawn(serve);
                }
                Ok(_) => {}
                Err(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => {
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
                Err(_) => {}
            }
        }
    }

    fn listen(&self) -> Result<OwnedFd, String> {
        let failed = |error: io::Error| format!("listening for runs: {}", plain(&error));
        let socket = control::socket().map_err(failed)?;
        match rustix::net::bind(&socket, &control::address(&self.name).map_err(failed)?) {
            Ok(()) => {}
            Err(rustix::io::Errno::ADDRINUSE) => {
                return Err(format!(
                    "a lab `{0}` is up already; `ioctlab down {0}` takes it down",
                    self.name
                ));
            }
            Err(errno) => return Err(failed(errno.into())),
        }
        rustix::net::listen(&socket, 64).map_err(|errno| failed(errno.into()))?;
        Ok(socket)
    }

    fn converse(&self, connection: &OwnedFd) {
        let mut buffer = vec![0; control::MESSAGE_MAX];
        while let Ok((length @ 1.., descriptors)) = launch::receive_with(connection, &mut buffer) {
            let request = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
            let answer = match self.handle(connection, &request, descriptors) {
                Ok(answer) => format!("ok\n{answer}"),
                Err(reason) => format!("error\n{reason}"),
            };
            if rustix::net::send(connection, answer.as_bytes(), SendFlags::NOSIGNAL).is_err() {
                return;
            }
            if request == "down" {
                std::process::exit(0);
            }
        }
    }

    fn handle(
        &self,
        connection: &OwnedFd,
        request: &str,
        descriptors: Vec<OwnedFd>,
    ) -> Result<String, String> {
        let confused = || "the request is of another version of ioctlab".to_owned();
        let words: Vec<&str> = request.splitn(5, ' ').collect();
        match *words {
            ["describe"] => self.describe(None),
            ["describe", domain] => self.describe(Some(domain.parse().map_err(|_| confused())?)),
            ["attach", domain, how, pid, root] => {
                let domain = domain.parse().map_err(|_| confused())?;
                let isolation = match how {
                    "namespace" => Isolation::Namespace,
                    "paths" => Isolation::Paths,
                    _ => return Err(confused()),
                };
                let mut descriptors = descriptors.into_iter();
                let listener = descriptors.next().ok_or_else(confused)?;
                let pid: i32 = pid.parse().map_err(|_| confused())?;
                self.attach(domain, isolation, pid, PathBuf::from(root), listener)?;
                if let Some(trees) = descriptors.next() {
                    control::peer(connection)
                        .and_then(|owner: Owner| self.server.show_trees(&self.trees, trees, owner))
                        .map_err(|error| format!("showing the run what is in /sys: {}", plain(&error)))?;
                }
                Ok(String::new())
            }
            ["virq", domain, vcpu, virq] => {
                let request = XenRequest::RaiseVirq {
                    domain: domain.parse().map_err(|_| confused())?,
                    vcpu: vcpu.parse().map_err(|_| confused())?,
                    virq: virq.to_owned(),
                };
                self.server.with_kernel(|_| self.lab.act(&Request::Xen(request)))
            }
            ["vfio", ..] => {
                let request = vfio::read(request).ok_or_else(confused)?;
                self.server.with_kernel(|_| self.lab.act(&Request::Vfio(request)))
            }
            ["status"] => {
                let (processes, files) = self.server.usage();
                let pid = std::process::id();
                Ok(format!("server {pid}, lab file {}, {processes} processes, {files} open files", self.file))
            }
            ["down"] => Ok(String::new()),
            _ => Err(confused()),
        }
    }

    fn describe(&self, domain: Option<u16>) -> Result<String, String> {
        let mut text = format!("domain {}\n", lab_file::domain(&self.config, domain)?);
        self.server.with_kernel(|kernel| {
            for node in kernel.nodes() {
                let number = node.number.map_or("file".to_owned(), |n| format!("{}:{}", n.major, n.minor));
                let presence = if node.hidden { "hidden" } else { "there" };
                let behind = if node.behind == Behind::Addressed { control::POSITIONED } else { "other" };
                let permissions = node.permissions;
                let _ = writeln!(text, "node {number} {presence} {behind} {permissions} {}", node.path);
            }
        });
        for root in self.trees.roots() {
            let _ = writeln!(text, "tree {root}");
        }
        Ok(text)
    }

    fn attach(
        &self,
        domain: u16,
        isolation: Isolation,
        pid: i32,
        root: PathBuf,
        listener: OwnedFd,
    ) -> Result<(), String> {
        let nodes = self.server.with_kernel(|kernel| kernel.nodes().to_vec());
        let tree = Tree::new(isolation, root, &format!("/proc/{pid}/root"), &nodes)
            .map_err(|error| format!("looking at the run's device nodes: {}", plain(&error)))?;
        self.server
            .supervise(Run::new(Opener { domain, rawio: false }, tree, false), listener)
            .map_err(|error| format!("serving the run: {}", plain(&error)))
    }
}
