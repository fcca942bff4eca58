//! Where mappings are in their processes' address spaces, and what becomes of them there.
//!
//! The kernel tells of it by a userfaultfd for each address space: whoever unmaps, moves or drops a part of a mapping
//! waits until its event is read. What it doesn't tell of is the end of an address space: then each mapping's file loses
//! its last reference, which the [`Store`](crate::store::Store) notices.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};

use ioctlab_kernel::{MappingId, PAGE_SIZE};

use crate::memory;
use crate::pieces::{Piece, Pieces};
use crate::sys::userfault::{Event, Userfault};

/// An address space that mappings were made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SpaceId(pub(crate) u64);

struct Space {
    process: i32,
    faults: Userfault,
    pieces: Pieces,
}

/// A mapping's place.
struct Place {
    space: SpaceId,
    /// A fork takes it along.
    inherited: bool,
    /// It is of a device's memory.
    is_area: bool,
}

/// A mapping that was just made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) mapping: MappingId,
    /// Its address.
    pub(crate) start: u64,
    /// Its length in pages.
    pub(crate) pages: u64,
    /// A write to it is SIGBUS, whatever protection it gets.
    pub(crate) read_only: bool,
    /// Forks of the process have it, too.
    pub(crate) inherited: bool,
    /// It is of a device's memory, and not of machine memory (`VM_IO | VM_PFNMAP`).
    pub(crate) is_area: bool,
}

/// Pages of a mapping that are in their address space no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Zapped {
    pub(crate) mapping: MappingId,
    /// The first page, counted from the mapping's first.
    pub(crate) first: u64,
    pub(crate) pages: u64,
    /// Nothing of the mapping is left anywhere.
    pub(crate) was_last: bool,
}

/// All address spaces with mappings.
#[derive(Default)]
pub(crate) struct Spaces {
    spaces: HashMap<SpaceId, Space>,
    of_process: HashMap<i32, SpaceId>,
    places: HashMap<MappingId, Place>,
    next: u64,
}

impl Spaces {
    /// The address space of a process, if it is known.
    pub(crate) fn of(&self, process: i32) -> Option<SpaceId> {
        self.of_process.get(&process).copied()
    }

    /// A process's address space is watched from here on.
    pub(crate) fn add(&mut self, process: i32, faults: Userfault) -> SpaceId {
        let id = SpaceId(self.next);
        self.next += 1;
        self.forget(process);
        self.spaces.insert(id, Space { process, faults, pieces: Pieces::default() });
        self.of_process.insert(process, id);
        id
    }

    /// A process has another address space from here on, or none. What is mapped in the old one stays there, as others
    /// may share it.
    pub(crate) fn forget(&mut self, process: i32) {
        if let Some(id) = self.of_process.remove(&process) {
            self.drop_if_unused(id);
        }
    }

    fn drop_if_unused(&mut self, id: SpaceId) {
        let is_current = |space: &Space| self.of_process.get(&space.process) == Some(&id);
        if !self.spaces.get(&id).is_some_and(|space| !space.pieces.is_empty() || is_current(space)) {
            self.spaces.remove(&id);
        }
    }

    /// A mapping was made in an address space.
    ///
    /// # Errors
    /// If the address space can't be watched (any more).
    pub(crate) fn place(&mut self, id: SpaceId, made: Made) -> std::io::Result<()> {
        let Made { mapping, start, pages, read_only, inherited, is_area } = made;
        let space = self.spaces.get_mut(&id).ok_or(std::io::ErrorKind::NotFound)?;
        space.faults.watch(start, pages * PAGE_SIZE)?;
        if read_only {
            space.faults.refuse_writes(start, pages * PAGE_SIZE)?;
        }
        space.pieces.insert(Piece { mapping, start, first: 0, pages });
        self.places.insert(mapping, Place { space: id, inherited, is_area });
        Ok(())
    }

    /// Nothing is left of a mapping.
    pub(crate) fn remove(&mut self, mapping: MappingId) {
        let Some(place) = self.places.remove(&mapping) else { return };
        if let Some(space) = self.spaces.get_mut(&place.space) {
            space.pieces.remove(mapping);
        }
        self.drop_if_unused(place.space);
    }

    /// The process that a mapping was made in.
    pub(crate) fn process_of(&self, mapping: MappingId) -> Option<i32> {
        let place = self.places.get(&mapping)?;
        self.spaces.get(&place.space).map(|space| space.process)
    }

    /// Whether a device is mapped at an address.
    pub(crate) fn has_mapping_at(&self, id: SpaceId, address: u64) -> bool {
        self.spaces.get(&id).is_some_and(|space| space.pieces.overlaps(address, address + 1).next().is_some())
    }

    /// Whether a part of a range is a mapping of a device's memory.
    pub(crate) fn has_area_within(&self, id: SpaceId, start: u64, end: u64) -> bool {
        let Some(space) = self.spaces.get(&id) else { return false };
        space
            .pieces
            .overlaps(start, end)
            .any(|piece| self.places.get(&piece.mapping).is_some_and(|p| p.is_area))
    }

    /// Whether a page of a mapping is in its address space no longer, by what is mapped there now. `device` is the number
    /// of the file system that mappings are of.
    pub(crate) fn has_lost_page(&self, id: SpaceId, mapping: MappingId, page: u64, device: u64) -> bool {
        let Some(space) = self.spaces.get(&id) else { return false };
        space.pieces.of(mapping).any(|piece| {
            let within = page.checked_sub(piece.first).filter(|within| *within < piece.pages);
            within.is_some_and(|within| {
                memory::mapping_at(space.process, piece.start + within * PAGE_SIZE, device) != Some(mapping)
            })
        })
    }

    /// Whether nothing is left of a mapping in its address space, and no other has it.
    pub(crate) fn has_lost_all(&self, id: SpaceId, mapping: MappingId, device: u64) -> bool {
        let Some(place) = self.places.get(&mapping).filter(|place| place.space == id) else { return false };
        let Some(space) = self.spaces.get(&id) else { return false };
        let is_here = space.pieces.of(mapping).any(|piece| {
            let mut pages = (piece.start..piece.end()).step_by(PAGE_SIZE as usize);
            pages.any(|address| memory::mapping_at(space.process, address, device) == Some(mapping))
        });
        let may_be_elsewhere = place.inherited && memory::is_mapped_elsewhere(space.process, mapping, device);
        !is_here && !may_be_elsewhere
    }

    /// Where an address space's events come from.
    pub(crate) fn events(&self, id: SpaceId) -> Option<BorrowedFd<'_>> {
        self.spaces.get(&id).map(|space| space.faults.as_fd())
    }

    /// Whether something has happened in an address space, and whoever did it waits.
    pub(crate) fn has_event(&self, id: SpaceId) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let Some(events) = self.events(id) else { return false };
        let now = rustix::time::Timespec::default();
        poll(&mut [PollFd::from_borrowed_fd(events, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// The next thing that happened in an address space; whoever did it goes on. `None` if nothing has happened.
    pub(crate) fn next_event(&mut self, id: SpaceId) -> Option<Vec<Zapped>> {
        let space = self.spaces.get_mut(&id)?;
        let cut = match space.faults.next()? {
            Event::Unmapped { start, end } => space.pieces.cut(start, end),
            // It was trapped, and answered for, before it happened.
            Event::Removed { .. } => Vec::new(),
            Event::Moved { from, to, length } => {
                space.pieces.shift(from, to, length);
                Vec::new()
            }
        };
        let pieces = &space.pieces;
        let zapped = |part: Piece| {
            // A fork may have it, too. Then its file says when it has gone everywhere.
            let may_be_elsewhere = self.places.get(&part.mapping).is_none_or(|place| place.inherited);
            let was_last = !may_be_elsewhere && pieces.of(part.mapping).next().is_none();
            Zapped { mapping: part.mapping, first: part.first, pages: part.pages, was_last }
        };
        Some(cut.into_iter().map(zapped).collect())
    }

    /// What is in a range is about to be dropped from the page tables: the pages stay mapped, but it is SIGBUS to touch
    /// them.
    pub(crate) fn drop_pages(&self, id: SpaceId, start: u64, end: u64) -> Vec<Zapped> {
        let Some(space) = self.spaces.get(&id) else { return Vec::new() };
        let zapped = |part: Piece| {
            // An error means that the address space has gone in the meantime.
            let _ = space.faults.refuse_missing(part.start, part.pages * PAGE_SIZE);
            Zapped { mapping: part.mapping, first: part.first, pages: part.pages, was_last: false }
        };
        space.pieces.overlaps(start, end).map(zapped).collect()
    }
}
