//! Trying out what this machine allows, each thing in a child of its own. For a process with one thread.

use std::io;

use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::{Pid, WaitOptions};
use rustix::thread::UnshareFlags;

use crate::isolation::{enter_user_namespace, sysfs};
use crate::sys::userfault::{self, Userfault};
use crate::sys::{memory, process, ptrace, seccomp};

/// Runs `attempt` in a child; its error's number, or 0, is the child's exit status.
fn in_child(attempt: impl FnOnce() -> io::Result<()>) -> Result<(), i32> {
    let pid = process::fork(|| {
        let status = match attempt() {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
        };
        process::exit_now(status);
    })
    .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?;
    let child = Pid::from_raw(pid).ok_or(libc::ESRCH)?;
    let (_, status) = rustix::process::waitpid(Some(child), WaitOptions::empty())
        .map_err(|errno| errno.raw_os_error())?
        .ok_or(libc::ECHILD)?;
    match status.exit_status() {
        Some(0) => Ok(()),
        Some(errno) => Err(errno),
        None => Err(libc::EIO),
    }
}

/// Whether a seccomp filter with a listener may be installed.
///
/// # Errors
/// The errno; `EBUSY` if this process runs under one already.
pub fn seccomp_listener() -> Result<(), i32> {
    in_child(|| {
        let allow = seccomp::Instruction {
            code: (libc::BPF_RET | libc::BPF_K) as u16,
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_ALLOW,
        };
        seccomp::install(&[allow]).map(drop)
    })
}

/// Whether a user namespace may be made in which user and group keep their ids.
///
/// # Errors
/// The errno of the step that was refused.
pub fn user_namespace() -> Result<(), i32> {
    in_child(|| Ok(enter_user_namespace(UnshareFlags::empty())?))
}

/// Whether things may be mounted in such a namespace.
///
/// # Errors
/// The errno of the step that was refused.
pub fn mount_namespace() -> Result<(), i32> {
    in_mount_namespace(|| {
        rustix::mount::mount("tmpfs", "/dev", "tmpfs", MountFlags::NOSUID, None)?;
        Ok(())
    })
}

/// Whether FUSE can be mounted in such a namespace.
///
/// # Errors
/// The errno of the step that was refused.
pub fn fuse() -> Result<(), i32> {
    in_mount_namespace(|| Ok(sysfs::mount_fuse("/sys").map(drop)?))
}

fn in_mount_namespace(attempt: impl FnOnce() -> io::Result<()>) -> Result<(), i32> {
    in_child(|| {
        let privileged =
            rustix::process::geteuid().is_root() && process::unshare(UnshareFlags::NEWNS).is_ok();
        if !privileged {
            enter_user_namespace(UnshareFlags::NEWNS)?;
        }
        rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        attempt()
    })
}

/// Whether a child's memory can be read by `process_vm_readv`.
///
/// # Errors
/// The errno.
pub fn process_vm_readv() -> Result<(), i32> {
    let word = 0x1234_5678_u32.to_ne_bytes();
    let mut copy = [0; 4];
    match with_child(|pid| memory::read(pid, word.as_ptr() as u64, &mut copy))? {
        4 => Ok(()),
        _ => Err(libc::EFAULT),
    }
}

/// Whether a child can be made to make system calls: mappings are made so.
///
/// # Errors
/// The errno.
pub fn ptrace() -> Result<(), i32> {
    with_child(|pid| ptrace::seize(pid).map(drop))
}

/// Whether a process can be watched for what it does to its mappings.
///
/// # Errors
/// The errno.
pub fn userfaultfd() -> Result<(), i32> {
    in_child(|| Userfault::set_up(userfault::create()?).map(drop))
}

/// Tries something on a child that waits to be killed.
fn with_child<T>(attempt: impl FnOnce(i32) -> io::Result<T>) -> Result<T, i32> {
    let (hold, release) = rustix::pipe::pipe().map_err(|errno| errno.raw_os_error())?;
    let pid = process::fork(|| {
        // Ends when the parent closes its end, which is the only one.
        let _ = rustix::io::read(&hold, &mut [0u8]);
    })
    .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?;
    let result = attempt(pid);
    process::send_signal(pid, libc::SIGKILL);
    drop(release);
    let _ = Pid::from_raw(pid).map(|child| rustix::process::waitpid(Some(child), WaitOptions::empty()));
    result.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
}
