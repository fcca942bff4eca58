//! A map whose allocations can fail, and can be made apart from its changes.

use alloc::vec::Vec;
use ioctlab_chardev::Errno;

/// A map in ascending order of keys, in one block of memory.
///
/// Inserting uses room that was made before ([`SortedMap::reserve_one`], or [`SortedMap::lacking`] and
/// [`SortedMap::adopt`]), and removing frees nothing: neither may happen while interrupts are off.
#[derive(Debug)]
pub(crate) struct SortedMap<K, V> {
    entries: Vec<(K, V)>,
}

impl<K: Ord + Copy, V> SortedMap<K, V> {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn contains(&self, key: K) -> bool {
        self.position(key).is_ok()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = K> {
        self.entries.iter().map(|(key, _)| *key)
    }

    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let position = self.position(key).ok()?;
        self.entries.get_mut(position).map(|(_, value)| value)
    }

    /// The entries whose keys lie between two keys, both included, in order.
    pub(crate) fn between_mut(&mut self, low: K, high: K) -> impl Iterator<Item = (K, &mut V)> {
        let from = self.entries.partition_point(|(key, _)| *key < low);
        self.entries
            .iter_mut()
            .skip(from)
            .take_while(move |(key, _)| *key <= high)
            .map(|(key, value)| (*key, value))
    }

    /// Adds an entry, or replaces the value of one that is there. Room was made before.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        match self.position(key) {
            Ok(position) => {
                if let Some((_, old)) = self.entries.get_mut(position) {
                    *old = value;
                }
            }
            Err(position) => self.entries.insert(position, (key, value)),
        }
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        let position = self.position(key).ok()?;
        Some(self.entries.remove(position).1)
    }

    /// Makes room for one more entry.
    pub(crate) fn reserve_one(&mut self) -> Result<(), Errno> {
        self.entries.try_reserve(1).map_err(|_| Errno::ENOMEM)
    }

    /// How large a block [`SortedMap::adopt`] needs for one more entry to fit, or `None` if there is room.
    pub(crate) fn lacking(&self) -> Option<usize> {
        let full = self.entries.len() == self.entries.capacity();
        full.then(|| self.entries.len().saturating_mul(2).max(8))
    }

    /// Moves the entries to a larger, empty block, and leaves the old block in its place to be dropped later.
    /// A block too small is left alone.
    pub(crate) fn adopt(&mut self, block: &mut Vec<(K, V)>) {
        if block.is_empty() && block.capacity() > self.entries.len() {
            block.append(&mut self.entries);
            core::mem::swap(block, &mut self.entries);
        }
    }

    fn position(&self, key: K) -> Result<usize, usize> {
        self.entries.binary_search_by(|(other, _)| other.cmp(&key))
    }
}
