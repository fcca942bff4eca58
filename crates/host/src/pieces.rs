//! Which parts of an address space are pieces of mappings.

use std::collections::{BTreeMap, HashMap};

use ioctlab_kernel::{MappingId, PAGE_SIZE};

/// A part of a mapping that is in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) mapping: MappingId,
    /// Its address.
    pub(crate) start: u64,
    /// Its first page, counted from the mapping's first.
    pub(crate) first: u64,
    /// Its length in pages.
    pub(crate) pages: u64,
}

impl Piece {
    /// The first address after it.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.pages * PAGE_SIZE
    }

    /// The part of it in a range that overlaps it.
    fn within(&self, start: u64, end: u64) -> Self {
        let (start, end) = (self.start.max(start), self.end().min(end));
        let first = self.first + (start - self.start) / PAGE_SIZE;
        Self { start, first, pages: (end - start) / PAGE_SIZE, ..*self }
    }
}

/// The pieces in one address space. They don't overlap.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    by_start: BTreeMap<u64, Piece>,
    starts: HashMap<MappingId, Vec<u64>>,
}

impl Pieces {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }

    /// Adds a piece, where there is none.
    pub(crate) fn insert(&mut self, piece: Piece) {
        self.by_start.insert(piece.start, piece);
        self.starts.entry(piece.mapping).or_default().push(piece.start);
    }

    /// The pieces of a mapping.
    pub(crate) fn of(&self, mapping: MappingId) -> impl Iterator<Item = &Piece> {
        let starts = self.starts.get(&mapping).map_or(&[][..], |starts| starts);
        starts.iter().filter_map(|start| self.by_start.get(start))
    }

    /// Takes all pieces of a mapping out.
    pub(crate) fn remove(&mut self, mapping: MappingId) {
        for start in self.starts.remove(&mapping).unwrap_or_default() {
            self.by_start.remove(&start);
        }
    }

    /// The parts of pieces that lie in a range.
    pub(crate) fn overlaps(&self, start: u64, end: u64) -> impl Iterator<Item = Piece> {
        let below = self.by_start.range(..start).next_back();
        below
            .into_iter()
            .chain(self.by_start.range(start..end.max(start)))
            .filter(move |(_, piece)| piece.start < end && piece.end() > start)
            .map(move |(_, piece)| piece.within(start, end))
    }

    /// Takes what lies in a range out, and gives the parts; of a piece that reaches beyond it the rest stays.
    pub(crate) fn cut(&mut self, start: u64, end: u64) -> Vec<Piece> {
        let parts: Vec<Piece> = self.overlaps(start, end).collect();
        for part in &parts {
            let Some(whole) = self.by_start.range(..=part.start).next_back().map(|(_, piece)| *piece) else {
                continue;
            };
            self.by_start.remove(&whole.start);
            if let Some(starts) = self.starts.get_mut(&whole.mapping) {
                starts.retain(|start| *start != whole.start);
            }
            for (from, to) in [(whole.start, part.start), (part.end(), whole.end())] {
                if from < to {
                    self.insert(whole.within(from, to));
                }
            }
            if self.starts.get(&whole.mapping).is_some_and(Vec::is_empty) {
                self.starts.remove(&whole.mapping);
            }
        }
        parts
    }

    /// Moves what lies in a range to another place. What was there before was cut out.
    pub(crate) fn shift(&mut self, from: u64, to: u64, length: u64) {
        for part in self.cut(from, from + length) {
            self.insert(Piece { start: to + (part.start - from), ..part });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Which page of which mapping is at each page of a small address space.
    type Naive = Vec<Option<(u64, u64)>>;

    const SPACE: usize = 40;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(usize, usize),
        Cut(usize, usize),
        Shift(usize, usize, usize),
        Remove(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let page = 0..SPACE;
        let step = prop_oneof![
            4 => (page.clone(), 1usize..9).prop_map(|(at, pages)| Step::Insert(at, pages)),
            3 => (page.clone(), 1usize..9).prop_map(|(at, pages)| Step::Cut(at, pages)),
            3 => (page.clone(), page, 1usize..9).prop_map(|(from, to, pages)| Step::Shift(from, to, pages)),
            1 => (0u64..8).prop_map(Step::Remove),
        ];
        prop::collection::vec(step, 1..40)
    }

    fn address(page: usize) -> u64 {
        0x1_0000 + page as u64 * PAGE_SIZE
    }

    fn flatten(pieces: &Pieces) -> Naive {
        let mut space = vec![None; SPACE];
        for piece in pieces.by_start.values() {
            let at = ((piece.start - address(0)) / PAGE_SIZE) as usize;
            for page in 0..piece.pages {
                let place = &mut space[at + page as usize];
                assert_eq!(*place, None, "pieces overlap");
                *place = Some((piece.mapping.0, piece.first + page));
            }
        }
        space
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn pieces_are_where_a_map_of_all_pages_has_them(steps in steps()) {
            let (mut pieces, mut naive, mut next) = (Pieces::default(), vec![None; SPACE], 0);
            for step in steps {
                match step {
                    Step::Insert(at, pages) => {
                        let end = (at + pages).min(SPACE);
                        if naive[at..end].iter().all(Option::is_none) {
                            let pages = (end - at) as u64;
                            pieces.insert(Piece { mapping: MappingId(next), start: address(at), first: 0, pages });
                            (0..pages).for_each(|page| naive[at + page as usize] = Some((next, page)));
                            next += 1;
                        }
                    }
                    Step::Cut(at, pages) => {
                        let end = (at + pages).min(SPACE);
                        let cut = pieces.cut(address(at), address(end));
                        let taken = naive[at..end].iter_mut().filter_map(Option::take).count() as u64;
                        prop_assert_eq!(cut.iter().map(|piece| piece.pages).sum::<u64>(), taken);
                    }
                    Step::Shift(from, to, pages) => {
                        let pages = pages.min(SPACE - from).min(SPACE - to);
                        if from.abs_diff(to) >= pages {
                            pieces.cut(address(to), address(to + pages));
                            pieces.shift(address(from), address(to), pages as u64 * PAGE_SIZE);
                            for page in 0..pages {
                                naive[to + page] = naive[from + page].take();
                            }
                        }
                    }
                    Step::Remove(mapping) => {
                        pieces.remove(MappingId(mapping));
                        naive.iter_mut().for_each(|place| *place = place.take_if(|(other, _)| *other != mapping));
                    }
                }
                prop_assert_eq!(flatten(&pieces), naive.clone());
                for mapping in 0..next {
                    let there = naive.iter().flatten().filter(|(other, _)| *other == mapping).count() as u64;
                    prop_assert_eq!(pieces.of(MappingId(mapping)).map(|piece| piece.pages).sum::<u64>(), there);
                }
            }
        }
    }
}
