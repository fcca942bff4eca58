//! The ring: no room, little at a time, indices anywhere, and when the store is notified.

use crate::fake::{Bench, F, Message};
use ioctlab_abi::xenbus::{kind, ring};
use ioctlab_xenbus::Ring;

#[test]
fn messages_cross_the_ring_however_it_lies_and_however_little_moves() {
    // Bodies that are nothing, fill the ring but for a byte, fill it, and are more than it holds.
    for length in [0, 1, 1007, 1008, 1009, 3000, 4080] {
        for start in [0, 1, 500, 1009, 1023, u32::MAX - 700, u32::MAX] {
            for most in [1, 3, 1000, usize::MAX] {
                if most == 1 && length > 1009 && start != 1023 {
                    continue;
                }
                let mut bench = Bench::new();
                bench.page.start_at(start, start.wrapping_add(77));
                let body: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
                bench.send(F, kind::READ, 0, &body);
                bench.send(F, kind::WRITE, 0, b"/second\0");
                let mut requests = Vec::new();
                for _ in 0..20_000 {
                    while bench.bus.interrupt(&mut bench.page) {}
                    let (got, moved) = bench.store.step(&mut bench.page, most);
                    for request in got {
                        bench.store.answer(&request, &request.1);
                        requests.push(request);
                    }
                    if !moved && bench.store.output.is_empty() {
                        break;
                    }
                }
                assert_eq!(requests.len(), 2, "{length} {start} {most}");
                assert_eq!(requests[0].1, body);
                let answers = bench.messages(F);
                assert_eq!(answers[0], Message::new(kind::READ, 77, 0, &body));
                assert_eq!(answers[1], Message::new(kind::WRITE, 77, 0, b"/second\0"));
            }
        }
    }
}

#[test]
fn requests_wait_while_nobody_takes_them() {
    let mut bench = Bench::new();
    for _ in 0..100 {
        bench.send(F, kind::READ, 0, &[b'x'; 100]);
        bench.bus.interrupt(&mut bench.page);
    }
    assert!(bench.bus.has_unsent());
    assert_eq!(bench.page.load(ring::REQUEST_PRODUCER), 1024);
    assert_eq!(bench.page.notified, 1, "only the first found the ring empty");
    assert_eq!(bench.pump().len(), 100);
}

#[test]
fn the_store_is_notified_of_requests_when_it_had_none_left() {
    let mut bench = Bench::new();
    for (expected, take) in [(1, false), (1, true), (2, false), (2, true), (3, true)] {
        bench.send(F, kind::READ, 0, b"/a\0");
        bench.bus.interrupt(&mut bench.page);
        assert_eq!(bench.page.notified, expected);
        if take {
            bench.store.step(&mut bench.page, usize::MAX);
        }
    }
    bench.bus.interrupt(&mut bench.page);
    assert_eq!(bench.page.notified, 3, "there was nothing to send");
}

#[test]
fn the_store_is_notified_of_room_when_it_had_none() {
    for (length, full) in [(1024 - 16 - 1, false), (1024 - 16, true)] {
        let mut bench = Bench::new();
        bench.send(F, kind::READ, 0, b"/a\0");
        let request = bench.request();
        let before = bench.page.notified;
        bench.store.answer(&request, &vec![0; length]);
        bench.store.step(&mut bench.page, usize::MAX);
        bench.bus.interrupt(&mut bench.page);
        assert_eq!(bench.page.notified - before, usize::from(full));
        assert_eq!(bench.messages(F).len(), 1);
    }
}

#[test]
fn numbers_go_around_the_end_of_the_indices() {
    let mut bench = Bench::new();
    bench.page.start_at(u32::MAX - 40, u32::MAX - 40);
    for expected in 1..=6 {
        bench.send(F, kind::READ, 0, b"/abc\0");
        let request = bench.request();
        bench.store.answer(&request, b"value");
        bench.pump();
        assert_eq!(bench.messages(F), [Message::new(kind::READ, 77, 0, b"value")]);
        assert_eq!(bench.page.notified, expected);
    }
}

#[test]
fn an_interrupt_has_an_end_and_says_that_there_is_more() {
    let mut bench = Bench::new();
    let token = bench.watch(F, "/a", "t");
    // A store that writes on while the kernel reads.
    struct Endless<'a> {
        page: &'a mut crate::fake::Page,
        event: Vec<u8>,
        reads: usize,
    }
    impl Ring for Endless<'_> {
        fn load(&mut self, offset: usize) -> u32 {
            if offset == ring::REPLY_PRODUCER {
                let full = self.page.load(ring::REPLY_CONSUMER).wrapping_add(1024);
                self.page.store(offset, full);
            }
            self.page.load(offset)
        }
        fn store(&mut self, offset: usize, value: u32) {
            self.page.store(offset, value);
        }
        fn read(&mut self, _offset: usize, to: &mut [u8]) {
            for byte in to {
                *byte = self.event[self.reads % self.event.len()];
                self.reads += 1;
            }
        }
        fn write(&mut self, offset: usize, from: &[u8]) {
            self.page.write(offset, from);
        }
        fn notify(&mut self) {}
    }
    let event = Message::new(kind::WATCH_EVENT, 0, 0, &[b"/a\0", &token[..]].concat()).bytes();
    let mut endless = Endless { page: &mut bench.page, event, reads: 0 };
    for _ in 0..10 {
        assert!(bench.bus.interrupt(&mut endless));
    }
    assert_eq!(bench.messages(F).len(), 10 * 256);
}
