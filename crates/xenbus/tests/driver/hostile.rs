//! A store that does what it must not.

use crate::fake::{Bench, F, G, Message};
use ioctlab_abi::xenbus::{Header, kind, ring};
use ioctlab_xenbus::{Complaint, Ring};

#[test]
fn reply_indices_that_cannot_be_are_set_to_zero_and_all_goes_on() {
    for (consumer, producer) in [(0, 1025), (0, u32::MAX), (1, 0), (1 << 31, 0), (u32::MAX, 1024)] {
        let mut bench = Bench::new();
        let token = bench.watch(F, "/a", "t");
        bench.page.store(ring::REPLY_CONSUMER, consumer);
        bench.page.store(ring::REPLY_PRODUCER, producer);
        assert!(!bench.bus.interrupt(&mut bench.page));
        assert_eq!(bench.complaints(), [Complaint::BadReplyIndices]);
        assert_eq!(bench.page.load(ring::REPLY_CONSUMER), 0);
        assert_eq!(bench.page.load(ring::REPLY_PRODUCER), 0);
        bench.store.event("/a", &token);
        bench.pump();
        assert_eq!(bench.messages(F).len(), 1);
    }
}

#[test]
fn the_message_under_way_is_lost_with_bad_indices() {
    for cut in [1, 15, 16, 20] {
        let mut bench = Bench::new();
        let token = bench.watch(F, "/a", "t");
        let event = Message::new(kind::WATCH_EVENT, 0, 0, &[b"/a\0", &token[..]].concat());
        bench.store.output.extend(&event.bytes()[..cut]);
        bench.pump();
        bench.page.store(ring::REPLY_PRODUCER, bench.page.bytes[2056].wrapping_sub(1).into());
        bench.page.store(ring::REPLY_CONSUMER, 1 << 20);
        bench.pump();
        bench.store.send(&event);
        bench.pump();
        assert_eq!(bench.messages(F).len(), 1);
    }
}

#[test]
fn a_request_that_meets_bad_indices_is_eio_and_the_next_is_sent() {
    for written in [0, 1024] {
        let mut bench = Bench::new();
        let ticket =
            bench.bus.request(kind::READ, &vec![b'k'; if written == 0 { 10 } else { 2000 }]).unwrap();
        if written > 0 {
            bench.bus.interrupt(&mut bench.page);
        }
        bench.send(F, kind::READ, 0, b"/a\0");
        bench.page.store(ring::REQUEST_CONSUMER, 5000);
        bench.bus.interrupt(&mut bench.page);
        assert_eq!(bench.complaints(), [Complaint::BadRequestIndices]);
        let (answered, reply) = bench.bus.next_reply().unwrap();
        assert_eq!((answered, reply.unwrap_err().as_bytes()), (ticket, &b"EIO"[..]));
        assert_eq!(bench.request(), Message::new(kind::READ, 1, 0, b"/a\0"));
        // The same for a file, and a watch.
        for (kind, body) in
            [(kind::READ, &b"/b\0"[..]), (kind::WATCH, b"/c\0t\0"), (kind::TRANSACTION_START, b"\0")]
        {
            bench.send(G, kind, 0, body);
            bench.page.store(ring::REQUEST_CONSUMER, 5000);
            bench.pump();
            assert_eq!(bench.messages(G), [Message::new(kind::ERROR, 77, 0, b"EIO\0")]);
        }
        bench.bus.release(G);
        assert_eq!(bench.pump(), []);
    }
}

#[test]
fn a_payload_that_is_too_long_is_taken_for_the_next_message() {
    for length in [4097, 1 << 20, u32::MAX] {
        let mut bench = Bench::new();
        let token = bench.watch(F, "/a", "t");
        let header = Header { kind: kind::WATCH_EVENT, length, ..Header::default() };
        bench.store.output.extend(header.to_bytes());
        bench.store.event("/a", &token);
        bench.pump();
        assert_eq!(bench.complaints(), [Complaint::TooLong(length)]);
        assert_eq!(bench.messages(F).len(), 1);
    }
    // The longest that may be.
    let mut bench = Bench::new();
    bench.send(F, kind::READ, 0, b"/a\0");
    let request = bench.request();
    bench.store.answer(&request, &[9; 4096]);
    bench.pump();
    assert_eq!(bench.messages(F), [Message::new(kind::READ, 77, 0, &[9; 4096])]);
}

#[test]
fn answers_to_no_request_are_ignored() {
    let mut bench = Bench::new();
    bench.send(F, kind::READ, 0, &[b'x'; 2000]);
    bench.bus.interrupt(&mut bench.page);
    // Its first half is sent; and the others were never asked.
    for request in [0, 1, 2, u32::MAX] {
        bench.store.send(&Message::new(kind::READ, request, 0, b"value"));
        bench.store.step(&mut bench.page, 0);
    }
    let mut page = std::mem::replace(&mut bench.page, crate::fake::Page::new());
    let consumer = page.load(ring::REQUEST_CONSUMER);
    bench.store.step(&mut page, 200);
    page.store(ring::REQUEST_CONSUMER, consumer);
    bench.bus.interrupt(&mut page);
    let unknown = [0, 1, 2, u32::MAX].map(Complaint::UnknownRequest);
    assert_eq!(bench.complaints(), unknown);
    assert_eq!(bench.messages(F), []);
}

#[test]
fn a_second_answer_is_ignored() {
    let mut bench = Bench::new();
    bench.send(F, kind::READ, 0, b"/a\0");
    let request = bench.request();
    bench.store.answer(&request, b"once");
    bench.store.answer(&request, b"twice");
    bench.pump();
    assert_eq!(bench.messages(F), [Message::new(kind::READ, 77, 0, b"once")]);
    assert_eq!(bench.complaints(), [Complaint::UnknownRequest(0)]);
}

#[test]
fn events_that_are_not_two_strings_are_ignored() {
    let mut bench = Bench::new();
    let token = bench.watch(F, "/a", "t");
    let token = token.strip_suffix(b"\0").unwrap();
    let bad: [&[&[u8]]; 5] = [&[], &[b"/a"], &[b"/a\0"], &[b"/a\0", token, b"\0x"], &[b"\0"]];
    for (count, parts) in bad.into_iter().enumerate() {
        bench.store.send(&Message::new(kind::WATCH_EVENT, 0, 0, &parts.concat()));
        bench.pump();
        assert_eq!(bench.complaints(), [Complaint::BadEvent], "{count}");
    }
    // Of no watch; nobody complains.
    for token in [&b"FFFF"[..], b"", b"t", b"0"] {
        bench.store.event("/a", &[token, b"\0"].concat());
    }
    // The last string need not end.
    bench.store.event("/a/b", token);
    bench.store.event("", token);
    bench.pump();
    assert_eq!(bench.complaints(), []);
    let bodies: Vec<_> = bench.messages(F).into_iter().map(|message| message.1).collect();
    assert_eq!(bodies, [&b"/a/b\0t\0"[..], b"\0t\0"]);
}

#[test]
fn complaints_are_bounded_and_print() {
    let mut bench = Bench::new();
    for _ in 0..1000 {
        bench.store.send(&Message::new(kind::READ, 9, 0, b""));
    }
    bench.pump();
    let complaints = bench.complaints();
    assert_eq!(complaints.len(), 16);
    assert_eq!(complaints[0].to_string(), "the store answered request 9, which is none");
}
