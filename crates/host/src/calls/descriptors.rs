//! Calls that change what descriptor numbers mean: close, dup, fcntl, exec.

use super::Call;
use super::open::add_descriptor;
use crate::sys::seccomp::Answer;
use crate::window;
use ioctlab_abi::Errno;

/// `O_LARGEFILE`, which x86-64 sets on every open.
const LARGE_FILE: u32 = 0o100_000;
/// The flags that `F_SETFL` can change: `O_APPEND`, `O_ASYNC`, `O_DIRECT`, `O_NOATIME`, `O_NONBLOCK`.
const CHANGEABLE: u32 = 0o2000 | 0o20000 | 0o40000 | 0o1_000_000 | 0o4000;

/// The number may stand for another file as soon as the kernel has closed it.
pub(super) fn close(call: &mut Call<'_>) -> Answer {
    doubt(call, call.argument(0));
    Answer::Continue
}

pub(super) fn close_range(call: &mut Call<'_>) -> Answer {
    call.server.lock().processes.changes_all(call.thread);
    Answer::Continue
}

/// `dup2` and `dup3`: what the new number stands for is found out when it is used.
pub(super) fn dup_to(call: &mut Call<'_>) -> Answer {
    doubt(call, call.argument(1));
    Answer::Continue
}

/// `dup` of a device's descriptor: the copy gets a number in the window, too.
pub(super) fn dup(call: &mut Call<'_>) -> Answer {
    duplicate(call, 0, false)
}

pub(super) fn fcntl(call: &mut Call<'_>) -> Answer {
    match call.argument(1) as i32 {
        libc::F_GETFL => status_flags(call),
        libc::F_DUPFD => duplicate(call, call.argument(2), false),
        libc::F_DUPFD_CLOEXEC => duplicate(call, call.argument(2), true),
        _ => Answer::Continue,
    }
}

/// A descriptor that is closed on exec goes, and with it what its number meant. Nothing changes if the exec fails.
pub(super) fn exec(call: &mut Call<'_>) -> Answer {
    let mut state = call.server.lock();
    state.processes.changes_own(call.thread);
    // If it succeeds the process gets another address space.
    if let Some(group) = state.processes.known_process(call.thread) {
        state.spaces.forget(group);
        state.memory.programs().doubt(group);
    }
    Answer::Continue
}

fn doubt(call: &Call<'_>, descriptor: u64) {
    if let Some(place) = window::place(descriptor) {
        call.server.lock().processes.changes(call.thread, place);
    }
}

fn duplicate(call: &mut Call<'_>, minimum: u64, close_on_exec: bool) -> Answer {
    // A minimum that is no descriptor's, or above the window: the kernel's answer is the right one.
    let Some(minimum) = u32::try_from(minimum).ok().filter(|&m| m <= window::LAST) else {
        return Answer::Continue;
    };
    let mut state = call.server.lock();
    state.handle_pending_events();
    let Some(file) = call.device(&mut state, call.argument(0)) else { return Answer::Continue };
    // Where the descriptor can't be copied to here, the kernel makes the duplicate: below the window, but a true one.
    let Some(client) = call.copy_descriptor(&mut state, call.argument(0)) else { return Answer::Continue };
    drop(state);
    match add_descriptor(call, file, &client, close_on_exec, minimum) {
        Ok(number) => Answer::Given(number),
        Err(error) => error.raw_os_error().map_or(Errno::EMFILE, Errno::from_raw).into(),
    }
}

/// What `open` was asked for, where the client's end has only what can be changed since.
fn status_flags(call: &mut Call<'_>) -> Answer {
    let mut state = call.server.lock();
    let descriptor = call.argument(0) as u32;
    let Some(open) = call.device(&mut state, call.argument(0)).and_then(|f| state.kernel.file(f).copied())
    else {
        return Answer::Continue;
    };
    // Only what is opened by a path is.
    let large = state.kernel.node(open.node).is_none_or(ioctlab_kernel::Node::has_path);
    let Ok(info) = std::fs::read_to_string(format!("/proc/{}/fdinfo/{descriptor}", call.thread)) else {
        return Answer::Continue;
    };
    let flags = info
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .and_then(|value| u32::from_str_radix(value.trim(), 8).ok())
        .unwrap_or(0);
    let flags = flags & CHANGEABLE | open.flags | open.access.flags() | if large { LARGE_FILE } else { 0 };
    Answer::Value(i64::from(flags))
}
