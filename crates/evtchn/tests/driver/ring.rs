//! The ring as a client and a host see it: growth, wrapping, overflow, reads, wake-ups.

use crate::fake::{BASE, Bench, F, G, failed, ports};
use ioctlab_abi::evtchn;
use ioctlab_chardev::{Errno, PollEvents, Stop};
use ioctlab_evtchn::{ChannelAbi, FIRST_RING_SIZE, MAX_TRANSFER};

fn fifo() -> Bench {
    Bench::new(ChannelAbi::Fifo)
}

/// Leaves so many entries of a port in the ring: it is delivered, unbound and bound again each time.
fn fill(bench: &mut Bench, a: u32, entries: usize) -> u32 {
    let mut last = 0;
    for _ in 0..entries {
        last = bench.interdomain(F, 0, a).unwrap() as u32;
        bench.pump();
        bench.unbind(F, last).unwrap();
    }
    last
}

const WRITABLE: PollEvents = PollEvents(0x104);
const READABLE: PollEvents = PollEvents(0x145);

#[test]
fn poll_shows_an_overflow_and_nothing_else() {
    let mut bench = fifo();
    assert_eq!(bench.driver.poll(F), WRITABLE);
    let a = bench.unbound(F);
    assert_eq!(bench.driver.poll(F), WRITABLE);
    fill(&mut bench, a, FIRST_RING_SIZE);
    assert_eq!(bench.driver.poll(F), READABLE);
    assert!(!bench.driver.is_overflowed(F));
    fill(&mut bench, a, 1);
    assert_eq!(bench.driver.poll(F), PollEvents::ERR);
    assert!(bench.driver.is_overflowed(F));
    assert_eq!(bench.driver.poll(G), WRITABLE);
}

#[test]
fn an_overflow_is_efbig_until_reset() {
    let mut bench = fifo();
    let a = bench.unbound(F);
    fill(&mut bench, a, FIRST_RING_SIZE + 1);
    for _ in 0..2 {
        assert_eq!(bench.read(F, 4), failed(Errno::EFBIG));
        assert_eq!(bench.read_at(F, 0, 4), failed(Errno::EFBIG));
        assert_eq!(bench.read(F, 3), Ok(vec![]));
    }
    // Room doesn't clear it.
    bench.driver.consume(F, 10);
    assert_eq!(bench.read(F, 4), failed(Errno::EFBIG));
    assert_eq!(bench.driver.unread(F), FIRST_RING_SIZE - 10);
    bench.ioctl(F, evtchn::RESET, &[]).unwrap();
    assert_eq!(bench.read(F, 4), Err(Stop::Wait));
    assert_eq!(bench.driver.poll(F), WRITABLE);
}

#[test]
fn a_port_whose_event_overflowed_is_disabled_all_the_same() {
    let mut bench = fifo();
    let (a, b) = bench.pair(F);
    let c = bench.unbound(F);
    fill(&mut bench, c, FIRST_RING_SIZE);
    bench.notify(F, a).unwrap();
    bench.pump();
    assert!(bench.driver.is_overflowed(F));
    assert!(bench.xen.is_masked(b));
    bench.ioctl(F, evtchn::RESET, &[]).unwrap();
    bench.notify(F, a).unwrap();
    bench.write(F, &[b]).unwrap();
    bench.pump();
    assert_eq!(bench.read(F, 64), Ok(vec![b]));
}

#[test]
fn every_bound_port_has_a_slot() {
    let mut bench = fifo();
    let pairs: Vec<_> = (0..100).map(|_| bench.pair(F)).collect();
    for (a, b) in &pairs {
        bench.notify(F, *a).unwrap();
        bench.notify(F, *b).unwrap();
    }
    bench.pump();
    let expected: Vec<_> = pairs.iter().flat_map(|(a, b)| [*b, *a]).collect();
    assert_eq!(bench.read(F, 4096), Ok(expected));
}

#[test]
fn the_ring_has_64_slots_then_128_once_there_are_65_ports() {
    for (bound, size) in [(64, 64), (65, 128), (128, 128), (129, 256)] {
        let mut bench = fifo();
        let a = bench.unbound(F);
        for _ in 2..bound {
            bench.unbound(F);
        }
        // Filling binds one more for a moment.
        fill(&mut bench, a, size);
        assert!(!bench.driver.is_overflowed(F), "{bound} ports");
        fill(&mut bench, a, 1);
        assert!(bench.driver.is_overflowed(F), "{bound} ports");
    }
}

#[test]
fn a_bind_that_fails_has_grown_the_ring_and_it_stays_so() {
    let mut bench = fifo();
    let a = bench.unbound(F);
    for _ in 1..FIRST_RING_SIZE {
        bench.unbound(F);
    }
    assert_eq!(bench.word(F, evtchn::BIND_STATIC, u32::MAX), failed(Errno::ENOMEM));
    let spare = a + 1;
    bench.unbind(F, spare).unwrap();
    fill(&mut bench, a, 2 * FIRST_RING_SIZE);
    assert!(!bench.driver.is_overflowed(F));
    fill(&mut bench, a, 1);
    assert!(bench.driver.is_overflowed(F));
}

#[test]
fn growing_keeps_the_order_and_an_overflow() {
    for read_before in [0, 1, 40, 63] {
        for overflow in [false, true] {
            let mut bench = fifo();
            let a = bench.unbound(F);
            // Bring the ring's beginning to some place, then have distinct ports wrap around its end.
            fill(&mut bench, a, read_before);
            bench.driver.consume(F, read_before);
            let mut remotes = Vec::new();
            let mut expected = Vec::new();
            for _ in 0..31 {
                let (x, y) = bench.pair(F);
                remotes.push(x);
                expected.push(y);
            }
            for x in &remotes {
                bench.notify(F, *x).unwrap();
            }
            bench.pump();
            let z = fill(&mut bench, a, FIRST_RING_SIZE - 31 + usize::from(overflow));
            expected.extend(std::iter::repeat_n(z, FIRST_RING_SIZE - 31));
            for _ in 0..2 {
                bench.unbound(F);
            }
            assert_eq!(bench.driver.is_overflowed(F), overflow);
            bench.driver.peek(F, 0, &mut []);
            let mut seen = vec![0; 4 * 2 * FIRST_RING_SIZE];
            let len = bench.driver.peek(F, 0, &mut seen);
            assert_eq!(ports(&seen[..len]), expected);
            if !overflow {
                fill(&mut bench, a, 1);
                assert_eq!(bench.read(F, 4096).unwrap().len(), FIRST_RING_SIZE + 1);
            }
        }
    }
}

#[test]
fn a_read_rounds_down_and_stops_at_a_page() {
    let mut bench = fifo();
    let pairs: Vec<_> = (0..600).map(|_| bench.pair(F)).collect();
    let mut expected = Vec::new();
    for (a, b) in &pairs {
        bench.notify(F, *a).unwrap();
        bench.notify(F, *b).unwrap();
        expected.extend([*b, *a]);
    }
    bench.pump();
    assert_eq!(bench.read(F, 3), Ok(vec![]));
    assert_eq!(bench.read(F, 7), Ok(expected[..1].to_vec()));
    assert_eq!(bench.read(F, usize::MAX), Ok(expected[1..1025].to_vec()));
    assert_eq!(bench.driver.unread(F), 175);
    bench.memory.0.fill(0xaa);
    assert_eq!(bench.read(F, MAX_TRANSFER), Ok(expected[1025..].to_vec()));
    assert_eq!(bench.memory.0[700], 0xaa);
    assert_eq!(bench.read(F, 4), Err(Stop::Wait));
    assert_eq!(bench.read_at(F, 0, 4), Err(Stop::Wait));
}

#[test]
fn a_read_that_faults_at_any_byte_takes_nothing() {
    let mut bench = fifo();
    let pairs: Vec<_> = (0..150).map(|_| bench.pair(F)).collect();
    for (a, _) in &pairs {
        bench.notify(F, *a).unwrap();
    }
    bench.pump();
    let expected: Vec<_> = pairs.iter().map(|(_, b)| *b).collect();
    let end = BASE + bench.memory.0.len() as u64;
    // 600 bytes are ready: more than the driver's bounce buffer holds.
    for reachable in 0..600 {
        assert_eq!(bench.read_at(F, end - reachable, 4096), failed(Errno::EFAULT), "{reachable}");
        let bytes = expected.iter().flat_map(|port| port.to_ne_bytes());
        let start = bench.memory.0.len() - reachable as usize;
        assert!(bench.memory.0[start..].iter().copied().eq(bytes.take(reachable as usize)));
    }
    assert_eq!(bench.read_at(F, end - 600, 4096), Ok(600));
    assert_eq!(ports(&bench.memory.0[8192 - 600..]), expected);
}

#[test]
fn peek_copies_whole_ports_and_takes_nothing() {
    let mut bench = fifo();
    let pairs: Vec<_> = (0..3).map(|_| bench.pair(F)).collect();
    for (a, _) in &pairs {
        bench.notify(F, *a).unwrap();
    }
    bench.pump();
    let all: Vec<_> = pairs.iter().flat_map(|(_, b)| b.to_ne_bytes()).collect();
    for skip in 0..5 {
        for size in 0..20 {
            let mut to = [0xaa; 20];
            let copied = bench.driver.peek(F, skip, &mut to[..size]);
            let expected = all.get(4 * skip..).unwrap_or_default();
            let whole = expected.len().min(size & !3);
            assert_eq!(copied, whole);
            assert_eq!(to[..whole], expected[..whole]);
            assert!(to[whole..].iter().all(|byte| *byte == 0xaa));
        }
    }
    assert_eq!(bench.driver.peek(F, usize::MAX, &mut [0; 8]), 0);
    bench.driver.consume(F, 1);
    assert_eq!(bench.driver.unread(F), 2);
    // What was consumed is delivered: disabled until written back.
    bench.notify(F, pairs[0].0).unwrap();
    bench.pump();
    assert_eq!(bench.read(F, 64), Ok(vec![pairs[1].1, pairs[2].1]));
    bench.driver.consume(F, usize::MAX);
    assert_eq!(bench.driver.unread(F), 0);
}

#[test]
fn a_wake_is_due_when_the_ring_stops_being_empty() {
    let mut bench = fifo();
    let (a, b) = bench.pair(F);
    let (c, d) = bench.pair(G);
    assert_eq!(bench.wakes(), [F, G]);
    bench.notify(F, a).unwrap();
    bench.pump();
    assert_eq!(bench.wakes(), [F]);
    // Not empty: no second one.
    bench.notify(F, b).unwrap();
    bench.pump();
    assert_eq!(bench.wakes(), []);
    // Emptied before anybody asked: due all the same, once.
    bench.read(F, 4096).unwrap();
    bench.write(F, &[a, b]).unwrap();
    for _ in 0..3 {
        bench.notify(F, a).unwrap();
        bench.pump();
        bench.read(F, 4096).unwrap();
        bench.write(F, &[b]).unwrap();
    }
    bench.notify(G, c).unwrap();
    bench.pump();
    assert_eq!(bench.wakes(), [F, G]);
    // A file that was released is not woken, and others still are.
    bench.write(G, &[d]).unwrap();
    bench.read(G, 4096).unwrap();
    bench.notify(G, c).unwrap();
    bench.notify(F, a).unwrap();
    bench.pump();
    bench.release(F);
    assert_eq!(bench.wakes(), [G]);
}

#[test]
fn an_event_that_overflows_wakes_nobody() {
    let mut bench = fifo();
    let a = bench.unbound(F);
    fill(&mut bench, a, FIRST_RING_SIZE);
    assert_eq!(bench.wakes(), [F]);
    fill(&mut bench, a, 1);
    assert_eq!(bench.wakes(), []);
}
