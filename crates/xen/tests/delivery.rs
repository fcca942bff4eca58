//! How events reach guests: the bits, the queue, and what closing and destroying leave of them.

use ioctlab_xen::{
    AfterTake, Binding, DomainId, DomainParams, EventBits, FreshPorts, Hypervisor, Port, Refused, VcpuId,
    Virq,
};

const ZERO: DomainId = DomainId(0);
const ONE: DomainId = DomainId(1);

/// Two domains with one channel between them, and nothing pending: the hypervisor and each end's port.
fn connected() -> (Hypervisor, Port, Port) {
    let mut xen = Hypervisor::new();
    xen.create(ZERO, DomainParams { privileged: true, ..DomainParams::bare() }).unwrap();
    xen.create(ONE, DomainParams::bare()).unwrap();
    let near = xen.alloc_unbound(ZERO, ZERO, ONE).unwrap();
    let far = xen.bind_interdomain(ONE, ZERO, near).unwrap();
    assert!(xen.take(ONE, far, AfterTake::AsBefore).unwrap());
    (xen, near, far)
}

fn drain(xen: &mut Hypervisor) -> Vec<(DomainId, Port)> {
    std::iter::from_fn(|| xen.next_upcall()).collect()
}

#[test]
fn a_hypervisor_can_move_to_another_thread() {
    fn assert_send<T: Send>(_: &T) {}
    assert_send(&Hypervisor::new());
}

#[test]
fn late_end_of_interrupt() {
    let (mut xen, near, far) = connected();
    xen.send(ZERO, near).unwrap();
    xen.send(ZERO, near).unwrap();
    assert_eq!(drain(&mut xen), [(ONE, far)], "two sends of a pending port are one event");
    assert_eq!(xen.take(ONE, far, AfterTake::Masked), Ok(true));
    assert_eq!(xen.event_bits(ONE, far), Ok(EventBits { pending: false, masked: true }));

    xen.send(ZERO, near).unwrap();
    xen.send(ZERO, near).unwrap();
    assert_eq!(drain(&mut xen), [], "the handler is still at work");
    xen.unmask(ONE, far).unwrap();
    assert_eq!(drain(&mut xen), [(ONE, far)], "delivered at the end of interrupt, once");
    assert_eq!(xen.take(ONE, far, AfterTake::Masked), Ok(true));
    xen.unmask(ONE, far).unwrap();
    assert_eq!(drain(&mut xen), [], "nothing came meanwhile");
    assert_eq!(xen.take(ONE, far, AfterTake::AsBefore), Ok(false));
}

#[test]
fn an_upcall_not_taken_is_not_repeated_until_unmasked() {
    let (mut xen, near, far) = connected();
    xen.send(ZERO, near).unwrap();
    assert_eq!(drain(&mut xen), [(ONE, far)]);
    xen.send(ZERO, near).unwrap();
    assert_eq!(drain(&mut xen), []);
    xen.unmask(ONE, far).unwrap();
    xen.unmask(ONE, far).unwrap();
    assert_eq!(drain(&mut xen), [(ONE, far)]);
}

#[test]
fn masking_and_clearing_leave_the_queue() {
    let (mut xen, near, far) = connected();
    xen.send(ZERO, near).unwrap();
    xen.mask(ONE, far).unwrap();
    assert_eq!(drain(&mut xen), []);
    assert_eq!(xen.event_bits(ONE, far), Ok(EventBits { pending: true, masked: true }));
    xen.unmask(ONE, far).unwrap();
    assert_eq!(xen.clear_pending(ONE, far), Ok(true));
    assert_eq!(xen.clear_pending(ONE, far), Ok(false));
    assert_eq!(drain(&mut xen), []);
    xen.send(ZERO, near).unwrap();
    assert_eq!(drain(&mut xen), [(ONE, far)], "a cleared port can be raised anew");
}

#[test]
fn upcalls_come_in_the_order_they_fell_due() {
    let (mut xen, near, far) = connected();
    let other = xen.alloc_unbound(ZERO, ZERO, ZERO).unwrap();
    let loopback = xen.bind_interdomain(ZERO, ZERO, other).unwrap();
    let ipi = xen.bind_ipi(ZERO, VcpuId::ZERO).unwrap();
    xen.take(ZERO, loopback, AfterTake::AsBefore).unwrap();
    for (caller, port) in [(ZERO, ipi), (ZERO, near), (ZERO, loopback), (ONE, far), (ZERO, ipi)] {
        xen.send(caller, port).unwrap();
    }
    // Masked and unmasked again, the first goes to the back.
    xen.mask(ZERO, ipi).unwrap();
    xen.unmask(ZERO, ipi).unwrap();
    assert_eq!(drain(&mut xen), [(ONE, far), (ZERO, other), (ZERO, near), (ZERO, ipi)]);
}

#[test]
fn a_closed_port_hands_nothing_on() {
    let (mut xen, near, far) = connected();
    xen.send(ZERO, near).unwrap();
    xen.mask(ONE, far).unwrap();
    xen.unmask(ONE, far).unwrap();
    xen.close(ONE, far).unwrap();
    assert_eq!(xen.upcalls_queued(), 0);
    assert_eq!(xen.status(ZERO, ZERO, near).unwrap().binding, Some(Binding::Unbound { remote: ONE }));
    let again = xen.bind_virq(ONE, Virq::TIMER, VcpuId::ZERO).unwrap();
    assert_eq!(again, far, "the same number");
    assert_eq!(xen.event_bits(ONE, again), Ok(EventBits::default()));
    assert_eq!(drain(&mut xen), []);

    // Handed out, closed, and raised by its new owner: an upcall of its own.
    xen.raise_virq(ONE, Virq::TIMER, VcpuId::ZERO).unwrap();
    assert_eq!(xen.next_upcall(), Some((ONE, far)));
    xen.close(ONE, far).unwrap();
    assert_eq!(xen.bind_interdomain(ONE, ZERO, near), Ok(far), "the closer may bind again");
    assert_eq!(drain(&mut xen), [(ONE, far)]);
}

#[test]
fn a_peer_keeps_its_event_when_the_other_end_closes() {
    let (mut xen, near, far) = connected();
    xen.send(ONE, far).unwrap();
    xen.close(ONE, far).unwrap();
    assert_eq!(drain(&mut xen), [(ZERO, near)]);
    assert!(xen.event_bits(ZERO, near).unwrap().pending);
    xen.take(ZERO, near, AfterTake::AsBefore).unwrap();
    assert_eq!(xen.send(ZERO, near), Ok(()));
    assert_eq!(drain(&mut xen), [], "closing raises nothing, and an unbound port sends nothing");
}

#[test]
fn closing_a_loopback_from_either_end() {
    for first in [0, 1] {
        let (mut xen, ..) = connected();
        let a = xen.alloc_unbound(ONE, DomainId::SELF, DomainId::SELF).unwrap();
        let b = xen.bind_interdomain(ONE, DomainId::SELF, a).unwrap();
        let ends = [a, b];
        xen.send(ONE, a).unwrap();
        xen.close(ONE, ends[first]).unwrap();
        let left = xen.status(ONE, ONE, ends[1 - first]).unwrap();
        assert_eq!(left.binding, Some(Binding::Unbound { remote: ONE }));
        xen.close(ONE, ends[1 - first]).unwrap();
        assert_eq!(xen.ports_in_use(ONE), Ok(1));
        assert_eq!(drain(&mut xen), []);
    }
}

#[test]
fn fresh_ports_may_start_masked() {
    let mut xen = Hypervisor::new();
    xen.create(ZERO, DomainParams { fresh_ports: FreshPorts::Masked, ..DomainParams::bare() }).unwrap();
    let a = xen.alloc_unbound(ZERO, ZERO, ZERO).unwrap();
    let b = xen.bind_interdomain(ZERO, ZERO, a).unwrap();
    assert_eq!(xen.event_bits(ZERO, b), Ok(EventBits { pending: true, masked: true }));
    assert_eq!(drain(&mut xen), []);
    xen.unmask(ZERO, b).unwrap();
    assert_eq!(drain(&mut xen), [(ZERO, b)]);
}

#[test]
fn bits_of_ports_that_have_none() {
    let (mut xen, ..) = connected();
    let xens = xen.alloc_unbound_xen(ONE, VcpuId::ZERO, ZERO).unwrap();
    let to_xen = xen.bind_interdomain(ZERO, ONE, xens).unwrap();
    xen.take(ZERO, to_xen, AfterTake::AsBefore).unwrap();
    assert_eq!(xen.send(ZERO, to_xen), Ok(()), "Xen takes it, and doesn't tell the guest");
    assert_eq!(drain(&mut xen), []);
    for (port, refused) in [
        (Port(0), Refused::PortFree),
        (Port(9), Refused::PortFree),
        (Port(64), Refused::NoSuchPort),
        (xens, Refused::XenPort),
    ] {
        assert_eq!(xen.take(ONE, port, AfterTake::Masked), Err(refused));
        assert_eq!(xen.mask(ONE, port), Err(refused));
        assert_eq!(xen.clear_pending(ONE, port), Err(refused));
        assert_eq!(xen.event_bits(ONE, port), Err(refused));
        // The one that is a call to Xen only minds a port beyond the table.
        let expected = if refused == Refused::NoSuchPort { Err(refused) } else { Ok(()) };
        assert_eq!(xen.unmask(ONE, port), expected);
    }
    assert_eq!(xen.unmask(DomainId(5), Port(1)), Err(Refused::NoSuchDomain));
}

#[test]
fn a_domains_end() {
    let (mut xen, near, far) = connected();
    let exception = xen.bind_virq(ZERO, Virq::DOM_EXC, VcpuId::ZERO).unwrap();
    xen.alloc_unbound_xen(ONE, VcpuId::ZERO, ZERO).unwrap();
    xen.begin_dying(ONE).unwrap();
    assert_eq!(xen.is_dying(ONE), Ok(true));
    assert_eq!(xen.bind_ipi(ONE, VcpuId::ZERO), Err(Refused::Dying));
    xen.send(ZERO, near).unwrap();
    xen.send(ONE, far).unwrap();
    assert_eq!(xen.upcalls_queued(), 2, "a dying domain's channels still work");

    xen.destroy(ONE).unwrap();
    assert_eq!(drain(&mut xen), [(ZERO, near), (ZERO, exception)], "nothing for it, and domain 0 is told");
    assert_eq!(xen.destroy(ONE), Err(Refused::NoSuchDomain));
    assert_eq!(xen.send(ONE, far), Err(Refused::NoSuchDomain));
    assert_eq!(xen.domains().collect::<Vec<_>>(), [ZERO]);
    assert_eq!(xen.status(ZERO, ZERO, near).unwrap().binding, Some(Binding::Unbound { remote: ONE }));
    assert_eq!(xen.send(ZERO, near), Ok(()));

    // The next domain of that number is the one that the port awaits.
    xen.create(ONE, DomainParams::bare()).unwrap();
    assert_eq!(xen.bind_interdomain(ONE, ZERO, near), Ok(Port(1)));
}
