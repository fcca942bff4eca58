//! Trapped calls, one by one.

mod addressed;
mod descriptors;
mod elsewhere;
mod mapping;
mod metadata;
mod open;
mod transfer;
mod work;

use std::os::fd::OwnedFd;

use ioctlab_abi::Errno;
use ioctlab_kernel::{FileId, NodeId};
use rustix::process::PidfdGetfdFlags;

use crate::memory::ClientMemory;
use crate::process::Meaning;
use crate::relief::Replace;
use crate::run::Run;
use crate::server::{Server, State};
use crate::sys::seccomp::{Answer, Listener, Notification};
use crate::trace::Record;
use crate::window;
use crate::{descriptor, filter};

/// A trapped call and what is needed to serve it.
pub(crate) struct Call<'a> {
    pub(crate) server: &'a Server,
    pub(crate) run: &'a Run,
    pub(crate) listener: &'a Listener,
    pub(crate) id: u64,
    pub(crate) thread: i32,
    /// Where the call returns to.
    instruction: u64,
    number: i64,
    architecture: u32,
    arguments: [u64; 6],
    pub(crate) memory: ClientMemory,
    /// What the trace says of the call; only device calls have one, and only if there is a trace.
    pub(crate) record: Option<Record>,
    /// Starts a thread in this one's place, should it take too long.
    replace: &'a Replace,
    /// It has been done.
    pub(crate) is_replaced: bool,
    /// A descriptor argument turned out to be a device's.
    is_ours: bool,
    /// A descriptor argument stood for nothing.
    is_gone: bool,
}

/// The open file behind a process's descriptor, if it is one of ours.
///
/// # Errors
/// `ENOENT` if there is nothing behind it.
fn look_behind(state: &State, process: i32, number: u32) -> rustix::io::Result<Option<FileId>> {
    Ok(state.file_with(descriptor::behind(process, number)?))
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        server: &'a Server,
        run: &'a Run,
        listener: &'a Listener,
        replace: &'a Replace,
        n: &Notification,
    ) -> Self {
        Self {
            server,
            run,
            listener,
            id: n.id,
            thread: n.thread,
            instruction: n.instruction,
            number: n.number,
            architecture: n.architecture,
            arguments: n.arguments,
            memory: ClientMemory::new(n.thread, server.store.device()),
            record: None,
            replace,
            is_replaced: false,
            is_ours: false,
            is_gone: false,
        }
    }

    /// An argument's register; there are six.
    pub(crate) fn argument(&self, index: usize) -> u64 {
        self.arguments.get(index).copied().unwrap_or(0)
    }

    /// The open file that a descriptor argument stands for, if it is one of ours.
    pub(crate) fn device(&mut self, state: &mut State, descriptor: u64) -> Option<FileId> {
        state.heard_of(self.thread);
        let file = self.find_device(state, descriptor);
        self.is_ours |= file.is_some();
        file
    }

    fn find_device(&mut self, state: &mut State, descriptor: u64) -> Option<FileId> {
        let Some(place) = window::place(descriptor) else {
            let behind = look_behind(state, self.thread, descriptor as u32);
            self.is_gone = behind == Err(rustix::io::Errno::NOENT);
            return behind.ok().flatten();
        };
        let group = state.group(self.thread).ok()?;
        if let Meaning::Device(file) = state.processes.meaning(group, place) {
            return Some(file);
        }
        let behind = look_behind(state, self.thread, descriptor as u32);
        self.is_gone = behind == Err(rustix::io::Errno::NOENT);
        let file = behind.ok()??;
        // A 32-bit caller's closes aren't all trapped, so nothing is remembered of its numbers.
        if self.architecture == filter::X86_64 {
            state.processes.set(group, place, file);
        }
        Some(file)
    }

    /// The same for any process's descriptor, by asking the kernel.
    pub(crate) fn device_of(&self, state: &mut State, process: i32, number: u32) -> Option<FileId> {
        look_behind(state, process, number).ok().flatten()
    }

    /// A copy of the caller's descriptor, where that is allowed.
    pub(crate) fn copy_descriptor(&self, state: &mut State, descriptor: u64) -> Option<OwnedFd> {
        let group = state.group(self.thread).ok()?;
        let pidfd = state.processes.pidfd(group)?;
        rustix::process::pidfd_getfd(pidfd, descriptor as i32, PidfdGetfdFlags::empty()).ok()
    }

    /// The node behind any process's descriptor: a device that is open, or its node opened as a mere path.
    pub(crate) fn node_behind(&self, process: i32, number: u32) -> Option<NodeId> {
        let mut state = self.server.lock();
        let open =
            self.device_of(&mut state, process, number).and_then(|file| state.kernel.file(file).copied());
        drop(state);
        if let Some(open) = open {
            return Some(open.node);
        }
        let identity = descriptor::behind(process, number).ok()?;
        self.run.tree.node_of(identity).map(|file| file.node)
    }

    /// Whether the trace wants to know of this call.
    pub(crate) fn is_traced(&self) -> bool {
        self.server.trace.is_some()
    }
}

/// Serves a call.
pub(crate) fn serve(call: &mut Call<'_>) -> Answer {
    if call.thread == 0 {
        // Not visible in this pid namespace, so nothing can be learnt of it.
        return Answer::Continue;
    }
    match call.architecture {
        filter::X86_64 => {
            let answer = serve_native(call);
            if answer == Answer::Continue && is_gone(call) { Errno::EBADF.into() } else { answer }
        }
        filter::I386 => elsewhere::compat(call),
        _ => Answer::Continue,
    }
}

/// Whether the call is about a number that stood for nothing.
///
/// Another thread may have made it stand for a device since. If the kernel went on with the call, it would then find what
/// stands behind the device; that the call came first is as true.
fn is_gone(call: &Call<'_>) -> bool {
    let acts_on_descriptor = matches!(
        call.number,
        libc::SYS_ioctl
            | libc::SYS_read
            | libc::SYS_write
            | libc::SYS_readv
            | libc::SYS_writev
            | libc::SYS_fstat
            | libc::SYS_dup
            | libc::SYS_fcntl
    );
    acts_on_descriptor && call.is_gone && !call.is_ours
}

fn serve_native(call: &mut Call<'_>) -> Answer {
    match call.number {
        libc::SYS_ioctl => transfer::ioctl(call),
        libc::SYS_read => transfer::read(call),
        libc::SYS_write => transfer::write(call),
        libc::SYS_readv => transfer::readv(call),
        libc::SYS_writev => transfer::writev(call),
        libc::SYS_preadv2 => transfer::preadv2(call),
        libc::SYS_pwritev2 => transfer::pwritev2(call),
        libc::SYS_open => open::open(call),
        libc::SYS_creat => open::creat(call),
        libc::SYS_openat => open::openat(call),
        libc::SYS_openat2 => open::openat2(call),
        libc::SYS_close => descriptors::close(call),
        libc::SYS_close_range => descriptors::close_range(call),
        libc::SYS_dup => descriptors::dup(call),
        libc::SYS_dup2 | libc::SYS_dup3 => descriptors::dup_to(call),
        libc::SYS_fcntl => descriptors::fcntl(call),
        libc::SYS_execve | libc::SYS_execveat => descriptors::exec(call),
        libc::SYS_fstat => metadata::fstat(call),
        libc::SYS_newfstatat => metadata::newfstatat(call),
        libc::SYS_stat | libc::SYS_lstat => metadata::stat(call),
        libc::SYS_statx => metadata::statx(call),
        libc::SYS_readlink | libc::SYS_readlinkat => metadata::readlink(call),
        libc::SYS_access | libc::SYS_faccessat | libc::SYS_faccessat2 => metadata::access(call),
        libc::SYS_getxattr | libc::SYS_lgetxattr | libc::SYS_listxattr | libc::SYS_llistxattr => {
            metadata::extended_attributes(call)
        }
        libc::SYS_mmap => mapping::mmap(call),
        libc::SYS_mremap => mapping::mremap(call),
        libc::SYS_madvise => mapping::madvise(call),
        libc::SYS_kill | libc::SYS_tkill | libc::SYS_tgkill => mapping::kill(call),
        libc::SYS_lseek => transfer::lseek(call),
        libc::SYS_pread64 => addressed::positioned(call, call.argument(3), true, false),
        libc::SYS_preadv => addressed::positioned(call, call.argument(3), true, true),
        libc::SYS_pwrite64 => addressed::positioned(call, call.argument(3), false, false),
        libc::SYS_pwritev => addressed::positioned(call, call.argument(3), false, true),
        libc::SYS_fsync | libc::SYS_fdatasync => elsewhere::sync(call),
        libc::SYS_fallocate => elsewhere::fallocate(call),
        libc::SYS_copy_file_range => elsewhere::copy_range(call),
        libc::SYS_chdir => elsewhere::chdir(call),
        libc::SYS_sendfile => elsewhere::sendfile(call),
        libc::SYS_splice => elsewhere::splice(call),
        libc::SYS_io_submit => elsewhere::io_submit(call),
        // io_uring would go past the filter. Programs that use it do without where a kernel has none.
        libc::SYS_io_uring_setup => Errno::ENOSYS.into(),
        libc::SYS_chroot | libc::SYS_pivot_root | libc::SYS_setns | libc::SYS_unshare => {
            call.run.distrust_root();
            call.server.lock().processes.distrust_process(call.thread);
            Answer::Continue
        }
        // All others that are trapped are calls on sockets, which a device is not.
        _ => elsewhere::socket(call),
    }
}
