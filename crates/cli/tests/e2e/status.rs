//! Exit statuses, and what ioctlab says about what goes wrong.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::job::SOON;
use crate::shared::Lab;
use crate::stage::{Isolation, Stage};

#[test]
fn the_status_is_the_programs() {
    let stage = Stage::new();
    for isolation in Isolation::BOTH {
        for status in [0, 1, 3, 125, 255] {
            stage.finish(&mut stage.shell(isolation, &format!("exit {status}"))).gives(status);
        }
    }
    stage.is_clean();
}

#[test]
fn a_signal_that_kills_the_program_shows_in_the_status() {
    let stage = Stage::new();
    for isolation in Isolation::BOTH {
        for (signal, status) in [("KILL", 137), ("TERM", 143), ("SEGV", 139), ("INT", 130)] {
            stage.finish(&mut stage.shell(isolation, &format!("kill -{signal} $$"))).gives(status);
        }
    }
    stage.is_clean();
}

#[test]
fn signals_from_outside_are_passed_on() {
    let stage = Stage::new();
    for (signal, status) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::USR1, 138)] {
        let mut job = stage.start(&mut stage.shell(Isolation::Paths, "echo ready; sleep 100 & wait"));
        job.expect("ready");
        job.signal(signal);
        job.wait(SOON).gives(status);
        for (process, _) in stage.processes() {
            // The shell's child outlives it, as it would without ioctlab.
            let _ =
                rustix::process::kill_process(rustix::process::Pid::from_raw(process).unwrap(), Signal::KILL);
        }
    }
    let script = "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let mut job = stage.start(&mut stage.shell(Isolation::Namespace, script));
    job.expect("ready");
    job.signal(Signal::TERM);
    job.wait(SOON).gives(7).prints("caught");
    stage.is_clean();
}

#[test]
fn no_such_program() {
    let stage = Stage::new();
    for isolation in Isolation::BOTH {
        for program in ["no-such-program", "./no-such-program", "/no/such/program"] {
            let outcome = stage.finish(&mut stage.run(isolation, [program])).gives(127);
            assert_eq!(
                outcome.stderr,
                format!("ioctlab: cannot run `{program}`: No such file or directory\n")
            );
        }
    }
    stage.is_clean();
}

#[test]
fn not_executable() {
    let stage = Stage::new();
    let file = stage.write("no-program", "just text\n");
    for isolation in Isolation::BOTH {
        stage.finish(&mut stage.run(isolation, [&file])).gives(126).complains("Permission denied");
        stage.finish(&mut stage.run(isolation, ["/"])).gives(126).complains("cannot run `/`: ");
    }
    stage.is_clean();
}

#[test]
fn unusable_lab_files() {
    let stage = Stage::new();
    let run = |lab: &str| {
        let mut command = stage.ioctlab(["run", "--lab", lab, "--", "true"]);
        stage.finish(&mut command).gives(125)
    };
    run("missing.toml").complains("missing.toml").complains("No such file");
    let wrong = stage.write("wrong.toml", "[xen]\n\n[[xen.domain]]\nid = 0\nvcpu = 4\n");
    let wrong = wrong.to_str().unwrap();
    run(wrong).complains(&format!("{wrong}:5:")).complains("vcpu").complains("vcpus");
    let broken = stage.write("broken.toml", "[xen\n");
    run(broken.to_str().unwrap()).complains("broken.toml:1:");
    stage
        .finish(&mut stage.ioctlab(["up", "--lab", wrong, &stage.lab_name()]))
        .gives(125)
        .complains(&format!("{wrong}:5:"));
    stage.is_clean();
}

#[test]
fn an_unknown_domain() {
    let stage = Stage::new();
    let outcome = stage.finish(&mut stage.ioctlab(["run", "--domain", "7", "--", "true"])).gives(125);
    assert_eq!(outcome.stderr, "ioctlab: the lab has no domain 7; it has 0, 1, 2\n");
    let lab = Lab::up(&stage);
    stage.finish(lab.run(None, Some(7)).arg("true")).gives(125).complains("no domain 7");
    lab.down();
    stage.is_clean();
}

#[test]
fn a_run_within_a_run() {
    let stage = Stage::new();
    let ioctlab = stage.ioctlab_path();
    for isolation in Isolation::BOTH {
        let inner = [ioctlab.to_str().unwrap(), "run", "--isolation", isolation.name(), "--", "true"];
        stage.finish(&mut stage.run(isolation, inner)).gives(125).complains("only one");
    }
    stage.is_clean();
}

#[test]
fn a_lab_that_is_not_up() {
    let stage = Stage::new();
    let name = stage.lab_name();
    for command in [
        vec!["run", "--in", &name, "--", "true"],
        vec!["down", &name],
        vec!["xen", "virq", "--in", &name, "DOM_EXC"],
    ] {
        let outcome = stage.finish(&mut stage.ioctlab(command)).gives(125);
        assert_eq!(
            outcome.stderr,
            format!(
                "ioctlab: no lab `{name}` is up; `ioctlab up {name}` brings one up, `ioctlab list` lists them\n"
            )
        );
    }
    stage.is_clean();
}

#[test]
fn a_name_that_is_taken() {
    let stage = Stage::new();
    let lab = Lab::up(&stage);
    stage.finish(&mut stage.ioctlab(["up", lab.name()])).gives(125).complains("is up already");
    // The one that is there goes on.
    stage.finish(lab.run(None, None).arg("true")).succeeds();
    lab.down();
    // And the name is free again.
    Lab::up(&stage).down();
    stage.is_clean();
}

#[test]
fn usage_errors() {
    let stage = Stage::new();
    for wrong in
        [vec!["run"], vec!["run", "--no-such-option", "true"], vec!["no-such-command"], vec!["up", "a/b"]]
    {
        let outcome = stage.finish(&mut stage.ioctlab(wrong));
        assert_eq!(outcome.status.code(), Some(2), "{outcome:?}");
    }
}

#[test]
fn output_that_nobody_reads() {
    let stage = Stage::new();
    let ioctlab = stage.ioctlab_path();
    // `yes` is killed by SIGPIPE, as it would be without ioctlab in between.
    let script = format!("{{ {} run -- yes; echo $? >status; }} | head -1", ioctlab.display());
    stage.finish(stage.command("sh").args(["-c", &script])).succeeds().prints("y");
    crate::job::until(Duration::from_secs(10), "a status", || {
        fs::read_to_string(stage.home().join("status")).is_ok_and(|status| status == "141\n")
    });
}
