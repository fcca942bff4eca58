//! `--trace`: a line for each device call.

use std::fs;
use std::path::Path;

use crate::shared::Lab;
use crate::stage::{Isolation, Stage};

/// The calls of `tests/clients/static.c`, then one that fails.
const SCRIPT: &str = "\"$0\" && python3 -c \"import os
f = os.open('/dev/xen/evtchn', os.O_RDONLY)
try: os.write(f, bytes(4))
except OSError: print('as it should be')\"";

/// The trace must have a line for each of these, with all of the words, in this order.
fn has_calls(trace: &str) {
    let expected: &[&[&str]] = &[
        &["open(\"/dev/xen/evtchn\", O_RDWR|O_CLOEXEC) = "],
        &["ioctl(", "</dev/xen/evtchn>, IOCTL_EVTCHN_BIND_UNBOUND_PORT", "remote_domain=0", ") = "],
        &[
            "ioctl(",
            "</dev/xen/evtchn>, IOCTL_EVTCHN_BIND_INTERDOMAIN",
            "remote_domain=0",
            "remote_port=",
            ") = ",
        ],
        &["read(", "</dev/xen/evtchn>", ", 4) = "],
        &["write(", "</dev/xen/evtchn>", ", 4) = 4"],
        &["ioctl(", "IOCTL_EVTCHN_NOTIFY", "port=", ") = 0"],
        &["ioctl(", "IOCTL_EVTCHN_UNBIND", "port=", ") = 0"],
        &["open(\"/dev/xen/evtchn\", O_RDONLY", ") = "],
        &["write(", ", 4) = -1 EBADF"],
    ];
    let mut lines = trace.lines();
    for words in expected {
        let found = lines.any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "no line (from there on) with {words:?} in:\n{trace}");
    }
    for line in trace.lines() {
        assert!(line.starts_with('[') && line.ends_with('>'), "{line}");
    }
}

#[test]
fn to_standard_error() {
    let stage = Stage::new();
    let client = stage.client("static");
    for isolation in Isolation::BOTH {
        let mut command =
            stage.ioctlab(["run", "--trace", "--isolation", isolation.name(), "--", "sh", "-c", SCRIPT]);
        let outcome = stage.finish(command.arg(&client)).prints("as it should be");
        let trace: Vec<&str> = outcome.stderr.lines().filter(|line| line.starts_with('[')).collect();
        has_calls(&trace.join("\n"));
    }
}

#[test]
fn to_a_file() {
    let stage = Stage::new();
    let client = stage.client("static");
    for isolation in Isolation::BOTH {
        let file = stage.home().join(format!("trace-{}", isolation.name()));
        let option = format!("--trace={}", file.display());
        let mut command =
            stage.ioctlab(["run", &option, "--isolation", isolation.name(), "--", "sh", "-c", SCRIPT]);
        let outcome = stage.finish(command.arg(&client)).prints("as it should be");
        assert!(!outcome.stderr.contains("IOCTL_EVTCHN"), "{outcome:?}");
        has_calls(&fs::read_to_string(file).unwrap());
    }
}

#[test]
fn of_a_shared_lab() {
    let stage = Stage::new();
    let client = stage.client("static");
    let file = stage.home().join("trace");
    let lab = Lab::up_with(&stage, &[&format!("--trace={}", file.display())]);
    stage
        .finish(lab.run(Some(Isolation::Paths), None).args(["sh", "-c", SCRIPT]).arg(&client))
        .prints("as it should be");
    lab.down();
    has_calls(&fs::read_to_string(file).unwrap());
}

#[test]
fn to_a_file_that_cannot_be_written() {
    let stage = Stage::new();
    let file = Path::new("/no/such/directory/trace");
    let option = format!("--trace={}", file.display());
    stage
        .finish(&mut stage.ioctlab(["run", &option, "--", "true"]))
        .gives(125)
        .complains("/no/such/directory/trace");
}
