//! The probes that were run on Linux, under Xen and with an IOMMU, run under ioctlab: their lines must be those that they printed
//! there.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::build;
use crate::stage::{Isolation, Stage};

/// In a namespace, an ordinary user's nodes don't have the numbers of devices; `docs/differences.md` says so under "The device
/// nodes".
const NODES: &[&str] = &["c.stat"];

/// Groups of the Xen probe's steps: how they are asked for, and the record of what they printed there.
const XEN_GROUPS: &[(&str, &str)] =
    &[("ev", "evtchn.txt"), ("ga", "gntalloc.txt"), ("gd,gn,gc", "gntdev.txt")];

#[test]
fn xen_namespace() {
    xen(Isolation::Namespace);
}

#[test]
fn xen_paths() {
    xen(Isolation::Paths);
}

fn xen(isolation: Isolation) {
    for (groups, record) in XEN_GROUPS {
        let stage = Stage::new();
        let lab = stage.add(&build::source("labs/oracle-xen.toml"));
        let probe = stage.add(&build::probe("xen"));
        let mut command = stage.ioctlab(["run", "--isolation", isolation.name(), "--lab"]);
        command.arg(lab).arg("--").arg(probe).args(["-L", "-o", groups]);
        conforms(&stage, &mut command, &lines(record), &[]);
    }
}

/// The whole record: edu, two cloned devices, and two devices in one group, whose drivers are changed by way of sysfs.
#[test]
fn vfio() {
    vfio_by_sysfs("oracle-vfio.toml", &[], "vfio.txt", NODES);
}

/// With an IOMMU that can't remap interrupts, in which no group gets a container's IOMMU.
#[test]
fn vfio_without_remapping() {
    vfio_by_sysfs("oracle-vfio-nointremap.toml", &["-o", "g,dev"], "vfio-nointremap.txt", &[]);
}

fn vfio_by_sysfs(lab: &str, options: &[&str], record: &str, known: &[&str]) {
    let stage = Stage::new();
    let lab = vfio_lab(&stage, lab, |text| text);
    let mut command = stage.ioctlab(["run", "--isolation", "namespace", "--lab"]);
    command.arg(lab).arg("--").arg(stage.add(&build::source("tests/oracle/vfio.sh")));
    command.arg(stage.add(&build::probe("vfio"))).arg("-L").args(options);
    conforms(&stage, &mut command, &lines(record), known);
}

/// Where there is no sysfs: each device that has a group to itself, bound beforehand.
#[test]
fn vfio_paths() {
    let record = lines("vfio.txt");
    for (section, group, address, kind) in [
        ("A", 5, "0000:00:05.0", "edu"),
        ("B", 6, "0000:00:06.0", "other"),
        ("C", 7, "0000:00:07.0", "other"),
    ] {
        let stage = Stage::new();
        let bound = |text: String| text.replace("driver = \"\"", "driver = \"vfio-pci\"");
        let lab = vfio_lab(&stage, "oracle-vfio.toml", bound);
        let mut command = stage.ioctlab(["run", "--isolation", "paths", "--lab"]);
        command.arg(lab).arg("--").arg(stage.add(&build::probe("vfio"))).arg("-L");
        if kind == "other" {
            command.args(["-o", "d,k,b,i,r"]);
        }
        command
            .env("VFIO_GROUP", format!("/dev/vfio/{group}"))
            .env("VFIO_DEV", address)
            .env("VFIO_KIND", kind);
        let start = format!("## {section}:");
        let of_section = record.iter().skip_while(|line| !line.starts_with(&start)).skip(1);
        let recorded: Vec<String> = of_section.take_while(|line| !line.starts_with("##")).cloned().collect();
        conforms(&stage, &mut command, &recorded, &[]);
    }
}

/// A lab file on the stage, with the texts of its devices next to it.
fn vfio_lab(stage: &Stage, lab: &str, change: impl FnOnce(String) -> String) -> PathBuf {
    let labs = build::source("labs");
    for device in ["e1000e.lspci", "nvme.lspci", "e1000.lspci"] {
        stage.add(&labs.join("devices").join(device));
    }
    let text = fs::read_to_string(labs.join(lab)).unwrap().replace("devices/", "");
    stage.write("lab.toml", &change(text))
}

fn lines(record: &str) -> Vec<String> {
    let text = fs::read_to_string(build::source("tests/oracle").join(record)).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The lines that a probe prints are the recorded ones, but for the steps that are `known` to differ. One that is equal must not be
/// among them.
fn conforms(stage: &Stage, probe: &mut Command, recorded: &[String], known: &[&str]) {
    let outcome = stage.finish_within(Duration::from_secs(120), probe).succeeds();
    let is_step = |line: &&str| line.starts_with("## ") || line.contains(" -> ") && !line.starts_with('#');
    let recorded: Vec<&str> = recorded.iter().map(|line| line.trim_end()).filter(is_step).collect();
    let given: Vec<&str> = outcome.stdout.lines().map(str::trim_end).filter(is_step).collect();

    let steps = |lines: &[&str]| lines.iter().map(|line| step(line).to_owned()).collect::<Vec<_>>();
    let (recorded_steps, given_steps) = (steps(&recorded), steps(&given));
    let parted = recorded_steps.iter().zip(&given_steps).position(|(one, other)| one != other);
    assert_eq!(
        (parted, given.len()),
        (None, recorded.len()),
        "the steps aren't the same: after `{}` came `{}`\n{}",
        parted.and_then(|at| recorded.get(at.checked_sub(1)?)).unwrap_or(&"nothing"),
        parted.and_then(|at| given.get(at)).unwrap_or(&"nothing"),
        outcome.stderr
    );
    assert!(!recorded.is_empty(), "nothing is compared");
    let mut wrong = Vec::new();
    for (recorded, given) in recorded.iter().zip(&given) {
        match (recorded == given, known.contains(&step(recorded))) {
            (true, false) | (false, true) => {}
            (false, false) => wrong.push(format!("there: {recorded}\nhere:  {given}")),
            (true, true) => wrong.push(format!("listed as different, but equal: {recorded}")),
        }
    }
    assert!(wrong.is_empty(), "{} lines:\n{}", wrong.len(), wrong.join("\n"));
    stage.is_clean();
}

fn step(line: &str) -> &str {
    line.split(" -> ").next().unwrap_or(line)
}
