//! A server in the background.

use std::fs::File;
use std::io::{self, Read, Write};

use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;

use crate::sys::process;

/// The background process's word to who started it, given once.
pub struct Ready(File);

impl Ready {
    /// All is well: the starter may end.
    pub fn succeed(mut self) {
        let _ = self.0.write_all(b"+");
    }

    /// It was not to be: the starter says why.
    pub fn fail(mut self, reason: &str) {
        let _ = self.0.write_all(reason.as_bytes());
    }
}

/// Runs `serve` in a background process of a session of its own, without standard streams; returns once it is ready.
///
/// # Errors
/// What `serve` failed with, or why there is no process.
pub fn start(serve: impl FnOnce(Ready)) -> Result<(), String> {
    let failed = |error: io::Error| format!("starting the server: {error}");
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
    process::fork(|| {
        if let Err(error) = detach() {
            Ready(File::from(write)).fail(&format!("detaching the server: {error}"));
            return;
        }
        serve(Ready(File::from(write)));
    })
    .map_err(failed)?;
    // The child has taken `write` along; here it went with the closure, so the end of the pipe is the child's doing.
    let mut word = Vec::new();
    File::from(read).read_to_end(&mut word).map_err(failed)?;
    match word.as_slice() {
        b"+" => Ok(()),
        b"" => Err("the server ended before it was ready".to_owned()),
        reason => Err(String::from_utf8_lossy(reason).into_owned()),
    }
}

/// Gives this process a session of its own, the root directory, and no standard streams.
pub(crate) fn detach() -> io::Result<()> {
    rustix::process::setsid()?;
    std::env::set_current_dir("/")?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
