//! Builds what the tests run: the clients of `tests/clients`, and the programs of `tests/support`.
//!
//! Each thing is built once and kept below cargo's directory for temporary files. A test runner may start a process for
//! each test, so who comes first builds, under a lock.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Names the directory with the built clients, if somebody has built them already.
const CLIENTS_VARIABLE: &str = "IOCTLAB_CLIENTS";

/// A directory of the project, from its root.
pub(crate) fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// A built client, or a script among them, by its file name.
pub(crate) fn client(name: &str) -> PathBuf {
    let program = match env::var_os(CLIENTS_VARIABLE) {
        Some(directory) => PathBuf::from(directory).join(name),
        None => match RUST_CLIENTS.iter().find(|(_, programs)| programs.contains(&name)) {
            Some((package, _)) => rust_package(package).join(name),
            None => clients().join(name),
        },
    };
    assert!(
        program.exists(),
        "{} isn't there: tests/clients/README.md says which package its build needs",
        program.display()
    );
    program
}

/// The directories of cargo packages of their own, with the clients in them.
const RUST_CLIENTS: &[(&str, &[&str])] =
    &[("rust", &["rust-xenevtchn"]), ("rust-vfio", &["rust-vfio-ioctls", "rust-pci-driver"])];

fn clients() -> PathBuf {
    let sources = source("tests/clients");
    once("clients", &[&sources], |into| {
        let mut build = Command::new(sources.join("build.sh"));
        // Go's cache is in the home directory unless told, and there may be none.
        build.arg(into).env("GOCACHE", into.join(".gocache"));
        run(&mut build);
    })
}

/// Builds a cargo package among the clients, and says where its programs are.
fn rust_package(name: &str) -> PathBuf {
    let package = source("tests/clients").join(name);
    let built = once(&format!("client-{name}"), &[&package], |into| {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--release", "--manifest-path"]).arg(package.join("Cargo.toml"));
        run(build.arg("--target-dir").arg(into));
    });
    built.join("release")
}

/// A program of `tests/support`, compiled.
pub(crate) fn support(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support");
    let file = directory.join(format!("{name}.c"));
    let clients = source("tests/clients");
    once(name, &[&file, &clients.join("check.h")], |into| {
        let mut gcc = gcc();
        gcc.args(["-Wall", "-Werror", "-pthread", "-I"]).arg(&clients);
        run(gcc.arg("-o").arg(into.join(name)).arg(&file));
    })
    .join(name)
}

/// A program that made transcripts in `tests/oracle`, `xen` or `vfio`, statically linked as it was then.
pub(crate) fn probe(name: &str) -> PathBuf {
    let sources = source("tests/oracle");
    let name = format!("probe_{name}");
    let file = sources.join(format!("{name}.c"));
    once(&name, &[&file, &sources.join("probe.h")], |into| {
        run(gcc().args(["-static", "-w", "-o"]).arg(into.join(&name)).arg(&file));
    })
    .join(&name)
}

fn gcc() -> Command {
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=gnu11", "-O1"]);
    gcc
}

/// Has `make` fill a directory, unless that was done since the sources have changed.
fn once(name: &str, sources: &[&Path], make: impl FnOnce(&Path)) -> PathBuf {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e");
    let built = base.join(name);
    fs::create_dir_all(&built).unwrap();
    let lock = File::create(base.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let stamp = base.join(format!("{name}.stamp"));
    let changed = sources.iter().map(|path| newest(path)).max().unwrap();
    if fs::metadata(&stamp).and_then(|stamp| stamp.modified()).is_ok_and(|built| built > changed) {
        return built;
    }
    make(&built);
    File::create(&stamp).unwrap();
    built
}

/// When a file, or anything in a directory, was last changed.
fn newest(path: &Path) -> SystemTime {
    let metadata = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let own = metadata.modified().unwrap();
    if !metadata.is_dir() || path.file_name() == Some(OsStr::new("target")) {
        return own;
    }
    fs::read_dir(path).unwrap().map(|entry| newest(&entry.unwrap().path())).max().unwrap_or(own).max(own)
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("can't start {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed ({})\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
