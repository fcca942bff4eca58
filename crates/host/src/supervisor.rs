//! Receiving a run's trapped calls and answering them.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use crate::calls::{self, Call};
use crate::relief::Replace;
use crate::run::Run;
use crate::server::{INTERRUPT, Server};
use crate::sys::misc;
use crate::sys::seccomp::{Answer, Listener, Notification};

impl Server {
    /// Serves the calls of a run, whose filter has this listener, on a thread of its own; until nobody is left who could
    /// make a call.
    ///
    /// # Errors
    /// `EAGAIN` if no thread can be made.
    pub fn supervise(self: &Arc<Self>, run: Run, listener: OwnedFd) -> io::Result<()> {
        misc::make_interrupting(INTERRUPT);
        let (run, listener) = (Arc::new(run), Arc::new(Listener::new(listener)));
        let id = self.lock().watch_run(&run, &*listener);
        start(self, id, &run, &listener).inspect_err(|_| self.lock().forget_run(id))
    }
}

/// Starts a thread that serves a run's calls: the first, or one in the place of another that a device keeps.
fn start(server: &Arc<Server>, id: u64, run: &Arc<Run>, listener: &Arc<Listener>) -> io::Result<()> {
    let (server, run, listener) = (Arc::clone(server), Arc::clone(run), Arc::clone(listener));
    let serve = move || {
        let replace: Replace = {
            let (server, run, listener) = (Arc::clone(&server), Arc::clone(&run), Arc::clone(&listener));
            Arc::new(move || start(&server, id, &run, &listener).is_ok())
        };
        server.lock().run_is_served_by(id, misc::current_thread());
        if serve(&server, &run, &listener, &replace) == End::OfRun {
            server.lock().forget_run(id);
        }
    };
    std::thread::Builder::new().name("calls".into()).spawn(serve)?;
    Ok(())
}

/// Why a thread serves a run no longer.
#[derive(PartialEq, Eq)]
enum End {
    /// Another one does.
    Replaced,
    /// Nobody is left who could make a call.
    OfRun,
}

fn serve(server: &Server, run: &Run, listener: &Listener, replace: &Replace) -> End {
    loop {
        match listener.receive() {
            Ok(notification) => {
                if answer(server, run, listener, replace, &notification) {
                    return End::Replaced;
                }
            }
            Err(error) => match error.raw_os_error() {
                // Interrupted because nobody is left (before Linux 6.11, which says so), or the caller was killed or
                // interrupted before the call could be fetched.
                Some(libc::EINTR | libc::ENOENT) if !has_hung_up(listener) => {}
                _ => return End::OfRun,
            },
        }
    }
}

/// Serves one call; whether another thread has taken this one's place meanwhile.
fn answer(
    server: &Server,
    run: &Run,
    listener: &Listener,
    replace: &Replace,
    notification: &Notification,
) -> bool {
    let begun = server.trace.as_ref().map(|_| Instant::now());
    let mut call = Call::new(server, run, listener, replace, notification);
    // A bug in serving one call must not end the service of all others.
    let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| calls::serve(&mut call)))
        .unwrap_or(Answer::Fail(ioctlab_abi::Errno::EIO));
    let mut record = call.record.take();
    if let Some(record) = &mut record {
        record.add_answer(answer, &mut call.memory);
    }
    // An error means that the caller is gone or was interrupted: nobody waits for the answer.
    let _ = listener.answer(notification.id, answer);
    if let (Some(trace), Some(begun), Some(record)) = (&server.trace, begun, record) {
        trace.log(notification.thread, &record, answer, begun.elapsed());
    }
    call.is_replaced
}

fn has_hung_up(listener: &Listener) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut state = [PollFd::new(listener, PollFlags::IN)];
    let now = rustix::time::Timespec::default();
    poll(&mut state, Some(&now)).is_ok()
        && state.first().is_some_and(|s| s.revents().contains(PollFlags::HUP))
}
