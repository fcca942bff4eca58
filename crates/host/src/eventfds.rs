//! Programs' eventfds, which drivers hold, signal and watch.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use ioctlab_kernel::{Errno, EventId};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::MemfdFlags;
use rustix::io::ReadWriteFlags;
use rustix::time::Timespec;

use crate::sys::aio;

/// What `/proc/self/fd` shows of an eventfd.
const NAME: &[u8] = b"anon_inode:[eventfd]";

/// All eventfds that drivers hold.
pub(crate) struct Eventfds {
    held: HashMap<EventId, Held>,
    next: u64,
    signaller: Option<Signaller>,
    epoll: Arc<OwnedFd>,
    /// What tells this epoll's events apart from others.
    mark: u64,
}

struct Held {
    eventfd: OwnedFd,
    is_watched: bool,
    /// What its last signal has led to isn't done yet.
    is_busy: bool,
    /// There was another one meanwhile, or several.
    is_due: bool,
}

/// Signals eventfds as a kernel does.
struct Signaller {
    queue: aio::Queue,
    nothing: OwnedFd,
}

impl Eventfds {
    /// None yet. What happens to those that are watched is an event of `epoll`, marked with `mark` and the number.
    pub(crate) fn new(epoll: Arc<OwnedFd>, mark: u64) -> Self {
        Self { held: HashMap::new(), next: 1, signaller: None, epoll, mark }
    }

    /// Holds an eventfd.
    ///
    /// # Errors
    /// [`Errno::EINVAL`] if it is none.
    pub(crate) fn hold(&mut self, descriptor: OwnedFd) -> Result<EventId, Errno> {
        let number = std::os::fd::AsRawFd::as_raw_fd(&descriptor);
        let name = rustix::fs::readlink(format!("/proc/self/fd/{number}"), Vec::new());
        if name.as_ref().map(|name| name.to_bytes()) != Ok(NAME) {
            return Err(Errno::EINVAL);
        }
        let event = EventId(self.next);
        self.next += 1;
        self.held
            .insert(event, Held { eventfd: descriptor, is_watched: false, is_busy: false, is_due: false });
        Ok(event)
    }

    /// Adds 1 to an eventfd's count.
    pub(crate) fn signal(&mut self, event: EventId) {
        let Some(held) = self.held.get(&event) else { return };
        if self.signaller.is_none() {
            self.signaller = Signaller::new().ok();
        }
        let signalled = self.signaller.as_ref().is_some_and(|signaller| signaller.signal(&held.eventfd));
        if !signalled {
            write_one(&held.eventfd);
        }
    }

    /// Watches an eventfd from now on.
    pub(crate) fn watch(&mut self, event: EventId) {
        if let Some(held) = self.held.get_mut(&event)
            && !held.is_watched
        {
            let data = EventData::new_u64(self.mark | event.0);
            // Each signal is one event, whatever is left of the count: a semaphore's goes down by one at a time.
            let signals = EventFlags::IN | EventFlags::ET;
            held.is_watched = epoll::add(&*self.epoll, &held.eventfd, data, signals).is_ok();
        }
    }

    /// An eventfd was signalled: takes its count. Whether something is to be done about it now; while it is busy it isn't, and what
    /// comes meanwhile is one more signal.
    pub(crate) fn take(&mut self, event: EventId) -> bool {
        let Some(held) = self.held.get_mut(&event).filter(|held| held.is_watched) else { return false };
        if held.is_busy {
            held.is_due = true;
            return false;
        }
        let mut count = [0; 8];
        // It may be a blocking one, and somebody else may have read it meanwhile: it was signalled all the same.
        let now = ReadWriteFlags::NOWAIT;
        let _ = rustix::io::preadv2(&held.eventfd, &mut [IoSliceMut::new(&mut count)], u64::MAX, now);
        true
    }

    /// Something is being done that a signal to an eventfd has led to.
    pub(crate) fn begin(&mut self, event: EventId) {
        if let Some(held) = self.held.get_mut(&event) {
            held.is_busy = true;
        }
    }

    /// It is done; whether there was another signal meanwhile.
    pub(crate) fn end(&mut self, event: EventId) -> bool {
        self.held.get_mut(&event).is_some_and(|held| {
            held.is_busy = false;
            std::mem::take(&mut held.is_due)
        })
    }

    /// Lets an eventfd go.
    pub(crate) fn let_go(&mut self, event: EventId) {
        if let Some(held) = self.held.remove(&event)
            && held.is_watched
        {
            // It would stay as long as its owner has it open.
            let _ = epoll::delete(&*self.epoll, &held.eventfd);
        }
    }

    /// How many are held.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }
}

impl Signaller {
    fn new() -> io::Result<Self> {
        let nothing = rustix::fs::memfd_create("ioctlab-nothing", MemfdFlags::CLOEXEC)?;
        Ok(Self { queue: aio::Queue::new()?, nothing })
    }

    fn signal(&self, eventfd: impl AsFd) -> bool {
        self.queue.signal(&self.nothing, eventfd).is_ok()
    }
}

/// The next best on a system without asynchronous reads: it waits only if the owner fills the count up just now.
fn write_one(eventfd: &OwnedFd) {
    let mut room = [PollFd::new(eventfd, PollFlags::OUT)];
    if rustix::event::poll(&mut room, Some(&Timespec::default())).is_ok_and(|ready| ready > 0) {
        let _ = rustix::io::write(eventfd, &1u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};

    fn eventfds() -> Eventfds {
        Eventfds::new(Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC).unwrap()), 7 << 56)
    }

    fn read(event: &OwnedFd) -> Option<u64> {
        let mut bytes = [0; 8];
        rustix::io::read(event, &mut bytes).ok().map(|_| u64::from_ne_bytes(bytes))
    }

    fn read_now(event: &OwnedFd) -> Option<u64> {
        let mut bytes = [0; 8];
        let read =
            rustix::io::preadv2(event, &mut [IoSliceMut::new(&mut bytes)], u64::MAX, ReadWriteFlags::NOWAIT);
        read.ok().map(|_| u64::from_ne_bytes(bytes))
    }

    fn ready(events: &Eventfds) -> Option<u64> {
        let mut room = [std::mem::MaybeUninit::uninit(); 1];
        let (ready, _) = epoll::wait(&*events.epoll, &mut room, Some(&Timespec::default())).unwrap();
        ready.first().map(|event| event.data.u64())
    }

    #[test]
    fn only_eventfds_are_held() {
        let mut events = eventfds();
        let (pipe, _other) = rustix::pipe::pipe().unwrap();
        assert_eq!(events.hold(pipe), Err(Errno::EINVAL));
        let event = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let first = events.hold(event.try_clone().unwrap()).unwrap();
        let second = events.hold(event.try_clone().unwrap()).unwrap();
        assert_ne!(first, second, "each time it is held by a number of its own");
        events.signal(first);
        events.signal(second);
        assert_eq!(read(&event), Some(2));
        events.let_go(first);
        events.signal(first);
        assert_eq!((read(&event), events.len()), (None, 1));
    }

    #[test]
    fn what_is_watched_is_taken_without_waiting() {
        let mut events = eventfds();
        // A blocking one.
        let event = eventfd(0, EventfdFlags::empty()).unwrap();
        let id = events.hold(event.try_clone().unwrap()).unwrap();
        rustix::io::write(&event, &3u64.to_ne_bytes()).unwrap();
        assert!(!events.take(id), "nobody watches it");
        events.watch(id);
        events.watch(id);
        assert_eq!(ready(&events), Some(7 << 56 | id.0));
        assert!(events.take(id));
        assert_eq!(read_now(&event), None, "it has been taken");
        assert_eq!(ready(&events), None);
        // What comes while something is being done is one more signal, at its end.
        events.begin(id);
        for _ in 0..3 {
            rustix::io::write(&event, &1u64.to_ne_bytes()).unwrap();
            assert_eq!(ready(&events), Some(7 << 56 | id.0));
            assert!(!events.take(id));
        }
        assert!(events.end(id) && !events.end(id));
        assert!(events.take(id));
        assert_eq!(read_now(&event), None);
        rustix::io::write(&event, &1u64.to_ne_bytes()).unwrap();
        events.let_go(id);
        assert_eq!(ready(&events), None, "nobody is told any more");
    }
}
