//! The watches of all files. The store knows them by tokens of the kernel's own (`register_xenbus_watch`).

use alloc::{format, vec::Vec};
use ioctlab_chardev::{Errno, FileId};

/// What a watch counts for, besides its texts.
const WATCH_COST: usize = 128;

/// A watch's number, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WatchId(u64);

impl WatchId {
    /// The token that the store knows the watch by, with its NUL: at most 17 bytes, as an address in Linux.
    pub(crate) fn token(self) -> Vec<u8> {
        format!("{:X}\0", self.0).into_bytes()
    }

    /// The watch that the store means by a token, if it is one that the kernel could have made.
    fn from_token(token: &[u8]) -> Option<Self> {
        let text = core::str::from_utf8(token).ok()?;
        u64::from_str_radix(text, 16)
            .ok()
            .map(Self)
            .filter(|id| id.token().strip_suffix(b"\0") == Some(token))
    }
}

/// A watch, as its program asked for it. Neither text has a NUL.
#[derive(Debug)]
pub(crate) struct Watch {
    id: WatchId,
    pub(crate) file: FileId,
    pub(crate) path: Vec<u8>,
    pub(crate) token: Vec<u8>,
}

impl Watch {
    /// What it counts for.
    pub(crate) fn cost(&self) -> usize {
        cost(&self.path, &self.token)
    }

    pub(crate) fn id(&self) -> WatchId {
        self.id
    }
}

/// What a watch with these texts counts for.
pub(crate) fn cost(path: &[u8], token: &[u8]) -> usize {
    WATCH_COST.saturating_add(path.len()).saturating_add(token.len())
}

/// All watches, oldest first.
#[derive(Debug)]
pub(crate) struct Watches {
    list: Vec<Watch>,
    next: u64,
}

impl Watches {
    pub(crate) const fn new() -> Self {
        Self { list: Vec::new(), next: 1 }
    }

    /// Adds a watch. The same path and token may be there already.
    ///
    /// # Errors
    /// `ENOMEM`
    pub(crate) fn add(&mut self, file: FileId, path: &[u8], token: &[u8]) -> Result<WatchId, Errno> {
        let (path, token) = (copy(path)?, copy(token)?);
        self.list.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let id = WatchId(self.next);
        self.next = self.next.saturating_add(1);
        self.list.push(Watch { id, file, path, token });
        Ok(id)
    }

    /// The watch that the store means by a token (`find_watch`).
    pub(crate) fn by_token(&self, token: &[u8]) -> Option<&Watch> {
        let position = self.position(WatchId::from_token(token)?)?;
        self.list.get(position)
    }

    pub(crate) fn remove(&mut self, id: WatchId) -> Option<Watch> {
        self.position(id).map(|position| self.list.remove(position))
    }

    /// A file's newest watch with this path and token.
    pub(crate) fn find(&self, file: FileId, path: &[u8], token: &[u8]) -> Option<WatchId> {
        let matches = |watch: &&Watch| watch.file == file && watch.token == token && watch.path == path;
        self.list.iter().rev().find(matches).map(|watch| watch.id)
    }

    /// Takes a file's newest watch.
    pub(crate) fn pop(&mut self, file: FileId) -> Option<Watch> {
        let position = self.list.iter().rposition(|watch| watch.file == file)?;
        Some(self.list.remove(position))
    }

    fn position(&self, id: WatchId) -> Option<usize> {
        self.list.binary_search_by_key(&id, |watch| watch.id).ok()
    }
}

fn copy(bytes: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len()).map_err(|_| Errno::ENOMEM)?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_own_tokens_are_understood() {
        for id in [1, 9, 10, 0xabc, u64::MAX] {
            let token = WatchId(id).token();
            assert!(token.len() <= 17);
            let text = token.strip_suffix(b"\0").unwrap();
            assert_eq!(WatchId::from_token(text), Some(WatchId(id)));
        }
        for token in
            [&b""[..], b"+1", b"01", b"abc", b"g", b"10000000000000000", b"1 ", b"\xff", b"-1", b"0x1"]
        {
            assert_eq!(WatchId::from_token(token), None, "{token:?}");
        }
    }
}
