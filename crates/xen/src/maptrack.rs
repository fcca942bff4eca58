//! What a domain has mapped of others' grants, and the handles it knows them by.

use crate::{DomainId, GrantAccess, GrantHandle, GrantRef};
use alloc::collections::{BTreeMap, VecDeque};

/// Handles in a frame of Xen's table (`MAPTRACK_PER_PAGE`: a page of 16-byte entries).
const PER_FRAME: u32 = 256;

/// A grant that is mapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapping {
    pub(crate) granter: DomainId,
    pub(crate) reference: GrantRef,
    pub(crate) access: GrantAccess,
}

/// The mappings of a domain.
///
/// Xen keeps a list of free handles for each vcpu; here there is one, as if all calls came from one vcpu. It is first in,
/// first out, and its last handle is never taken, so that a domain has one mapping less than its frames have room for.
#[derive(Debug)]
pub(crate) struct Maptrack {
    used: BTreeMap<GrantHandle, Mapping>,
    free: VecDeque<GrantHandle>,
    frames: u32,
    max_frames: u32,
}

impl Maptrack {
    pub(crate) fn new(max_frames: u32) -> Self {
        // Handles are of 32 bits.
        let max_frames = max_frames.min(u32::MAX / PER_FRAME);
        Self { used: BTreeMap::new(), free: VecDeque::new(), frames: 0, max_frames }
    }

    /// Takes a free handle (`get_maptrack_handle`).
    pub(crate) fn take(&mut self) -> Option<GrantHandle> {
        if self.free.len() >= 2 {
            return self.free.pop_front();
        }
        self.add_frame()
    }

    /// Adds a frame, whose first handle is taken and whose others go before the one that is left.
    fn add_frame(&mut self) -> Option<GrantHandle> {
        if self.frames >= self.max_frames {
            return None;
        }
        self.free.try_reserve(PER_FRAME as usize).ok()?;
        let first = self.frames.saturating_mul(PER_FRAME);
        let end = first.saturating_add(PER_FRAME);
        let last = self.free.pop_front();
        self.free.extend((first.saturating_add(1)..end).map(GrantHandle));
        self.free.extend(last);
        self.frames = self.frames.saturating_add(1);
        Some(GrantHandle(first))
    }

    /// Gives a handle back (`put_maptrack_handle`).
    pub(crate) fn give_back(&mut self, handle: GrantHandle) {
        self.free.push_back(handle);
    }

    /// Puts a handle that was taken to use.
    pub(crate) fn fill(&mut self, handle: GrantHandle, mapping: Mapping) {
        self.used.insert(handle, mapping);
    }

    /// Ends a mapping, and frees its handle.
    pub(crate) fn remove(&mut self, handle: GrantHandle) -> Option<Mapping> {
        let mapping = self.used.remove(&handle)?;
        self.give_back(handle);
        Some(mapping)
    }

    /// Any mapping's handle.
    pub(crate) fn first(&self) -> Option<GrantHandle> {
        self.used.first_key_value().map(|(handle, _)| *handle)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.used.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_come_first_in_first_out_and_one_stays() {
        let mut maptrack = Maptrack::new(2);
        for expected in 0..255 {
            assert_eq!(maptrack.take(), Some(GrantHandle(expected)));
        }
        maptrack.give_back(GrantHandle(7));
        assert_eq!(maptrack.take(), Some(GrantHandle(255)), "7 went behind it");
        for expected in (256..512).chain([]) {
            assert_eq!(maptrack.take(), Some(GrantHandle(expected)));
        }
        assert_eq!(maptrack.take(), None, "the last, 7, isn't handed out");
        maptrack.give_back(GrantHandle(9));
        assert_eq!((maptrack.take(), maptrack.take()), (Some(GrantHandle(7)), None));
        assert_eq!(Maptrack::new(0).take(), None);
    }
}
