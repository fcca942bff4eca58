//! `BIND_STATIC`: ports that stay open, and ports that files share (where C has a bug).

use crate::fake::{Asked, Bench, F, G, failed};
use ioctlab_abi::evtchn;
use ioctlab_chardev::{Errno, FileId, Stop};
use ioctlab_evtchn::{ChannelAbi, Hypervisor, Port};

const H: FileId = FileId(3);

/// A bench where F owns a pair and G has the second port statically.
fn shared() -> (Bench, u32, u32) {
    let mut bench = Bench::new(ChannelAbi::Fifo);
    bench.driver.open(H);
    let (a, b) = bench.pair(F);
    assert_eq!(bench.word(G, evtchn::BIND_STATIC, b), Ok(0));
    bench.asked();
    (bench, a, b)
}

#[test]
fn a_static_port_is_not_closed() {
    let mut bench = Bench::new(ChannelAbi::Fifo);
    assert_eq!(bench.word(F, evtchn::BIND_STATIC, 3000), Ok(0));
    assert_eq!(bench.word(F, evtchn::BIND_STATIC, 3000), failed(Errno::EISCONN));
    assert_eq!(bench.notify(F, 3000), Ok(0));
    assert_eq!(bench.unbind(F, 3000), Ok(0));
    assert_eq!(bench.word(F, evtchn::BIND_STATIC, 3001), Ok(0));
    bench.release(F);
    assert_eq!(
        bench.asked(),
        [Asked::Unmask(3000), Asked::Send(3000), Asked::Mask(3000), Asked::Unmask(3001), Asked::Mask(3001)]
    );
}

#[test]
fn a_static_port_gets_events() {
    let mut bench = Bench::new(ChannelAbi::Fifo);
    assert_eq!(bench.word(F, evtchn::BIND_STATIC, 3000), Ok(0));
    for _ in 0..2 {
        bench.xen.raise(3000);
        bench.pump();
        assert_eq!(bench.read(F, 64), Ok(vec![3000]));
        assert_eq!(bench.read(F, 64), Err(Stop::Wait));
        bench.write(F, &[3000]).unwrap();
    }
}

#[test]
fn ports_of_ones_own_are_eisconn_and_a_bad_one_enomem() {
    let (mut bench, a, b) = shared();
    for (file, port) in [(F, a), (F, b), (G, b)] {
        assert_eq!(bench.word(file, evtchn::BIND_STATIC, port), failed(Errno::EISCONN));
    }
    assert_eq!(bench.word(G, evtchn::BIND_STATIC, 131_072), failed(Errno::ENOMEM));
    assert_eq!(bench.asked(), []);
}

#[test]
fn both_files_see_events_each_once_and_lose_none() {
    let (mut bench, a, b) = shared();
    bench.notify(F, a).unwrap();
    bench.pump();
    assert_eq!(bench.read(F, 64), Ok(vec![b]));
    assert_eq!(bench.read(G, 64), Ok(vec![b]));
    // F is done with it: the next event is F's at once, and G's when G is done with the first.
    bench.write(F, &[b]).unwrap();
    bench.notify(F, a).unwrap();
    bench.pump();
    assert_eq!(bench.read(F, 64), Ok(vec![b]));
    assert_eq!(bench.read(G, 64), Err(Stop::Wait));
    bench.wakes();
    bench.write(G, &[b]).unwrap();
    assert_eq!(bench.wakes(), [G]);
    assert_eq!(bench.read(G, 64), Ok(vec![b]));
    bench.write(G, &[b]).unwrap();
    bench.write(F, &[b]).unwrap();
    assert_eq!(bench.read(G, 64), Err(Stop::Wait));
    bench.notify(F, a).unwrap();
    bench.pump();
    assert_eq!((bench.driver.unread(F), bench.driver.unread(G)), (1, 1));
}

#[test]
fn the_port_closes_with_its_owner_and_the_other_file_can_still_close() {
    let (mut bench, _, b) = shared();
    assert_eq!(bench.unbind(F, b), Ok(0));
    assert_eq!(bench.asked(), [Asked::Close(b)]);
    assert_eq!(bench.notify(G, b), Ok(0));
    assert_eq!(bench.asked(), [Asked::Send(b)]);
    bench.release(G);
    assert_eq!(bench.asked(), [Asked::Mask(b)]);

    let (mut bench, _, b) = shared();
    bench.release(G);
    assert_eq!(bench.asked(), []);
    assert_eq!(bench.unbind(F, b), Ok(0));
    assert_eq!(bench.asked(), [Asked::Mask(b), Asked::Close(b)]);
}

#[test]
fn a_file_that_goes_before_it_is_done_does_not_leave_the_port_masked() {
    let (mut bench, a, b) = shared();
    bench.notify(F, a).unwrap();
    bench.pump();
    // H comes while the port is masked: enabled, with no event of its own to be done with.
    bench.word(H, evtchn::BIND_STATIC, b).unwrap();
    bench.asked();
    bench.release(G);
    assert_eq!(bench.asked(), []);
    assert!(bench.xen.is_masked(b));
    bench.unbind(F, b).unwrap();
    assert_eq!(bench.asked(), [Asked::Close(b), Asked::Unmask(b)]);

    let (mut bench, a, b) = shared();
    bench.write(G, &[b]).unwrap();
    bench.notify(F, a).unwrap();
    bench.pump();
    bench.write(F, &[b]).unwrap();
    bench.notify(F, a).unwrap();
    bench.pump();
    bench.word(H, evtchn::BIND_STATIC, b).unwrap();
    bench.write(G, &[b]).unwrap();
    bench.release(G);
    bench.asked();
    // G's write ended the interrupt, though F was not done with it: nothing is left masked.
    assert!(!bench.xen.is_masked(b));
}

#[test]
fn a_number_that_is_held_statically_can_be_given_out() {
    // To another file: shared from the start.
    let mut bench = Bench::new(ChannelAbi::Fifo);
    bench.word(G, evtchn::BIND_STATIC, 2).unwrap();
    let (_, b) = bench.pair(F);
    assert_eq!(b, 2);
    assert_eq!(bench.read(G, 64), Ok(vec![2]));
    bench.asked();
    bench.release(F);
    assert!(bench.asked().contains(&Asked::Close(2)));
    assert_eq!(bench.notify(G, 2), Ok(0));

    // To the same file: refused, and closed again; the static binding stays.
    let mut bench = Bench::new(ChannelAbi::Fifo);
    bench.word(F, evtchn::BIND_STATIC, 1).unwrap();
    bench.asked();
    assert_eq!(bench.word(F, evtchn::BIND_UNBOUND_PORT, 0), failed(Errno::EEXIST));
    assert_eq!(bench.asked(), [Asked::Unbound(0), Asked::Close(1)]);
    assert_eq!(bench.notify(F, 1), Ok(0));
}

#[test]
fn a_number_comes_back_unmasked_after_its_owner_left_others_with_it() {
    let (mut bench, a, b) = shared();
    bench.notify(F, a).unwrap();
    bench.pump();
    bench.unbind(F, b).unwrap();
    // G has not written the port back; H's new channel of that number gets its events nevertheless.
    let again = bench.interdomain(H, 0, a).unwrap() as u32;
    assert_eq!(again, b);
    bench.pump();
    assert_eq!(bench.read(H, 64), Ok(vec![b]));
}

#[test]
fn an_event_that_was_missed_is_delivered_like_any_other() {
    let (mut bench, a, b) = shared();
    for _ in 0..2 {
        bench.notify(F, a).unwrap();
        bench.pump();
        bench.write(F, &[b]).unwrap();
    }
    // G's first write delivers the second event, and G's port stays disabled: a third event waits for G's second write.
    bench.write(G, &[b]).unwrap();
    assert_eq!(bench.driver.unread(G), 2);
    bench.notify(F, a).unwrap();
    bench.pump();
    assert_eq!((bench.driver.unread(F), bench.driver.unread(G)), (3, 2));
    bench.write(G, &[b]).unwrap();
    assert_eq!(bench.driver.unread(G), 3);
    bench.write(G, &[b]).unwrap();
    assert_eq!(bench.driver.unread(G), 3);
}

#[test]
fn a_port_with_two_owners_closes_with_the_second() {
    let mut bench = Bench::new(ChannelAbi::Fifo);
    let a = bench.unbound(F);
    // As when the guest's channels are reset behind the driver's back: Xen gives the number out again.
    bench.xen.close(Port(a));
    assert_eq!(bench.unbound(G), a);
    bench.asked();
    bench.release(F);
    assert_eq!(bench.asked(), []);
    bench.release(G);
    assert_eq!(bench.asked(), [Asked::Mask(a), Asked::Close(a)]);
}
