//! Which frames of machine memory are free: runs of them, and all above the highest that was ever used.

use alloc::collections::{BTreeMap, BTreeSet};

/// The free frames below a limit.
///
/// Finding a run takes as many steps as there are different lengths of runs, of which `n` frames can have no more than the
/// root of `2 n`; all else is logarithmic.
#[derive(Debug)]
pub(crate) struct FreeFrames {
    /// First of each run to its length. Runs neither touch nor overlap, nor touch `fresh`.
    runs: BTreeMap<u64, u64>,
    /// The same, by length.
    by_length: BTreeMap<u64, BTreeSet<u64>>,
    /// How many frames are in runs.
    in_runs: u64,
    /// Frames from here to the limit are free as well.
    fresh: u64,
    limit: u64,
}

impl FreeFrames {
    /// All of `0..limit`.
    pub(crate) const fn new(limit: u64) -> Self {
        Self { runs: BTreeMap::new(), by_length: BTreeMap::new(), in_runs: 0, fresh: 0, limit }
    }

    /// Sets the limit, though not so low that a frame that isn't free would be beyond.
    pub(crate) fn set_limit(&mut self, limit: u64) {
        self.limit = limit.max(self.fresh);
    }

    /// How many are free.
    pub(crate) fn len(&self) -> u64 {
        self.in_runs.saturating_add(self.fresh_len())
    }

    /// Takes the lowest `length` (at least 1) frames that are in a row; returns the first of them.
    pub(crate) fn take_run(&mut self, length: u64) -> Option<u64> {
        let lowest = if length == 1 {
            self.runs.first_key_value().map(|(first, _)| *first)
        } else {
            self.by_length.range(length..).filter_map(|(_, firsts)| firsts.first().copied()).min()
        };
        match lowest {
            Some(first) => {
                let whole = self.remove_run(first)?;
                if whole > length {
                    self.insert_run(first.saturating_add(length), whole.saturating_sub(length));
                }
                Some(first)
            }
            None if length <= self.fresh_len() => {
                let first = self.fresh;
                self.fresh = first.saturating_add(length);
                Some(first)
            }
            None => None,
        }
    }

    /// Gives `frame`, which was taken, back.
    pub(crate) fn give_back(&mut self, frame: u64) {
        // Frames stay below 2^32, so that no sum can saturate.
        let (mut first, mut length) = (frame, 1u64);
        let before = self.runs.range(..frame).next_back().map(|(first, length)| (*first, *length));
        if let Some((start, len)) = before
            && start.saturating_add(len) == frame
        {
            self.remove_run(start);
            (first, length) = (start, len.saturating_add(1));
        }
        let next = frame.saturating_add(1);
        if let Some(after) = self.remove_run(next) {
            length = length.saturating_add(after);
        }
        if first.saturating_add(length) == self.fresh {
            self.fresh = first;
        } else {
            self.insert_run(first, length);
        }
    }

    fn fresh_len(&self) -> u64 {
        self.limit.saturating_sub(self.fresh)
    }

    fn insert_run(&mut self, first: u64, length: u64) {
        self.runs.insert(first, length);
        self.by_length.entry(length).or_default().insert(first);
        self.in_runs = self.in_runs.saturating_add(length);
    }

    fn remove_run(&mut self, first: u64) -> Option<u64> {
        let length = self.runs.remove(&first)?;
        if let Some(firsts) = self.by_length.get_mut(&length) {
            firsts.remove(&first);
            if firsts.is_empty() {
                self.by_length.remove(&length);
            }
        }
        self.in_runs = self.in_runs.saturating_sub(length);
        Some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_merge_on_every_side() {
        let mut free = FreeFrames::new(9);
        assert_eq!((free.take_run(10), free.take_run(9), free.take_run(1)), (None, Some(0), None));
        for (frame, runs) in [(4, 1), (2, 2), (6, 3), (3, 2), (5, 1), (8, 1), (0, 2), (7, 1), (1, 0)] {
            free.give_back(frame);
            assert_eq!((free.runs.len(), free.by_length.values().flatten().count()), (runs, runs), "{frame}");
        }
        assert_eq!((free.len(), free.fresh), (9, 0));
    }

    #[test]
    fn the_lowest_run_that_is_long_enough() {
        let mut free = FreeFrames::new(20);
        assert_eq!(free.take_run(20), Some(0));
        for frame in [1, 3, 4, 5, 7, 8, 12, 13, 14, 15] {
            free.give_back(frame);
        }
        assert_eq!(free.take_run(5), None);
        assert_eq!(free.take_run(2), Some(3), "though 7 and 8 would leave nothing over");
        assert_eq!(free.take_run(3), Some(12));
        assert_eq!(free.take_run(2), Some(7));
        assert_eq!([(); 4].map(|()| free.take_run(1)), [Some(1), Some(5), Some(15), None]);
    }

    #[test]
    fn the_limit_spares_what_is_taken() {
        let mut free = FreeFrames::new(10);
        free.take_run(5);
        free.set_limit(3);
        assert_eq!(free.len(), 0);
        free.give_back(4);
        assert_eq!(free.len(), 1, "the limit stays as it was set");
        free.set_limit(3);
        assert_eq!(free.len(), 0);
        free.set_limit(7);
        assert_eq!((free.len(), free.take_run(3)), (3, Some(4)));
    }
}
