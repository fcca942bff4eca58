//! Looking, reading, and what can't be done.

use crate::stage::{User, says, sh};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("files::are_read", are_read),
    ("files::are_read_in_parts", are_read_in_parts),
    ("files::are_read_as_they_are_now", are_read_as_they_are_now),
    ("files::are_listed", are_listed),
    ("files::look_as_in_sysfs", look_as_in_sysfs),
    ("files::keep_their_numbers", keep_their_numbers),
    ("files::links_lead_through_trees_and_out", links_lead_through_trees_and_out),
    ("files::come_and_go", come_and_go),
    ("files::cannot_be_made_or_removed", cannot_be_made_or_removed),
    ("files::are_opened_for_what_they_allow", are_opened_for_what_they_allow),
    ("files::permissions_can_be_changed", permissions_can_be_changed),
    ("files::the_rest_is_as_it_was", the_rest_is_as_it_was),
    ("files::many_read_at_once", many_read_at_once),
];

const DEVICE: &str = "/sys/bus/pci/devices/0000:00:01.0";

fn are_read() {
    says(&format!("cat {DEVICE}/vendor"), "0x8086\n");
    for user in User::all() {
        let outcome = sh(*user, &format!("cat <{DEVICE}/broken"));
        assert_eq!(outcome.err, format!("cat: -: Input/output error\n"));
        let outcome = sh(*user, &format!("cat {DEVICE}/nothing"));
        assert_eq!(outcome.err, format!("cat: '{DEVICE}/nothing': No such file or directory\n"));
    }
}

fn are_read_in_parts() {
    // dd reads at the offset by lseek or pread; a shell reads byte by byte.
    says(&format!("dd if={DEVICE}/config bs=2 skip=5 count=2 status=none | od -An -tx1"), " 0a 0b 0c 0d\n");
    says(&format!("dd if={DEVICE}/config bs=1M status=none | wc -c; wc -c <{DEVICE}/config"), "256\n256\n");
    says(&format!("dd if={DEVICE}/config bs=1 skip=256 status=none | wc -c"), "0\n");
    says(&format!("read x <{DEVICE}/vendor; echo $x; tail -c 3 {DEVICE}/vendor"), "0x8086\n86\n");
}

fn are_read_as_they_are_now() {
    says(&format!("cat {DEVICE}/reads {DEVICE}/reads; cat {DEVICE}/reads"), "1\n2\n3\n");
    // Also by one open file.
    let again = format!(
        "python3 -c 'import os; f = os.open(\"{DEVICE}/reads\", 0); print(os.pread(f, 9, 0), os.pread(f, 9, 0))'"
    );
    says(&again, "b'1\\n' b'2\\n'\n");
    says(&format!("f={DEVICE}/driver_override; cat $f; echo vfio-pci >$f; cat $f"), "\nvfio-pci\n");
}

fn are_listed() {
    says(
        "ls /sys/bus/pci /sys/kernel/iommu_groups",
        "/sys/bus/pci:\ndevices\ndrivers\nrescan\n\n/sys/kernel/iommu_groups:\n3\n",
    );
    says("ls -a /sys/module/vfio_pci", ".\n..\nparameters\n");
    says(
        &format!("ls -F {DEVICE}/"),
        "broken\nconfig\ndriver_override\niommu_group@\nonline@\nreads\nremove\nsubsystem@\nvendor\n",
    );
    says(
        "find /sys/bus/pci -type f | sort | head -n 2",
        "/sys/bus/pci/drivers/vfio-pci/bind\n/sys/bus/pci/drivers/vfio-pci/release\n",
    );
}

fn look_as_in_sysfs() {
    let stat = |what: &str, file: &str| format!("stat -c '{what}' {file}");
    says(&stat("%F %a %h %s", "/sys/bus/pci"), "directory 755 4 0\n");
    says(&stat("%F %a %h %s", "/sys/kernel/iommu_groups/3"), "directory 755 2 0\n");
    says(&stat("%F %a %h %s", DEVICE), "symbolic link 777 1 0\n");
    says(&stat("%F %a %h %s %b %o", &format!("{DEVICE}/vendor")), "regular file 444 1 4096 0 4096\n");
    says(&stat("%F %a %s", &format!("{DEVICE}/config")), "regular file 644 256\n");
    // They belong to who runs the lab.
    says(
        &format!("test -O {DEVICE}/config && test -G {DEVICE}/config && test -w {DEVICE}/config && echo own"),
        "own\n",
    );
    says(&format!("test $(($(date +%s) - $(stat -c %Y {DEVICE}/vendor))) -lt 60 && echo new"), "new\n");
    says(
        "test $(stat -c %d /sys/bus/pci) = $(stat -c %d /sys/kernel/iommu_groups/3/type) && echo one device",
        "one device\n",
    );
}

fn keep_their_numbers() {
    let script = format!(
        "number() {{ stat -L -c %i {DEVICE}/vendor; }}; a=$(number); ls -lR /sys/bus/pci >/dev/null; test $a = $(number) \
         && test $a = $(ls -i {DEVICE}/ | sed -n 's/ vendor//p') && echo same; \
         test $a != $(stat -L -c %i {DEVICE}/config) && echo its own"
    );
    says(&script, "same\nits own\n");
}

fn links_lead_through_trees_and_out() {
    says(&format!("readlink {DEVICE}"), "../../../devices/pci0000:00/0000:00:01.0\n");
    says(&format!("readlink -f {DEVICE}/iommu_group"), "/sys/kernel/iommu_groups/3\n");
    says(
        &format!("cd {DEVICE}/subsystem/devices/0000:00:01.0 && pwd -P"),
        "/sys/devices/pci0000:00/0000:00:01.0\n",
    );
    // Into what the machine has.
    says(&format!("cmp {DEVICE}/online /sys/devices/system/cpu/online && echo same"), "same\n");
    says(
        &format!(
            "cd -P {DEVICE} && cat ../../system/cpu/online | cmp - /sys/devices/system/cpu/online && echo same"
        ),
        "same\n",
    );
}

fn come_and_go() {
    says(
        &format!(
            "echo 1 >{DEVICE}/remove; ls /sys/bus/pci/devices; echo 1 >/sys/bus/pci/rescan; ls /sys/bus/pci/devices"
        ),
        "0000:00:01.0\n",
    );
    for user in User::all() {
        // An open file stays open, and what it was of is gone.
        let script = format!(
            "exec 3<{DEVICE}/vendor 4>{DEVICE}/driver_override; echo 1 >{DEVICE}/remove; cat <&3; echo x >&4; cat {DEVICE}/vendor"
        );
        let outcome = sh(*user, &script);
        let expected = format!(
            "cat: -: No such device\nsh: 1: echo: echo: I/O error\ncat: '{DEVICE}/vendor': No such file or directory\n"
        );
        assert_eq!(outcome.err, expected);
    }
}

fn cannot_be_made_or_removed() {
    let cases = [
        ("touch /sys/bus/pci/x", "Permission denied"),
        ("mkdir /sys/bus/pci/x", "Operation not permitted"),
        ("rmdir /sys/bus/pci/devices", "Operation not permitted"),
        ("rm -f /sys/bus/pci/rescan", "Operation not permitted"),
        ("mv /sys/bus/pci/rescan /sys/bus/pci/x", "Operation not permitted"),
        ("ln /sys/bus/pci/rescan /sys/bus/pci/x", "Operation not permitted"),
        ("ln -s x /sys/bus/pci/x", "Operation not permitted"),
        ("mkfifo /sys/bus/pci/x", "Operation not permitted"),
    ];
    for (script, expected) in cases {
        for user in User::all() {
            let outcome = sh(*user, script);
            assert!(
                outcome.status == 1 && outcome.err.ends_with(&format!("{expected}\n")),
                "{script}: {}",
                outcome.err
            );
        }
    }
}

fn are_opened_for_what_they_allow() {
    for user in User::all() {
        // Not even by root.
        let outcome = sh(*user, &format!("echo 1 >{DEVICE}/vendor"));
        assert!(outcome.status == 2 && outcome.err.ends_with("Permission denied\n"), "{}", outcome.err);
        let outcome = sh(*user, "cat /sys/bus/pci/rescan");
        assert_eq!(outcome.err, "cat: /sys/bus/pci/rescan: Permission denied\n");
        let outcome = sh(*user, "echo x >/sys/bus/pci/devices");
        assert!(outcome.err.ends_with("Is a directory\n"), "{}", outcome.err);
    }
}

fn permissions_can_be_changed() {
    says(
        &format!(
            "chmod 600 {DEVICE}/config; stat -L -c %a {DEVICE}/config; touch {DEVICE}/config; truncate -s 5 {DEVICE}/config; stat -L -c '%a %s' {DEVICE}/config"
        ),
        "600\n600 256\n",
    );
    let outcome = sh(User::all()[0], &format!("chmod 0 {DEVICE}/config; cat {DEVICE}/config"));
    assert!(outcome.err.ends_with("Permission denied\n"), "{}", outcome.err);
}

fn the_rest_is_as_it_was() {
    let outside = |script: &str| {
        let output = std::process::Command::new("sh").args(["-c", script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for script in [
        "ls -l /sys/devices/system/cpu",
        "ls /sys/kernel/mm /sys/class /sys/fs /sys/fs/cgroup",
        "cat /sys/devices/system/cpu/online /sys/kernel/mm/transparent_hugepage/enabled",
        "stat -c %a /sys /sys/bus /sys/devices /sys/kernel /sys/module",
        "ls -d /sys/* /sys/bus/* /sys/kernel/* /sys/devices/* | grep -v -e pci -e iommu_groups",
        "ls /sys/module | grep -v vfio",
    ] {
        let ids = |text: String| text.replace("root", "?").replace("nobody", "?").replace("nogroup", "?");
        for user in User::all() {
            assert_eq!(ids(sh(*user, script).out), ids(outside(script)), "{script} ({user:?})");
        }
    }
    // Nothing is left of the making.
    says("ls -d /dev/.sys /dev/.trees 2>/dev/null; grep -c ' fuse ' /proc/self/mounts", "4\n");
}

fn many_read_at_once() {
    let script = format!("seq 64 | xargs -P 64 -I= cat {DEVICE}/vendor {DEVICE}/config | grep -ac 0x8086");
    says(&script, "64\n");
}
