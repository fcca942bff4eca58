//! Threads that step in for others which a device keeps from going on.
//!
//! A device's work is done by the thread that received the call that leads to it: nothing is quicker. A device may hang,
//! though. So somebody looks now and then at who has been at it for too long, and starts another thread in its place.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a thread may be at a device before another takes its place.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often that is looked at while anybody is at one.
const INTERVAL: Duration = Duration::from_millis(100);

/// What starts another thread, and says whether it could.
pub(crate) type Replace = Arc<dyn Fn() -> bool + Send + Sync>;

/// Who is at work, and since when.
#[derive(Default)]
pub(crate) struct Relief {
    state: Mutex<State>,
    begun: Condvar,
}

#[derive(Default)]
struct State {
    at_work: BTreeMap<u64, (Instant, Replace)>,
    next: u64,
    /// Somebody looks; it waits to be told if it waits without a time limit.
    looked_at: bool,
    waits: bool,
}

impl Relief {
    /// Does `work`, on this thread. If it takes too long, `replace` is called from another one meanwhile. Returns the work's
    /// result (an error if it panicked), and whether this thread has been replaced.
    pub(crate) fn guard<T>(
        self: &Arc<Self>,
        replace: &Replace,
        work: impl FnOnce() -> T,
    ) -> (std::thread::Result<T>, bool) {
        let number = self.begin(replace);
        let result = catch_unwind(AssertUnwindSafe(work));
        let replaced = self.lock().at_work.remove(&number).is_none();
        (result, replaced)
    }

    fn begin(self: &Arc<Self>, replace: &Replace) -> u64 {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.at_work.insert(number, (Instant::now(), Arc::clone(replace)));
        if state.waits {
            self.begun.notify_one();
        }
        if !state.looked_at {
            let relief = Arc::clone(self);
            // Without it nobody is relieved, until the next try.
            state.looked_at =
                std::thread::Builder::new().name("relief".into()).spawn(move || relief.look()).is_ok();
        }
        number
    }

    fn look(&self) {
        let mut state = self.lock();
        loop {
            if state.at_work.is_empty() {
                // Work that follows soon needs to wake nobody: only what comes after a pause does.
                state = self.wait(state);
                continue;
            }
            let late = state.at_work.iter_mut().find(|(_, (begun, _))| begun.elapsed() > PATIENCE);
            if let Some((number, (begun, replace))) = late {
                // With all of this locked: who ends just now is either replaced or not.
                if replace() {
                    let number = *number;
                    state.at_work.remove(&number);
                } else {
                    *begun = Instant::now();
                }
                continue;
            }
            state = self.begun.wait_timeout(state, INTERVAL).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let (mut state, timeout) =
            self.begun.wait_timeout(state, INTERVAL * 10).unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() && state.at_work.is_empty() {
            state.waits = true;
            state = self.begun.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waits = false;
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::resume_unwind;
    use std::sync::mpsc;

    /// What a thread's work gave, and whether it was replaced.
    fn guard<T>(relief: &Arc<Relief>, replace: &Replace, work: impl FnOnce() -> T) -> (Option<T>, bool) {
        let (result, replaced) = relief.guard(replace, work);
        (result.ok(), replaced)
    }

    #[test]
    fn who_cannot_be_replaced_stays() {
        let relief = Arc::new(Relief::default());
        let (sender, tried) = mpsc::channel();
        let replace: Replace = Arc::new(move || {
            sender.send(()).expect("the test waits");
            false
        });
        let wait = || (0..2).for_each(|_| tried.recv_timeout(Duration::from_secs(20)).expect("a try"));
        assert_eq!(guard(&relief, &replace, wait), (Some(()), false));
    }

    #[test]
    fn who_panics_is_not_replaced() {
        let relief = Arc::new(Relief::default());
        let replace: Replace = Arc::new(|| true);
        assert_eq!(guard(&relief, &replace, || resume_unwind(Box::new(()))), (None::<()>, false));
        assert!(relief.lock().at_work.is_empty());
    }

    #[test]
    fn only_who_takes_too_long_is_replaced() {
        let relief = Arc::new(Relief::default());
        let (sender, replaced) = mpsc::channel();
        let replace: Replace = Arc::new(move || sender.send(()).is_ok());
        for _ in 0..1000 {
            assert_eq!(guard(&relief, &replace, || 7), (Some(7), false));
        }
        let other = Arc::clone(&relief);
        let (release, released) = mpsc::channel();
        let theirs = Arc::clone(&replace);
        let stuck = std::thread::spawn(move || {
            guard(&other, &theirs, || released.recv().expect("released in the end"))
        });
        replaced.recv_timeout(Duration::from_secs(20)).expect("a replacement");
        assert_eq!(guard(&relief, &replace, || 8), (Some(8), false), "others go on");
        release.send(9).expect("it waits");
        assert_eq!(stuck.join().expect("it ends"), (Some(9), true));
        assert!(replaced.try_recv().is_err(), "one replacement for one thread");
    }
}
