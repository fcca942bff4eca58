//! What the filter decides, by running its program as the kernel would.

use super::*;

/// Runs a program on a call's data; returns its action.
fn decide(program: &[Instruction], architecture: u32, number: i64, arguments: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend((number as u32).to_ne_bytes());
    data.extend(architecture.to_ne_bytes());
    data.extend(0u64.to_ne_bytes());
    arguments.iter().for_each(|argument| data.extend(argument.to_ne_bytes()));
    let (mut accumulator, mut at) = (0u32, 0usize);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let code = u32::from(code);
        let mut jump = |taken: bool| at += usize::from(if taken { jt } else { jf });
        if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS {
            let word = data[k as usize..k as usize + 4].try_into().expect("four bytes");
            accumulator = u32::from_ne_bytes(word);
        } else if code == libc::BPF_ALU | libc::BPF_AND | libc::BPF_K {
            accumulator &= k;
        } else if code == libc::BPF_JMP | libc::BPF_JA {
            at += k as usize;
        } else if code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K {
            jump(accumulator == k);
        } else if code == libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K {
            jump(accumulator >= k);
        } else if code == libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K {
            jump(accumulator > k);
        } else if code == libc::BPF_RET | libc::BPF_K {
            return k;
        } else {
            panic!("instruction {code:#x}");
        }
    }
}

const TRAPPED: u32 = libc::SECCOMP_RET_USER_NOTIF;
const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;

/// A lab's node.
fn node(behind: Behind) -> Node {
    Node {
        path: "/dev/node".to_owned(),
        number: None,
        behind,
        hidden: false,
        permissions: 0o600,
        compat: false,
        subsystem: 0,
        device: 0,
    }
}

fn native(isolation: Isolation, number: i64, arguments: [u64; 6]) -> u32 {
    decide(&build(isolation, &[node(Behind::Addressed)]).expect("fixed rules"), X86_64, number, arguments)
}

fn both(number: i64, arguments: [u64; 6]) -> u32 {
    let decision = native(Isolation::Namespace, number, arguments);
    assert_eq!(decision, native(Isolation::Paths, number, arguments));
    decision
}

#[test]
fn only_numbers_in_the_window_cost_anything() {
    for number in [libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_close] {
        for (descriptor, expected) in [
            (0, ALLOWED),
            (3, ALLOWED),
            (767, ALLOWED),
            (768, TRAPPED),
            (1023, TRAPPED),
            (1024, ALLOWED),
            (u64::from(u32::MAX), ALLOWED),
            // The upper half of the register counts for nothing, here as in the kernel.
            (0xffff_ffff_0000_0300, TRAPPED),
        ] {
            assert_eq!(
                both(number, [descriptor, 0, 4, 0, 0, 0]),
                expected,
                "call {number} of {descriptor:#x}"
            );
        }
    }
}

#[test]
fn device_ioctls_are_trapped_at_any_number() {
    for (request, expected) in [
        (0x44504, TRAPPED),
        (0x184700, TRAPPED),
        (0x3b64, TRAPPED),
        (0xae01, TRAPPED),
        (0x5401, TRAPPED),
        (0x8912, ALLOWED),
        (0x0045_0000, ALLOWED),
        (0xffff_ffff_0004_4504, TRAPPED),
    ] {
        assert_eq!(both(libc::SYS_ioctl, [5, request, 0, 0, 0, 0]), expected, "{request:#x}");
        assert_eq!(both(libc::SYS_ioctl, [800, request, 0, 0, 0, 0]), TRAPPED);
    }
}

#[test]
fn descriptors_are_followed_where_they_are_duplicated() {
    assert_eq!(both(libc::SYS_dup2, [5, 800, 0, 0, 0, 0]), TRAPPED);
    assert_eq!(both(libc::SYS_dup2, [800, 0, 0, 0, 0, 0]), TRAPPED);
    assert_eq!(both(libc::SYS_dup2, [5, 6, 0, 0, 0, 0]), ALLOWED);
    for (command, expected) in [
        (libc::F_DUPFD, TRAPPED),
        (libc::F_DUPFD_CLOEXEC, TRAPPED),
        (libc::F_GETFL, TRAPPED),
        (libc::F_SETFL, ALLOWED),
    ] {
        assert_eq!(both(libc::SYS_fcntl, [800, command as u64, 0, 0, 0, 0]), expected, "{command}");
        assert_eq!(both(libc::SYS_fcntl, [5, command as u64, 0, 0, 0, 0]), ALLOWED);
    }
    let nowhere = u64::from(u32::MAX);
    assert_eq!(both(libc::SYS_mmap, [0, 4096, 1, 2, 800, 0]), TRAPPED);
    assert_eq!(both(libc::SYS_mmap, [0, 4096, 3, 0x22, nowhere, 0]), ALLOWED, "anonymous memory");
}

#[test]
fn paths_are_trapped_as_far_as_the_isolation_needs() {
    let (namespace, paths) = (Isolation::Namespace, Isolation::Paths);
    let directory = libc::O_DIRECTORY as u64;
    let here = libc::AT_FDCWD as u64;
    for (number, arguments, in_namespace) in [
        (libc::SYS_openat, [here, 0, 0, 0, 0, 0], TRAPPED),
        (libc::SYS_openat, [here, 0, directory, 0, 0, 0], ALLOWED),
        (libc::SYS_open, [0, directory, 0, 0, 0, 0], ALLOWED),
        (libc::SYS_newfstatat, [here, 0, 0, 0, 0, 0], ALLOWED),
        (libc::SYS_statx, [here, 0, 0, 0, 0, 0], ALLOWED),
        (libc::SYS_access, [0, 0, 0, 0, 0, 0], ALLOWED),
        (libc::SYS_readlink, [0, 0, 0, 0, 0, 0], TRAPPED),
        (libc::SYS_openat2, [here, 0, 0, 24, 0, 0], TRAPPED),
    ] {
        assert_eq!(native(namespace, number, arguments), in_namespace, "{number}");
        assert_eq!(native(paths, number, arguments), TRAPPED, "{number}");
    }
}

#[test]
fn standard_descriptors_show_no_socket() {
    let empty = libc::AT_EMPTY_PATH as u64;
    assert_eq!(both(libc::SYS_fstat, [1, 0, 0, 0, 0, 0]), TRAPPED);
    assert_eq!(both(libc::SYS_fstat, [3, 0, 0, 0, 0, 0]), ALLOWED);
    assert_eq!(native(Isolation::Namespace, libc::SYS_newfstatat, [0, 0, 0, empty, 0, 0]), TRAPPED);
    assert_eq!(native(Isolation::Namespace, libc::SYS_newfstatat, [0, 0, 0, 0, 0, 0]), ALLOWED);
    assert_eq!(native(Isolation::Namespace, libc::SYS_statx, [2, 0, empty, 0, 0, 0]), TRAPPED);
}

#[test]
fn other_entries_do_not_slip_past() {
    let program = build(Isolation::Namespace, &[node(Behind::Addressed)]).expect("fixed rules");
    let refused = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    assert_eq!(decide(&program, X86_64, 0x4000_0000 + libc::SYS_read, [768, 0, 0, 0, 0, 0]), refused, "x32");
    assert_eq!(decide(&program, X86_64, libc::SYS_io_uring_setup, [0; 6]), TRAPPED);
    assert_eq!(decide(&program, I386, i386::OPENAT, [0; 6]), TRAPPED);
    assert_eq!(decide(&program, I386, i386::IOCTL, [5, 0x44504, 0, 0, 0, 0]), TRAPPED);
    assert_eq!(decide(&program, I386, i386::READ, [768, 0, 0, 0, 0, 0]), TRAPPED);
    assert_eq!(decide(&program, I386, i386::READ, [5, 0, 0, 0, 0, 0]), ALLOWED);
    // A 32-bit call whose number is a trapped one of 64-bit callers.
    assert_eq!(decide(&program, I386, libc::SYS_execve, [0; 6]), ALLOWED);
}

#[test]
fn nothing_is_killed_or_traced() {
    for isolation in [Isolation::Namespace, Isolation::Paths] {
        for instruction in build(isolation, &[node(Behind::Addressed)]).expect("fixed rules") {
            if u32::from(instruction.code) == libc::BPF_RET | libc::BPF_K {
                let known = [TRAPPED, ALLOWED, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32];
                assert!(known.contains(&instruction.k), "{:#x}", instruction.k);
            }
        }
    }
}

#[test]
fn mappings_are_followed() {
    let shared = libc::MAP_SHARED as u64;
    let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    // A device's number may lie outside of the window; what maps its pages comes by 767, and must not be trapped again.
    assert_eq!(both(libc::SYS_mmap, [0, 4096, 3, shared, 5, 0]), TRAPPED);
    assert_eq!(both(libc::SYS_mmap, [0, 4096, 3, shared, 767, 0]), ALLOWED);
    assert_eq!(both(libc::SYS_mmap, [0, 4096, 3, anonymous, 5, 0]), ALLOWED);
    assert_eq!(both(libc::SYS_mmap, [0, 4096, 3, libc::MAP_PRIVATE as u64, 5, 0]), ALLOWED, "a library");
    assert_eq!(both(libc::SYS_munmap, [0, 4096, 0, 0, 0, 0]), ALLOWED);
    assert_eq!(both(libc::SYS_mremap, [0, 4096, 8192, 0, 0, 0]), TRAPPED);
    for (advice, expected) in [(libc::MADV_DONTNEED, TRAPPED), (libc::MADV_FREE, ALLOWED)] {
        assert_eq!(both(libc::SYS_madvise, [0, 4096, advice as u64, 0, 0, 0]), expected, "{advice}");
    }
}

#[test]
fn ends_of_processes_are_followed_and_forks_are_not() {
    for (signal, expected) in [(libc::SIGKILL, TRAPPED), (libc::SIGTERM, ALLOWED)] {
        let signal = signal as u64;
        assert_eq!(both(libc::SYS_kill, [9, signal, 0, 0, 0, 0]), expected);
        assert_eq!(both(libc::SYS_tkill, [9, signal, 0, 0, 0, 0]), expected);
        assert_eq!(both(libc::SYS_tgkill, [9, 9, signal, 0, 0, 0]), expected);
    }
    // A trapped call can be interrupted, and no program expects that of a fork.
    for call in [libc::SYS_fork, libc::SYS_vfork, libc::SYS_clone, libc::SYS_clone3] {
        assert_eq!(both(call, [libc::SIGCHLD as u64, 0, 0, 0, 0, 0]), ALLOWED, "{call}");
    }
}

#[test]
fn regions_of_vfio_devices_are_trapped_by_any_number() {
    for (call, trapped) in
        [(libc::SYS_pread64, TRAPPED), (libc::SYS_pwrite64, TRAPPED), (libc::SYS_read, ALLOWED)]
    {
        for (offset, expected) in [
            (0, ALLOWED),
            ((1 << 40) - 1, ALLOWED),
            (1 << 40, trapped),
            (7 << 40, trapped),
            ((9 << 40) - 1, trapped),
            (9 << 40, ALLOWED),
            (u64::MAX, ALLOWED),
        ] {
            assert_eq!(both(call, [3, 0, 4096, offset, 0, 0]), expected, "{call} {offset:#x}");
            if call != libc::SYS_read {
                assert_eq!(both(call, [3, 0, 8, offset, 0, 0]), TRAPPED, "a register");
            }
            assert_eq!(both(call, [768, 0, 4096, offset, 0, 0]), TRAPPED, "{call} {offset:#x}");
        }
    }
}

/// They cost something, and those who have none of these devices don't pay.
#[test]
fn without_vfio_nothing_is_trapped_for_its_regions() {
    let program =
        build(Isolation::Namespace, &[node(Behind::Stream), node(Behind::File)]).expect("fixed rules");
    for call in [libc::SYS_pread64, libc::SYS_pwrite64] {
        for offset in [0, 7 << 40] {
            assert_eq!(decide(&program, X86_64, call, [3, 0, 8, offset, 0, 0]), ALLOWED, "{call}");
            assert_eq!(decide(&program, X86_64, call, [768, 0, 8, offset, 0, 0]), TRAPPED, "{call}");
        }
    }
}
