//! What is known to differ from Linux: subtests of clients that are not run, each with the heading in
//! `docs/differences.md` that says why.

use std::fs;

use crate::build;
use crate::stage::Isolation;

/// Where something differs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Where {
    Everywhere,
    /// With the nodes in a mount namespace.
    Namespace,
    /// With calls by path trapped.
    Paths,
    /// Where a container refuses what ioctlab would like to use (and isolation is by paths).
    Container,
}

use Where::{Container, Everywhere, Namespace, Paths};

const NUMBERS: &str = "Descriptor numbers";
const OVERFLOW: &str = "Overflow";
const WAKE_UPS: &str = "Wake-ups after partial reads";
const INTERRUPTED: &str = "Interrupted calls";
const NODES: &str = "The device nodes";
const DIRECTORIES: &str = "Directories of device nodes";
const ELSEWHERE: &str = "Devices at other descriptor numbers";
const MAPPINGS: &str = "Mappings of granted pages";
const CONTAINERS: &str = "In containers";
const REGISTERS: &str = "Registers in mapped BARs";

/// Client and subtest, where, and the heading.
const DIFFERENCES: &[(&str, &str, Where, &str)] = &[
    ("open", "lowest", Everywhere, NUMBERS),
    ("dup", "dupfd", Everywhere, NUMBERS),
    ("dup", "dupfd-cloexec", Everywhere, NUMBERS),
    ("dup", "reuse", Everywhere, NUMBERS),
    ("dup", "dup2-modes", Everywhere, ELSEWHERE),
    ("dup", "dup2-counts", Everywhere, ELSEWHERE),
    ("redirect.sh", "odd-counts", Everywhere, ELSEWHERE),
    ("poll", "overflow", Everywhere, OVERFLOW),
    ("poll", "edge-partial", Everywhere, WAKE_UPS),
    ("sigio", "count-partial", Everywhere, WAKE_UPS),
    ("block", "readv", Everywhere, INTERRUPTED),
    ("block", "storm-eintr", Everywhere, INTERRUPTED),
    ("stat", "stat-link", Namespace, NODES),
    ("redirect.sh", "stat-link", Namespace, NODES),
    // As an ordinary user; root makes nodes with their true numbers.
    ("stat", "same-rdev-as-path", Namespace, NODES),
    ("vfio", "stat", Namespace, NODES),
    ("static_vfio", "stat", Namespace, NODES),
    ("vfio", "mapped-at-once", Everywhere, REGISTERS),
    ("static_vfio", "mapped-at-once", Everywhere, REGISTERS),
    ("open", "chdir", Paths, DIRECTORIES),
    ("open", "opath", Paths, DIRECTORIES),
    ("open", "reopen-opath", Paths, DIRECTORIES),
    ("open", "openat2-resolve", Paths, DIRECTORIES),
    ("io", "truncate", Paths, DIRECTORIES),
    ("mapping", "dev-mprotect", Everywhere, MAPPINGS),
    ("mapping", "dev-mremap-move", Everywhere, MAPPINGS),
    ("mapping", "dev-exit", Everywhere, MAPPINGS),
    ("mapping", "dev-exit-file-left", Everywhere, MAPPINGS),
    ("mapping", "dev-exec", Everywhere, MAPPINGS),
    ("mapping", "alloc-exit", Everywhere, MAPPINGS),
    ("mapping", "alloc-fork", Everywhere, MAPPINGS),
    ("nonblock", "dup", Container, CONTAINERS),
    ("nonblock", "fionbio", Container, CONTAINERS),
    ("io", "read-counts", Container, CONTAINERS),
    ("io", "readv", Container, CONTAINERS),
    ("efault", "read-two", Container, CONTAINERS),
    ("poll", "poll-reset", Container, CONTAINERS),
    ("sigio", "count-two", Container, CONTAINERS),
    ("sigio", "count-reset", Container, CONTAINERS),
    ("mapping", "dev-munmap", Container, CONTAINERS),
    ("mapping", "dev-munmap-parts", Container, CONTAINERS),
    ("mapping", "dev-covered", Container, CONTAINERS),
    ("mapping", "dev-close", Container, CONTAINERS),
    ("mapping", "dev-fork", Container, CONTAINERS),
    ("mapping", "dev-mremap", Container, CONTAINERS),
    ("mapping", "dev-madvise", Container, CONTAINERS),
    ("mapping", "alloc-munmap", Container, CONTAINERS),
    ("mapping", "alloc-munmap-parts", Container, CONTAINERS),
    ("mapping", "alloc-mremap", Container, CONTAINERS),
    ("mapping", "alloc-madvise", Container, CONTAINERS),
];

/// The arguments that have a client leave out what differs here. `confined`: in a container-like environment.
pub(crate) fn left_out(client: &str, isolation: Isolation, confined: bool) -> Vec<String> {
    let holds = |place: &Where| match place {
        Everywhere => true,
        Namespace => isolation == Isolation::Namespace,
        Paths => isolation == Isolation::Paths,
        Container => confined,
    };
    DIFFERENCES
        .iter()
        .filter(|(program, _, place, _)| *program == client && holds(place))
        .map(|(_, subtest, _, _)| format!("-{subtest}"))
        .collect()
}

#[test]
fn each_is_documented() {
    let text = fs::read_to_string(build::source("docs/differences.md")).unwrap();
    for (client, subtest, _, heading) in DIFFERENCES {
        let section = text.split("\n## ").find(|section| section.lines().next() == Some(heading));
        let section = section.unwrap_or_else(|| panic!("docs/differences.md has no heading \"{heading}\""));
        let name = format!("`{client}:{subtest}`");
        assert!(section.contains(&name), "docs/differences.md doesn't name {name} under \"{heading}\"");
    }
}
