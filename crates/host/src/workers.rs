//! Threads for work that no call waits for: what a program's signal to an eventfd leads to.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ioctlab_kernel::{EventId, Work};

/// As many threads at a time, at most: one that a device keeps doesn't keep the others.
const MOST: usize = 16;
/// How long a thread waits for more before it ends.
const LINGER: Duration = Duration::from_secs(1);

/// What a signal to an eventfd leads to.
pub(crate) struct Task {
    pub(crate) event: EventId,
    pub(crate) work: Box<dyn Work>,
}

/// What does a piece of work and says that it is done.
pub(crate) type Perform = Arc<dyn Fn(Task) + Send + Sync>;

/// A few threads that come and go with the work.
#[derive(Default)]
pub(crate) struct Workers {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Task>,
    threads: usize,
    idle: usize,
}

impl Workers {
    /// Has a piece of work done by `perform`, soon.
    pub(crate) fn submit(self: &Arc<Self>, task: Task, perform: &Perform) {
        let mut state = self.lock();
        state.queue.push_back(task);
        if state.idle >= state.queue.len() {
            self.more.notify_one();
        } else if state.threads < MOST {
            let (workers, perform) = (Arc::clone(self), Arc::clone(perform));
            let spawned =
                std::thread::Builder::new().name("work".into()).spawn(move || workers.run(&perform));
            state.threads += usize::from(spawned.is_ok());
        }
    }

    fn run(&self, perform: &Perform) {
        let mut state = self.lock();
        loop {
            if let Some(task) = state.queue.pop_front() {
                drop(state);
                // A bug in one must not end the thread, which others count on.
                let _ = catch_unwind(AssertUnwindSafe(|| perform(task)));
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let waited = self.more.wait_timeout(state, LINGER).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            state.idle -= 1;
            if waited.1.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
