//! Whoever reads, however it is mixed: each record is received once, and in order.

use std::collections::VecDeque;
use std::os::fd::AsFd;

use ioctlab_kernel::{
    Access, BadAddress, CallResult, Caller, DeviceNumber, Errno, Node, NodeId, Opener, PollEvents, Reply,
    Request, Stop, Subsystem, UserMemory, UserPtr,
};
use proptest::prelude::*;

use super::*;

/// A record, in bytes.
const RECORD: usize = 4;

/// A driver with a queue of numbered records, which the test fills by writing how many.
#[derive(Default)]
struct Counter {
    queue: VecDeque<u32>,
    next: u32,
}

impl Subsystem for Counter {
    fn open(&mut self, _: u32, _: FileId, _: Access, _: Opener) -> Result<(), Errno> {
        Ok(())
    }

    fn release(&mut self, _: FileId) {}

    fn read(
        &mut self,
        _: FileId,
        to: UserPtr,
        count: usize,
        memory: &mut dyn UserMemory,
    ) -> CallResult<usize> {
        let records = (count / RECORD).min(self.queue.len());
        if records == 0 {
            return if count < RECORD { Ok(0) } else { Err(Stop::Wait) };
        }
        let bytes: Vec<u8> =
            self.queue.iter().take(records).flat_map(|record| record.to_ne_bytes()).collect();
        memory.write(to, &bytes)?;
        self.queue.drain(..records);
        Ok(bytes.len())
    }

    fn write(&mut self, _: FileId, _: UserPtr, count: usize, _: &mut dyn UserMemory) -> CallResult<usize> {
        for _ in 0..count {
            self.queue.push_back(self.next);
            self.next += 1;
        }
        Ok(count)
    }

    fn ioctl(&mut self, _: FileId, _: Request, _: u64, _: &mut dyn Caller) -> CallResult<Reply> {
        Err(Errno::ENOTTY.into())
    }

    fn poll(&self, _: FileId) -> PollEvents {
        PollEvents::default()
    }

    fn unread(&self, _: FileId) -> usize {
        self.queue.len() * RECORD
    }

    fn would_read(&self, _: FileId, count: usize) -> usize {
        (count / RECORD).min(self.queue.len()) * RECORD
    }

    fn peek(&self, _: FileId, to: &mut [u8]) -> usize {
        let (slots, _) = to.as_chunks_mut::<RECORD>();
        slots.iter_mut().zip(&self.queue).map(|(slot, record)| *slot = record.to_ne_bytes()).count() * RECORD
    }

    fn consume(&mut self, _: FileId, bytes: usize) {
        self.queue.drain(..bytes / RECORD);
    }

    fn next_changed(&mut self) -> Option<FileId> {
        None
    }
}

/// Memory that takes what is written to it, or refuses it.
struct Memory {
    received: Vec<u8>,
    refuses: bool,
}

impl UserMemory for Memory {
    fn read(&mut self, _: UserPtr, _: &mut [u8]) -> Result<(), BadAddress> {
        Err(BadAddress)
    }

    fn write(&mut self, _: UserPtr, from: &[u8]) -> Result<(), BadAddress> {
        if self.refuses {
            return Err(BadAddress);
        }
        self.received.extend(from);
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// So many records arrive at the driver.
    Arrive(usize),
    /// A client receives so many records from what is shown, with no call that is served here.
    Receive(usize),
    /// A trapped read of so many bytes, to memory that may refuse it.
    Read(usize, bool),
    /// The same where the client's end can't be reached: it is shown everything and receives by itself.
    ReadConfined(usize),
    /// Something else happens on the file.
    Notice,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0usize..6).prop_map(Step::Arrive),
        (1usize..6).prop_map(Step::Receive),
        ((0usize..20), any::<bool>()).prop_map(|(count, refuses)| Step::Read(count, refuses)),
        (1usize..6).prop_map(Step::ReadConfined),
        Just(Step::Notice),
    ]
}

struct Bench {
    kernel: Kernel,
    file: FileId,
    backing: Backing,
    client: OwnedFd,
    received: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        let node = Node {
            path: "/dev/counter".into(),
            number: Some(DeviceNumber { major: 10, minor: 1 }),
            behind: ioctlab_kernel::Behind::Stream,
            hidden: false,
            compat: false,
            permissions: 0o600,
            subsystem: 0,
            device: 0,
        };
        let mut kernel = Kernel::new(vec![Box::new(Counter::default())], vec![node]);
        let opener = Opener { domain: 0, rawio: false };
        let file = kernel.open(NodeId(0), Access::from_flags(2), 0, opener).expect("the driver agrees");
        let (backing, client) = Backing::new(OFlags::NONBLOCK).expect("a socket pair");
        Self { kernel, file, backing, client, received: Vec::new() }
    }

    fn take(&mut self, step: &Step) {
        let Self { kernel, file, backing, client, received } = self;
        match *step {
            Step::Arrive(records) => {
                let mut memory = Memory { received: Vec::new(), refuses: false };
                kernel.write(*file, UserPtr(0), records as u64, &mut memory).expect("it takes any number");
                backing.show(kernel, *file);
            }
            Step::Receive(records) => receive(client, records, received),
            Step::Read(count, refuses) => {
                let mut memory = Memory { received: Vec::new(), refuses };
                backing.recount(kernel, *file, client.as_fd());
                let wanted = kernel.would_read(*file, count as u64);
                backing.take_back(kernel, *file, client.as_fd(), wanted);
                if kernel.read(*file, UserPtr(0), count as u64, &mut memory).is_err() {
                    backing.take_all_back(client.as_fd());
                }
                backing.show(kernel, *file);
                received.extend(memory.received);
            }
            Step::ReadConfined(records) => {
                backing.show_all(kernel, *file);
                receive(client, records, received);
            }
            Step::Notice => {
                backing.notice(kernel, *file);
            }
        }
    }

    /// Receives everything that is left, as a client would that waits for it.
    fn drain(&mut self) {
        while self.kernel.unread(self.file) > 0 {
            let before = self.received.len();
            self.take(&Step::Receive(1000));
            self.backing.show(&mut self.kernel, self.file);
            let left = self.kernel.unread(self.file) > 0;
            let stuck = left && before == self.received.len() && self.backing.shown() == 0;
            assert!(!stuck, "there is unread data that is not shown");
        }
    }
}

fn receive(client: &OwnedFd, records: usize, received: &mut Vec<u8>) {
    let mut bytes = vec![0; records * RECORD];
    if let Ok((_, length)) = rustix::net::recv(client, &mut *bytes, RecvFlags::DONTWAIT) {
        received.extend(&bytes[..length]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_record_is_received_once_and_in_order(steps in prop::collection::vec(step(), 0..60)) {
        let mut bench = Bench::new();
        let mut arrived = 0;
        for step in &steps {
            bench.take(step);
            if let Step::Arrive(records) = step {
                arrived += *records as u32;
            }
        }
        bench.drain();
        let (records, rest) = bench.received.as_chunks::<RECORD>();
        let records: Vec<u32> = records.iter().map(|record| u32::from_ne_bytes(*record)).collect();
        prop_assert!(rest.is_empty());
        prop_assert_eq!(records, (0..arrived).collect::<Vec<_>>());
    }
}

#[test]
fn a_file_becomes_readable_once_until_it_was_read() {
    let mut bench = Bench::new();
    bench.take(&Step::Arrive(1));
    bench.take(&Step::Arrive(1));
    assert_eq!(bench.backing.shown(), RECORD, "the second waits for the first to be received");
    assert!(bench.backing.held_back);
    bench.take(&Step::Receive(1));
    bench.backing.show(&mut bench.kernel, bench.file);
    assert_eq!((bench.backing.shown(), bench.backing.held_back), (RECORD, false));
}

#[test]
fn what_cannot_be_taken_back_costs_nothing_that_comes_later() {
    let mut bench = Bench::new();
    bench.take(&Step::Arrive(1));
    // The driver has thrown it away, and the client's end can't be reached.
    bench.kernel.consume(bench.file, RECORD);
    bench.backing.abandon();
    bench.take(&Step::Arrive(2));
    bench.take(&Step::ReadConfined(3));
    let received: Vec<u8> = [0u32, 1, 2].iter().flat_map(|record| record.to_ne_bytes()).collect();
    assert_eq!(bench.received, received, "the stale one, and all that came later");
    bench.take(&Step::Notice);
    assert_eq!(bench.kernel.unread(bench.file), 0);
}
