//! Every client of `tests/clients` under both isolations, each as a test of its own.

use std::process::Command;
use std::time::Duration;

use crate::differences::left_out;
use crate::stage::{Isolation, Stage};

/// Defines a test for each client: its name, and how it is run.
macro_rules! clients {
    ($($name:ident: $client:expr;)*) => {
        mod namespace {
            use super::*;
            $(#[test]
            fn $name() {
                $client.passes(Isolation::Namespace);
            })*
        }
        mod paths {
            use super::*;
            $(#[test]
            fn $name() {
                $client.passes(Isolation::Paths);
            })*
        }
        /// Where mounts, namespaces and reading another process's memory by call are refused.
        mod container {
            use super::*;
            $(#[test]
            fn $name() {
                $client.passes_in_container();
            })*
        }
    };
}

clients! {
    block: Client::new("block");
    compat32: Client::new("compat32");
    dup: Client::new("dup");
    efault: Client::new("efault");
    fork: Client::new("fork");
    gnt_victim: Client::new("gnt_victim").with(&["1", "100"]);
    gnttab: Client::new("gnttab");
    gnttab_python: Client::new("gnttab.py").by("python3");
    go: Client::new("client-go");
    io: Client::new("io");
    libxenevtchn_c: Client::new("libxenevtchn");
    libxenevtchn_python: Client::new("libxenevtchn.py").by("python3");
    mapping: Client::new("mapping");
    million: Client::new("million").with(EVENTS);
    nonblock: Client::new("nonblock");
    open: Client::new("open");
    poll: Client::new("poll");
    python: Client::new("client.py").by("python3");
    rust_crate: Client::new("rust-xenevtchn");
    scm: Client::new("scm");
    shell: Client::new("redirect.sh").by("sh");
    sigio: Client::new("sigio");
    stat: Client::new("stat");
    static_program: Client::new("static");
    threads: Client::new("threads").with(&["1000"]);
    x: Client::new("x");
}

/// A million in a release build; a debug build has a tenth to do.
const EVENTS: &[&str] = if cfg!(debug_assertions) { &["100000"] } else { &["1000000"] };

struct Client {
    file: &'static str,
    interpreter: Option<&'static str>,
    arguments: &'static [&'static str],
}

impl Client {
    const fn new(file: &'static str) -> Self {
        Self { file, interpreter: None, arguments: &[] }
    }

    const fn by(mut self, interpreter: &'static str) -> Self {
        self.interpreter = Some(interpreter);
        self
    }

    const fn with(mut self, arguments: &'static [&'static str]) -> Self {
        self.arguments = arguments;
        self
    }

    fn passes(&self, isolation: Isolation) {
        let stage = Stage::new();
        let mut command = stage.run(isolation, self.interpreter);
        self.finish(&stage, &mut command, isolation, false);
    }

    fn passes_in_container(&self) {
        let stage = Stage::new();
        let mut command = stage.command(stage.support("confined"));
        command.arg(stage.ioctlab_path()).args(["run", "--"]).args(self.interpreter);
        self.finish(&stage, &mut command, Isolation::Paths, true);
    }

    fn finish(&self, stage: &Stage, command: &mut Command, isolation: Isolation, confined: bool) {
        command.arg(stage.client(self.file)).args(self.arguments);
        command.args(left_out(self.file, isolation, confined));
        let outcome = stage.finish_within(Duration::from_secs(180), command).succeeds();
        let last = outcome.stdout.lines().last().unwrap_or_default();
        assert!(last.starts_with("ok"), "{outcome:?}");
        for line in outcome.stdout.lines().filter(|line| line.ends_with("us each")) {
            eprintln!("{isolation:?}: {line}");
        }
        stage.is_clean();
    }
}
