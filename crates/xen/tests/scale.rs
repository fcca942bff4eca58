//! Limits, and domains with very many ports: each call must stay quick, and memory follow the ports in use.

use ioctlab_xen::{Abi, AfterTake, DomainId, DomainParams, Hypervisor, Port, Refused, VcpuId};

const ZERO: DomainId = DomainId(0);
const ONE: DomainId = DomainId(1);

/// Allocates ports until refused; returns how many there were, and the refusal.
fn exhaust(abi: Abi, max_port: Option<u32>) -> (Hypervisor, u32, Refused) {
    let mut xen = Hypervisor::new();
    xen.create(ONE, DomainParams { abi, max_port: max_port.map(Port), ..DomainParams::bare() }).unwrap();
    let mut count = 0;
    loop {
        match xen.bind_ipi(ONE, VcpuId::ZERO) {
            Ok(port) => {
                count += 1;
                assert_eq!(port, Port(count), "the lowest free port comes first");
            }
            Err(refused) => return (xen, count, refused),
        }
    }
}

#[test]
fn limits() {
    for (abi, max_port, expected) in [
        (Abi::TwoLevel, None, 4095),
        (Abi::TwoLevel, Some(1023), 1023),
        (Abi::TwoLevel, Some(4095), 4095),
        (Abi::TwoLevel, Some(u32::MAX), 4095),
        (Abi::Fifo, Some(0), 0),
        (Abi::Fifo, Some(1), 1),
        (Abi::Fifo, Some(1023), 1023),
        (Abi::Fifo, Some(200_000), 131_071),
        (Abi::Fifo, None, 131_071),
    ] {
        let (mut xen, count, refused) = exhaust(abi, max_port);
        assert_eq!((count, refused), (expected, Refused::NoFreePort), "{abi:?} {max_port:?}");
        if count > 1 {
            xen.close(ONE, Port(count / 2)).unwrap();
            assert_eq!(xen.bind_ipi(ONE, VcpuId::ZERO), Ok(Port(count / 2)), "the hole is filled first");
        }
    }
}

#[test]
fn a_hundred_thousand_channels() {
    let mut xen = Hypervisor::new();
    for id in [ZERO, ONE] {
        xen.create(id, DomainParams { max_port: None, ..DomainParams::bare() }).unwrap();
    }
    let count = 100_000;
    for port in (1..=count).map(Port) {
        assert_eq!(xen.alloc_unbound(ZERO, ZERO, ONE), Ok(port));
        assert_eq!(xen.bind_interdomain(ONE, ZERO, port), Ok(port));
    }
    assert_eq!(xen.upcalls_queued(), count as usize);
    for round in 0..3 {
        // Sent in another order each time, and twice: delivered in that order, once.
        let order = |n: u32| Port(n * [1, 7919, 31][round] % 100_003);
        let sent: Vec<_> = (1..100_003).map(order).filter(|port| port.0 <= count).collect();
        while let Some((id, port)) = xen.next_upcall() {
            assert!(xen.take(id, port, AfterTake::AsBefore).unwrap());
        }
        for port in sent.iter().chain(&sent) {
            xen.send(ZERO, *port).unwrap();
        }
        assert_eq!(xen.upcalls_queued(), sent.len());
        for port in sent {
            assert_eq!(xen.next_upcall(), Some((ONE, port)));
            assert!(xen.take(ONE, port, AfterTake::Masked).unwrap());
            xen.unmask(ONE, port).unwrap();
        }
    }
    xen.send(ZERO, Port(count)).unwrap();
    xen.destroy(ONE).unwrap();
    assert_eq!(xen.upcalls_queued(), 0);
    xen.reset(ZERO, ZERO).unwrap();
    assert_eq!(xen.ports_in_use(ZERO), Ok(0));
    assert_eq!(xen.alloc_unbound(ZERO, ZERO, ONE), Ok(Port(1)));
}

/// A client that binds, is raised and closes without end, while nobody drains: the queue must not grow.
#[test]
fn churn_leaves_nothing_behind() {
    let mut xen = Hypervisor::new();
    xen.create(ONE, DomainParams::bare()).unwrap();
    for _ in 0..10_000 {
        let port = xen.bind_ipi(ONE, VcpuId::ZERO).unwrap();
        assert_eq!(port, Port(1));
        xen.send(ONE, port).unwrap();
        assert_eq!(xen.upcalls_queued(), 1);
        xen.close(ONE, port).unwrap();
        assert_eq!(xen.upcalls_queued(), 0);
    }
}
