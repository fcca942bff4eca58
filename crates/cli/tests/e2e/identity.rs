//! Who a program is: the same user, without a right more.

use crate::stage::{Isolation, Stage, running_as_root};

#[test]
fn the_user_is_the_same_inside() {
    let stage = Stage::new();
    for question in [
        "id -u",
        "id -g",
        "id -un",
        "umask",
        "pwd",
        "ulimit -n",
        "cat /proc/self/oom_score_adj",
        "echo $PATH",
    ] {
        let outside = stage.finish(stage.command("sh").args(["-c", question])).succeeds();
        for isolation in Isolation::BOTH {
            let inside = stage.finish(&mut stage.shell(isolation, question)).succeeds();
            assert_eq!(inside.stdout, outside.stdout, "{question} ({isolation:?})");
        }
    }
}

#[test]
fn the_environment_is_the_same_inside() {
    let stage = Stage::new();
    let sorted = |text: &str| {
        let mut lines: Vec<String> =
            text.lines().filter(|line| !line.starts_with("_=")).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let outside = stage.finish(&mut stage.command("env")).succeeds();
    for isolation in Isolation::BOTH {
        let inside = stage.finish(&mut stage.run(isolation, ["env"])).succeeds();
        assert_eq!(sorted(&inside.stdout), sorted(&outside.stdout));
    }
}

#[test]
fn a_program_has_no_capabilities() {
    let stage = Stage::new();
    for isolation in Isolation::BOTH {
        let status = stage.finish(&mut stage.run(isolation, ["cat", "/proc/self/status"])).succeeds();
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let line = status.stdout.lines().find(|line| line.starts_with(set)).unwrap();
            assert!(line.ends_with("\t0000000000000000"), "{isolation:?}: {line}");
        }
    }
}

#[test]
fn a_program_inherits_no_descriptors() {
    let stage = Stage::new();
    // Who runs the tests may have left some open.
    let outside = stage.finish(stage.command("ls").arg("/proc/self/fd")).succeeds();
    for isolation in Isolation::BOTH {
        let inside = stage.finish(&mut stage.run(isolation, ["ls", "/proc/self/fd"])).succeeds();
        assert_eq!(inside.stdout, outside.stdout, "{isolation:?}");
    }
}

#[test]
fn signals_are_as_they_would_be() {
    let stage = Stage::new();
    let question = "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status";
    let outside = stage.finish(stage.command("/bin/sh").args(["-c", question])).succeeds();
    for isolation in Isolation::BOTH {
        let inside = stage.finish(&mut stage.shell(isolation, question)).succeeds();
        assert_eq!(inside.stdout, outside.stdout, "{isolation:?}");
    }
}

#[test]
fn the_rest_of_dev_is_there() {
    let stage = Stage::new();
    let outside = stage.finish(stage.command("ls").arg("/dev")).succeeds();
    for isolation in Isolation::BOTH {
        let inside = stage.finish(&mut stage.run(isolation, ["ls", "/dev"])).succeeds();
        for name in outside.stdout.lines() {
            assert!(inside.stdout.lines().any(|line| line == name), "{isolation:?}: /dev/{name} is missing");
        }
    }
    stage
        .finish(&mut stage.shell(
            Isolation::Namespace,
            "echo x >/dev/null && head -c 1 /dev/zero | wc -c && echo y >/dev/shm/$$ && rm /dev/shm/$$",
        ))
        .succeeds();
}

/// Root makes nodes with their true numbers, and needs no user namespace.
#[test]
fn root() {
    if !running_as_root() {
        // Only root can show what root gets; the other tests have shown what this user gets.
        assert!(std::env::var_os("CI").is_none(), "this test needs root, and CI has to run it");
        eprintln!("NOT RUN: this test needs root");
        return;
    }
    let stage = Stage::without_stepping_down();
    for isolation in Isolation::BOTH {
        stage.finish(&mut stage.shell(isolation, "id -u")).succeeds().prints("0");
        stage
            .finish(stage.run(isolation, [stage.client("static")]).args([""; 0]))
            .succeeds()
            .prints("ok static");
        let differences = ["-stat-link"];
        stage
            .finish(stage.run(isolation, [stage.client("stat")]).args(differences))
            .succeeds()
            .prints("ok stat");
    }
    stage.is_clean();
}
