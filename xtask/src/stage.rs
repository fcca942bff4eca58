//! The stage: a directory that an ordinary user can read, and commands run in it as that user.
//!
//! A build directory may lie where only root can look (a home directory, a fresh clone), so programs are copied out of it.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::process::SYSTEM_PATH;

/// The user that owns nothing: `nobody` on every distribution in use.
const NOBODY: u32 = 65534;

/// A temporary directory with programs in it, removed when dropped.
pub(crate) struct Stage {
    directory: TempDir,
    step_down: bool,
}

impl Stage {
    /// An empty stage, with a home directory for whoever acts on it.
    pub(crate) fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("ioctlab-").tempdir()?;
        let step_down = running_as_root()?;
        let stage = Self { directory, step_down };
        fs::set_permissions(stage.directory.path(), Permissions::from_mode(0o755))?;
        fs::create_dir(stage.home())?;
        if step_down {
            chown(stage.home(), Some(NOBODY), Some(NOBODY))?;
        }
        Ok(stage)
    }

    /// The directory that the ordinary user may write to.
    pub(crate) fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// Where a file of this name is, or will be.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Copies a file in, readable by all, and executable by all if it was so by anyone.
    pub(crate) fn add(&self, file: &Path) -> Result<PathBuf> {
        let name = file.file_name().with_context(|| format!("{} is no file", file.display()))?;
        let copy = self.directory.path().join(name);
        fs::copy(file, &copy).with_context(|| format!("can't copy {}", file.display()))?;
        let executable = fs::metadata(file)?.mode() & 0o111 != 0;
        fs::set_permissions(&copy, Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
        Ok(copy)
    }

    /// A command to be run here as an ordinary user, with an environment that says nothing about who started it.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", SYSTEM_PATH)
            .env("HOME", self.home())
            .env("LANG", "C.UTF-8")
            .current_dir(self.directory.path());
        if self.step_down {
            // Setting the user as root also gives up all further groups.
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Says as whom commands are run.
    pub(crate) fn user(&self) -> String {
        if self.step_down { format!("user {NOBODY} (started by root)") } else { "you".to_owned() }
    }
}

/// Whether this process has all rights. Its directory in /proc belongs to its effective user.
pub(crate) fn running_as_root() -> Result<bool> {
    Ok(fs::metadata("/proc/self").context("/proc is needed")?.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::output;

    #[test]
    fn what_runs_on_the_stage_has_no_rights_and_can_write_its_home() {
        let stage = Stage::new().unwrap();
        let user = output(stage.command("id").arg("-u")).unwrap();
        assert_ne!(user.trim(), "0");
        output(stage.command("sh").args(["-c", "echo x > \"$HOME/x\""])).unwrap();
        assert!(stage.home().join("x").exists());
    }
}
