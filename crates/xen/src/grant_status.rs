//! How a grant-table operation ended, when not well.

use core::fmt;

macro_rules! statuses {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why a grant-table operation failed (`GNTST_*`). One that fails has changed nothing that any other call can tell,
        /// but for which handle the caller is given next.
        ///
        /// Success (`GNTST_okay`) is `Ok`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum GrantStatus {
            $(
                $(#[doc = $doc])*
                #[doc = concat!("(", stringify!($code), ")")]
                $name,
            )*
        }

        impl GrantStatus {
            /// All of them, in the order of their codes, from -1 down.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code that Xen answers with, below 0.
            pub const fn code(self) -> i16 {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            /// The status with this code; `None` for 0, which is success, and for what is no status.
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

statuses! {
    /// The entry isn't for the caller, or not for what it wants.
    GeneralError = -1, "the grant does not allow this";
    /// No such domain.
    BadDomain = -2, "no such domain";
    /// The reference is beyond the granter's table.
    BadGrantRef = -3, "the reference is beyond the grant table";
    /// The caller has nothing mapped with this handle.
    BadHandle = -4, "no such mapping";
    /// An address to map at that can't be. Never here: this machine has no address spaces.
    BadVirtAddr = -5, "bad virtual address";
    /// A bus address that isn't the mapping's. Never here.
    BadDevAddr = -6, "bad bus address";
    /// The caller has as many grants mapped as it may.
    NoDeviceSpace = -7, "too many grants are mapped";
    /// The caller may not do so, whatever is granted.
    PermissionDenied = -8, "permission denied";
    /// The page isn't, or is no longer, the domain's that is said to have it.
    BadPage = -9, "the page is not the granter's";
    /// A copy that crosses the end of a page.
    BadCopyArg = -10, "the copy crosses the end of a page";
    /// A page beyond what the caller can address. Never here.
    AddressTooBig = -11, "the page is beyond what can be addressed";
    /// Try again: the page is being brought in. Never here.
    Again = -12, "try again";
    /// Out of space. Never here.
    NoSpace = -13, "out of space";
}

impl fmt::Display for GrantStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for GrantStatus {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_xens() {
        for (status, code) in GrantStatus::ALL.iter().zip((-13..=-1).rev()) {
            assert_eq!(status.code(), code, "{status:?}");
            assert_eq!(GrantStatus::from_code(code), Some(*status));
        }
        assert_eq!(GrantStatus::ALL.len(), 13);
        for code in [0, 1, -14, i16::MIN, i16::MAX] {
            assert_eq!(GrantStatus::from_code(code), None, "{code}");
        }
    }
}
