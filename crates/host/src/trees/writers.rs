//! Who has which node open for writing.
//!
//! Linux locks a node against a truncation while it is written to, and sysfs doesn't: there a write that waits is in nobody's
//! way. So each writer has a node of its own, all of the same file number. Who looks a file up is given a node that nobody
//! writes to; and who is overtaken between looking up and opening is sent back to look once more, which Linux does once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// For how long a node is kept for who was given it, while there is a writer of the same file.
const RESERVED: Duration = Duration::from_millis(50);
/// Within which a thread that was sent back is not sent back again.
const RETRY: Duration = Duration::from_secs(1);

/// The writers of one connection.
#[derive(Default)]
pub(crate) struct Writers {
    open: HashMap<u64, u32>,
    reserved: HashMap<u64, Instant>,
    sent_back: HashMap<u32, Instant>,
}

impl Writers {
    /// Whether a node is open for writing.
    pub(crate) fn has(&self, node: u64) -> bool {
        self.open.contains_key(&node)
    }

    /// Whether a node of a file that has writers may be given out.
    pub(crate) fn is_free(&self, node: u64, now: Instant) -> bool {
        let is_kept = self.reserved.get(&node).is_some_and(|since| now.duration_since(*since) < RESERVED);
        !is_kept && !self.has(node)
    }

    /// Keeps a node for who is given it.
    pub(crate) fn reserve(&mut self, node: u64, now: Instant) {
        self.reserved.retain(|_, since| now.duration_since(*since) < RESERVED);
        self.reserved.insert(node, now);
    }

    /// A thread opens a node for writing; `false` if it is to look the file up again.
    pub(crate) fn open(&mut self, node: u64, thread: u32, now: Instant) -> bool {
        self.sent_back.retain(|_, since| now.duration_since(*since) < RETRY);
        let is_back = self.sent_back.remove(&thread).is_some();
        if self.has(node) && !is_back {
            self.sent_back.insert(thread, now);
            return false;
        }
        *self.open.entry(node).or_default() += 1;
        true
    }

    /// A writer has closed.
    pub(crate) fn close(&mut self, node: u64) {
        if let Some(count) = self.open.get_mut(&node) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_one_writer() {
        let (mut writers, now) = (Writers::default(), Instant::now());
        assert!(writers.open(1, 10, now) && writers.has(1) && !writers.is_free(1, now));
        // Overtaken: sent back once, and not twice.
        assert!(!writers.open(1, 11, now));
        assert!(writers.open(1, 11, now));
        assert!(!writers.open(1, 11, now));
        // Long after that it is another open.
        assert!(!writers.open(1, 11, now + RETRY));
        writers.close(1);
        assert!(writers.has(1));
        writers.close(1);
        assert!(!writers.has(1) && writers.is_free(1, now));
        writers.close(1);
    }

    #[test]
    fn a_node_is_kept_for_a_while() {
        let (mut writers, now) = (Writers::default(), Instant::now());
        writers.reserve(2, now);
        assert!(!writers.is_free(2, now) && writers.is_free(3, now));
        assert!(writers.is_free(2, now + RESERVED));
    }
}
