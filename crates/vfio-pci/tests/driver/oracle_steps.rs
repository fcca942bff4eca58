//! The probe program's steps, group by group.

use ioctlab_abi::vfio as v;
use ioctlab_abi::{Direction, Request};
use ioctlab_chardev::Errno;

use crate::bench::{
    ARGUMENT, BOOL, BUFFER, CONFIG, E, E2, EVENTFD, GROUP, MASK, NONE, OTHER, TRIGGER, UNMASK,
};
use crate::memory::BAD;
use crate::oracle::Replay;

/// As printf's `%#x`.
fn hex(value: u64) -> String {
    if value == 0 { "0".into() } else { format!("{value:#x}") }
}

fn long(words: &[u32], at: usize) -> u64 {
    u64::from(words[at]) | u64::from(words[at + 1]) << 32
}

pub(crate) fn info(r: &mut Replay) {
    for size in (0..=32).step_by(4) {
        let (result, info) = r.bench.words(v::DEVICE_GET_INFO, [size, 0, 0, 0, 0, 0]);
        let [size_now, flags, regions, irqs, cap, _] = info;
        let flags = hex(flags.into());
        r.say(
            format!("d.info-argsz-{size}"),
            result,
            format!("argsz={size_now} flags={flags} regions={regions} irqs={irqs} cap={cap}"),
        );
    }
    let result = value(r.bench.call(v::DEVICE_GET_INFO, BAD));
    r.run("d.info-badptr", result);
    for (name, request) in [
        ("d.unknown", Request::new(Direction::None, v::KIND, 250, 0)),
        ("d.container-ioctl", v::GET_API_VERSION),
        ("d.tcgets", Request::new(Direction::None, b'T', 1, 0)),
    ] {
        let result = value(r.bench.call(request, ARGUMENT));
        r.run(name, result);
    }
    for index in (0..=10).chain([0x7fff_ffff, -1]) {
        let mut words = [0; 128];
        (words[0], words[2]) = (512, index as u32);
        let (result, info) = r.bench.words(v::DEVICE_GET_REGION_INFO, words);
        let mut shown = format!(
            "argsz={} flags={} size={} offset={}",
            info[0],
            hex(info[1].into()),
            hex(long(&info, 4)),
            hex(long(&info, 6))
        );
        let mut at = if info[1] & v::REGION_CAPS != 0 { info[3] as usize } else { 0 };
        while at != 0 {
            let (id, next) = (info[at / 4], info[at / 4 + 1]);
            shown += &format!(" cap{}.v{}@{at}", id & 0xffff, id >> 16);
            at = next as usize;
        }
        r.say(format!("d.region-{index}"), result, shown);
    }
    for size in (0..=40).step_by(8) {
        let (result, info) = r.bench.words(v::DEVICE_GET_REGION_INFO, [size, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        r.say(
            format!("d.region0-argsz-{size}"),
            result,
            format!("argsz={} size={}", info[0], hex(long(&info, 4))),
        );
    }
    let result = value(r.bench.call(v::DEVICE_GET_REGION_INFO, BAD));
    r.run("d.region-badptr", result);
    for index in [0, 1, 2, 3, 4, 5, 6, -1_i32] {
        let (result, info) = r.bench.words(v::DEVICE_GET_IRQ_INFO, [16, 0, index as u32, 0]);
        let shown = format!("argsz={} flags={} count={}", info[0], hex(info[1].into()), info[3]);
        r.say(format!("d.irq-{index}"), result, shown);
    }
    for size in [12, 99] {
        let (result, _) = r.bench.words(v::DEVICE_GET_IRQ_INFO, [size, 0, 0, 0]);
        r.run(format!("d.irq-argsz-{size}"), result);
    }
    let result = value(r.bench.call(v::DEVICE_GET_IRQ_INFO, BAD));
    r.run("d.irq-badptr", result);
    for feature in 0..12 {
        for (name, way) in [("get", v::FEATURE_GET), ("set", v::FEATURE_SET)] {
            let (result, _) = r.bench.words(v::DEVICE_FEATURE, [8, feature | way | v::FEATURE_PROBE]);
            r.run(format!("d.feature-{feature}-probe-{name}"), result);
        }
    }
    for (name, size, flags) in
        [("argsz-4", 4, 0), ("noop", 8, 0), ("bad-flag", 8, 1 << 19 | v::FEATURE_PROBE)]
    {
        let (result, _) = r.bench.words(v::DEVICE_FEATURE, [size, flags]);
        r.run(format!("d.feature-{name}"), result);
    }
    let (result, info) = r.bench.words(v::DEVICE_GET_PCI_HOT_RESET_INFO, [256, 0, 0]);
    r.say("d.hotreset-info", result, format!("count={} flags={}", info[2], hex(info[1].into())));
    let (result, info) = r.bench.words(v::DEVICE_GET_PCI_HOT_RESET_INFO, [12, 0, 0]);
    r.say("d.hotreset-info-12", result, format!("count={}", info[2]));
    let (result, _) = r.bench.words(v::DEVICE_GET_PCI_HOT_RESET_INFO, [8, 0, 0]);
    r.run("d.hotreset-info-8", result);
    for (name, count) in [("d.hotreset", 1), ("d.hotreset-count-0", 0)] {
        let (result, _) = r.bench.words(v::DEVICE_PCI_HOT_RESET, [16, 0, count, GROUP as u32]);
        r.run(name, result);
    }
}

fn value(result: Result<ioctlab_vfio_pci::Done, Errno>) -> Result<i64, Errno> {
    result.map(|_| 0)
}

pub(crate) fn config(r: &mut Replay) {
    let b = &mut r.bench;
    let shown = format!(
        "{:04x}:{:04x} class={:06x} rev={:02x} hdr={:02x} subsys={:08x}",
        b.cr(0, 2),
        b.cr(2, 2),
        b.cr(8, 4) >> 8,
        b.cr(8, 1),
        b.cr(14, 1),
        b.cr(0x2c, 4)
    );
    r.say("k.vendor-device", Ok(0), shown);
    let b = &mut r.bench;
    let shown = format!(
        "cmd={:04x} status={:04x} cacheline={:02x} lat={:02x} intline={:02x} intpin={:02x} rom={:08x} capptr={:02x}",
        b.cr(4, 2),
        b.cr(6, 2),
        b.cr(12, 1),
        b.cr(13, 1),
        b.cr(0x3c, 1),
        b.cr(0x3d, 1),
        b.cr(0x30, 4),
        b.cr(0x34, 1)
    );
    r.say("k.initial", Ok(0), shown);
    for bar in 0..6 {
        let shown = format!("{:08x}", r.bench.cr(0x10 + 4 * bar, 4));
        r.say(format!("k.bar{bar}"), Ok(0), shown);
    }
    for bar in 0..6 {
        let (b, at) = (&mut r.bench, 0x10 + 4 * bar);
        let before = b.cr(at, 4);
        b.cw(at, 4, u32::MAX).unwrap();
        let sized = b.cr(at, 4);
        b.cw(at, 4, before).unwrap();
        let shown = format!("{sized:08x} restored={}", u8::from(b.cr(at, 4) == before));
        r.say(format!("k.bar{bar}-sizing"), Ok(0), shown);
    }
    let before = r.bench.cr(0x30, 4);
    r.bench.cw(0x30, 4, 0xffff_fffe).unwrap();
    let shown = format!("{:08x}", r.bench.cr(0x30, 4));
    r.say("k.rom-sizing", Ok(0), shown);
    r.bench.cw(0x30, 4, before).unwrap();
    let before = r.bench.cr(0x10, 4);
    r.bench.cw(0x10, 1, 0xff).unwrap();
    r.bench.cw(0x11, 1, 0xff).unwrap();
    let shown = format!("{:08x}", r.bench.cr(0x10, 4));
    r.say("k.bar0-bytewrite", Ok(0), shown);
    r.bench.cw(0x10, 4, before).unwrap();
    for (name, at, bytes, value, prefix, digits) in [
        ("cmd-mem-on", 4, 2, 2, "cmd=", 4),
        ("cmd-ffff", 4, 2, 0xffff, "cmd=", 4),
        ("cmd-0", 4, 2, 0, "cmd=", 4),
        ("cmd-6", 4, 2, 6, "cmd=", 4),
        ("status-w1c", 6, 2, 0xffff, "status=", 4),
        ("vendor-write", 0, 2, 0x1234, "vendor=", 4),
        ("class-write", 8, 4, 0xffff_ffff, "class=", 8),
        ("intline-write", 0x3c, 1, 0x55, "intline=", 2),
        ("cacheline-write", 0xc, 2, 0xaaaa, "", 4),
        ("intpin-write", 0x3d, 1, 4, "", 2),
        ("capptr-write", 0x34, 1, 0, "", 2),
        ("subsys-write", 0x2c, 4, 0x1122_3344, "", 8),
    ] {
        let result = r.bench.cw(at, bytes, value);
        let shown = format!("{prefix}{:0digits$x}", r.bench.cr(at, bytes));
        r.say(format!("k.{name}"), result, shown);
    }
    let mut shown = String::new();
    let mut at = u64::from(r.bench.cr(0x34, 1) & 0xfc);
    while at != 0 {
        shown += &format!("{:02x}@{at:02x} ", r.bench.cr(at, 1));
        at = u64::from(r.bench.cr(at + 1, 1) & 0xfc);
    }
    // The record has no spaces at the ends of lines.
    r.say("k.caps", Ok(0), shown.trim_end());
    let mut shown = String::new();
    at = 0x100;
    while at != 0 {
        let header = r.bench.cr(at, 4);
        if header == 0 {
            break;
        }
        shown += &format!("{:04x}@{at:03x} ", header & 0xffff);
        at = u64::from(header >> 20);
    }
    r.say("k.extcaps", Ok(0), if shown.is_empty() { "none" } else { shown.trim_end() });
    for (at, count) in [
        (0, 0),
        (0, 1),
        (1, 1),
        (1, 2),
        (1, 3),
        (0, 3),
        (0, 7),
        (0, 8),
        (0, 64),
        (0, 256),
        (0, 257),
        (255, 1),
        (254, 4),
        (256, 1),
        (256, 4),
        (4095, 1),
        (4095, 2),
        (4096, 1),
        (0, 4096),
        (0, 4097),
        (0x3e, 4),
        (5000, 4),
    ] {
        let result = r.bench.pread(CONFIG + at, count);
        r.run(format!("k.pread-{count}@{at}"), result);
    }
    let result = r.bench.pread_to(CONFIG, 4, BAD);
    r.run("k.pread-badptr", result);
    let result = r.bench.pwrite_from(CONFIG, 4, BAD);
    r.run("k.pwrite-badptr", result);
    let result = r.bench.pwrite_from(CONFIG + 4096, 4, BUFFER);
    r.run("k.pwrite-past", result);
    let result = r.bench.pwrite(CONFIG + 252, &[0; 4]);
    r.run("k.pwrite-256", result);
    for (name, position) in
        [("region-9", 9 << 40), ("region-8-vga", 8 << 40), ("region-300", 300 << 40), ("2^62", 1 << 62)]
    {
        let result = r.bench.pread(position, 4);
        r.run(format!("k.pread-{name}"), result);
    }
}

pub(crate) fn bars(r: &mut Replay) {
    r.bench.cw(4, 2, 7).unwrap();
    let mut sizes = [0; 9];
    for region in 0..9_u64 {
        let (result, info) = r.bench.words(v::DEVICE_GET_REGION_INFO, [32, 0, region as u32, 0, 0, 0, 0, 0]);
        let (size, at) = (if result.is_ok() { long(&info, 4) } else { 0 }, region << 40);
        sizes[region as usize] = size;
        if size == 0 {
            let result = r.bench.pread(at, 4);
            r.run(format!("b.{region}-absent-pread"), result);
            let result = r.bench.mmap(at, 4096, true).map(|()| 0);
            r.run(format!("b.{region}-absent-mmap"), result);
            continue;
        }
        let result = r.bench.pread(at, 4);
        let shown = format!("{:08x}", u32::from_le_bytes(r.bench.program.get(BUFFER)));
        r.say(format!("b.{region}-pread4"), result, shown);
        for (name, offset, count) in [
            ("pread1", 0, 1),
            ("pread2", 0, 2),
            ("pread3", 0, 3),
            ("pread8", 0, 8),
            ("pread-unal", 1, 4),
            ("pread-0", 0, 0),
            ("pread-tail", size - 4, 8),
            ("pread-end", size, 4),
            ("pread-past", size + 4096, 4),
        ] {
            let result = r.bench.pread(at + offset, count);
            r.run(format!("b.{region}-{name}"), result);
        }
        if region == 6 {
            let result = r.bench.pwrite(at, &[0; 4]);
            r.run("b.6-pwrite-rom", result);
        }
        if region < 6 {
            if r.is_edu {
                let result = r.bench.pwrite(at + size, &[0; 4]);
                r.run(format!("b.{region}-pwrite-end"), result);
            }
            let result = r.bench.pread_to(at, 4, BAD);
            r.run(format!("b.{region}-pread-badptr"), result);
        }
    }
    for (region, size) in sizes.into_iter().enumerate().filter(|(_, size)| *size > 0) {
        let (at, whole) = ((region as u64) << 40, size.next_multiple_of(4096));
        let full = r.bench.mmap(at, whole, true).map(|()| 0);
        r.run(format!("b.{region}-mmap-full"), full);
        if full.is_ok() {
            let result = r.bench.mmap(at + whole - 4096, 4096, true).map(|()| 0);
            r.run(format!("b.{region}-mmap-last-page-ro"), result);
        }
        for (name, offset, bytes, shared) in
            [("over", 0, whole + 4096, true), ("at-end", whole, 4096, true), ("private", 0, 4096, false)]
        {
            let result = r.bench.mmap(at + offset, bytes, shared).map(|()| 0);
            r.run(format!("b.{region}-mmap-{name}"), result);
        }
    }
    for region in [9, 200] {
        let result = r.bench.mmap(region << 40, 4096, true).map(|()| 0);
        r.run(format!("b.mmap-region-{region}"), result);
    }
    assert_eq!(r.bench.function.reachable, Some(true));
    r.bench.cw(4, 2, 0).unwrap();
    assert_eq!(r.bench.function.reachable, Some(false));
    let result = r.bench.pread(0, 4);
    r.run("b.mem-off-pread", result);
    let result = r.bench.pwrite(0, &[0; 4]);
    r.run("b.mem-off-pwrite", result);
    let result = r.bench.mmap(0, 4096, true).map(|()| 0);
    r.run("b.mem-off-mmap", result);
    r.bench.cw(4, 2, 6).unwrap();
    assert_eq!(r.bench.function.reachable, Some(true));
    if r.is_edu {
        let shown = format!("{:08x}", r.bench.mr(0));
        r.say("b.edu-id", Ok(0), shown);
        r.bench.mw(4, 0x1234_5678);
        let shown = format!("{:08x}", r.bench.mr(4));
        r.say("b.edu-live", Ok(0), shown);
    }
}

/// What an eventfd has counted.
fn fired(r: &mut Replay, name: &str, descriptor: i32, info: impl std::fmt::Display) {
    let count = r.bench.take(descriptor) as i64;
    r.say(name, Ok(count), info);
}

pub(crate) fn irqs(r: &mut Replay) {
    let (trigger, eventfd) = (TRIGGER | NONE, TRIGGER | EVENTFD);
    let one = |descriptor: i32| descriptor.to_ne_bytes();
    macro_rules! irq {
        ($name:literal, $flags:expr, $index:expr, $start:expr, $count:expr, $data:expr) => {{
            let result = r.bench.irq($flags, $index, $start, $count, $data);
            r.run($name, result);
        }};
    }
    macro_rules! fd {
        ($name:literal, $index:expr, $start:expr, $fd:expr) => {
            irq!($name, eventfd, $index, $start, 1, &one($fd))
        };
    }
    r.bench.cw(4, 2, 6).unwrap();
    let result = value(r.bench.call(v::DEVICE_SET_IRQS, BAD));
    r.run("i.badptr", result);
    let (result, _) = r.bench.words(v::DEVICE_SET_IRQS, [16, trigger, 0, 0, 0]);
    r.run("i.argsz-16", result);
    let (result, _) = r.bench.words(v::DEVICE_SET_IRQS, [20, eventfd, 0, 0, 1]);
    r.run("i.argsz-no-data", result);
    irq!("i.flags-0", 0, 0, 0, 1, &[]);
    irq!("i.flags-only-action", TRIGGER, 0, 0, 1, &[]);
    irq!("i.flags-only-data", NONE, 0, 0, 1, &[]);
    irq!("i.flags-two-actions", trigger | MASK, 0, 0, 1, &[]);
    irq!("i.flags-two-data", trigger | BOOL, 0, 0, 1, &[1]);
    irq!("i.flags-40", trigger | 0x40, 0, 0, 1, &[]);
    irq!("i.index-5", trigger, 5, 0, 0, &[]);
    irq!("i.index-ffffffff", trigger, u32::MAX, 0, 0, &[]);
    irq!("i.intx-trigger-none-unset", trigger, 0, 0, 1, &[]);
    irq!("i.intx-mask-unset", MASK | NONE, 0, 0, 1, &[]);
    irq!("i.intx-unmask-unset", UNMASK | NONE, 0, 0, 1, &[]);
    irq!("i.intx-disable-unset", trigger, 0, 0, 0, &[]);
    fd!("i.intx-start-1", 0, 1, E);
    irq!("i.intx-count-2", eventfd, 0, 0, 2, &[one(E), one(E2)].concat());
    irq!("i.intx-count-ffffffff", eventfd, 0, 0, u32::MAX, &[one(E), one(E2)].concat());
    irq!("i.intx-start+count-wrap", trigger, 0, u32::MAX, 2, &[]);
    fd!("i.intx-bad-fd", 0, 0, 9999);
    fd!("i.intx-fd--2", 0, 0, -2);
    fd!("i.intx-fd--1-unset", 0, 0, -1);
    fd!("i.intx-non-eventfd", 0, 0, OTHER);
    irq!("i.intx-count-0-eventfd", eventfd, 0, 0, 0, &[]);
    fd!("i.intx-set", 0, 0, E);
    irq!("i.intx-loopback-none", trigger, 0, 0, 1, &[]);
    fired(r, "i.intx-loopback-none-fired", E, "-");
    irq!("i.intx-loopback-bool", TRIGGER | BOOL, 0, 0, 1, &[1]);
    fired(r, "i.intx-loopback-bool-fired", E, "-");
    irq!("i.intx-loopback-bool0", TRIGGER | BOOL, 0, 0, 1, &[0]);
    fired(r, "i.intx-loopback-bool0-fired", E, "-");
    irq!("i.intx-mask", MASK | NONE, 0, 0, 1, &[]);
    irq!("i.intx-mask-again", MASK | NONE, 0, 0, 1, &[]);
    irq!("i.intx-mask-eventfd", MASK | EVENTFD, 0, 0, 1, &one(E2));
    r.bench.irq(trigger, 0, 0, 1, &[]).unwrap();
    fired(r, "i.intx-loopback-masked-fired", E, "-");
    let result = r.bench.irq(UNMASK | NONE, 0, 0, 1, &[]);
    let shown = format!("cmd-after={:04x}", r.bench.cr(4, 2));
    r.say("i.intx-unmask", result, shown);
    fired(r, "i.intx-unmask-fired", E, "-");
    if r.is_edu {
        r.bench.mw(0x60, 1);
        let shown = format!("status={:04x} irqst={:08x}", r.bench.cr(6, 2), r.bench.mr(0x24));
        fired(r, "i.edu-raise-fired", E, shown);
        fired(r, "i.edu-automasked-refire", E, "-");
        irq!("i.edu-unmask-not-acked", UNMASK | NONE, 0, 0, 1, &[]);
        fired(r, "i.edu-refire-after-unmask", E, "-");
        r.bench.mw(0x64, 1);
        irq!("i.edu-unmask-acked", UNMASK | NONE, 0, 0, 1, &[]);
        fired(r, "i.edu-quiet", E, "-");
        irq!("i.edu-unmask-eventfd", UNMASK | EVENTFD, 0, 0, 1, &one(E2));
        r.bench.mw(0x60, 2);
        fired(r, "i.edu-fire2", E, "-");
        r.bench.mw(0x64, 2);
        r.bench.write_eventfd(E2);
        r.bench.mw(0x60, 4);
        fired(r, "i.edu-fire-after-eventfd-unmask", E, "-");
        r.bench.mw(0x64, 4);
        r.bench.irq(UNMASK | NONE, 0, 0, 1, &[]).unwrap();
        irq!("i.edu-unmask-eventfd-off", UNMASK | EVENTFD, 0, 0, 1, &one(-1));
        r.bench.irq(UNMASK | NONE, 0, 0, 1, &[]).unwrap();
        r.bench.cw(4, 2, 0x406).unwrap();
        r.bench.mw(0x60, 1);
        let shown = format!("cmd={:04x}", r.bench.cr(4, 2));
        fired(r, "i.edu-intx-disable-bit-fired", E, shown);
        r.bench.mw(0x64, 1);
        r.bench.cw(4, 2, 6).unwrap();
        r.bench.irq(UNMASK | NONE, 0, 0, 1, &[]).unwrap();
        r.bench.take(E);
    }
    fd!("i.msi-while-intx", 1, 0, E2);
    fd!("i.intx-replace", 0, 0, E2);
    r.bench.irq(trigger, 0, 0, 1, &[]).unwrap();
    let shown = format!("old={}", r.bench.take(E));
    fired(r, "i.intx-replaced-fired", E2, shown);
    fd!("i.intx-fd--1", 0, 0, -1);
    irq!("i.intx-none-after--1", trigger, 0, 0, 1, &[]);
    irq!("i.intx-disable", trigger, 0, 0, 0, &[]);
    let (_, info) = r.bench.words(v::DEVICE_GET_IRQ_INFO, [16, 0, 1, 0]);
    let vectors = info[3];
    irq!("i.msi-none-unset", trigger, 1, 0, 1, &[]);
    irq!("i.msi-mask-unset", MASK | NONE, 1, 0, 1, &[]);
    irq!("i.msi-too-many", eventfd, 1, 0, vectors + 1, &vec![one(E); vectors as usize + 1].concat());
    fd!("i.msi-start-past", 1, vectors, E);
    fd!("i.msi-bad-fd", 1, 0, 9999);
    fd!("i.msi-set", 1, 0, E);
    let b = &mut r.bench;
    let mut at = u64::from(b.cr(0x34, 1));
    while at != 0 && b.cr(at, 1) != 5 {
        at = u64::from(b.cr(at + 1, 1));
    }
    let (control, address) = if at == 0 { (0, 0) } else { (b.cr(at + 2, 2), b.cr(at + 4, 4)) };
    r.say("i.msi-cap", Ok(0), format!("virtual-ctrl={control:04x} addr={address:08x}"));
    if at != 0 {
        let result = r.bench.cw(at + 4, 4, 0xfee0_1000);
        let shown = format!("addr={:08x}", r.bench.cr(at + 4, 4));
        r.say("i.msi-cap-write-addr", result, shown);
        let result = r.bench.cw(at + 2, 2, 1);
        let shown = format!("ctrl={:04x}", r.bench.cr(at + 2, 2));
        r.say("i.msi-cap-write-enable", result, shown);
    }
    let _ = r.bench.irq(trigger, 1, 0, 1, &[]);
    fired(r, "i.msi-loopback-fired", E, "-");
    if r.is_edu {
        r.bench.mw(0x60, 1);
        fired(r, "i.edu-msi-fired", E, "-");
        r.bench.mw(0x64, 1);
    }
    irq!("i.msi-mask", MASK | NONE, 1, 0, 1, &[]);
    irq!("i.msi-unmask", UNMASK | NONE, 1, 0, 1, &[]);
    fd!("i.intx-while-msi", 0, 0, E);
    fd!("i.msix-while-msi", 2, 0, E2);
    fd!("i.msi-fd--1", 1, 0, -1);
    let result = r.bench.irq(trigger, 1, 0, 1, &[]);
    let shown = format!("fired={}", r.bench.take(E));
    r.say("i.msi-none-after--1", result, shown);
    fd!("i.intx-while-msi-empty", 0, 0, E);
    fd!("i.msi-reset", 1, 0, E2);
    irq!("i.msi-disable", trigger, 1, 0, 0, &[]);
    irq!("i.msi-disable-again", trigger, 1, 0, 0, &[]);
    irq!("i.msi-disable-with-start", trigger, 1, 1, 0, &[]);
    let _ = r.bench.irq(trigger, 0, 0, 0, &[]);
    let _ = r.bench.irq(trigger, 1, 0, 0, &[]);
    let (_, info) = r.bench.words(v::DEVICE_GET_IRQ_INFO, [16, 0, 2, 0]);
    let vectors = info[3];
    r.say("i.msix-count", Ok(vectors), "-");
    if vectors > 0 {
        irq!("i.msix-3-with-hole", eventfd, 2, 0, 3, &[one(E), one(-1), one(E2)].concat());
        r.bench.irq(trigger, 2, 0, 1, &[]).unwrap();
        fired(r, "i.msix-fire-0", E, "-");
        for (name, start, count) in
            [("i.msix-fire-1", 1, 1), ("i.msix-fire-2", 2, 1), ("i.msix-fire-all", 0, 3)]
        {
            let result = r.bench.irq(trigger, 2, start, count, &[]);
            if start == 2 {
                fired(r, name, E2, "-");
            } else {
                let shown = format!("e={} e2={}", r.bench.take(E), r.bench.take(E2));
                r.say(name, result, shown);
            }
        }
        fd!("i.msix-grow-dynamic", 2, 4.min(vectors - 1), E);
        fd!("i.msix-past", 2, vectors, E);
        irq!("i.msix-disable", trigger, 2, 0, 0, &[]);
    } else {
        fd!("i.msix-absent", 2, 0, E);
    }
    fd!("i.err-set", 3, 0, E);
    let result = r.bench.irq(trigger, 3, 0, 1, &[]);
    let shown = format!("fired={}", r.bench.take(E));
    r.say("i.err-loop", result, shown);
    irq!("i.err-mask", MASK | NONE, 3, 0, 1, &[]);
    fd!("i.req-set", 4, 0, E);
    let result = r.bench.irq(trigger, 4, 0, 1, &[]);
    let shown = format!("fired={}", r.bench.take(E));
    r.say("i.req-loop", result, shown);
    fd!("i.req-bad-fd", 4, 0, 9999);
    fd!("i.req--1", 4, 0, -1);
    irq!("i.req-loop-unset", trigger, 4, 0, 1, &[]);
}

pub(crate) fn reset(r: &mut Replay) {
    r.bench.cw(4, 2, 6).unwrap();
    if r.is_edu {
        r.bench.mw(4, 0x1111_1111);
    }
    let result = value(r.bench.call(v::DEVICE_RESET, 0));
    r.run("r.reset", result);
    let live = if r.is_edu { r.bench.mr(4) } else { 0 };
    let shown = format!("cmd={:04x} live={live:08x}", r.bench.cr(4, 2));
    r.say("r.after", Ok(0), shown);
    for (name, flags, position, descriptor) in [
        ("set", 4, 4, E),
        ("dup", 4, 4, E),
        ("clear", 4, 4, -1),
        ("clear-again", 4, 4, -1),
        ("cfg", 4, CONFIG, -1),
        ("flags-3", 3, CONFIG, -1),
    ] {
        let (low, high) = (position as u32, (position >> 32) as u32);
        let (result, _) =
            r.bench.words(v::DEVICE_IOEVENTFD, [32, flags, low, high, 0, 0, descriptor as u32, 0]);
        r.run(format!("r.ioeventfd-{name}"), result);
    }
}
