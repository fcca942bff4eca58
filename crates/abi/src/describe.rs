//! Requests and arguments as people read them: names and decoded fields, for traces.

use core::fmt;

use crate::{Request, evtchn};

/// One ioctl of the table below: its number, its name, and its argument's fields.
struct Known {
    request: Request,
    name: &'static str,
    fields: &'static [Field],
}

/// A field of an argument: name, size in bytes.
type Field = (&'static str, usize);

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
    fn flags_print_by_name() {
        assert_eq!(open_flags(0o2_004_002).to_string(), "O_RDWR|O_NONBLOCK|O_CLOEXEC");
        assert_eq!(open_flags(0o10_000_000).to_string(), "O_RDONLY|0o10000000");
    }

    #[test]
    fn words_print_as_numbers() {
        assert_eq!(Words(&[5, 0, 0, 0, 7, 0, 0, 0, 9]).to_string(), "[5, 7 09]");
    }
}
