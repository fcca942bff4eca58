//! Pages that are gone from under this process's mappings of files.
//!
//! Programs get these files, too, so that they can map them. One that means no good can cut a file off, or fill up the file
//! system that it is in; Linux has nothing that would keep it from that on a tmpfs. To touch a page that isn't there is SIGBUS:
//! for the program, as it deserves, but also for this process, and that would be the end of everybody's devices. So there is a
//! handler, which puts a page of zeros in its place, of this process's own.

use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

const PAGE: usize = 4096;
/// `BUS_ADRERR`: there is nothing at the address.
const NOTHING_THERE: i32 = 2;

/// As many mappings at a time, at most.
const RANGES: usize = 512;

/// Addresses whose pages are replaced, in a table that a handler can look at any time. The end of a free one is 0.
struct Range {
    start: AtomicUsize,
    end: AtomicUsize,
}

static TABLE: [Range; RANGES] =
    [const { Range { start: AtomicUsize::new(0), end: AtomicUsize::new(0) } }; RANGES];

/// Keeps a range guarded for as long as it lives.
#[derive(Debug)]
pub(super) struct Guard(usize);

/// From here on pages that are gone from a range are replaced as they are touched: they read as zeros, and what is written to them
/// is nobody else's. `None` if too many are guarded.
///
/// # Safety
/// The range is a mapping that is the caller's for as long as the guard lives, of whose bytes nothing is ever assumed.
pub(super) unsafe fn guard(start: usize, length: usize) -> Option<Guard> {
    static HANDLED: Once = Once::new();
    HANDLED.call_once(handle);
    // An end of 1 takes a place: nothing is below it.
    let is_taken =
        |range: &Range| range.end.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    let place = TABLE.iter().position(is_taken)?;
    let range = TABLE.get(place)?;
    range.start.store(start, Ordering::Release);
    range.end.store(start.saturating_add(length), Ordering::Release);
    Some(Guard(place))
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(range) = TABLE.get(self.0) {
            range.end.store(0, Ordering::Release);
        }
    }
}

fn is_guarded(address: usize) -> bool {
    TABLE.iter().any(|range| {
        address < range.end.load(Ordering::Acquire) && address >= range.start.load(Ordering::Acquire)
    })
}

fn handle() {
    // SAFETY: all-zero bytes are a valid sigaction: an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    action.sa_sigaction = replace as extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) as usize;
    // SAFETY: `action` is complete, and its handler does nothing that a handler may not do.
    unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) };
}

/// The handler. Whatever else is SIGBUS ends this process, as it does without a handler.
extern "C" fn replace(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a complete siginfo_t.
    let info = unsafe { &*info };
    // SAFETY: that of a SIGBUS has an address.
    let address = unsafe { info.si_addr() } as usize;
    if info.si_code == NOTHING_THERE && is_guarded(address) {
        let page = (address - address % PAGE) as *mut libc::c_void;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: the page is of a guarded range, whose owner assumes nothing of its bytes, and has no use for it as it is.
        if unsafe { libc::mmap(page, PAGE, protection, flags, -1, 0) } == page {
            return;
        }
    }
    // SAFETY: SIG_DFL is a valid handler. The access is tried once more, which ends this process.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}
