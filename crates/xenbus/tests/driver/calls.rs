//! The device's calls: how messages are put together and read, and what is refused.

use crate::fake::{BAD, BASE, Bench, F, G, Message, failed};
use ioctlab_abi::xenbus::{Header, kind};
use ioctlab_chardev::{Errno, FileId, PollEvents, Request, Stop};
use ioctlab_xenbus::{Bus, MAX_HELD, MAX_UNREAD};

fn read_message(request: u32, body: &[u8]) -> Vec<u8> {
    Message::new(kind::READ, request, 0, body).bytes()
}

#[test]
fn the_bus_is_send() {
    fn send<T: Send>() {}
    send::<Bus>();
}

#[test]
fn without_a_store_the_device_cannot_be_opened() {
    let mut bus = Bus::new(0);
    assert_eq!(bus.open(F), Err(Errno::ENOENT));
    assert_eq!(bus.poll(F), PollEvents::default());
}

#[test]
fn a_file_that_is_not_open_is_ebadf() {
    let mut bench = Bench::new();
    bench.bus.release(G);
    for file in [G, FileId(99)] {
        assert_eq!(bench.read_at(file, BASE, 0), failed(Errno::EBADF));
        assert_eq!(bench.write_at(file, BASE, 0), failed(Errno::EBADF));
        assert_eq!(bench.bus.ioctl(file, Request(0), 0, &mut bench.memory), failed(Errno::EBADF));
        assert_eq!(bench.bus.poll(file), PollEvents::default());
        assert_eq!(bench.bus.unread(file), 0);
        assert_eq!(bench.bus.peek(file, &mut [0; 4]), 0);
        bench.bus.consume(file, 1);
        bench.bus.release(file);
    }
}

#[test]
fn there_are_no_ioctls() {
    let mut bench = Bench::new();
    for request in [0, 0x5401, 0x305000, u32::MAX] {
        assert_eq!(bench.bus.ioctl(F, Request(request), BAD, &mut bench.memory), failed(Errno::ENOTTY));
    }
}

#[test]
fn opening_a_file_again_leaves_it_as_it_is() {
    let mut bench = Bench::new();
    bench.write(F, &read_message(1, b"/a\0")[..10]).unwrap();
    bench.bus.open(F).unwrap();
    bench.write(F, &read_message(1, b"/a\0")[10..]).unwrap();
    assert_eq!(bench.request().1, b"/a\0");
}

#[test]
fn a_message_may_be_written_in_any_two_pieces_or_byte_by_byte() {
    let message = read_message(5, b"/some/path\0");
    for split in 0..=message.len() {
        let mut bench = Bench::new();
        assert_eq!(bench.write(F, &message[..split]), Ok(split));
        assert_eq!(bench.pump().is_empty(), split < message.len());
        assert_eq!(bench.write(F, &message[split..]), Ok(message.len() - split));
        assert_eq!(bench.pump().is_empty(), split == message.len());
    }
    let mut bench = Bench::new();
    for byte in &message {
        assert_eq!(bench.pump(), []);
        assert_eq!(bench.write(F, &[*byte]), Ok(1));
    }
    assert_eq!(bench.request(), Message::new(kind::READ, 0, 0, b"/some/path\0"));
}

#[test]
fn a_message_may_have_no_payload() {
    let mut bench = Bench::new();
    bench.send(F, kind::CONTROL, 0, b"");
    let request = bench.request();
    assert_eq!(request, Message::new(kind::CONTROL, 0, 0, b""));
    bench.store.answer(&request, b"");
    bench.pump();
    assert_eq!(bench.messages(F), [Message::new(kind::CONTROL, 77, 0, b"")]);
}

#[test]
fn what_follows_a_message_in_the_same_write_is_dropped() {
    let mut bench = Bench::new();
    let two = [read_message(1, b"/a\0"), read_message(2, b"/b\0")].concat();
    assert_eq!(bench.write(F, &two), Ok(two.len()));
    assert_eq!(bench.request().1, b"/a\0");
    bench.send(F, kind::READ, 0, b"/c\0");
    assert_eq!(bench.request().1, b"/c\0");
}

#[test]
fn a_write_of_nothing_does_nothing_wherever_it_points() {
    let mut bench = Bench::new();
    bench.write(F, &read_message(1, b"/a\0")[..18]).unwrap();
    assert_eq!(bench.write_at(F, BAD, 0), Ok(0));
    bench.write(F, b"\0").unwrap();
    assert_eq!(bench.request().1, b"/a\0");
}

#[test]
fn more_than_the_buffer_holds_is_einval_and_drops_what_is_there() {
    for before in [0, 1, 15, 16, 4095] {
        let mut bench = Bench::new();
        let header = Header { kind: kind::READ, length: 4080, ..Header::default() }.to_bytes();
        let part: Vec<u8> = header.into_iter().chain(std::iter::repeat(b'x')).take(before).collect();
        bench.write(F, &part).unwrap();
        assert_eq!(bench.write_at(F, BAD, 4097 - before), failed(Errno::EINVAL));
        assert_eq!(bench.write_at(F, BAD, usize::MAX), failed(Errno::EINVAL));
        bench.send(F, kind::READ, 0, b"/a\0");
        assert_eq!(bench.request().1, b"/a\0");
    }
}

#[test]
fn the_longest_message_is_4096_bytes_with_its_header() {
    let mut bench = Bench::new();
    let body = vec![b'x'; 4080];
    bench.send(F, kind::READ, 0, &body);
    assert_eq!(bench.request().1, body);
    // One byte more is refused as soon as the header is there.
    for length in [4081, 4096, u32::MAX] {
        let header = Header { kind: kind::READ, length, ..Header::default() }.to_bytes();
        assert_eq!(bench.write(F, &header[..15]), Ok(15));
        assert_eq!(bench.write(F, &header[15..]), failed(Errno::E2BIG));
    }
    bench.send(F, kind::READ, 0, b"/a\0");
    assert_eq!(bench.request().1, b"/a\0");
}

#[test]
fn a_write_that_faults_at_any_byte_adds_nothing() {
    let mut bench = Bench::new();
    let message = read_message(1, b"/a/b/c\0");
    bench.write(F, &message[..3]).unwrap();
    let end = BASE + bench.memory.0.len() as u64;
    let rest = message.len() - 3;
    for missing in 1..=rest {
        assert_eq!(bench.write_at(F, end - (rest - missing) as u64, rest), failed(Errno::EFAULT));
    }
    for at in [0, BAD, BASE - 1, u64::MAX] {
        assert_eq!(bench.write_at(F, at, rest), failed(Errno::EFAULT));
    }
    assert_eq!(bench.write(F, &message[3..]), Ok(rest));
    assert_eq!(bench.request().1, b"/a/b/c\0");
}

#[test]
fn a_file_that_holds_too_much_is_enomem_and_others_go_on() {
    let mut bench = Bench::new();
    let body = vec![b'x'; 4000];
    let message = Message::new(kind::READ, 1, 0, &body).bytes();
    let mut sent = 0;
    while bench.write(F, &message) == Ok(message.len()) {
        sent += 1;
    }
    assert!((MAX_HELD / 4200..=MAX_HELD / 4000).contains(&sent), "{sent}");
    assert_eq!(bench.write(F, &message), failed(Errno::ENOMEM));
    bench.send(G, kind::READ, 0, b"/g\0");
    // The message that was refused is gone, and when the answers are there the file may go on.
    let requests = bench.pump();
    assert_eq!(requests.len(), sent + 1);
    assert_eq!(bench.write(F, &message), failed(Errno::ENOMEM), "what is unanswered counts");
    for request in &requests {
        bench.store.answer(request, b"v");
    }
    bench.pump();
    assert_eq!(bench.messages(F).len(), sent);
    bench.send(F, kind::READ, 0, b"/a\0");
    assert_eq!(bench.request().1, b"/a\0");
}

#[test]
fn all_files_together_may_hold_only_so_much() {
    let mut bench = Bench::new();
    let message = Message::new(kind::READ, 1, 0, &[b'x'; 4000]).bytes();
    // Released files count as long as they wait for answers.
    let full = (3_u64..40)
        .take_while(|file| {
            bench.bus.open(FileId(*file)).unwrap();
            let mut sent = 0;
            while bench.write(FileId(*file), &message).is_ok() {
                sent += 1;
            }
            bench.bus.release(FileId(*file));
            sent > 0
        })
        .count();
    assert!((8..=9).contains(&full), "{full}");
    assert_eq!(bench.write(F, &message), failed(Errno::ENOMEM));
    for request in bench.pump() {
        bench.store.refuse(&request, b"EIO\0");
    }
    bench.pump();
    assert_eq!(bench.write(F, &message), Ok(message.len()));
}

/// A bench whose first file has three answers to read: their bytes.
fn with_answers() -> (Bench, Vec<u8>) {
    let mut bench = Bench::new();
    let mut expected = Vec::new();
    for body in [&b"value"[..], b"", &[7; 700]] {
        bench.send(F, kind::READ, 0, b"/a\0");
        let request = bench.request();
        bench.store.answer(&request, body);
        expected.extend(Message::new(kind::READ, 77, 0, body).bytes());
    }
    bench.pump();
    (bench, expected)
}

#[test]
fn reads_take_a_stream_of_bytes_that_may_span_messages() {
    for count in [1, 7, 15, 16, 17, 700, 4096] {
        let (mut bench, expected) = with_answers();
        let mut got = Vec::new();
        assert_eq!(bench.bus.unread(F), expected.len());
        assert_eq!(bench.bus.poll(F), PollEvents::IN | PollEvents::RDNORM);
        while got.len() < expected.len() {
            let would = bench.bus.would_read(F, count);
            let mut peeked = vec![0; count];
            assert_eq!(bench.bus.peek(F, &mut peeked), would);
            let bytes = bench.read(F, count).unwrap();
            assert_eq!(bytes.len(), would);
            assert_eq!(bytes, peeked[..would]);
            assert!(bytes.len() == count || got.len() + bytes.len() == expected.len());
            got.extend(bytes);
        }
        assert_eq!(got, expected);
        assert_eq!(bench.bus.poll(F), PollEvents::default());
        for count in [0, 1, usize::MAX] {
            assert_eq!(bench.read_at(F, BAD, count), Err(Stop::Wait));
            assert_eq!(bench.bus.would_read(F, count), 0);
        }
    }
}

#[test]
fn a_read_of_nothing_returns_though_there_is_something() {
    let (mut bench, expected) = with_answers();
    assert_eq!(bench.read_at(F, BAD, 0), Ok(0));
    assert_eq!(bench.bus.unread(F), expected.len());
}

#[test]
fn a_read_that_faults_takes_what_it_could_write() {
    for reachable in 0..=760 {
        let (mut bench, expected) = with_answers();
        let end = BASE + bench.memory.0.len() as u64;
        let result = bench.read_at(F, end - reachable as u64, 4096);
        let whole = reachable.min(expected.len());
        assert_eq!(result, if reachable == 0 { failed(Errno::EFAULT) } else { Ok(whole) });
        let start = bench.memory.0.len() - reachable;
        assert_eq!(bench.memory.0[start..start + whole], expected[..whole]);
        assert_eq!(bench.bus.unread(F), expected.len() - whole);
        if whole < expected.len() {
            assert_eq!(bench.read(F, 4096).unwrap(), expected[whole..]);
        }
    }
    let (mut bench, expected) = with_answers();
    for at in [0, BAD, BASE - 1, u64::MAX - 3, u64::MAX] {
        assert_eq!(bench.read_at(F, at, 4096), failed(Errno::EFAULT));
    }
    assert_eq!(bench.read(F, 4096), Ok(expected));
}

#[test]
fn consume_takes_what_was_shown() {
    let (mut bench, expected) = with_answers();
    bench.bus.consume(F, 20);
    assert_eq!(bench.bus.unread(F), expected.len() - 20);
    let mut rest = vec![0; 1000];
    let copied = bench.bus.peek(F, &mut rest);
    assert_eq!(rest[..copied], expected[20..]);
    bench.bus.consume(F, usize::MAX);
    assert_eq!(bench.bus.unread(F), 0);
}

#[test]
fn growth_is_reported_once_and_only_of_open_files() {
    let (mut bench, _) = with_answers();
    assert_eq!(bench.growths(), [F]);
    assert_eq!(bench.growths(), []);
    // It grows though nothing was read, and stays due though all is read.
    for file in [G, F] {
        bench.send(file, kind::UNWATCH, 0, b"/none\0token\0");
    }
    bench.messages(F);
    assert_eq!(bench.growths(), [F, G]);
    for file in [F, G] {
        bench.send(file, kind::UNWATCH, 0, b"/none\0token\0");
    }
    bench.bus.release(F);
    assert_eq!(bench.growths(), [G]);
    assert_eq!(bench.growths(), []);
}

#[test]
fn unread_data_is_bounded_and_what_does_not_fit_is_lost_whole() {
    let mut bench = Bench::new();
    let token = bench.watch(F, "/a", "mine");
    let path = "x".repeat(4000);
    for _ in 0..300 {
        bench.store.event(&path, &token);
    }
    bench.pump();
    assert!(bench.bus.unread(F) <= MAX_UNREAD);
    let messages = bench.messages(F);
    assert_eq!(messages.len(), MAX_UNREAD / (16 + 4001 + 5));
    assert!(!bench.complaints().is_empty());
}
