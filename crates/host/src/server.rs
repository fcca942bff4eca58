//! The server of a lab: its devices, its open files, and what happens without a trapped call.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ioctlab_kernel::{
    BadAddress, Behind, Caller, Event, EventId, FileId, Kernel, MappingId, UserMemory, UserPtr,
};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fs::OFlags;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::backing::Backing;
use crate::caller::Process;
use crate::descriptor::Identity;
use crate::eventfds::Eventfds;
use crate::machine_memory::Memory;
use crate::memory::{Bytes, ClientMemory};
use crate::process::Processes;
use crate::relief::Relief;
use crate::run::Run;
use crate::spaces::{SpaceId, Spaces};
use crate::store::{Closed, Closes, Store};
use crate::sys::{misc, userfault::Userfault};
use crate::trace::Trace;
use crate::workers::{Perform, Task, Workers};

/// What an event is about, in the upper byte of its data; the rest is a number.
const FILE: u64 = 1 << 56;
const PROCESS: u64 = 2 << 56;
const RUN: u64 = 3 << 56;
const STORE: u64 = 4 << 56;
const SPACE: u64 = 5 << 56;
const TIMER: u64 = 6 << 56;
const EVENTFD: u64 = 7 << 56;
/// Events that are taken at once.
const EVENTS: usize = 64;
const NUMBER: u64 = (1 << 56) - 1;

/// How long what a driver puts off waits, as in Linux.
const PUT_OFF: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Gets a thread out of waiting for calls.
pub(crate) const INTERRUPT: i32 = libc::SIGURG;

/// A lab being served.
pub struct Server {
    state: Mutex<State>,
    /// Where device calls are logged, if anywhere.
    pub(crate) trace: Option<Arc<Trace>>,
    /// The files behind descriptors, and machine memory.
    pub(crate) store: Arc<Store>,
    /// The memory of devices and of programs.
    pub(crate) memory: Memory,
    /// Looks after threads that devices keep.
    pub(crate) relief: Arc<Relief>,
    epoll: Arc<OwnedFd>,
}

/// What stands behind an open file that isn't a stream.
struct Plain {
    identity: Identity,
    has_contents: bool,
    is_addressed: bool,
}

/// Everything that calls change; one lock for all of it.
pub(crate) struct State {
    /// The lab's devices and open files.
    pub(crate) kernel: Kernel,
    /// Client processes.
    pub(crate) processes: Processes,
    trace: Option<Arc<Trace>>,
    /// Where mappings are.
    pub(crate) spaces: Spaces,
    backings: HashMap<FileId, Backing>,
    plain: HashMap<FileId, Plain>,
    identities: HashMap<Identity, FileId>,
    store: Arc<Store>,
    /// The memory of devices and of programs.
    pub(crate) memory: Memory,
    closes: Closes,
    eventfds: Eventfds,
    workers: Arc<Workers>,
    perform: Perform,
    timer: OwnedFd,
    timer_is_set: bool,
    /// The runs, with the threads that serve them.
    runs: HashMap<u64, (Option<i32>, Arc<Run>)>,
    next_run: u64,
    epoll: Arc<OwnedFd>,
}

impl Server {
    /// Starts serving a lab's kernel, whose machines have `memory`; to be called after its programs were forked, as it
    /// raises this process's limit of descriptors, and while this process has one thread. Events are looked after by a
    /// thread of their own from [`Server::watch`] on.
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`, or that there is no place for machine memory.
    pub fn new(kernel: Kernel, memory: &Memory, trace: Option<Trace>) -> io::Result<Arc<Self>> {
        raise_descriptor_limit();
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        let store = Arc::new(Store::new()?);
        memory.attach(&store)?;
        let timer = rustix::time::timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        let trace = trace.map(Arc::new);
        Ok(Arc::new_cyclic(|server| Self {
            state: Mutex::new(State {
                kernel,
                processes: Processes::new(),
                trace: trace.clone(),
                spaces: Spaces::default(),
                backings: HashMap::new(),
                plain: HashMap::new(),
                identities: HashMap::new(),
                store: Arc::clone(&store),
                memory: memory.clone(),
                closes: Closes::default(),
                eventfds: Eventfds::new(Arc::clone(&epoll), EVENTFD),
                workers: Arc::default(),
                perform: perform(server.clone()),
                timer,
                timer_is_set: false,
                runs: HashMap::new(),
                next_run: 0,
                epoll: Arc::clone(&epoll),
            }),
            trace,
            store,
            memory: memory.clone(),
            relief: Arc::default(),
            epoll,
        }))
    }

    /// Starts the thread that handles what happens while no call is being served.
    ///
    /// # Errors
    /// `EAGAIN` if no thread can be made.
    pub fn watch(self: &Arc<Self>) -> io::Result<()> {
        let server = Arc::clone(self);
        std::thread::Builder::new().name("events".into()).spawn(move || server.handle_events())?;
        Ok(())
    }

    /// Acts on the lab's devices from outside, as its machines' surroundings would.
    pub fn with_kernel<T>(&self, act: impl FnOnce(&mut Kernel) -> T) -> T {
        let mut state = self.lock();
        let result = act(&mut state.kernel);
        state.settle();
        result
    }

    /// How many processes have called a device and are alive, and how many files are open.
    pub fn usage(&self) -> (usize, usize) {
        let mut state = self.lock();
        state.handle_pending_events();
        (state.processes.len(), state.kernel.open_files())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held is a bug; going on with what is left hurts fewer clients than ending.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle_events(&self) {
        loop {
            // Only look here: the events themselves are taken under the lock, by whoever gets there first.
            let mut ready = [rustix::event::PollFd::new(&self.epoll, rustix::event::PollFlags::IN)];
            match rustix::event::poll(&mut ready, None) {
                Ok(_) => self.lock().handle_pending_events(),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

impl State {
    /// Handles everything that has happened up to now: closes and exits come before the call that follows them.
    pub(crate) fn handle_pending_events(&mut self) {
        loop {
            let mut room = [MaybeUninit::uninit(); EVENTS];
            let now = Timespec::default();
            let Ok((events, _)) = epoll::wait(&*self.epoll, &mut room, Some(&now)) else { return };
            for event in &*events {
                let data = event.data.u64();
                let number = data & NUMBER;
                match data & !NUMBER {
                    FILE => self.file_event(FileId(number)),
                    PROCESS => self.process_ended(number as i32),
                    RUN => self.interrupt_run(number),
                    STORE => self.store_event(),
                    SPACE => self.space_event(SpaceId(number)),
                    TIMER => self.timer_event(),
                    EVENTFD => self.eventfd_event(EventId(number)),
                    _ => {}
                }
            }
            let more = events.len() >= EVENTS;
            if !events.is_empty() {
                self.settle();
            }
            if !more {
                return;
            }
        }
    }

    /// Shows what the last call or event has made readable, and does what is due with programs' eventfds.
    pub(crate) fn settle(&mut self) {
        while let Some(file) = self.kernel.next_changed() {
            self.show(file);
        }
        while let Some(id) = self.kernel.next_node_change() {
            if let Some(node) = self.kernel.node(id) {
                self.runs.values().for_each(|(_, run)| run.tree.show(id, node));
            }
        }
        while let Some(event) = self.kernel.next_event() {
            match event {
                Event::Signal(event) => self.eventfds.signal(event),
                Event::Watch(event) => self.eventfds.watch(event),
                Event::LetGo(event) => self.eventfds.let_go(event),
            }
        }
        if !self.timer_is_set && self.kernel.has_deferred() {
            let once = Itimerspec { it_interval: Timespec::default(), it_value: PUT_OFF };
            self.timer_is_set =
                rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).is_ok();
        }
    }

    /// Takes note of what clients have received of a file by themselves.
    pub(crate) fn notice(&mut self, file: FileId) {
        let Some(backing) = self.backings.get_mut(&file) else { return };
        let Some(trace) = &self.trace else {
            backing.notice(&mut self.kernel, file);
            return;
        };
        let mut bytes = [0; 64];
        let length = self.kernel.peek(file, &mut bytes);
        let received = backing.notice(&mut self.kernel, file).min(length);
        let node = self.kernel.file(file).and_then(|open| self.kernel.node(open.node));
        if let (1.., Some(node)) = (received, node) {
            trace.log_received(&node.path, bytes.get(..received).unwrap_or_default());
        }
    }

    /// Shows a file's unread data to its clients, as far as it is due.
    pub(crate) fn show(&mut self, file: FileId) {
        self.notice(file);
        if let Some(backing) = self.backings.get_mut(&file) {
            backing.show(&mut self.kernel, file);
            self.rearm(file);
        }
    }

    /// Gives an open file what stands behind its descriptors; returns the client's end, with these status flags.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`, `ENOSPC`.
    pub(crate) fn back(&mut self, file: FileId, status: OFlags) -> io::Result<OwnedFd> {
        let behind =
            self.kernel.file(file).and_then(|open| self.kernel.node(open.node)).map(|node| node.behind);
        if matches!(behind, Some(Behind::File | Behind::Addressed)) {
            if let Some(closes) = self.store.start_noticing()? {
                epoll::add(&self.epoll, closes, EventData::new_u64(STORE), EventFlags::IN)?;
            }
            let contents = self.kernel.contents(file);
            let (client, inode) = self.store.open(file, contents.as_deref().unwrap_or_default())?;
            rustix::fs::fcntl_setfl(&client, status)?;
            let identity = (self.store.device(), inode);
            self.identities.insert(identity, file);
            let is_addressed = behind == Some(Behind::Addressed);
            self.plain.insert(file, Plain { identity, has_contents: contents.is_some(), is_addressed });
            return Ok(client);
        }
        let (backing, client) = Backing::new(status)?;
        epoll::add(&self.epoll, &backing, EventData::new_u64(FILE | file.0), interest(false))?;
        self.identities.insert(backing.identity, file);
        self.backings.insert(file, backing);
        Ok(client)
    }

    /// Whether a file has contents that are the kernel's to read: nothing of the driver is asked for them.
    pub(crate) fn has_contents(&self, file: FileId) -> bool {
        self.plain.get(&file).is_some_and(|plain| plain.has_contents)
    }

    /// Whether a file is read and written at positions.
    pub(crate) fn is_addressed(&self, file: FileId) -> bool {
        self.plain.get(&file).is_some_and(|plain| plain.is_addressed)
    }

    /// Lets `act` have the kernel, and the process that makes a call.
    pub(crate) fn with_caller<T>(
        &mut self,
        thread: i32,
        memory: &mut ClientMemory,
        act: impl FnOnce(&mut Kernel, &mut dyn Caller) -> T,
    ) -> T {
        let group = self.group(thread).ok();
        let Self { kernel, processes, identities, eventfds, memory: lab, .. } = self;
        let pidfd = group.and_then(|group| processes.pidfd(group));
        let group = group.unwrap_or(thread);
        act(
            kernel,
            &mut Process { memory, thread, group, pidfd, identities, eventfds, programs: lab.programs() },
        )
    }

    /// Whether no file is open that isn't a stream.
    pub(crate) fn has_streams_alone(&self) -> bool {
        self.plain.is_empty()
    }

    /// Whether a file's reads and writes are a stream.
    pub(crate) fn is_stream(&self, file: FileId) -> bool {
        self.backings.contains_key(&file)
    }

    /// The kernel and a file's backing, to be used together.
    pub(crate) fn file(&mut self, file: FileId) -> Option<(&mut Kernel, &mut Backing)> {
        self.backings.get_mut(&file).map(|backing| (&mut self.kernel, backing))
    }

    /// The open file that this stands behind.
    pub(crate) fn file_with(&self, identity: Identity) -> Option<FileId> {
        self.identities.get(&identity).copied()
    }

    /// A thread makes a call: the one before has come to its end.
    pub(crate) fn heard_of(&mut self, thread: i32) {
        self.processes.heard_of(thread);
    }

    /// Watches a process's address space.
    ///
    /// # Errors
    /// `ENOMEM`, `ENOSPC`.
    pub(crate) fn watch_space(&mut self, process: i32, faults: Userfault) -> io::Result<SpaceId> {
        let id = self.spaces.add(process, faults);
        if let Some(events) = self.spaces.events(id) {
            epoll::add(&self.epoll, events, EventData::new_u64(SPACE | id.0), EventFlags::IN)?;
        }
        Ok(id)
    }

    /// The thread group of a calling thread; a process that is new here is watched for its end.
    ///
    /// # Errors
    /// If the thread is gone.
    pub(crate) fn group(&mut self, thread: i32) -> io::Result<i32> {
        if let Some(group) = self.processes.known_group(thread) {
            return Ok(group);
        }
        let (group, new) = self.processes.learn(thread)?;
        if let Some(pidfd) = new {
            epoll::add(&self.epoll, pidfd, EventData::new_u64(PROCESS | group as u64), EventFlags::IN)?;
        }
        Ok(group)
    }

    /// Notes a run. The thread that serves it is interrupted when nobody is left at the run's listener.
    pub(crate) fn watch_run(&mut self, run: &Arc<Run>, listener: impl AsFd) -> u64 {
        let id = self.next_run;
        self.next_run += 1;
        self.runs.insert(id, (None, Arc::clone(run)));
        let once = EventFlags::HUP | EventFlags::ONESHOT;
        // Without it the thread still ends by itself, on a kernel that tells it.
        let _ = epoll::add(&self.epoll, listener, EventData::new_u64(RUN | id), once);
        id
    }

    /// A thread serves a run from here on.
    pub(crate) fn run_is_served_by(&mut self, id: u64, thread: i32) {
        if let Some((serving, _)) = self.runs.get_mut(&id) {
            *serving = Some(thread);
        }
    }

    /// Nobody is left of a run.
    pub(crate) fn forget_run(&mut self, id: u64) {
        self.runs.remove(&id);
    }

    fn interrupt_run(&self, id: u64) {
        if let Some((Some(thread), _)) = self.runs.get(&id) {
            misc::interrupt_thread(*thread, INTERRUPT);
        }
    }

    /// Releases a file, if it is open.
    pub(crate) fn release(&mut self, file: FileId) {
        if let Some(backing) = self.backings.remove(&file) {
            self.identities.remove(&backing.identity);
            let _ = epoll::delete(&self.epoll, &backing);
        }
        if let Some(plain) = self.plain.remove(&file) {
            self.identities.remove(&plain.identity);
        }
        self.kernel.release(file);
    }

    fn process_ended(&mut self, process: i32) {
        self.processes.forget(process);
        self.spaces.forget(process);
        self.memory.programs().forget(process);
    }

    /// Files and mappings have lost their last reference.
    fn store_event(&mut self) {
        let store = Arc::clone(&self.store);
        while let Some(closed) = store.next_closed(&mut self.closes) {
            match closed {
                Closed::File(file) => self.release(file),
                Closed::Mapping(mapping) => self.unmapped(mapping),
            }
        }
    }

    /// Nothing is left of a mapping, or it was never made.
    pub(crate) fn unmapped(&mut self, mapping: MappingId) {
        self.spaces.remove(mapping);
        self.kernel.unmapped(mapping);
    }

    /// Processes have done something to their mappings, and wait to be let go on.
    fn space_event(&mut self, id: SpaceId) {
        // What others can see must have happened before one goes on, which it does when its event is read. The events come
        // in order: one that wasn't there yet when that was taken care of isn't the next to be read.
        while self.spaces.has_event(id) {
            self.change_what_is_unmapped(id);
            for part in self.spaces.next_event(id).unwrap_or_default() {
                self.kernel.zap(part.mapping, part.first, part.pages);
                if part.was_last {
                    self.unmapped(part.mapping);
                }
            }
        }
    }

    /// Does what the end of mappings changes for others, where it shows that they have ended.
    fn change_what_is_unmapped(&mut self, id: SpaceId) {
        let device = self.store.device();
        for (mapping, page) in self.kernel.changed_by_unmapping() {
            match page {
                Some(page) if self.spaces.has_lost_page(id, mapping, page, device) => {
                    self.kernel.zap(mapping, page, 1);
                }
                None if self.spaces.has_lost_all(id, mapping, device) => self.unmapped(mapping),
                _ => {}
            }
        }
    }

    /// A process is about to end, or several (as `kill` names them): what their mappings' ends change for others is done
    /// now. It is done once more as they end.
    pub(crate) fn do_ahead(&mut self, target: i32) {
        for (mapping, _) in self.kernel.changed_by_unmapping() {
            if self.spaces.process_of(mapping).is_some_and(|process| misc::is_meant(target, process)) {
                self.kernel.change_ahead(mapping);
            }
        }
    }

    fn eventfd_event(&mut self, event: EventId) {
        if self.eventfds.take(event)
            && let Some(work) = self.kernel.signalled(event)
        {
            self.eventfds.begin(event);
            self.workers.submit(Task { event, work }, &self.perform);
        }
    }

    fn timer_event(&mut self) {
        let mut expirations = [0; 8];
        let _ = rustix::io::read(&self.timer, &mut expirations);
        self.timer_is_set = false;
        self.kernel.retry_deferred();
    }

    fn file_event(&mut self, file: FileId) {
        let mut bytes = [0; 4096];
        loop {
            let Some(backing) = self.backings.get_mut(&file) else { return };
            match backing.receive(&mut bytes) {
                // Whatever a client wrote before it closed has been received by now.
                Ok(0) => return self.release(file),
                Ok(length) => {
                    self.notice(file);
                    let mut memory = Bytes(bytes.get(..length).unwrap_or_default());
                    // There is nobody to tell of an error: the caller's write was done when the kernel had queued it.
                    let _ = self.kernel.write(file, UserPtr(0), length as u64, &mut memory);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.release(file),
            }
        }
        self.show(file);
    }

    /// Asks to be woken when a client has received what is shown, if there is more to show.
    pub(crate) fn rearm(&mut self, file: FileId) {
        let traced = self.trace.is_some();
        if let Some(backing) = self.backings.get_mut(&file)
            && let wanted = (backing.held_back || traced && backing.shown() > 0)
            && wanted != backing.armed
        {
            backing.armed = wanted;
            let data = EventData::new_u64(FILE | file.0);
            // The change itself looks at the state anew, so a receipt just before it is not missed.
            let _ = epoll::modify(&self.epoll, backing.as_fd(), data, interest(backing.armed));
        }
    }
}

/// Does work that no call waits for.
fn perform(server: Weak<Server>) -> Perform {
    Arc::new(move |Task { event, mut work }| {
        let run = catch_unwind(AssertUnwindSafe(|| work.run()));
        if let Some(server) = server.upgrade() {
            let mut state = server.lock();
            if run.is_ok() {
                // Nobody is told how it went.
                let _ = work.finish(&mut Nobody);
            }
            if state.eventfds.end(event) {
                state.eventfd_event(event);
            }
            state.settle();
        }
    })
}

/// Stands for the caller where nobody called.
pub(crate) struct Nobody;

impl Caller for Nobody {}

impl UserMemory for Nobody {
    fn read(&mut self, _: UserPtr, _: &mut [u8]) -> Result<(), BadAddress> {
        Err(BadAddress)
    }

    fn write(&mut self, _: UserPtr, _: &[u8]) -> Result<(), BadAddress> {
        Err(BadAddress)
    }
}

/// Every open file of every client takes a descriptor of the server.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // It stays as it is where it may not be raised; clients then get EMFILE sooner.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn interest(receipts: bool) -> EventFlags {
    let always = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
    if receipts { always | EventFlags::OUT } else { always }
}
