//! Ports that another driver of the guest holds, to send through them later: they outlast what binds them.

use crate::fake::{Asked, Bench, F, G, failed};
use ioctlab_abi::evtchn;
use ioctlab_chardev::{Errno, FileId};
use ioctlab_evtchn::{ChannelAbi, Hypervisor, Port};

impl Bench {
    fn hold(&mut self, port: u32) -> Result<(), Errno> {
        self.driver.hold_port(Port(port))
    }

    fn let_go(&mut self, port: u32) {
        self.driver.let_port_go(Port(port), &mut self.xen);
    }

    /// How often a port was closed since this was last asked.
    fn closed(&mut self, port: u32) -> usize {
        self.asked().iter().filter(|asked| **asked == Asked::Close(port)).count()
    }
}

#[test]
fn only_ports_of_programs_can_be_held() {
    let mut bench = Bench::new(ChannelAbi::Fifo);
    bench.driver.claim_for_kernel(Port(1)).unwrap();
    bench.xen.first = 2;
    let (a, b) = bench.pair(F);
    for port in [0, 1, 4000, 0x7fff_ffff, u32::MAX] {
        assert_eq!(bench.hold(port), Err(Errno::EINVAL), "{port}");
    }
    assert_eq!((bench.hold(a), bench.hold(b), bench.hold(a)), (Ok(()), Ok(()), Ok(())));
    bench.let_go(4000);
    assert_eq!(bench.closed(4000), 0, "one that isn't held is left alone");
}

#[test]
fn a_held_port_is_closed_when_it_is_let_go_for_the_last_time() {
    for by_release in [false, true] {
        let mut bench = Bench::new(ChannelAbi::Fifo);
        let (a, _) = bench.pair(F);
        bench.hold(a).unwrap();
        bench.hold(a).unwrap();
        if by_release {
            bench.release(F);
        } else {
            bench.unbind(F, a).unwrap();
            assert_eq!(bench.notify(F, a), failed(Errno::ENOTCONN), "it is the program's no longer");
        }
        assert_eq!(bench.closed(a), 0);
        assert!(!bench.xen.is_free(a), "others can still send through it");
        assert_eq!(bench.hold(a), Ok(()), "a held one can be held once more");
        for _ in 0..2 {
            bench.let_go(a);
            assert_eq!(bench.closed(a), 0);
        }
        bench.let_go(a);
        assert_eq!(bench.closed(a), 1);
        assert_eq!(bench.hold(a), Err(Errno::EINVAL));
    }
}

#[test]
fn a_port_that_is_let_go_while_it_is_bound_stays() {
    let mut bench = Bench::new(ChannelAbi::Fifo);
    let (a, _) = bench.pair(F);
    bench.hold(a).unwrap();
    bench.let_go(a);
    bench.let_go(a);
    assert_eq!(bench.closed(a), 0);
    bench.unbind(F, a).unwrap();
    assert_eq!(bench.closed(a), 1, "by its unbinding, as ever");
}

#[test]
fn a_static_port_is_not_closed_by_letting_it_go() {
    let mut bench = Bench::new(ChannelAbi::Fifo);
    assert_eq!(bench.word(F, evtchn::BIND_STATIC, 3000), Ok(0));
    bench.hold(3000).unwrap();
    bench.unbind(F, 3000).unwrap();
    bench.let_go(3000);
    assert_eq!(bench.closed(3000), 0);
}

#[test]
fn there_are_32767_references_at_most_of_which_the_binding_is_one() {
    let mut bench = Bench::new(ChannelAbi::Fifo);
    let (a, _) = bench.pair(F);
    for _ in 0..32_766 {
        bench.hold(a).unwrap();
    }
    assert_eq!(bench.hold(a), Err(Errno::EINVAL));
    bench.unbind(F, a).unwrap();
    assert_eq!(bench.hold(a), Ok(()), "in the binding's place");
    assert_eq!(bench.hold(a), Err(Errno::EINVAL));
    for _ in 0..32_766 {
        bench.let_go(a);
    }
    assert_eq!(bench.closed(a), 0);
    bench.let_go(a);
    assert_eq!(bench.closed(a), 1);
}

#[test]
fn a_number_that_has_a_new_owner_is_not_closed_by_letting_the_old_one_go() {
    let mut bench = Bench::new(ChannelAbi::Fifo);
    let a = bench.unbound(F);
    bench.hold(a).unwrap();
    bench.unbind(F, a).unwrap();
    // As when the guest's channels are reset behind the driver's back: Xen gives the number out again.
    bench.xen.close(Port(a));
    assert_eq!(bench.unbound(F), a);
    bench.asked();
    bench.let_go(a);
    assert_eq!(bench.closed(a), 0);
    bench.unbind(F, a).unwrap();
    assert_eq!(bench.closed(a), 1);
}

/// What group `gn8` of the record shows of ports.
#[test]
fn an_unbound_port_that_is_held_still_sends_and_its_peer_can_be_bound_to_again() {
    let mut bench = Bench::new(ChannelAbi::Fifo);
    let (a, b) = bench.pair(F);
    bench.hold(a).unwrap();
    bench.unbind(F, a).unwrap();
    assert_eq!(bench.interdomain(F, 0, b), failed(Errno::EINVAL), "it still has its peer");
    assert_eq!(bench.xen.send(Port(a)), Ok(()));
    bench.pump();
    assert_eq!(bench.read(F, 64), Ok(vec![b]));
    bench.write(F, &[b]).unwrap();
    // Nobody handles it: an event that comes to it is nobody's.
    bench.notify(F, b).unwrap();
    bench.pump();
    assert_eq!(bench.driver.unread(F), 0);
    bench.let_go(a);
    let again = bench.interdomain(F, 0, b);
    assert_eq!(again, Ok(i64::from(a)), "the number is free, and so is the peer");
    bench.pump();
    assert_eq!(bench.read(F, 64), Ok(vec![a]), "it is unmasked like any fresh one");
}

#[test]
fn a_number_that_was_closed_late_comes_back_unmasked() {
    let mut bench = Bench::new(ChannelAbi::Fifo);
    let (a, b) = bench.pair(F);
    let another = FileId(3);
    bench.driver.open(another);
    bench.word(G, evtchn::BIND_STATIC, b).unwrap();
    bench.driver.hold_port(Port(b)).unwrap();
    bench.unbind(F, b).unwrap();
    // G is given an event and doesn't say that it is done with it.
    bench.notify(F, a).unwrap();
    bench.pump();
    assert_eq!(bench.read(G, 64), Ok(vec![b]));
    bench.driver.let_port_go(Port(b), &mut bench.xen);
    assert_eq!(bench.interdomain(another, 0, a), Ok(i64::from(b)), "the same number");
    bench.pump();
    assert_eq!(bench.read(another, 64), Ok(vec![b]), "an interdomain port starts with an event");
}
