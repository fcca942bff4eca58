//! The shared page, the store's side of it, and a bench that puts a bus between.

use crate::memory::Memory;
pub(crate) use crate::memory::{BAD, BASE};
use ioctlab_abi::xenbus::{Header, kind, ring};
use ioctlab_chardev::{CallResult, Errno, FileId, Stop, UserPtr};
use ioctlab_xenbus::{Bus, Ring};
use std::collections::VecDeque;

/// The page, and how often each side notified the other.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) bytes: Vec<u8>,
    pub(crate) notified: usize,
}

impl Page {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; 4096], notified: 0 }
    }

    /// Sets all indices, so that the rings are empty and continue from some place.
    pub(crate) fn start_at(&mut self, requests: u32, replies: u32) {
        for (offset, value) in [
            (ring::REQUEST_CONSUMER, requests),
            (ring::REQUEST_PRODUCER, requests),
            (ring::REPLY_CONSUMER, replies),
            (ring::REPLY_PRODUCER, replies),
        ] {
            self.store(offset, value);
        }
    }
}

impl Ring for Page {
    fn load(&mut self, offset: usize) -> u32 {
        assert!(offset.is_multiple_of(4) && (2048..2064).contains(&offset));
        u32::from_ne_bytes(self.bytes[offset..offset + 4].try_into().unwrap())
    }

    fn store(&mut self, offset: usize, value: u32) {
        assert!(offset.is_multiple_of(4) && (2048..2064).contains(&offset));
        self.bytes[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    }

    fn read(&mut self, offset: usize, to: &mut [u8]) {
        assert!(offset >= 1024 && offset + to.len() <= 2048);
        to.copy_from_slice(&self.bytes[offset..offset + to.len()]);
    }

    fn write(&mut self, offset: usize, from: &[u8]) {
        assert!(offset + from.len() <= 1024);
        self.bytes[offset..offset + from.len()].copy_from_slice(from);
    }

    fn notify(&mut self) {
        self.notified += 1;
    }
}

/// A message: its header and payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message(pub(crate) Header, pub(crate) Vec<u8>);

impl Message {
    pub(crate) fn new(kind: u32, request: u32, transaction: u32, body: &[u8]) -> Self {
        Self(Header { kind, request, transaction, length: body.len() as u32 }, body.to_vec())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        [&self.0.to_bytes()[..], &self.1].concat()
    }
}

/// Splits a stream into the whole messages at its beginning; the rest stays.
pub(crate) fn parse(stream: &mut VecDeque<u8>) -> Vec<Message> {
    let mut messages = Vec::new();
    while stream.len() >= 16 {
        let header = Header::from_bytes(stream.make_contiguous()[..16].try_into().unwrap());
        let whole = 16 + header.length as usize;
        if stream.len() < whole {
            break;
        }
        messages.push(Message(header, stream.drain(..whole).skip(16).collect()));
    }
    messages
}

/// The store's side of the page.
#[derive(Debug, Default)]
pub(crate) struct Store {
    input: VecDeque<u8>,
    /// What it has yet to write.
    pub(crate) output: VecDeque<u8>,
    /// How many bytes it has ever written.
    pub(crate) written: usize,
}

impl Store {
    /// Takes up to so many bytes of requests, then writes up to so many of what is to be written. Returns the messages that
    /// are complete now, and whether anything moved.
    pub(crate) fn step(&mut self, page: &mut Page, most: usize) -> (Vec<Message>, bool) {
        let consumer = page.load(ring::REQUEST_CONSUMER);
        let there = page.load(ring::REQUEST_PRODUCER).wrapping_sub(consumer) as usize;
        let taken = there.min(most);
        for index in 0..taken {
            self.input.push_back(page.bytes[(consumer as usize + index) % 1024]);
        }
        page.store(ring::REQUEST_CONSUMER, consumer.wrapping_add(taken as u32));
        let producer = page.load(ring::REPLY_PRODUCER);
        let room = 1024 - producer.wrapping_sub(page.load(ring::REPLY_CONSUMER)) as usize;
        let written = room.min(most).min(self.output.len());
        for (index, byte) in self.output.drain(..written).enumerate() {
            page.bytes[1024 + (producer as usize + index) % 1024] = byte;
        }
        page.store(ring::REPLY_PRODUCER, producer.wrapping_add(written as u32));
        self.written += written;
        (parse(&mut self.input), taken + written > 0)
    }

    pub(crate) fn send(&mut self, message: &Message) {
        self.output.extend(message.bytes());
    }

    pub(crate) fn event(&mut self, path: &str, token: &[u8]) {
        self.send(&Message::new(kind::WATCH_EVENT, 0, 0, &[path.as_bytes(), b"\0", token].concat()));
    }

    /// Answers a request with a payload.
    pub(crate) fn answer(&mut self, request: &Message, body: &[u8]) {
        self.send(&Message::new(request.0.kind, request.0.request, request.0.transaction, body));
    }

    pub(crate) fn refuse(&mut self, request: &Message, error: &[u8]) {
        self.send(&Message::new(kind::ERROR, request.0.request, request.0.transaction, error));
    }
}

pub(crate) const F: FileId = FileId(1);
pub(crate) const G: FileId = FileId(2);

pub(crate) fn failed<T>(errno: Errno) -> CallResult<T> {
    Err(Stop::Fail(errno))
}

/// A bus between two open files and a store.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) bus: Bus,
    pub(crate) page: Page,
    pub(crate) store: Store,
    pub(crate) memory: Memory,
}

impl Bench {
    /// A bench with files 1 and 2 open.
    pub(crate) fn new() -> Self {
        let mut bench = Self {
            bus: Bus::new(7),
            page: Page::new(),
            store: Store::default(),
            memory: Memory(vec![0; 3 * 4096]),
        };
        bench.bus.open(F).unwrap();
        bench.bus.open(G).unwrap();
        bench
    }

    /// Moves everything over the ring that can move; the requests that the store got.
    pub(crate) fn pump(&mut self) -> Vec<Message> {
        let mut got = Vec::new();
        loop {
            while self.bus.interrupt(&mut self.page) {}
            let (messages, moved) = self.store.step(&mut self.page, usize::MAX);
            got.extend(messages);
            if !moved {
                return got;
            }
        }
    }

    /// The one request that the store gets now.
    pub(crate) fn request(&mut self) -> Message {
        let [request] = self.pump().try_into().expect("one request");
        request
    }

    pub(crate) fn write_at(&mut self, file: FileId, from: u64, count: usize) -> CallResult<usize> {
        self.bus.write(file, UserPtr(from), count, &mut self.memory)
    }

    pub(crate) fn write(&mut self, file: FileId, bytes: &[u8]) -> CallResult<usize> {
        self.memory.0[..bytes.len()].copy_from_slice(bytes);
        self.write_at(file, BASE, bytes.len())
    }

    /// Writes a whole message, whose request number is 77.
    pub(crate) fn send(&mut self, file: FileId, kind: u32, transaction: u32, body: &[u8]) {
        let bytes = Message::new(kind, 77, transaction, body).bytes();
        assert_eq!(self.write(file, &bytes), Ok(bytes.len()));
    }

    pub(crate) fn read_at(&mut self, file: FileId, to: u64, count: usize) -> CallResult<usize> {
        self.bus.read(file, UserPtr(to), count, &mut self.memory)
    }

    pub(crate) fn read(&mut self, file: FileId, count: usize) -> CallResult<Vec<u8>> {
        let len = self.read_at(file, BASE, count)?;
        Ok(self.memory.0[..len].to_vec())
    }

    /// All messages that a file can read.
    pub(crate) fn messages(&mut self, file: FileId) -> Vec<Message> {
        let mut stream = VecDeque::new();
        while let Ok(bytes) = self.read(file, 4096) {
            stream.extend(bytes);
        }
        let messages = parse(&mut stream);
        assert!(stream.is_empty());
        messages
    }

    /// Begins a transaction for a file, which gets a number.
    pub(crate) fn begin(&mut self, file: FileId, number: u32) {
        self.send(file, kind::TRANSACTION_START, 0, b"\0");
        let request = self.request();
        self.store.answer(&request, format!("{number}\0").as_bytes());
        self.pump();
        let expected = Message::new(kind::TRANSACTION_START, 77, 0, format!("{number}\0").as_bytes());
        assert_eq!(self.messages(file), [expected]);
    }

    /// Sets up a watch for a file; the token that the store knows it by, with its NUL.
    pub(crate) fn watch(&mut self, file: FileId, path: &str, token: &str) -> Vec<u8> {
        self.send(file, kind::WATCH, 0, format!("{path}\0{token}\0").as_bytes());
        let request = self.request();
        self.store.answer(&request, b"OK\0");
        self.pump();
        assert_eq!(self.messages(file), [Message::new(kind::WATCH, 77, 0, b"OK\0")]);
        request.1[path.len() + 1..].to_vec()
    }

    pub(crate) fn growths(&mut self) -> Vec<FileId> {
        std::iter::from_fn(|| self.bus.next_growth()).collect()
    }

    pub(crate) fn complaints(&mut self) -> Vec<ioctlab_xenbus::Complaint> {
        std::iter::from_fn(|| self.bus.next_complaint()).collect()
    }
}
