//! A file's unread data: a stream of bytes that messages are added to as wholes.

use alloc::collections::VecDeque;
use ioctlab_chardev::Errno;

/// The most unread data that a file may have, in bytes. Messages that don't fit are lost.
pub const MAX_UNREAD: usize = 1 << 20;

/// An empty stream keeps no more memory than this.
const KEPT_WHEN_EMPTY: usize = 1 << 14;

/// Answers and watch events that were not read yet.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: VecDeque<u8>,
    grown: bool,
}

impl Inbox {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a message, given in parts, as a whole or not at all. Returns whether a report that the stream has grown became
    /// due (`queue_reply`).
    ///
    /// # Errors
    /// `ENOMEM`, also if it doesn't fit.
    pub(crate) fn push(&mut self, parts: &[&[u8]]) -> Result<bool, Errno> {
        let length = parts.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        if length > MAX_UNREAD.saturating_sub(self.len()) {
            return Err(Errno::ENOMEM);
        }
        self.bytes.try_reserve(length).map_err(|_| Errno::ENOMEM)?;
        for part in parts {
            self.bytes.extend(*part);
        }
        Ok(!core::mem::replace(&mut self.grown, true))
    }

    /// Copies bytes from `skip` bytes in, without taking them; returns how many.
    pub(crate) fn peek(&self, skip: usize, to: &mut [u8]) -> usize {
        let (first, second) = self.bytes.as_slices();
        let after_first = skip.saturating_sub(first.len());
        let mut copied: usize = 0;
        for part in [first.get(skip..), second.get(after_first..)].into_iter().flatten() {
            let left = to.get_mut(copied..).unwrap_or_default();
            let chunk = part.len().min(left.len());
            if let (Some(to), Some(from)) = (left.get_mut(..chunk), part.get(..chunk)) {
                to.copy_from_slice(from);
            }
            copied = copied.saturating_add(chunk);
        }
        copied
    }

    /// Takes the oldest bytes, at most as many as there are.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.bytes.drain(..bytes.min(self.bytes.len()));
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_WHEN_EMPTY {
            self.bytes = VecDeque::new();
        }
    }

    /// Whether the stream has grown since this was last asked.
    pub(crate) fn take_growth(&mut self) -> bool {
        core::mem::take(&mut self.grown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peek_sees_the_stream_from_any_place_however_it_lies() {
        for turned in 0..40_usize {
            let mut inbox = Inbox::default();
            inbox.push(&[&[0; 40]]).unwrap();
            inbox.consume(turned);
            inbox.push(&[&[1, 2], &[3]]).unwrap();
            inbox.consume(40 - turned);
            assert_eq!(inbox.len(), 3);
            for skip in 0..5 {
                for size in 0..5 {
                    let mut to = [9; 5];
                    let copied = inbox.peek(skip, &mut to[..size]);
                    let expected = [1, 2, 3].get(skip..).unwrap_or_default();
                    let expected = &expected[..expected.len().min(size)];
                    assert_eq!(&to[..copied], expected);
                    assert!(to[copied..].iter().all(|byte| *byte == 9));
                }
            }
        }
    }

    #[test]
    fn a_message_that_does_not_fit_is_refused_as_a_whole() {
        let mut inbox = Inbox::default();
        inbox.push(&[&alloc::vec![0; MAX_UNREAD - 1]]).unwrap();
        assert_eq!(inbox.push(&[&[1], &[2]]), Err(Errno::ENOMEM));
        assert_eq!(inbox.len(), MAX_UNREAD - 1);
        assert_eq!(inbox.push(&[&[1], &[]]), Ok(false));
        assert_eq!(inbox.push(&[&[1]]), Err(Errno::ENOMEM));
        inbox.consume(usize::MAX);
        assert!(inbox.bytes.capacity() == 0);
    }
}
