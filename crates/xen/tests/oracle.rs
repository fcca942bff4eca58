//! What the oracle's domain 0 saw (Linux 6.12 on Xen 4.17, `oracle/xen.txt`), as far as it was Xen that answered.

use ioctlab_abi::Errno;
use ioctlab_xen::{Abi, AfterTake, DomainId, DomainParams, Hypervisor, Port, VcpuId, Virq};

const ZERO: DomainId = DomainId(0);

fn dom0() -> Hypervisor {
    let mut xen = Hypervisor::new();
    xen.create(ZERO, DomainParams::dom0()).unwrap();
    xen
}

fn bind_virq(xen: &mut Hypervisor, number: u32) -> Result<Port, Errno> {
    let virq = Virq::try_from(number)?;
    Ok(xen.bind_virq(ZERO, virq, VcpuId::ZERO)?)
}

#[test]
fn virqs() {
    for number in (0..26).chain([u32::MAX]) {
        let mut xen = dom0();
        let expected = match number {
            0 | 2 | 9 | 16 => Err(Errno::EEXIST),
            24.. => Err(Errno::EINVAL),
            _ => Ok(Port(14)),
        };
        assert_eq!(bind_virq(&mut xen, number), expected, "virq-{number}");
    }
    let mut xen = dom0();
    assert_eq!(bind_virq(&mut xen, 3), Ok(Port(14)), "virq-3");
    assert_eq!(bind_virq(&mut xen, 3), Err(Errno::EEXIST), "virq-3-again");
    assert_eq!(xen.next_upcall(), None, "event-after-bind-virq");
}

#[test]
fn ports_for_any_domain() {
    let mut xen = dom0();
    for remote in [0, 0x7ff0, 1, 5, 0x7fef, 0x7ff1, 0x7ff2, 0x7ff4, 0x8000, 0xffff] {
        assert_eq!(
            xen.alloc_unbound(ZERO, DomainId::SELF, DomainId(remote)),
            Ok(Port(14)),
            "unb-dom-{remote:#x}"
        );
        xen.close(ZERO, Port(14)).unwrap();
    }
}

#[test]
fn loopback() {
    let mut xen = dom0();
    let a = xen.alloc_unbound(ZERO, DomainId::SELF, ZERO).unwrap();
    assert_eq!(a, Port(14), "loop-a");
    assert_eq!(xen.next_upcall(), None, "event-after-alloc-unbound");
    assert_eq!(xen.send(ZERO, a), Ok(()), "notify-unconnected");
    assert_eq!(xen.next_upcall(), None, "notify-unconnected-delivers");
    let mut bind =
        |domain, port| xen.bind_interdomain(ZERO, DomainId(domain), Port(port)).map_err(Errno::from);
    assert_eq!(bind(5, 14), Err(Errno::ESRCH), "inter-dom5");
    for port in [0, 1, 100, 131_071, 131_072, u32::MAX] {
        assert_eq!(bind(0, port), Err(Errno::EINVAL), "inter-port-{port}");
    }
    let b = bind(0, 14).unwrap();
    assert_eq!(b, Port(15), "loop-b");
    for port in [14, 15] {
        assert_eq!(bind(0, port), Err(Errno::EINVAL), "inter-again, inter-to-bound-b");
    }
    assert_eq!(xen.next_upcall(), Some((ZERO, b)), "after-bind-event: b's, at once");
    assert_eq!(xen.next_upcall(), None);
    xen.take(ZERO, b, AfterTake::Masked).unwrap();
    xen.unmask(ZERO, b).unwrap();

    xen.close(ZERO, b).unwrap();
    assert_eq!(xen.next_upcall(), None, "peer-closed-event");
    assert_eq!(xen.send(ZERO, a), Ok(()), "notify-after-peer-unbind");
    assert_eq!(xen.bind_interdomain(ZERO, ZERO, a), Ok(b), "rebind-peer: the same port");
    assert_eq!(xen.next_upcall(), Some((ZERO, b)), "rebind-event");
    xen.close(ZERO, a).unwrap();
    assert_eq!(xen.send(ZERO, b), Ok(()), "notify-b2-after-a-gone");
    assert_eq!(xen.bind_interdomain(ZERO, ZERO, b), Ok(a), "inter-to-orphan-b2");
}

#[test]
fn channels_and_limits() {
    let xen = dom0();
    assert_eq!(xen.ports_in_use(ZERO), Ok(13));
    // unbind-4095 was EINVAL, ports below 1024 ENOTCONN: one page of the event array.
    assert_eq!((xen.abi(ZERO), xen.nr_channels(ZERO)), (Ok(Abi::Fifo), Ok(1024)));
}
