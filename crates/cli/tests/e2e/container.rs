//! Where a seccomp filter refuses mounts, namespaces and access to other processes, as in a container. The clients are run
//! there, too: see `clients`.

use crate::stage::{Isolation, Stage};

#[test]
fn the_environment_is_as_it_should_be() {
    let stage = Stage::new();
    for script in ["unshare --user true", "unshare --mount true", "mount -t tmpfs none /mnt"] {
        let confined = stage.finish(stage.command(stage.support("confined")).args(["sh", "-c", script]));
        assert_ne!(confined.status.code(), Some(0), "{script}");
    }
    stage
        .finish(stage.command(stage.support("confined")).args(["unshare", "--user", "true"]))
        .complains("not permitted");
}

#[test]
fn paths_are_chosen_without_being_asked_for() {
    let stage = Stage::new();
    let script = "readlink /proc/self/ns/mnt && ls -l /dev/xen/evtchn";
    let mut command = stage.command(stage.support("confined"));
    command.arg(stage.ioctlab_path()).args(["run", "--", "sh", "-c", script]);
    let own = std::fs::read_link("/proc/self/ns/mnt").unwrap();
    stage.finish(&mut command).succeeds().prints(own.to_str().unwrap()).prints("crw-------");
    stage.is_clean();
}

#[test]
fn a_namespace_that_is_asked_for_is_an_error() {
    let stage = Stage::new();
    let mut command = stage.command(stage.support("confined"));
    command.arg(stage.ioctlab_path()).args(["run", "--isolation", "namespace", "--", "true"]);
    stage.finish(&mut command).gives(125).complains("--isolation paths");
    stage.is_clean();
}

#[test]
fn a_namespace_is_chosen_where_it_can_be_had() {
    let stage = Stage::new();
    let own = std::fs::read_link("/proc/self/ns/mnt").unwrap();
    let outcome = stage.finish(&mut stage.ioctlab(["run", "--", "readlink", "/proc/self/ns/mnt"])).succeeds();
    assert_ne!(outcome.stdout.trim(), own.to_str().unwrap());
    let outcome =
        stage.finish(&mut stage.run(Isolation::Paths, ["readlink", "/proc/self/ns/mnt"])).succeeds();
    assert_eq!(outcome.stdout.trim(), own.to_str().unwrap());
}
