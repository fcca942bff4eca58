//! What a driver's answer leads to besides a value: work that takes its time, or a new descriptor.

use std::sync::MutexGuard;

use ioctlab_abi::Errno;
use ioctlab_kernel::{CallResult, FileId, Reply, Stop, Work};
use rustix::fs::OFlags;

use super::{Call, open};
use crate::server::{Nobody, State};
use crate::sys::seccomp::Answer;

/// Goes on with an ioctl on `file` that a driver has answered.
pub(super) fn answer<'a>(
    call: &mut Call<'a>,
    mut state: MutexGuard<'a, State>,
    file: FileId,
    reply: CallResult<Reply>,
) -> Answer {
    match reply {
        Ok(Reply::Value(value)) => Answer::Value(value),
        Ok(Reply::Open { device, name }) => {
            let opened = state
                .kernel
                .open_anonymous(file, device, name, call.run.opener)
                .and_then(|file| open::back(&mut state, file, OFlags::empty()));
            state.settle();
            drop(state);
            match opened {
                Ok((file, client)) => open::give(call, file, client, libc::O_CLOEXEC),
                Err(errno) => errno.into(),
            }
        }
        Ok(Reply::Work(work)) => {
            let (result, state) = perform(call, state, file, work);
            drop(state);
            result.map_or_else(Answer::Fail, Answer::Value)
        }
        Err(Stop::Fail(errno)) => errno.into(),
        // No ioctl of these drivers waits for data.
        Err(Stop::Wait) => Errno::EAGAIN.into(),
    }
}

/// Does a call's work, with nothing locked; returns what comes of it, with the lab locked again. If its file is closed
/// meanwhile, it is released after that.
pub(super) fn perform<'a>(
    call: &mut Call<'a>,
    mut state: MutexGuard<'a, State>,
    file: FileId,
    mut work: Box<dyn Work>,
) -> (Result<i64, Errno>, MutexGuard<'a, State>) {
    state.kernel.hold(file);
    drop(state);
    // A call that another thread's stands in for has none to stand in for it: it is the last that this thread serves.
    let (run, replaced) = call.server.relief.guard(call.replace, || work.run());
    call.is_replaced |= replaced;
    // If the caller was killed meanwhile, as by another thread's `execve`, then what is at its number now is no business of this.
    let is_awaited = call.listener.is_awaited(call.id);
    let mut state = call.server.lock();
    let result = match run {
        Ok(()) if is_awaited => {
            state.with_caller(call.thread, &mut call.memory, |_, caller| work.finish(caller))
        }
        Ok(()) => work.finish(&mut Nobody),
        Err(_) => Err(Errno::EIO),
    };
    state.kernel.let_go(file);
    state.settle();
    (result, state)
}
