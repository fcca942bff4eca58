//! `/dev/xen/xenbus` and the ring behind it: the wire protocol of xenstore, as `xen/include/public/io/xs_wire.h` has it.
//!
//! Integers are in the machine's byte order.

/// The size of a [`Header`], in bytes.
pub const HEADER_SIZE: usize = 16;
/// The longest payload there may be, in bytes.
pub const PAYLOAD_MAX: usize = 4096;

/// What precedes each message's payload (`xsd_sockmsg`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// One of the kinds in [`kind`].
    pub kind: u32,
    /// Chosen by whoever asks, and repeated in the answer.
    pub request: u32,
    /// The transaction that the request belongs to; 0 for none.
    pub transaction: u32,
    /// The length of the payload, in bytes.
    pub length: u32,
}

impl Header {
    /// The header in so many bytes.
    pub const fn from_bytes(bytes: [u8; HEADER_SIZE]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self {
            kind: u32::from_ne_bytes([a, b, c, d]),
            request: u32::from_ne_bytes([e, f, g, h]),
            transaction: u32::from_ne_bytes([i, j, k, l]),
            length: u32::from_ne_bytes([m, n, o, p]),
        }
    }

    /// Its bytes.
    pub const fn to_bytes(self) -> [u8; HEADER_SIZE] {
        let [a, b, c, d] = self.kind.to_ne_bytes();
        let [e, f, g, h] = self.request.to_ne_bytes();
        let [i, j, k, l] = self.transaction.to_ne_bytes();
        let [m, n, o, p] = self.length.to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
}

macro_rules! kinds {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        /// Kinds of messages (`XS_*`).
        pub mod kind {
            $(
                #[doc = $text]
                pub const $name: u32 = $number;
            )*
        }

        /// The name of a kind of message (`XS_READ`), or `None` for a number that is none.
        pub const fn kind_name(number: u32) -> Option<&'static str> {
            match number {
                $($number => Some(concat!("XS_", stringify!($name))),)*
                _ => None,
            }
        }
    };
}

kinds! {
    CONTROL = 0, "A command to the daemon itself.";
    DIRECTORY = 1, "List a node's children.";
    READ = 2, "Read a node's value.";
    GET_PERMS = 3, "Read a node's permissions.";
    WATCH = 4, "Ask to be told of changes at or below a path.";
    UNWATCH = 5, "End a watch.";
    TRANSACTION_START = 6, "Begin a transaction.";
    TRANSACTION_END = 7, "Commit (`T`) or abort (`F`) a transaction.";
    INTRODUCE = 8, "Tell the daemon of a domain.";
    RELEASE = 9, "Have the daemon forget a domain.";
    GET_DOMAIN_PATH = 10, "Ask for a domain's directory.";
    WRITE = 11, "Write a node's value.";
    MKDIR = 12, "Make an empty node.";
    RM = 13, "Remove a node and all below it.";
    SET_PERMS = 14, "Set a node's permissions.";
    WATCH_EVENT = 15, "From the daemon: a watch has fired.";
    ERROR = 16, "From the daemon: a request failed; the payload is an error's name.";
    IS_DOMAIN_INTRODUCED = 17, "Ask whether the daemon knows a domain.";
    RESUME = 18, "Tell the daemon that a domain goes on after its shutdown.";
    SET_TARGET = 19, "Give a domain the rights of another.";
    RESET_WATCHES = 21, "End all of the asking domain's watches and transactions.";
    DIRECTORY_PART = 22, "List a node's children, from an offset.";
}

/// The page that a guest's kernel and xenstored share (`xenstore_domain_interface`): offsets in bytes. The indices are
/// words that only grow; a ring's bytes are at the index modulo [`ring::SIZE`].
pub mod ring {
    /// The size of each of the two rings.
    pub const SIZE: usize = 1024;
    /// The ring of requests, from the guest.
    pub const REQUESTS: usize = 0;
    /// The ring of replies and watch events, to the guest.
    pub const REPLIES: usize = 1024;
    /// How many bytes of requests the daemon has taken.
    pub const REQUEST_CONSUMER: usize = 2048;
    /// How many bytes of requests the guest has written.
    pub const REQUEST_PRODUCER: usize = 2052;
    /// How many bytes of replies the guest has taken.
    pub const REPLY_CONSUMER: usize = 2056;
    /// How many bytes of replies the daemon has written.
    pub const REPLY_PRODUCER: usize = 2060;
    /// What the daemon can do: 1 for a connection that may begin anew, 2 for [`ERROR`].
    pub const SERVER_FEATURES: usize = 2064;
    /// 0 for connected, 1 while the guest waits for the daemon to begin anew.
    pub const CONNECTION: usize = 2068;
    /// Why the daemon listens no longer: 0 for none, 1 communication, 2 ring index, 3 protocol.
    pub const ERROR: usize = 2072;
}
