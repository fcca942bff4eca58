//! Each call's refusals, in Xen's order of checks: where several apply, the first one counts.

use ioctlab_abi::Errno;
use ioctlab_xen::{
    Abi, Binding, DomainId, DomainParams, GlobalVirqs, Hypervisor, KernelPort, Port, Refused, Status, VcpuId,
    Virq,
};

const ZERO: DomainId = DomainId(0);
const ONE: DomainId = DomainId(1);
const TWO: DomainId = DomainId(2);
const ABSENT: DomainId = DomainId(5);
const BOOT: VcpuId = VcpuId::ZERO;

/// Domains 0 (privileged), 1 and 2 (not, two vcpus), none with ports of its kernel.
fn machine() -> Hypervisor {
    let mut xen = Hypervisor::new();
    xen.create(ZERO, DomainParams { kernel_ports: vec![], ..DomainParams::dom0() }).unwrap();
    for id in [ONE, TWO] {
        xen.create(id, DomainParams { vcpus: 2, ..DomainParams::bare() }).unwrap();
    }
    xen
}

/// As [`machine`], but domain 1 has used up its ports (three), and is dying if told so.
fn exhausted(dying: bool) -> Hypervisor {
    let mut xen = Hypervisor::new();
    xen.create(ZERO, DomainParams { kernel_ports: vec![], ..DomainParams::dom0() }).unwrap();
    let params = DomainParams {
        max_port: Some(Port(3)),
        kernel_ports: vec![
            KernelPort::Ipi(BOOT),
            KernelPort::Unbound(ONE),
            KernelPort::Virq(Virq::DEBUG, BOOT),
        ],
        ..DomainParams::bare()
    };
    xen.create(ONE, params).unwrap();
    xen.create(TWO, DomainParams::bare()).unwrap();
    if dying {
        xen.begin_dying(ONE).unwrap();
    }
    xen
}

#[test]
fn every_refusal_has_xens_error_number() {
    for (refused, errno) in [
        (Refused::NoSuchDomain, Errno::ESRCH),
        (Refused::DomainExists, Errno::EEXIST),
        (Refused::ReservedDomain, Errno::EINVAL),
        (Refused::BadVcpuCount, Errno::EINVAL),
        (Refused::Dying, Errno::EINVAL),
        (Refused::NoFreePort, Errno::ENOSPC),
        (Refused::NotPrivileged, Errno::EPERM),
        (Refused::NoSuchPort, Errno::EINVAL),
        (Refused::PortFree, Errno::EINVAL),
        (Refused::XenPort, Errno::EINVAL),
        (Refused::XenPortStatus, Errno::EACCES),
        (Refused::NotUnbound, Errno::EINVAL),
        (Refused::ForAnother, Errno::EINVAL),
        (Refused::NotSendable, Errno::EINVAL),
        (Refused::NoSuchVirq, Errno::EINVAL),
        (Refused::Vcpu0Only, Errno::EINVAL),
        (Refused::NoSuchVcpu, Errno::ENOENT),
        (Refused::AlreadyBound, Errno::EEXIST),
        (Refused::NotHandler, Errno::EBUSY),
        (Refused::NotGlobal, Errno::EINVAL),
        (Refused::VirqNotBound, Errno::ENOTCONN),
        (Refused::VcpuFixed, Errno::EINVAL),
        (Refused::NotPaused, Errno::EINVAL),
        (Refused::NotFifo, Errno::ENOSYS),
        (Refused::ArrayFull, Errno::EINVAL),
        (Refused::OutOfMemory, Errno::ENOMEM),
        (Refused::NotPageOwner, Errno::EINVAL),
        (Refused::BadGrantFrames, Errno::EINVAL),
        (Refused::NoFreeGrant, Errno::ENOSPC),
        (Refused::NotReservedGrant, Errno::EINVAL),
        (Refused::NotGranted, Errno::EINVAL),
        (Refused::GrantsInUse, Errno::EBUSY),
        (Refused::NotGrantV2, Errno::ENOSYS),
    ] {
        assert_eq!(refused.errno(), errno, "{refused:?}");
        assert_eq!(Errno::from(refused), errno);
    }
}

#[test]
fn create() {
    let mut xen = machine();
    for (id, vcpus, expected) in [
        (0x7ff0, 1, Err(Refused::ReservedDomain)),
        (0x7ff1, 0, Err(Refused::ReservedDomain)),
        (0xffff, 1, Err(Refused::ReservedDomain)),
        (1, 0, Err(Refused::DomainExists)),
        (3, 0, Err(Refused::BadVcpuCount)),
        (3, 8193, Err(Refused::BadVcpuCount)),
        (3, 8192, Ok(())),
        (0x7fef, 1, Ok(())),
    ] {
        let params = DomainParams { vcpus, ..DomainParams::bare() };
        assert_eq!(xen.create(DomainId(id), params), expected, "domain {id} with {vcpus} vcpus");
    }
    let twice = vec![KernelPort::Pirq(9), KernelPort::Pirq(9)];
    let params = DomainParams { kernel_ports: twice, ..DomainParams::bare() };
    assert_eq!(xen.create(ABSENT, params), Err(Refused::AlreadyBound));
    assert!(!xen.exists(ABSENT), "a creation that was refused leaves nothing");
}

#[test]
fn alloc_unbound() {
    for (dying, caller, domain, expected) in [
        (false, ABSENT, ZERO, Refused::NoSuchDomain),
        (false, ZERO, ABSENT, Refused::NoSuchDomain),
        (false, ZERO, DomainId(0x7ff1), Refused::NoSuchDomain),
        (false, DomainId::SELF, ZERO, Refused::NoSuchDomain),
        (true, TWO, ONE, Refused::Dying),
        (true, ONE, DomainId::SELF, Refused::Dying),
        (false, TWO, ONE, Refused::NoFreePort),
        (false, ONE, TWO, Refused::NotPrivileged),
        (false, ONE, ZERO, Refused::NotPrivileged),
    ] {
        let mut xen = exhausted(dying);
        assert_eq!(xen.alloc_unbound(caller, domain, TWO), Err(expected), "{caller} in {domain}");
    }
    let mut xen = machine();
    // Any number will do for the remote domain; only SELF is taken to mean another.
    for (port, remote) in (1..).zip([0, 1, 5, 0x7fef, 0x7ff1, 0x7ff2, 0x7ff4, 0x8000, 0xffff]) {
        let remote = DomainId(remote);
        assert_eq!(xen.alloc_unbound(ZERO, ONE, remote), Ok(Port(port)));
        let status = xen.status(ONE, DomainId::SELF, Port(port)).unwrap();
        assert_eq!(status, Status { binding: Some(Binding::Unbound { remote }), vcpu: BOOT });
    }
    // SELF as the remote is the caller, not the domain that the port is in.
    let port = xen.alloc_unbound(ZERO, ONE, DomainId::SELF).unwrap();
    assert_eq!(xen.status(ZERO, ONE, port).unwrap().binding, Some(Binding::Unbound { remote: ZERO }));
}

#[test]
fn bind_interdomain() {
    let mut xen = machine();
    let for_one = xen.alloc_unbound(TWO, TWO, ONE).unwrap();
    let for_zero = xen.alloc_unbound(TWO, TWO, ZERO).unwrap();
    let ipi = xen.bind_ipi(TWO, BOOT).unwrap();
    let virq = xen.bind_virq(TWO, Virq::TIMER, BOOT).unwrap();
    for (caller, remote, port, expected) in [
        (ABSENT, TWO, for_one, Refused::NoSuchDomain),
        (ONE, ABSENT, for_one, Refused::NoSuchDomain),
        (ONE, DomainId(0x7ff2), for_one, Refused::NoSuchDomain),
        (ONE, TWO, Port(0), Refused::PortFree),
        (ONE, TWO, Port(9), Refused::PortFree),
        (ONE, TWO, Port(63), Refused::PortFree),
        (ONE, TWO, Port(64), Refused::NoSuchPort),
        (ONE, TWO, Port(131_072), Refused::NoSuchPort),
        (ONE, TWO, Port(u32::MAX), Refused::NoSuchPort),
        (ONE, TWO, for_zero, Refused::ForAnother),
        (TWO, DomainId::SELF, for_one, Refused::ForAnother),
        (ONE, TWO, ipi, Refused::NotUnbound),
        (ONE, TWO, virq, Refused::NotUnbound),
    ] {
        assert_eq!(xen.bind_interdomain(caller, remote, port), Err(expected), "{caller} to {remote}:{port}");
    }
    assert_eq!(xen.ports_in_use(ONE), Ok(0), "what was refused used no port");

    let local = xen.bind_interdomain(ONE, TWO, for_one).unwrap();
    assert_eq!(local, Port(1));
    assert_eq!(xen.bind_interdomain(ONE, TWO, for_one), Err(Refused::NotUnbound), "it is taken now");
    let near = Binding::Interdomain { remote: TWO, port: for_one };
    let far = Binding::Interdomain { remote: ONE, port: local };
    assert_eq!(xen.status(ONE, ONE, local).unwrap().binding, Some(near));
    assert_eq!(xen.status(TWO, TWO, for_one).unwrap().binding, Some(far));
    assert!(xen.event_bits(ONE, local).unwrap().pending, "binding raises the local port");
    assert!(!xen.event_bits(TWO, for_one).unwrap().pending, "and not the remote one");
}

#[test]
fn bind_interdomain_looks_at_the_caller_before_the_remote_port() {
    // Port 2 of domain 1 awaits domain 1 itself; port 9 is free.
    for port in [2, 9, 1000].map(Port) {
        assert_eq!(exhausted(false).bind_interdomain(ONE, ONE, port), Err(Refused::NoFreePort));
        assert_eq!(exhausted(true).bind_interdomain(ONE, ONE, port), Err(Refused::Dying));
        assert_eq!(exhausted(true).bind_interdomain(ONE, ABSENT, port), Err(Refused::NoSuchDomain));
    }
    // A dying remote still lends its ports.
    let mut xen = machine();
    let offered = xen.alloc_unbound(TWO, TWO, ONE).unwrap();
    xen.begin_dying(TWO).unwrap();
    assert_eq!(xen.bind_interdomain(ONE, TWO, offered), Ok(Port(1)));
}

#[test]
fn bind_virq() {
    let (timer, argo, dom_exc) = (Virq::TIMER, Virq::ARGO, Virq::DOM_EXC);
    let mut xen = machine();
    for (caller, virq, vcpu, expected) in [
        (ABSENT, dom_exc, 1, Err(Refused::NoSuchDomain)),
        // Not per vcpu: another vcpu than 0 is wrong before it is absent.
        (ONE, dom_exc, 1, Err(Refused::Vcpu0Only)),
        (ONE, dom_exc, 9, Err(Refused::Vcpu0Only)),
        (ONE, argo, 1, Err(Refused::Vcpu0Only)),
        (ONE, Virq::ARCH_7, 1, Err(Refused::Vcpu0Only)),
        (ONE, timer, 2, Err(Refused::NoSuchVcpu)),
        (ONE, timer, u32::MAX, Err(Refused::NoSuchVcpu)),
        (ONE, timer, 1, Ok(Port(1))),
        (ONE, timer, 1, Err(Refused::AlreadyBound)),
        (ONE, timer, 0, Ok(Port(2))),
        (ONE, timer, 0, Err(Refused::AlreadyBound)),
        (ONE, argo, 0, Ok(Port(3))),
        (ONE, argo, 0, Err(Refused::AlreadyBound)),
        (ONE, dom_exc, 0, Ok(Port(4))),
        (ONE, dom_exc, 0, Err(Refused::AlreadyBound)),
        (TWO, dom_exc, 0, Ok(Port(1))),
    ] {
        assert_eq!(xen.bind_virq(caller, virq, VcpuId(vcpu)), expected, "{virq} in {caller} on vcpu {vcpu}");
    }
    assert_eq!(
        xen.status(ONE, ONE, Port(1)).unwrap(),
        Status { binding: Some(Binding::Virq(timer)), vcpu: VcpuId(1) }
    );
    // Bound already comes before dying, and that before having no port.
    assert_eq!(exhausted(true).bind_virq(ONE, Virq::DEBUG, BOOT), Err(Refused::AlreadyBound));
    assert_eq!(exhausted(true).bind_virq(ONE, timer, BOOT), Err(Refused::Dying));
    assert_eq!(exhausted(false).bind_virq(ONE, timer, BOOT), Err(Refused::NoFreePort));
    assert_eq!(exhausted(true).bind_virq(ONE, timer, VcpuId(1)), Err(Refused::NoSuchVcpu));
}

#[test]
fn later_versions_keep_global_virqs_to_their_handler() {
    let mut xen = Hypervisor::with_global_virqs(GlobalVirqs::BoundByHandler);
    xen.create(ZERO, DomainParams::dom0()).unwrap();
    xen.create(ONE, DomainParams::bare()).unwrap();
    let dom_exc = Virq::DOM_EXC;
    assert_eq!(xen.bind_virq(ONE, dom_exc, VcpuId(1)), Err(Refused::Vcpu0Only));
    assert_eq!(xen.bind_virq(ONE, dom_exc, BOOT), Err(Refused::NotHandler));
    assert_eq!(xen.bind_virq(ONE, Virq::ARGO, BOOT), Ok(Port(1)), "per-domain VIRQs have no handler");
    assert_eq!(xen.set_global_virq_handler(ONE, dom_exc), Ok(()));
    assert_eq!(xen.bind_virq(ZERO, dom_exc, BOOT), Err(Refused::NotHandler));
    assert_eq!(xen.bind_virq(ONE, dom_exc, BOOT), Ok(Port(2)));
    assert_eq!(xen.bind_virq(ONE, dom_exc, BOOT), Err(Refused::AlreadyBound));
    assert_eq!(
        xen.bind_virq(ONE, Virq::CONSOLE, BOOT),
        Err(Refused::NotHandler),
        "before anything is looked up"
    );
}

#[test]
fn bind_ipi_and_bind_vcpu() {
    let mut xen = machine();
    assert_eq!(xen.bind_ipi(ABSENT, BOOT), Err(Refused::NoSuchDomain));
    assert_eq!(xen.bind_ipi(ONE, VcpuId(2)), Err(Refused::NoSuchVcpu));
    assert_eq!(exhausted(true).bind_ipi(ONE, VcpuId(1)), Err(Refused::NoSuchVcpu));
    assert_eq!(exhausted(true).bind_ipi(ONE, BOOT), Err(Refused::Dying));
    assert_eq!(exhausted(false).bind_ipi(ONE, BOOT), Err(Refused::NoFreePort));

    let ipi = xen.bind_ipi(ONE, VcpuId(1)).unwrap();
    let timer = xen.bind_virq(ONE, Virq::TIMER, BOOT).unwrap();
    let argo = xen.bind_virq(ONE, Virq::ARGO, BOOT).unwrap();
    let unbound = xen.alloc_unbound(ONE, ONE, ONE).unwrap();
    let xens = xen.alloc_unbound_xen(ONE, BOOT, TWO).unwrap();
    for (port, vcpu, expected) in [
        (unbound, 2, Err(Refused::NoSuchVcpu)),
        (Port(64), 2, Err(Refused::NoSuchVcpu)),
        (Port(64), 1, Err(Refused::NoSuchPort)),
        (Port(0), 1, Err(Refused::PortFree)),
        (Port(9), 1, Err(Refused::PortFree)),
        (xens, 1, Err(Refused::XenPort)),
        (ipi, 1, Err(Refused::VcpuFixed)),
        (timer, 0, Err(Refused::VcpuFixed)),
        (argo, 1, Ok(())),
        (unbound, 1, Ok(())),
    ] {
        assert_eq!(xen.bind_vcpu(ONE, port, VcpuId(vcpu)), expected, "port {port} to vcpu {vcpu}");
    }
    assert_eq!(xen.bind_vcpu(ABSENT, unbound, BOOT), Err(Refused::NoSuchDomain));
    assert_eq!(xen.status(ONE, ONE, argo).unwrap().vcpu, VcpuId(1));
    // It stays through binding and the peer's close, and ends with its own.
    let local = xen.bind_interdomain(ONE, ONE, unbound).unwrap();
    xen.close(ONE, local).unwrap();
    assert_eq!(xen.status(ONE, ONE, unbound).unwrap().vcpu, VcpuId(1));
    // A VIRQ that moved is still found when it is raised, and when it closes.
    xen.raise_virq(ONE, Virq::ARGO, BOOT).unwrap();
    xen.close(ONE, argo).unwrap();
    assert_eq!(xen.raise_virq(ONE, Virq::ARGO, BOOT), Err(Refused::VirqNotBound));
    assert_eq!(xen.bind_virq(ONE, Virq::ARGO, BOOT), Ok(argo));
    assert_eq!(xen.status(ONE, ONE, argo).unwrap().vcpu, BOOT);
}

#[test]
fn close_send_and_status() {
    let mut xen = machine();
    let xens = xen.alloc_unbound_xen(ONE, VcpuId(1), TWO).unwrap();
    let virq = xen.bind_virq(ONE, Virq::TIMER, BOOT).unwrap();
    let unbound = xen.alloc_unbound(ONE, ONE, TWO).unwrap();
    for (caller, port, expected) in [
        (ABSENT, virq, Refused::NoSuchDomain),
        (ONE, Port(0), Refused::PortFree),
        (ONE, Port(9), Refused::PortFree),
        (ONE, Port(64), Refused::NoSuchPort),
        (ONE, Port(u32::MAX), Refused::NoSuchPort),
        (ONE, xens, Refused::XenPort),
    ] {
        assert_eq!(xen.close(caller, port), Err(expected), "close {caller}:{port}");
        assert_eq!(xen.send(caller, port), Err(expected), "send {caller}:{port}");
    }
    assert_eq!(xen.send(ONE, virq), Err(Refused::NotSendable));
    assert_eq!(xen.send(ONE, unbound), Ok(()), "dropped without a word");
    assert_eq!(xen.upcalls_queued(), 0);

    let free = Status { binding: None, vcpu: BOOT };
    let bound = Status { binding: Some(Binding::Virq(Virq::TIMER)), vcpu: BOOT };
    for (caller, domain, port, expected) in [
        (ONE, ABSENT, Port(1), Err(Refused::NoSuchDomain)),
        (ABSENT, ONE, virq, Err(Refused::NoSuchDomain)),
        (TWO, ONE, Port(64), Err(Refused::NoSuchPort)),
        (TWO, ONE, xens, Err(Refused::XenPortStatus)),
        (ZERO, ONE, xens, Err(Refused::XenPortStatus)),
        (TWO, ONE, virq, Err(Refused::NotPrivileged)),
        (TWO, ONE, Port(9), Err(Refused::NotPrivileged)),
        (ONE, DomainId::SELF, Port(0), Ok(free)),
        (ONE, ONE, Port(63), Ok(free)),
        (ZERO, ONE, virq, Ok(bound)),
        (ONE, DomainId::SELF, virq, Ok(bound)),
    ] {
        assert_eq!(xen.status(caller, domain, port), expected, "{caller} of {domain}:{port}");
    }
    assert_eq!(xen.close(ONE, virq), Ok(()));
    assert_eq!(xen.close(ONE, virq), Err(Refused::PortFree), "twice");
    assert_eq!(xen.bind_virq(ONE, Virq::TIMER, BOOT), Ok(virq), "the number and the VIRQ are free again");
}

#[test]
fn reset() {
    let mut xen = machine();
    let offered = xen.alloc_unbound(ONE, ONE, ZERO).unwrap();
    let xens = xen.alloc_unbound_xen(ONE, BOOT, ZERO).unwrap();
    xen.bind_virq(ONE, Virq::TIMER, BOOT).unwrap();
    let peer = xen.bind_interdomain(ZERO, ONE, offered).unwrap();
    xen.set_paused(TWO, true).unwrap();
    for (caller, domain, expected) in [
        (ZERO, ABSENT, Err(Refused::NoSuchDomain)),
        (ABSENT, DomainId::SELF, Err(Refused::NoSuchDomain)),
        (ONE, TWO, Err(Refused::NotPrivileged)),
        (TWO, ONE, Err(Refused::NotPrivileged)),
        (ZERO, ONE, Err(Refused::NotPaused)),
        (ZERO, TWO, Ok(())),
        (ONE, DomainId::SELF, Ok(())),
        (ONE, ONE, Ok(())),
    ] {
        assert_eq!(xen.reset(caller, domain), expected, "{caller} of {domain}");
    }
    assert_eq!(xen.ports(ONE).unwrap().map(|report| report.port).collect::<Vec<_>>(), [xens]);
    assert_eq!(xen.status(ZERO, ZERO, peer).unwrap().binding, Some(Binding::Unbound { remote: ONE }));
    assert_eq!((xen.abi(ONE), xen.nr_channels(ONE)), (Ok(Abi::TwoLevel), Ok(4096)));
    assert_eq!(xen.expand_array(ONE), Err(Refused::NotFifo));
    xen.init_control(ONE).unwrap();
    assert_eq!((xen.abi(ONE), xen.nr_channels(ONE)), (Ok(Abi::Fifo), Ok(0)));
    for pages in 1..=128 {
        assert_eq!(xen.expand_array(ONE), Ok(()));
        assert_eq!(xen.nr_channels(ONE), Ok(pages * 1024));
    }
    assert_eq!(xen.expand_array(ONE), Err(Refused::ArrayFull));
    xen.init_control(ONE).unwrap();
    assert_eq!(xen.nr_channels(ONE), Ok(131_072), "a second init_control changes nothing");
}

#[test]
fn virqs_are_raised_where_they_belong() {
    let mut xen = machine();
    xen.bind_virq(ONE, Virq::TIMER, VcpuId(1)).unwrap();
    xen.bind_virq(ONE, Virq::DOM_EXC, BOOT).unwrap();
    for (domain, virq, vcpu, expected) in [
        (ABSENT, Virq::TIMER, 0, Err(Refused::NoSuchDomain)),
        (ONE, Virq::DOM_EXC, 1, Err(Refused::Vcpu0Only)),
        (ONE, Virq::TIMER, 2, Err(Refused::NoSuchVcpu)),
        (ONE, Virq::TIMER, 0, Err(Refused::VirqNotBound)),
        (ONE, Virq::TIMER, 1, Ok(())),
        (ONE, Virq::DOM_EXC, 0, Err(Refused::NotHandler)),
        (ZERO, Virq::DOM_EXC, 0, Err(Refused::VirqNotBound)),
    ] {
        assert_eq!(xen.raise_virq(domain, virq, VcpuId(vcpu)), expected, "{virq} in {domain} on vcpu {vcpu}");
    }
    assert_eq!(xen.raise_global_virq(Virq::TIMER), Err(Refused::NotGlobal));
    assert_eq!(xen.raise_global_virq(Virq::ARGO), Err(Refused::NotGlobal));
    assert_eq!(xen.raise_global_virq(Virq::DOM_EXC), Err(Refused::VirqNotBound), "domain 0 hasn't bound it");
    assert_eq!(xen.set_global_virq_handler(ABSENT, Virq::TIMER), Err(Refused::NoSuchDomain));
    assert_eq!(xen.set_global_virq_handler(ONE, Virq::TIMER), Err(Refused::NotGlobal));
    assert_eq!(xen.set_global_virq_handler(ONE, Virq::DOM_EXC), Ok(()));
    assert_eq!(xen.raise_global_virq(Virq::DOM_EXC), Ok(()));
    assert_eq!(xen.next_upcall(), Some((ONE, Port(1))));
    assert_eq!(xen.next_upcall(), Some((ONE, Port(2))));
    xen.destroy(ONE).unwrap();
    assert_eq!(xen.global_virq_handler(Virq::DOM_EXC), ZERO, "it goes back to domain 0");
}
