//! The device as plain lists: what each file should read, and what the store should get, given which messages of the
//! store's have crossed the ring.

use crate::fake::Message;
use ioctlab_abi::xenbus::{Header, kind};
use ioctlab_chardev::{CallResult, Errno, Stop};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(crate) struct File {
    partial: Vec<u8>,
    pub(crate) unread: Vec<u8>,
    transactions: Vec<u32>,
    in_flight: usize,
    pub(crate) open: bool,
}

/// What an answer is awaited for.
#[derive(Clone)]
enum Awaited {
    Answer,
    Watch(usize),
    Unwatch,
}

struct Watch {
    file: u64,
    path: Vec<u8>,
    token: Vec<u8>,
    live: bool,
}

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) files: BTreeMap<u64, File>,
    /// All requests that the store should ever get; the kernel's tokens are not known, so they are numbers of watches.
    pub(crate) requests: Vec<Request>,
    awaited: BTreeMap<u32, (u64, Header, Awaited)>,
    /// All watches there ever were.
    watches: Vec<Watch>,
    pub(crate) growths: BTreeSet<u64>,
}

/// A request as the store should get it.
pub(crate) struct Request {
    pub(crate) kind: u32,
    pub(crate) transaction: u32,
    pub(crate) payload: Payload,
}

pub(crate) enum Payload {
    Bytes(Vec<u8>),
    /// A path, and the token that the kernel gives to this watch.
    Watch(Vec<u8>, usize),
}

impl Model {
    pub(crate) fn open(&mut self, file: u64) {
        self.files.insert(file, File { open: true, ..File::default() });
    }

    fn ask(&mut self, kind: u32, transaction: u32, payload: Payload) -> u32 {
        self.requests.push(Request { kind, transaction, payload });
        self.requests.len() as u32 - 1
    }

    fn ask_for(&mut self, file: u64, asked: Header, payload: Payload, awaited: Awaited) {
        let transaction = if matches!(awaited, Awaited::Answer) { asked.transaction } else { 0 };
        let id = self.ask(asked.kind, transaction, payload);
        self.awaited.insert(id, (file, asked, awaited));
        self.files.get_mut(&file).unwrap().in_flight += 1;
    }

    fn deliver(&mut self, file: u64, kind: u32, asked: Header, body: &[u8]) {
        let state = self.files.get_mut(&file).unwrap();
        if state.open {
            state.unread.extend(Message::new(kind, asked.request, asked.transaction, body).bytes());
            self.growths.insert(file);
        }
    }

    pub(crate) fn release(&mut self, file: u64) {
        let Some(state) = self.files.get_mut(&file) else { return };
        state.open = false;
        state.unread.clear();
        self.growths.remove(&file);
        self.finish(file);
    }

    fn finish(&mut self, file: u64) {
        if self.files[&file].open || self.files[&file].in_flight > 0 {
            return;
        }
        let state = self.files.remove(&file).unwrap();
        for transaction in state.transactions.into_iter().rev() {
            self.ask(kind::TRANSACTION_END, transaction, Payload::Bytes(b"F\0".to_vec()));
        }
        for index in (0..self.watches.len()).rev() {
            if self.watches[index].file == file && std::mem::take(&mut self.watches[index].live) {
                self.ask(kind::UNWATCH, 0, Payload::Watch(self.watches[index].path.clone(), index));
            }
        }
    }

    pub(crate) fn read(&mut self, file: u64, count: usize, reachable: usize) -> CallResult<Vec<u8>> {
        let state = self.files.get_mut(&file).filter(|state| state.open).ok_or(Errno::EBADF)?;
        if state.unread.is_empty() {
            return Err(Stop::Wait);
        }
        let wanted = count.min(state.unread.len());
        if wanted > 0 && reachable == 0 {
            return Err(Errno::EFAULT.into());
        }
        Ok(state.unread.drain(..wanted.min(reachable)).collect())
    }

    pub(crate) fn write(&mut self, file: u64, bytes: &[u8], faults: bool) -> CallResult<usize> {
        let state = self.files.get_mut(&file).filter(|state| state.open).ok_or(Errno::EBADF)?;
        if bytes.is_empty() {
            return Ok(0);
        }
        if state.partial.len() + bytes.len() > 4096 {
            state.partial.clear();
            return Err(Errno::EINVAL.into());
        }
        if faults {
            return Err(Errno::EFAULT.into());
        }
        state.partial.extend(bytes);
        if state.partial.len() < 16 {
            return Ok(bytes.len());
        }
        let header = Header::from_bytes(state.partial[..16].try_into().unwrap());
        if header.length > 4080 {
            state.partial.clear();
            return Err(Errno::E2BIG.into());
        }
        let whole = 16 + header.length as usize;
        if state.partial.len() >= whole {
            let body = state.partial[16..whole].to_vec();
            state.partial.clear();
            self.act(file, header, body);
        }
        Ok(bytes.len())
    }

    fn act(&mut self, file: u64, asked: Header, body: Vec<u8>) {
        let state = self.files.get_mut(&file).unwrap();
        if asked.kind == kind::WATCH || asked.kind == kind::UNWATCH {
            let ends: Vec<_> = (0..body.len()).filter(|index| body[*index] == 0).collect();
            let [first, second, ..] = ends[..] else {
                return self.deliver(file, kind::ERROR, asked, b"EINVAL\0");
            };
            let (path, token) = (body[..first].to_vec(), body[first + 1..second].to_vec());
            if asked.kind == kind::WATCH {
                let index = self.watches.len();
                self.watches.push(Watch { file, path: path.clone(), token, live: true });
                return self.ask_for(file, asked, Payload::Watch(path, index), Awaited::Watch(index));
            }
            let same = |watch: &Watch| {
                watch.live && watch.file == file && watch.path == path && watch.token == token
            };
            let Some(index) = self.watches.iter().rposition(same) else {
                return self.deliver(file, kind::UNWATCH, asked, b"OK\0");
            };
            self.watches[index].live = false;
            return self.ask_for(file, asked, Payload::Watch(path, index), Awaited::Unwatch);
        }
        if asked.kind == kind::TRANSACTION_START {
            state.transactions.push(0);
        } else if asked.transaction != 0 && !state.transactions.contains(&asked.transaction) {
            return self.deliver(file, kind::ERROR, asked, b"ENOENT\0");
        } else if asked.kind == kind::TRANSACTION_END && body != b"T\0" && body != b"F\0" {
            return self.deliver(file, kind::ERROR, asked, b"EINVAL\0");
        }
        self.ask_for(file, asked, Payload::Bytes(body), Awaited::Answer);
    }

    /// A message of the store's has crossed the ring. `watch` is the number of the watch whose token an event has.
    pub(crate) fn received(&mut self, message: &Message, watch: Option<usize>) {
        let Message(header, body) = message;
        if header.kind == kind::WATCH_EVENT {
            if let Some(watch) = watch.map(|index| &self.watches[index]).filter(|watch| watch.live) {
                let end = body.iter().position(|byte| *byte == 0).unwrap();
                let event = [&body[..=end], &watch.token, b"\0"].concat();
                self.deliver(watch.file, kind::WATCH_EVENT, Header::default(), &event);
            }
            return;
        }
        let Some((file, asked, awaited)) = self.awaited.remove(&header.request) else { return };
        self.files.get_mut(&file).unwrap().in_flight -= 1;
        match awaited {
            Awaited::Answer => self.answered(file, asked, header.kind, body),
            Awaited::Unwatch => self.deliver(file, kind::UNWATCH, asked, b"OK\0"),
            Awaited::Watch(_) if header.kind == kind::WATCH => {
                self.deliver(file, kind::WATCH, asked, b"OK\0")
            }
            Awaited::Watch(index) => {
                self.watches[index].live = false;
                let body = if header.kind == kind::ERROR { &body[..] } else { b"EINVAL\0" };
                self.deliver(file, kind::ERROR, asked, body);
            }
        }
        self.finish(file);
    }

    fn answered(&mut self, file: u64, asked: Header, kind: u32, body: &[u8]) {
        let transactions = &mut self.files.get_mut(&file).unwrap().transactions;
        let number = if asked.kind == kind::TRANSACTION_START { 0 } else { asked.transaction };
        let place = transactions.iter().rposition(|other| *other == number);
        if asked.kind == kind::TRANSACTION_START {
            let Some(place) = place else { return };
            let ends = body.iter().position(|byte| *byte == 0).unwrap_or(body.len());
            let text = String::from_utf8_lossy(&body[..ends]).into_owned();
            let text = text.strip_suffix('\n').unwrap_or(&text);
            match text.parse() {
                Ok(number) if kind != kind::ERROR => transactions[place] = number,
                _ => {
                    transactions.remove(place);
                    if kind != kind::ERROR {
                        return;
                    }
                }
            }
        } else if asked.kind == kind::TRANSACTION_END {
            let Some(place) = place else { return };
            transactions.remove(place);
        }
        self.deliver(file, kind, asked, body);
    }
}
