//! Where things are: the sources, the build directory, and cargo itself.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{output, run};

/// The checked-out sources and what cargo knows about them.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    metadata: Value,
}

impl Workspace {
    /// Asks cargo, so that a moved build directory (`CARGO_TARGET_DIR`) is found as well.
    pub(crate) fn find() -> Result<Self> {
        let manifest =
            env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`, inside the sources")?;
        let text = output(
            Command::new(cargo_program())
                .args(["metadata", "--no-deps", "--format-version", "1"])
                .current_dir(manifest),
        )?;
        let metadata: Value = serde_json::from_str(&text).context("`cargo metadata` gave no JSON")?;
        let directory = |key: &str| {
            metadata[key]
                .as_str()
                .map(PathBuf::from)
                .with_context(|| format!("`cargo metadata` has no {key}"))
        };
        Ok(Self { root: directory("workspace_root")?, target: directory("target_directory")?, metadata })
    }

    /// The directory of the workspace's `Cargo.toml`.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory that cargo builds in.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The answer of `cargo metadata --no-deps`.
    pub(crate) fn metadata(&self) -> &Value {
        &self.metadata
    }

    /// The cargo that runs this program, to be run in the workspace.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(cargo_program());
        command.current_dir(&self.root);
        command
    }

    /// Builds `ioctlab` as its users get it, and says where it is.
    pub(crate) fn build_ioctlab(&self) -> Result<PathBuf> {
        run(self.cargo().args(["build", "--quiet", "--release", "--bin", "ioctlab"]))?;
        Ok(self.target.join("release/ioctlab"))
    }
}

fn cargo_program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
