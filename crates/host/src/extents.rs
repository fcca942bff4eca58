//! Moving the contents of a sparse file to another one, while programs have one of them mapped: only what is there is copied,
//! and what was copied goes, so that both together take little more room than one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, SeekFrom};

/// What is moved at a time, in bytes.
const BLOCK: u64 = 1 << 20;

/// Moves what is in `kept` to `shown`, an empty file that programs have mapped, and makes that `bytes` long. Each page is in
/// its place before it can be touched: the file grows as it is filled.
///
/// A part for which there is no room reads as zeros.
pub(crate) fn show(kept: &File, shown: &File, bytes: u64) {
    let mut buffer = Vec::new();
    let mut at = 0;
    while let Some((start, end)) = next_data(kept, at, bytes) {
        let end = end.min(start.saturating_add(BLOCK));
        let _ = copy(kept, shown, start, end, &mut buffer);
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = rustix::fs::fallocate(kept, flags, start, end.saturating_sub(start));
        at = end;
    }
    // Neither can fail: to shorten takes no memory, and `shown` isn't longer than another file of this length was before.
    let _ = rustix::fs::ftruncate(shown, bytes);
    let _ = rustix::fs::ftruncate(kept, 0);
}

/// Moves what is in `shown`, which programs have mapped, to `kept`, an empty file, and makes that `bytes` long. It is cut off
/// block by block from its end: what is beyond its end is SIGBUS to touch, and its pages are in no page table.
///
/// What a program writes between the copy of a page and its end is lost, as a write that is still on its way to a device. A
/// part for which there is no room reads as zeros.
pub(crate) fn hide(shown: &File, kept: &File, bytes: u64) {
    let _ = rustix::fs::ftruncate(kept, bytes);
    let mut buffer = Vec::new();
    for block in blocks_with_data(shown, bytes).into_iter().rev() {
        let (mut at, end) = (block, block.saturating_add(BLOCK).min(bytes));
        while let Some((start, end)) = next_data(shown, at, end) {
            let _ = copy(shown, kept, start, end, &mut buffer);
            at = end;
        }
        let _ = rustix::fs::ftruncate(shown, block);
    }
    let _ = rustix::fs::ftruncate(shown, 0);
}

/// Where the blocks start that aren't all hole.
fn blocks_with_data(file: &File, bytes: u64) -> Vec<u64> {
    let mut blocks = Vec::new();
    let mut at = 0;
    while let Some((start, _)) = next_data(file, at, bytes) {
        let block = start - start % BLOCK;
        blocks.push(block);
        at = block.saturating_add(BLOCK);
    }
    blocks
}

/// The next range with data at or behind `at` and before `limit`.
fn next_data(file: &File, at: u64, limit: u64) -> Option<(u64, u64)> {
    if at >= limit {
        return None;
    }
    // `ENXIO`: there is no more.
    let start = rustix::fs::seek(file, SeekFrom::Data(at)).ok()?;
    let end = rustix::fs::seek(file, SeekFrom::Hole(start)).ok()?.min(limit);
    (start < end).then_some((start, end))
}

/// Copies a range, which both files have in the same place.
fn copy(from: &File, to: &File, start: u64, end: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    let length = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX).min(BLOCK as usize);
    buffer.resize(length, 0);
    from.read_exact_at(buffer, start)?;
    to.write_all_at(buffer, start)
}
