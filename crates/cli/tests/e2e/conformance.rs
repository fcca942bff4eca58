//! The probe that was run on Linux under Xen, run under ioctlab: its lines must be those that it printed there.

use std::fs;
use std::time::Duration;

use crate::build;
use crate::stage::{Isolation, Stage};

/// Lines that are known to differ, by their step, each with the heading in `docs/differences.md` that says why. A line that is equal
/// must not be here.
const DIFFERENCES: &[(&str, &str)] = &[
    // Writing to the kernel's log raises VIRQ_CON_RING there; see the lab file.
];

/// Groups of the probe's steps: how they are asked for, and the record of what they printed there.
const GROUPS: &[(&str, &str)] = &[("ev", "evtchn.txt"), ("ga", "gntalloc.txt"), ("gd,gn,gc", "gntdev.txt")];

#[test]
fn namespace() {
    conforms(Isolation::Namespace);
}

#[test]
fn paths() {
    conforms(Isolation::Paths);
}

fn conforms(isolation: Isolation) {
    for (groups, record) in GROUPS {
        conforms_in(isolation, groups, record);
    }
}

fn conforms_in(isolation: Isolation, groups: &str, record: &str) {
    let stage = Stage::new();
    let lab = stage.add(&build::source("labs/oracle-xen.toml"));
    let probe = stage.add(&build::probe());
    let mut command = stage.ioctlab(["run", "--isolation", isolation.name(), "--lab"]);
    command.arg(lab).arg("--").arg(probe).args(["-L", "-o", groups]);
    let outcome = stage.finish_within(Duration::from_secs(120), &mut command).succeeds();
    let recorded = fs::read_to_string(build::source("tests/oracle").join(record)).unwrap();
    let recorded: Vec<&str> = recorded.lines().collect();
    let is_step = |line: &&str| line.contains(" -> ") && !line.starts_with('#');
    let given: Vec<&str> = outcome.stdout.lines().filter(is_step).collect();

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
    let mut wrong = Vec::new();
    for (recorded, given) in recorded.iter().zip(&given) {
        let listed = DIFFERENCES.iter().any(|(name, _)| *name == step(recorded));
        match (recorded == given, listed) {
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
