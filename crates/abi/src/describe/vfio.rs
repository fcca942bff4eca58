//! VFIO's requests as people read them. A request number says neither how large its argument is nor which way it goes, and may
//! mean one thing to a container and another to a device.

mod table;

use core::fmt;

use super::Role;
use crate::{Request, vfio};
use table::{ARGSZ, EXTENSIONS, FEATURE_FLAGS, FEATURES, KNOWN, SET_IRQS};

/// One ioctl: its number, whom it is made of, its name, and its argument.
pub(super) struct Known {
    request: Request,
    role: Role,
    name: &'static str,
    argument: Argument,
}

enum Argument {
    /// None, or one that is ignored.
    None,
    /// The kind of an IOMMU, or an extension.
    Extension,
    /// A pointer to a string.
    Text,
    /// A pointer to these, in this order.
    Fields(&'static [Field]),
    /// The same, with as many descriptors behind them as `count` (the last field) says, if they are there.
    Descriptors(&'static [Field]),
}

struct Field {
    /// Not shown if empty.
    name: &'static str,
    size: usize,
    way: Way,
    shown: Shown,
}

/// Who writes a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Caller,
    Driver,
    Both,
}

/// How a field is shown.
#[derive(Clone, Copy)]
enum Shown {
    Decimal,
    Signed,
    Hexadecimal,
    Flags(&'static [(u32, &'static str)]),
    /// One of these, by its place, or its number.
    Index(&'static [&'static str]),
    /// The flags of `DEVICE_FEATURE`, and the feature's number.
    Feature,
}

/// Descriptors that are shown.
const DESCRIPTORS: usize = 8;
/// The longest string that is shown, in bytes: an address, and a token.
const TEXT: usize = 96;

impl Known {
    /// What a request of a file means; of a file that is none of VFIO's, or the wrong one, whatever it means elsewhere.
    pub(super) fn find(request: Request, role: Role) -> Option<&'static Self> {
        let mut same = KNOWN.iter().filter(|known| known.request == request);
        let first = same.clone().next()?;
        Some(same.find(|known| known.role == role).unwrap_or(first))
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// How many bytes of the argument are worth having; there may be fewer.
    pub(super) fn argument_size(&self) -> usize {
        match self.argument {
            Argument::None | Argument::Extension => 0,
            Argument::Text => TEXT,
            Argument::Fields(fields) => size(fields),
            Argument::Descriptors(fields) => size(fields).saturating_add(4 * DESCRIPTORS),
        }
    }

    /// The argument as the caller passes it: `value` in the register, and the bytes that it points to.
    pub(super) fn write_argument(&self, f: &mut fmt::Formatter<'_>, value: u64, bytes: &[u8]) -> fmt::Result {
        match self.argument {
            Argument::None => Ok(()),
            Argument::Extension => {
                f.write_str(", ")?;
                write_index(f, EXTENSIONS, value)
            }
            _ if bytes.is_empty() => super::write_bad_address(f, value),
            Argument::Text => {
                let end = bytes.iter().position(|byte| *byte == 0);
                let text = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
                write!(f, ", \"{}\"{}", text.escape_ascii(), if end.is_none() { "..." } else { "" })
            }
            Argument::Fields(fields) => {
                f.write_str(", {")?;
                write_fields(f, fields, Way::Caller, within(fields, bytes))?;
                f.write_str("}")
            }
            Argument::Descriptors(fields) => {
                let bytes = within(fields, bytes);
                f.write_str(", {")?;
                write_fields(f, fields, Way::Caller, bytes)?;
                write_descriptors(f, size(fields), bytes)?;
                f.write_str("}")
            }
        }
    }

    /// What the driver has written to it, ` => {flags=VIABLE}`, if it writes anything.
    pub(super) fn write_answer(&self, f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
        let Argument::Fields(fields) = self.argument else { return Ok(()) };
        if fields.iter().all(|field| field.way == Way::Caller) || bytes.is_empty() {
            return Ok(());
        }
        f.write_str(" => {")?;
        write_fields(f, fields, Way::Driver, within(fields, bytes))?;
        f.write_str("}")
    }
}

fn size(fields: &[Field]) -> usize {
    fields.iter().fold(0, |sum: usize, field| sum.saturating_add(field.size))
}

/// The bytes that are the argument's, by what it says of its own size.
fn within<'a>(fields: &[Field], bytes: &'a [u8]) -> &'a [u8] {
    let has_size = fields.first().is_some_and(|field| field.name == ARGSZ.name);
    let Some(given) = bytes.first_chunk::<4>().filter(|_| has_size) else { return bytes };
    // It is there, however small it claims that everything is.
    let given = usize::try_from(u32::from_ne_bytes(*given)).unwrap_or(usize::MAX).max(4);
    bytes.get(..given).unwrap_or(bytes)
}

/// Writes the fields that go this way, as far as they are there.
fn write_fields(f: &mut fmt::Formatter<'_>, fields: &[Field], way: Way, bytes: &[u8]) -> fmt::Result {
    let (mut rest, mut separator) = (bytes, "");
    for field in fields {
        let Some((value, after)) = rest.split_at_checked(field.size) else { break };
        rest = after;
        if field.name.is_empty() || field.way != way && field.way != Way::Both {
            continue;
        }
        write!(f, "{separator}{}=", field.name)?;
        separator = ", ";
        field.shown.write(f, super::number(value))?;
    }
    Ok(())
}

/// Writes what follows the fields, if it is descriptors: all of `DEVICE_PCI_HOT_RESET`'s, and what `DEVICE_SET_IRQS` has of that
/// kind.
fn write_descriptors(f: &mut fmt::Formatter<'_>, from: usize, bytes: &[u8]) -> fmt::Result {
    let word = |at: usize| bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word));
    let (Some(flags), Some(count)) = (word(4), word(from.saturating_sub(4))) else { return Ok(()) };
    let is_set_irqs = from == size(SET_IRQS);
    if count == 0 || is_set_irqs && flags & vfio::IRQ_SET_DATA_EVENTFD == 0 {
        return Ok(());
    }
    let (words, _) = bytes.get(from..).unwrap_or_default().as_chunks::<4>();
    f.write_str(", fds=[")?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let shown = words.iter().take(count.min(DESCRIPTORS));
    for (index, word) in shown.clone().enumerate() {
        write!(f, "{}{}", if index == 0 { "" } else { ", " }, i32::from_ne_bytes(*word))?;
    }
    f.write_str(if shown.len() < count { ", ...]" } else { "]" })
}

impl Shown {
    fn write(self, f: &mut fmt::Formatter<'_>, value: u64) -> fmt::Result {
        match self {
            Self::Decimal => write!(f, "{value}"),
            Self::Signed => write!(f, "{}", value as i32),
            Self::Hexadecimal => write!(f, "{value:#x}"),
            Self::Flags(names) => write_flags(f, names, value as u32),
            Self::Index(names) => write_index(f, names, value),
            Self::Feature => {
                let flags = value as u32;
                if flags & !vfio::FEATURE_MASK != 0 {
                    write_flags(f, FEATURE_FLAGS, flags & !vfio::FEATURE_MASK)?;
                    f.write_str("|")?;
                }
                write_index(f, FEATURES, (flags & vfio::FEATURE_MASK).into())
            }
        }
    }
}

fn write_flags(f: &mut fmt::Formatter<'_>, names: &[(u32, &str)], flags: u32) -> fmt::Result {
    let (mut rest, mut separator) = (flags, "");
    for (bit, name) in names.iter().filter(|(bit, _)| flags & bit != 0) {
        rest &= !bit;
        write!(f, "{separator}{name}")?;
        separator = "|";
    }
    if rest != 0 || flags == 0 { write!(f, "{separator}{rest:#x}") } else { Ok(()) }
}

/// Writes the name at this place; one without a name as a number.
fn write_index(f: &mut fmt::Formatter<'_>, names: &[&str], index: u64) -> fmt::Result {
    let name = usize::try_from(index).ok().and_then(|index| names.get(index));
    match name.filter(|name| !name.is_empty()) {
        Some(name) => f.write_str(name),
        None => write!(f, "{index}"),
    }
}

#[cfg(test)]
mod tests;
