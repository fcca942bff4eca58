//! `[xen]` and `[[xen.domain]]`: a Xen host and its domains.

use std::ops::RangeInclusive;

use ioctlab_xen::{Virq, VirqScope};

use super::suggest;
use super::table::Table;
use super::value::Value;

/// The keys of `[xen]`.
pub const KEYS: &[&str] = &[
    "event_channels",
    "console_to_ring",
    "evtchn_minor",
    "machine_memory",
    "gntdev_limit",
    "gntalloc_limit",
    "domain",
];

/// The keys of `[[xen.domain]]`.
pub const DOMAIN_KEYS: &[&str] = &[
    "id",
    "name",
    "vcpus",
    "memory",
    "max_event_channel_port",
    "kernel_virqs",
    "kernel_ports",
    "max_grant_frames",
    "max_maptrack_frames",
    "grant_version",
];

const HEADING: &str = "[[xen.domain]]";

/// `DOMID_FIRST_RESERVED`: ids from here up mean something special to Xen.
const FIRST_RESERVED: u64 = 0x7ff0;

/// `HVM_MAX_VCPUS`.
const MAX_VCPUS: u64 = 128;

/// Where Linux 6.12 looks first for a free minor is 0 to 127, from the top: a node that a dozen drivers came before.
const EVTCHN_MINOR: u32 = 115;

/// `MISC_DYNAMIC_MINOR`: "give me any", so no device has it.
const DYNAMIC_MINOR: u64 = 255;

/// `MINORMASK`.
const MAX_MINOR: u64 = (1 << 20) - 1;

/// The machine memory of a lab that says nothing else, and the most that there can be, in bytes.
const MACHINE_MEMORY: u64 = 1 << 30;
const MAX_MACHINE_MEMORY: u64 = 1 << 34;

/// gntdev's and gntalloc's own limits.
const GNTDEV_LIMIT: u32 = 65_536;
const GNTALLOC_LIMIT: u32 = 1024;

/// What Xen allows a domain that says nothing else (`opt_max_grant_frames`, `opt_max_maptrack_frames`).
const MAX_GRANT_FRAMES: u32 = 64;
const MAX_MAPTRACK_FRAMES: u32 = 1024;

/// The memory of a domain that says nothing else, in bytes.
const MEMORY: u64 = 512 << 20;
/// More than any machine has.
const MAX_MEMORY: u64 = 1 << 44;
/// More frames than any table needs.
const MAX_FRAMES: u64 = 1 << 16;

/// What the toolstack (`libxl`) allows a domain that says nothing else.
const TOOLSTACK_MAX_PORT: u32 = 1023;

/// A Xen host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xen {
    /// Which event channel interface the guests' kernels use.
    pub event_channels: EventChannels,
    /// Whether domain 0's console messages go to Xen's console ring (Xen's boot option of that name). Its kernel's log,
    /// `/dev/kmsg`, can then be written to, and an emergency message raises `VIRQ_CON_RING`.
    pub console_to_ring: bool,
    /// The minor number of `/dev/xen/evtchn`; its major is 10, that of misc devices.
    pub evtchn_minor: u32,
    /// The memory that all domains' shared pages come from, in bytes; whole pages.
    pub machine_memory: u64,
    /// gntdev's module parameter `limit`: the most grants in one map.
    pub gntdev_limit: u32,
    /// gntalloc's module parameter `limit`: the most pages that a domain's programs may share at a time.
    pub gntalloc_limit: u32,
    /// The domains, by ascending id; at least one.
    pub domains: Vec<Domain>,
}

/// The ABI by which Xen tells a guest of its events; it limits how many ports there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventChannels {
    /// 4096 ports.
    TwoLevel,
    /// 131072 ports.
    Fifo,
}

/// A domain: one guest of the host, with its kernel already up. Programs run as one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The domain's id, below 0x7ff0.
    pub id: u16,
    /// What the toolstack calls it.
    pub name: Option<String>,
    /// How many virtual processors it has, 1 to 128.
    pub vcpus: u32,
    /// The memory that the toolstack has given it, in bytes. It is only told of.
    pub memory: u64,
    /// The highest port it may allocate; `None` if only the ABI limits it.
    pub max_event_channel_port: Option<u32>,
    /// The VIRQs that its kernel holds, ascending; a per-vcpu one on every vcpu.
    pub kernel_virqs: Vec<Virq>,
    /// How many ports its kernel holds, those of VIRQs included: ports 1 to this. Programs get the next.
    pub kernel_ports: u32,
    /// How many frames its grant table may have, 512 grants in each (256 with version 2).
    pub max_grant_frames: u32,
    /// How many frames it may use for what it has mapped, 256 mappings in each.
    pub max_maptrack_frames: u32,
    /// The layout of its grant table.
    pub grant_version: GrantTableVersion,
}

/// The layouts of grant tables that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantTableVersion {
    /// The usual one.
    V1,
    /// With grants of parts of pages, and of others' grants.
    V2,
}

impl Xen {
    /// The domain with that id.
    pub fn domain(&self, id: u16) -> Option<&Domain> {
        self.domains.iter().find(|domain| domain.id == id)
    }
}

impl EventChannels {
    /// The highest port number there can be.
    pub const fn max_port(self) -> u32 {
        match self {
            Self::TwoLevel => (1 << 12) - 1,
            Self::Fifo => (1 << 17) - 1,
        }
    }
}

impl Domain {
    /// A paravirtualised Linux guest of one vcpu, with nothing said about it.
    pub fn new(id: u16, event_channels: EventChannels) -> Self {
        let (vcpus, kernel_virqs) = (1, default_virqs(id, event_channels));
        let kernel_ports = default_ports(id, vcpus, &kernel_virqs);
        let max_event_channel_port = default_max_port(id);
        Self {
            id,
            name: None,
            vcpus,
            memory: MEMORY,
            max_event_channel_port,
            kernel_virqs,
            kernel_ports,
            max_grant_frames: MAX_GRANT_FRAMES,
            max_maptrack_frames: MAX_MAPTRACK_FRAMES,
            grant_version: GrantTableVersion::V1,
        }
    }
}

/// Reads `[xen]`. What it gives for a table that something was reported about isn't used.
pub(super) fn read(table: &Table<'_>) -> Xen {
    let abi = [("fifo", EventChannels::Fifo), ("2-level", EventChannels::TwoLevel)];
    let event_channels = table.get("event_channels").and_then(|value| value.choice(&abi));
    let event_channels = event_channels.unwrap_or(EventChannels::Fifo);
    let console_to_ring = table.get("console_to_ring").and_then(|value| value.boolean()).unwrap_or(false);
    let evtchn_minor = table.get("evtchn_minor").and_then(|value| read_minor(&value)).unwrap_or(EVTCHN_MINOR);
    let page = ioctlab_kernel::PAGE_SIZE;
    let machine_memory = table.get("machine_memory").and_then(|value| value.size(page..=MAX_MACHINE_MEMORY));
    let limit = |key, most| table.get(key).and_then(|value| small(&value, "a limit", 1..=most));
    let gntdev_limit = limit("gntdev_limit", MAX_MACHINE_MEMORY / page).unwrap_or(GNTDEV_LIMIT);
    let gntalloc_limit = limit("gntalloc_limit", MAX_MACHINE_MEMORY / page).unwrap_or(GNTALLOC_LIMIT);
    let domains = match table.get("domain") {
        Some(value) => value.tables(HEADING, DOMAIN_KEYS).unwrap_or_default(),
        None => {
            table.reject("needs at least one [[xen.domain]]");
            Vec::new()
        }
    };
    reject_repeats(&domains);
    let mut domains: Vec<Domain> =
        domains.iter().filter_map(|table| read_domain(table, event_channels)).collect();
    domains.sort_by_key(|domain| domain.id);
    Xen {
        event_channels,
        console_to_ring,
        evtchn_minor,
        machine_memory: machine_memory.unwrap_or(MACHINE_MEMORY),
        gntdev_limit,
        gntalloc_limit,
        domains,
    }
}

fn read_minor(value: &Value<'_>) -> Option<u32> {
    let minor = value.integer("a minor number", 0..=MAX_MINOR)?;
    if minor == DYNAMIC_MINOR {
        value.reject("255 (MISC_DYNAMIC_MINOR) stands for any minor number; no device has it");
        return None;
    }
    u32::try_from(minor).ok()
}

/// Reports ids and names that an earlier domain has.
fn reject_repeats(domains: &[Table<'_>]) {
    for key in ["id", "name"] {
        let mut seen: Vec<(String, usize)> = Vec::new();
        for value in domains.iter().filter_map(|table| table.get(key)) {
            // By the number itself: 1 and 0x1 are one id.
            let number = value.quiet_integer().map(|id| id.to_string());
            let Some(shown) = number.or_else(|| Some(format!("\"{}\"", value.text()?))) else { continue };
            match seen.iter().find(|(earlier, _)| *earlier == shown) {
                Some((_, line)) => {
                    value.reject(format!("the domain on line {line} has the {key} {shown} already"))
                }
                None => seen.push((shown, value.reader.line(value.span.start))),
            }
        }
    }
}

/// Reads one `[[xen.domain]]`; `None` if something was reported that makes the rest pointless.
fn read_domain(table: &Table<'_>, event_channels: EventChannels) -> Option<Domain> {
    let reported = table.reader.reported();
    let ports = |least: u64| least..=u64::from(event_channels.max_port());
    let id = table.require("id", "a domain id").and_then(|value| read_id(&value));
    let name = table.get("name").and_then(|value| value.name()).map(String::from);
    let vcpus = table.get("vcpus").and_then(|value| small(&value, "a number", 1..=MAX_VCPUS)).unwrap_or(1);
    let max_port = table.get("max_event_channel_port");
    let max_port_given = max_port.as_ref().and_then(|value| small(value, "a port", ports(1)));
    let virqs = table.get("kernel_virqs");
    let virqs_given = virqs.as_ref().and_then(read_virqs);
    let count = table.get("kernel_ports");
    let count_given = count.as_ref().and_then(|value| small(value, "a number of ports", ports(0)));
    let memory = table.get("memory").and_then(|value| value.size(1..=MAX_MEMORY)).unwrap_or(MEMORY);
    let frames = |key| table.get(key).and_then(|value| small(&value, "a number of frames", 1..=MAX_FRAMES));
    let max_grant_frames = frames("max_grant_frames").unwrap_or(MAX_GRANT_FRAMES);
    let max_maptrack_frames = frames("max_maptrack_frames").unwrap_or(MAX_MAPTRACK_FRAMES);
    let grant_version = match table.get("grant_version").and_then(|value| value.integer("a version", 1..=2)) {
        Some(2) => GrantTableVersion::V2,
        _ => GrantTableVersion::V1,
    };
    let id = id?;

    let max_event_channel_port = max_port_given.or(default_max_port(id));
    let kernel_virqs = virqs_given.unwrap_or_else(|| default_virqs(id, event_channels));
    let kernel_ports = count_given.unwrap_or_else(|| default_ports(id, vcpus, &kernel_virqs));
    let limit = max_event_channel_port.unwrap_or(event_channels.max_port());
    let held = virq_ports(vcpus, &kernel_virqs);
    // The first of these that the file gives is what the domain's numbers are wrong at.
    let blame = |message: String| match [&count, &max_port, &virqs].into_iter().flatten().next() {
        Some(value) => value.reject(message),
        None => table.reject(message),
    };
    if table.reader.reported() > reported {
        return None;
    }
    if kernel_ports < held {
        let virqs: Vec<String> = kernel_virqs.iter().map(Virq::to_string).collect();
        let virqs = virqs.join(", ");
        blame(format!("expected at least {held}, for the kernel's VIRQs ({virqs}), found {kernel_ports}"));
    } else if kernel_ports > limit {
        blame(format!("the kernel's {kernel_ports} ports don't fit: the domain's highest port is {limit}"));
    }
    Some(Domain {
        id,
        name,
        vcpus,
        memory,
        max_event_channel_port,
        kernel_virqs,
        kernel_ports,
        max_grant_frames,
        max_maptrack_frames,
        grant_version,
    })
}

fn read_id(value: &Value<'_>) -> Option<u16> {
    if value.quiet_integer().is_some_and(|id| (FIRST_RESERVED..=0xffff).contains(&id)) {
        let found = value.found();
        value.reject(format!(
            "expected a domain id from 0 to 0x7fef, found {found}: Xen keeps those from 0x7ff0 for itself"
        ));
        return None;
    }
    u16::try_from(value.integer("a domain id", 0..=FIRST_RESERVED - 1)?).ok()
}

fn read_virqs(value: &Value<'_>) -> Option<Vec<Virq>> {
    let mut virqs = Vec::new();
    for item in value.list("VIRQ names")? {
        let Some(virq) = read_virq(&item) else { continue };
        if virqs.contains(&virq) {
            item.reject(format!("{virq} is listed twice"));
        }
        virqs.push(virq);
    }
    virqs.sort_unstable();
    Some(virqs)
}

/// A VIRQ's name; or its number, as some have no name.
fn read_virq(item: &Value<'_>) -> Option<Virq> {
    if let Some(name) = item.text() {
        // A number is written without quotes.
        let virq = name.parse().ok().filter(|_| !name.starts_with(|c: char| c.is_ascii_digit()));
        if virq.is_none() {
            item.reject(suggest::unknown("VIRQ", name, "", &Virq::names().collect::<Vec<_>>()));
        }
        return virq;
    }
    if item.quiet_integer().is_some_and(|number| number < u64::from(Virq::COUNT)) {
        return Virq::try_from(u32::try_from(item.quiet_integer()?).ok()?).ok();
    }
    item.expected("a VIRQ's name, or its number from 0 to 23");
    None
}

fn small(value: &Value<'_>, what: &str, range: RangeInclusive<u64>) -> Option<u32> {
    u32::try_from(value.integer(what, range)?).ok()
}

fn default_max_port(id: u16) -> Option<u32> {
    (id != 0).then_some(TOOLSTACK_MAX_PORT)
}

/// What a paravirtualised Linux guest binds. VIRQ_DEBUG is only of use with the 2-level ABI, and Linux knows.
fn default_virqs(id: u16, event_channels: EventChannels) -> Vec<Virq> {
    let mut virqs = vec![Virq::TIMER];
    if event_channels == EventChannels::TwoLevel {
        virqs.push(Virq::DEBUG);
    }
    if id == 0 {
        virqs.extend([Virq::CONSOLE, Virq::PCPU_STATE, Virq::ARCH_0]);
    }
    virqs
}

/// How many ports a paravirtualised Linux guest holds when its drivers are up. Each vcpu has four IPIs (reschedule, call
/// function, call one, irq work), and a fifth to kick a waiter for a lock when there are several vcpus. Domain 0 has
/// its xenstore and some four device interrupts; any other domain its xenstore and console.
fn default_ports(id: u16, vcpus: u32, virqs: &[Virq]) -> u32 {
    let ipis = if vcpus > 1 { 5 } else { 4 };
    let others = if id == 0 { 5 } else { 2 };
    virq_ports(vcpus, virqs) + ipis * vcpus + others
}

fn virq_ports(vcpus: u32, virqs: &[Virq]) -> u32 {
    virqs.iter().map(|virq| if virq.scope() == VirqScope::Vcpu { vcpus } else { 1 }).sum()
}
