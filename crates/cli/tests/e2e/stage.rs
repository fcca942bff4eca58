//! The stage: a directory that an ordinary user can read, with copies of what is run, and commands that run there.
//!
//! A build directory may lie where only root can look. If the tests run as root, what is on the stage runs as a user
//! without any rights, as most programs of most users do.

use std::cell::Cell;
use std::env;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::build;
use crate::job::{Job, Outcome, SOON};

/// Where the programs are that every user of the machine can run.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The user that owns nothing.
const NOBODY: u32 = 65534;
/// Marks every process that comes of a stage, by an environment variable.
const MARK: &str = "IOCTLAB_E2E";

/// How a run's programs come to see the devices.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Isolation {
    Namespace,
    Paths,
}

impl Isolation {
    pub(crate) const BOTH: [Self; 2] = [Self::Namespace, Self::Paths];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Paths => "paths",
        }
    }
}

/// A stage. Dropped, it kills what is left of what was started on it, and removes the directory.
pub(crate) struct Stage {
    directory: TempDir,
    mark: String,
    step_down: bool,
    jobs: Cell<u32>,
}

impl Stage {
    /// A stage with ioctlab on it.
    pub(crate) fn new() -> Self {
        let stage = Self::of(running_as_root());
        stage.add(Path::new(env!("CARGO_BIN_EXE_ioctlab")));
        stage
    }

    /// A stage on which everything runs as who runs the tests.
    pub(crate) fn without_stepping_down() -> Self {
        let stage = Self::of(false);
        stage.add(Path::new(env!("CARGO_BIN_EXE_ioctlab")));
        stage
    }

    fn of(step_down: bool) -> Self {
        let directory = tempfile::Builder::new().prefix("ioctlab-e2e-").tempdir().unwrap();
        let mark = unique();
        let stage = Self { directory, mark, step_down, jobs: Cell::new(0) };
        fs::set_permissions(stage.directory.path(), Permissions::from_mode(0o755)).unwrap();
        for (directory, mode) in [(stage.home(), 0o755), (stage.temp(), 0o700), (stage.runtime(), 0o700)] {
            fs::create_dir(&directory).unwrap();
            fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
            if step_down {
                chown(&directory, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        stage
    }

    /// The directory that commands run in, and may write to.
    pub(crate) fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// The directory for temporary files.
    fn temp(&self) -> PathBuf {
        self.directory.path().join("tmp")
    }

    /// The user's runtime directory.
    fn runtime(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// Copies a program or a file in.
    pub(crate) fn add(&self, file: &Path) -> PathBuf {
        let copy = self.directory.path().join(file.file_name().unwrap());
        if !copy.exists() {
            fs::copy(file, &copy).unwrap_or_else(|error| panic!("copying {}: {error}", file.display()));
            let executable = fs::metadata(file).unwrap().mode() & 0o111 != 0;
            fs::set_permissions(&copy, Permissions::from_mode(if executable { 0o755 } else { 0o644 }))
                .unwrap();
        }
        copy
    }

    /// A client (see [`build::client`]) on the stage.
    pub(crate) fn client(&self, name: &str) -> PathBuf {
        self.add(&build::client(name))
    }

    /// A program of `tests/support` on the stage.
    pub(crate) fn support(&self, name: &str) -> PathBuf {
        self.add(&build::support(name))
    }

    /// Where ioctlab is on the stage.
    pub(crate) fn ioctlab_path(&self) -> PathBuf {
        self.directory.path().join("ioctlab")
    }

    /// A file for the programs to read.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.directory.path().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        file
    }

    /// A program to be run here.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", SYSTEM_PATH)
            .env("HOME", self.home())
            .env("LANG", "C.UTF-8")
            .env("TMPDIR", self.temp())
            .env("XDG_RUNTIME_DIR", self.runtime())
            .env(MARK, &self.mark)
            .current_dir(self.home());
        if self.step_down {
            // Setting the user as root also gives up all further groups, and all capabilities.
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// `ioctlab` with these arguments.
    pub(crate) fn ioctlab<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command(self.ioctlab_path());
        command.args(arguments);
        command
    }

    /// `ioctlab run` with this isolation and what follows `--`.
    pub(crate) fn run<S: AsRef<OsStr>>(
        &self,
        isolation: Isolation,
        program: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = self.ioctlab(["run", "--isolation", isolation.name(), "--"]);
        command.args(program);
        command
    }

    /// `ioctlab run` of a shell's script.
    pub(crate) fn shell(&self, isolation: Isolation, script: &str) -> Command {
        self.run(isolation, ["sh", "-c", script])
    }

    /// Starts a command in a process group of its own, without input.
    pub(crate) fn start(&self, command: &mut Command) -> Job {
        let (stdout, stderr) = self.outputs();
        command.process_group(0).stdin(Stdio::null());
        command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        spawn(command, stdout, stderr)
    }

    /// Starts a command that makes a session of its own, with its standard streams at a terminal.
    pub(crate) fn start_at(&self, command: &mut Command, terminal: impl Fn() -> Stdio) -> Job {
        let (stdout, stderr) = self.outputs();
        command.stdin(terminal()).stdout(terminal()).stderr(terminal());
        File::create(&stdout).and(File::create(&stderr)).unwrap();
        spawn(command, stdout, stderr)
    }

    fn outputs(&self) -> (PathBuf, PathBuf) {
        let number = self.jobs.replace(self.jobs.get() + 1);
        let file = |kind: &str| self.directory.path().join(format!("{number}.{kind}"));
        (file("out"), file("err"))
    }

    /// Runs a command that has little to do.
    #[track_caller]
    pub(crate) fn finish(&self, command: &mut Command) -> Outcome {
        self.finish_within(SOON, command)
    }

    /// Runs a command.
    #[track_caller]
    pub(crate) fn finish_within(&self, limit: Duration, command: &mut Command) -> Outcome {
        self.start(command).wait(limit)
    }

    /// The processes that come of this stage, whoever their parents are: number and command line.
    pub(crate) fn processes(&self) -> Vec<(i32, String)> {
        let mark = format!("{MARK}={}\0", self.mark);
        let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let number: i32 = entry.unwrap().file_name().to_str()?.parse().ok()?;
            let environment = fs::read(format!("/proc/{number}/environ")).ok()?;
            let marked = environment.windows(mark.len()).any(|window| window == mark.as_bytes());
            let command = fs::read(format!("/proc/{number}/cmdline")).ok()?;
            marked.then(|| (number, String::from_utf8_lossy(&command).replace('\0', " ")))
        });
        numbers.collect()
    }

    /// Nothing is left of what ran here: no process, no file, no socket's name.
    #[track_caller]
    pub(crate) fn is_clean(&self) {
        self.has_no_processes();
        let mut left = Vec::new();
        let list = |directory: &Path| fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let gone = crate::job::within(SOON, || {
            left = list(&self.temp()).chain(list(&self.runtime())).collect();
            left.is_empty()
        });
        assert!(gone, "files are left: {left:?}");
        let sockets = fs::read_to_string("/proc/net/unix").unwrap();
        let own: Vec<&str> = sockets
            .lines()
            .filter(|line| {
                line.contains(&*self.mark) || line.contains(self.directory.path().to_str().unwrap())
            })
            .collect();
        assert!(own.is_empty(), "sockets are left: {own:?}");
    }

    /// No process is left of what ran here.
    #[track_caller]
    pub(crate) fn has_no_processes(&self) {
        let mut left = Vec::new();
        let gone = crate::job::within(SOON, || {
            left = self.processes();
            left.is_empty()
        });
        assert!(gone, "processes are left: {left:?}");
    }

    /// A name for a lab that nobody else has, and that [`Self::is_clean`] looks for.
    pub(crate) fn lab_name(&self) -> String {
        self.mark.clone()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A few rounds: what is killed may be about to start something.
        for _ in 0..5 {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            for (number, _) in left {
                if let Some(process) = Pid::from_raw(number) {
                    let _ = rustix::process::kill_process(process, Signal::KILL);
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Whether this process has all rights. Its directory in /proc belongs to its effective user.
pub(crate) fn running_as_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A word that no other stage has.
fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("e2e-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn spawn(command: &mut Command, stdout: PathBuf, stderr: PathBuf) -> Job {
    let shown = shown(command);
    let child = command.spawn().unwrap_or_else(|error| panic!("can't start `{shown}`: {error}"));
    Job { child, shown, stdout, stderr, ended: None }
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
