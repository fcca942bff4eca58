//! VIRQs: the virtual interrupts that Xen itself raises, by the names of `xen/include/public/xen.h`.

use std::fmt;

/// A VIRQ's number, below [`Virq::COUNT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Virq(u8);

/// Number and name, `VIRQ_` left out. 5, 14 and 15 have no name.
const NAMES: &[(u8, &str)] = &[
    (0, "TIMER"),
    (1, "DEBUG"),
    (2, "CONSOLE"),
    (3, "DOM_EXC"),
    (4, "TBUF"),
    (6, "DEBUGGER"),
    (7, "XENOPROF"),
    (8, "CON_RING"),
    (9, "PCPU_STATE"),
    (10, "MEM_EVENT"),
    (11, "ARGO"),
    (12, "ENOMEM"),
    (13, "XENPMU"),
    (16, "ARCH_0"),
    (17, "ARCH_1"),
    (18, "ARCH_2"),
    (19, "ARCH_3"),
    (20, "ARCH_4"),
    (21, "ARCH_5"),
    (22, "ARCH_6"),
    (23, "ARCH_7"),
];

impl Virq {
    /// `NR_VIRQS`.
    pub const COUNT: u8 = 24;
    /// Timer: per vcpu.
    pub const TIMER: Self = Self(0);
    /// A request to dump debugging information: per vcpu.
    pub const DEBUG: Self = Self(1);
    /// Bytes came in on the emergency console.
    pub const CONSOLE: Self = Self(2);
    /// A physical processor went on- or offline.
    pub const PCPU_STATE: Self = Self(9);
    /// On x86 a machine check (`VIRQ_MCA`).
    pub const ARCH_0: Self = Self(16);

    /// The VIRQ of that number.
    pub fn new(number: u8) -> Option<Self> {
        (number < Self::COUNT).then_some(Self(number))
    }

    /// The VIRQ of that name, with or without `VIRQ_`; `MCA` is x86's name for `ARCH_0`.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.strip_prefix("VIRQ_").unwrap_or(name);
        if name == "MCA" {
            return Some(Self::ARCH_0);
        }
        NAMES.iter().find(|(_, known)| *known == name).map(|(number, _)| Self(*number))
    }

    /// The number that a program passes to `IOCTL_EVTCHN_BIND_VIRQ`.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The name without `VIRQ_`; `None` for a number that Xen gave none.
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(number, _)| *number == self.0).map(|(_, name)| *name)
    }

    /// Whether each vcpu has its own.
    pub const fn is_per_vcpu(self) -> bool {
        matches!(self.0, 0 | 1 | 7 | 13)
    }

    /// All names, in the order of their numbers.
    pub fn names() -> Vec<&'static str> {
        NAMES.iter().map(|(_, name)| *name).collect()
    }
}

impl fmt::Display for Virq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "VIRQ {}", self.0),
        }
    }
}
