//! The seccomp filter: which calls are trapped.
//!
//! What is trapped costs microseconds, what isn't costs next to nothing. So the filter decides by what it sees without
//! looking into memory: the call, the descriptor's number (see [`crate::window`]), an ioctl's type byte, flags.

use std::collections::BTreeMap;
use std::io;

use ioctlab_kernel::{Behind, Node};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::isolation::Isolation;
use crate::sys::seccomp::Instruction;
use crate::window;

/// `AUDIT_ARCH_X86_64`.
pub(crate) const X86_64: u32 = 0xc000_003e;
/// `AUDIT_ARCH_I386`: 32-bit programs, and `int 0x80` in 64-bit ones.
pub(crate) const I386: u32 = 0x4000_0003;

/// 32-bit system calls that are trapped, by their i386 numbers.
pub(crate) mod i386 {
    pub(crate) const READ: i64 = 3;
    pub(crate) const WRITE: i64 = 4;
    pub(crate) const OPEN: i64 = 5;
    pub(crate) const CLOSE: i64 = 6;
    pub(crate) const EXECVE: i64 = 11;
    pub(crate) const IOCTL: i64 = 54;
    pub(crate) const DUP2: i64 = 63;
    pub(crate) const PREAD64: i64 = 180;
    pub(crate) const PWRITE64: i64 = 181;
    pub(crate) const MMAP2: i64 = 192;
    pub(crate) const FSTAT64: i64 = 197;
    pub(crate) const OPENAT: i64 = 295;
    pub(crate) const DUP3: i64 = 330;
    pub(crate) const EXECVEAT: i64 = 358;
    pub(crate) const STATX: i64 = 383;
    pub(crate) const CLOSE_RANGE: i64 = 436;
    pub(crate) const OPENAT2: i64 = 437;
}

/// The type bytes of the ioctls of all devices that a lab may have, and of terminals' (`TCGETS` and `FIONREAD` reach
/// drivers too). ioctls of these types are trapped whatever the descriptor's number.
const IOCTL_KINDS: [u8; 6] = [b'E', b'G', b'P', b';', 0xae, b'T'];

/// Where the second of a VFIO device's regions is in its file (each starts at a multiple of that), and how many there are.
const FAR: u64 = 1 << 40;
const REGIONS: u64 = 9;
/// The size of the largest register, in bytes.
const REGISTER: u64 = 8;

/// Where `struct seccomp_data` has the call's number and its architecture, in bytes.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The bit in the numbers of x32's calls.
const X32: u32 = 0x4000_0000;

/// Stands for "notify" in the compiled program until [`patch`] puts that in: the compiler has no such action.
const MARKER: u32 = 0x1ab;

/// The filter for programs that run with this isolation, in a lab with these nodes.
///
/// # Errors
/// None that a caller can bring about: the rules are fixed.
pub(crate) fn build(isolation: Isolation, nodes: &[Node]) -> io::Result<Vec<Instruction>> {
    let mut rules = native_rules(isolation)?;
    if nodes.iter().any(|node| node.behind == Behind::Addressed) {
        add_regions(&mut rules)?;
    }
    let frequent = [libc::SYS_read, libc::SYS_write];
    let first = compile(frequent.iter().filter_map(|number| rules.remove_entry(number)).collect())?;
    let rest = by_number(rules.into_iter().collect())?;
    let compat = compile(compat_rules()?)?;
    let mut native = vec![
        load(NUMBER),
        // Reads and writes are what programs do most: they come first, past as little as can be.
        jump_if(libc::BPF_JGT, libc::SYS_write as u32, 0, 1),
        jump(first.len()),
    ];
    native.extend(first);
    // x32's calls have a bit of their own in their numbers, and would bypass every rule below.
    native.push(jump_if(libc::BPF_JGE, X32, 0, 1));
    native.push(give(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32));
    native.extend(rest);
    let mut program = vec![load(ARCHITECTURE), jump_if(libc::BPF_JEQ, X86_64, 1, 0), jump(native.len())];
    program.extend(native);
    program.extend(compat);
    Ok(program)
}

/// A program that finds the rules of a call by halving: a call costs the logarithm of how many are looked for, whether it
/// is one of them or not.
fn by_number(mut rules: Vec<(i64, Vec<SeccompRule>)>) -> io::Result<Vec<Instruction>> {
    if rules.len() <= 1 {
        return compile(rules.into_iter().collect());
    }
    let upper = rules.split_off(rules.len() / 2);
    let Some((bound, _)) = upper.first() else { return by_number(rules) };
    let bound = *bound as u32;
    let (lower, upper) = (by_number(rules)?, by_number(upper)?);
    let mut program = vec![jump_if(libc::BPF_JGE, bound, 0, 1), jump(lower.len())];
    program.extend(lower);
    program.extend(upper);
    Ok(program)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn native_rules(isolation: Isolation) -> io::Result<Rules> {
    let mut rules = Rules::new();
    // A device's descriptor is the first argument.
    for call in [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_readv,
        libc::SYS_writev,
        libc::SYS_preadv2,
        libc::SYS_pwritev2,
        libc::SYS_pread64,
        libc::SYS_pwrite64,
        libc::SYS_preadv,
        libc::SYS_pwritev,
        libc::SYS_lseek,
        libc::SYS_fsync,
        libc::SYS_fdatasync,
        libc::SYS_fallocate,
        libc::SYS_copy_file_range,
        libc::SYS_ioctl,
        libc::SYS_fstat,
        libc::SYS_newfstatat,
        libc::SYS_statx,
        libc::SYS_close,
        libc::SYS_dup,
        libc::SYS_dup2,
        libc::SYS_dup3,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_bind,
        libc::SYS_connect,
        libc::SYS_listen,
        libc::SYS_shutdown,
        libc::SYS_getsockname,
        libc::SYS_getpeername,
        libc::SYS_getsockopt,
        libc::SYS_setsockopt,
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
        libc::SYS_recvmmsg,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_sendmmsg,
    ] {
        rules.entry(call).or_default().push(rule(in_window(0)?)?);
    }
    // The target of a duplicate is in the window.
    for call in [libc::SYS_dup2, libc::SYS_dup3] {
        rules.entry(call).or_default().push(rule(in_window(1)?)?);
    }
    rules.entry(libc::SYS_copy_file_range).or_default().push(rule(in_window(2)?)?);
    rules.entry(libc::SYS_mmap).or_default().push(rule(in_window(4)?)?);
    // Shared mappings of files are rare enough to look at all of them, so that a device is mapped by any number.
    let file_is_shared = (libc::MAP_SHARED | libc::MAP_ANONYMOUS) as u64;
    rules.entry(libc::SYS_mmap).or_default().push(rule(vec![
        masked(3, file_is_shared, libc::MAP_SHARED as u64)?,
        condition(4, SeccompCmpOp::Ne, u64::from(window::PASSAGE))?,
    ])?);
    for command in [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC, libc::F_GETFL] {
        let mut conditions = in_window(0)?;
        conditions.push(equals(1, command as u64)?);
        rules.entry(libc::SYS_fcntl).or_default().push(rule(conditions)?);
    }
    // What a device's mapping must have answered for before it happens.
    rules.entry(libc::SYS_madvise).or_default().push(rule(vec![equals(2, libc::MADV_DONTNEED as u64)?])?);
    for (call, signal) in [(libc::SYS_kill, 1), (libc::SYS_tkill, 1), (libc::SYS_tgkill, 2)] {
        rules.entry(call).or_default().push(rule(vec![equals(signal, libc::SIGKILL as u64)?])?);
    }
    for kind in IOCTL_KINDS {
        rules.entry(libc::SYS_ioctl).or_default().push(rule(vec![masked(1, 0xff00, u64::from(kind) << 8)?])?);
    }
    // Standard descriptors may be devices by redirection: their metadata must not show what stands behind them.
    rules.entry(libc::SYS_fstat).or_default().push(rule(vec![at_most(0, 2)?])?);
    let empty_path = libc::AT_EMPTY_PATH as u64;
    for (call, flags) in [(libc::SYS_newfstatat, 3), (libc::SYS_statx, 2)] {
        rules
            .entry(call)
            .or_default()
            .push(rule(vec![at_most(0, 2)?, masked(flags, empty_path, empty_path)?])?);
    }
    // Calls by path. With the nodes in place natively only an open has to be caught, and none of a directory.
    match isolation {
        Isolation::Namespace => {
            let directory = libc::O_DIRECTORY as u64;
            rules.entry(libc::SYS_open).or_default().push(rule(vec![masked(1, directory, 0)?])?);
            rules.entry(libc::SYS_openat).or_default().push(rule(vec![masked(2, directory, 0)?])?);
        }
        Isolation::Paths => {
            for call in [
                libc::SYS_open,
                libc::SYS_openat,
                libc::SYS_stat,
                libc::SYS_lstat,
                libc::SYS_newfstatat,
                libc::SYS_statx,
                libc::SYS_access,
                libc::SYS_faccessat,
                libc::SYS_faccessat2,
                libc::SYS_chdir,
                libc::SYS_getxattr,
                libc::SYS_lgetxattr,
                libc::SYS_listxattr,
                libc::SYS_llistxattr,
            ] {
                rules.insert(call, Vec::new());
            }
        }
    }
    // Rare calls, always trapped: they name files in memory or by ranges, or change what descriptors mean, or what is
    // mapped.
    for call in [
        libc::SYS_openat2,
        libc::SYS_creat,
        libc::SYS_readlink,
        libc::SYS_readlinkat,
        libc::SYS_sendfile,
        libc::SYS_splice,
        libc::SYS_io_submit,
        libc::SYS_io_uring_setup,
        libc::SYS_close_range,
        libc::SYS_mremap,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_chroot,
        libc::SYS_pivot_root,
        libc::SYS_setns,
        libc::SYS_unshare,
    ] {
        rules.insert(call, Vec::new());
    }
    Ok(rules)
}

/// A VFIO device's regions, whatever the descriptor's number: it may be passed by another process, or be a redirection. What lies
/// that far out in a file is a region; and so few bytes are rarely read of anything but registers.
fn add_regions(rules: &mut Rules) -> io::Result<()> {
    for call in [libc::SYS_pread64, libc::SYS_pwrite64] {
        let wide = |argument, operator, value| {
            SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value)
                .map_err(io::Error::other)
        };
        let in_region = vec![wide(3, SeccompCmpOp::Ge, FAR)?, wide(3, SeccompCmpOp::Lt, FAR * REGIONS)?];
        let rules = rules.entry(call).or_default();
        rules.push(rule(in_region)?);
        rules.push(rule(vec![wide(2, SeccompCmpOp::Le, REGISTER)?])?);
    }
    Ok(())
}

fn compat_rules() -> io::Result<Rules> {
    let mut rules = Rules::new();
    for call in [i386::OPEN, i386::OPENAT, i386::OPENAT2, i386::CLOSE_RANGE, i386::EXECVE, i386::EXECVEAT] {
        rules.insert(call, Vec::new());
    }
    for call in [
        i386::READ,
        i386::WRITE,
        i386::PREAD64,
        i386::PWRITE64,
        i386::CLOSE,
        i386::FSTAT64,
        i386::STATX,
        i386::IOCTL,
    ] {
        rules.entry(call).or_default().push(rule(in_window(0)?)?);
    }
    for call in [i386::DUP2, i386::DUP3] {
        rules.entry(call).or_default().push(rule(in_window(1)?)?);
    }
    rules.entry(i386::MMAP2).or_default().push(rule(in_window(4)?)?);
    for kind in IOCTL_KINDS {
        rules.entry(i386::IOCTL).or_default().push(rule(vec![masked(1, 0xff00, u64::from(kind) << 8)?])?);
    }
    Ok(rules)
}

/// Compiles rules to a program without a check of the architecture, which ends in "notify" for a match and "allow" else.
fn compile(rules: Rules) -> io::Result<Vec<Instruction>> {
    let target = seccompiler::TargetArch::x86_64;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Trace(MARKER), target)
        .map_err(io::Error::other)?;
    let program = BpfProgram::try_from(filter).map_err(io::Error::other)?;
    // The compiler's first three instructions kill what comes by another architecture's entry; `build` has its own.
    Ok(program.into_iter().skip(3).map(patch).collect())
}

fn patch(instruction: seccompiler::sock_filter) -> Instruction {
    let marked = libc::SECCOMP_RET_TRACE | MARKER;
    let is_return = u32::from(instruction.code) == libc::BPF_RET | libc::BPF_K;
    let k = if is_return && instruction.k == marked { libc::SECCOMP_RET_USER_NOTIF } else { instruction.k };
    Instruction { code: instruction.code, jt: instruction.jt, jf: instruction.jf, k }
}

/// Skips `over` or `under` instructions, as the word at hand compares to `value`.
fn jump_if(comparison: u32, value: u32, over: u8, under: u8) -> Instruction {
    Instruction { code: (libc::BPF_JMP | comparison | libc::BPF_K) as u16, jt: over, jf: under, k: value }
}

fn jump(over: usize) -> Instruction {
    // A program has at most 4096 instructions.
    Instruction { code: (libc::BPF_JMP | libc::BPF_JA) as u16, jt: 0, jf: 0, k: over as u32 }
}

fn load(offset: u32) -> Instruction {
    Instruction { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

fn give(action: u32) -> Instruction {
    Instruction { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: action }
}

fn rule(conditions: Vec<SeccompCondition>) -> io::Result<SeccompRule> {
    SeccompRule::new(conditions).map_err(io::Error::other)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> io::Result<SeccompCondition> {
    // Descriptors, flags and ioctl requests are 32 bits wide to the kernel, whatever the register's upper half holds.
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value).map_err(io::Error::other)
}

fn equals(argument: u8, value: u64) -> io::Result<SeccompCondition> {
    condition(argument, SeccompCmpOp::Eq, value)
}

fn at_most(argument: u8, value: u64) -> io::Result<SeccompCondition> {
    condition(argument, SeccompCmpOp::Le, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> io::Result<SeccompCondition> {
    condition(argument, SeccompCmpOp::MaskedEq(mask), value)
}

fn in_window(argument: u8) -> io::Result<Vec<SeccompCondition>> {
    Ok(vec![
        condition(argument, SeccompCmpOp::Ge, u64::from(window::FIRST))?,
        condition(argument, SeccompCmpOp::Le, u64::from(window::LAST))?,
    ])
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
