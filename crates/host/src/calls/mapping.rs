//! `mmap` of a device.
//!
//! The driver says which frames of machine memory the mapping is made of, or which pages of a device's memory. The calling
//! thread then maps them itself, from the file that holds that memory: it is stopped on its way out of its own call, and made
//! to do it ([`crate::sys::ptrace`]).

use std::io;
use std::os::fd::OwnedFd;

use ioctlab_abi::Errno;
use ioctlab_kernel::{Mapping, MappingId, MmapCall, PAGE_SIZE, Pages};
use rustix::process::PidfdGetfdFlags;

use super::Call;
use crate::spaces::{Made, SpaceId};
use crate::store;
use crate::sys::misc;
use crate::sys::ptrace::{self, Stopped};
use crate::sys::seccomp::Answer;
use crate::sys::userfault::{self, Userfault};
use crate::trace::Record;
use crate::window;

/// The flags that `MAP_SHARED_VALIDATE` takes (`LEGACY_MAP_MASK`, and those of the extensions that a tmpfs has: none).
const KNOWN_FLAGS: i32 = libc::MAP_TYPE
    | libc::MAP_FIXED
    | libc::MAP_FIXED_NOREPLACE
    | libc::MAP_ANONYMOUS
    | libc::MAP_DENYWRITE
    | libc::MAP_EXECUTABLE
    | libc::MAP_GROWSDOWN
    | libc::MAP_HUGETLB
    | libc::MAP_LOCKED
    | libc::MAP_NONBLOCK
    | libc::MAP_NORESERVE
    | libc::MAP_POPULATE
    | libc::MAP_STACK
    | libc::MAP_32BIT
    | 0x0400_0000;

/// What the call asks for.
#[derive(Clone, Copy)]
struct Request {
    address: u64,
    length: u64,
    protection: u64,
    flags: i32,
}

pub(super) fn mmap(call: &mut Call<'_>) -> Answer {
    let request = Request {
        address: call.argument(0),
        length: call.argument(1),
        protection: call.argument(2),
        flags: call.argument(3) as i32,
    };
    let shared = match request.flags & libc::MAP_TYPE {
        libc::MAP_PRIVATE => false,
        libc::MAP_SHARED | libc::MAP_SHARED_VALIDATE => true,
        // Whatever is wrong with flags and addresses the kernel says before it looks at the file.
        _ => return Answer::Continue,
    };
    if request.flags & (libc::MAP_ANONYMOUS | libc::MAP_HUGETLB) != 0 || !has_room(&request) {
        return Answer::Continue;
    }
    if request.flags & libc::MAP_TYPE == libc::MAP_SHARED_VALIDATE && request.flags & !KNOWN_FLAGS != 0 {
        return Answer::Continue;
    }
    let writable = request.protection & libc::PROT_WRITE as u64 != 0;
    let asked = MmapCall { offset: call.argument(5), length: request.length, shared, writable };
    let (id, mapping, may_write) = {
        let mut state = call.server.lock();
        state.handle_pending_events();
        let Some(file) = call.device(&mut state, call.argument(4)) else { return Answer::Continue };
        let access = state.kernel.file(file).map(|open| open.access);
        if call.is_traced() {
            call.record = Some(Record::mmap(&state.kernel, file, call.argument(4), &asked, request.flags));
        }
        let mapped = state.kernel.mmap(file, &asked);
        state.settle();
        match mapped {
            Ok((id, mapping)) => (id, mapping, shared && access.is_some_and(|access| access.write)),
            Err(errno) => return errno.into(),
        }
    };
    match make(call, &request, id, &mapping, may_write) {
        Ok(answer) => answer,
        Err(error) => {
            let mut state = call.server.lock();
            state.unmapped(id);
            state.settle();
            if let Some(record) = &mut call.record {
                record.explain(match error.raw_os_error() {
                    Some(libc::EPERM) => "the program is being traced, or may not be: see `ioctlab doctor`",
                    _ => "the program could not be made to map it",
                });
            }
            error.raw_os_error().map_or(Errno::ENOMEM, Errno::from_raw).into()
        }
    }
}

/// A device's mapping doesn't grow (`VM_DONTEXPAND`). Whatever else `mremap` does is the kernel's to do; the server is told.
pub(super) fn mremap(call: &mut Call<'_>) -> Answer {
    let (address, old, new) = (call.argument(0), call.argument(1), call.argument(2));
    if !address.is_multiple_of(PAGE_SIZE) || new.div_ceil(PAGE_SIZE) <= old.div_ceil(PAGE_SIZE) {
        return Answer::Continue;
    }
    let mut state = call.server.lock();
    let Some(group) = state.processes.known_group(call.thread) else { return Answer::Continue };
    let space = state.spaces.of(group);
    if space.is_some_and(|space| state.spaces.has_mapping_at(space, address)) {
        Errno::EFAULT.into()
    } else {
        Answer::Continue
    }
}

/// `MADV_DONTNEED`: what it drops of a device's mapping is to be SIGBUS from the first touch on. A device's own memory can't be
/// dropped (`VM_PFNMAP`).
pub(super) fn madvise(call: &mut Call<'_>) -> Answer {
    let (address, length) = (call.argument(0), call.argument(1));
    let mut state = call.server.lock();
    if let Some(group) = state.processes.known_group(call.thread)
        && let Some(space) = state.spaces.of(group)
        && let Some(end) = length.checked_next_multiple_of(PAGE_SIZE).and_then(|l| address.checked_add(l))
    {
        if state.spaces.has_area_within(space, address, end) {
            return Errno::EINVAL.into();
        }
        // The grants go before the page-table entries do, as in Linux.
        for part in state.spaces.drop_pages(space, address, end) {
            state.kernel.zap(part.mapping, part.first, part.pages);
        }
        state.settle();
    }
    Answer::Continue
}

/// A process is about to be killed. Whoever waits for its end must find done what its mappings' ends bring about.
pub(super) fn kill(call: &mut Call<'_>) -> Answer {
    let target = call.argument(0) as i32;
    let mut state = call.server.lock();
    let group = match call.number {
        libc::SYS_tkill => state.processes.known_group(target).unwrap_or(target),
        _ => target,
    };
    if misc::can_kill(group) {
        state.do_ahead(group);
    }
    Answer::Continue
}

/// Whether a fixed address is one that the kernel would take.
fn has_room(request: &Request) -> bool {
    let fixed = request.flags & (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE) != 0;
    let end = request.address.checked_add(request.length);
    !fixed || request.address.is_multiple_of(PAGE_SIZE) && end.is_some_and(|end| end <= 1 << 47)
}

/// Makes a mapping in the caller's address space, and with it the call's answer.
///
/// # Errors
/// If the caller can't be made to map anything: `EPERM` if somebody traces it, or it may not be traced.
fn make(
    call: &Call<'_>,
    request: &Request,
    id: MappingId,
    mapping: &Mapping,
    may_write: bool,
) -> io::Result<Answer> {
    let pages = request.length.div_ceil(PAGE_SIZE);
    let (memory, runs) = match &mapping.pages {
        Pages::Frames(frames) => {
            let frames = frames.iter().map(|frame| frame.0);
            (call.server.store.open_memory(id, may_write)?, runs(frames, pages))
        }
        // The file is as long as the area, or empty: what lies beyond its end is SIGBUS.
        Pages::Area { area, first } => {
            (call.server.memory.areas().open(*area, id, may_write)?, vec![Run { first: *first, pages }])
        }
    };
    let group = call.server.lock().group(call.thread)?;
    let is_free =
        |number: u32| rustix::fs::readlink(format!("/proc/{}/fd/{number}", call.thread), Vec::new()).is_err();
    let number = Some(window::PASSAGE).filter(|number| is_free(*number));
    let seized = ptrace::seize(call.thread)?;
    let passed = call.listener.add(call.id, &memory, number);
    drop(memory);
    // From here on the thread is on its way, and what it is told goes through its registers. If it can't be answered it
    // has been killed, which the wait for its stop will tell.
    let _ = call.listener.answer(call.id, Answer::Value(0));
    let mut thread = seized.stopped(call.instruction)?;
    let made = passed.and_then(|file| {
        let made = map_pages(&mut thread, request, file, &runs);
        if let Ok(start) = made {
            let Mapping { read_only, inherited, .. } = *mapping;
            let is_area = matches!(mapping.pages, Pages::Area { .. });
            let made = Made { mapping: id, start, pages, read_only, inherited, is_area };
            settle_in(call, &mut thread, group, made);
        }
        // An error here leaves a descriptor open in the caller, until it ends.
        let _ = thread.call(libc::SYS_close, [u64::from(file), 0, 0, 0, 0, 0]);
        made
    });
    let value = match &made {
        Ok(start) => *start as i64,
        Err(error) => {
            let mut state = call.server.lock();
            state.unmapped(id);
            state.settle();
            -i64::from(error.raw_os_error().unwrap_or(libc::ENOMEM))
        }
    };
    thread.finish(value);
    Ok(Answer::Made(value))
}

/// Has the thread map runs of pages one after the other; returns where.
fn map_pages(thread: &mut Stopped, request: &Request, file: u32, runs: &[Run]) -> io::Result<u64> {
    let map = |thread: &mut Stopped, address: u64, run: Run, flags: i32| {
        let flags = flags & !libc::MAP_TYPE | libc::MAP_SHARED;
        let length = run.pages * PAGE_SIZE;
        let offset = run.first * PAGE_SIZE;
        thread.call(
            libc::SYS_mmap,
            [address, length, request.protection, flags as u64, u64::from(file), offset],
        )
    };
    if let &[run] = runs {
        return map(thread, request.address, run, request.flags);
    }
    // Several runs: room for all of them first, and then each in its place.
    let total = runs.iter().map(|run| run.pages).sum::<u64>() * PAGE_SIZE;
    let placing = libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE | libc::MAP_32BIT;
    let flags = request.flags & placing | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let start = thread.call(libc::SYS_mmap, [request.address, total, 0, flags as u64, u64::MAX, 0])?;
    let mut at = start;
    for &run in runs {
        let flags = request.flags & !placing | libc::MAP_FIXED;
        if let Err(error) = map(thread, at, run, flags) {
            let _ = thread.call(libc::SYS_munmap, [start, total, 0, 0, 0, 0]);
            return Err(error);
        }
        at += run.pages * PAGE_SIZE;
    }
    Ok(start)
}

/// Pages that follow each other in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u64,
    pages: u64,
}

/// The runs that frames make up. Pages without a frame lie beyond the end of machine memory: touching one is SIGBUS.
fn runs(frames: impl ExactSizeIterator<Item = u64>, pages: u64) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let missing = pages.saturating_sub(frames.len() as u64);
    for frame in frames {
        match runs.last_mut() {
            Some(run) if run.first + run.pages == frame => run.pages += 1,
            _ => runs.push(Run { first: frame, pages: 1 }),
        }
    }
    if missing > 0 {
        runs.push(Run { first: store::END.0, pages: missing });
    }
    runs
}

/// A new mapping's way through forks, and its watch: the server is to be told of what the process does to it. Without the
/// latter it learns only of its end.
fn settle_in(call: &Call<'_>, thread: &mut Stopped, group: i32, made: Made) {
    if !made.inherited {
        let arguments = [made.start, made.pages * PAGE_SIZE, libc::MADV_DONTFORK as u64, 0, 0, 0];
        // It can't fail on what was mapped just now, unless the thread was killed.
        let _ = thread.call(libc::SYS_madvise, arguments);
    }
    let known = call.server.lock().spaces.of(group);
    let place = |space: SpaceId| call.server.lock().spaces.place(space, made);
    if let Some(space) = known
        && place(space).is_ok()
    {
        return;
    }
    // None yet, or of an address space that the process had before an exec.
    if let Ok(space) = new_space(call, thread, group) {
        let _ = place(space);
    }
}

fn new_space(call: &Call<'_>, thread: &mut Stopped, group: i32) -> io::Result<SpaceId> {
    let number = thread.call(libc::SYS_userfaultfd, [userfault::FLAGS, 0, 0, 0, 0, 0])?;
    let descriptor = fetch(call, group, number as i32);
    thread.call(libc::SYS_close, [number, 0, 0, 0, 0, 0])?;
    call.server.lock().watch_space(group, Userfault::set_up(descriptor?)?)
}

fn fetch(call: &Call<'_>, group: i32, number: i32) -> io::Result<OwnedFd> {
    let state = call.server.lock();
    let pidfd = state.processes.pidfd(group).ok_or(io::ErrorKind::NotFound)?;
    Ok(rustix::process::pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_follow_each_other_are_one_run() {
        let frames = [5, 6, 7, 3, 4, 9, 9];
        let expected = [(5, 3), (3, 2), (9, 1), (9, 1)].map(|(first, pages)| Run { first, pages });
        assert_eq!(runs(frames.into_iter(), 7), expected);
        assert!(runs([].into_iter(), 0).is_empty());
        let beyond = Run { first: store::END.0, pages: 2 };
        assert_eq!(runs([5].into_iter(), 3), [Run { first: 5, pages: 1 }, beyond]);
    }
}
