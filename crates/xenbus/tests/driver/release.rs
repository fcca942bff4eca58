//! Release, in any state.

use crate::fake::{Bench, F, G, Message};
use ioctlab_abi::xenbus::kind;
use ioctlab_chardev::{FileId, PollEvents};
use ioctlab_xenbus::MAX_HELD_IN_ALL;

fn abort(request: u32, transaction: u32) -> Message {
    Message::new(kind::TRANSACTION_END, request, transaction, b"F\0")
}

fn unwatch(request: u32, path: &str, token: &[u8]) -> Message {
    Message::new(kind::UNWATCH, request, 0, &[path.as_bytes(), b"\0", token].concat())
}

#[test]
fn transactions_are_aborted_then_watches_ended_newest_first() {
    let mut bench = Bench::new();
    bench.begin(F, 5);
    let first = bench.watch(F, "/a", "t");
    bench.watch(G, "/a", "t");
    bench.begin(F, 3);
    let second = bench.watch(F, "/b", "t");
    bench.begin(G, 9);
    bench.bus.release(F);
    let expected = [abort(6, 3), abort(7, 5), unwatch(8, "/b", &second), unwatch(9, "/a", &first)];
    let requests = bench.pump();
    assert_eq!(requests, expected);
    for request in &requests {
        bench.store.answer(request, b"OK\0");
    }
    bench.store.event("/a", &first);
    bench.pump();
    assert_eq!(bench.messages(G), []);
    assert_eq!(bench.complaints(), []);
}

#[test]
fn what_is_asked_is_answered_first() {
    let mut bench = Bench::new();
    bench.begin(F, 5);
    let token = bench.watch(F, "/a", "t");
    bench.send(F, kind::READ, 5, b"/a\0");
    bench.send(F, kind::TRANSACTION_START, 0, b"\0");
    bench.send(F, kind::WATCH, 0, b"/b\0t\0");
    bench.send(F, kind::TRANSACTION_END, 5, b"T\0");
    bench.bus.release(F);
    let requests = bench.pump();
    assert_eq!(requests.len(), 4, "it goes to the store though nobody is left to read");
    bench.store.event("/a", &token);
    bench.store.answer(&requests[0], b"value");
    bench.store.answer(&requests[1], b"6\0");
    bench.store.answer(&requests[2], b"OK\0");
    assert_eq!(bench.pump(), []);
    assert_eq!(bench.bus.unread(F), 0);
    bench.store.answer(&requests[3], b"OK\0");
    let own = &requests[2].1[3..];
    assert_eq!(bench.pump(), [abort(6, 6), unwatch(7, "/b", own), unwatch(8, "/a", &token)]);
    assert_eq!(bench.complaints(), []);
    assert_eq!(bench.growths(), [F; 0]);
}

#[test]
fn a_part_of_a_message_and_unread_data_go() {
    let mut bench = Bench::new();
    bench.send(F, kind::UNWATCH, 0, b"/a\0t\0");
    bench.write(F, &[0; 10]).unwrap();
    bench.bus.release(F);
    assert_eq!(bench.bus.unread(F), 0);
    assert_eq!(bench.bus.poll(F), PollEvents::default());
    assert_eq!(bench.pump(), []);
}

#[test]
fn a_request_that_is_half_sent_is_finished() {
    let mut bench = Bench::new();
    bench.send(F, kind::READ, 0, &[b'x'; 3000]);
    bench.bus.interrupt(&mut bench.page);
    bench.bus.release(F);
    let request = bench.request();
    assert_eq!(request.1, [b'x'; 3000]);
    bench.store.answer(&request, b"value");
    assert_eq!(bench.pump(), []);
}

#[test]
fn watches_of_released_files_no_longer_count() {
    let mut bench = Bench::new();
    let path = "x".repeat(4000);
    for file in 3..3 + (MAX_HELD_IN_ALL as u64 / 4000) + 10 {
        let file = FileId(file);
        bench.bus.open(file).unwrap();
        bench.watch(file, &path, "t");
        bench.bus.release(file);
        let request = bench.request();
        bench.store.answer(&request, b"OK\0");
        bench.pump();
    }
}
