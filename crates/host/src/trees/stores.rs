//! Carrying out writes to attributes.
//!
//! One thread does, as it has to have the server's lock for what follows from a write. It waits for nothing else: what takes
//! its time says so later.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, PoisonError};

use ioctlab_abi::Errno;

use super::Trees;
use super::connection::Connection;
use super::operations::unless_gone;

/// Something for the thread to do.
pub(crate) enum Job {
    /// To begin a write.
    Begin(Write, u64, Vec<u8>),
    /// To tell who wrote what has become of it.
    End(Write, Result<usize, Errno>),
}

/// A write that somebody waits for.
#[derive(Clone)]
pub(crate) struct Write {
    /// By which connection it came.
    pub(crate) connection: Arc<Connection>,
    /// The number of its request.
    pub(crate) unique: u64,
    /// The attribute.
    pub(crate) path: Arc<str>,
}

/// The way to the thread; it is made if it isn't there. `settle` is called after whatever may have changed something.
///
/// # Errors
/// `EAGAIN` if it can't be made.
pub(crate) fn start(trees: &Trees, settle: impl Fn() + Send + 'static) -> io::Result<Sender<Job>> {
    let mut stores = trees.stores.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(jobs) = &*stores {
        return Ok(jobs.clone());
    }
    let (sender, receiver) = mpsc::channel();
    let ends = sender.clone();
    std::thread::Builder::new().name("stores".into()).spawn(move || work(&receiver, &ends, settle))?;
    *stores = Some(sender.clone());
    Ok(sender)
}

fn work(jobs: &Receiver<Job>, ends: &Sender<Job>, settle: impl Fn()) {
    for job in jobs {
        match job {
            Job::Begin(write, offset, bytes) => {
                // A bug in one attribute must not end the service of all others.
                let begun = catch_unwind(AssertUnwindSafe(|| begin(&write, offset, &bytes, ends.clone())));
                if begun.is_err() {
                    write.connection.finish_write(write.unique, Err(Errno::EIO));
                }
                settle();
            }
            Job::End(write, result) => {
                // Who called back may have been in the middle of a call, with the server's lock: this waits for its end.
                settle();
                let tree = write.connection.trees.tree(&write.path);
                let gone = |errno| tree.map_or(errno, |tree| unless_gone(tree, &write.path, errno));
                write.connection.finish_write(write.unique, result.map_err(gone));
            }
        }
    }
}

fn begin(write: &Write, offset: u64, bytes: &[u8], ends: Sender<Job>) {
    let end = write.clone();
    let length = bytes.len();
    let done = move |result: Result<usize, Errno>| {
        // The thread is there for as long as the server is.
        let _ = ends.send(Job::End(end, result.map(|written| written.min(length))));
    };
    match write.connection.trees.tree(&write.path) {
        Some(tree) => tree.store(&write.path, offset, bytes, Box::new(done)),
        None => done(Err(Errno::ENODEV)),
    }
}
