//! Virtual interrupts: their names, and whom each is for.

use crate::Refused;
use core::{fmt, str::FromStr};

/// A virtual interrupt, 0 to 23 (`VIRQ_*`, `NR_VIRQS`). Numbers without a name (5, 14, 15) can be bound like any other.
///
/// Prints as its name without the prefix (`DOM_EXC`), or as its number if it has none; parses from either, with or
/// without `VIRQ_`, in any case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Virq(u8);

/// Whom a VIRQ is for, and so where it may be bound and raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirqScope {
    /// Each vcpu of a domain has its own.
    Vcpu,
    /// Each domain has its own, bound on vcpu 0.
    Domain,
    /// The machine has one: it goes to its handler, domain 0 unless set otherwise, and is bound on vcpu 0.
    Global,
}

macro_rules! virqs {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        impl Virq {
            $(
                #[doc = $text]
                pub const $name: Self = Self($number);
            )*

            const NAMED: &[(Self, &'static str)] = &[$((Self::$name, stringify!($name)),)*];
        }
    };
}

virqs! {
    TIMER = 0, "Timebase update, or a requested timeout.";
    DEBUG = 1, "Request the guest to dump its debugging information.";
    CONSOLE = 2, "Bytes came in on the emergency console.";
    DOM_EXC = 3, "Something exceptional happened to some domain: it stopped, or is gone.";
    TBUF = 4, "The trace buffer has records to collect.";
    DEBUGGER = 6, "A domain has paused for debugging.";
    XENOPROF = 7, "The profiler has a new sample.";
    CON_RING = 8, "Bytes came in on Xen's console ring.";
    PCPU_STATE = 9, "A physical CPU came or went.";
    MEM_EVENT = 10, "A memory event happened.";
    ARGO = 11, "An Argo message can be read or sent.";
    ENOMEM = 12, "The machine is low on memory.";
    XENPMU = 13, "A performance counter overflowed.";
    ARCH_0 = 16, "The architecture's first; on x86, a machine check (`VIRQ_MCA`).";
    ARCH_1 = 17, "The architecture's second.";
    ARCH_2 = 18, "The architecture's third.";
    ARCH_3 = 19, "The architecture's fourth.";
    ARCH_4 = 20, "The architecture's fifth.";
    ARCH_5 = 21, "The architecture's sixth.";
    ARCH_6 = 22, "The architecture's seventh.";
    ARCH_7 = 23, "The architecture's eighth.";
}

impl Virq {
    /// How many there are (`NR_VIRQS`).
    pub const COUNT: u32 = 24;

    /// The number, below [`Virq::COUNT`].
    pub const fn number(self) -> u32 {
        self.0 as u32
    }

    /// The name without its prefix, if it has one.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMED.iter().find(|(virq, _)| *virq == self).map(|(_, name)| *name)
    }

    /// The names of those that have one, in the order of their numbers.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::NAMED.iter().map(|(_, name)| *name)
    }

    /// Whom it is for. All of the architecture's are global on x86, as are numbers without a name.
    ///
    /// Xen 4.17 has only per-vcpu and others, and raises the one per-domain VIRQ in a domain that it names.
    pub const fn scope(self) -> VirqScope {
        match self {
            Self::TIMER | Self::DEBUG | Self::XENOPROF | Self::XENPMU => VirqScope::Vcpu,
            Self::ARGO => VirqScope::Domain,
            _ => VirqScope::Global,
        }
    }
}

impl TryFrom<u32> for Virq {
    type Error = Refused;

    /// # Errors
    /// [`Refused::NoSuchVirq`] at or above [`Virq::COUNT`]. It is the first thing that `bind_virq` looks at.
    fn try_from(number: u32) -> Result<Self, Refused> {
        match u8::try_from(number) {
            Ok(small) if number < Self::COUNT => Ok(Self(small)),
            _ => Err(Refused::NoSuchVirq),
        }
    }
}

impl fmt::Display for Virq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => self.0.fmt(f),
        }
    }
}

impl fmt::Debug for Virq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no VIRQ's name, and no number below 24.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseVirqError;

impl fmt::Display for ParseVirqError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a VIRQ: expected a number from 0 to 23, or one of")?;
        Virq::NAMED.iter().try_for_each(|(_, name)| write!(f, " {name}"))
    }
}

impl core::error::Error for ParseVirqError {}

impl FromStr for Virq {
    type Err = ParseVirqError;

    fn from_str(text: &str) -> Result<Self, ParseVirqError> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse::<u32>().ok().and_then(|n| Self::try_from(n).ok()).ok_or(ParseVirqError);
        }
        let name = match text.split_at_checked(5) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case("VIRQ_") => rest,
            _ => text,
        };
        // What x86 calls its first one.
        let name = if name.eq_ignore_ascii_case("MCA") { "ARCH_0" } else { name };
        Self::NAMED
            .iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(name))
            .map(|(virq, _)| *virq)
            .ok_or(ParseVirqError)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn every_virq_prints_and_parses_both_ways() {
        for number in 0..Virq::COUNT {
            let virq = Virq::try_from(number).unwrap();
            assert_eq!(virq.number(), number);
            assert_eq!(virq.to_string().parse(), Ok(virq));
            assert_eq!(number.to_string().parse(), Ok(virq));
            assert_eq!(virq.name().is_none(), matches!(number, 5 | 14 | 15), "{number}");
        }
        assert_eq!(Virq::try_from(24), Err(Refused::NoSuchVirq));
        assert_eq!(Virq::try_from(256 + 3), Err(Refused::NoSuchVirq));
        assert_eq!(Virq::try_from(u32::MAX), Err(Refused::NoSuchVirq));
    }

    #[test]
    fn names_parse_in_any_dress() {
        assert_eq!("VIRQ_MCA".parse(), Ok(Virq::ARCH_0));
        for text in ["DOM_EXC", "dom_exc", "VIRQ_DOM_EXC", "virq_Dom_Exc", "3", "03"] {
            assert_eq!(text.parse(), Ok(Virq::DOM_EXC), "{text}");
        }
        for text in ["", "24", "99999999999", "-1", "+3", "DOM", "VIRQ_", "VIRQ_3", "DOM_EXC ", "é_été"] {
            assert_eq!(text.parse::<Virq>(), Err(ParseVirqError), "{text}");
        }
    }

    #[test]
    fn scopes_are_those_of_xen_on_x86() {
        for number in 0..Virq::COUNT {
            let expected = match number {
                0 | 1 | 7 | 13 => VirqScope::Vcpu,
                11 => VirqScope::Domain,
                _ => VirqScope::Global,
            };
            assert_eq!(Virq::try_from(number).unwrap().scope(), expected, "{number}");
        }
    }
}
