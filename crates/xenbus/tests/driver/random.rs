//! Random calls on several files and a store that answers in any order, refuses, makes events up and talks nonsense, over a
//! ring that moves as little as a byte at a time; compared at every step with a naive model: results, bytes, polls, growth,
//! and all that the store gets. `PROPTEST_CASES` sets how many sequences.

use crate::fake::{BAD, BASE, Bench, Message, parse};
use crate::model::{Model, Payload};
use ioctlab_abi::xenbus::{Header, kind};
use ioctlab_chardev::{FileId, PollEvents};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Debug)]
enum Op {
    /// A message, whole or up to so many bytes of it; a second one may follow in the same write.
    Write(Message, usize),
    /// The next so many bytes of the message that was begun last.
    Continue(usize),
    Raw(Vec<u8>),
    BadWrite(usize),
    Huge(usize),
    /// Count, and how many bytes can be reached.
    Read(usize, usize),
    Consume(usize),
    Release,
    Growths(usize),
    /// The store takes and writes so many bytes.
    Step(usize),
    Interrupt,
    /// The store answers a request that it has, by place: with its kind, as this says.
    Answer(usize, Answer),
    /// An event of a watch that the store has heard of, by place.
    Event(usize, bool),
    Nonsense(Message),
}

#[derive(Clone, Debug)]
enum Answer {
    Ok,
    Number(u32),
    Error,
    OtherKind,
    Body(Vec<u8>),
}

fn message() -> impl Strategy<Value = Message> {
    let texts = prop_oneof![
        4 => (0..3_usize, 0..2_usize).prop_map(|(path, token)| format!("/{path}\0t{token}\0").into_bytes()),
        2 => Just(b"T\0".to_vec()),
        1 => Just(b"F\0".to_vec()),
        1 => Just(b"\0".to_vec()),
        1 => prop::collection::vec(prop_oneof![Just(0_u8), Just(b'x')], 0..8),
        1 => (0..2000_usize).prop_map(|length| vec![b'y'; length]),
    ];
    let kinds = prop_oneof![
        3 => Just(kind::WATCH),
        2 => Just(kind::UNWATCH),
        3 => Just(kind::TRANSACTION_START),
        3 => Just(kind::TRANSACTION_END),
        3 => Just(kind::READ),
        1 => 0..30_u32,
    ];
    (kinds, any::<u32>(), prop_oneof![3 => Just(0), 4 => 1..5_u32], texts)
        .prop_map(|(kind, request, transaction, body)| Message::new(kind, request, transaction, &body))
}

fn op() -> impl Strategy<Value = Op> {
    let answer = prop_oneof![
        6 => Just(Answer::Ok),
        6 => (0..5_u32).prop_map(Answer::Number),
        2 => Just(Answer::Error),
        1 => Just(Answer::OtherKind),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Answer::Body),
    ];
    prop_oneof![
        10 => (message(), prop_oneof![3 => Just(usize::MAX), 1 => 0..40_usize]).prop_map(|(m, n)| Op::Write(m, n)),
        4 => (0..2100_usize).prop_map(Op::Continue),
        1 => prop::collection::vec(any::<u8>(), 0..30).prop_map(Op::Raw),
        1 => (0..5000_usize).prop_map(Op::BadWrite),
        1 => (2000..4200_usize).prop_map(Op::Huge),
        6 => (0..60_usize, prop_oneof![5 => Just(usize::MAX), 1 => 0..40_usize]).prop_map(|(c, r)| Op::Read(c, r)),
        1 => Just(Op::Read(9000, usize::MAX)),
        1 => (0..50_usize).prop_map(Op::Consume),
        1 => Just(Op::Release),
        2 => (0..4_usize).prop_map(Op::Growths),
        8 => prop_oneof![2 => Just(usize::MAX), 1 => 0..50_usize].prop_map(Op::Step),
        10 => Just(Op::Interrupt),
        10 => (any::<usize>(), answer).prop_map(|(place, answer)| Op::Answer(place, answer)),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(place, ends)| Op::Event(place, ends)),
        1 => message().prop_map(Op::Nonsense),
    ]
}

/// The store's view: requests that have no answer, tokens by the number of their watch, and what is on its way.
#[derive(Default)]
struct Side {
    unanswered: Vec<Message>,
    /// How many requests it got.
    got: usize,
    tokens: BTreeMap<usize, Vec<u8>>,
    /// Messages that are written or to be written, with the place in the stream where each ends, and its watch.
    under_way: VecDeque<(usize, Message, Option<usize>)>,
    end: usize,
    consumed: usize,
}

impl Side {
    fn send(&mut self, bench: &mut Bench, message: Message, watch: Option<usize>) {
        bench.store.send(&message);
        self.end += message.bytes().len();
        self.under_way.push_back((self.end, message, watch));
    }
}

struct World {
    bench: Bench,
    model: Model,
    side: Side,
    /// What is left of the message that a file is writing.
    rest: BTreeMap<u64, Vec<u8>>,
}

impl World {
    fn write(&mut self, file: u64, bytes: &[u8]) {
        let result = self.bench.write(FileId(file), bytes);
        assert_eq!(result, self.model.write(file, bytes, false));
    }

    fn step(&mut self, file: u64, op: &Op) {
        let id = FileId(file);
        match op {
            Op::Write(message, upto) => {
                let mut bytes = message.bytes();
                self.rest.insert(file, bytes.split_off(bytes.len().min(*upto)));
                self.write(file, &bytes);
            }
            Op::Continue(count) => {
                let mut bytes = self.rest.remove(&file).unwrap_or_default();
                self.rest.insert(file, bytes.split_off(bytes.len().min(*count)));
                self.write(file, &bytes);
            }
            Op::Raw(bytes) => self.write(file, bytes),
            Op::Huge(count) => self.write(file, &vec![0; *count]),
            Op::BadWrite(count) => {
                let result = self.bench.write_at(id, BAD, *count);
                assert_eq!(result, self.model.write(file, &vec![0; *count], true));
            }
            Op::Read(count, reachable) => {
                let reachable = (*reachable).min(self.bench.memory.0.len());
                let at = BASE + (self.bench.memory.0.len() - reachable) as u64;
                let start = (at - BASE) as usize;
                let result = self.bench.read_at(id, at, *count);
                let result = result.map(|length| self.bench.memory.0[start..start + length].to_vec());
                assert_eq!(result, self.model.read(file, *count, reachable));
            }
            Op::Consume(count) => {
                self.bench.bus.consume(id, *count);
                let _ = self.model.read(file, *count, usize::MAX);
            }
            Op::Release => {
                self.bench.bus.release(id);
                self.model.release(file);
            }
            Op::Growths(count) => {
                for _ in 0..*count {
                    let grown = self.bench.bus.next_growth().map(|file| file.0);
                    assert_eq!(grown, self.model.growths.pop_first());
                }
            }
            Op::Step(most) => self.store_step(*most),
            Op::Interrupt => {
                self.bench.bus.interrupt(&mut self.bench.page);
            }
            Op::Answer(place, answer) if !self.side.unanswered.is_empty() => {
                let request = self.side.unanswered.remove(place % self.side.unanswered.len());
                let (kind, body) = match answer {
                    // An answer of this kind would be an event.
                    _ if request.0.kind == kind::WATCH_EVENT => (kind::ERROR, b"EINVAL\0".to_vec()),
                    Answer::Ok => (request.0.kind, b"OK\0".to_vec()),
                    Answer::Number(number) => (request.0.kind, format!("{number}\0").into_bytes()),
                    Answer::Error => (kind::ERROR, b"EACCES\0".to_vec()),
                    Answer::OtherKind => (kind::MKDIR, b"7\0".to_vec()),
                    Answer::Body(body) => (request.0.kind, body.clone()),
                };
                self.side.send(&mut self.bench, Message::new(kind, request.0.request, 5, &body), None);
            }
            Op::Event(place, ends) if !self.side.tokens.is_empty() => {
                let (watch, token) = self.side.tokens.iter().nth(place % self.side.tokens.len()).unwrap();
                let token = if *ends { &token[..] } else { token.strip_suffix(b"\0").unwrap() };
                let event = Message::new(kind::WATCH_EVENT, 9, 9, &[b"/p\0", token].concat());
                let watch = *watch;
                self.side.send(&mut self.bench, event, Some(watch));
            }
            Op::Nonsense(message) => {
                let mut message = message.clone();
                message.0.request |= 1 << 31;
                self.side.send(&mut self.bench, message, None);
            }
            Op::Answer(..) | Op::Event(..) => {}
        }
        self.cross();
        self.compare();
    }

    /// The store takes and writes bytes; what it got must be what the model asks, in its order.
    fn store_step(&mut self, most: usize) {
        let (messages, _) = self.bench.store.step(&mut self.bench.page, most);
        for message in messages {
            let Message(header, body) = &message;
            let expected = &self.model.requests[self.side.got];
            assert_eq!(header.request as usize, self.side.got);
            assert_eq!((header.kind, header.transaction), (expected.kind, expected.transaction));
            match &expected.payload {
                Payload::Bytes(bytes) => assert_eq!(body, bytes),
                Payload::Watch(path, watch) => {
                    let token =
                        body.strip_prefix(&path[..]).and_then(|rest| rest.strip_prefix(b"\0")).unwrap();
                    let known =
                        self.side.tokens.iter().any(|(other, known)| known == token && other != watch);
                    assert!(!known, "a token is used twice");
                    assert_eq!(self.side.tokens.entry(*watch).or_insert(token.to_vec()), token);
                }
            }
            self.side.got += 1;
            self.side.unanswered.push(message);
        }
    }

    /// Tells the model of what has crossed the ring since the last time.
    fn cross(&mut self) {
        let consumer = u32::from_ne_bytes(self.bench.page.bytes[2056..2060].try_into().unwrap());
        let moved = consumer.wrapping_sub(START.wrapping_add(self.side.consumed as u32));
        self.side.consumed += moved as usize;
        while let Some((end, ..)) = self.side.under_way.front()
            && *end <= self.side.consumed
        {
            let (_, message, watch) = self.side.under_way.pop_front().unwrap();
            self.model.received(&message, watch);
        }
    }

    fn compare(&self) {
        let mut unread = vec![0; 1 << 20];
        for file in 1..=FILES {
            let id = FileId(file);
            let expected = self.model.files.get(&file).map_or(&[][..], |state| &state.unread);
            let length = self.bench.bus.peek(id, &mut unread);
            assert_eq!(&unread[..length], expected);
            assert_eq!(self.bench.bus.unread(id), expected.len());
            assert_eq!(self.bench.bus.would_read(id, 20), expected.len().min(20));
            let ready = PollEvents::IN | PollEvents::RDNORM;
            let polled = if expected.is_empty() { PollEvents::default() } else { ready };
            assert_eq!(self.bench.bus.poll(id), polled);
        }
    }
}

const FILES: u64 = 3;
/// Where the indices begin: near their end.
const START: u32 = u32::MAX - 3000;

proptest! {
    #[test]
    fn the_bus_does_what_the_model_does(ops in prop::collection::vec((1..=FILES, op()), 1..250)) {
        let mut world = World { bench: Bench::new(), model: Model::default(), side: Side::default(), rest: BTreeMap::new() };
        world.bench.page.start_at(START, START);
        for file in 1..=FILES {
            world.bench.bus.open(FileId(file)).unwrap();
            world.model.open(file);
        }
        for (file, op) in &ops {
            world.step(*file, op);
        }
        // All files go; everything is answered; then the store has got all there is, and nothing is left.
        for file in 1..=FILES {
            world.step(file, &Op::Release);
        }
        for _ in 0..20_000 {
            world.step(1, &Op::Interrupt);
            world.step(1, &Op::Step(usize::MAX));
            while !world.side.unanswered.is_empty() {
                world.step(1, &Op::Answer(0, Answer::Ok));
            }
            if world.side.got == world.model.requests.len() && world.side.under_way.is_empty() {
                break;
            }
        }
        prop_assert_eq!(world.side.got, world.model.requests.len());
        prop_assert!(world.model.files.is_empty());
        prop_assert!(!world.bench.bus.has_unsent());
    }

    /// Whatever is in the page, and however it changes, nothing panics, and each interrupt ends.
    #[test]
    fn any_page_is_survived(
        changes in prop::collection::vec((0..8_u8, any::<u32>(), prop::collection::vec(any::<u8>(), 0..200)), 1..100),
    ) {
        let mut bench = Bench::new();
        for (what, word, bytes) in changes {
            match what {
                0 => bench.page.bytes[2048 + (word as usize % 4) * 4..][..4].copy_from_slice(&word.to_ne_bytes()),
                1 => bench.page.bytes[2048 + (word as usize % 4) * 4..][..4].copy_from_slice(&(word % 3000).to_ne_bytes()),
                2 => {
                    let start = 1024 + word as usize % 800;
                    bench.page.bytes[start..start + bytes.len()].copy_from_slice(&bytes);
                }
                3 => {
                    let header = Header { kind: word % 20, request: word >> 28, transaction: 0, length: bytes.len() as u32 };
                    let mut message = VecDeque::from([&header.to_bytes()[..], &bytes].concat());
                    let start = 1024 + word as usize % 800;
                    for (place, byte) in bench.page.bytes[start..].iter_mut().zip(message.drain(..)).take(200) {
                        *place = byte;
                    }
                }
                4 => bench.send(FileId(1), word % 10, 0, b"T\0x\0"),
                5 => {
                    bench.bus.release(FileId(2));
                    bench.bus.open(FileId(2)).unwrap();
                }
                _ => {
                    bench.bus.interrupt(&mut bench.page);
                }
            }
        }
        while bench.bus.next_complaint().is_some() {}
        let mut stream = VecDeque::new();
        while let Ok(bytes) = bench.read(FileId(1), 4096) {
            stream.extend(bytes);
        }
        parse(&mut stream);
        prop_assert!(stream.is_empty(), "the file's messages are whole, whatever the store's are");
    }
}
