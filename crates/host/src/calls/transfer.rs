//! read, write, ioctl and their relatives on a device's descriptor.

use std::os::fd::AsFd;

use ioctlab_abi::Errno;
use ioctlab_kernel::{CallResult, FileId, Request, Segment, Stop, UserMemory, UserPtr, each_segment};

use super::{Call, addressed, work};
use crate::server::State;
use crate::sys::seccomp::Answer;
use crate::trace::Record;

/// As many segments as one vectored call may have.
const SEGMENTS_MAX: u64 = 1024;
/// `struct iovec`, in bytes.
const SEGMENT: usize = 16;
/// What is copied of a write before the lab is locked, in bytes; more than these drivers take at once.
const FETCHED_MAX: u64 = 4096;
/// `RWF_HIPRI`: the one flag that a driver without asynchronous reads and writes takes (and ignores).
const HIGH_PRIORITY: u64 = 1;

/// ioctls that the VFS answers without asking a driver: `FIOCLEX`, `FIONCLEX`, `FIONBIO`, `FIOASYNC`, `FIOQSIZE`.
const GENERIC: [u32; 5] = [0x5451, 0x5450, 0x5421, 0x5452, 0x5460];

/// Whether the VFS answers this request without asking a driver.
pub(super) fn is_generic(request: u64) -> bool {
    GENERIC.contains(&(request as u32))
}

pub(super) fn ioctl(call: &mut Call<'_>) -> Answer {
    if is_generic(call.argument(1)) {
        return Answer::Continue;
    }
    let request = Request(call.argument(1) as u32);
    call.memory.fetch_ahead(call.argument(2), request.size());
    let mut state = call.server.lock();
    state.handle_pending_events();
    let Some(file) = call.device(&mut state, call.argument(0)) else { return Answer::Continue };
    let argument = call.argument(2);
    if call.is_traced() {
        call.record =
            Some(Record::ioctl(&state.kernel, file, call.argument(0), request, argument, &mut call.memory));
    }
    state.notice(file);
    let reply = state.with_caller(call.thread, &mut call.memory, |kernel, caller| {
        kernel.ioctl(file, request, argument, caller)
    });
    withdraw_what_is_gone(call, &mut state, file);
    state.settle();
    work::answer(call, state, file, reply)
}

/// An ioctl may have thrown unread data away: it must not be shown any longer.
fn withdraw_what_is_gone(call: &Call<'_>, state: &mut State, file: FileId) {
    let Some((kernel, backing)) = state.file(file) else { return };
    if backing.shown() <= kernel.unread(file) {
        return;
    }
    let client = call.copy_descriptor(state, call.argument(0));
    if let Some((_, backing)) = state.file(file) {
        match client {
            Some(client) => backing.take_all_back(client.as_fd()),
            None => backing.abandon(),
        }
        state.show(file);
    }
}

pub(super) fn read(call: &mut Call<'_>) -> Answer {
    let segment = Segment { base: UserPtr(call.argument(1)), length: call.argument(2) as usize };
    let mut state = call.server.lock();
    state.handle_pending_events();
    let Some(file) = call.device(&mut state, call.argument(0)) else { return Answer::Continue };
    if state.has_contents(file) {
        return Answer::Continue;
    }
    if state.is_addressed(file) {
        return addressed::transfer(call, state, file, true, false, None);
    }
    log(call, &state, file, &[segment], true, false);
    let result = read_segment(call, &mut state, file, segment);
    drop(state);
    if let (Ok(bytes), Some(record)) = (result, &mut call.record) {
        record.add_data(segment.base, bytes, &mut call.memory);
    }
    finish(result)
}

pub(super) fn write(call: &mut Call<'_>) -> Answer {
    let (from, count) = (UserPtr(call.argument(1)), call.argument(2));
    call.memory.fetch_ahead(from.0, count.min(FETCHED_MAX) as usize);
    let mut state = call.server.lock();
    state.handle_pending_events();
    let Some(file) = call.device(&mut state, call.argument(0)) else { return Answer::Continue };
    if state.is_addressed(file) {
        return addressed::transfer(call, state, file, false, false, None);
    }
    log(call, &state, file, &[Segment { base: from, length: count as usize }], false, false);
    state.notice(file);
    let result = state.kernel.write(file, from, count, &mut call.memory);
    state.settle();
    finish(result)
}

pub(super) fn readv(call: &mut Call<'_>) -> Answer {
    vectored(call, true)
}

pub(super) fn writev(call: &mut Call<'_>) -> Answer {
    vectored(call, false)
}

pub(super) fn preadv2(call: &mut Call<'_>) -> Answer {
    vectored_at(call, true)
}

pub(super) fn pwritev2(call: &mut Call<'_>) -> Answer {
    vectored_at(call, false)
}

/// `preadv2` and `pwritev2` with offset -1 are `readv` and `writev` with flags; with an offset they are refused natively on
/// every stream.
fn vectored_at(call: &mut Call<'_>, reading: bool) -> Answer {
    let at_own_position = call.argument(3) as i64 == -1;
    let mut state = call.server.lock();
    let Some(file) = call.device(&mut state, call.argument(0)) else { return Answer::Continue };
    if !at_own_position && !state.is_addressed(file) {
        return Answer::Continue;
    }
    drop(state);
    if call.argument(5) & !HIGH_PRIORITY != 0 {
        return Errno::EOPNOTSUPP.into();
    }
    if at_own_position {
        vectored(call, reading)
    } else {
        addressed::positioned(call, call.argument(3), reading, true)
    }
}

/// Notes for the trace what a read or write is about to do.
pub(super) fn log(
    call: &mut Call<'_>,
    state: &State,
    file: FileId,
    segments: &[Segment],
    reading: bool,
    is_vectored: bool,
) {
    if !call.is_traced() {
        return;
    }
    let (kernel, number) = (&state.kernel, call.argument(0));
    call.record = Some(match segments {
        [segment] if reading && !is_vectored => Record::read(kernel, file, number, *segment),
        [segment] if !is_vectored => Record::write(kernel, file, number, *segment, &mut call.memory),
        segments => Record::vectored(kernel, file, number, segments, reading),
    });
}

fn vectored(call: &mut Call<'_>, reading: bool) -> Answer {
    fetch_segments_ahead(call);
    let mut state = call.server.lock();
    state.handle_pending_events();
    let Some(file) = call.device(&mut state, call.argument(0)) else { return Answer::Continue };
    if state.has_contents(file) {
        return Answer::Continue;
    }
    if state.is_addressed(file) {
        return addressed::transfer(call, state, file, reading, true, None);
    }
    let allowed =
        state.kernel.file(file).is_some_and(|f| if reading { f.access.read } else { f.access.write });
    if !allowed {
        return Errno::EBADF.into();
    }
    let segments = match fetch_segments(call) {
        Ok(segments) => segments,
        Err(errno) => return errno.into(),
    };
    log(call, &state, file, &segments, reading, true);
    state.notice(file);
    let result = if reading {
        each_segment(&segments, |segment| read_segment(call, &mut state, file, segment))
    } else {
        each_segment(&segments, |s| state.kernel.write(file, s.base, s.length as u64, &mut call.memory))
    };
    state.settle();
    finish(result)
}

/// Only a file with contents has positions.
pub(super) fn lseek(call: &mut Call<'_>) -> Answer {
    // What isn't a way to seek is EINVAL whatever the file.
    let is_a_way = call.argument(2) as u32 <= libc::SEEK_HOLE as u32;
    let mut state = call.server.lock();
    match call.device(&mut state, call.argument(0)) {
        Some(file) if is_a_way && !state.has_contents(file) => Errno::ESPIPE.into(),
        _ => Answer::Continue,
    }
}

/// To be called before the lab is locked.
pub(super) fn fetch_segments_ahead(call: &mut Call<'_>) {
    let count = call.argument(2).min(SEGMENTS_MAX) as usize;
    call.memory.fetch_ahead(call.argument(1), count * SEGMENT);
}

pub(super) fn fetch_segments(call: &mut Call<'_>) -> Result<Vec<Segment>, Errno> {
    let (at, count) = (call.argument(1), call.argument(2));
    if count > SEGMENTS_MAX {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0; count as usize * SEGMENT];
    call.memory.read(UserPtr(at), &mut bytes)?;
    let mut segments = Vec::with_capacity(count as usize);
    let (words, _) = bytes.as_chunks::<8>();
    for pair in words.chunks_exact(2) {
        let &[base, length] = pair else { continue };
        let (base, length) = (u64::from_ne_bytes(base), u64::from_ne_bytes(length));
        if i64::try_from(length).is_err() {
            return Err(Errno::EINVAL);
        }
        segments.push(Segment { base: UserPtr(base), length: length as usize });
    }
    Ok(segments)
}

/// One read. What is shown in the client's end is taken back from there first, so that the driver is asked for all of it.
///
/// [`Stop::Wait`] stands for "the kernel is to go on with the call": there is nothing to read, and the client's end makes
/// the caller wait (or not, as its flags say) with all that Linux has for that: signals, closes, kills.
fn read_segment(call: &mut Call<'_>, state: &mut State, file: FileId, segment: Segment) -> CallResult<usize> {
    state.notice(file);
    let count = segment.length as u64;
    let shown = state.file(file).map_or(0, |(_, backing)| backing.shown());
    if shown > 0 && state.kernel.would_read(file, count) > 0 {
        let Some(client) = call.copy_descriptor(state, call.argument(0)) else {
            // The client's end can't be reached: have the kernel read from it, with everything there that there is.
            if let Some((kernel, backing)) = state.file(file) {
                backing.show_all(kernel, file);
            }
            return Err(Stop::Wait);
        };
        if let Some((kernel, backing)) = state.file(file) {
            backing.recount(kernel, file, client.as_fd());
            let wanted = kernel.would_read(file, count);
            backing.take_back(kernel, file, client.as_fd(), wanted);
            let result = kernel.read(file, segment.base, count, &mut call.memory);
            if result.is_err() {
                // Not taken after all: what is left at the client's end comes after it.
                backing.take_all_back(client.as_fd());
            }
            state.show(file);
            return result;
        }
    }
    let result = state.kernel.read(file, segment.base, count, &mut call.memory);
    state.show(file);
    result
}

fn finish(result: CallResult<usize>) -> Answer {
    match result {
        Ok(bytes) => Answer::Value(bytes as i64),
        Err(Stop::Fail(errno)) => errno.into(),
        Err(Stop::Wait) => Answer::Continue,
    }
}
