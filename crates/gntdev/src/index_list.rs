//! A file's maps by index, and where the next one goes.
//!
//! Linux walks a sorted list: a new map goes into the first gap that is *larger* than the map, or else behind the last
//! one. The same place is found here without a walk.

use alloc::collections::{BTreeMap, BTreeSet};

/// The maps of a file: index and count, in pages.
#[derive(Debug, Default)]
pub(crate) struct IndexList<T> {
    maps: BTreeMap<u64, (u64, T)>,
    /// The gaps below maps, by size.
    gaps: BTreeMap<u64, BTreeSet<u64>>,
}

impl<T: Copy> IndexList<T> {
    pub(crate) const fn new() -> Self {
        Self { maps: BTreeMap::new(), gaps: BTreeMap::new() }
    }

    /// Where a map of `count` pages goes (`gntdev_add_map`).
    fn vacancy(&self, count: u64) -> u64 {
        let gap = self.gaps.range(count.saturating_add(1)..).filter_map(|(_, starts)| starts.first()).min();
        gap.copied().unwrap_or_else(|| self.end())
    }

    fn end(&self) -> u64 {
        self.maps.last_key_value().map_or(0, |(index, (count, _))| index.saturating_add(*count))
    }

    /// The end of the last map below `index`.
    fn end_below(&self, index: u64) -> u64 {
        self.maps.range(..index).next_back().map_or(0, |(below, (count, _))| below.saturating_add(*count))
    }

    /// Adds a map of `count` pages; returns its index.
    pub(crate) fn add(&mut self, count: u64, map: T) -> u64 {
        let index = self.vacancy(count);
        let next = self.maps.range(index..).next().map(|(next, _)| *next);
        self.maps.insert(index, (count, map));
        if let Some(next) = next {
            let below = self.end_below(index);
            self.close_gap(below, next);
            self.open_gap(below, index);
            self.open_gap(index.saturating_add(count), next);
        }
        index
    }

    /// Takes out the map at `index`, if there is one of `count` pages; a count of 0 is any.
    pub(crate) fn remove(&mut self, index: u64, count: u64) -> Option<T> {
        let (pages, map) = *self.maps.get(&index)?;
        if count != 0 && count != pages {
            return None;
        }
        self.maps.remove(&index);
        let below = self.end_below(index);
        self.close_gap(below, index);
        if let Some((next, _)) = self.maps.range(index..).next() {
            let next = *next;
            self.close_gap(index.saturating_add(pages), next);
            self.open_gap(below, next);
        }
        Some(map)
    }

    /// The map of `count` pages at `index`.
    pub(crate) fn find(&self, index: u64, count: u64) -> Option<T> {
        self.maps.get(&index).filter(|(pages, _)| *pages == count).map(|(_, map)| *map)
    }

    /// The map that a page belongs to, and its index.
    pub(crate) fn covering(&self, page: u64) -> Option<(u64, T)> {
        let (index, (count, map)) = self.maps.range(..=page).next_back()?;
        (page < index.saturating_add(*count)).then_some((*index, *map))
    }

    /// All maps, lowest index first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = T> {
        self.maps.values().map(|(_, map)| *map)
    }

    fn open_gap(&mut self, start: u64, end: u64) {
        if start < end {
            self.gaps.entry(end.saturating_sub(start)).or_default().insert(start);
        }
    }

    fn close_gap(&mut self, start: u64, end: u64) {
        let size = end.saturating_sub(start);
        if let Some(starts) = self.gaps.get_mut(&size) {
            starts.remove(&start);
            if starts.is_empty() {
                self.gaps.remove(&size);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// The list as Linux walks it: index and count, sorted.
    #[derive(Default)]
    struct Walked(Vec<(u64, u64)>);

    impl Walked {
        fn add(&mut self, count: u64) -> u64 {
            let mut index = 0;
            for (place, (other, pages)) in self.0.iter().enumerate() {
                if index + count < *other {
                    self.0.insert(place, (index, count));
                    return index;
                }
                index = other + pages;
            }
            self.0.push((index, count));
            index
        }
    }

    #[test]
    fn a_gap_of_just_the_size_is_left_alone() {
        let mut list = IndexList::new();
        for (map, index) in [0, 1, 2, 3].into_iter().enumerate() {
            assert_eq!(list.add(1, map), index);
        }
        assert_eq!(list.remove(1, 1), Some(1));
        assert_eq!(list.add(1, 4), 4);
        assert_eq!(list.remove(2, 0), Some(2), "a count of 0 is any");
        assert_eq!(list.add(1, 5), 1, "two pages are more than one");
        assert_eq!((list.covering(1), list.covering(2)), (Some((1, 5)), None));
        assert_eq!((list.find(1, 1), list.find(1, 2), list.remove(3, 2)), (Some(5), None, None));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn maps_go_where_linuxs_walk_puts_them(steps in prop::collection::vec((0u64..6, any::<prop::sample::Index>()), 1..120)) {
            let (mut list, mut walked) = (IndexList::new(), Walked::default());
            for (step, (count, pick)) in steps.into_iter().enumerate() {
                if count > 0 {
                    prop_assert_eq!(list.add(count, step), walked.add(count));
                } else if !walked.0.is_empty() {
                    let (index, count) = walked.0.remove(pick.index(walked.0.len()));
                    prop_assert!(list.remove(index, count).is_some());
                }
                let listed: Vec<(u64, u64)> = list.maps.iter().map(|(index, (count, _))| (*index, *count)).collect();
                prop_assert_eq!(&listed, &walked.0);
            }
        }
    }
}
