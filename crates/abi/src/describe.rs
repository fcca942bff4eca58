//! Requests and arguments as people read them: names and decoded fields, for traces.

use core::fmt;

use crate::{Request, evtchn, gntalloc, gntdev, privcmd, xenbus};

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

fn known(request: Request) -> Option<&'static Known> {
    KNOWN.iter().find(|k| k.request == request)
}

/// A request number's name, or the number.
#[derive(Clone, Copy, Debug)]
pub struct IoctlName(pub Request);

impl fmt::Display for IoctlName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match known(self.0) {
            Some(known) => f.write_str(known.name),
            None => write!(f, "{:#x}", self.0.0),
        }
    }
}

/// A request with its argument's bytes: `IOCTL_EVTCHN_NOTIFY, {port=5}`.
#[derive(Clone, Copy, Debug)]
pub struct Ioctl<'a> {
    /// The request.
    pub request: Request,
    /// The argument, as long as the request number says.
    pub argument: &'a [u8],
}

impl fmt::Display for Ioctl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IoctlName(self.request).fmt(f)?;
        let fields = known(self.request).map_or(&[][..], |k| k.fields);
        if fields.is_empty() {
            return Ok(());
        }
        f.write_str(", {")?;
        let mut rest = self.argument;
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
mod tests {
    extern crate std;
    use std::string::ToString;

    use super::*;

    #[test]
    fn an_ioctl_prints_its_fields() {
        let argument = [1, 0, 0, 0, 5, 0, 0, 0];
        let printed = Ioctl { request: evtchn::BIND_INTERDOMAIN, argument: &argument }.to_string();
        assert_eq!(printed, "IOCTL_EVTCHN_BIND_INTERDOMAIN, {remote_domain=1, remote_port=5}");
        assert_eq!(Ioctl { request: evtchn::RESET, argument: &[] }.to_string(), "IOCTL_EVTCHN_RESET");
        assert_eq!(Ioctl { request: Request(0x5401), argument: &[] }.to_string(), "0x5401");
    }

    #[test]
    fn padding_is_not_printed() {
        let argument = [1, 0, 0, 0, 2, 0, 9, 9, 3, 0, 0, 0, 0, 0, 0, 0];
        let printed = Ioctl { request: privcmd::MMAP, argument: &argument }.to_string();
        assert_eq!(printed, "IOCTL_PRIVCMD_MMAP, {num=1, dom=2, entry=3}");
        for known in KNOWN.iter().filter(|known| !known.fields.is_empty()) {
            let total: usize = known.fields.iter().map(|(_, size)| size).sum();
            assert_eq!(total, known.request.size(), "{}", known.name);
        }
    }

    #[test]
    fn messages_of_xenstore_print_header_and_text() {
        let header =
            xenbus::Header { kind: xenbus::kind::READ, request: 1, transaction: 0, length: 5 }.to_bytes();
        assert_eq!(StoreBytes(&header).to_string(), "XS_READ, {req=1, tx=0, len=5}");
        let mut message = std::vec::Vec::from(header);
        message.extend(b"/vm\xff\0");
        assert_eq!(StoreBytes(&message).to_string(), r#"XS_READ, {req=1, tx=0, len=5}, "/vm\xff\x00""#);
        assert_eq!(StoreBytes(b"domid\0").to_string(), r#""domid\x00""#);
        assert_eq!(StoreBytes(&[20; 17]).to_string(), std::format!("\"{}\"", [20; 17].escape_ascii()));
    }

    #[test]
    fn flags_print_by_name() {
        assert_eq!(open_flags(0o2_004_002).to_string(), "O_RDWR|O_NONBLOCK|O_CLOEXEC");
        assert_eq!(open_flags(0o10_000_000).to_string(), "O_RDONLY|0o10000000");
    }

    #[test]
    fn words_print_as_numbers() {
        assert_eq!(Words(&[5, 0, 0, 0, 7, 0, 0, 0, 9]).to_string(), "[5, 7 09]");
    }
}
