//! Programs that use a device by VFIO: those of `tests/clients`, and QEMU, DPDK and the tools for PCI as the distribution ships
//! them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::build;
use crate::differences::left_out;
use crate::stage::{Isolation, Stage};

/// The device that the clients of `tests/clients` are for.
const EDU: &str = r#"
[vfio]
locked_memory = "unlimited"

[[vfio.device]]
address = "0000:00:05.0"
model = "edu"
group = 5
driver = "vfio-pci"
"#;

/// `ioctlab run` with this lab, up to the program.
fn run(stage: &Stage, isolation: Isolation, lab: &str) -> Command {
    let lab: PathBuf = stage.write("lab.toml", lab);
    let mut command = stage.ioctlab(["run", "--isolation", isolation.name(), "--lab"]);
    command.arg(lab).arg("--");
    command
}

/// Runs a client on edu, with everything that it says of itself if it fails.
fn passes(isolation: Isolation, interpreter: Option<&str>, file: &str) {
    let stage = Stage::new();
    let mut command = run(&stage, isolation, EDU);
    command.args(interpreter).arg(stage.client(file)).args(left_out(file, isolation, false));
    if isolation == Isolation::Paths {
        // There is no sysfs there to find the group by.
        command.env("VFIO_GROUP", "5");
    }
    let outcome = stage.finish_within(Duration::from_secs(180), &mut command).succeeds();
    assert!(outcome.stdout.lines().last().unwrap_or_default().starts_with("ok"), "{outcome:?}");
    stage.is_clean();
}

#[test]
fn c() {
    passes(Isolation::Namespace, None, "vfio");
}

#[test]
fn c_by_paths() {
    passes(Isolation::Paths, None, "vfio");
}

#[test]
fn c_static() {
    passes(Isolation::Namespace, None, "static_vfio");
}

#[test]
fn python() {
    passes(Isolation::Namespace, Some("python3"), "vfio.py");
}

#[test]
fn go() {
    passes(Isolation::Namespace, None, "vfio-go");
}

#[test]
fn crate_vfio_ioctls() {
    passes(Isolation::Namespace, None, "rust-vfio-ioctls");
}

#[test]
fn crate_pci_driver() {
    passes(Isolation::Namespace, None, "rust-pci-driver");
}

#[test]
fn lspci_and_driverctl() {
    passes(Isolation::Namespace, Some("sh"), "vfio_tools.sh");
}

#[test]
fn qemu_passes_it_through() {
    passes(Isolation::Namespace, Some("sh"), "vfio_qemu.sh");
}

/// EAL starts on the device, maps its memory and the device's BARs, and the driver takes it.
#[test]
fn dpdk() {
    let stage = Stage::new();
    let lab = fs::read_to_string(build::source("labs/dpdk.toml")).unwrap().replace("devices/", "");
    stage.add(&build::source("labs/devices/vmxnet3.lspci"));
    let mut command = run(&stage, Isolation::Namespace, &lab);
    command
        .arg("python3")
        .arg(stage.client("dpdk.py"))
        .args(["librte_ethdev.so.23", "rte_eth_dev_count_avail"]);
    command.args(["-a", "0000:03:00.0", "--no-huge", "--iova-mode=va", "-m", "16", "--no-telemetry"]);
    // EAL leaves files in the runtime directory, so it has another than the stage's own.
    command.env("XDG_RUNTIME_DIR", stage.home());
    let outcome = stage.finish_within(Duration::from_secs(60), &mut command).succeeds();
    assert_eq!(outcome.stdout.lines().last(), Some("ok dpdk.py"), "{outcome:?}");
    assert!(outcome.stderr.contains("EAL: Probe PCI driver: net_vmxnet3"), "{outcome:?}");
    stage.is_clean();
}
