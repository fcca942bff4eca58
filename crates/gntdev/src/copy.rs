//! `GRANT_COPY`: copies from and to grants, without mapping them.
//!
//! A segment is cut at the page boundaries of the program's own memory. The parts are handed to Xen sixteen at a time, so
//! that a segment that fails as a whole leaves earlier ones undone that are still waiting, though their status says "okay".

use alloc::vec::Vec;

use ioctlab_abi::gntdev::{COPY_DEST_GRANT, COPY_SOURCE_GRANT, SEGMENT_SIZE, SEGMENT_STATUS};
use ioctlab_chardev::layout::{long, word};
use ioctlab_chardev::{Errno, PAGE_SIZE, UserMemory, UserPtr};

use crate::{GrantTable, Location, Status};

/// Parts that are handed to Xen at once (`GNTDEV_COPY_BATCH`).
const BATCH: usize = 16;
const PAGE: usize = 4096;

/// One end of a copy.
#[derive(Clone, Copy, Debug)]
enum End {
    /// A program's own memory.
    Local(UserPtr),
    /// A grant.
    Grant(Location),
}

/// A part of a segment, within a page on both sides.
#[derive(Clone, Copy, Debug)]
struct Part {
    source: End,
    dest: End,
    length: u16,
    /// Where its segment's status is.
    status: UserPtr,
}

/// Copies the segments that the argument names, and writes each one's status.
///
/// # Errors
/// `EFAULT` for the argument, a segment, its status, or memory of the program's own; `EINVAL` for a segment with no grant
/// or that leaves a grant's page.
pub(crate) fn grant_copy(
    argument: UserPtr,
    memory: &mut dyn UserMemory,
    xen: &mut dyn GrantTable,
) -> Result<(), Errno> {
    let header: [u8; 16] = memory.fetch(argument)?;
    let (count, segments) = (word(&header, 0), long(&header, 8));
    let mut batch = Batch { parts: Vec::new(), pinned: 0 };
    for index in 0..u64::from(count) {
        // As Linux computes it: an address that is none is found out when it is used.
        let at = UserPtr(segments.wrapping_add(index.wrapping_mul(SEGMENT_SIZE as u64)));
        // What is wrong with the memory of earlier segments comes before anything is done about this one.
        batch.pin(memory)?;
        batch.add(at, memory, xen)?;
    }
    batch.hand_over(memory, xen)
}

/// Parts that wait to be handed to Xen.
struct Batch {
    parts: Vec<Part>,
    /// How many of them are known to have memory that can be written.
    pinned: usize,
}

impl Batch {
    /// Adds a segment's parts.
    fn add(
        &mut self,
        at: UserPtr,
        memory: &mut dyn UserMemory,
        xen: &mut dyn GrantTable,
    ) -> Result<(), Errno> {
        let segment: [u8; SEGMENT_SIZE] = memory.fetch(at)?;
        let half = |at: usize| word(&segment, at) as u16;
        let (length, flags) = (half(16), half(18));
        let end = |at: usize, is_grant: bool| {
            let location = Location {
                reference: word(&segment, at),
                offset: half(at.saturating_add(4)),
                domain: half(at.saturating_add(6)),
            };
            if is_grant { End::Grant(location) } else { End::Local(UserPtr(long(&segment, at))) }
        };
        let source = end(0, flags & COPY_SOURCE_GRANT != 0);
        let dest = end(8, flags & COPY_DEST_GRANT != 0);
        if let (End::Local(_), End::Local(_)) = (source, dest) {
            return Err(Errno::EINVAL);
        }
        if [source, dest].iter().any(|end| leaves_page(*end, length)) {
            return Err(Errno::EINVAL);
        }
        let status = UserPtr(at.0.wrapping_add(SEGMENT_STATUS));
        memory.write(status, &0i16.to_ne_bytes())?;
        let mut done = 0;
        while done < length {
            if self.parts.len() >= BATCH {
                self.hand_over(memory, xen)?;
            }
            let (source, dest) = (advance(source, done), advance(dest, done));
            let left = length.saturating_sub(done);
            let part = Part { source, dest, length: left.min(room(source)).min(room(dest)), status };
            self.parts.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            if let End::Local(from) = source {
                memory.fetch::<1>(from)?;
            }
            self.parts.push(part);
            if self.parts.len() > 1 {
                self.pin(memory)?;
            }
            done = done.saturating_add(part.length);
        }
        Ok(())
    }

    /// Finds out whether the memory that is to be written can be. Not needed for a part that is alone in its batch if
    /// nothing follows: that is found out by writing.
    fn pin(&mut self, memory: &mut dyn UserMemory) -> Result<(), Errno> {
        for part in self.parts.iter().skip(self.pinned) {
            if let End::Local(to) = part.dest {
                memory.check_writable(to, part.length.into())?;
            }
        }
        self.pinned = self.parts.len();
        Ok(())
    }

    /// Hands all parts to Xen, and when all are done writes the status of segments that failed: of each the first.
    fn hand_over(&mut self, memory: &mut dyn UserMemory, xen: &mut dyn GrantTable) -> Result<(), Errno> {
        self.pinned = 0;
        let mut failed = Vec::new();
        for part in core::mem::take(&mut self.parts) {
            if let Err(status) = part.copy(memory, xen)? {
                failed.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                failed.push((part.status, status));
            }
        }
        for (at, status) in failed {
            if memory.fetch(at)? == [0; 2] {
                memory.write(at, &status.0.to_ne_bytes())?;
            }
        }
        Ok(())
    }
}

impl Part {
    /// Copies; the outer error is the program's memory's, the inner one Xen's.
    fn copy(
        &self,
        memory: &mut dyn UserMemory,
        xen: &mut dyn GrantTable,
    ) -> Result<Result<(), Status>, Errno> {
        let mut bounce = [0; PAGE];
        let bytes = bounce.get_mut(..usize::from(self.length)).unwrap_or_default();
        Ok(match (self.source, self.dest) {
            (End::Grant(source), End::Grant(dest)) => xen.copy_between(source, dest, self.length),
            (End::Grant(source), End::Local(to)) => match xen.copy_from(source, bytes) {
                Ok(()) => {
                    memory.write(to, bytes)?;
                    Ok(())
                }
                Err(status) => {
                    // Linux has pinned the page by now: that it can't be written comes before what Xen says.
                    memory.check_writable(to, bytes.len())?;
                    Err(status)
                }
            },
            (End::Local(from), End::Grant(dest)) => {
                memory.read(from, bytes)?;
                xen.copy_to(dest, bytes)
            }
            // Refused before it became a part.
            (End::Local(_), End::Local(_)) => return Err(Errno::EINVAL),
        })
    }
}

/// Whether a grant's page is left on the way.
fn leaves_page(end: End, length: u16) -> bool {
    match end {
        End::Grant(location) => u64::from(location.offset).saturating_add(length.into()) > PAGE_SIZE,
        End::Local(_) => false,
    }
}

fn advance(end: End, by: u16) -> End {
    match end {
        End::Local(at) => End::Local(UserPtr(at.0.wrapping_add(by.into()))),
        End::Grant(location) => {
            End::Grant(Location { offset: location.offset.saturating_add(by), ..location })
        }
    }
}

/// The bytes up to the end of the page.
fn room(end: End) -> u16 {
    match end {
        End::Local(at) => {
            let within = at.0.checked_rem(PAGE_SIZE).unwrap_or(0);
            u16::try_from(PAGE_SIZE.saturating_sub(within)).unwrap_or(u16::MAX)
        }
        // It was found to lie within one.
        End::Grant(_) => u16::MAX,
    }
}
