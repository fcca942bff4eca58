//! Bad files, and exactly what is said of each.

use super::*;

/// What is said of `text`, called `x.toml`: the first line of each problem, without the file's name.
pub(super) fn complaints(text: &str) -> Vec<String> {
    let errors = Lab::parse("x.toml", text).expect_err(text);
    let shown = |problem: &Problem| match &problem.place {
        Some(place) => format!("{}:{}: {}", place.line, place.column, problem.message),
        None => problem.message.clone(),
    };
    errors.problems().iter().map(shown).collect()
}

#[test]
fn bad_files() {
    let expected_keys = "expected one of: id, name, vcpus, memory, max_event_channel_port, kernel_virqs, kernel_ports, \
                         max_grant_frames, max_maptrack_frames, grant_version";
    let virqs = "expected one of: TIMER, DEBUG, CONSOLE, DOM_EXC, TBUF, DEBUGGER, XENOPROF, CON_RING, PCPU_STATE, \
                 MEM_EVENT, ARGO, ENOMEM, XENPMU, ARCH_0, ARCH_1, ARCH_2, ARCH_3, ARCH_4, ARCH_5, ARCH_6, ARCH_7";
    let domain = |lines: &str| format!("[[xen.domain]]\nid = 1\n{lines}");
    let table: Vec<(String, Vec<String>)> = [
        // The file as a whole.
        ("".into(), vec!["describes nothing; expected one of: xen, vfio".into()]),
        ("# only this\n".into(), vec!["describes nothing; expected one of: xen, vfio".into()]),
        (
            "[xen]\nevent_channels =\n[[xen.domain]\n".into(),
            vec![
                "2:17: not TOML: string values must be quoted, expected literal string".into(),
                "3:14: not TOML: unclosed array table, expected `]`".into(),
            ],
        ),
        (domain("id = 2"), vec!["3:1: not TOML: duplicate key".into()]),
        // Sections.
        (
            "[[vme.board]]\n[zvm]\n".into(),
            vec![
                "1:3: this version of ioctlab has no VMEbus bridge yet ([vme])".into(),
                "2:2: this version of ioctlab has no z/VM guest yet ([zvm])".into(),
            ],
        ),
        ("[xem]\n".into(), vec!["1:2: unknown section `xem`; expected one of: xen, vfio; did you mean `xen`?".into()]),
        ("xen = 3\n".into(), vec!["1:7: `xen` in the lab file: expected a table, [xen], found 3".into()]),
        ("[[xen]]\n".into(), vec!["1:1: `xen` in the lab file: expected a table, [xen], found an array".into()]),
        // [xen]
        ("[xen]\n".into(), vec!["1:1: [xen]: needs at least one [[xen.domain]]".into()]),
        (
            "[xen]\nmachine_memory = 1\ngntdev_limit = 0\ngntalloc_limit = 4194305\n[[xen.domain]]\nid = 0\n".into(),
            vec![
                "2:18: `machine_memory` in [xen]: expected a size from 4KiB to 16GiB (as 4096, 0x1000, \"4KiB\" or \
                 \"1MiB\"), found 1"
                    .into(),
                "3:16: `gntdev_limit` in [xen]: expected a limit from 1 to 4194304, found 0".into(),
                "4:18: `gntalloc_limit` in [xen]: expected a limit from 1 to 4194304, found 4194305".into(),
            ],
        ),
        (
            domain("memory = \"much\"\nmax_grant_frames = 0\nmax_maptrack_frames = 65537\ngrant_version = 3\n"),
            vec![
                "3:10: `memory` in [[xen.domain]]: expected a size from 1 bytes to 16TiB (as 4096, 0x1000, \"4KiB\" or \
                 \"1MiB\"), found the string \"much\""
                    .into(),
                "4:20: `max_grant_frames` in [[xen.domain]]: expected a number of frames from 1 to 65536, found 0".into(),
                "5:23: `max_maptrack_frames` in [[xen.domain]]: expected a number of frames from 1 to 65536, found 65537"
                    .into(),
                "6:17: `grant_version` in [[xen.domain]]: expected a version from 1 to 2, found 3".into(),
            ],
        ),
        (
            "[xen.domain]\nid = 1\n".into(),
            vec!["1:1: `domain` in [xen]: expected tables, each under its own [[xen.domain]], found a table".into()],
        ),
        (
            "xen.domain = [{ id = 1 }, 2]\n".into(),
            vec!["1:14: `domain` in [xen]: expected tables, each under its own [[xen.domain]], found an array".into()],
        ),
        (
            "[xen]\nevent_channels = \"Fifo\"\nevtchn_minor = 255\n[[xen.domain]]\nid = 1\n".into(),
            vec![
                "2:18: `event_channels` in [xen]: expected \"fifo\" or \"2-level\", found the string \"Fifo\"; did you \
                 mean \"fifo\"?"
                    .into(),
                "3:16: `evtchn_minor` in [xen]: 255 (MISC_DYNAMIC_MINOR) stands for any minor number; no device has it"
                    .into(),
            ],
        ),
        (
            "[xen]\nevent_channels = 2\nevtchn_minor = 0x10_0000\n[[xen.domain]]\nid = 1\n".into(),
            vec![
                "2:18: `event_channels` in [xen]: expected \"fifo\" or \"2-level\", found 2".into(),
                "3:16: `evtchn_minor` in [xen]: expected a minor number from 0 to 1048575, found 0x100000".into(),
            ],
        ),
        // [[xen.domain]]
        (
            domain("vcpu = 2\ncolour = \"red\"\n"),
            vec![
                format!("3:1: unknown key `vcpu` in [[xen.domain]]; {expected_keys}; did you mean `vcpus`?"),
                format!("4:1: unknown key `colour` in [[xen.domain]]; {expected_keys}"),
            ],
        ),
        (
            "[[xen.domain]]\nname = \"a\"\n".into(),
            vec!["1:1: [[xen.domain]]: `id` is missing; expected a domain id".into()],
        ),
        (
            "[[xen.domain]]\nid = \"1\"\nname = 3\nvcpus = 1.5\nkernel_virqs = \"TIMER\"\nkernel_ports = true\n".into(),
            vec![
                "2:6: `id` in [[xen.domain]]: expected a domain id from 0 to 32751, found the string \"1\"".into(),
                "3:8: `name` in [[xen.domain]]: expected a string of printable characters, found 3".into(),
                "4:9: `vcpus` in [[xen.domain]]: expected a number from 1 to 128, found the fraction 1.5".into(),
                "5:16: `kernel_virqs` in [[xen.domain]]: expected an array of VIRQ names, found the string \"TIMER\""
                    .into(),
                "6:16: `kernel_ports` in [[xen.domain]]: expected a number of ports from 0 to 131071, found the \
                 boolean true"
                    .into(),
            ],
        ),
        (
            "[[xen.domain]]\nid = 0x7FF0\nvcpus = 0\n[[xen.domain]]\nid = 0x1_0000\nname = \"\"\n".into(),
            vec![
                "2:6: `id` in [[xen.domain]]: expected a domain id from 0 to 0x7fef, found 0x7FF0: Xen keeps those from \
                 0x7ff0 for itself"
                    .into(),
                "3:9: `vcpus` in [[xen.domain]]: expected a number from 1 to 128, found 0".into(),
                "5:6: `id` in [[xen.domain]]: expected a domain id from 0 to 32751, found 0x10000".into(),
                "6:8: `name` in [[xen.domain]]: expected a string of printable characters, found the string \"\""
                    .into(),
            ],
        ),
        (
            domain("vcpus = -1\nkernel_ports = 99999999999999999999\n"),
            vec![
                "3:9: `vcpus` in [[xen.domain]]: expected a number from 1 to 128, found -1".into(),
                "4:16: `kernel_ports` in [[xen.domain]]: expected a number of ports from 0 to 131071, found \
                 99999999999999999999"
                    .into(),
            ],
        ),
        (
            domain("name = \"a\"\n[[xen.domain]]\nid = 0x1\nname = \"a\"\n"),
            vec![
                "5:6: `id` in [[xen.domain]]: the domain on line 2 has the id 1 already".into(),
                "6:8: `name` in [[xen.domain]]: the domain on line 3 has the name \"a\" already".into(),
            ],
        ),
        // VIRQs and ports.
        (
            domain("kernel_virqs = [\"TIMR\", \"ARCH_0\", \"VIRQ_MCA\", 24, [], \"WIDGET\"]\n"),
            vec![
                format!("3:17: `kernel_virqs` in [[xen.domain]]: unknown VIRQ `TIMR`; {virqs}; did you mean `TIMER`?"),
                "3:35: `kernel_virqs` in [[xen.domain]]: ARCH_0 is listed twice".into(),
                "3:47: `kernel_virqs` in [[xen.domain]]: expected a VIRQ's name, or its number from 0 to 23, found 24"
                    .into(),
                "3:51: `kernel_virqs` in [[xen.domain]]: expected a VIRQ's name, or its number from 0 to 23, found an \
                 empty array"
                    .into(),
                format!("3:55: `kernel_virqs` in [[xen.domain]]: unknown VIRQ `WIDGET`; {virqs}"),
            ],
        ),
        (
            domain("max_event_channel_port = 131072\n"),
            vec![
                "3:26: `max_event_channel_port` in [[xen.domain]]: expected a port from 1 to 131071, found 131072"
                    .into(),
            ],
        ),
        (
            "[xen]\nevent_channels = \"2-level\"\n[[xen.domain]]\nid = 1\nmax_event_channel_port = 4096\n".into(),
            vec![
                "5:26: `max_event_channel_port` in [[xen.domain]]: expected a port from 1 to 4095, found 4096".into(),
            ],
        ),
        (
            domain("max_event_channel_port = 5\n"),
            vec![
                "3:26: `max_event_channel_port` in [[xen.domain]]: the kernel's 7 ports don't fit: the domain's highest \
                 port is 5"
                    .into(),
            ],
        ),
        (
            domain("kernel_ports = 2000\n"),
            vec![
                "3:16: `kernel_ports` in [[xen.domain]]: the kernel's 2000 ports don't fit: the domain's highest port \
                 is 1023"
                    .into(),
            ],
        ),
        (
            domain("vcpus = 2\nkernel_virqs = [\"TIMER\", \"ARGO\", 5]\nkernel_ports = 3\n"),
            vec![
                "5:16: `kernel_ports` in [[xen.domain]]: expected at least 4, for the kernel's VIRQs (TIMER, 5, \
                 ARGO), found 3"
                    .into(),
            ],
        ),
    ]
    .into();
    for (text, expected) in table {
        assert_eq!(complaints(&text), expected, "{text}");
    }
}
