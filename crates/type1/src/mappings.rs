//! A container's mappings, by their IOVAs (`vfio_iommu::dma_list`).

use alloc::collections::BTreeMap;

use crate::machine::Pinned;

/// A mapping (`vfio_dma`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dma {
    pub(crate) bytes: u64,
    pub(crate) memory: Pinned,
    /// Its address is to be given anew (`vaddr_invalid`).
    pub(crate) is_invalid: bool,
}

/// All of them; they don't overlap.
#[derive(Default)]
pub(crate) struct Mappings(BTreeMap<u64, Dma>);

impl Mappings {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The first mapping that has anything of `bytes` bytes from `iova` on.
    pub(crate) fn first_in(&self, iova: u64, bytes: u64) -> Option<(u64, Dma)> {
        let before = self.0.range(..=iova).next_back().filter(|(start, dma)| end(**start, dma) > iova.into());
        let found = before.or_else(|| self.0.range(iova..).next())?;
        (u128::from(*found.0) < u128::from(iova).saturating_add(bytes.into())).then_some((*found.0, *found.1))
    }

    /// The first mapping that starts at `iova` or behind it.
    pub(crate) fn next_from(&self, iova: u64) -> Option<(u64, Dma)> {
        self.0.range(iova..).next().map(|(iova, dma)| (*iova, *dma))
    }

    pub(crate) fn insert(&mut self, iova: u64, dma: Dma) {
        self.0.insert(iova, dma);
    }

    pub(crate) fn remove(&mut self, iova: u64) -> Option<Dma> {
        self.0.remove(&iova)
    }

    pub(crate) fn get_mut(&mut self, iova: u64) -> Option<&mut Dma> {
        self.0.get_mut(&iova)
    }

    pub(crate) fn pop(&mut self) -> Option<(u64, Dma)> {
        self.0.pop_first()
    }

    /// Whether `bytes` bytes from `iova` on start or end within a mapping.
    pub(crate) fn would_split(&self, iova: u64, bytes: u64) -> bool {
        let last = iova.wrapping_add(bytes.wrapping_sub(1));
        let starts_within = self.first_in(iova, 1).is_some_and(|(start, _)| start != iova);
        let after = u128::from(last).saturating_add(1);
        starts_within || self.first_in(last, 1).is_some_and(|(start, dma)| end(start, &dma) != after)
    }
}

/// The first IOVA behind a mapping.
fn end(start: u64, dma: &Dma) -> u128 {
    u128::from(start).saturating_add(dma.bytes.into())
}
