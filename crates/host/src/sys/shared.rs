//! Memory that is shared with other processes, which may change it at any time.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::bus_error::{self, Guard};

/// A mapped file, for reading and writing. All accesses are atomic, byte by byte or word by word, since others share it. What they
/// have cut off of the file reads as zeros, and what is written there is lost.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Given up before the mapping is: fields go in this order.
    _guard: Guard,
    mapping: Mapping,
}

/// A mapping of this process's, and of nobody else's here.
#[derive(Debug)]
struct Mapping {
    start: *mut u8,
    length: usize,
}

// SAFETY: the memory stays mapped for as long as this lives, wherever it is used, and is accessed by atomics only.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was made by `Shared::map`, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}

impl Shared {
    /// Maps the first `length` bytes of a file.
    ///
    /// # Errors
    /// `ENOMEM` if there is no room for it in this process, or too much is mapped already.
    pub(crate) fn map(file: impl AsFd, length: usize) -> io::Result<Self> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_NORESERVE);
        // SAFETY: a new mapping where the kernel wants it; nothing else is there.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), length, protection, flags, file.as_fd().as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapping = Mapping { start: start.cast(), length };
        // SAFETY: the mapping goes after its guard, and all accesses are atomic ones, whatever they find.
        let guard = unsafe { bus_error::guard(start as usize, length) };
        let _guard = guard.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Self { _guard, mapping })
    }

    /// Where it is in this process.
    #[cfg(test)]
    pub(crate) fn address(&self) -> u64 {
        self.mapping.start as u64
    }

    /// The cell at `at`, a multiple of its size; `None` beyond the end.
    fn cell<T: Atomic>(&self, at: usize) -> Option<&T> {
        if !at.is_multiple_of(size_of::<T>()) || at.checked_add(size_of::<T>())? > self.mapping.length {
            return None;
        }
        // SAFETY: `at` is within the mapping.
        let cell = unsafe { self.mapping.start.add(at) }.cast::<T>();
        // SAFETY: all of the cell is within the mapping, which lives as long as `self` and starts at a page, so that the cell
        // is aligned. It is an atomic integer (`Atomic`), valid whatever its bytes are; whoever else has the memory mapped is another
        // process, whose accesses are as atomic as the machine's are.
        Some(unsafe { &*cell })
    }

    /// So many words of 8 bytes from `at` on, a multiple of 8; none if not all are there.
    fn words(&self, at: usize, count: usize) -> &[AtomicU64] {
        if !at.is_multiple_of(8) || !count.checked_mul(8).is_some_and(|length| self.holds(at, length)) {
            return &[];
        }
        // SAFETY: `at` is within the mapping.
        let first = unsafe { self.mapping.start.add(at) }.cast::<AtomicU64>();
        // SAFETY: as in `cell`, for each of them.
        unsafe { std::slice::from_raw_parts(first, count) }
    }

    /// Whether so many bytes at `at` are there.
    fn holds(&self, at: usize, length: usize) -> bool {
        at.checked_add(length).is_some_and(|end| end <= self.mapping.length)
    }

    /// Copies from `at`; what lies beyond the end reads as 0. A number of 2, 4 or 8 bytes that is aligned is read at once.
    pub(crate) fn read(&self, mut at: usize, mut to: &mut [u8]) {
        if !self.holds(at, to.len()) {
            return to.fill(0);
        }
        while !to.is_empty() {
            let (part, rest) = std::mem::take(&mut to).split_at_mut(widest(at, to.len()));
            match part.len() {
                4 => self.cell::<AtomicU32>(at).get(part),
                2 => self.cell::<AtomicU16>(at).get(part),
                1 => self.cell::<AtomicU8>(at).get(part),
                _ => {
                    let (parts, _) = part.as_chunks_mut();
                    for (word, part) in self.words(at, parts.len()).iter().zip(parts) {
                        *part = word.load(Ordering::Relaxed).to_ne_bytes();
                    }
                }
            }
            at += part.len();
            to = rest;
        }
    }

    /// Copies to `at`; nothing is written if it would reach beyond the end. An aligned number is written at once.
    pub(crate) fn write(&self, mut at: usize, mut from: &[u8]) {
        if !self.holds(at, from.len()) {
            return;
        }
        while !from.is_empty() {
            let (part, rest) = from.split_at(widest(at, from.len()));
            match part.len() {
                4 => self.cell::<AtomicU32>(at).put(part),
                2 => self.cell::<AtomicU16>(at).put(part),
                1 => self.cell::<AtomicU8>(at).put(part),
                _ => {
                    let (parts, _) = part.as_chunks();
                    for (word, part) in self.words(at, parts.len()).iter().zip(parts) {
                        word.store(u64::from_ne_bytes(*part), Ordering::Relaxed);
                    }
                }
            }
            at += part.len();
            from = rest;
        }
    }

    /// The word at `at`, a multiple of 4; what is read afterwards was written before it was.
    pub(crate) fn load(&self, at: usize) -> u32 {
        self.cell::<AtomicU32>(at).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Stores a word at `at`, a multiple of 4, after everything that was written before.
    pub(crate) fn store(&self, at: usize, value: u32) {
        if let Some(word) = self.cell::<AtomicU32>(at) {
            word.store(value, Ordering::Release);
        }
    }
}

/// An atomic integer.
trait Atomic {}

/// An integer in shared memory. There is none beyond the end: nothing is read or written there.
trait Cell {
    /// Copies it out; as long as it is.
    fn get(&self, to: &mut [u8]);
    /// Copies to it.
    fn put(&self, from: &[u8]);
}

macro_rules! cells {
    ($($cell:ty: $integer:ty),*) => {$(
        impl Atomic for $cell {}

        impl Cell for Option<&$cell> {
            fn get(&self, to: &mut [u8]) {
                if let Some(cell) = self {
                    to.copy_from_slice(&cell.load(Ordering::Relaxed).to_ne_bytes());
                }
            }

            fn put(&self, from: &[u8]) {
                if let (Some(cell), Ok(bytes)) = (self, from.try_into()) {
                    cell.store(<$integer>::from_ne_bytes(bytes), Ordering::Relaxed);
                }
            }
        }
    )*};
}

cells!(AtomicU8: u8, AtomicU16: u16, AtomicU32: u32);

/// How wide the widest aligned number at `at` is, of a length of at least 1; all words of 8 bytes that there are, together.
fn widest(at: usize, length: usize) -> usize {
    if at.is_multiple_of(8) && length >= 8 {
        return length & !7;
    }
    [4, 2].into_iter().find(|width| at.is_multiple_of(*width) && *width <= length).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_copied_whatever_their_alignment() {
        let file = rustix::fs::memfd_create("shared", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd");
        rustix::fs::ftruncate(&file, 4096).expect("size");
        let shared = Shared::map(&file, 4096).expect("mapping");
        let pattern: Vec<u8> = (1..=40).collect();
        for at in (0usize..17).chain(4096 - 40..4096 - 30) {
            for length in 0..=40.min(4096 - at) {
                shared.write(at.saturating_sub(1), &[0xee; 42][..42.min(4096 - at.saturating_sub(1))]);
                shared.write(at, &pattern[..length]);
                let mut back = [0; 40];
                shared.read(at, &mut back[..length]);
                assert_eq!(back[..length], pattern[..length], "{length} bytes at {at}");
                let mut behind = [0xee];
                if at + length < 4096 {
                    shared.read(at + length, &mut behind);
                }
                assert_eq!(behind, [0xee], "{length} bytes at {at}");
            }
        }
        let mut beyond = [1; 8];
        shared.read(4092, &mut beyond);
        assert_eq!(beyond, [0; 8]);
        shared.write(4092, &[1; 8]);
        shared.read(usize::MAX, &mut beyond);
    }

    /// Whoever has the file can cut it off.
    #[test]
    fn what_is_gone_reads_as_zeros() {
        let file = rustix::fs::memfd_create("shared", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd");
        rustix::fs::ftruncate(&file, 16384).expect("size");
        let (shared, other) = (Shared::map(&file, 16384).expect("a mapping"), Shared::map(&file, 4096));
        let mut bytes = [1; 8];
        for at in [0, 8184, 12288] {
            shared.write(at, &[7; 8]);
        }
        rustix::fs::ftruncate(&file, 4096).expect("size");
        for at in [8184, 12288] {
            shared.read(at, &mut bytes);
            assert_eq!(bytes, [0; 8]);
            shared.write(at, &[8; 8]);
        }
        shared.read(0, &mut bytes);
        assert_eq!(bytes, [7; 8], "it is there");
        drop(other);
        let threads: Vec<_> = (0..4)
            .map(|_| Shared::map(&file, 8192).expect("a mapping"))
            .map(|shared| {
                std::thread::spawn(move || {
                    for _ in 0..100 {
                        shared.store(4096, shared.load(4100));
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
    }
}
