//! `ioctlab doctor`: what this machine allows, what is lost without it, and how to get it.
//!
//! [`facts`] asks and tries; `rows` judges what it found, and nothing else, so that a test can be any machine.

mod facts;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use ioctlab_host::DEVICE_DESCRIPTORS;
use rustix::io::Errno;

use facts::Facts;

/// What came of trying something: an error is its errno.
pub(crate) type Tried = Result<(), i32>;

/// What only the host's system-call layer can try. Each is tried in a child of its own, which is gone afterwards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probes {
    /// After `no_new_privs`: installing a filter that allows everything, with `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
    pub(crate) seccomp_listener: Tried,
    /// `unshare(CLONE_NEWUSER)`, and mapping the own user and group ids to themselves.
    pub(crate) user_namespace: Tried,
    /// In such a user namespace: `unshare(CLONE_NEWNS)`, and mounting a tmpfs over `/dev`.
    pub(crate) mount_namespace: Tried,
    /// There: opening `/dev/fuse` and mounting it over `/sys`.
    pub(crate) fuse: Tried,
    /// Reading a word of the child's memory with `process_vm_readv`.
    pub(crate) process_vm_readv: Tried,
    /// Seizing a child with `ptrace`.
    pub(crate) ptrace: Tried,
    /// Setting up a userfaultfd as mappings are watched by.
    pub(crate) userfaultfd: Tried,
}

/// What `run` uses of Linux, by the version that brought it; whether it can do without; and what that costs.
const FEATURES: &[((u32, u32), &str, bool, &str)] = &[
    ((5, 0), "SECCOMP_FILTER_FLAG_NEW_LISTENER", true, ""),
    ((5, 5), "SECCOMP_USER_NOTIF_FLAG_CONTINUE", true, ""),
    (
        (5, 6),
        "pidfd_getfd",
        false,
        "a reset can't withdraw an event that a program could see already, and copies get low numbers",
    ),
    ((5, 9), "SECCOMP_IOCTL_NOTIF_ADDFD", true, ""),
    ((5, 14), "SECCOMP_ADDFD_FLAG_SEND", true, ""),
    (
        (5, 19),
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        false,
        "a call that a signal interrupts may be carried out twice",
    ),
    ((6, 6), "SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP", false, "each call of a device takes 15 to 40 us more"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ok,
    Limited,
    Missing,
}

/// One line of the report, and what to add to it when all is not well.
#[derive(Debug)]
struct Row {
    state: State,
    what: &'static str,
    found: String,
    /// What it costs to be without.
    cost: String,
    /// How to get it.
    remedy: String,
    /// Whether `run` can't work at all when this is missing.
    essential: bool,
}

/// Writes what this machine allows; returns whether `ioctlab run` can work on it at all.
///
/// # Errors
/// Those of writing to `out`; a machine that allows nothing is no error.
pub(crate) fn report(out: &mut dyn Write, probes: &Probes) -> io::Result<bool> {
    let facts = facts::gather(*probes);
    let rows = rows(&facts);
    for row in &rows {
        let state = match row.state {
            State::Ok => "ok",
            State::Limited => "limited",
            State::Missing => "missing",
        };
        writeln!(out, "{state:<7}  {:<16}  {}", row.what, row.found)?;
        for (label, text) in [("without", &row.cost), ("remedy", &row.remedy)] {
            if row.state != State::Ok && !text.is_empty() {
                writeln!(out, "{:<7}  {label:>16}  {text}", "")?;
            }
        }
    }
    let lacks: Vec<&str> = rows.iter().filter(|row| row.is_fatal()).map(|row| row.what).collect();
    if lacks.is_empty() {
        writeln!(out, "\n`ioctlab run` can work here, with {} isolation.", isolation(&facts.probes))?;
    } else {
        writeln!(out, "\n`ioctlab run` can't work here, for want of: {}.", lacks.join(", "))?;
    }
    Ok(lacks.is_empty())
}

impl Row {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        let (cost, remedy) = (String::new(), String::new());
        Self { state: State::Ok, what, found: found.into(), cost, remedy, essential: false }
    }

    fn limited(what: &'static str, found: impl Into<String>, cost: &str, remedy: impl Into<String>) -> Self {
        Self { state: State::Limited, cost: cost.into(), remedy: remedy.into(), ..Self::ok(what, found) }
    }

    fn missing(what: &'static str, found: impl Into<String>, cost: &str, remedy: impl Into<String>) -> Self {
        Self { state: State::Missing, ..Self::limited(what, found, cost, remedy) }
    }

    /// Missing, and `run` can't do without.
    fn fatal(what: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { essential: true, ..Self::missing(what, found, "nothing can be run", remedy) }
    }

    fn is_fatal(&self) -> bool {
        self.essential && self.state == State::Missing
    }
}

fn rows(facts: &Facts) -> Vec<Row> {
    vec![
        kernel(&facts.release),
        match facts.machine.as_str() {
            "x86_64" => Row::ok("processor", "x86_64"),
            other => {
                Row::fatal("processor", other, "run ioctlab on x86-64; it knows the system calls of no other")
            }
        },
        listener(facts),
        client_memory(facts),
        pidfd_getfd(facts),
        mapping(facts),
        watching(facts),
        match facts.no_new_privs {
            Ok(()) => {
                Row::ok("no_new_privs", "is set for what is run: set-uid programs (sudo) gain no privileges")
            }
            Err(errno) => Row::fatal("no_new_privs", words(errno), "Linux 3.5 or later, outside any sandbox"),
        },
        descriptors(facts.descriptors),
        user_namespace(facts),
        mount_namespace(facts),
        sysfs_trees(facts),
        match isolation(&facts.probes) {
            "namespace" => {
                Row::ok("isolation", "namespace: programs see the devices as they would on the real machine")
            }
            other => Row::limited(
                "isolation",
                format!("{other}: programs reach the devices by the names that they open"),
                "listings of /dev and /sys don't show the simulated devices",
                "a user and a mount namespace, as above",
            ),
        },
    ]
}

/// What `run` picks when it isn't told.
fn isolation(probes: &Probes) -> &'static str {
    if probes.user_namespace.is_ok() && probes.mount_namespace.is_ok() { "namespace" } else { "paths" }
}

fn kernel(release: &str) -> Row {
    let found = format!("Linux {release}");
    let Some(version) = version(release) else {
        return Row::limited(
            "kernel",
            format!("{found}: which version is that?"),
            "what follows decides",
            "",
        );
    };
    let lacks: Vec<_> = FEATURES.iter().filter(|feature| feature.0 > version).collect();
    let names: Vec<&str> = lacks.iter().map(|feature| feature.1).collect();
    let found = if names.is_empty() { found } else { format!("{found} has no {}", names.join(", ")) };
    let costs: Vec<&str> = lacks.iter().map(|feature| feature.3).filter(|cost| !cost.is_empty()).collect();
    if lacks.iter().any(|feature| feature.2) {
        Row::fatal("kernel", found, "Linux 5.14 or later; 6.6 or later for all of it")
    } else if !lacks.is_empty() {
        Row::limited("kernel", found, &costs.join("; "), "Linux 6.6 or later")
    } else {
        Row::ok("kernel", found)
    }
}

/// `6.12.5-amd64` is (6, 12).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn listener(facts: &Facts) -> Row {
    const WHAT: &str = "seccomp listener";
    let Err(errno) = facts.probes.seccomp_listener else {
        return Row::ok(WHAT, "system calls can be intercepted");
    };
    let (why, remedy) = match Errno::from_raw_os_error(errno) {
        Errno::BUSY => (
            "there is one already: this runs under ioctlab, or another tool that intercepts system calls",
            "run ioctlab outside that; a process can have one listener only",
        ),
        Errno::PERM | Errno::ACCESS | Errno::NOSYS if facts.filters > 0 => (
            "the seccomp filter that this runs under, such as a container's, refuses it",
            "a container with --security-opt seccomp=unconfined, or a profile that allows seccomp(2)",
        ),
        Errno::INVAL | Errno::NOSYS => {
            ("this kernel has none", "Linux 5.14 or later with CONFIG_SECCOMP_FILTER")
        }
        _ => ("could not be installed", ""),
    };
    Row::fatal(WHAT, format!("{why} ({})", words(errno)), remedy)
}

fn client_memory(facts: &Facts) -> Row {
    const WHAT: &str = "client memory";
    let Err(errno) = facts.probes.process_vm_readv else {
        return Row::ok(WHAT, "process_vm_readv reads a child's memory");
    };
    let remedy = tracing_remedy(facts);
    let denied = format!("process_vm_readv: {}", words(errno));
    match facts.proc_mem {
        Some(Ok(())) => Row::limited(
            WHAT,
            format!("{denied}; /proc/PID/mem works"),
            "each call takes a little longer",
            remedy,
        ),
        Some(Err(errno)) => Row::fatal(WHAT, format!("{denied}; /proc/PID/mem: {}", words(errno)), remedy),
        None => Row::fatal(WHAT, format!("{denied}; /proc/PID/mem was not tried"), remedy),
    }
}

fn pidfd_getfd(facts: &Facts) -> Row {
    const COST: &str =
        "a reset can't withdraw an event that a program could see already, and copies get low numbers";
    let remedy = if facts.filters > 0 {
        "a container with --cap-add SYS_PTRACE, or seccomp=unconfined"
    } else {
        "Linux 5.6 or later, and kernel.yama.ptrace_scope 0 or 1"
    };
    match facts.pidfd_getfd {
        Some(Ok(())) => Row::ok("pidfd_getfd", "takes a descriptor from a child"),
        Some(Err(errno)) => Row::missing("pidfd_getfd", words(errno), COST, remedy),
        None => Row::limited("pidfd_getfd", "not tried: no cat or sleep to try it on", "unknown", ""),
    }
}

/// What it takes to be traced, or to have descriptors taken away.
fn tracing_remedy(facts: &Facts) -> String {
    match facts.ptrace_scope {
        Some(scope @ 2..) => {
            format!("kernel.yama.ptrace_scope is {scope}: `sysctl kernel.yama.ptrace_scope=1` as root")
        }
        _ if facts.filters > 0 => "a container with --cap-add SYS_PTRACE, or seccomp=unconfined".into(),
        _ => String::new(),
    }
}

fn mapping(facts: &Facts) -> Row {
    const WHAT: &str = "mapping";
    match facts.probes.ptrace {
        Ok(()) => Row::ok(WHAT, "ptrace can have a child map a device's pages"),
        Err(errno) => Row::missing(
            WHAT,
            format!("ptrace: {}", words(errno)),
            "no device can be mapped (mmap is EPERM): no grant tables, no vchan, no xenstored",
            tracing_remedy(facts),
        ),
    }
}

fn watching(facts: &Facts) -> Row {
    const WHAT: &str = "watching";
    const COST: &str =
        "what a program does to its mappings is noticed a moment later, and of parts of one only in the end";
    match (facts.probes.userfaultfd, facts.pidfd_getfd) {
        (Ok(()), None | Some(Ok(()))) => Row::ok(WHAT, "userfaultfd tells of what becomes of mappings"),
        (Ok(()), Some(Err(_))) => {
            Row::limited(WHAT, "userfaultfd can't be taken from a child", COST, "pidfd_getfd, as above")
        }
        (Err(errno), _) => {
            let remedy = if facts.filters > 0 {
                "a container with --security-opt seccomp=unconfined, or a profile that allows userfaultfd(2)"
            } else {
                "Linux 5.19 or later with CONFIG_USERFAULTFD"
            };
            Row::missing(WHAT, format!("userfaultfd: {}", words(errno)), COST, remedy)
        }
    }
}

fn descriptors((soft, hard): (u64, u64)) -> Row {
    const WHAT: &str = "descriptors";
    let (first, last) = (u64::from(*DEVICE_DESCRIPTORS.start()), u64::from(*DEVICE_DESCRIPTORS.end()));
    let found = format!("limit {soft}; devices use {first} to {last}");
    let remedy = if hard > last {
        "`ulimit -n 1024`"
    } else {
        "a hard limit (RLIMIT_NOFILE) of 1024: limits.conf, LimitNOFILE=, or --ulimit nofile=1024"
    };
    if soft > last {
        Row::ok(WHAT, found)
    } else {
        let room = soft.saturating_sub(first);
        let cost = format!(
            "each process can have {room} devices open there; more get any number, and read less exactly"
        );
        Row::limited(WHAT, found, &cost, remedy)
    }
}

fn user_namespace(facts: &Facts) -> Row {
    const WHAT: &str = "user namespace";
    let Err(errno) = facts.probes.user_namespace else {
        return Row::ok(WHAT, "can be made");
    };
    let (why, remedy) = refusal(facts).unwrap_or(match Errno::from_raw_os_error(errno) {
        Errno::NOSPC => ("too many, or too deep", "fewer of them, or a higher user.max_user_namespaces"),
        Errno::INVAL | Errno::NOSYS => ("this kernel has none", "a kernel with CONFIG_USER_NS"),
        _ => ("refused, as in a chroot", ""),
    });
    Row::missing(WHAT, format!("{why} ({})", words(errno)), "paths isolation is used", remedy)
}

fn mount_namespace(facts: &Facts) -> Row {
    const WHAT: &str = "mount namespace";
    let Err(errno) = facts.probes.mount_namespace else {
        return Row::ok(WHAT, "/dev can be furnished with the simulated devices");
    };
    let (why, remedy) = match facts.probes.user_namespace {
        Err(_) => ("needs a user namespace", ""),
        Ok(()) => refusal(facts).unwrap_or(("mounting in it is refused", "")),
    };
    Row::missing(WHAT, format!("{why} ({})", words(errno)), "paths isolation is used", remedy)
}

fn sysfs_trees(facts: &Facts) -> Row {
    const WHAT: &str = "sysfs trees";
    let Err(errno) = facts.probes.fuse else {
        return Row::ok(WHAT, "FUSE can show in /sys what a lab has there");
    };
    let (why, remedy) = match (facts.probes.mount_namespace, Errno::from_raw_os_error(errno)) {
        (Err(_), _) => ("FUSE needs a mount namespace", ""),
        (_, Errno::NOENT) => (
            "there is no /dev/fuse, or no /sys",
            "`modprobe fuse` as root; in a container, --device /dev/fuse",
        ),
        (_, Errno::NODEV | Errno::NXIO) => ("this kernel has no FUSE", "`modprobe fuse` as root"),
        (_, Errno::ACCESS) => ("/dev/fuse can't be opened", "`chmod 666 /dev/fuse` as root"),
        _ if facts.filters > 0 || facts.in_container => {
            ("the container refuses FUSE", "a container with --device /dev/fuse --cap-add SYS_ADMIN")
        }
        _ => ("mounting FUSE is refused", "Linux 4.18 or later"),
    };
    let cost = "programs don't find in /sys what a lab has there, such as its PCI devices";
    Row::missing(WHAT, format!("{why} ({})", words(errno)), cost, remedy)
}

/// The setting that most likely forbids namespaces, and how to change it.
fn refusal(facts: &Facts) -> Option<(&'static str, &'static str)> {
    if facts.max_user_namespaces == Some(0) {
        Some(("user.max_user_namespaces is 0", "`sysctl user.max_user_namespaces=10000` as root"))
    } else if facts.unprivileged_userns_clone == Some(0) {
        Some(("kernel.unprivileged_userns_clone is 0", "`sysctl kernel.unprivileged_userns_clone=1` as root"))
    } else if facts.filters > 0 || facts.in_container {
        Some((
            "the container's profile refuses it",
            "a container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined",
        ))
    } else if facts.apparmor_restricts == Some(1) {
        Some((
            "AppArmor keeps them from programs that it has no profile for",
            "a profile for ioctlab with `userns,`; or, as root, \
             `sysctl kernel.apparmor_restrict_unprivileged_userns=0`",
        ))
    } else {
        None
    }
}

fn words(errno: i32) -> String {
    io::Error::from_raw_os_error(errno).to_string()
}
