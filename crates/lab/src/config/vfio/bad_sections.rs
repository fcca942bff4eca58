//! Bad `[vfio]` sections, and exactly what is said of each.

use super::tests::{Directory, HEADER, device};
use crate::config::bad_files::complaints;
use crate::config::{Lab, Problem};

#[test]
fn bad_sections() {
    let keys = "expected one of: interrupt_remapping, allow_unsafe_interrupts, address_width, dma_entry_limit, \
                locked_memory, noiommu, device";
    let device_keys = "expected one of: address, model, group, driver, memory, lspci, bars, rom, contents, \
                       bar_addresses, interrupt_line";
    let of = |key: &str| format!("`{key}` in [vfio]");
    let of_device = |key: &str| format!("`{key}` in [[vfio.device]]");
    let pci =
        "expected a PCI address, SEGMENT:BUS:DEVICE.FUNCTION in hexadecimal (as \"0000:00:05.0\"), found";
    let size = "(as 4096, 0x1000, \"4KiB\" or \"1MiB\"), found";
    let table: Vec<(String, Vec<String>)> = [
        ("vfio = 3\n".into(), vec!["1:8: `vfio` in the lab file: expected a table, [vfio], found 3".into()]),
        (
            "[vfio]\nno_iommu = true\nfrobnicate = 1\n".into(),
            vec![
                format!("2:1: unknown key `no_iommu` in [vfio]; {keys}; did you mean `noiommu`?"),
                format!("3:1: unknown key `frobnicate` in [vfio]; {keys}"),
            ],
        ),
        (
            "[vfio]\ninterrupt_remapping = 1\nallow_unsafe_interrupts = \"no\"\nnoiommu = []\n".into(),
            vec![
                format!("2:23: {}: expected true or false, found 1", of("interrupt_remapping")),
                format!("3:27: {}: expected true or false, found the string \"no\"", of("allow_unsafe_interrupts")),
                format!("4:11: {}: expected true or false, found an empty array", of("noiommu")),
            ],
        ),
        (
            "[vfio]\naddress_width = 31\ndma_entry_limit = 0x1_0000_0000\nlocked_memory = \"lots\"\n".into(),
            vec![
                format!("2:17: {}: expected a number of bits from 32 to 57, found 31", of("address_width")),
                format!("3:19: {}: expected a limit from 0 to 4294967295, found 0x100000000", of("dma_entry_limit")),
                format!(
                    "4:17: {}: expected \"process\", \"unlimited\", or a size (as 65536 or \"64MiB\"), found the \
                     string \"lots\"",
                    of("locked_memory")
                ),
            ],
        ),
        (
            "[vfio]\naddress_width = 58\nlocked_memory = -1\ndevice = []\n".into(),
            vec![
                format!("2:17: {}: expected a number of bits from 32 to 57, found 58", of("address_width")),
                format!(
                    "3:17: {}: expected \"process\", \"unlimited\", or a size (as 65536 or \"64MiB\"), found -1",
                    of("locked_memory")
                ),
                format!(
                    "4:10: {}: expected tables, each under its own [[vfio.device]], found an empty array",
                    of("device")
                ),
            ],
        ),
        // [[vfio.device]]
        (
            "[[vfio.device]]\ncolour = 1\nadress = \"00:05.0\"\n".into(),
            vec![
                "1:1: [[vfio.device]]: `address` is missing; expected a PCI address (as \"0000:00:05.0\")".into(),
                "1:1: [[vfio.device]]: `model` is missing; expected \"edu\", \"test\" or \"clone\"".into(),
                format!("2:1: unknown key `colour` in [[vfio.device]]; {device_keys}"),
                format!("3:1: unknown key `adress` in [[vfio.device]]; {device_keys}; did you mean `address`?"),
            ],
        ),
        (
            "[[vfio.device]]\naddress = \"00:20.0\"\nmodel = \"eduu\"\n[[vfio.device]]\naddress = 5\nmodel = 1\n"
                .into(),
            vec![
                format!("2:11: {}: {pci} the string \"00:20.0\"", of_device("address")),
                format!(
                    "3:9: {}: expected \"edu\" or \"test\" or \"clone\", found the string \"eduu\"; did you mean \
                     \"edu\"?",
                    of_device("model")
                ),
                format!("5:11: {}: {pci} 5", of_device("address")),
                format!("6:9: {}: expected \"edu\" or \"test\" or \"clone\", found 1", of_device("model")),
            ],
        ),
        (
            device("model = \"edu\"\n[[vfio.device]]\naddress = \"0000:00:05.0\"\nmodel = \"edu\""),
            vec![format!("5:11: {}: the device on line 2 is at 0000:00:05.0 already", of_device("address"))],
        ),
        (
            device("model = \"edu\"\ngroup = 0x8000_0000\ndriver = \"a/b\"\ninterrupt_line = 256"),
            vec![
                format!(
                    "4:9: {}: expected an IOMMU group's number from 0 to 2147483647, or \"none\", found 0x80000000",
                    of_device("group")
                ),
                format!(
                    "5:10: {}: expected a driver's name (as \"vfio-pci\" or \"e1000\"), or \"\" for none, found the \
                     string \"a/b\"",
                    of_device("driver")
                ),
                format!("6:18: {}: expected a line from 0 to 255, found 256", of_device("interrupt_line")),
            ],
        ),
        (
            device("model = \"edu\"\ngroup = \"none\"\ndriver = false"),
            vec![
                format!(
                    "4:9: {}: a device without an IOMMU can't be used; `noiommu = true` in [vfio] would let it be",
                    of_device("group")
                ),
                format!(
                    "5:10: {}: expected a driver's name (as \"vfio-pci\" or \"e1000\"), or \"\" for none, found the \
                     boolean false",
                    of_device("driver")
                ),
            ],
        ),
        (
            device("model = \"edu\"\nbar_addresses = [0xfe88_0000, \"high\", 2, 0, 0, 0, 0]"),
            vec![
                format!("4:17: {}: expected at most 6 addresses, found 7", of_device("bar_addresses")),
                format!(
                    "4:18: {}: expected a multiple of the size of BAR 0, 1MiB, found 0xfe880000",
                    of_device("bar_addresses")
                ),
                format!(
                    "4:31: {}: expected an address from 0 to 18446744073709551615, found the string \"high\"",
                    of_device("bar_addresses")
                ),
                format!(
                    "4:39: {}: expected a multiple of the size of BAR 2, 4 bytes, found 2",
                    of_device("bar_addresses")
                ),
            ],
        ),
        // Keys of one model only.
        (
            device("model = \"edu\"\nmemory = 4096\nlspci = \"x\"\nbars = 1\nrom = 2\ncontents = 3"),
            vec![
                format!("4:10: {}: only a device of the model \"test\" has this key", of_device("memory")),
                format!("5:9: {}: only a device of the model \"clone\" has this key", of_device("lspci")),
                format!("6:8: {}: only a device of the model \"clone\" has this key", of_device("bars")),
                format!("7:7: {}: only a device of the model \"clone\" has this key", of_device("rom")),
                format!("8:12: {}: only a device of the model \"clone\" has this key", of_device("contents")),
            ],
        ),
        (
            device("model = \"test\"\nmemory = \"5KiB\"\nlspci = \"x\""),
            vec![
                format!("4:10: {}: expected a power of two, found the string \"5KiB\"", of_device("memory")),
                format!("5:9: {}: only a device of the model \"clone\" has this key", of_device("lspci")),
            ],
        ),
        (
            device("model = \"test\"\nmemory = 2048"),
            vec![format!("4:10: {}: expected a size from 4KiB to 64GiB {size} 2048", of_device("memory"))],
        ),
    ]
    .into();
    for (text, expected) in table {
        assert_eq!(complaints(&text), expected, "{text}");
    }
}

#[test]
fn bad_clones() {
    let directory = Directory::new("bad-clones");
    directory.write("good.lspci", HEADER.as_bytes());
    directory.write("short.lspci", HEADER.lines().take(3).collect::<Vec<_>>().join("\n").as_bytes());
    directory.write("torn.lspci", HEADER.replace("10: 00 00", "10: 00 0g").as_bytes());
    directory.write("large.lspci", &vec![b'\n'; (1 << 20) + 1]);
    directory.write("none.lspci", b"\xff\n");
    let at = directory.0.display();
    let of = |key: &str| format!("`{key}` in [[vfio.device]]");
    let of_contents = |key: &str| format!("`{key}` in [vfio.device.contents]");
    let size = "(as 4096, 0x1000, \"4KiB\" or \"1MiB\"), found";
    let what = "expected what `lspci -xxxx` prints of a device";
    let exact: Vec<(&str, Vec<String>)> = vec![
        (
            "",
            vec![
                "1:1: [[vfio.device]]: `lspci` is missing; expected a file with what `lspci -vvv -xxxx` prints of \
                 the device"
                    .into(),
            ],
        ),
        (
            "lspci = \"\"",
            vec![format!("4:9: {}: expected a string of printable characters, found the string \"\"", of("lspci"))],
        ),
        (
            "lspci = \"gone.lspci\"",
            vec![format!(
                "4:9: {}: {at}/gone.lspci can't be read: No such file or directory (os error 2)",
                of("lspci")
            )],
        ),
        ("lspci = \".\"", vec![format!("4:9: {}: {at}/. is a directory; {what}", of("lspci"))]),
        (
            "lspci = \"large.lspci\"",
            vec![format!("4:9: {}: {at}/large.lspci is larger than 1024 KiB; {what}", of("lspci"))],
        ),
        (
            "lspci = \"good.lspci\"\nbars = [\"3KiB\", 2, true, 4, 4, 4, 4]\nrom = 1024",
            vec![
                format!("5:8: {}: expected at most 6 sizes, found 7", of("bars")),
                format!("5:9: {}: expected a power of two, found the string \"3KiB\"", of("bars")),
                format!("5:17: {}: expected a size from 4 bytes to 64GiB {size} 2", of("bars")),
                format!("5:20: {}: expected a size from 4 bytes to 64GiB {size} the boolean true", of("bars")),
                format!("6:7: {}: expected a size from 2KiB to 16MiB {size} 1024", of("rom")),
            ],
        ),
        (
            "lspci = \"good.lspci\"\nbars = 4\nrom = 3000\ncontents = \"00\"",
            vec![
                format!("5:8: {}: expected an array of sizes, found 4", of("bars")),
                format!("6:7: {}: expected a power of two, found 3000", of("rom")),
                format!(
                    "7:12: {}: expected a table, [vfio.device.contents], found the string \"00\"",
                    of("contents")
                ),
            ],
        ),
        (
            "lspci = \"good.lspci\"\nbars = [4]\nrom = 0x800\n[vfio.device.contents]\nbar0 = \"1 2 3 4 5\"\n\
             bar1 = \"+1\"\nbar6 = \"\"\nbar2 = 5",
            vec![
                format!(
                    "8:8: {}: expected bytes of two hexadecimal digits each (as \"41 02 14 00\"), found the string \
                     \"1 2 3 4 5\"",
                    of_contents("bar0")
                ),
                format!(
                    "9:8: {}: expected bytes of two hexadecimal digits each (as \"41 02 14 00\"), found the string \
                     \"+1\"",
                    of_contents("bar1")
                ),
                "10:1: unknown key `bar6` in [vfio.device.contents]; expected one of: bar0, bar1, bar2, bar3, bar4, \
                 bar5, rom; did you mean `bar0`?"
                    .into(),
                format!(
                    "11:8: {}: expected bytes of two hexadecimal digits each (as \"41 02 14 00\"), found 5",
                    of_contents("bar2")
                ),
            ],
        ),
        (
            "lspci = \"good.lspci\"\nbars = [4]\ncontents = { bar0 = \"00 01 02 03 04\", rom = \"55\" }",
            vec![
                format!("6:21: {}: 5 bytes are more than its 4 bytes", of_contents("bar0")),
                format!(
                    "6:45: {}: the ROM's size isn't known; `rom` in [[vfio.device]] gives it",
                    of_contents("rom")
                ),
            ],
        ),
    ];
    let problems = |lines: &str| -> Vec<String> {
        let lab = directory.write("lab.toml", device(&format!("model = \"clone\"\n{lines}")).as_bytes());
        let errors = Lab::load(&lab).expect_err(lines);
        let shown = |problem: &Problem| {
            let place = problem.place.as_ref().expect("a place");
            format!("{}:{}: {}", place.line, place.column, problem.message)
        };
        errors.problems().iter().map(shown).collect()
    };
    for (lines, expected) in exact {
        assert_eq!(problems(lines), expected, "{lines}");
    }
    let rom =
        format!("lspci = \"good.lspci\"\nrom = 2048\ncontents = {{ rom = \"{}\" }}", "00 ".repeat(2049));
    let expected = format!("6:20: {}: 2049 bytes are more than its 2KiB", of_contents("rom"));
    assert_eq!(problems(&rom), [expected]);
    // What is wrong with a dump is for its reader to say: the place is what counts here.
    for (name, place) in [("short.lspci", ""), ("torn.lspci", ":3"), ("none.lspci", "")] {
        let problems = problems(&format!("lspci = \"{name}\""));
        let [problem] = &problems[..] else { panic!("{problems:?}") };
        assert!(problem.starts_with(&format!("4:9: {}: {at}/{name}{place}: ", of("lspci"))), "{problem}");
    }
}
