//! Memory that is shared with other processes, which may change it at any time.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// A mapped file, for reading and writing. All accesses are atomic, byte by byte or word by word, since others share it.
#[derive(Debug)]
pub(crate) struct Shared {
    start: *mut u8,
    length: usize,
}

// SAFETY: the memory stays mapped for as long as this lives, wherever it is used, and is accessed by atomics only.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Maps the first `length` bytes of a file.
    ///
    /// # Errors
    /// `ENOMEM` if there is no room for it in this process.
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
        Ok(Self { start: start.cast(), length })
    }

    /// The bytes from `at` on, `length` of them; `None` beyond the end.
    fn bytes(&self, at: usize, length: usize) -> Option<&[AtomicU8]> {
        if at.checked_add(length)? > self.length {
            return None;
        }
        // SAFETY: `at` is within the mapping, or at its end.
        let start = unsafe { self.start.add(at) }.cast::<AtomicU8>();
        // SAFETY: within the mapping, which lives as long as `self`. An AtomicU8 has a byte's layout, and whoever else has
        // the memory mapped is another process, whose accesses are as atomic as the machine's are.
        Some(unsafe { std::slice::from_raw_parts(start, length) })
    }

    /// Copies from `at`; what lies beyond the end reads as 0.
    pub(crate) fn read(&self, at: usize, to: &mut [u8]) {
        match self.bytes(at, to.len()) {
            Some(bytes) => to.iter_mut().zip(bytes).for_each(|(to, from)| *to = from.load(Ordering::Relaxed)),
            None => to.fill(0),
        }
    }

    /// Copies to `at`; nothing is written if it would reach beyond the end.
    pub(crate) fn write(&self, at: usize, from: &[u8]) {
        if let Some(bytes) = self.bytes(at, from.len()) {
            bytes.iter().zip(from).for_each(|(to, from)| to.store(*from, Ordering::Relaxed));
        }
    }

    /// The word at `at`, a multiple of 4; what is read afterwards was written before it was.
    pub(crate) fn load(&self, at: usize) -> u32 {
        self.word(at).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Stores a word at `at`, a multiple of 4, after everything that was written before.
    pub(crate) fn store(&self, at: usize, value: u32) {
        if let Some(word) = self.word(at) {
            word.store(value, Ordering::Release);
        }
    }

    fn word(&self, at: usize) -> Option<&AtomicU32> {
        if !at.is_multiple_of(4) || at.checked_add(4)? > self.length {
            return None;
        }
        // SAFETY: `at` is within the mapping.
        let word = unsafe { self.start.add(at) }.cast::<AtomicU32>();
        // SAFETY: all of the word is within the mapping, which lives as long as `self` and starts at a page: aligned.
        Some(unsafe { &*word })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map`, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}
