//! Xen's own programs, as the distribution ships them, in several domains of a shared lab: xenstored and the tools that talk
//! to it, libxengnttab, libxenvchan and its proxy.

use std::time::Duration;

use crate::shared::Lab;
use crate::stage::{Isolation, Stage};

/// What the scripts find next to themselves.
const NEXT_TO_THEM: [&str; 4] = ["store.sh", "introduce", "vchan_stream", "vchan_packet"];

/// Runs one of the scripts of `tests/clients`, which run commands in domains 0 and 1.
fn script(isolation: Isolation, name: &str, arguments: &[&str], settings: &[(&str, &str)], last: &str) {
    script_within(Duration::from_secs(180), isolation, name, arguments, settings, last);
}

fn script_within(
    limit: Duration,
    isolation: Isolation,
    name: &str,
    arguments: &[&str],
    settings: &[(&str, &str)],
    last: &str,
) {
    let stage = Stage::new();
    let lab = Lab::up(&stage);
    for file in NEXT_TO_THEM {
        stage.client(file);
    }
    let run = |domain: u16| {
        let command = lab.run(Some(isolation), Some(domain));
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
        format!("{} env XEN_SELF={domain}", words.join(" "))
    };
    let mut command = stage.command("sh");
    command.arg(stage.client(name)).args(arguments).env("RUN0", run(0)).env("RUN1", run(1));
    command.envs(settings.iter().copied());
    let outcome = stage.finish_within(limit, &mut command).succeeds();
    assert_eq!(outcome.stdout.lines().last(), Some(last), "{outcome:?}");
    for line in outcome.stdout.lines().filter(|line| line.contains("MB/s")) {
        eprintln!("{isolation:?}: {line}");
    }
    lab.is_unused();
    lab.down();
    stage.is_clean();
}

/// A pair of clients, in domain 1 and in domain 0, connected by their standard streams.
fn pair(isolation: Isolation, one: &str, other: &str) {
    let stage = Stage::new();
    let path = |command: &str| {
        let (program, arguments) = command.split_once(' ').unwrap();
        format!("{} {arguments}", stage.client(program).display())
    };
    let (one, other) = (path(one), path(other));
    // The programs stand on a stage of their own, which has to outlast them.
    script(isolation, "pair.sh", &[&one, &other], &[], "ok pair");
}

#[test]
fn xenstored_and_its_tools() {
    script(Isolation::Namespace, "xenstore.sh", &[], &[], "ok xenstore.sh");
}

#[test]
fn xenstored_and_its_tools_by_paths() {
    script(Isolation::Paths, "xenstore.sh", &[], &[("ITERATIONS", "20")], "ok xenstore.sh");
}

#[test]
fn one_xenstored_after_the_other() {
    script(Isolation::Namespace, "store_again.sh", &[], &[], "ok store_again.sh");
}

/// 1 GiB each way is a matter of minutes (`MIB=1024`); of a few MiB no byte may be wrong either.
#[test]
fn vchan_socket_proxy() {
    let mib = std::env::var("IOCTLAB_PROXY_MIB").unwrap_or_else(|_| "16".to_owned());
    let limit = Duration::from_secs(180 + mib.parse::<u64>().unwrap());
    script_within(limit, Isolation::Namespace, "vchan_proxy.sh", &[], &[("MIB", &mib)], "ok vchan_proxy.sh");
}

#[test]
fn libxenvchan() {
    script(Isolation::Namespace, "vchan_library.sh", &[], &[("BYTES", "1048576")], "ok vchan_library.sh");
}

#[test]
fn grants_between_domains() {
    for isolation in Isolation::BOTH {
        pair(isolation, "gnttab share 1", "gnttab map 0");
    }
}

#[test]
fn kills_between_domains() {
    let kills = std::env::var("IOCTLAB_KILLS").unwrap_or_else(|_| "300".to_owned());
    pair(Isolation::Namespace, "gnt_victim keeper 1", &format!("gnt_victim killer 0 7 {kills}"));
    pair(Isolation::Paths, "gnt_victim keeper 1", "gnt_victim killer 0 8 100");
}
