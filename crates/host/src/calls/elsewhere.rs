//! Calls that a device's driver has no part in, but which would find out what stands behind its descriptor.

use ioctlab_abi::Errno;

use super::{Call, open};
use crate::filter::i386;
use crate::isolation::Isolation;
use crate::paths::{self, Named, Place};
use crate::sys::seccomp::Answer;

/// Control blocks that one `io_submit` is looked through for; libaio's queues are rarely deeper.
const BLOCKS_MAX: u64 = 65_536;
/// `IOCB_CMD_POLL`, the one asynchronous operation that these drivers have.
const POLL: u16 = 5;

/// A device is no socket.
pub(super) fn socket(call: &mut Call<'_>) -> Answer {
    let mut state = call.server.lock();
    match call.device(&mut state, call.argument(0)) {
        Some(_) => Errno::ENOTSOCK.into(),
        None => Answer::Continue,
    }
}

/// `sendfile` and `splice`: these drivers have neither `splice_read` nor `splice_write`.
pub(super) fn splice(call: &mut Call<'_>) -> Answer {
    let (input, offset, output) = match call.number {
        libc::SYS_sendfile => (call.argument(1), call.argument(2), call.argument(0)),
        _ => (call.argument(0), call.argument(1), call.argument(2)),
    };
    let mut state = call.server.lock();
    let from = call.device(&mut state, input).and_then(|f| state.kernel.file(f).copied());
    let to = call.device(&mut state, output).and_then(|f| state.kernel.file(f).copied());
    drop(state);
    if from.is_none() && to.is_none() {
        return Answer::Continue;
    }
    if from.is_some_and(|f| !f.access.read) || to.is_some_and(|f| !f.access.write) {
        return Errno::EBADF.into();
    }
    // An offset can't be had in a stream.
    if from.is_some() && offset != 0 { Errno::ESPIPE.into() } else { Errno::EINVAL.into() }
}

/// libaio: reads and writes of a device are refused when they are submitted.
pub(super) fn io_submit(call: &mut Call<'_>) -> Answer {
    let (count, blocks) = (call.argument(1).min(BLOCKS_MAX), call.argument(2));
    for index in 0..count {
        let mut pointer = [0; 8];
        let mut block = [0; 24];
        if call.memory.read_some(blocks.wrapping_add(index * 8), &mut pointer) != 8
            || call.memory.read_some(u64::from_ne_bytes(pointer), &mut block) != block.len()
        {
            return Answer::Continue;
        }
        let [.., o0, o1, _, _, d0, d1, d2, d3] = block;
        if u16::from_ne_bytes([o0, o1]) == POLL {
            continue;
        }
        let mut state = call.server.lock();
        let descriptor = u64::from(u32::from_ne_bytes([d0, d1, d2, d3]));
        if call.device(&mut state, descriptor).is_some() {
            // Linux would submit the blocks before this one; that can't be had from here without going on with it, too.
            return Errno::EINVAL.into();
        }
    }
    Answer::Continue
}

/// With trapped paths: the directories on the way to a node exist nowhere that a process could be in.
pub(super) fn chdir(call: &mut Call<'_>) -> Answer {
    if call.run.tree.isolation != Isolation::Paths {
        return Answer::Continue;
    }
    let Some(path) = call.memory.read_string(call.argument(0), paths::PATH_MAX) else {
        return Answer::Continue;
    };
    match paths::find(
        call.run,
        &Named { thread: call.thread, directory: libc::AT_FDCWD, path: &path, follow: true },
    ) {
        Some(Place::Directory(_)) => Errno::EACCES.into(),
        Some(Place::Node(_)) => Errno::ENOTDIR.into(),
        _ => Answer::Continue,
    }
}

/// 32-bit callers: the nodes open, and their ioctls are refused as Linux refuses them, having no 32-bit entry.
pub(super) fn compat(call: &mut Call<'_>) -> Answer {
    match call.number {
        i386::OPEN => open::open(call),
        i386::OPENAT => open::openat(call),
        i386::OPENAT2 => open::openat2(call),
        i386::IOCTL => {
            let mut state = call.server.lock();
            match call.device(&mut state, call.argument(0)) {
                Some(_) => Errno::ENOTTY.into(),
                None => Answer::Continue,
            }
        }
        _ => Answer::Continue,
    }
}
