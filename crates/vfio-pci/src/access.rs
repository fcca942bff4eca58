//! Accesses to a BAR or the ROM, which the layer above carries out, and how they are split (`do_io_rw`).

use alloc::vec::Vec;
use core::ops::Range;

use ioctlab_chardev::{Caller, Errno, UserPtr};

use crate::Width;

/// The most bytes of a BAR that one call moves: 1 MiB.
pub const MAX_TRANSFER: usize = 1 << 20;

/// A part of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it is in the BAR.
    pub offset: u64,
    /// Where it is in the program's buffer.
    pub index: usize,
    /// How many bytes it has.
    pub bytes: usize,
    /// How wide one access to the device is; `None` for what is left out: reads are all ones, and writes are dropped.
    pub width: Option<Width>,
}

/// A `read` or `write` of a BAR or the ROM. It lies within it, and memory decoding is enabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BarAccess {
    /// Which BAR, 0 to 5; 6 is the ROM.
    pub bar: usize,
    /// Where it starts there.
    pub offset: u64,
    /// How many bytes it has, at most [`MAX_TRANSFER`].
    pub count: usize,
    /// What is left out: the MSI-X table, or what is behind the ROM's images.
    pub excluded: Range<u64>,
    /// What is written; `None` to read. The bytes of what is left out are 0. Fewer than `count` if the program's buffer can't
    /// be read any further.
    pub bytes: Option<Vec<u8>>,
}

impl BarAccess {
    /// How it is split, in order: into accesses of 4, 2 or 1 bytes that are aligned, and what is left out. Linux has no accesses
    /// of 8 bytes on x86-64 before 6.14.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> {
        let count = self.bytes.as_ref().map_or(self.count, Vec::len);
        let (excluded, start) = (self.excluded.clone(), self.offset);
        let mut index = 0;
        core::iter::from_fn(move || {
            let left = count.checked_sub(index).filter(|left| *left > 0)?;
            let offset = start.saturating_add(index as u64);
            let room = match () {
                () if offset < excluded.start => excluded.start.saturating_sub(offset),
                () if offset >= excluded.end => u64::MAX,
                () => 0,
            };
            let (bytes, width) = if room == 0 {
                (excluded.end.saturating_sub(offset), None)
            } else {
                let width = Width::widest(offset, left.min(usize::try_from(room).unwrap_or(usize::MAX)));
                (width.bytes() as u64, Some(width))
            };
            let bytes = left.min(usize::try_from(bytes).unwrap_or(usize::MAX));
            let piece = Piece { offset, index, bytes, width };
            index = index.saturating_add(bytes);
            Some(piece)
        })
    }

    /// Reads the device, by a function that is given offset and width: the bytes that the program gets.
    pub fn read_by(&self, mut read: impl FnMut(u64, Width) -> u32) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.count.min(MAX_TRANSFER));
        for piece in self.pieces() {
            let end = piece.index.saturating_add(piece.bytes);
            if let Some(width) = piece.width {
                let value = read(piece.offset, width).to_le_bytes();
                bytes.extend(value.into_iter().take(piece.bytes));
            }
            bytes.resize(end, 0xff);
        }
        bytes
    }

    /// Writes the device, by a function that is given offset, width and value; then what the call returns.
    ///
    /// # Errors
    /// `EFAULT` if the program's buffer couldn't be read to its end: what was before that is written.
    pub fn write_by(&self, mut write: impl FnMut(u64, Width, u32)) -> Result<usize, Errno> {
        let bytes = self.bytes.as_deref().unwrap_or_default();
        for piece in self.pieces() {
            let Some(width) = piece.width else { continue };
            let from = bytes.get(piece.index..).unwrap_or_default().iter().take(piece.bytes);
            write(piece.offset, width, from.rev().fold(0, |value, byte| value << 8 | u32::from(*byte)));
        }
        if bytes.len() < self.count { Err(Errno::EFAULT) } else { Ok(self.count) }
    }

    /// Fetches what is to be written, but for what is left out, as far as the program's buffer can be read.
    pub(crate) fn fetch(&mut self, from: UserPtr, caller: &mut dyn Caller) -> Result<(), Errno> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(self.count).map_err(|_| Errno::ENOMEM)?;
        bytes.resize(self.count, 0);
        let end = self.offset.saturating_add(self.count as u64);
        for part in [self.offset..self.excluded.start.min(end), self.excluded.end.max(self.offset)..end] {
            let index = |at: u64| usize::try_from(at.saturating_sub(self.offset)).unwrap_or(usize::MAX);
            let Some(to) = bytes.get_mut(index(part.start)..index(part.end.max(part.start))) else {
                continue;
            };
            let got =
                from.behind(index(part.start)).map_or(0, |from| fetch_part(from, part.start, to, caller));
            if got < to.len() {
                bytes.truncate(index(part.start).saturating_add(got));
                break;
            }
        }
        self.bytes = Some(bytes);
        Ok(())
    }
}

/// Fetches bytes for accesses at `offset`; how many could be, in whole accesses.
fn fetch_part(from: UserPtr, offset: u64, to: &mut [u8], caller: &mut dyn Caller) -> usize {
    if caller.read(from, to).is_ok() {
        return to.len();
    }
    // In larger steps up to where it can't be read, and there access by access.
    let mut got = 0;
    let mut largest = 4096;
    while let Some(rest) = to.get_mut(got..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(got as u64);
        let width = Width::widest(at, rest.len()).bytes();
        let step = if at & 3 == 0 && rest.len() >= largest { largest.max(width) } else { width };
        let chunk = rest.get_mut(..step).unwrap_or_default();
        if from.behind(got).and_then(|from| caller.read(from, chunk)).is_ok() {
            got = got.saturating_add(step);
        } else if step > width {
            largest = 0;
        } else {
            break;
        }
    }
    got
}
