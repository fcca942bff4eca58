//! `ioctlab run`.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use ioctlab_host::isolation::{self, Isolation, Placeholders, Tree};
use ioctlab_host::launch::{self, LaunchError, Started};
use ioctlab_host::signals::{self, Change};
use ioctlab_host::{Memory, Owner, Run, Server, Trace, Trees, probe};
use ioctlab_kernel::{Node, Opener};
use ioctlab_lab::Lab;

use crate::control::Description;
use crate::{arguments, control, lab_file};

/// The exit status if there is no such program.
const NOT_FOUND: u8 = 127;
/// The exit status if the program can't be executed.
const NOT_EXECUTABLE: u8 = 126;

/// Runs a program; returns its exit status.
///
/// # Errors
/// What went wrong in ioctlab itself.
pub(crate) fn run(arguments: &arguments::Run) -> Result<u8, String> {
    match &arguments.in_lab {
        Some(name) => run_in_shared_lab(arguments, name),
        None => run_in_private_lab(arguments),
    }
}

fn run_in_private_lab(arguments: &arguments::Run) -> Result<u8, String> {
    let config = lab_file::load(arguments.lab.as_deref())?;
    let domain = lab_file::domain(&config, arguments.domain)?;
    let memory = Memory::new();
    let (lab, kernel) = Lab::new(&config, lab_file::memories(&memory))?;
    let trees = Arc::new(Trees::new(lab.trees()));
    let trace = trace(arguments)?;
    let surroundings = Surroundings::make(arguments.isolation, kernel.nodes())?;
    let tree = surroundings.tree(kernel.nodes())?;
    let isolation = surroundings.isolation;
    let mut started = match launch::start(&arguments.command, isolation, kernel.nodes(), &trees.roots()) {
        Ok(started) => started,
        Err(error) => return refused(arguments, error),
    };
    let server = Server::new(kernel, &memory, trace).map_err(server_failed)?;
    server.watch().map_err(server_failed)?;
    let listener = started.take_listener().map_err(server_failed)?;
    server
        .supervise(Run::new(Opener { domain, rawio: false }, tree, true), listener)
        .map_err(server_failed)?;
    if let Some(connection) = started.take_trees() {
        server.show_trees(&trees, connection, Owner::this_process()).map_err(server_failed)?;
    }
    finish(arguments, &mut started)
}

fn run_in_shared_lab(arguments: &arguments::Run, name: &str) -> Result<u8, String> {
    if arguments.trace.is_some() {
        return Err("a shared lab is traced from its start: `ioctlab up --trace=FILE`".to_owned());
    }
    let lab = control::connect(name)?;
    let Description { nodes, trees, domain } = lab.describe(arguments.domain)?;
    let surroundings = Surroundings::make(arguments.isolation, &nodes)?;
    let mut started = match launch::start(&arguments.command, surroundings.isolation, &nodes, &trees) {
        Ok(started) => started,
        Err(error) => return refused(arguments, error),
    };
    let listener = started.take_listener().map_err(server_failed)?;
    let mut served = vec![listener];
    served.extend(started.take_trees());
    lab.attach(domain, surroundings.isolation, &surroundings.root(), started.pid, &served)?;
    // The server alone holds them from here on, so that calls fail when it is gone.
    drop(served);
    let watched = control::watch(lab);
    let status = finish(arguments, &mut started);
    drop(watched);
    status
}

/// Waits for the program and gives its exit status.
fn finish(arguments: &arguments::Run, started: &mut Started) -> Result<u8, String> {
    match started.wait_for_exec() {
        Ok(None) => {}
        Ok(Some(reason)) => {
            eprint(&format!("what the lab has in /sys can't be shown ({reason}); see `ioctlab doctor`"));
        }
        Err(error) => return refused(arguments, error),
    }
    Ok(match signals::wait_for(started.pid) {
        Change::Exited(status) => status as u8,
        Change::Killed(signal) | Change::Stopped(signal) => 128u8.wrapping_add(signal as u8),
    })
}

fn refused(arguments: &arguments::Run, error: LaunchError) -> Result<u8, String> {
    let program = arguments.command.first().map(|p| p.display().to_string()).unwrap_or_default();
    match error {
        LaunchError::Exec(error) => {
            let status = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
            eprint(&format!("cannot run `{program}`: {}", plain(&error)));
            Ok(status)
        }
        LaunchError::Filter(error) if error.kind() == io::ErrorKind::ResourceBusy => Err(
            "this process runs under a seccomp listener already (another `ioctlab run`, or a container tool), and \
             Linux allows only one; run ioctlab outside of it"
                .to_owned(),
        ),
        LaunchError::Filter(error) => Err(format!(
            "Linux refuses the seccomp filter: {}. `ioctlab doctor` says what is missing",
            plain(&error)
        )),
        LaunchError::Other(error) => Err(format!("starting `{program}`: {}", plain(&error))),
    }
}

/// How the program will see the nodes, and what has to be kept for that.
struct Surroundings {
    isolation: Isolation,
    placeholders: Option<Placeholders>,
}

impl Surroundings {
    /// Enters a namespace if that was asked for or is possible; else makes placeholders.
    fn make(asked: Option<arguments::Isolation>, nodes: &[Node]) -> Result<Self, String> {
        let namespace = match asked {
            Some(arguments::Isolation::Namespace) => true,
            Some(arguments::Isolation::Paths) => false,
            // Tried out in a child first: a namespace that turns out to be useless could not be left again.
            None => probe::mount_namespace().is_ok(),
        };
        if namespace {
            isolation::enter_namespace(nodes).map_err(|refusal| {
                format!(
                    "a namespace can't be had ({refusal}); try `--isolation paths`, or see `ioctlab doctor`"
                )
            })?;
            return Ok(Self { isolation: Isolation::Namespace, placeholders: None });
        }
        let placeholders = Placeholders::make(nodes)
            .map_err(|error| format!("making placeholders for the device nodes: {}", plain(&error)))?;
        Ok(Self { isolation: Isolation::Paths, placeholders: Some(placeholders) })
    }

    fn root(&self) -> PathBuf {
        self.placeholders.as_ref().map_or_else(|| PathBuf::from("/"), |p| p.root().to_owned())
    }

    fn tree(&self, nodes: &[Node]) -> Result<Tree, String> {
        Tree::new(self.isolation, self.root(), "", nodes)
            .map_err(|error| format!("looking at the device nodes: {}", plain(&error)))
    }
}

fn trace(arguments: &arguments::Run) -> Result<Option<Trace>, String> {
    match &arguments.trace {
        None => Ok(None),
        Some(None) => Ok(Some(Trace::new(io::stderr()))),
        Some(Some(path)) => {
            let file = File::create(path)
                .map_err(|error| format!("the trace file {}: {}", path.display(), plain(&error)))?;
            Ok(Some(Trace::new(file)))
        }
    }
}

fn server_failed(error: io::Error) -> String {
    format!("starting the lab's server: {}", plain(&error))
}

/// An error as people read it, without Rust's "(os error N)".
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

pub(crate) fn eprint(message: &str) {
    use std::io::Write;
    let _ = writeln!(io::stderr(), "ioctlab: {message}");
}
