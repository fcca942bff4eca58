//! How problems look, files that can't be read, and what good files are read as.

use ioctlab_xen::Virq;

use std::path::PathBuf;

use proptest::prelude::*;
use toml::de::DeTable;

use super::reader::Reader;
use super::table::Table;
use super::value::parse_size;
use super::*;

fn xen(text: &str) -> Xen {
    Lab::parse("x.toml", text).unwrap_or_else(|errors| panic!("{errors}")).xen.expect("[xen]")
}

#[test]
fn problems_quote_their_line() {
    let errors =
        Lab::parse("labs/x.toml", "[[xen.domain]]\r\n\tid\t= 1_0\r\nvcpu = 2\r\n").expect_err("vcpu");
    let lines: Vec<String> = errors.to_string().lines().map(String::from).collect();
    assert!(
        lines[0].starts_with("labs/x.toml:3:1: unknown key `vcpu` in [[xen.domain]]; expected one of: id, ")
    );
    assert_eq!(lines[1..], ["  3 | vcpu = 2", "    | ^^^^"]);

    let text = format!("[[xen.domain]]\nid = {}\n", "9".repeat(300));
    let shown = Lab::parse("x", &text).expect_err("huge").to_string();
    assert!(shown.lines().all(|line| line.chars().count() < 160), "{shown}");

    let text = format!("[[xen.domain]]\nid = 1\nkernel_virqs = [{}]\n", "99, ".repeat(25));
    let shown = Lab::parse("x", &text).expect_err("many").to_string();
    assert!(shown.ends_with("\n... and 5 more errors"), "{shown}");
}

#[test]
fn unreadable_files() {
    let directory = std::env::temp_dir().join(format!("ioctlab-lab-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    };
    let cases: [(PathBuf, &str); 5] = [
        (directory.join("missing.toml"), ": can't be read: No such file or directory (os error 2)"),
        (directory.clone(), ": is a directory; expected a lab file"),
        (
            write("latin1.toml", b"[xen]\n# \xe9t\xe9\n"),
            ":2:3: byte 0xe9 is not UTF-8; expected a TOML text\n",
        ),
        (write("large.toml", &vec![b'\n'; (1 << 20) + 1]), ": is larger than 1024 KiB; expected a lab file"),
        (write("empty.toml", b""), ": describes nothing; expected one of: xen, vfio"),
    ];
    for (path, expected) in cases {
        let shown = Lab::load(&path).expect_err(expected).to_string();
        assert!(shown.starts_with(&format!("{}{expected}", path.display())), "{shown}");
    }
    let good = write("good.toml", b"\xef\xbb\xbf[[xen.domain]]\r\nid = 1\r\n");
    assert_eq!(Lab::load(&good).map(|lab| lab.default_domain().map(|domain| domain.id)), Ok(Some(1)));
    std::fs::remove_dir_all(&directory).expect("removed");
}

#[test]
fn the_labs_that_come_with_ioctlab() {
    let lab = Lab::built_in().unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(lab.default_domain().map(|domain| domain.id), Some(0));
    let xen_host = lab.xen.expect("a Xen host");
    assert_eq!(xen_host.domains.iter().map(|domain| domain.id).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(xen_host.event_channels, EventChannels::Fifo);
    let devices = lab.vfio.expect("a machine with VFIO").devices;
    let shown: Vec<_> = devices.iter().map(|device| (device.address.to_string(), device.group)).collect();
    assert_eq!(shown, [("0000:00:05.0".into(), Some(5)), ("0000:00:06.0".into(), Some(6))]);

    let oracle = xen(include_str!("../../../../labs/oracle-xen.toml"));
    // The defaults of domain 0 are those of the guest that was recorded.
    let domain = Domain { name: Some("Domain-0".into()), ..Domain::new(0, EventChannels::Fifo) };
    assert_eq!(oracle.domains, [domain]);
    let numbers: Vec<u32> = oracle.domains[0].kernel_virqs.iter().map(|virq| virq.number()).collect();
    assert_eq!((numbers, oracle.domains[0].kernel_ports), (vec![0, 2, 9, 16], 13));
}

#[test]
fn good_files() {
    let plain = xen("[[xen.domain]]\nid = 0x7f_ef\n[[xen.domain]]\nid = 0o7\n");
    let fifo = EventChannels::Fifo;
    assert_eq!(plain.domains, [Domain::new(7, fifo), Domain::new(0x7fef, fifo)], "by ascending id");
    assert_eq!(
        plain.domain(7).map(|domain| (domain.kernel_ports, domain.max_event_channel_port)),
        Some((7, Some(1023)))
    );
    assert_eq!(plain.domain(8), None);

    let full = xen(r#"
        xen = { event_channels = "2-level", evtchn_minor = 256, domain = [
            { id = 3, name = "z", vcpus = 2, max_event_channel_port = 4095, kernel_virqs = [14, "ARGO", "VIRQ_DEBUG"] },
            { id = 0, kernel_virqs = [], kernel_ports = 0 },
            { id = 1 },
        ] }"#);
    assert_eq!((full.event_channels, full.evtchn_minor), (EventChannels::TwoLevel, 256));
    let virqs = [Virq::DEBUG, Virq::ARGO, Virq::try_from(14).expect("14")];
    let [zero, one, three] = &full.domains[..] else { panic!("three domains") };
    assert_eq!((&zero.kernel_virqs[..], zero.kernel_ports, zero.max_event_channel_port), (&[][..], 0, None));
    assert_eq!((&one.kernel_virqs[..], one.kernel_ports), (&[Virq::TIMER, Virq::DEBUG][..], 8));
    // DEBUG twice, ARGO, 14; five IPIs on each vcpu; xenstore and console.
    assert_eq!((&three.kernel_virqs[..], three.kernel_ports), (&virqs[..], 16));
    assert_eq!(three.max_event_channel_port, Some(4095));
}

#[test]
fn the_largest_default_domain_fits() {
    for abi in ["fifo", "2-level"] {
        for id in [0, 1] {
            xen(&format!("[xen]\nevent_channels = \"{abi}\"\n[[xen.domain]]\nid = {id}\nvcpus = 128\n"));
        }
    }
}

#[test]
fn sizes() {
    let good = [
        ("0", 0),
        ("4096", 4096),
        ("4_096B", 4096),
        ("64KiB", 0x1_0000),
        ("1 MiB", 0x10_0000),
        ("0x1000", 4096),
        ("0x1B", 0x1b),
        ("0x10KiB", 0x4000),
        ("2GiB", 1 << 31),
        ("1TiB", 1 << 40),
        ("0xffff_ffff_ffff_ffff", u64::MAX),
    ];
    for (text, size) in good {
        assert_eq!(parse_size(text), Some(size), "{text}");
    }
    for text in [
        "",
        "KiB",
        "1 ",
        "1kb",
        "1MB",
        "-1",
        "+1",
        "1.5MiB",
        "0x",
        "_1",
        "1__0",
        "0x+1",
        "18446744073709551616",
        "16777216TiB",
    ] {
        assert_eq!(parse_size(text), None, "{text}");
    }

    let text = "a = 0x1_000\nb = \"4KiB\"\nc = \"4KB\"\nd = 4095\ne = [1]\n";
    let reader = Reader::new("x", text);
    let tree = DeTable::parse(text).expect("TOML").into_inner();
    let table = Table::root(&reader, &tree);
    let size = |key| table.get(key).and_then(|value| value.size(0x1000..=0x10_0000));
    assert_eq!(["a", "b", "c", "d", "e"].map(size), [Some(4096), Some(4096), None, None, None]);
    let errors = reader.finish(Some(())).expect_err("three problems");
    let messages: Vec<&str> = errors.problems().iter().map(|problem| problem.message.as_str()).collect();
    let expected =
        "in the lab file: expected a size from 4KiB to 1MiB (as 4096, 0x1000, \"4KiB\" or \"1MiB\"), found";
    let found = ["`c` E the string \"4KB\"", "`d` E 4095", "`e` E an array"]
        .map(|found| found.replace('E', expected));
    assert_eq!(messages, found);
}

/// Text that is nearly a lab file, so that most of it gets past the TOML parser.
fn nearly() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        (0..40_000u32).prop_map(|number| format!("{number:#x}")),
        "\"[a-zA-Z_0-9 é\\-]{0,12}\"",
        "\"(0:)?[01]:0[0-3].[01]\"",
        "\"(edu|test|clone|none|process|1MiB|3KiB|00 ff)\"",
        "(true|1\\.5|1979-05-27|\\[\\]|\\{\\}|\\[0, 1, \"TIMER\", 16\\]|\\[\\{id = 1\\}\\]|\\{rom = \"00\"\\})",
    ];
    let key = prop_oneof![
        proptest::sample::select(
            [xen::KEYS, xen::DOMAIN_KEYS, vfio::KEYS, vfio::DEVICE_KEYS, &["xen", "vfio", "vme"]].concat()
        )
        .prop_map(String::from),
        "[a-z_.]{1,12}",
    ];
    let line = prop_oneof![
        3 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => "(\\[xen\\]|\\[\\[xen\\.domain\\]\\]|\\[\\[xen\\.domain\\]\\]\nid = [0-9])",
        1 => "(\\[vfio\\]|\\[\\[vfio\\.device\\]\\]\naddress = \"0[01]:0[0-9]\\.[01]\"\nmodel = \"(edu|test|clone)\")",
    ];
    proptest::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

fn read_and_print(text: &str) {
    match Lab::parse("x.toml", text) {
        Ok(lab) => {
            assert!(lab.xen.is_none() || lab.default_domain().is_some());
            let devices = lab.vfio.map(|vfio| vfio.devices).unwrap_or_default();
            let mut addresses: Vec<_> = devices.iter().map(|device| device.address).collect();
            addresses.sort_unstable();
            addresses.dedup();
            assert_eq!(addresses.len(), devices.len());
        }
        Err(errors) => {
            assert!(!errors.problems().is_empty());
            assert!(errors.to_string().chars().all(|c| c == '\n' || !c.is_control()), "{errors}");
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        read_and_print(&text);
    }

    #[test]
    fn nearly_a_lab_file_never_panics(text in nearly()) {
        read_and_print(&text);
    }

    #[test]
    fn sizes_never_panic(text in "[0-9a-fx_ +KMGTiB]{0,24}") {
        parse_size(&text);
    }
}
