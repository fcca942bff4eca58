//! Runs every test there is.

use std::process::Command;

use anyhow::Result;

use crate::clients;
use crate::process::{finish, in_ci, run};
use crate::setup;
use crate::workspace::Workspace;

/// Where the end-to-end tests look for the client programs.
const CLIENTS_VARIABLE: &str = "IOCTLAB_CLIENTS";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to pass on to the test runner, for example the name of a test
    #[arg(last = true)]
    runner: Vec<String>,
}

/// Installs what is missing, builds the clients, and hands over to the test runner, whose summary comes last.
pub(crate) fn run_all(workspace: &Workspace, options: &Options) -> Result<()> {
    if let Err(error) = setup::install(setup::EVERYTHING) {
        if in_ci() {
            return Err(error);
        }
        println!("Going on without what couldn't be installed: {error:#}");
    }
    let clients = clients::build(workspace)?;
    let cargo = |arguments: &[&str]| {
        let mut command = workspace.cargo();
        command.args(arguments).args(&options.runner).env(CLIENTS_VARIABLE, &clients);
        run(&mut command)
    };
    if has_nextest(workspace) {
        // nextest doesn't know documentation tests. They come first, so that its summary is the last thing printed.
        run(workspace.cargo().args(["test", "--quiet", "--workspace", "--doc"]))?;
        return cargo(&["nextest", "run", "--workspace", "--no-fail-fast"]);
    }
    cargo(&["test", "--workspace"])
}

fn has_nextest(workspace: &Workspace) -> bool {
    let mut version: Command = workspace.cargo();
    finish(version.args(["nextest", "--version"])).is_ok_and(|answer| answer.status.success())
}
