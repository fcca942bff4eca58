//! The development commands of ioctlab, run as `cargo xtask COMMAND`.
//!
//! `demo` and `test` are the two commands of the README and need no other preparation than a Rust tool chain; both
//! install what else they need. `bench` prints every figure that the project promises next to what it is compared to.
//! Commands that need the simulated devices run their programs as an ordinary user, because that is what ioctlab
//! promises: started by root, they step down to a user without rights.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what these commands are for is to print")]

mod bench;
mod clients;
mod demo;
mod layers;
mod process;
mod setup;
mod stage;
mod test;
mod workspace;

use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};

use crate::process::run;
use crate::workspace::Workspace;

/// The development commands of ioctlab.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install the packages that tests and benchmarks need, as far as they are missing
    Setup,
    /// Build ioctlab and show it at work on a few programs
    Demo,
    /// Build the client programs and run all tests
    Test(test::Options),
    /// Measure everything the project has an aim for, and print one table
    Bench(bench::Options),
    /// Check which crate depends on which, and where unsafe code is
    Layers,
    /// Run all checks, just as continuous integration does
    Prepush,
}

fn main() -> ExitCode {
    match perform(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match task {
        Task::Setup => setup::install(setup::EVERYTHING),
        Task::Demo => demo::show(&workspace),
        Task::Test(options) => test::run_all(&workspace, &options),
        Task::Bench(options) => bench::measure(&workspace, &options),
        Task::Layers => layers::check(&workspace),
        Task::Prepush => run(Command::new(workspace.root().join(".ci/run")).current_dir(workspace.root())),
    }
}
