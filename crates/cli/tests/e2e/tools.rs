//! Debuggers and tracers, and programs that run other programs.

use crate::stage::{Isolation, Stage};

#[test]
fn strace() {
    let stage = Stage::new();
    let client = stage.client("static");
    for isolation in Isolation::BOTH {
        let outcome =
            stage.finish(stage.run(isolation, ["strace", "-f"]).arg(&client)).succeeds().prints("ok static");
        let open = outcome
            .stderr
            .lines()
            .find(|line| line.contains("\"/dev/xen/evtchn\""))
            .unwrap_or_else(|| panic!("{outcome:?}"));
        assert!(open.contains("O_RDWR|O_CLOEXEC) = ") && !open.contains("= -1"), "{open}");
        assert!(
            outcome.stderr.contains("ioctl(") && outcome.stderr.contains("+++ exited with 0 +++"),
            "{outcome:?}"
        );
    }
    stage.is_clean();
}

#[test]
fn strace_around_ioctlab() {
    let stage = Stage::new();
    let mut command = stage.command("strace");
    command.args(["-f", "-o", "/dev/null"]).arg(stage.ioctlab_path()).args([
        "run",
        "--isolation",
        "paths",
        "--",
    ]);
    stage.finish(command.arg(stage.client("static"))).succeeds().prints("ok static");
    stage.is_clean();
}

#[test]
fn gdb() {
    let stage = Stage::new();
    let client = stage.client("static");
    let commands = ["-nx", "-batch", "-ex", "break main", "-ex", "run", "-ex", "bt", "-ex", "continue"];
    for isolation in Isolation::BOTH {
        let mut command = stage.run(isolation, ["gdb"]);
        let outcome = stage.finish(command.args(commands).arg(&client)).succeeds();
        let outcome = outcome.prints("Breakpoint 1, ").prints("#0  ").prints("ok static");
        outcome.prints("exited normally");
    }
    stage.is_clean();
}

#[test]
fn gdb_in_the_middle_of_a_device_call() {
    let stage = Stage::new();
    let client = stage.support("orphan");
    for isolation in Isolation::BOTH {
        // The program blocks in a read; gdb interrupts it, looks, and lets it go on until a signal ends it.
        let script = format!(
            "{} blocked & sleep 0.5; gdb -nx -batch -p $! -ex bt -ex detach; sleep 0.3; \
             grep State /proc/$!/status; kill $!; wait $!; echo status $?",
            client.display()
        );
        let outcome = stage.finish(&mut stage.shell(isolation, &script)).succeeds();
        outcome.prints("#0  ").prints(" main ").prints("(sleeping)").prints("status 143");
    }
    stage.is_clean();
}

#[test]
fn many_programs_in_turn() {
    let stage = Stage::new();
    let client = stage.client("static");
    for isolation in Isolation::BOTH {
        let script =
            format!("for i in $(seq 50); do {} >/dev/null || exit 1; done; echo a''ll", client.display());
        stage.finish(&mut stage.shell(isolation, &script)).succeeds().prints("all");
    }
    stage.is_clean();
}

#[test]
fn programs_that_start_programs() {
    let stage = Stage::new();
    let client = stage.client("static");
    for isolation in Isolation::BOTH {
        for starter in [
            "env",
            "nice",
            "setsid --wait",
            "timeout 20",
            "nohup",
            "xargs -a /dev/null",
            "sh -c '\"$@\"' -",
            "setpriv --no-new-privs",
        ] {
            let script = format!("{starter} {}", client.display());
            stage.finish(&mut stage.shell(isolation, &script)).succeeds().prints("ok static");
        }
    }
    stage.is_clean();
}

#[test]
fn a_program_that_goes_on_after_its_parent() {
    let stage = Stage::new();
    let client = stage.client("static");
    for isolation in Isolation::BOTH {
        // A daemon of a private lab: the lab ends with the program that was run, and what is left gets errors.
        let script = format!(
            "(sleep 0.5; {} >>\"$HOME/late\" 2>&1; echo \"status $?\" >>\"$HOME/late\") & echo started",
            client.display()
        );
        let late = stage.home().join("late");
        let _ = std::fs::remove_file(&late);
        std::fs::write(&late, "").unwrap();
        std::fs::set_permissions(&late, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        stage.finish(&mut stage.shell(isolation, &script)).succeeds().prints("started");
        stage.has_no_processes();
        let text = std::fs::read_to_string(&late).unwrap();
        assert!(!text.contains("ok static"), "{isolation:?}: {text}");
    }
    stage.is_clean();
}

/// What maps a device is traced for a moment, which it can't be if somebody traces it already.
#[test]
fn a_traced_program_cannot_map() {
    let stage = Stage::new();
    let client = stage.client("gnttab");
    for isolation in Isolation::BOTH {
        let mut command = stage.ioctlab(["run", "--trace", "--isolation", isolation.name(), "--"]);
        let outcome = stage.finish(command.args(["strace", "-f"]).arg(&client).arg("one"));
        assert!(!outcome.status.success(), "{outcome:?}");
        assert!(outcome.stderr.contains("errno 1, Operation not permitted"), "{outcome:?}");
        assert!(outcome.stderr.contains("the program is being traced"), "{outcome:?}");
    }
    stage.is_clean();
}
