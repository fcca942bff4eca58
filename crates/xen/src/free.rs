//! Which ports are free, kept as runs: as many as there are gaps between ports in use, however large the numbers.

use alloc::collections::BTreeMap;

/// A set of port numbers from which the lowest is taken and to which any is given back, in logarithmic time.
#[derive(Debug)]
pub(crate) struct FreePorts {
    /// First of each run to its last. Runs neither touch nor overlap.
    runs: BTreeMap<u32, u32>,
}

impl FreePorts {
    /// All of `first..=last`.
    pub(crate) fn new(first: u32, last: u32) -> Self {
        Self { runs: BTreeMap::from([(first, last)]) }
    }

    /// The lowest free port.
    pub(crate) fn lowest(&self) -> Option<u32> {
        self.runs.first_key_value().map(|(first, _)| *first)
    }

    /// Takes the lowest free port out.
    pub(crate) fn take_lowest(&mut self) -> Option<u32> {
        let (first, last) = self.runs.pop_first()?;
        if first < last {
            self.runs.insert(first.saturating_add(1), last);
        }
        Some(first)
    }

    /// Gives `port`, which was taken, back.
    pub(crate) fn give_back(&mut self, port: u32) {
        // Ports stay below 2^17, so that neither sum can saturate.
        let last = self.runs.remove(&port.saturating_add(1)).unwrap_or(port);
        match self.runs.range_mut(..port).next_back() {
            Some((_, before)) if before.saturating_add(1) == port => *before = last,
            _ => {
                self.runs.insert(port, last);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn run_count(&self) -> usize {
        self.runs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_merge_on_every_side() {
        let mut free = FreePorts::new(1, 9);
        for expected in 1..=9 {
            assert_eq!(free.take_lowest(), Some(expected));
        }
        assert_eq!((free.lowest(), free.take_lowest(), free.run_count()), (None, None, 0));
        for (port, runs) in [(5, 1), (3, 2), (7, 3), (4, 2), (6, 1), (9, 2), (1, 3), (8, 2), (2, 1)] {
            free.give_back(port);
            assert_eq!(free.run_count(), runs, "after {port}");
        }
        for expected in 1..=9 {
            assert_eq!(free.lowest(), Some(expected));
            assert_eq!(free.take_lowest(), Some(expected));
        }
    }
}
