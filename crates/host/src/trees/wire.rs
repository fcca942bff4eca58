//! The messages of FUSE (`include/uapi/linux/fuse.h`), as far as trees have use for them.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;

use ioctlab_abi::Errno;

/// The protocol's version; a kernel with a later minor one speaks this one, too.
const MAJOR: u32 = 7;
const MINOR: u32 = 31;
/// Lookups and listings in one directory don't wait for each other.
const PARALLEL_DIROPS: u32 = 1 << 18;
/// Nothing of an open file is cached.
const DIRECT_IO: u32 = 1;
/// Writes to one file don't wait for each other.
const PARALLEL_WRITES: u32 = 1 << 6;
/// The most bytes that are written at once. More than an attribute takes: a longer write then comes to its end where
/// sysfs's does.
const MAX_WRITE: u32 = 8192;
/// What a request can be long, with room to spare.
pub(crate) const REQUEST_MAX: usize = 4 * MAX_WRITE as usize;

/// What `SETATTR` changes.
const MODE: u32 = 1;
const USER: u32 = 1 << 1;
const GROUP: u32 = 1 << 2;

/// A request.
pub(crate) struct Request<'a> {
    /// Its number, for the reply.
    pub(crate) unique: u64,
    /// The file that it is about.
    pub(crate) node: u64,
    /// The calling thread, 0 if it has no number here.
    pub(crate) thread: u32,
    pub(crate) operation: Operation<'a>,
}

/// What is asked for.
pub(crate) enum Operation<'a> {
    Init {
        flags: u32,
    },
    Lookup {
        name: &'a [u8],
    },
    GetAttributes,
    SetAttributes(Change),
    ReadLink,
    Open {
        flags: u32,
    },
    Read {
        offset: u64,
        size: u32,
    },
    Write {
        flags: u32,
        offset: u64,
        bytes: &'a [u8],
    },
    List {
        offset: u64,
        size: u32,
    },
    ListXattr {
        size: u32,
    },
    StatFs,
    /// A new regular file, by way of `open`.
    Create,
    /// Any other change of a directory.
    Rearrange,
    OpenDirectory,
    /// The last close of an open file, which was opened with these flags.
    Close {
        flags: u32,
    },
    /// The last close of a directory, or the end of the mount: there is nothing to do.
    Nothing,
    /// The kernel has lost interest in a file, and hears nothing of it.
    Forget,
    /// A signal has come for who waits for the answer to this request.
    Interrupt {
        unique: u64,
    },
    /// Anything that trees don't have, for which the kernel has an answer of its own.
    Other,
}

/// What a change of attributes sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Permission bits.
    pub(crate) permissions: Option<u32>,
    pub(crate) user: Option<u32>,
    pub(crate) group: Option<u32>,
}

/// What `stat` shows of a file.
pub(crate) struct Attributes {
    pub(crate) number: u64,
    /// In bytes.
    pub(crate) size: u64,
    /// Type and permissions.
    pub(crate) mode: u32,
    pub(crate) links: u32,
    pub(crate) user: u32,
    pub(crate) group: u32,
    /// Of its making, since the epoch.
    pub(crate) time: std::time::Duration,
}

impl<'a> Request<'a> {
    /// Takes a message apart; `None` if it is none.
    pub(crate) fn parse(message: &'a [u8]) -> Option<Self> {
        let (head, body) = message.split_at_checked(40)?;
        let operation = match word(head, 4)? {
            1 => Operation::Lookup { name: body.split(|byte| *byte == 0).next()? },
            2 | 42 => Operation::Forget,
            3 => Operation::GetAttributes,
            4 => Operation::SetAttributes(change(body)?),
            5 => Operation::ReadLink,
            6 | 8..=13 | 45 => Operation::Rearrange,
            14 => Operation::Open { flags: word(body, 0)? },
            15 => Operation::Read { offset: long(body, 8)?, size: word(body, 16)? },
            16 => {
                let length = word(body, 16)? as usize;
                let bytes = body.get(40..)?.get(..length)?;
                Operation::Write { flags: word(body, 32)?, offset: long(body, 8)?, bytes }
            }
            17 => Operation::StatFs,
            18 => Operation::Close { flags: word(body, 8)? },
            29 | 38 => Operation::Nothing,
            23 => Operation::ListXattr { size: word(body, 0)? },
            26 => Operation::Init { flags: word(body, 12)? },
            27 => Operation::OpenDirectory,
            28 => Operation::List { offset: long(body, 8)?, size: word(body, 16)? },
            35 => Operation::Create,
            36 => Operation::Interrupt { unique: long(body, 0)? },
            _ => Operation::Other,
        };
        Some(Self { unique: long(head, 8)?, node: long(head, 16)?, thread: word(head, 32)?, operation })
    }
}

fn change(body: &[u8]) -> Option<Change> {
    let valid = word(body, 0)?;
    let field = |bit, at| if valid & bit == 0 { None } else { word(body, at) };
    Some(Change {
        permissions: field(MODE, 68).map(|mode| mode & 0o7777),
        user: field(USER, 76),
        group: field(GROUP, 80),
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Answers a request.
///
/// # Errors
/// `ENOENT` if nobody waits for it any more; `ENODEV` after the end of the mount.
pub(crate) fn reply(device: impl AsFd, unique: u64, result: Result<&[u8], Errno>) -> io::Result<()> {
    let (error, body) = match result {
        Ok(body) => (0, body),
        Err(errno) => (-errno.raw(), &[][..]),
    };
    let mut head = Bytes::default();
    head.word(16 + body.len() as u32).word(error as u32).long(unique);
    rustix::io::writev(device, &[IoSlice::new(&head.0), IoSlice::new(body)])?;
    Ok(())
}

/// The answer to `INIT`, to a kernel that can do `flags`.
pub(crate) fn init(flags: u32) -> Vec<u8> {
    let mut body = Bytes::default();
    body.word(MAJOR).word(MINOR).word(0).word(flags & PARALLEL_DIROPS);
    // The numbers of requests in the background are the kernel's choice; times are exact to the nanosecond.
    body.word(0).word(MAX_WRITE).word(1);
    body.0.resize(64, 0);
    body.0
}

/// The answer to `LOOKUP`: this node, of which nothing is cached.
pub(crate) fn entry(node: u64, attributes: &Attributes) -> Vec<u8> {
    let mut body = Bytes::default();
    body.long(node).long(0).long(0).long(0).long(0);
    body.attributes(attributes);
    body.0
}

/// The answer to `GETATTR` and `SETATTR`, of which nothing is cached.
pub(crate) fn attributes(attributes: &Attributes) -> Vec<u8> {
    let mut body = Bytes::default();
    body.long(0).long(0).attributes(attributes);
    body.0
}

/// The answer to `OPEN`.
pub(crate) fn opened() -> Vec<u8> {
    let mut body = Bytes::default();
    body.long(0).word(DIRECT_IO | PARALLEL_WRITES).word(0);
    body.0
}

/// The answer to `OPENDIR`.
pub(crate) fn opened_directory() -> Vec<u8> {
    vec![0; 16]
}

/// The answer to `WRITE`.
pub(crate) fn written(length: usize) -> Vec<u8> {
    let mut body = Bytes::default();
    body.word(length as u32).word(0);
    body.0
}

/// The answer to `LISTXATTR`, with room for `size` bytes: there are none.
pub(crate) fn no_xattrs(size: u32) -> Vec<u8> {
    vec![0; if size == 0 { 8 } else { 0 }]
}

/// The answer to `STATFS`, as sysfs has it: pages, names of 255 bytes.
pub(crate) fn file_system() -> Vec<u8> {
    let mut body = Bytes::default();
    body.long(0).long(0).long(0).long(0).long(0).word(4096).word(255).word(4096);
    body.0.resize(80, 0);
    body.0
}

/// Adds a name to a listing of at most `size` bytes; `false` if it has no room. `next` is the offset of what follows.
pub(crate) fn list(listing: &mut Vec<u8>, size: u32, number: u64, next: u64, mode: u32, name: &str) -> bool {
    let mut entry = Bytes::default();
    entry.long(number).long(next).word(name.len() as u32).word(mode >> 12);
    entry.0.extend_from_slice(name.as_bytes());
    entry.0.resize(entry.0.len().next_multiple_of(8), 0);
    let fits = listing.len() + entry.0.len() <= size as usize;
    if fits {
        listing.append(&mut entry.0);
    }
    fits
}

/// A message in the making.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn word(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    fn long(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    fn attributes(&mut self, of: &Attributes) -> &mut Self {
        let (seconds, nanoseconds) = (of.time.as_secs(), of.time.subsec_nanos());
        self.long(of.number).long(of.size).long(0);
        self.long(seconds).long(seconds).long(seconds);
        self.word(nanoseconds).word(nanoseconds).word(nanoseconds);
        self.word(of.mode).word(of.links).word(of.user).word(of.group);
        self.word(0).word(4096).word(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(opcode: u32, body: &[u8]) -> Vec<u8> {
        let mut message = Bytes::default();
        message.word(40 + body.len() as u32).word(opcode).long(7).long(9).word(0).word(0).word(1234).word(0);
        message.0.extend_from_slice(body);
        message.0
    }

    #[test]
    fn requests_are_taken_apart() {
        let message = request(1, b"vendor\0");
        let parsed = Request::parse(&message).unwrap();
        assert_eq!((parsed.unique, parsed.node, parsed.thread), (7, 9, 1234));
        assert!(matches!(parsed.operation, Operation::Lookup { name: b"vendor" }));
        let mut body = Bytes::default();
        body.long(0).long(64).word(3).word(0).long(0).word(0o2001).word(0);
        body.0.extend_from_slice(b"abcd");
        let message = request(16, &body.0);
        let write = Request::parse(&message).unwrap().operation;
        assert!(matches!(write, Operation::Write { flags: 0o2001, offset: 64, bytes: b"abc" }));
    }

    #[test]
    fn what_is_cut_short_is_no_request() {
        let mut body = Bytes::default();
        body.long(0).long(0).word(5).word(0).long(0).word(0).word(0);
        body.0.extend_from_slice(b"abcd");
        assert!(Request::parse(&request(16, &body.0)).is_none());
        assert!(Request::parse(&request(15, &[0; 16])).is_none());
        assert!(Request::parse(&[0; 39]).is_none());
    }

    #[test]
    fn answers_have_the_kernels_sizes() {
        let some = Attributes {
            number: 1,
            size: 2,
            mode: 3,
            links: 4,
            user: 5,
            group: 6,
            time: std::time::Duration::new(7, 8),
        };
        assert_eq!(entry(1, &some).len(), 128);
        assert_eq!(attributes(&some).len(), 104);
        assert_eq!((init(0).len(), opened().len(), written(1).len(), file_system().len()), (64, 16, 8, 80));
        let mut listing = Vec::new();
        assert!(list(&mut listing, 64, 1, 1, 0o040_755, "12345678"));
        assert!(list(&mut listing, 64, 1, 1, 0o040_755, "1") && listing.len() == 64);
        assert!(!list(&mut listing, 64, 1, 1, 0o040_755, "1") && listing.len() == 64);
    }
}
