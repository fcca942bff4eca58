//! Checks the layers: who may depend on whom, which crates do without std, and where unsafe code may be.
//!
//! The compiler and clippy hold each crate to its own lints; what only a look at all crates together shows is here.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// What a crate, named by its directory in `crates/`, may depend on, and whether it must do without std. Bottom to top.
const LAYERS: &[Layer] = &[
    Layer { name: "abi", may_use: &[], pure: true },
    Layer { name: "chardev", may_use: &["abi"], pure: true },
    // Drivers don't know each other.
    Layer { name: "evtchn", may_use: &["abi", "chardev"], pure: true },
    Layer { name: "gntdev", may_use: &["abi", "chardev"], pure: true },
    Layer { name: "gntalloc", may_use: &["abi", "chardev"], pure: true },
    Layer { name: "xenbus", may_use: &["abi", "chardev"], pure: true },
    Layer { name: "privcmd", may_use: &["abi", "chardev"], pure: true },
    Layer { name: "vfio", may_use: &["abi", "chardev"], pure: true },
    // An IOMMU driver registers with the core.
    Layer { name: "type1", may_use: &["abi", "chardev", "vfio"], pure: true },
    Layer { name: "vfio-pci", may_use: &["abi", "chardev"], pure: true },
    // A machine doesn't know the drivers, nor what they are written against: the lab brings the two together.
    Layer { name: "xen", may_use: &["abi"], pure: true },
    Layer { name: "iommu", may_use: &["abi"], pure: true },
    Layer { name: "pci", may_use: &["abi"], pure: true },
    Layer { name: "kernel", may_use: &["abi", "chardev"], pure: true },
    // The host serves a kernel, whatever drivers are in it.
    Layer { name: "host", may_use: &["abi", "chardev", "kernel"], pure: false },
    Layer {
        name: "lab",
        may_use: &[
            "abi", "chardev", "evtchn", "gntdev", "gntalloc", "xenbus", "privcmd", "vfio", "type1",
            "vfio-pci", "xen", "iommu", "pci", "kernel",
        ],
        pure: false,
    },
    Layer { name: "cli", may_use: &["abi", "kernel", "host", "lab"], pure: false },
];

/// The one place for unsafe code.
const UNSAFE_ALLOWED: &str = "crates/host/src/sys/";

struct Layer {
    name: &'static str,
    may_use: &'static [&'static str],
    /// A pure crate is to run inside another kernel as well: no std, no unsafe code.
    pure: bool,
}

/// A crate in `crates/`, as cargo sees it.
struct Crate {
    layer: String,
    manifest: PathBuf,
    /// The layers that its normal and build dependencies lie in.
    uses: Vec<String>,
}

/// Prints everything that is wrong, and where; anything wrong is an error.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let crates = crates(workspace)?;
    let mut wrong = wrong_dependencies(&crates, workspace.root());
    for krate in &crates {
        wrong.extend(missing_attributes(krate, workspace.root())?);
    }
    for directory in ["crates", "xtask"] {
        wrong.extend(misplaced_unsafe(&workspace.root().join(directory), workspace.root())?);
    }
    if wrong.is_empty() {
        println!("layers: {} crates, all in order", crates.len());
        return Ok(());
    }
    for line in &wrong {
        println!("{line}");
    }
    bail!("the layers are not in order ({} found)", wrong.len());
}

fn crates(workspace: &Workspace) -> Result<Vec<Crate>> {
    let root = workspace.root().join("crates");
    let packages = workspace.metadata()["packages"].as_array().context("`cargo metadata` has no packages")?;
    let layer_of = |directory: &Path| {
        directory.strip_prefix(&root).ok().map(|relative| relative.to_string_lossy().into_owned())
    };
    let mut crates = Vec::new();
    for package in packages {
        let manifest =
            PathBuf::from(package["manifest_path"].as_str().context("a package without manifest")?);
        let Some(layer) = manifest.parent().and_then(layer_of) else { continue };
        let dependencies = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
        let uses = dependencies
            .iter()
            // Tests may bring together what programs may not: a driver is tested on a machine.
            .filter(|dependency| dependency["kind"] != "dev")
            .filter_map(|dependency| layer_of(Path::new(dependency["path"].as_str()?)))
            .collect();
        crates.push(Crate { layer, manifest, uses });
    }
    Ok(crates)
}

fn wrong_dependencies(crates: &[Crate], root: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    for krate in crates {
        let manifest = relative(&krate.manifest, root);
        let Some(layer) = layer(&krate.layer) else {
            wrong.push(format!(
                "{manifest}: `{}` has no place in the layers (see xtask/src/layers.rs)",
                krate.layer
            ));
            continue;
        };
        for used in krate.uses.iter().filter(|used| !layer.may_use.contains(&used.as_str())) {
            let allowed =
                if layer.may_use.is_empty() { "nothing".to_owned() } else { layer.may_use.join(", ") };
            wrong.push(format!("{manifest}: `{}` depends on `{used}`, and may on {allowed}", krate.layer));
        }
    }
    wrong
}

/// A text check, because neither attribute shows in what cargo knows.
fn missing_attributes(krate: &Crate, root: &Path) -> Result<Vec<String>> {
    if !layer(&krate.layer).is_some_and(|layer| layer.pure) {
        return Ok(Vec::new());
    }
    let file = krate.manifest.with_file_name("src").join("lib.rs");
    let text = fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
    Ok(["#![no_std]", "#![forbid(unsafe_code)]"]
        .iter()
        .filter(|attribute| !text.lines().any(|line| line.trim() == **attribute))
        .map(|attribute| format!("{}: lacks {attribute}", relative(&file, root)))
        .collect())
}

fn misplaced_unsafe(directory: &Path, root: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut pending = vec![directory.to_path_buf()];
    while let Some(directory) = pending.pop() {
        for entry in
            fs::read_dir(&directory).with_context(|| format!("can't read {}", directory.display()))?
        {
            let path = entry?.path();
            let name = relative(&path, root);
            if path.is_dir() {
                pending.push(path);
            } else if name.ends_with(".rs") && !name.starts_with(UNSAFE_ALLOWED) {
                let text = fs::read_to_string(&path).with_context(|| format!("can't read {name}"))?;
                let lines = text.lines().enumerate().filter(|(_, line)| has_unsafe_code(line));
                wrong.extend(lines.map(|(index, _)| {
                    format!("{name}:{}: unsafe code outside {UNSAFE_ALLOWED}", index.saturating_add(1))
                }));
            }
        }
    }
    wrong.sort();
    Ok(wrong)
}

/// Whether a line uses the keyword, other than in a comment or a string of that line.
fn has_unsafe_code(line: &str) -> bool {
    // Quotation marks that don't begin or end a string are none.
    let line = line.replace("\\\"", "").replace("'\"'", "");
    let code = line.split("//").next().unwrap_or_default();
    // Every second piece between quotation marks is a string.
    code.split('"').step_by(2).any(|piece| {
        piece.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == "unsafe")
    })
}

fn layer(name: &str) -> Option<&'static Layer> {
    LAYERS.iter().find(|layer| layer.name == name)
}

fn relative(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_uses(layer: &str, uses: &[&str]) -> Crate {
        let manifest = Path::new("/w/crates").join(layer).join("Cargo.toml");
        Crate { layer: layer.to_owned(), manifest, uses: uses.iter().map(|&used| used.to_owned()).collect() }
    }

    #[test]
    fn a_dependency_upwards_is_wrong() {
        let crates = [with_uses("evtchn", &["abi", "xen"]), with_uses("cli", &["lab", "host"])];
        let wrong = wrong_dependencies(&crates, Path::new("/w"));
        assert_eq!(wrong, ["crates/evtchn/Cargo.toml: `evtchn` depends on `xen`, and may on abi, chardev"]);
    }

    #[test]
    fn a_crate_without_a_layer_is_wrong() {
        let wrong = wrong_dependencies(&[with_uses("other", &[])], Path::new("/w"));
        assert!(wrong[0].contains("no place in the layers"), "{wrong:?}");
    }

    #[test]
    fn a_layer_uses_only_layers_below_it() {
        for (index, layer) in LAYERS.iter().enumerate() {
            for used in layer.may_use {
                assert!(
                    LAYERS[..index].iter().any(|below| below.name == *used),
                    "{} uses {used}",
                    layer.name
                );
            }
        }
    }

    #[test]
    fn only_the_keyword_counts() {
        assert!(has_unsafe_code("    let x = unsafe { y() };"));
        assert!(has_unsafe_code("unsafe fn f() {}"));
        assert!(!has_unsafe_code("#![forbid(unsafe_code)]"));
        assert!(!has_unsafe_code("/// An unsafe block would be wrong here."));
        assert!(!has_unsafe_code("    bail!(\"unsafe\");"));
    }
}
