//! What is mapped, by IOVA (`iommu->dma_list`).

use alloc::collections::BTreeMap;

use ioctlab_chardev::PAGE_SIZE;

use crate::{IovaRange, Memory};

/// A mapping (`struct vfio_dma`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dma {
    pub(crate) range: IovaRange,
    pub(crate) memory: Memory,
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// Its address in the program isn't valid now, and is to be given anew.
    pub(crate) vaddr_invalid: bool,
}

impl Dma {
    /// Its size in bytes. Nobody can pin all of 2^64 bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.range.last.wrapping_sub(self.range.start).saturating_add(1)
    }

    /// How many pages of its space are locked.
    pub(crate) fn pages(&self) -> u64 {
        self.bytes().checked_div(PAGE_SIZE).unwrap_or(0)
    }
}

/// Mappings by their first IOVA. They don't overlap.
#[derive(Debug, Default)]
pub(crate) struct Mappings {
    by_start: BTreeMap<u64, Dma>,
}

impl Mappings {
    /// The first that has something in the range (`vfio_find_dma_first_node`).
    pub(crate) fn first_in(&self, range: IovaRange) -> Option<&Dma> {
        // At most one starts before the range and is in it.
        match self.at(range.start) {
            Some(dma) => Some(dma),
            None => self.by_start.range(range.start..=range.last).next().map(|(_, dma)| dma),
        }
    }

    /// The one that an IOVA lies in.
    pub(crate) fn at(&self, iova: u64) -> Option<&Dma> {
        let (_, dma) = self.by_start.range(..=iova).next_back()?;
        Some(dma).filter(|dma| iova <= dma.range.last)
    }

    /// Whether one lies partly in the range at its first or last IOVA, and partly not.
    pub(crate) fn cut_by(&self, range: IovaRange) -> bool {
        self.at(range.start).is_some_and(|dma| dma.range.start < range.start)
            || self.at(range.last).is_some_and(|dma| dma.range.last > range.last)
    }

    /// Those that start in the range, in order.
    pub(crate) fn starting_in(&self, range: IovaRange) -> impl Iterator<Item = &Dma> {
        self.by_start.range(range.start..=range.last).map(|(_, dma)| dma)
    }

    /// The first of them.
    pub(crate) fn first_starting_in(&self, range: IovaRange) -> Option<Dma> {
        self.starting_in(range).next().copied()
    }

    /// The same as [`Self::starting_in`], to be changed.
    pub(crate) fn starting_in_mut(&mut self, range: IovaRange) -> impl Iterator<Item = &mut Dma> {
        self.by_start.range_mut(range.start..=range.last).map(|(_, dma)| dma)
    }

    pub(crate) fn get_mut(&mut self, start: u64) -> Option<&mut Dma> {
        self.by_start.get_mut(&start)
    }

    pub(crate) fn insert(&mut self, dma: Dma) {
        self.by_start.insert(dma.range.start, dma);
    }

    pub(crate) fn remove(&mut self, start: u64) -> Option<Dma> {
        self.by_start.remove(&start)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Dma> {
        self.by_start.values()
    }
}
