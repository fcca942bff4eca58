//! The report on machines that this one isn't.

use super::*;

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const EBUSY: i32 = 16;
const ENOSPC: i32 = 28;

/// A machine that allows everything.
fn generous() -> Facts {
    let probes = Probes {
        seccomp_listener: Ok(()),
        user_namespace: Ok(()),
        mount_namespace: Ok(()),
        fuse: Ok(()),
        process_vm_readv: Ok(()),
        ptrace: Ok(()),
        userfaultfd: Ok(()),
    };
    Facts {
        release: "6.12.5-amd64".into(),
        machine: "x86_64".into(),
        probes,
        proc_mem: Some(Ok(())),
        pidfd_getfd: Some(Ok(())),
        no_new_privs: Ok(()),
        filters: 0,
        in_container: false,
        max_user_namespaces: Some(1000),
        unprivileged_userns_clone: None,
        apparmor_restricts: None,
        ptrace_scope: Some(1),
        descriptors: (1024, 1 << 20),
    }
}

/// What is not well on a machine: each row's state, name, finding and remedy; and whether `run` can work.
fn findings(change: impl FnOnce(&mut Facts)) -> (Vec<String>, bool) {
    let mut facts = generous();
    change(&mut facts);
    let rows = rows(&facts);
    let can_run = !rows.iter().any(Row::is_fatal);
    let bad = rows.iter().filter(|row| row.state != State::Ok);
    (
        bad.map(|row| format!("{:?} {}: {} [{}]", row.state, row.what, row.found, row.remedy)).collect(),
        can_run,
    )
}

/// Asserts that just one row is not well, or just it and the isolation that follows from it.
#[track_caller]
fn finds(expected: &str, can_run: bool, change: impl FnOnce(&mut Facts)) {
    let (mut bad, can) = findings(change);
    bad.retain(|row| !row.starts_with("Limited isolation: paths"));
    assert_eq!((bad, can), (vec![expected.to_owned()], can_run));
}

#[test]
fn a_machine_that_allows_everything() {
    assert_eq!(findings(|_| ()), (vec![], true));
}

#[test]
fn kernels() {
    finds(
        "Limited kernel: Linux 6.5 has no SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP [Linux 6.6 or later]",
        true,
        |facts| {
            facts.release = "6.5".into();
        },
    );
    finds(
        "Missing kernel: Linux 5.10.0-33 has no SECCOMP_ADDFD_FLAG_SEND, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, \
         SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP [Linux 5.14 or later; 6.6 or later for all of it]",
        false,
        |facts| facts.release = "5.10.0-33".into(),
    );
    let releases = ["6.12.5-amd64", "5.14-rc3", "10.0+", "6", "", "six.six", "99999999999.1"];
    let versions = [Some((6, 12)), Some((5, 14)), Some((10, 0)), None, None, None, None];
    assert_eq!(releases.map(version), versions);
    finds("Limited kernel: Linux gVisor: which version is that? []", true, |facts| {
        facts.release = "gVisor".into()
    });
}

#[test]
fn processors() {
    let expected =
        "Missing processor: aarch64 [run ioctlab on x86-64; it knows the system calls of no other]";
    finds(expected, false, |facts| facts.machine = "aarch64".into());
}

#[test]
fn listeners() {
    let expected = "Missing seccomp listener: there is one already: this runs under ioctlab, or another tool that \
                    intercepts system calls (Device or resource busy (os error 16)) [run ioctlab outside that; a \
                    process can have one listener only]";
    finds(expected, false, |facts| facts.probes.seccomp_listener = Err(EBUSY));
    let (bad, can_run) = findings(|facts| {
        facts.probes.seccomp_listener = Err(EPERM);
        facts.filters = 1;
    });
    assert!(
        bad[0].starts_with("Missing seccomp listener: the seccomp filter that this runs under"),
        "{bad:?}"
    );
    assert!(!can_run);
}

#[test]
fn client_memory_by_other_means() {
    let expected = "Limited client memory: process_vm_readv: Operation not permitted (os error 1); /proc/PID/mem works \
                    [kernel.yama.ptrace_scope is 2: `sysctl kernel.yama.ptrace_scope=1` as root]";
    finds(expected, true, |facts| {
        facts.probes.process_vm_readv = Err(EPERM);
        facts.ptrace_scope = Some(2);
    });
    let expected = "Missing client memory: process_vm_readv: Operation not permitted (os error 1); /proc/PID/mem: \
                    Permission denied (os error 13) []";
    finds(expected, false, |facts| {
        facts.probes.process_vm_readv = Err(EPERM);
        facts.proc_mem = Some(Err(EACCES));
    });
}

#[test]
fn mappings_need_ptrace_and_are_watched_by_userfaultfd() {
    let expected = "Missing mapping: ptrace: Operation not permitted (os error 1) [kernel.yama.ptrace_scope is 3: `sysctl \
                    kernel.yama.ptrace_scope=1` as root]";
    finds(expected, true, |facts| {
        facts.probes.ptrace = Err(EPERM);
        facts.ptrace_scope = Some(3);
    });
    let expected = "Missing watching: userfaultfd: Operation not permitted (os error 1) [a container with --security-opt \
                    seccomp=unconfined, or a profile that allows userfaultfd(2)]";
    finds(expected, true, |facts| {
        facts.probes.userfaultfd = Err(EPERM);
        facts.filters = 1;
    });
    let (bad, can_run) = findings(|facts| facts.pidfd_getfd = Some(Err(EPERM)));
    assert!(
        bad[1].starts_with("Limited watching: userfaultfd can't be taken from a child") && can_run,
        "{bad:?}"
    );
}

#[test]
fn namespaces() {
    let user = |errno, expected: &str, change: fn(&mut Facts)| {
        let (bad, can_run) = findings(|facts| {
            facts.probes.user_namespace = Err(errno);
            facts.probes.mount_namespace = Err(EPERM);
            facts.probes.fuse = Err(EPERM);
            change(facts);
        });
        assert!(
            bad[0].starts_with("Missing user namespace: ") && bad[0].contains(expected),
            "{expected}: {bad:?}"
        );
        assert!(bad[1].starts_with("Missing mount namespace: needs a user namespace"), "{bad:?}");
        assert!(bad[2].starts_with("Missing sysfs trees: FUSE needs a mount namespace"), "{bad:?}");
        assert!(bad[3].starts_with("Limited isolation: paths") && can_run, "{bad:?}");
    };
    user(ENOSPC, "user.max_user_namespaces is 0", |facts| facts.max_user_namespaces = Some(0));
    user(ENOSPC, "too many, or too deep", |_| ());
    user(EPERM, "unprivileged_userns_clone is 0", |facts| facts.unprivileged_userns_clone = Some(0));
    user(EPERM, "the container's profile", |facts| facts.filters = 1);
    user(EPERM, "refused, as in a chroot", |_| ());
    let (bad, can_run) = findings(|facts| {
        facts.probes.mount_namespace = Err(EACCES);
        facts.apparmor_restricts = Some(1);
    });
    assert!(bad[0].starts_with("Missing mount namespace: AppArmor") && can_run, "{bad:?}");
}

#[test]
fn sysfs_trees_need_fuse() {
    let refused = |errno, in_container, expected: &str| {
        let (bad, can_run) = findings(|facts| {
            facts.probes.fuse = Err(errno);
            facts.in_container = in_container;
        });
        assert!(bad[0].starts_with(&format!("Missing sysfs trees: {expected}")) && can_run, "{bad:?}");
        assert_eq!(bad.len(), 1, "{bad:?}");
    };
    refused(ENOENT, false, "there is no /dev/fuse, or no /sys");
    refused(EACCES, false, "/dev/fuse can't be opened");
    refused(EPERM, false, "mounting FUSE is refused");
    refused(EPERM, true, "the container refuses FUSE");
}

#[test]
fn descriptor_limits() {
    let states = [1024, 769, 768].map(|soft| {
        let row = descriptors((soft, 4096));
        (row.state, row.is_fatal())
    });
    assert_eq!(states, [(State::Ok, false), (State::Limited, false), (State::Limited, false)]);
    assert!(descriptors((512, 512)).remedy.starts_with("a hard limit"));
}

#[test]
fn this_machine() {
    let mut out = Vec::new();
    let refused = Probes {
        seccomp_listener: Err(EBUSY),
        user_namespace: Err(EPERM),
        mount_namespace: Err(EPERM),
        fuse: Err(EPERM),
        process_vm_readv: Err(EPERM),
        ptrace: Err(EPERM),
        userfaultfd: Err(EPERM),
    };
    assert!(!report(&mut out, &refused).expect("memory"));
    let text = String::from_utf8(out).expect("text");
    assert!(text.contains("can't work here, for want of: "), "{text}");
    assert!(
        text.lines().any(|line| line.starts_with("missing  seccomp listener  there is one already")),
        "{text}"
    );
}
