//! What is known of client processes: which descriptor number is which open file.
//!
//! Asking the kernel what stands behind a descriptor costs about as much as a whole trapped call. So the answers are kept
//! for numbers in the window, where every call that changes a number's meaning is trapped, too:
//!
//! A trapped call that changes a number is still to be carried out when it is let go. Until its thread is heard of again,
//! the number is looked up each time it is used.
//!
//! - `close`, `dup2` and `dup3` of a number make it unknown in *all* processes, as some may share a table (`CLONE_FILES`);
//! - `close_range` makes all numbers unknown everywhere, `execve` those of the process; a process whose threads may have
//!   tables of their own (`unshare`) is never remembered;
//! - a new process starts with every number unknown, and a process's end is seen through its pidfd before its number can
//!   be used again.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use ioctlab_kernel::FileId;
use rustix::process::{Pid, PidfdFlags};

use crate::sys::misc;
use crate::window;

/// Threads of one process that are remembered; beyond that, all are forgotten and asked for anew.
const THREADS_KEPT: usize = 4096;

/// What a descriptor number in the window means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Nothing is known: ask the kernel.
    Unknown,
    /// A device's open file.
    Device(FileId),
}

#[derive(Clone, Copy)]
struct Entry {
    meaning: Meaning,
    era: u32,
}

const UNKNOWN: Entry = Entry { meaning: Meaning::Unknown, era: 0 };

/// A client process (thread group).
pub(crate) struct Process {
    /// Stands for the process, whatever becomes of its number.
    pub(crate) pidfd: OwnedFd,
    numbers: Vec<Entry>,
    threads: usize,
    /// Some thread may have a descriptor table of its own: then no number means one thing to the process.
    tables_differ: bool,
}

/// All client processes.
pub(crate) struct Processes {
    groups: HashMap<i32, Process>,
    threads: HashMap<i32, i32>,
    eras: Vec<u32>,
    /// Threads that were let go on with a call that changes what numbers mean, and have not been heard of since: until
    /// then, what the kernel says of these numbers may be about to change.
    changing: HashMap<i32, Change>,
}

/// What a thread is changing.
#[derive(Clone, Copy)]
struct Change {
    group: i32,
    numbers: Numbers,
}

#[derive(Clone, Copy)]
enum Numbers {
    /// One, wherever the table is shared.
    Place(usize),
    /// All, wherever the table is shared.
    All,
    /// All of its process.
    Own,
}

impl Processes {
    pub(crate) fn new() -> Self {
        Self {
            groups: HashMap::new(),
            threads: HashMap::new(),
            eras: vec![0; window::SIZE],
            changing: HashMap::new(),
        }
    }

    /// How many processes are known.
    pub(crate) fn len(&self) -> usize {
        self.groups.len()
    }

    /// The thread group of `thread`, if it is known already.
    pub(crate) fn known_group(&mut self, thread: i32) -> Option<i32> {
        let group = *self.threads.get(&thread)?;
        // A thread's number may have gone to another process since; a leader's can't before its pidfd told.
        if group == thread || misc::in_group(group, thread) {
            return Some(group);
        }
        self.threads.remove(&thread);
        None
    }

    /// Learns which group `thread` belongs to. Returns the group, and the pidfd to watch if it is new.
    ///
    /// # Errors
    /// If the thread is gone.
    pub(crate) fn learn(&mut self, thread: i32) -> io::Result<(i32, Option<&OwnedFd>)> {
        let group = group_of(thread)?;
        let is_new = !self.groups.contains_key(&group);
        if is_new {
            let pid = Pid::from_raw(group).ok_or(io::ErrorKind::NotFound)?;
            let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
            let numbers = vec![UNKNOWN; window::SIZE];
            self.groups.insert(group, Process { pidfd, numbers, threads: 0, tables_differ: false });
        }
        let process = self.groups.get_mut(&group).ok_or(io::ErrorKind::NotFound)?;
        if process.threads >= THREADS_KEPT {
            self.threads.retain(|_, g| *g != group);
            process.threads = 0;
        }
        if self.threads.insert(thread, group).is_none() {
            process.threads += 1;
        }
        Ok((group, is_new.then_some(&process.pidfd)))
    }

    /// A process's pidfd.
    pub(crate) fn pidfd(&self, group: i32) -> Option<&OwnedFd> {
        self.groups.get(&group).map(|p| &p.pidfd)
    }

    /// A process has ended.
    pub(crate) fn forget(&mut self, group: i32) {
        self.groups.remove(&group);
        self.changing.retain(|_, change| change.group != group);
        self.threads.retain(|_, g| *g != group);
    }

    /// What the number at `place` in the window means in `group`.
    pub(crate) fn meaning(&self, group: i32, place: usize) -> Meaning {
        match (self.groups.get(&group).and_then(|p| p.numbers.get(place)), self.eras.get(place)) {
            (Some(entry), Some(era)) if entry.era == *era => entry.meaning,
            _ => Meaning::Unknown,
        }
    }

    /// The number at `place` is `file` in `group`.
    ///
    /// Not remembered while a thread is on its way to change it.
    pub(crate) fn set(&mut self, group: i32, place: usize, file: FileId) {
        let is_changing = |change: &Change| match change.numbers {
            Numbers::Place(changing) => changing == place,
            Numbers::All => true,
            Numbers::Own => change.group == group,
        };
        if self.changing.values().any(is_changing) {
            return;
        }
        let era = self.eras.get(place).copied().unwrap_or(0);
        let Some(process) = self.groups.get_mut(&group).filter(|process| !process.tables_differ) else {
            return;
        };
        if let Some(entry) = process.numbers.get_mut(place) {
            *entry = Entry { meaning: Meaning::Device(file), era };
        }
    }

    /// A thread makes a call: the one before has come to its end.
    pub(crate) fn heard_of(&mut self, thread: i32) {
        self.changing.remove(&thread);
    }

    /// A thread goes on with a call that changes the number at `place`.
    pub(crate) fn changes(&mut self, thread: i32, place: usize) {
        self.doubt_everywhere(place);
        self.note_change(thread, Numbers::Place(place));
    }

    /// A thread goes on with a call that changes any number.
    pub(crate) fn changes_all(&mut self, thread: i32) {
        self.doubt_all();
        self.note_change(thread, Numbers::All);
    }

    /// A thread goes on with a call that changes numbers of its process alone.
    pub(crate) fn changes_own(&mut self, thread: i32) {
        self.doubt_process(thread);
        self.note_change(thread, Numbers::Own);
    }

    fn note_change(&mut self, thread: i32, numbers: Numbers) {
        if self.groups.is_empty() {
            return;
        }
        let group = self.known_group(thread).or_else(|| group_of(thread).ok());
        // Of a process that isn't known nothing is remembered.
        if let Some(group) = group.filter(|group| self.groups.contains_key(group)) {
            self.changing.insert(thread, Change { group, numbers });
        }
    }

    /// The number at `place` may mean something else from now on, in any process.
    pub(crate) fn doubt_everywhere(&mut self, place: usize) {
        if let Some(era) = self.eras.get_mut(place) {
            *era = era.wrapping_add(1);
        }
    }

    /// All numbers may mean something else from now on, in any process.
    fn doubt_all(&mut self) {
        for era in &mut self.eras {
            *era = era.wrapping_add(1);
        }
    }

    /// All numbers of the process that `thread` belongs to may mean something else from now on.
    fn doubt_process(&mut self, thread: i32) {
        if let Some(process) = self.process_of(thread) {
            process.numbers.fill(UNKNOWN);
        }
    }

    /// The thread may get a descriptor table of its own: nothing is remembered of its process's numbers any more.
    pub(crate) fn distrust_process(&mut self, thread: i32) {
        self.doubt_process(thread);
        if let Some(process) = self.process_of(thread) {
            process.tables_differ = true;
        }
    }

    /// The thread group of a thread, if that is known; the thread itself may not be.
    pub(crate) fn known_process(&mut self, thread: i32) -> Option<i32> {
        if self.groups.is_empty() {
            return None;
        }
        let group = self.known_group(thread).or_else(|| group_of(thread).ok())?;
        self.groups.contains_key(&group).then_some(group)
    }

    /// The process that a thread belongs to, if it is known; the thread itself may not be.
    fn process_of(&mut self, thread: i32) -> Option<&mut Process> {
        let group = self.known_process(thread)?;
        self.groups.get_mut(&group)
    }

    /// A place in the window whose number is free in `group`, lowest first, going by what is known.
    pub(crate) fn free_places(&self, group: i32) -> impl Iterator<Item = usize> + '_ {
        (0..window::SIZE).filter(move |&place| self.meaning(group, place) == Meaning::Unknown)
    }
}

/// The thread group that a thread belongs to.
fn group_of(thread: i32) -> io::Result<i32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status"))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:"))
        .and_then(|value| value.trim().parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This test's own process, as a client.
    fn known() -> (Processes, i32) {
        let mut processes = Processes::new();
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        let (group, new) = processes.learn(thread).expect("this thread is alive");
        assert!(new.is_some());
        (processes, group)
    }

    #[test]
    fn a_thread_is_found_by_its_group() {
        let (mut processes, group) = known();
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        assert_eq!(group, std::process::id() as i32);
        assert_eq!(processes.known_group(thread), Some(group));
        assert_eq!(processes.known_group(1), None);
        assert!(processes.learn(thread).expect("still alive").1.is_none(), "it was known");
        processes.forget(group);
        assert_eq!((processes.known_group(thread), processes.len()), (None, 0));
    }

    #[test]
    fn what_a_number_means_is_known_until_it_may_have_changed() {
        let (mut processes, group) = known();
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        let doubts: [fn(&mut Processes, i32); 3] = [
            |processes, _| processes.doubt_everywhere(5),
            |processes, _| processes.doubt_all(),
            |processes, thread| processes.doubt_process(thread),
        ];
        for doubt in doubts {
            processes.set(group, 5, FileId(7));
            assert_eq!(processes.meaning(group, 5), Meaning::Device(FileId(7)));
            assert_eq!(processes.meaning(group, 6), Meaning::Unknown);
            assert!(!processes.free_places(group).any(|place| place == 5));
            doubt(&mut processes, thread);
            assert_eq!(processes.meaning(group, 5), Meaning::Unknown);
        }
        processes.set(group, 5, FileId(7));
        processes.doubt_everywhere(6);
        assert_eq!(processes.meaning(group, 5), Meaning::Device(FileId(7)), "another number's change");
    }

    #[test]
    fn a_number_that_is_about_to_change_is_not_remembered() {
        let (mut processes, group) = known();
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        let changes: [fn(&mut Processes, i32); 3] = [
            |processes, thread| processes.changes(thread, 5),
            |processes, thread| processes.changes_all(thread),
            |processes, thread| processes.changes_own(thread),
        ];
        for change in changes {
            change(&mut processes, thread);
            // Another thread's call looks before the change is made.
            processes.set(group, 5, FileId(7));
            assert_eq!(processes.meaning(group, 5), Meaning::Unknown);
            processes.heard_of(thread);
            processes.set(group, 5, FileId(7));
            assert_eq!(processes.meaning(group, 5), Meaning::Device(FileId(7)));
        }
    }

    #[test]
    fn threads_with_tables_of_their_own_are_never_remembered() {
        let (mut processes, group) = known();
        processes.set(group, 5, FileId(7));
        processes.distrust_process(rustix::thread::gettid().as_raw_nonzero().get());
        processes.set(group, 5, FileId(7));
        assert_eq!(processes.meaning(group, 5), Meaning::Unknown);
    }
}
