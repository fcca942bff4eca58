//! Calls that a device's driver has no part in, but which would find out what stands behind its descriptor.

use ioctlab_abi::Errno;
use ioctlab_kernel::Access;

use super::{Call, addressed, descriptors, metadata, open, transfer};
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

/// These drivers have no `fsync`.
pub(super) fn sync(call: &mut Call<'_>) -> Answer {
    let mut state = call.server.lock();
    match call.device(&mut state, call.argument(0)) {
        Some(file) if !state.has_contents(file) => Errno::EINVAL.into(),
        _ => Answer::Continue,
    }
}

/// Space is allocated in files only.
pub(super) fn fallocate(call: &mut Call<'_>) -> Answer {
    let mut state = call.server.lock();
    let Some(file) = call.device(&mut state, call.argument(0)) else { return Answer::Continue };
    let writable = state.kernel.file(file).is_some_and(|open| open.access.write);
    if writable && !state.has_contents(file) { Errno::ENODEV.into() } else { Errno::EBADF.into() }
}

/// A device is no regular file to copy from or to.
pub(super) fn copy_range(call: &mut Call<'_>) -> Answer {
    match spliced(call, call.argument(0), call.argument(2)) {
        Some(_) => Errno::EINVAL.into(),
        None => Answer::Continue,
    }
}

/// These drivers have no `splice_read` and no `splice_write`.
pub(super) fn sendfile(call: &mut Call<'_>) -> Answer {
    let (output, input, offset) = (call.argument(0), call.argument(1), call.argument(2));
    match spliced(call, input, output) {
        // An offset can't be had in a stream.
        Some(Ends { input: Some(_), .. }) if offset != 0 => Errno::ESPIPE.into(),
        Some(ends) => ends.refusal().into(),
        None => Answer::Continue,
    }
}

pub(super) fn splice(call: &mut Call<'_>) -> Answer {
    let (input, input_offset) = (call.argument(0), call.argument(1));
    let (output, output_offset) = (call.argument(2), call.argument(3));
    if call.argument(4) == 0 {
        return Answer::Continue;
    }
    match spliced(call, input, output) {
        // The other end is a pipe, or the call is as wrong.
        Some(Ends { input: Some(_), .. }) if output_offset != 0 => Errno::ESPIPE.into(),
        Some(Ends { output: Some(_), .. }) if input_offset != 0 => Errno::ESPIPE.into(),
        Some(ends) => ends.refusal().into(),
        None => Answer::Continue,
    }
}

/// The ends of a transfer within the kernel that are devices; at least one is.
struct Ends {
    input: Option<Access>,
    output: Option<Access>,
}

impl Ends {
    fn refusal(&self) -> Errno {
        let denied = self.input.is_some_and(|a| !a.read) || self.output.is_some_and(|a| !a.write);
        if denied { Errno::EBADF } else { Errno::EINVAL }
    }
}

fn spliced(call: &mut Call<'_>, input: u64, output: u64) -> Option<Ends> {
    let mut state = call.server.lock();
    let mut access = |descriptor| {
        let file = call.device(&mut state, descriptor)?;
        state.kernel.file(file).map(|open| open.access)
    };
    let ends = Ends { input: access(input), output: access(output) };
    (ends.input.is_some() || ends.output.is_some()).then_some(ends)
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
    let named = Named { thread: call.thread, directory: libc::AT_FDCWD, path: &path, follow: true };
    match paths::find(call.run, &named) {
        Some(Place::Directory(_)) => Errno::EACCES.into(),
        Some(Place::Node(_) | Place::BelowNode) => Errno::ENOTDIR.into(),
        _ => Answer::Continue,
    }
}

/// 32-bit callers: the nodes open, and their ioctls are refused as Linux refuses them, having no 32-bit entry.
pub(super) fn compat(call: &mut Call<'_>) -> Answer {
    match call.number {
        i386::OPEN => open::open(call),
        i386::OPENAT => open::openat(call),
        i386::OPENAT2 => open::openat2(call),
        i386::READ => transfer::read(call),
        i386::WRITE => transfer::write(call),
        i386::FSTAT64 => metadata::fstat64(call),
        i386::STATX => metadata::statx(call),
        i386::CLOSE => descriptors::close(call),
        i386::CLOSE_RANGE => descriptors::close_range(call),
        i386::DUP2 | i386::DUP3 => descriptors::dup_to(call),
        i386::EXECVE | i386::EXECVEAT => descriptors::exec(call),
        // A 32-bit program can't be made to map anything.
        i386::MMAP2 => {
            let mut state = call.server.lock();
            match call.device(&mut state, call.argument(4)) {
                Some(_) => Errno::ENODEV.into(),
                None => Answer::Continue,
            }
        }
        i386::IOCTL if transfer::is_generic(call.argument(1)) => Answer::Continue,
        i386::IOCTL => {
            let mut state = call.server.lock();
            let Some(file) = call.device(&mut state, call.argument(0)) else { return Answer::Continue };
            let open = state.kernel.file(file);
            let takes_it = open.and_then(|open| state.kernel.node(open.node)).is_some_and(|node| node.compat);
            drop(state);
            if takes_it { transfer::ioctl(call) } else { Errno::ENOTTY.into() }
        }
        i386::PREAD64 | i386::PWRITE64 => {
            let position = call.argument(3) & 0xffff_ffff | call.argument(4) << 32;
            addressed::positioned(call, position, call.number == i386::PREAD64, false)
        }
        _ => Answer::Continue,
    }
}
