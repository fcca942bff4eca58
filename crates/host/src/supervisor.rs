//! Receiving a run's trapped calls and answering them.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::calls::{self, Call};
use crate::run::Run;
use crate::server::Server;
use crate::sys::misc;
use crate::sys::seccomp::{Answer, Listener, Notification};

/// Gets a thread out of waiting for calls.
const INTERRUPT: i32 = libc::SIGURG;

/// A thread that serves one run's calls.
pub struct Supervisor {
    thread: std::thread::JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Serves the calls of a run, whose filter has this listener, on a thread of its own.
    ///
    /// # Errors
    /// `EAGAIN` if no thread can be made.
    pub fn supervise(self: &Arc<Self>, run: Run, listener: OwnedFd) -> io::Result<Supervisor> {
        misc::make_interrupting(INTERRUPT);
        let server = Arc::clone(self);
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("calls".into())
            .spawn(move || serve(&server, &run, &Listener::new(listener), &stopping))?;
        Ok(Supervisor { thread, stop })
    }
}

impl Supervisor {
    /// Whether nobody is left who could make a call.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Stops serving: calls that are trapped from then on fail with `ENOSYS`.
    pub fn stop(self) {
        use std::os::unix::thread::JoinHandleExt;
        self.stop.store(true, Ordering::Relaxed);
        // The signal may come just before the thread waits: try until it is gone.
        while !self.thread.is_finished() {
            misc::wake_thread(self.thread.as_pthread_t(), INTERRUPT);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let _ = self.thread.join();
    }
}

fn serve(server: &Server, run: &Run, listener: &Listener, stopping: &AtomicBool) {
    while !stopping.load(Ordering::Relaxed) {
        match listener.receive() {
            Ok(notification) => answer(server, run, listener, &notification),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR) => {}
                // The caller was killed or interrupted before the call could be fetched, or nobody is left.
                Some(libc::ENOENT) if !has_hung_up(listener) => {}
                _ => return,
            },
        }
    }
}

fn answer(server: &Server, run: &Run, listener: &Listener, notification: &Notification) {
    let begun = server.trace.as_ref().map(|_| Instant::now());
    let mut call = Call::new(server, run, listener, notification);
    // A bug in serving one call must not end the service of all others.
    let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| calls::serve(&mut call)))
        .unwrap_or(Answer::Fail(ioctlab_abi::Errno::EIO));
    let record = call.record.take();
    // An error means that the caller is gone or was interrupted: nobody waits for the answer.
    let _ = listener.answer(notification.id, answer);
    if let (Some(trace), Some(begun), Some(record)) = (&server.trace, begun, record) {
        trace.log(notification.thread, &record, answer, begun.elapsed());
    }
}

fn has_hung_up(listener: &Listener) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut state = [PollFd::new(listener, PollFlags::IN)];
    let now = rustix::time::Timespec::default();
    poll(&mut state, Some(&now)).is_ok()
        && state.first().is_some_and(|s| s.revents().contains(PollFlags::HUP))
}
