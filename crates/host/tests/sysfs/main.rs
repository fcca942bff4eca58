//! Trees of attributes, as unmodified programs see them under `/sys`.
//!
//! Everything here needs user and mount namespaces and FUSE, and fails without.
#![expect(clippy::print_stderr, reason = "a lab says why it has no trees, as ioctlab does")]

mod fake;
mod files;
mod lab;
mod sessions;
mod stage;
mod writes;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(status) = lab::main(&arguments) {
        return ExitCode::from(status as u8);
    }
    let tests = files::TESTS.iter().chain(writes::TESTS).chain(sessions::TESTS);
    let trials = tests.map(|(name, test)| {
        let run = || {
            test();
            Ok(())
        };
        Trial::test(*name, run)
    });
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials.collect());
    stage::clean_up();
    conclusion.exit_code()
}
