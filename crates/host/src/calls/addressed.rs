//! Reads and writes of files that have positions.

use std::sync::MutexGuard;

use ioctlab_abi::Errno;
use ioctlab_kernel::{FileId, Reply, Segment, Stop, UserPtr};

use super::transfer::{fetch_segments, fetch_segments_ahead, log};
use super::{Call, work};
use crate::server::State;
use crate::sys::seccomp::Answer;
use crate::window;

/// `pread`, `pwrite` and their vectored forms.
///
/// A stream has no positions, which the kernel says by itself; a driver without `read` and `write` refuses them as it does
/// those.
pub(super) fn positioned(call: &mut Call<'_>, position: u64, reading: bool, vectored: bool) -> Answer {
    if vectored {
        fetch_segments_ahead(call);
    }
    let mut state = call.server.lock();
    // Outside of the window nearly all of these are small ones of other files.
    if window::place(call.argument(0)).is_none() && state.has_streams_alone() {
        return Answer::Continue;
    }
    state.handle_pending_events();
    let Some(file) = call.device(&mut state, call.argument(0)) else { return Answer::Continue };
    if state.is_stream(file) || state.has_contents(file) || (position as i64) < 0 {
        return Answer::Continue;
    }
    if state.is_addressed(file) {
        return transfer(call, state, file, reading, vectored, Some(position));
    }
    let access = state.kernel.file(file).map(|open| open.access);
    let allowed = access.is_some_and(|access| if reading { access.read } else { access.write });
    if allowed { Errno::EINVAL.into() } else { Errno::EBADF.into() }
}

/// Any read or write of such a file; without a position, at the file's own.
pub(super) fn transfer<'a>(
    call: &mut Call<'a>,
    state: MutexGuard<'a, State>,
    file: FileId,
    reading: bool,
    vectored: bool,
    position: Option<u64>,
) -> Answer {
    let segments = if vectored {
        match fetch_segments(call) {
            Ok(segments) => segments,
            Err(errno) => return errno.into(),
        }
    } else {
        vec![Segment { base: UserPtr(call.argument(1)), length: call.argument(2) as usize }]
    };
    log(call, &state, file, &segments, reading, vectored);
    let mut locked = state;
    let mut moved: u64 = 0;
    for segment in &segments {
        let at = position.map(|position| position.saturating_add(moved));
        let (result, state) = one(call, locked, file, *segment, reading, at);
        locked = state;
        match result {
            Ok(bytes) => {
                moved = moved.saturating_add(bytes);
                if position.is_none() {
                    locked.kernel.advance(file, bytes);
                }
                if bytes != segment.length as u64 {
                    break;
                }
            }
            Err(errno) if moved == 0 => return errno.into(),
            Err(_) => break,
        }
    }
    drop(locked);
    if let (true, Some(record), Some(first)) = (reading && !vectored, &mut call.record, segments.first()) {
        record.add_data(first.base, moved as usize, &mut call.memory);
    }
    Answer::Value(moved as i64)
}

fn one<'a>(
    call: &mut Call<'a>,
    mut state: MutexGuard<'a, State>,
    file: FileId,
    segment: Segment,
    reading: bool,
    position: Option<u64>,
) -> (Result<u64, Errno>, MutexGuard<'a, State>) {
    let Segment { base, length } = segment;
    let reply = state.with_caller(call.thread, &mut call.memory, |kernel, caller| {
        let count = length as u64;
        if reading {
            kernel.read_at(file, position, base, count, caller)
        } else {
            kernel.write_at(file, position, base, count, caller)
        }
    });
    state.settle();
    let (result, state) = match reply {
        Ok(Reply::Value(bytes)) => (Ok(bytes), state),
        Ok(Reply::Work(work)) => work::perform(call, state, file, work),
        Ok(Reply::Open { .. }) => (Err(Errno::EIO), state),
        Err(Stop::Fail(errno)) => (Err(errno), state),
        Err(Stop::Wait) => (Err(Errno::EAGAIN), state),
    };
    (result.map(|bytes| u64::try_from(bytes).unwrap_or(0)), state)
}
