//! What each kind of message does, refuses, and in which order.

use crate::fake::{Bench, F, G, Message, failed};
use ioctlab_abi::xenbus::kind;
use ioctlab_chardev::Errno;
use ioctlab_xenbus::{Complaint, MAX_TRANSACTIONS};

fn error(transaction: u32, name: &[u8]) -> [Message; 1] {
    [Message::new(kind::ERROR, 77, transaction, name)]
}

#[test]
fn every_other_kind_is_passed_on_and_answered_with_the_programs_number() {
    let special = [kind::WATCH, kind::UNWATCH, kind::TRANSACTION_START, kind::TRANSACTION_END];
    for kind in (0..40).chain([0xffff, u32::MAX]).filter(|kind| !special.contains(kind)) {
        let mut bench = Bench::new();
        bench.send(G, kind::READ, 0, b"/g\0");
        bench.send(F, kind, 0, b"anything");
        let requests = bench.pump();
        assert_eq!(requests[1], Message::new(kind, 1, 0, b"anything"));
        bench.store.answer(&requests[1], b"answer");
        bench.store.refuse(&requests[0], b"ENOENT\0");
        bench.pump();
        if kind == kind::WATCH_EVENT {
            // As an answer it is taken for an event.
            assert_eq!(bench.messages(F), []);
            continue;
        }
        assert_eq!(bench.messages(F), [Message::new(kind, 77, 0, b"answer")]);
        assert_eq!(bench.messages(G), error(0, b"ENOENT\0"));
    }
}

#[test]
fn answers_go_to_whoever_asked_in_whatever_order_they_come() {
    let mut bench = Bench::new();
    for (file, path) in [(F, b"/1\0"), (G, b"/2\0"), (F, b"/3\0"), (G, b"/4\0")] {
        bench.send(file, kind::READ, 0, path);
    }
    let requests = bench.pump();
    for index in [2, 3, 0, 1] {
        bench.store.answer(&requests[index], &requests[index].1);
    }
    bench.pump();
    let bodies = |messages: Vec<Message>| messages.into_iter().map(|message| message.1).collect::<Vec<_>>();
    assert_eq!(bodies(bench.messages(F)), [b"/3\0", b"/1\0"]);
    assert_eq!(bodies(bench.messages(G)), [b"/4\0", b"/2\0"]);
}

#[test]
fn an_answer_has_the_stores_kind_and_payload_and_the_programs_numbers() {
    let mut bench = Bench::new();
    bench.send(F, kind::READ, 0, b"/a\0");
    let request = bench.request();
    bench.store.send(&Message::new(kind::MKDIR, request.0.request, 99, b"other"));
    bench.pump();
    assert_eq!(bench.messages(F), [Message::new(kind::MKDIR, 77, 0, b"other")]);
}

#[test]
fn watches_need_two_strings_that_end() {
    for kind in [kind::WATCH, kind::UNWATCH] {
        for body in [&b""[..], b"/a", b"/a\0", b"/a\0token", b"\0"] {
            let mut bench = Bench::new();
            bench.send(F, kind, 5, body);
            assert_eq!(bench.messages(F), error(5, b"EINVAL\0"), "{body:?}");
            assert_eq!(bench.pump(), []);
        }
    }
}

#[test]
fn a_watch_has_a_token_of_the_kernels_at_the_store_and_its_own_in_events() {
    for (body, path, token) in [
        (&b"/a\0my token\0"[..], &b"/a\0"[..], &b"my token\0"[..]),
        (b"/a\0t\0more\0still", b"/a\0", b"t\0"),
        (b"\0\0", b"\0", b"\0"),
        (b"@releaseDomain\0\0x", b"@releaseDomain\0", b"\0"),
    ] {
        let mut bench = Bench::new();
        bench.send(F, kind::WATCH, 9, body);
        let request = bench.request();
        assert_eq!((request.0.kind, request.0.transaction), (kind::WATCH, 0), "not in a transaction");
        let own = request.1.strip_prefix(path).unwrap().to_vec();
        assert!(own.len() > 1 && own.ends_with(b"\0") && own != token);
        assert_eq!(bench.messages(F), []);
        bench.store.answer(&request, b"OK\0");
        bench.store.event("/a/b", &own);
        bench.pump();
        let event = Message::new(kind::WATCH_EVENT, 0, 0, &[b"/a/b\0", token].concat());
        assert_eq!(bench.messages(F), [Message::new(kind::WATCH, 77, 9, b"OK\0"), event]);
    }
}

#[test]
fn the_longest_path_still_fits_with_the_kernels_token() {
    let mut bench = Bench::new();
    let body = [&[b'x'; 4078][..], b"\0\0"].concat();
    bench.send(F, kind::WATCH, 0, &body);
    assert!(bench.request().1.len() <= 4096);
}

#[test]
fn a_watch_that_the_store_refuses_is_none() {
    for (kind, body, said) in
        [(kind::ERROR, &b"EACCES\0"[..], &b"EACCES\0"[..]), (kind::READ, b"OK\0", b"EINVAL\0")]
    {
        let mut bench = Bench::new();
        bench.send(F, kind::WATCH, 0, b"/a\0t\0");
        let request = bench.request();
        bench.store.send(&Message::new(kind, request.0.request, 0, body));
        bench.store.event("/a", &request.1[3..]);
        bench.pump();
        assert_eq!(bench.messages(F), error(0, said));
        bench.bus.release(F);
        assert_eq!(bench.pump(), [], "there is nothing to end");
    }
}

#[test]
fn watches_of_all_files_are_told_apart_even_with_the_same_texts() {
    let mut bench = Bench::new();
    let first = bench.watch(F, "/a", "t");
    let second = bench.watch(F, "/a", "t");
    let third = bench.watch(G, "/a", "t");
    assert!(first != second && second != third && first != third);
    for token in [&first, &second, &third] {
        bench.store.event("/a", token);
    }
    bench.pump();
    assert_eq!((bench.messages(F).len(), bench.messages(G).len()), (2, 1));
    // The newer of the two ends first.
    for token in [second, first] {
        bench.send(F, kind::UNWATCH, 0, b"/a\0t\0");
        let request = bench.request();
        assert_eq!((request.0.kind, &request.1[3..]), (kind::UNWATCH, &token[..]));
        bench.store.answer(&request, b"OK\0");
        bench.store.event("/a", &token);
        bench.pump();
        assert_eq!(bench.messages(F), [Message::new(kind::UNWATCH, 77, 0, b"OK\0")]);
    }
    // Others have no part in it: this is a watch that isn't there, which is OK at once.
    bench.send(F, kind::UNWATCH, 3, b"/a\0t\0");
    assert_eq!(bench.messages(F), [Message::new(kind::UNWATCH, 77, 3, b"OK\0")]);
    assert_eq!(bench.pump(), []);
    bench.store.event("/a", &third);
    bench.pump();
    assert_eq!(bench.messages(G).len(), 1);
}

#[test]
fn a_watch_ends_with_the_request_and_whatever_the_store_says() {
    let mut bench = Bench::new();
    let token = bench.watch(F, "/a", "t");
    for body in [&b"/a\0u\0"[..], b"/b\0t\0", b"/\0t\0"] {
        bench.send(F, kind::UNWATCH, 0, body);
        assert_eq!(bench.messages(F).len(), 1);
    }
    bench.send(F, kind::UNWATCH, 0, b"/a\0t\0");
    bench.store.event("/a", &token);
    let request = bench.request();
    assert_eq!(bench.messages(F), []);
    bench.store.refuse(&request, b"ENOENT\0");
    bench.pump();
    assert_eq!(bench.messages(F), [Message::new(kind::UNWATCH, 77, 0, b"OK\0")]);
}

#[test]
fn a_transaction_is_known_to_the_file_that_began_it() {
    let mut bench = Bench::new();
    bench.begin(F, 5);
    bench.send(F, kind::READ, 5, b"/a\0");
    assert_eq!(bench.request(), Message::new(kind::READ, 1, 5, b"/a\0"));
    for kind in [kind::READ, kind::TRANSACTION_END, kind::RESET_WATCHES] {
        bench.send(G, kind, 5, b"T\0");
        assert_eq!(bench.messages(G), error(5, b"ENOENT\0"));
        bench.send(F, kind, 6, b"x");
        assert_eq!(bench.messages(F), error(6, b"ENOENT\0"));
    }
    assert_eq!(bench.pump(), []);
}

#[test]
fn a_transaction_ends_with_t_or_f_and_nothing_else() {
    let mut bench = Bench::new();
    bench.begin(F, 5);
    for transaction in [5, 0] {
        for body in [&b""[..], b"T", b"TF", b"t\0", b"T\0\0", b"\0\0", b"OK\0"] {
            bench.send(F, kind::TRANSACTION_END, transaction, body);
            assert_eq!(bench.messages(F), error(transaction, b"EINVAL\0"), "{body:?}");
        }
    }
    assert_eq!(bench.pump(), []);
    for (body, refused) in [(b"T\0", false), (b"F\0", false), (b"T\0", true)] {
        bench.send(F, kind::TRANSACTION_END, 5, body);
        let request = bench.request();
        assert_eq!(
            (request.0.kind, request.0.transaction, &request.1[..]),
            (kind::TRANSACTION_END, 5, &body[..])
        );
        // Until the answer it is there.
        bench.send(F, kind::READ, 5, b"/a\0");
        let read = bench.request();
        if refused {
            bench.store.refuse(&request, b"EAGAIN\0");
        } else {
            bench.store.answer(&request, b"OK\0");
        }
        bench.store.answer(&read, b"");
        bench.pump();
        assert_eq!(bench.messages(F).len(), 2);
        bench.send(F, kind::READ, 5, b"/a\0");
        assert_eq!(bench.messages(F), error(5, b"ENOENT\0"));
        bench.begin(F, 5);
    }
}

#[test]
fn a_transaction_that_is_not_begun_is_none() {
    let mut bench = Bench::new();
    bench.send(F, kind::TRANSACTION_START, 123, b"\0");
    let request = bench.request();
    assert_eq!(
        request,
        Message::new(kind::TRANSACTION_START, 0, 123, b"\0"),
        "its own transaction is not looked at"
    );
    bench.store.refuse(&request, b"ENOSPC\0");
    bench.pump();
    assert_eq!(bench.messages(F), error(123, b"ENOSPC\0"));
    bench.bus.release(F);
    assert_eq!(bench.pump(), []);
    assert_eq!(bench.complaints(), []);
}

#[test]
fn a_start_without_a_number_is_not_answered() {
    let mut bench = Bench::new();
    bench.send(F, kind::TRANSACTION_START, 0, b"\0");
    let request = bench.request();
    bench.store.answer(&request, b"five\0");
    bench.pump();
    assert_eq!(bench.messages(F), []);
    assert_eq!(bench.complaints(), [Complaint::BadTransaction(F)]);
    bench.begin(F, 8);
}

#[test]
fn the_end_of_no_transaction_is_passed_on_and_not_answered() {
    let mut bench = Bench::new();
    bench.send(F, kind::TRANSACTION_END, 0, b"T\0");
    let request = bench.request();
    bench.store.refuse(&request, b"ENOENT\0");
    bench.pump();
    assert_eq!(bench.messages(F), []);
    assert_eq!(bench.complaints(), [Complaint::NoTransaction(F)]);
    bench.begin(F, 8);
}

#[test]
fn there_are_only_so_many_transactions() {
    let mut bench = Bench::new();
    let start = Message::new(kind::TRANSACTION_START, 1, 0, b"\0").bytes();
    let mut begun = 0;
    while bench.write(F, &start).is_ok() {
        begun += 1;
        for request in bench.pump() {
            bench.store.answer(&request, format!("{begun}\0").as_bytes());
        }
        bench.pump();
        bench.bus.consume(F, usize::MAX);
    }
    assert_eq!(begun, MAX_TRANSACTIONS);
    bench.send(F, kind::READ, 0, b"/a\0");
}

#[test]
fn the_kernels_own_requests_are_answered_to_it() {
    let mut bench = Bench::new();
    bench.send(F, kind::READ, 0, b"/f\0");
    let first = bench.bus.request(kind::READ, b"/a\0").unwrap();
    let second = bench.bus.request_in(4, kind::WRITE, b"/b\0value").unwrap();
    let third = bench.bus.request(kind::MKDIR, b"/c\0").unwrap();
    assert!(bench.bus.has_unsent());
    assert_eq!(bench.bus.request(kind::READ, &[0; 4097]), Err(Errno::E2BIG));
    assert!(Bench::new().bus.request(kind::READ, &[0; 4096]).is_ok());
    let requests = bench.pump();
    assert!(!bench.bus.has_unsent());
    assert_eq!(requests[2], Message::new(kind::WRITE, 2, 4, b"/b\0value"));
    bench.store.refuse(&requests[2], b"EACCES\0junk");
    bench.store.answer(&requests[1], b"value");
    bench.store.send(&Message::new(kind::READ, requests[3].0.request, 0, b"OK\0"));
    bench.pump();
    assert_eq!(bench.messages(F), []);
    let (ticket, reply) = bench.bus.next_reply().unwrap();
    assert_eq!((ticket, reply.map_err(|refusal| refusal.to_string())), (second, Err("EACCES".to_owned())));
    assert_eq!(bench.bus.next_reply(), Some((first, Ok(b"value".to_vec()))));
    let (ticket, reply) = bench.bus.next_reply().unwrap();
    assert_eq!((ticket, reply.unwrap_err().as_bytes()), (third, &b"EINVAL"[..]));
    assert_eq!(bench.bus.next_reply(), None);
}

#[test]
fn a_watch_that_there_is_no_memory_for_is_none() {
    let mut bench = Bench::new();
    // Little by little, so that at some time there is room for the watch and none for its request.
    let message = |length| Message::new(kind::READ, 1, 0, &vec![b'x'; length]).bytes();
    while bench.write(F, &message(4000)).is_ok() {}
    while bench.write(F, &message(0)).is_ok() {}
    for request in bench.pump().into_iter().rev().take(2) {
        bench.store.answer(&request, b"");
    }
    bench.pump();
    bench.bus.consume(F, usize::MAX);
    let watch = Message::new(kind::WATCH, 77, 0, b"/a\0t\0").bytes();
    assert_eq!(bench.write(F, &watch), failed(Errno::ENOMEM));
    assert_eq!(bench.pump(), []);
    bench.send(F, kind::UNWATCH, 0, b"/a\0t\0");
    assert_eq!(bench.messages(F), [Message::new(kind::UNWATCH, 77, 0, b"OK\0")]);
    assert_eq!(bench.pump(), []);
}
