//! Odd ways to use descriptors: very many, very few, limits.

use std::time::Duration;

use crate::stage::{Isolation, Stage};

fn descriptors(subtest: &str) {
    let stage = Stage::new();
    for isolation in Isolation::BOTH {
        let mut command = stage.run(isolation, [stage.support("descriptors").as_os_str(), subtest.as_ref()]);
        stage.finish_within(Duration::from_secs(60), &mut command).succeeds().prints("ok descriptors");
    }
    stage.is_clean();
}

#[test]
fn two_hundred_devices() {
    descriptors("two-hundred");
}

/// More than there are numbers for devices.
#[test]
fn six_hundred_devices() {
    descriptors("six-hundred");
}

#[test]
fn devices_among_nine_hundred_other_files() {
    descriptors("crowded");
}

#[test]
fn a_device_at_every_number() {
    descriptors("every-number");
}

/// The numbers that devices are given are above the limit then.
#[test]
fn a_low_limit_inside() {
    let stage = Stage::new();
    for isolation in Isolation::BOTH {
        for client in ["static", "fork", "scm", "block"] {
            let left_out = crate::differences::left_out(client, isolation, true).join(" ");
            let script = format!("ulimit -n 256; exec {} {left_out}", stage.client(client).display());
            stage.finish_within(Duration::from_secs(60), &mut stage.shell(isolation, &script)).succeeds();
        }
    }
    stage.is_clean();
}

#[test]
fn a_low_limit_outside() {
    let stage = Stage::new();
    for isolation in Isolation::BOTH {
        for client in ["static", "fork"] {
            let script = format!(
                "ulimit -n 256; exec {} run --isolation {} -- {}",
                stage.ioctlab_path().display(),
                isolation.name(),
                stage.client(client).display()
            );
            stage
                .finish_within(Duration::from_secs(60), stage.command("sh").args(["-c", &script]))
                .succeeds();
        }
    }
    stage.is_clean();
}

#[test]
fn closed_standard_streams() {
    let stage = Stage::new();
    for isolation in Isolation::BOTH {
        for closed in ["<&-", ">&-", "<&- >&-", "<&- >&- 2>&-"] {
            let script = format!(
                "{} run --isolation {} -- {} {closed}; echo status $?",
                stage.ioctlab_path().display(),
                isolation.name(),
                stage.client("static").display()
            );
            stage.finish(stage.command("sh").args(["-c", &script])).prints("status 0");
        }
    }
    stage.is_clean();
}

#[test]
fn inherited_descriptors() {
    let stage = Stage::new();
    for isolation in Isolation::BOTH {
        // Also where ioctlab would have its own files, and where devices go.
        for (redirections, reads) in [("3<f 9<f", "cat <&3; cat <&9"), ("800<f", "cat <&800")] {
            let script = format!(
                "echo text >f && exec {redirections} && {} run --isolation {} -- bash -c '{reads}; {}'",
                stage.ioctlab_path().display(),
                isolation.name(),
                stage.client("static").display()
            );
            stage
                .finish(stage.command("bash").args(["-c", &script]))
                .succeeds()
                .prints("text\n")
                .prints("ok static");
        }
    }
    stage.is_clean();
}
