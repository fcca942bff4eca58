//! The packages that tests, demo and benchmarks need, installed as far as they are missing.
//!
//! Asking dpkg what is there takes milliseconds, so every command that needs packages asks first.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{finish, in_ci, is_installed, run};
use crate::stage::running_as_root;

/// Something that must be on the machine.
pub(crate) struct Need {
    package: &'static str,
    /// A program whose presence will do, for machines that have it from elsewhere than a package.
    program: Option<&'static str>,
    /// What can't be done without it, for what isn't needed everywhere.
    optional: Option<&'static str>,
}

const fn package(package: &'static str) -> Need {
    Need { package, program: None, optional: None }
}

const fn program(package: &'static str, program: &'static str) -> Need {
    Need { package, program: Some(program), optional: None }
}

/// What the tests and the benchmarks need. Anything after the first four is not needed by the demo.
pub(crate) const EVERYTHING: &[Need] = &[
    program("gcc", "gcc"),
    package("libc6-dev"),
    // Brings libxenevtchn.so.1 with it, whichever package that is in.
    package("libxen-dev"),
    program("python3", "python3"),
    // xenstored, its test and vchan-socket-proxy; and the command line tools of xenstore.
    package("xen-utils-4.17"),
    package("xenstore-utils"),
    program("golang-go", "go"),
    program("strace", "strace"),
    program("gdb", "gdb"),
    package("libaio-dev"),
    program("umockdev", "umockdev-run"),
    // Clients of VFIO: lspci; driverctl; QEMU; DPDK's environment with two drivers.
    program("pciutils", "lspci"),
    program("driverctl", "driverctl"),
    program("qemu-system-x86", "qemu-system-x86_64"),
    package("librte-dma-idxd23"),
    package("librte-net-vmxnet3-23"),
    // The Rust client's library generates its bindings from Xen's headers.
    Need { package: "libclang-dev", program: None, optional: Some("client in Rust") },
    // 32-bit clients; there is no such package on other processors.
    Need { package: "gcc-multilib", program: None, optional: Some("32-bit clients") },
];

/// What the demo needs.
pub(crate) const DEMO: &[Need] = EVERYTHING.split_at(4).0;

/// Installs what is missing. What can't be had is an error if it is needed, and always in continuous integration.
pub(crate) fn install(needs: &[Need]) -> Result<()> {
    let missing = missing(needs)?;
    let (needed, optional): (Vec<&Need>, Vec<&Need>) =
        missing.into_iter().filter(|need| can_exist_here(need)).partition(|need| need.optional.is_none());
    if needed.is_empty() && optional.is_empty() {
        return Ok(());
    }
    if !is_installed("apt-get") {
        let names: Vec<&str> = needed.iter().filter_map(|need| need.program).collect();
        bail!("this isn't Debian or Ubuntu: please install by hand {}", names.join(" "));
    }
    if !needed.is_empty() {
        let names: Vec<&str> = needed.iter().map(|need| need.package).collect();
        println!("Installing {}", names.join(" "));
        apt_get_install(&names).with_context(|| by_hand(&names))?;
    }
    for Need { package, optional, .. } in optional {
        println!("Installing {package}");
        match apt_get_install(&[package]) {
            Err(error) if in_ci() => return Err(error.context(by_hand(&[package]))),
            Err(_) => println!("Going on without {package}: no {}", optional.unwrap_or_default()),
            Ok(()) => {}
        }
    }
    Ok(())
}

fn by_hand(packages: &[&str]) -> String {
    let packages = packages.join(" ");
    format!(
        "packages couldn't be installed; please run this, then try again:\n    \
         sudo apt-get update && sudo apt-get install --no-install-recommends {packages}\nwhat failed"
    )
}

fn can_exist_here(need: &Need) -> bool {
    need.package != "gcc-multilib" || cfg!(target_arch = "x86_64")
}

fn missing(needs: &[Need]) -> Result<Vec<&Need>> {
    let by_dpkg = is_installed("dpkg-query");
    let installed = if by_dpkg { installed_packages(needs)? } else { String::new() };
    Ok(needs
        .iter()
        .filter(|need| !need.program.is_some_and(is_installed))
        // Elsewhere than on Debian a package's name says nothing; what lacks a header will fail to compile, and say so.
        .filter(|need| by_dpkg || need.program.is_some())
        .filter(|need| !installed.lines().any(|name| name == need.package))
        .collect())
}

/// One line for each package that is installed, of those asked for.
fn installed_packages(needs: &[Need]) -> Result<String> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status} ${Package}\n"]);
    query.args(needs.iter().map(|need| need.package));
    // It also fails when only some of the packages are unknown.
    let answer = finish(&mut query)?;
    let lines = String::from_utf8_lossy(&answer.stdout);
    Ok(lines.lines().filter_map(|line| line.strip_prefix("installed ")).collect::<Vec<_>>().join("\n"))
}

fn apt_get_install(packages: &[&str]) -> Result<()> {
    // An index that was never fetched, or is old, names packages that can't be had.
    apt_get(&["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(packages);
    apt_get(&arguments)
}

/// Runs apt-get with the rights it takes: as root, or through sudo if that asks no question.
fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = if running_as_root()? {
        Command::new("env")
    } else {
        ensure!(is_installed("sudo"), "only root can install packages, and there is no sudo");
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "env"]);
        sudo
    };
    // A machine that has just been started may still be installing its own updates.
    let wait_for_others = "DPkg::Lock::Timeout=300";
    run(command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", wait_for_others]).args(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_needs_a_part_of_everything_and_nothing_optional() {
        assert_eq!(
            DEMO.iter().map(|need| need.package).collect::<Vec<_>>(),
            ["gcc", "libc6-dev", "libxen-dev", "python3"]
        );
        assert!(DEMO.iter().all(|need| need.optional.is_none()));
    }
}
