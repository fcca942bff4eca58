//! Runs, servers and their ends.

use std::time::{Duration, Instant};

use crate::lab;
use crate::stage::{User, command, finish, sh};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("sessions::a_server_can_be_elsewhere", a_server_can_be_elsewhere),
    ("sessions::without_a_server_everything_fails", without_a_server_everything_fails),
    ("sessions::without_fuse_the_program_runs", without_fuse_the_program_runs),
    ("sessions::without_trees_nothing_changes", without_trees_nothing_changes),
    ("sessions::no_descriptor_is_left_to_the_program", no_descriptor_is_left_to_the_program),
];

const DRIVER: &str = "/sys/bus/pci/drivers/vfio-pci";
const DEVICE: &str = "/sys/bus/pci/devices/0000:00:01.0";

fn a_server_can_be_elsewhere() {
    for user in User::all() {
        let script = format!(
            "cat {DEVICE}/vendor; (echo x >{DRIVER}/unbind; echo unbound) & sleep 0.3; echo 1 >{DRIVER}/release; wait; \
             test -O {DEVICE}/config && cd {DRIVER} && cat ../../../../devices/system/cpu/online >/dev/null && echo well"
        );
        let outcome = finish(command(*user, lab::SHARED).args(["sh", "-c", &script]));
        assert_eq!((&*outcome.err, &*outcome.out), ("", "0x8086\nunbound\nwell\n"), "{user:?}");
    }
}

fn without_a_server_everything_fails() {
    for user in User::all() {
        // Afterwards nothing can be opened or started: so all is open, and what is done is done by the shell itself.
        let script = format!(
            "exec 3<{DEVICE}/vendor 4>{DRIVER}/bind 2>&1; (echo x >{DRIVER}/unbind; echo \"waited: $?\") & sleep 0.3; \
             kill -KILL $PPID; wait; read x <&3; echo \"read: $?\"; echo x >&4; echo \"wrote: $?\""
        );
        let mut command = command(*user, lab::PRIVATE);
        command.args(["sh", "-c", &script]);
        // The lab's program outlives the lab, and this waits for the lab: so the program's output takes its time.
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        command.stdout(std::fs::File::create(&path).unwrap()).stderr(std::process::Stdio::null());
        command.spawn().unwrap().wait().unwrap();
        let begun = Instant::now();
        let mut out = String::new();
        while !out.contains("wrote") && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
            out = std::fs::read_to_string(&path).unwrap();
        }
        for line in ["waited: 1\n", "read: 1\n", "wrote: 1\n"] {
            assert!(out.contains(line), "{user:?}: {out}");
        }
    }
}

fn without_fuse_the_program_runs() {
    // A file of its own over /dev/fuse, in a namespace: there is no such device then.
    let hidden = "mount --bind /dev/null /dev/fuse && exec \"$@\"";
    for user in User::all() {
        let lab = command(*user, lab::PRIVATE);
        let mut unshared = std::process::Command::new("unshare");
        unshared.args(["--user", "--map-root-user", "--mount", "sh", "-c", hidden, "sh"]);
        unshared.arg(lab.get_program()).args(lab.get_args()).current_dir("/");
        unshared.args(["sh", "-c", "ls -d /sys/devices/system/cpu; ls -d /dev/.sys /dev/.trees 2>/dev/null"]);
        if *user == User::Nobody {
            use std::os::unix::process::CommandExt;
            unshared.uid(65534).gid(65534);
        }
        let outcome = finish(&mut unshared);
        assert_eq!(outcome.out, "/sys/devices/system/cpu\n", "{}", outcome.err);
        assert_eq!(outcome.err, "no trees: mounting FUSE: Invalid argument (os error 22)\n");
    }
}

fn without_trees_nothing_changes() {
    for user in User::all() {
        let script = "grep -c -e ' fuse ' -e ' /sys tmpfs ' /proc/self/mounts; stat -f -c %T /sys";
        let outcome = finish(command(*user, lab::BARE).args(["sh", "-c", script]));
        assert_eq!((&*outcome.err, &*outcome.out), ("", "0\nsysfs\n"));
    }
}

fn no_descriptor_is_left_to_the_program() {
    for user in User::all() {
        let outcome = sh(*user, "ls -l /proc/self/fd | grep -c fuse");
        assert_eq!(outcome.out, "0\n");
    }
}
