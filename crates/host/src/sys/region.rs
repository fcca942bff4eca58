//! Memory whose pages tests protect and unmap as they like.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};

const PAGE: usize = 4096;
/// Where regions lie, in bytes: far below where the kernel puts what has no place of its own, so that nothing gets into holes.
static NEXT: AtomicUsize = AtomicUsize::new(0x2000_0000_0000);

/// A range of this process's memory that nothing else uses.
pub(crate) struct Region {
    start: *mut libc::c_void,
    pages: usize,
}

// SAFETY: the memory stays this process's own for as long as this lives, and no reference is ever made to it.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// So many pages for reading and writing, without a file.
    pub(crate) fn new(pages: usize) -> Self {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
        let hint = NEXT.fetch_add(1 << 36, Ordering::Relaxed) as *mut libc::c_void;
        // SAFETY: a new mapping; if anything were there already it would be refused.
        let start = unsafe { libc::mmap(hint, pages * PAGE, protection, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        Self { start, pages }
    }

    /// The address of a page.
    pub(crate) fn address(&self, page: usize) -> u64 {
        self.place(page, 0) as u64
    }

    fn place(&self, page: usize, pages: usize) -> *mut libc::c_void {
        assert!(page + pages <= self.pages);
        self.start.wrapping_byte_add(page * PAGE)
    }

    /// Changes the protection of some pages.
    pub(crate) fn protect(&self, page: usize, pages: usize, protection: i32) {
        // SAFETY: within the region, which no reference points to.
        let result = unsafe { libc::mprotect(self.place(page, pages), pages * PAGE, protection) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    /// Leaves a hole.
    pub(crate) fn unmap(&self, page: usize, pages: usize) {
        // SAFETY: within the region, which no reference points to.
        let result = unsafe { libc::munmap(self.place(page, pages), pages * PAGE) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    /// Maps a file from its start, or (`None`) memory without one.
    pub(crate) fn map(
        &self,
        page: usize,
        pages: usize,
        protection: i32,
        file: Option<(&std::fs::File, i32)>,
    ) {
        let (descriptor, flags) = file
            .map_or((-1, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS), |(file, flags)| (file.as_raw_fd(), flags));
        let flags = flags | libc::MAP_FIXED;
        let place = self.place(page, pages);
        // SAFETY: within the region, which no reference points to.
        let result = unsafe { libc::mmap(place, pages * PAGE, protection, flags, descriptor, 0) };
        assert_eq!(result, place, "{}", io::Error::last_os_error());
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the region is this value's own, also where it has holes: nothing else is put where regions lie.
        unsafe { libc::munmap(self.start, self.pages * PAGE) };
    }
}
