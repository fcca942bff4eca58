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

/// The shell of an accelerator for data streams, as much as DPDK's driver wants of it: registers that tell of one group, one
/// engine and one queue of 16 entries, and where those are configured.
const IDXD: &str = r#"
[vfio]
locked_memory = "unlimited"

[[vfio.device]]
address = "0000:00:06.0"
model = "clone"
lspci = "idxd.lspci"
group = 6
driver = "vfio-pci"

[vfio.device.contents]
bar0 = """
00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00
00 00 85 02 00 00 00 00 00 00 00 00 00 00 00 00
10 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00
01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
04 00 05 00 00 00 00 00 00 00 00 00 00 00 00 00
"""
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
    passes(Isolation::Namespace, Some("bash"), "vfio_tools.sh");
}

#[test]
fn qemu_passes_it_through() {
    passes(Isolation::Namespace, Some("sh"), "vfio_qemu.sh");
}

/// EAL starts on the device, maps its memory and the device's BARs, and the driver takes it.
fn dpdk(lab: &str, lspci: &str, address: &str, count: [&str; 2], driver: &str) {
    let stage = Stage::new();
    stage.add(&build::source("labs/devices").join(lspci));
    let mut command = run(&stage, Isolation::Namespace, lab);
    command.arg("python3").arg(stage.client("dpdk.py")).args(count);
    command.args(["-a", address, "--no-huge", "--iova-mode=va", "-m", "16", "--no-telemetry"]);
    // EAL leaves files in the runtime directory, so it has another than the stage's own.
    command.env("XDG_RUNTIME_DIR", stage.home());
    let outcome = stage.finish_within(Duration::from_secs(60), &mut command).succeeds();
    assert_eq!(outcome.stdout.lines().last(), Some("ok dpdk.py"), "{outcome:?}");
    assert!(outcome.stderr.contains(&format!("EAL: Probe PCI driver: {driver} ")), "{outcome:?}");
    stage.is_clean();
}

#[test]
fn dpdk_accelerator() {
    let count = ["librte_dmadev.so.23", "rte_dma_count_avail"];
    dpdk(IDXD, "idxd.lspci", "0000:00:06.0", count, "dmadev_idxd_pci");
}

/// In the lab that is there for it.
#[test]
fn dpdk_network_card() {
    let lab = fs::read_to_string(build::source("labs/dpdk.toml")).unwrap().replace("devices/", "");
    let count = ["librte_ethdev.so.23", "rte_eth_dev_count_avail"];
    dpdk(&lab, "vmxnet3.lspci", "0000:03:00.0", count, "net_vmxnet3");
}
