//! Texts that are no dump of a device: what is said of each, and of which line.

use ioctlab_pci::lspci::{Dump, Problem};

use crate::lspci::{device, text};

const BYTES: &str = "expected 16 bytes in hexadecimal";
const ORDER: &str = "this line doesn't follow the one before it";
const SECOND: &str = "a second dump begins here: the text is to be of one device";
const SIZE: &str = "expected a size that is a power of two, as [size=16K]";
const ROM: &str = "an expansion ROM has 2 KiB to 16 MiB";
const NONE: &str = "there is no dump in it; `lspci -xxxx` prints one";
const BRIDGE: &str = "it is of a bridge, which can't be used";

#[track_caller]
fn assert_problem(name: &str, text: &str, line: usize, message: &str) {
    assert_eq!(Dump::parse(text), Err(Problem { line, message: message.into() }), "{name}");
}

/// A good dump of 64 bytes with another text for one of its four lines.
fn with_line(number: usize, line: &str) -> String {
    let good = text(64, &[]);
    let mut lines: Vec<&str> = good.lines().collect();
    lines[number - 1] = line;
    lines.join("\n")
}

#[test]
fn lines_that_are_wrong() {
    let zeros = "00 ".repeat(15);
    let good = text(64, &[]);
    for (name, text, line, message) in [
        ("no bytes", with_line(2, "10:"), 2, BYTES),
        ("few bytes", with_line(2, "10: 00 00"), 2, BYTES),
        ("15 bytes", with_line(3, &format!("20: {zeros}")), 3, BYTES),
        ("17 bytes", with_line(4, &format!("30: {zeros}00 00")), 4, BYTES),
        ("no digit, first", with_line(2, &format!("10: 0g {zeros}")), 2, BYTES),
        ("no digit, last", with_line(2, &format!("10: {zeros}0g")), 2, BYTES),
        ("one digit", with_line(2, &format!("10: {zeros}0")), 2, BYTES),
        ("three digits", with_line(2, &format!("10: {zeros}000")), 2, BYTES),
        ("a sign", with_line(2, &format!("10: {zeros}+1")), 2, BYTES),
        ("what lspci couldn't read", with_line(2, &format!("10: {}", "?? ".repeat(16))), 2, BYTES),
        ("words", with_line(1, "be: careful"), 1, BYTES),
        ("not ASCII", with_line(2, &format!("10: {zeros}é")), 2, BYTES),
        ("a line twice", with_line(3, &format!("10: {zeros}00")), 3, ORDER),
        ("a gap", with_line(2, &format!("20: {zeros}00")), 2, ORDER),
        ("not whole lines", with_line(2, &format!("18: {zeros}00")), 2, ORDER),
        ("not from the start", text(256, &[]).lines().skip(1).collect::<Vec<_>>().join("\n"), 1, ORDER),
        ("lines missing", with_line(2, ""), 3, ORDER),
        ("out of order", [3, 0, 1, 2].map(|line| good.lines().nth(line).unwrap()).join("\n"), 1, ORDER),
        ("two devices", format!("00:05.0 A\n{good}\n00:06.0 B\n{good}"), 8, SECOND),
        ("the same twice", format!("{good}{good}"), 5, SECOND),
        ("the first line twice", with_line(2, &format!("00: {zeros}00")), 2, SECOND),
    ] {
        assert_problem(name, &text, line, message);
        assert_problem(&format!("{name}, CRLF"), &text.replace('\n', "\r\n"), line, message);
    }
}

#[test]
fn sizes_that_are_wrong() {
    let good = text(64, &[]);
    for size in [
        "3K]",
        "4X]",
        "K]",
        "]",
        "4K",
        "0]",
        "-4]",
        "+",
        "4KK]",
        "4 K]",
        "0x1000]",
        "99999999999T]",
        "16777217T]",
    ] {
        for (name, line) in [
            ("by number", format!("\tRegion 0: Memory at fe000000 (32-bit) [size={size}")),
            ("by address", format!("\tMemory at fe000000 (32-bit) [size={size}")),
            ("ports", format!("\tI/O ports at c000 [disabled] [size={size}")),
            ("the ROM", format!("\tExpansion ROM at fe000000 [size={size}")),
        ] {
            assert_problem(&format!("{name} {size}"), &format!("A\n{line}\n{good}"), 2, SIZE);
        }
    }
    for size in ["1", "1K", "32M", "16T"] {
        assert_problem(size, &format!("Expansion ROM at 0 [size={size}]\n{good}"), 1, ROM);
    }
    // What isn't of a BAR or ROM isn't looked at.
    for line in [
        "Region 6: Memory at 0 [size=3K]",
        "Region x: Memory at 0 [size=3K]",
        "Region [size=3]",
        "Disk [size=3]",
        "Memory at  [size=3]",
    ] {
        assert!(Dump::parse(&format!("{line}\n{good}")).is_ok(), "{line}");
    }
}

#[test]
fn texts_that_are_no_dump() {
    for text in [
        "",
        "\n\n",
        "00:05.0 Ethernet controller: Something\n",
        "garbage",
        "00",
        ":",
        "00:00 00",
        "\u{feff}",
        "\0\0\0",
    ] {
        assert_problem(text, text, 0, NONE);
    }
    for bytes in [16, 32, 48, 80, 128, 240, 272, 512, 4080, 4112, 8192] {
        let message = format!("the dump has {bytes} bytes; expected 64 (-x), 256 (-xxx) or 4096 (-xxxx)");
        assert_problem("", &text(bytes, &[]), 0, &message);
    }
    for kind in [1, 2, 3, 0x7f, 0x81, 0x82] {
        assert_problem("", &text(64, &[(0x0e, &[kind])]), 0, BRIDGE);
    }
    for kind in [0, 0x80] {
        assert!(Dump::parse(&text(64, &[(0x0e, &[kind])])).is_ok());
    }
}

/// What can only be said when the device is made.
#[test]
fn bars_that_cannot_be() {
    let last = text(64, &[(0x24, &[0x04, 0, 0, 0xfe])]);
    let message = "BAR 5 can't have 64 bits, as it is the last one".into();
    assert_eq!(device(&last, &Default::default()).err(), Some(Problem { line: 0, message }));
    let small = format!("Region 2: Memory at 0 [size=8]\n{}", text(64, &[]));
    let message = "BAR 2 can't have 8 bytes; expected a power of two from 16 to 2147483648".into();
    assert_eq!(device(&small, &Default::default()).err(), Some(Problem { line: 0, message }));
}

#[test]
fn problems_read_as_their_message() {
    assert_eq!(Problem { line: 3, message: "why".into() }.to_string(), "why");
}
