//! Finding out what this machine allows, as far as asking and a short-lived child can tell.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Resource};

use super::{Probes, Tried};

/// What was found out.
#[derive(Clone)]
pub(super) struct Facts {
    pub(super) release: String,
    pub(super) machine: String,
    pub(super) probes: Probes,
    /// Reading a child's `/proc/PID/mem`; `None` if there was no program to try it on.
    pub(super) proc_mem: Option<Tried>,
    /// Taking a descriptor from a child; `None` likewise.
    pub(super) pidfd_getfd: Option<Tried>,
    pub(super) no_new_privs: Tried,
    /// How many seccomp filters this process is under already.
    pub(super) filters: u32,
    pub(super) in_container: bool,
    pub(super) max_user_namespaces: Option<u64>,
    pub(super) unprivileged_userns_clone: Option<u64>,
    pub(super) apparmor_restricts: Option<u64>,
    pub(super) ptrace_scope: Option<u64>,
    /// Soft and hard `RLIMIT_NOFILE`.
    pub(super) descriptors: (u64, u64),
}

/// Asks and tries; what only the caller can try is in `probes`.
pub(super) fn gather(probes: Probes) -> Facts {
    let uname = rustix::system::uname();
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let limits = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    let setting = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok();
    let marks = ["/.dockerenv", "/run/.containerenv"];
    let no_new_privs = rustix::thread::no_new_privs().map(drop).map_err(Errno::raw_os_error);
    Facts {
        release: uname.release().to_string_lossy().into_owned(),
        machine: uname.machine().to_string_lossy().into_owned(),
        probes,
        proc_mem: on_a_child(read_memory),
        pidfd_getfd: on_a_child(take_descriptor),
        no_new_privs,
        filters: filters(),
        in_container: marks.iter().any(|mark| fs::exists(mark).unwrap_or(false)),
        max_user_namespaces: setting("user/max_user_namespaces"),
        unprivileged_userns_clone: setting("kernel/unprivileged_userns_clone"),
        apparmor_restricts: setting("kernel/apparmor_restrict_unprivileged_userns"),
        ptrace_scope: setting("kernel/yama/ptrace_scope"),
        descriptors: limits,
    }
}

/// How many seccomp filters this process is under; 1 where the kernel (before 5.9) only says that there are some.
fn filters() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    field("Seccomp_filters:").unwrap_or(u32::from(field("Seccomp:") == Some(2)))
}

/// Tries something on a child that stays until it is ended.
fn on_a_child(attempt: fn(&Child) -> io::Result<()>) -> Option<Tried> {
    let start = |program: &str, arguments: &[&str]| {
        Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    };
    let mut child = start("cat", &[]).or_else(|_| start("sleep", &["10"])).ok()?;
    let tried = attempt(&child).map_err(|error| error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()));
    // Both fail only for a child that is gone, which is what they are for.
    let _ = child.kill();
    let _ = child.wait();
    Some(tried)
}

/// Reads the first word of the child's first mapping.
fn read_memory(child: &Child) -> io::Result<()> {
    let maps = fs::read_to_string(format!("/proc/{}/maps", child.id()))?;
    let start = maps.split('-').next().and_then(|start| u64::from_str_radix(start, 16).ok());
    let memory = File::open(format!("/proc/{}/mem", child.id()))?;
    memory.read_exact_at(&mut [0; 8], start.unwrap_or_default())
}

/// Takes the child's standard input.
fn take_descriptor(child: &Child) -> io::Result<()> {
    let pidfd = rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    rustix::process::pidfd_getfd(&pidfd, 0, PidfdGetfdFlags::empty())?;
    Ok(())
}
