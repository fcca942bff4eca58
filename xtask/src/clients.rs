//! Builds the client programs of `tests/clients`: plain Linux programs that know nothing of ioctlab.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{in_ci, run};
use crate::workspace::Workspace;

/// Where the sources are.
const SOURCES: &str = "tests/clients";

/// Builds every client, and says which directory they are in.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf> {
    let sources = workspace.root().join(SOURCES);
    let built = workspace.target().join("clients");
    fs::create_dir_all(&built)?;
    for entry in fs::read_dir(&sources).with_context(|| format!("can't read {}", sources.display()))? {
        let source = entry?.path();
        let name = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let done = match source.extension().and_then(|extension| extension.to_str()) {
            Some("c") => compile_client(&source, &built),
            Some("go") => build_go(&source, &built, workspace),
            Some("py" | "sh") => copy(&source, &built.join(&name)),
            _ if source.join("Cargo.toml").exists() => build_rust(&source, &built, workspace),
            _ => Ok(()),
        };
        match done {
            // On a developer's machine the rest is still worth testing; nothing may go missing unseen in CI.
            Err(error) if !in_ci() => println!("Going on without the client {name}: {error:#}"),
            other => other.with_context(|| format!("can't build the client {name}"))?,
        }
    }
    Ok(built)
}

/// Compiles one C program. The file says by what it includes and by its name what it is to be linked with.
fn compile_client(source: &Path, into: &Path) -> Result<()> {
    let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut flags = vec!["-pthread"];
    if name.starts_with("static") {
        flags.push("-static");
    }
    if name.ends_with("32") {
        flags.push("-m32");
    }
    compile(source, &into.join(name), &flags)
}

/// The headers that a program needs more for than the C library, and what it is linked with.
const LIBRARIES: &[(&str, &str)] = &[
    ("<libaio.h>", "-laio"),
    ("<libxenvchan.h>", "-lxenvchan"),
    ("<xenctrl.h>", "-lxenctrl"),
    ("<xenevtchn.h>", "-lxenevtchn"),
    ("<xengnttab.h>", "-lxengnttab"),
    ("<xenstore.h>", "-lxenstore"),
];

/// Compiles one C file to one program, and links it with the libraries whose headers it includes, by itself or by a
/// header next to it.
pub(crate) fn compile(source: &Path, program: &Path, flags: &[&str]) -> Result<()> {
    let text = with_its_headers(source)?;
    let libraries = LIBRARIES.iter().filter(|(header, _)| text.contains(header)).map(|(_, flag)| flag);
    let mut gcc = Command::new("gcc");
    // Libraries come last: the linker takes from them what the objects before them ask for.
    gcc.args(["-O2", "-g", "-Wall", "-Wextra", "-o"]).arg(program).arg(source).args(flags).args(libraries);
    run(&mut gcc)
}

/// The text of a C file, and of those next to it that it includes.
fn with_its_headers(source: &Path) -> Result<String> {
    let mut text = fs::read_to_string(source).with_context(|| format!("can't read {}", source.display()))?;
    let quoted = |line: &str| Some(line.strip_prefix("#include \"")?.strip_suffix('"')?.to_owned());
    for name in text.lines().filter_map(quoted).collect::<Vec<_>>() {
        text.push_str(&fs::read_to_string(source.with_file_name(name))?);
    }
    Ok(text)
}

/// Builds one Go program, without C and so without a dynamic linker: its calls reach the kernel directly.
fn build_go(source: &Path, into: &Path, workspace: &Workspace) -> Result<()> {
    let name = format!("{}-go", source.file_stem().unwrap_or_default().to_string_lossy());
    run(Command::new("go")
        .args(["build", "-o"])
        .arg(into.join(name))
        .arg(source)
        .current_dir(workspace.root())
        .env("CGO_ENABLED", "0")
        // Nothing is to be fetched: neither modules nor another tool chain.
        .env("GOPROXY", "off")
        .env("GOTOOLCHAIN", "local")
        .env("GO111MODULE", "off")
        .env("GOCACHE", workspace.target().join("go-cache")))
}

/// Builds a cargo package of its own.
fn build_rust(package: &Path, into: &Path, workspace: &Workspace) -> Result<()> {
    let target = workspace.target().join("clients-rust");
    run(workspace
        .cargo()
        .args(["build", "--quiet", "--release", "--manifest-path"])
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target))?;
    for entry in fs::read_dir(target.join("release"))? {
        let file = entry?.path();
        if is_program(&file)? {
            fs::copy(&file, into.join(file.file_name().unwrap_or_default()))?;
        }
    }
    Ok(())
}

fn is_program(file: &Path) -> Result<bool> {
    let metadata = fs::metadata(file)?;
    let library = file.extension().is_some_and(|extension| extension == "so");
    Ok(metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 && !library)
}

/// Copies a script, to be run by its name.
fn copy(source: &Path, to: &Path) -> Result<()> {
    fs::copy(source, to)?;
    fs::set_permissions(to, PermissionsExt::from_mode(0o755))?;
    Ok(())
}
