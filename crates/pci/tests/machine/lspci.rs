//! Clones: what is read of a text, and what is made of what it doesn't say.

use ioctlab_pci::lspci::{Dump, Overrides, Problem};
use ioctlab_pci::{Bar, BarKind, Device, Firmware, Function};

use crate::board::Board;
use crate::config::dword;

/// What `lspci -x` and its kin print of so many bytes, which are 0 but for those that are given.
pub(crate) fn text(size: usize, set: &[(usize, &[u8])]) -> String {
    let mut bytes = vec![0; size];
    for (at, some) in set {
        bytes[*at..at + some.len()].copy_from_slice(some);
    }
    dump(&bytes)
}

pub(crate) fn dump(bytes: &[u8]) -> String {
    let line = |(index, line): (usize, &[u8])| {
        let bytes: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{:02x}: {}\n", index * 16, bytes.join(" "))
    };
    bytes.chunks(16).enumerate().map(line).collect()
}

pub(crate) fn clone_of(text: &str) -> Function {
    device(text, &Overrides::default()).unwrap().function
}

pub(crate) fn device(text: &str, overrides: &Overrides) -> Result<Device, Problem> {
    Dump::parse(text)?.device(overrides)
}

fn sizes(function: &Function) -> Vec<u64> {
    (0..6).map(|bar| function.bar(bar).map_or(0, |bar| bar.size)).collect()
}

/// A graphics card in use, as root sees it with `-vvv -xxx`.
const IN_USE: &str = "\
65:00.0 VGA compatible controller: Somebody Something (rev a1) (prog-if 00 [VGA controller])
	Subsystem: Somebody Something
	Control: I/O+ Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr+ Stepping- SERR+ FastB2B- DisINTx+
	Status: Cap+ 66MHz- UDF- FastB2B- ParErr- DEVSEL=fast >TAbort- <TAbort- <MAbort+ >SERR- <PERR- INTx-
	Latency: 0, Cache Line Size: 64 bytes
	Interrupt: pin A routed to IRQ 92
	NUMA node: 0
	Region 0: Memory at d4000000 (32-bit, non-prefetchable) [size=16M]
	Region 1: Memory at 3bbf0000000 (64-bit, prefetchable) [size=256M]
	Region 5: I/O ports at b000 [disabled] [size=128]
	Expansion ROM at d5000000 [virtual] [disabled] [size=512K]
	Capabilities: [60] Power Management version 3
		Status: D3 NoSoftRst+ PME-Enable- DSel=0 DScale=0 PME-
	Capabilities: [68] MSI: Enable+ Count=1/4 Maskable- 64bit+
		Address: 00000000fee00578  Data: 0000
	Capabilities: [bcc v1] Single Root I/O Virtualization (SR-IOV)
		VF offset: 4, stride: 1, Device ID: 0b86
		Region 0: Memory at 00000000d6000000 (64-bit, prefetchable)
	Kernel driver in use: something
";

fn in_use() -> String {
    let bytes: &[(usize, &[u8])] = &[
        (0x00, &[0xde, 0x10, 0x86, 0x0b, 0x46, 0x05, 0x10, 0x20, 0xa1, 0, 0, 3, 0x10, 0, 0x80, 0]),
        (0x10, &[0, 0, 0, 0xd4, 0x0c, 0, 0, 0xf0, 0xbb, 3, 0, 0]),
        (0x24, &[1, 0xb0, 0, 0]),
        (0x30, &[1, 0, 0, 0xd5, 0x60, 0, 0, 0, 0, 0, 0, 0, 0x5c, 1, 0, 0]),
        (0x60, &[1, 0x68, 3, 0, 0x0b, 0, 0, 0]),
        (0x68, &[5, 0, 0x85, 0, 0x78, 0x05, 0xe0, 0xfe, 0, 0, 0, 0, 0x22, 0x40, 0, 0]),
    ];
    IN_USE.to_owned() + &text(256, bytes)
}

#[test]
fn a_device_in_use() {
    let dump = Dump::parse(&in_use()).unwrap();
    let firmware = Firmware {
        bars: [0xd400_0000, 0x3bb_f000_0000, 0, 0, 0, 0xb000],
        rom: 0xd500_0001,
        line: 0x5c,
        command: 0x0142,
    };
    assert_eq!(dump.firmware(), firmware);
    let mut function = dump.device(&Overrides::default()).unwrap().function;
    let bars: Vec<_> = (0..6).map(|index| function.bar(index)).collect();
    let second = Bar { prefetchable: true, ..Bar::memory64(256 << 20) };
    assert_eq!(bars, [Some(Bar::memory(16 << 20)), Some(second), None, None, None, Some(Bar::io(128))]);
    assert_eq!(function.rom(), vec![0xff; 512 << 10]);
    // It is as it was before firmware and its driver had it, but for an error.
    assert_eq!(
        [0x04, 0x10, 0x14, 0x18, 0x24, 0x30].map(|at| dword(&function, at)),
        [0x2010_0000, 0, 0xc, 0, 1, 0]
    );
    assert_eq!([0x64, 0x68, 0x6c, 0x74].map(|at| dword(&function, at)), [8, 0x0084_0005, 0, 0]);
    function.configure(&firmware);
    assert_eq!(
        [0x04, 0x10, 0x14, 0x18, 0x24, 0x30, 0x3c].map(|at| dword(&function, at)),
        [0x2010_0142, 0xd400_0000, 0xf000_000c, 0x3bb, 0xb001, 0xd500_0001, 0x015c]
    );
    assert_eq!((function.msi_vectors(), function.config().size()), (4, 256));
}

/// The same text by other hands and tools.
#[test]
fn forms_of_the_same() {
    let good = in_use();
    let expected = Dump::parse(&good).unwrap();
    let hexadecimal = |line: &str| line.split_once(": ").is_some_and(|(offset, _)| offset.len() == 2);
    let dump_only = |change: &dyn Fn(&str) -> String| -> String {
        good.lines()
            .map(|line| if hexadecimal(line) { change(line) } else { line.to_owned() } + "\n")
            .collect()
    };
    for (name, text) in [
        ("CRLF", good.replace('\n', "\r\n")),
        ("no end of the last line", good.trim_end().to_owned()),
        ("empty lines around", format!("\n\n{good}\n\n")),
        ("tabs", dump_only(&|line| line.replace(' ', "\t"))),
        ("indented", dump_only(&|line| format!("    {line}  "))),
        ("several spaces", dump_only(&|line| line.replace(' ', "   "))),
        ("upper case", dump_only(&|line| line.to_uppercase())),
        ("four digits", dump_only(&|line| format!("00{line}"))),
        ("a domain", good.replace("65:00.0", "0000:65:00.0")),
        ("no tabs", good.replace('\t', "        ")),
        ("a comment", format!("# the card of the second machine\n{good}")),
        (
            "numbers, too",
            good.replace("[size=16M]", "[size=16777216]").replace("[size=512K]", "[size=524288]"),
        ),
        (
            "with -v",
            good.replace("\tRegion 0: ", "\t").replace("\tRegion 1: ", "\t").replace("\tRegion 5: ", "\t"),
        ),
    ] {
        assert_eq!(Dump::parse(&text), Ok(expected.clone()), "{name}");
    }
}

/// With `-v` there are addresses and no numbers: also of two at the same one, and of ports and memory that are.
#[test]
fn regions_by_their_addresses() {
    let bytes: &[(usize, &[u8])] = &[(
        0x10,
        &[0, 0, 0x94, 0xfe, 0x0c, 0, 0, 0xfe, 8, 0, 0, 0, 0x40, 0xd0, 0, 0, 0x41, 0xd0, 0, 0, 0x40, 0xd0],
    )];
    let text = "00:06.0 Ethernet controller: Something\n\
        \tFlags: fast devsel, IRQ 11\n\
        \tMemory at fe940000 (32-bit, non-prefetchable) [size=128K]\n\
        \tMemory at 8fe000000 (64-bit, prefetchable) [size=16M]\n\
        \tI/O ports at d040 [size=16]\n\
        \tMemory at d040 (32-bit, non-prefetchable) [size=64]\n\
        \tMemory at d040 (32-bit, non-prefetchable) [size=32]\n\
        \tMemory at 12345000 (32-bit, non-prefetchable) [size=4K]\n\
        \tMemory at <unassigned> (64-bit, prefetchable)\n\
        \tI/O ports at <unassigned> [disabled] [size=8]\n"
        .to_owned()
        + &text(64, bytes);
    assert_eq!(sizes(&clone_of(&text)), [128 << 10, 16 << 20, 0, 64, 16, 32]);
}

/// An upper half is no BAR, whatever it looks like.
#[test]
fn upper_halves() {
    let like_memory = [0x04, 0, 0, 0xfe, 0x40, 0xd0, 0, 0, 0x40, 0xd0, 0, 0];
    let line = "Memory at d040 (32-bit, non-prefetchable) [size=64]\n";
    assert_eq!(
        sizes(&clone_of(&format!("{line}{}", text(64, &[(0x10, &like_memory)])))),
        [64 << 10, 0, 64, 0, 0, 0]
    );
    let like_wide = [0x04, 0, 0, 0xfe, 0x04, 0, 0, 0, 0, 0, 0, 0xfd];
    let dump = Dump::parse(&text(64, &[(0x10, &like_wide)])).unwrap();
    assert_eq!(dump.firmware().bars, [0x4_fe00_0000, 0, 0xfd00_0000, 0, 0, 0]);
    let function = dump.device(&Overrides::default()).unwrap().function;
    assert_eq!(sizes(&function), [64 << 10, 0, 64 << 10, 0, 0, 0]);
}

/// With `-x` nothing is known of capabilities.
#[test]
fn a_header_alone() {
    let function = clone_of(&text(64, &[(0, &[0x86, 0x80]), (0x06, &[0x10]), (0x34, &[0x40])]));
    assert_eq!(function.config().size(), 256);
    assert_eq!([0, 4, 0x34].map(|at| dword(&function, at)), [0x8086, 0, 0]);
    assert_eq!(function.capability(0), None);
    assert!(function.config().bytes()[0x40..].iter().all(|byte| *byte == 0));
}

/// A device on PCI Express has 4096 bytes, of which `-xxx` prints the first.
#[test]
fn express_without_its_extended_space() {
    let express: &[(usize, &[u8])] = &[(0x06, &[0x10]), (0x34, &[0x40]), (0x40, &[0x10, 0, 0x92, 0])];
    let function = clone_of(&text(256, express));
    assert_eq!((function.config().size(), dword(&function, 0x100)), (4096, 0));
    assert_eq!(clone_of(&text(4096, &[])).config().size(), 4096);
}

#[test]
fn sizes_that_nobody_says() {
    let msix = [0x11, 0, 0xff, 0x07, 0, 0, 1, 0, 0, 0, 2, 0];
    let bars = [
        0, 0, 0, 0xfe, // so far aligned that 64 KiB are what it is, but for its table
        0, 0x10, 0, 0xfd, // 4 KiB at most
        0x11, 0xc0, 0, 0, // 16 ports
        0x04, 0, 0, 0, 0, 0, 0, 0, // of 64 bits, nowhere yet
        0x01, 0xd0, 0, 0,
    ];
    let with = text(256, &[(0x06, &[0x10]), (0x10, &bars), (0x30, &[1, 0, 0x80, 0xfc, 0x40]), (0x40, &msix)]);
    let function = clone_of(&with);
    // A table of 2048 vectors at 64 KiB, and what is pending at 128 KiB.
    assert_eq!(sizes(&function), [0x4_0000, 0x1000, 0x10, 0x1_0000, 0, 0x20]);
    assert_eq!((function.rom(), dword(&function, 0x30)), (&[][..], 0), "no ROM of which nothing is known");
    assert_eq!(function.bar(3).map(|bar| bar.kind), Some(BarKind::Memory64));
    assert_eq!(sizes(&clone_of(&text(256, &[]))), [0; 6]);
    // It can't be larger than a BAR is, whatever a table says.
    let far = [0x11, 0, 0xff, 0x07, 0xf8, 0xff, 0xff, 0xff, 0xf8, 0xff, 0xff, 0xff];
    let function =
        clone_of(&text(256, &[(0x06, &[0x10]), (0x10, &[0, 0, 0, 0xfe]), (0x34, &[0x40]), (0x40, &far)]));
    assert_eq!(sizes(&function), [2 << 30, 0, 0, 0, 0, 0]);
}

#[test]
fn what_is_given_goes_first() {
    let text = text(256, &[(0x10, &[0, 0, 0, 0xfe, 0x05, 0xc0])]);
    let with = format!("Region 0: Memory at fe000000 [size=4K]\nExpansion ROM at 0 [size=4K]\n{text}");
    let bars = [Some(0x800), Some(4), Some(16), None, None, None];
    let overrides = Overrides { bars, rom: vec![0x55; 2048] };
    let function = device(&with, &overrides).unwrap().function;
    assert_eq!(sizes(&function), [0x800, 4, 16, 0, 0, 0], "also one that has no address");
    assert_eq!(function.rom(), [0x55; 2048]);
    assert_eq!(sizes(&clone_of(&with)), [4096, 4, 0, 0, 0, 0]);
    assert_eq!(clone_of(&with).rom().len(), 4096);
    // An address that it can't have is brought to one that it can.
    let bars = [Some(2 << 30), None, None, None, None, None];
    let mut function = device(&text, &Overrides { bars, rom: vec![] }).unwrap().function;
    function.configure(&Dump::parse(&text).unwrap().firmware());
    assert_eq!((function.bar_address(0), function.bar_address(1)), (0x8000_0000, 0xc004));
}

#[test]
fn sizes_that_cannot_be() {
    let upper = [0x04, 0, 0, 0, 1, 0, 0, 0, 0x01, 0xc0, 0, 0, 0, 0, 0, 0xfe];
    let text = text(256, &[(0x10, &upper)]);
    let give = |index: usize, size: u64| {
        let mut overrides = Overrides::default();
        overrides.bars[index] = Some(size);
        device(&text, &overrides).map(|device| device.function.bar(index as u8).unwrap().size)
    };
    for (index, good) in [(0, 16), (0, 1 << 40), (2, 4), (2, 0x1_0000), (3, 16), (3, 2 << 30), (5, 2 << 30)] {
        assert_eq!(give(index, good), Ok(good));
    }
    for (index, bad, range) in [
        (0, 8, "16 to 1099511627776"),
        (0, 48, "16 to 1099511627776"),
        (0, 1 << 41, "16 to 1099511627776"),
        (2, 2, "4 to 65536"),
        (2, 0x2_0000, "4 to 65536"),
        (3, 0, "16 to 2147483648"),
        (3, 4 << 30, "16 to 2147483648"),
        (5, 1 << 63, "16 to 2147483648"),
    ] {
        let message = format!("BAR {index} can't have {bad} bytes; expected a power of two from {range}");
        assert_eq!(give(index, bad), Err(Problem { line: 0, message }));
    }
    let message = "BAR 1 has no size, as it is the upper half of another".into();
    assert_eq!(give(1, 16), Err(Problem { line: 0, message }));
    for size in [1, 1024, 2049, 3 << 10, 32 << 20] {
        let overrides = Overrides { rom: vec![0; size], ..Overrides::default() };
        let message = format!("an expansion ROM can't have {size} bytes");
        assert_eq!(device(&text, &overrides).err(), Some(Problem { line: 0, message }));
    }
}

#[test]
fn a_clone_does_nothing() {
    let ports: &[(usize, &[u8])] = &[(0x10, &[0x01, 0xc0])];
    let mut board = Board::new(device(&text(256, ports), &Overrides::default()).unwrap());
    board.write(0, 0, 4, 5);
    assert_eq!((board.read(0, 0, 4), board.read(0, 0, 1), board.peek(0)), (0, 0, 0));
    board.reset();
    assert_eq!(board.take(), Default::default());
}
