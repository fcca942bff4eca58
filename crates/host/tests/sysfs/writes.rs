//! Writing, as shells do it.

use crate::stage::{User, says, sh};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("writes::have_the_drivers_answer", have_the_drivers_answer),
    ("writes::of_more_than_a_page_are_cut", of_more_than_a_page_are_cut),
    ("writes::are_placed", are_placed),
    ("writes::wait", wait),
    ("writes::hold_nobody_up", hold_nobody_up),
    ("writes::end_when_killed", end_when_killed),
    ("writes::go_on_after_a_signal", go_on_after_a_signal),
    ("writes::storm", storm),
];

const DRIVER: &str = "/sys/bus/pci/drivers/vfio-pci";
const DEVICE: &str = "/sys/bus/pci/devices/0000:00:01.0";

fn have_the_drivers_answer() {
    says(&format!("echo 0000:00:01.0 >{DRIVER}/bind && echo done"), "done\n");
    for user in User::all() {
        for (what, reason) in [("busy", "I/O error"), ("none", "I/O error"), ("panic", "I/O error")] {
            let outcome = sh(*user, &format!("echo {what} >{DRIVER}/bind; echo $?"));
            assert_eq!((&*outcome.out, outcome.err.contains(reason)), ("1\n", true), "{}", outcome.err);
        }
        // dash doesn't say which error it was.
        for (what, reason) in [("busy", "Device or resource busy"), ("none", "No such device")] {
            let outcome = sh(*user, &format!("bash -c 'echo {what} >{DRIVER}/bind'"));
            let expected = format!("bash: line 1: echo: write error: {reason}\n");
            assert_eq!((outcome.status, outcome.err), (1, expected));
            let outcome = sh(*user, &format!("echo {what} | tee {DRIVER}/bind >/dev/null"));
            assert_eq!((outcome.status, outcome.err), (1, format!("tee: {DRIVER}/bind: {reason}\n")));
        }
    }
    // A bug in the driver ends nothing.
    let script = format!("echo panic >{DRIVER}/bind; echo 0000:00:01.0 >{DRIVER}/bind && echo done");
    assert_eq!(sh(User::Own, &script).out, "done\n");
}

fn of_more_than_a_page_are_cut() {
    let write = |length: usize| {
        format!(
            "python3 -c 'import os; f = os.open(\"{DEVICE}/driver_override\", 1); print(os.write(f, b\"x\" * {length}))'; \
             cat {DEVICE}/driver_override"
        )
    };
    for (length, written) in [(4095, 4095), (4096, 4096), (4097, 4096), (8192, 4096), (20_000, 4096)] {
        says(&write(length), &format!("{written}\n{written} bytes\n"));
    }
}

fn are_placed() {
    let config = |script: &str| format!("{script}; od -An -tx1 -j 8 -N 4 {DEVICE}/config");
    says(
        &config(&format!("printf xy | dd of={DEVICE}/config bs=1 seek=9 conv=notrunc status=none")),
        " 08 78 79 0b\n",
    );
    // Appending means nothing in sysfs: a write is at the open file's position, which is 0.
    says(&format!("printf xy >>{DEVICE}/config; od -An -tx1 -N 4 {DEVICE}/config"), " 78 79 02 03\n");
    says(&format!("echo vfio-pci >>{DEVICE}/driver_override; cat {DEVICE}/driver_override"), "vfio-pci\n");
}

fn wait() {
    let script = format!(
        "(echo x >{DRIVER}/unbind; echo \"unbound $?\") & sleep 0.3; echo releasing; echo 1 >{DRIVER}/release; wait"
    );
    says(&script, "releasing\nunbound 0\n");
}

fn hold_nobody_up() {
    // Others go on, with the same file as well: four wait, each for itself.
    let script = format!(
        "exec 7>{DRIVER}/unbind; for i in 1 2 3; do (echo x >{DRIVER}/unbind; echo done) & done; sleep 0.3; \
         (echo y >&7; echo done) & sleep 0.3; cat {DEVICE}/vendor; ls {DRIVER}; echo 0000:00:01.0 >{DRIVER}/bind; \
         stat -c %s {DRIVER}/unbind; truncate -s 0 {DRIVER}/unbind; echo 1 >{DRIVER}/release; wait"
    );
    says(&script, "0x8086\nbind\nrelease\nunbind\n4096\ndone\ndone\ndone\ndone\n");
}

fn end_when_killed() {
    for (signal, number) in [("KILL", 9), ("TERM", 15), ("INT", 2)] {
        let program = format!(
            "import os, signal; signal.signal(signal.SIGINT, signal.SIG_DFL); \
             os.write(os.open(\"{DRIVER}/unbind\", 1), b\"abc\")"
        );
        let script = format!(
            "python3 -c '{program}' & sleep 0.5; kill -{signal} $!; wait $! 2>/dev/null; echo $(($? - 128)); \
             echo 1 >{DRIVER}/release && cat {DEVICE}/vendor"
        );
        says(&script, &format!("{number}\n0x8086\n"));
    }
}

fn go_on_after_a_signal() {
    // A signal that is handled doesn't end the wait, however often it comes; being killed afterwards does.
    let program = format!(
        "import os, signal; signal.signal(signal.SIGUSR1, lambda *_: print(\"signal\", flush=True)); \
         print(os.write(os.open(\"{DRIVER}/unbind\", 1), b\"abc\"), flush=True)"
    );
    let script = format!(
        "python3 -c '{program}' & sleep 0.5; kill -USR1 $!; sleep 0.2; kill -USR1 $!; sleep 0.2; echo waits; \
         echo 1 >{DRIVER}/release; wait $!"
    );
    for user in User::all() {
        let outcome = sh(*user, &script);
        let mut lines: Vec<&str> = outcome.out.lines().collect();
        assert_eq!(lines.first(), Some(&"waits"), "{}", outcome.out);
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines, ["3", "signal", "waits"], "{}", outcome.err);
    }
    let script = format!(
        "python3 -c '{program}' & sleep 0.5; kill -USR1 $!; sleep 0.2; kill -KILL $!; wait $! 2>/dev/null; echo $?"
    );
    says(&script, "137\n");
}

fn storm() {
    // Opens are looked up by the server, from here as from everywhere, while writes need its lock.
    let script = format!(
        "for i in 1 2 3 4; do (for j in $(seq 150); do echo 0000:00:01.0 >{DRIVER}/bind || echo failed; \
         read x <{DEVICE}/vendor; test $x = 0x8086 || echo wrong; done) & done; \
         for i in 1 2; do (cd {DRIVER}; for j in $(seq 150); do echo vfio >../../devices/0000:00:01.0/driver_override; \
         read x <../../../../devices/system/cpu/online; done) & done; wait; echo over"
    );
    says(&script, "over\n");
}
