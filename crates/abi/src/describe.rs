//! Requests and arguments as people read them: names and decoded fields, for traces.

mod vfio;

use core::fmt;

use crate::{Request, evtchn, gntalloc, gntdev, privcmd, xenbus};

/// What kind of file a request is made of, where that decides what its number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `/dev/vfio/vfio`.
    VfioContainer,
    /// `/dev/vfio/N`.
    VfioGroup,
    /// A device's file, which a group gave.
    VfioDevice,
    /// Any other.
    Other,
}

impl Role {
    /// The role of a file, by its node's path or by what `/proc/PID/fd` shows of it.
    pub fn of(path: &str) -> Self {
        match path {
            "/dev/vfio/vfio" => Self::VfioContainer,
            "anon_inode:[vfio-device]" => Self::VfioDevice,
            _ if path.starts_with("/dev/vfio/") => Self::VfioGroup,
            _ => Self::Other,
        }
    }
}

/// One ioctl of the table below: its number, its name, and its argument's fields.
struct Known {
    request: Request,
    name: &'static str,
    fields: &'static [Field],
}

/// A field of an argument: name, size in bytes. One without a name isn't printed.
type Field = (&'static str, usize);

/// Two bytes, and four, that mean nothing.
const PADDING: Field = ("", 2);
const PADDING_4: Field = ("", 4);

const KNOWN: &[Known] = &[
    Known { request: evtchn::BIND_VIRQ, name: "IOCTL_EVTCHN_BIND_VIRQ", fields: &[("virq", 4)] },
    Known {
        request: evtchn::BIND_INTERDOMAIN,
        name: "IOCTL_EVTCHN_BIND_INTERDOMAIN",
        fields: &[("remote_domain", 4), ("remote_port", 4)],
    },
    Known {
        request: evtchn::BIND_UNBOUND_PORT,
        name: "IOCTL_EVTCHN_BIND_UNBOUND_PORT",
        fields: &[("remote_domain", 4)],
    },
    Known { request: evtchn::UNBIND, name: "IOCTL_EVTCHN_UNBIND", fields: &[("port", 4)] },
    Known { request: evtchn::NOTIFY, name: "IOCTL_EVTCHN_NOTIFY", fields: &[("port", 4)] },
    Known { request: evtchn::RESET, name: "IOCTL_EVTCHN_RESET", fields: &[] },
    Known { request: evtchn::RESTRICT_DOMID, name: "IOCTL_EVTCHN_RESTRICT_DOMID", fields: &[("domid", 2)] },
    Known { request: evtchn::BIND_STATIC, name: "IOCTL_EVTCHN_BIND_STATIC", fields: &[("port", 4)] },
    Known {
        request: gntdev::MAP_GRANT_REF,
        name: "IOCTL_GNTDEV_MAP_GRANT_REF",
        fields: &[("count", 4), PADDING_4, ("index", 8), ("refs[0].domid", 4), ("refs[0].ref", 4)],
    },
    Known {
        request: gntdev::UNMAP_GRANT_REF,
        name: "IOCTL_GNTDEV_UNMAP_GRANT_REF",
        fields: &[("index", 8), ("count", 4), PADDING_4],
    },
    Known {
        request: gntdev::GET_OFFSET_FOR_VADDR,
        name: "IOCTL_GNTDEV_GET_OFFSET_FOR_VADDR",
        fields: &[("vaddr", 8), ("offset", 8), ("count", 4), PADDING_4],
    },
    Known { request: gntdev::SET_MAX_GRANTS, name: "IOCTL_GNTDEV_SET_MAX_GRANTS", fields: &[("count", 4)] },
    Known {
        // gntalloc's has the same number.
        request: gntdev::SET_UNMAP_NOTIFY,
        name: "IOCTL_GNTDEV_SET_UNMAP_NOTIFY",
        fields: &[("index", 8), ("action", 4), ("event_channel_port", 4)],
    },
    Known {
        request: gntdev::GRANT_COPY,
        name: "IOCTL_GNTDEV_GRANT_COPY",
        fields: &[("count", 4), PADDING_4, ("segments", 8)],
    },
    Known {
        request: gntalloc::ALLOC_GREF,
        name: "IOCTL_GNTALLOC_ALLOC_GREF",
        fields: &[("domid", 2), ("flags", 2), ("count", 4), ("index", 8), ("gref_ids[0]", 4), PADDING_4],
    },
    Known {
        request: gntalloc::DEALLOC_GREF,
        name: "IOCTL_GNTALLOC_DEALLOC_GREF",
        fields: &[("index", 8), ("count", 4), PADDING_4],
    },
    Known {
        request: privcmd::HYPERCALL,
        name: "IOCTL_PRIVCMD_HYPERCALL",
        fields: &[("op", 8), ("arg0", 8), ("arg1", 8), ("arg2", 8), ("arg3", 8), ("arg4", 8)],
    },
    Known {
        request: privcmd::MMAP,
        name: "IOCTL_PRIVCMD_MMAP",
        fields: &[("num", 4), ("dom", 2), PADDING, ("entry", 8)],
    },
    Known {
        request: privcmd::MMAPBATCH,
        name: "IOCTL_PRIVCMD_MMAPBATCH",
        fields: &[("num", 4), ("dom", 2), PADDING, ("addr", 8), ("arr", 8)],
    },
    Known {
        request: privcmd::MMAPBATCH_V2,
        name: "IOCTL_PRIVCMD_MMAPBATCH_V2",
        fields: &[("num", 4), ("dom", 2), PADDING, ("addr", 8), ("arr", 8), ("err", 8)],
    },
    Known {
        request: privcmd::DM_OP,
        name: "IOCTL_PRIVCMD_DM_OP",
        fields: &[("dom", 2), ("num", 2), PADDING, PADDING, ("ubufs", 8)],
    },
    Known { request: privcmd::RESTRICT, name: "IOCTL_PRIVCMD_RESTRICT", fields: &[("dom", 2)] },
    Known {
        request: privcmd::MMAP_RESOURCE,
        name: "IOCTL_PRIVCMD_MMAP_RESOURCE",
        fields: &[("dom", 2), PADDING, ("type", 4), ("id", 4), ("idx", 4), ("num", 8), ("addr", 8)],
    },
    Known { request: privcmd::IRQFD, name: "IOCTL_PRIVCMD_IRQFD", fields: &[] },
    Known { request: privcmd::IOEVENTFD, name: "IOCTL_PRIVCMD_IOEVENTFD", fields: &[] },
];

/// An ioctl's request, and whom it is made of. Prints as its name, or as the number if it has none.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The request.
    pub request: Request,
    /// What kind of file it is made of.
    pub role: Role,
}

/// What is known of a call.
enum Meaning {
    /// The number says how large the argument is.
    Sized(&'static Known),
    Vfio(&'static vfio::Known),
}

impl Call {
    fn meaning(self) -> Option<Meaning> {
        let sized = KNOWN.iter().find(|known| known.request == self.request).map(Meaning::Sized);
        sized.or_else(|| vfio::Known::find(self.request, self.role).map(Meaning::Vfio))
    }

    /// How many bytes behind the argument are worth having for [`Ioctl`] and [`Answered`]; there may be fewer.
    pub fn argument_size(self) -> usize {
        match self.meaning() {
            Some(Meaning::Vfio(known)) => known.argument_size(),
            _ => self.request.size(),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.meaning() {
            Some(Meaning::Sized(known)) => f.write_str(known.name),
            Some(Meaning::Vfio(known)) => f.write_str(known.name()),
            None => write!(f, "{:#x}", self.request.0),
        }
    }
}

/// A call with its argument: `IOCTL_EVTCHN_NOTIFY, {port=5}`.
#[derive(Clone, Copy, Debug)]
pub struct Ioctl<'a> {
    /// The call.
    pub call: Call,
    /// The argument, as it was passed.
    pub value: u64,
    /// What is in memory there: as many bytes as can be read of [`Call::argument_size`].
    pub bytes: &'a [u8],
}

impl fmt::Display for Ioctl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.call.fmt(f)?;
        let fields = match self.call.meaning() {
            Some(Meaning::Vfio(known)) => return known.write_argument(f, self.value, self.bytes),
            _ if self.bytes.len() < self.call.request.size() => return write_bad_address(f, self.value),
            Some(Meaning::Sized(known)) if !known.fields.is_empty() => known.fields,
            _ => return Ok(()),
        };
        f.write_str(", {")?;
        let mut rest = self.bytes;
        for (index, (name, size)) in fields.iter().enumerate() {
            let (value, after) = rest.split_at_checked(*size).unwrap_or((rest, &[]));
            rest = after;
            if name.is_empty() {
                continue;
            }
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{name}={}", number(value))?;
        }
        f.write_str("}")
    }
}

fn write_bad_address(f: &mut fmt::Formatter<'_>, value: u64) -> fmt::Result {
    write!(f, ", {value:#x} (bad address)")
}

/// What a call that succeeded has written to its argument: ` => {flags=VIABLE}`. Nothing for calls whose arguments print alike
/// before and after.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// The call.
    pub call: Call,
    /// What is in memory at its argument now: as many bytes as can be read of [`Call::argument_size`].
    pub bytes: &'a [u8],
}

impl fmt::Display for Answered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.call.meaning() {
            Some(Meaning::Vfio(known)) => known.write_answer(f, self.bytes),
            _ => Ok(()),
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    let mut wide = [0; 8];
    for (to, from) in wide.iter_mut().zip(bytes) {
        *to = *from;
    }
    u64::from_le_bytes(wide)
}

/// A buffer as the 32-bit words in it (ports, say): `[5, 7]`; bytes that make no whole word follow in hexadecimal.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a>(pub &'a [u8]);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (words, rest) = self.0.as_chunks::<4>();
        f.write_str("[")?;
        for (index, word) in words.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { ", " }, u32::from_ne_bytes(*word))?;
        }
        for byte in rest {
            write!(f, " {byte:02x}")?;
        }
        f.write_str("]")
    }
}

/// Bytes that xenstore's programs write or read: a message's header, `XS_READ, {req=1, tx=0, len=7}`, and whatever
/// follows it as text. Bytes that begin with no header are text alone.
#[derive(Clone, Copy, Debug)]
pub struct StoreBytes<'a>(pub &'a [u8]);

impl fmt::Display for StoreBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0;
        if let Some((bytes, rest)) = self.0.split_first_chunk::<{ xenbus::HEADER_SIZE }>() {
            let header = xenbus::Header::from_bytes(*bytes);
            if let Some(name) = xenbus::kind_name(header.kind) {
                let (request, transaction) = (header.request, header.transaction);
                write!(f, "{name}, {{req={request}, tx={transaction}, len={}}}", header.length)?;
                if rest.is_empty() {
                    return Ok(());
                }
                f.write_str(", ")?;
                text = rest;
            }
        }
        write!(f, "\"{}\"", text.escape_ascii())
    }
}

/// `open`'s flags, by name.
#[derive(Clone, Copy, Debug)]
pub struct OpenFlags(pub u32);

/// Shorthand for [`OpenFlags`].
pub const fn open_flags(flags: u32) -> OpenFlags {
    OpenFlags(flags)
}

impl fmt::Display for OpenFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(u32, &str); 12] = [
            (0o100, "O_CREAT"),
            (0o200, "O_EXCL"),
            (0o400, "O_NOCTTY"),
            (0o1000, "O_TRUNC"),
            (0o2000, "O_APPEND"),
            (0o4000, "O_NONBLOCK"),
            (0o20000, "O_ASYNC"),
            (0o40000, "O_DIRECT"),
            (0o100_000, "O_LARGEFILE"),
            (0o200_000, "O_DIRECTORY"),
            (0o400_000, "O_NOFOLLOW"),
            (0o2_000_000, "O_CLOEXEC"),
        ];
        f.write_str(match self.0 & 3 {
            0 => "O_RDONLY",
            1 => "O_WRONLY",
            2 => "O_RDWR",
            _ => "O_ACCMODE",
        })?;
        let mut rest = self.0 & !3;
        for (bit, name) in NAMES {
            if rest & bit != 0 {
                rest &= !bit;
                write!(f, "|{name}")?;
            }
        }
        if rest != 0 { write!(f, "|{rest:#o}") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
