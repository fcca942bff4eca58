//! Runs shell scripts in labs, as root and as an ordinary user.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::lab;

/// The user that owns nothing.
const NOBODY: u32 = 65534;
/// Nothing here takes as long.
const LIMIT: Duration = Duration::from_secs(60);

/// This program, where an ordinary user can run it; a build directory may lie where only root can look.
static PROGRAM: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let directory = tempfile::Builder::new().prefix("ioctlab-sysfs-").tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let copy = directory.path().join("lab");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    (directory, copy)
});

/// Removes what was made.
pub(crate) fn clean_up() {
    let _ = fs::remove_dir_all(PROGRAM.0.path());
}

/// Who runs the lab: who runs the tests, and if that is root an ordinary user, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    Own,
    Nobody,
}

impl User {
    pub(crate) fn all() -> &'static [Self] {
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        if is_root { &[Self::Nobody, Self::Own] } else { &[Self::Own] }
    }
}

/// What a script said.
pub(crate) struct Outcome {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// How a lab is run.
pub(crate) fn command(user: User, how: &str) -> Command {
    let mut command = Command::new(&PROGRAM.1);
    command.arg(how).current_dir("/").env("LANG", "C").process_group(0).stdin(Stdio::null());
    if user == User::Nobody {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Runs a script in a lab of its own.
pub(crate) fn sh(user: User, script: &str) -> Outcome {
    finish(command(user, lab::PRIVATE).args(["sh", "-c", script]))
}

/// Runs a script that has to say just this, and nothing on its standard error, for each user.
#[track_caller]
pub(crate) fn says(script: &str, expected: &str) {
    for user in User::all() {
        let outcome = sh(*user, script);
        assert_eq!((&*outcome.err, &*outcome.out), ("", expected), "{script} ({user:?})");
    }
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    command.stdout(File::create(file("out")).unwrap()).stderr(File::create(file("err")).unwrap());
    let child = command.spawn().unwrap();
    let status = wait(child);
    let text = |name: &str| String::from_utf8_lossy(&fs::read(file(name)).unwrap()).into_owned();
    Outcome { status, out: text("out"), err: text("err") }
}

fn wait(mut child: Child) -> i32 {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        if begun.elapsed() > LIMIT {
            // The group: the lab's program, too.
            if let Some(group) = rustix::process::Pid::from_raw(child.id() as i32) {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            panic!("it hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
