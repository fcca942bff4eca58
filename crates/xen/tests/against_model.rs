//! Random sequences of calls over several domains, on the hypervisor and on a naive model of it: every result, every
//! port's status and bits, and every upcall must agree.
//!
//! A failure prints the shortest sequence found that shows it, and its seed goes to `tests/against_model.regressions`,
//! which is tried first from then on (check it in). `PROPTEST_CASES=20000` looks harder.

mod model;

use ioctlab_xen::{
    Abi, AfterTake, DomainId, DomainParams, FreshPorts, GlobalVirqs, Hypervisor, KernelPort, Port, VcpuId,
    Virq,
};
use model::Model;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;

/// A port to name: a number, or one that is in use when the call is made.
#[derive(Clone, Debug)]
enum Pick {
    Number(u32),
    InUse(Index),
}

#[derive(Clone, Debug)]
enum Call {
    Create(u16, Box<DomainParams>),
    BeginDying(u16),
    Destroy(u16),
    SetPaused(u16, bool),
    SetHandler(u16, Virq),
    InitControl(u16),
    ExpandArray(u16),
    AllocUnbound(u16, u16, u16),
    AllocUnboundXen(u16, u32, u16),
    BindInterdomain(u16, u16, Pick),
    /// Allocate in the one, bind from the other: what clients do.
    Connect(u16, u16),
    BindVirq(u16, Virq, u32),
    BindIpi(u16, u32),
    BindVcpu(u16, Pick, u32),
    Close(u16, Pick),
    Reset(u16, u16),
    Send(u16, Pick),
    RaiseVirq(u16, Virq, u32),
    RaiseGlobalVirq(Virq),
    NextUpcall,
    Take(u16, Pick, bool),
    Mask(u16, Pick),
    Unmask(u16, Pick),
    ClearPending(u16, Pick),
    Status(u16, u16, Pick),
}

fn domain() -> impl Strategy<Value = u16> {
    prop_oneof![30 => 0u16..4, 2 => Just(0x7ff0), 1 => Just(4), 1 => Just(0x7ff1), 1 => any::<u16>()]
}

fn caller() -> impl Strategy<Value = u16> {
    prop_oneof![40 => 0u16..4, 1 => Just(4), 1 => Just(0x7ff0)]
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![
        8 => any::<Index>().prop_map(Pick::InUse),
        3 => (0u32..10).prop_map(Pick::Number),
        1 => (60u32..140).prop_map(Pick::Number),
        1 => any::<u32>().prop_map(Pick::Number),
    ]
}

fn vcpu() -> impl Strategy<Value = u32> {
    prop_oneof![6 => Just(0u32), 3 => 1u32..4, 1 => any::<u32>()]
}

/// Few of them, so that they meet: some of each scope.
fn virq() -> impl Strategy<Value = Virq> {
    let few = [Virq::TIMER, Virq::DEBUG, Virq::DOM_EXC, Virq::CON_RING, Virq::ARGO, Virq::ARCH_0];
    prop_oneof![5 => prop::sample::select(few.to_vec()), 1 => (0u32..24).prop_map(|n| Virq::try_from(n).unwrap())]
}

fn kernel_port() -> impl Strategy<Value = KernelPort> {
    prop_oneof![
        (virq(), 0u32..2).prop_map(|(virq, vcpu)| KernelPort::Virq(virq, VcpuId(vcpu))),
        (0u32..3).prop_map(|vcpu| KernelPort::Ipi(VcpuId(vcpu))),
        (0u32..4).prop_map(KernelPort::Pirq),
        (0u16..4).prop_map(|remote| KernelPort::Unbound(DomainId(remote))),
    ]
}

fn params() -> impl Strategy<Value = DomainParams> {
    let limit = prop_oneof![2 => Just(None), 3 => (0u32..9).prop_map(|port| Some(Port(port)))];
    let vcpus = prop_oneof![20 => 1u32..4, 1 => Just(0), 1 => Just(8192), 1 => Just(8193)];
    (any::<[bool; 3]>(), limit, vcpus, prop::collection::vec(kernel_port(), 0..4)).prop_map(
        |([fifo, privileged, masked], max_port, vcpus, kernel_ports)| DomainParams {
            abi: if fifo { Abi::Fifo } else { Abi::TwoLevel },
            max_port,
            vcpus,
            privileged,
            fresh_ports: if masked { FreshPorts::Masked } else { FreshPorts::Unmasked },
            kernel_ports,
            ..DomainParams::bare()
        },
    )
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        4 => (domain(), params()).prop_map(|(id, params)| Call::Create(id, Box::new(params))),
        1 => caller().prop_map(Call::BeginDying),
        2 => caller().prop_map(Call::Destroy),
        2 => (caller(), any::<bool>()).prop_map(|(id, paused)| Call::SetPaused(id, paused)),
        2 => (caller(), virq()).prop_map(|(id, virq)| Call::SetHandler(id, virq)),
        1 => caller().prop_map(Call::InitControl),
        1 => caller().prop_map(Call::ExpandArray),
        6 => (caller(), domain(), domain()).prop_map(|(a, b, c)| Call::AllocUnbound(a, b, c)),
        2 => (caller(), vcpu(), domain()).prop_map(|(a, b, c)| Call::AllocUnboundXen(a, b, c)),
        8 => (caller(), domain(), pick()).prop_map(|(a, b, c)| Call::BindInterdomain(a, b, c)),
        8 => (caller(), caller()).prop_map(|(a, b)| Call::Connect(a, b)),
        6 => (caller(), virq(), vcpu()).prop_map(|(a, b, c)| Call::BindVirq(a, b, c)),
        3 => (caller(), vcpu()).prop_map(|(a, b)| Call::BindIpi(a, b)),
        3 => (caller(), pick(), vcpu()).prop_map(|(a, b, c)| Call::BindVcpu(a, b, c)),
        8 => (caller(), pick()).prop_map(|(a, b)| Call::Close(a, b)),
        2 => (caller(), domain()).prop_map(|(a, b)| Call::Reset(a, b)),
        14 => (caller(), pick()).prop_map(|(a, b)| Call::Send(a, b)),
        6 => (caller(), virq(), vcpu()).prop_map(|(a, b, c)| Call::RaiseVirq(a, b, c)),
        3 => virq().prop_map(Call::RaiseGlobalVirq),
        8 => Just(Call::NextUpcall),
        8 => (caller(), pick(), any::<bool>()).prop_map(|(a, b, c)| Call::Take(a, b, c)),
        5 => (caller(), pick()).prop_map(|(a, b)| Call::Mask(a, b)),
        8 => (caller(), pick()).prop_map(|(a, b)| Call::Unmask(a, b)),
        2 => (caller(), pick()).prop_map(|(a, b)| Call::ClearPending(a, b)),
        3 => (caller(), domain(), pick()).prop_map(|(a, b, c)| Call::Status(a, b, c)),
    ]
}

/// The two, and where each call goes.
struct Both {
    xen: Hypervisor,
    model: Model,
}

/// Makes one call on both, and requires one result.
macro_rules! agree {
    ($both:ident . $call:ident ( $($argument:expr),* )) => {
        prop_assert_eq!($both.xen.$call($($argument),*), $both.model.$call($($argument),*))
    };
}

impl Both {
    fn new(rule: GlobalVirqs) -> Self {
        Self { xen: Hypervisor::with_global_virqs(rule), model: Model::new(rule) }
    }

    /// Domain 1 is short of ports, domain 2 about to need a second bucket, and domain 3 yet to come.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        let second = DomainParams {
            abi: Abi::TwoLevel,
            max_port: None,
            vcpus: 3,
            fresh_ports: FreshPorts::Masked,
            kernel_ports: vec![KernelPort::Ipi(VcpuId(2)); 61],
            ..DomainParams::bare()
        };
        let first = DomainParams {
            max_port: Some(Port(6)),
            vcpus: 2,
            kernel_ports: vec![KernelPort::Virq(Virq::ARGO, VcpuId::ZERO)],
            ..DomainParams::bare()
        };
        for (id, params) in [(0, DomainParams::dom0()), (1, first), (2, second)] {
            agree!(self.create(DomainId(id), params.clone()));
        }
        Ok(())
    }

    fn port(&self, id: u16, pick: &Pick) -> Port {
        match pick {
            Pick::Number(number) => Port(*number),
            Pick::InUse(index) => {
                let ports = self.model.domain(DomainId(id)).map(|domain| domain.in_use()).unwrap_or_default();
                if ports.is_empty() { Port(1) } else { *index.get(&ports) }
            }
        }
    }

    fn make(&mut self, call: &Call) -> Result<(), TestCaseError> {
        match call {
            Call::Create(id, params) => agree!(self.create(DomainId(*id), (**params).clone())),
            Call::BeginDying(id) => agree!(self.begin_dying(DomainId(*id))),
            Call::Destroy(id) => agree!(self.destroy(DomainId(*id))),
            Call::SetPaused(id, paused) => agree!(self.set_paused(DomainId(*id), *paused)),
            Call::SetHandler(id, virq) => agree!(self.set_global_virq_handler(DomainId(*id), *virq)),
            Call::InitControl(id) => agree!(self.init_control(DomainId(*id))),
            Call::ExpandArray(id) => agree!(self.expand_array(DomainId(*id))),
            Call::AllocUnbound(id, domain, remote) => {
                agree!(self.alloc_unbound(DomainId(*id), DomainId(*domain), DomainId(*remote)));
            }
            Call::AllocUnboundXen(id, vcpu, remote) => {
                agree!(self.alloc_unbound_xen(DomainId(*id), VcpuId(*vcpu), DomainId(*remote)));
            }
            Call::BindInterdomain(id, remote, pick) => {
                let port = self.port(*remote, pick);
                agree!(self.bind_interdomain(DomainId(*id), DomainId(*remote), port));
            }
            Call::Connect(a, b) => {
                let (a, b) = (DomainId(*a), DomainId(*b));
                let offered = self.xen.alloc_unbound(a, a, b);
                prop_assert_eq!(offered, self.model.alloc_unbound(a, a, b));
                if let Ok(port) = offered {
                    agree!(self.bind_interdomain(b, a, port));
                }
            }
            Call::BindVirq(id, virq, vcpu) => agree!(self.bind_virq(DomainId(*id), *virq, VcpuId(*vcpu))),
            Call::BindIpi(id, vcpu) => agree!(self.bind_ipi(DomainId(*id), VcpuId(*vcpu))),
            Call::BindVcpu(id, pick, vcpu) => {
                let port = self.port(*id, pick);
                agree!(self.bind_vcpu(DomainId(*id), port, VcpuId(*vcpu)));
            }
            Call::Close(id, pick) => {
                let port = self.port(*id, pick);
                agree!(self.close(DomainId(*id), port));
            }
            Call::Reset(id, domain) => agree!(self.reset(DomainId(*id), DomainId(*domain))),
            Call::Send(id, pick) => {
                let port = self.port(*id, pick);
                agree!(self.send(DomainId(*id), port));
            }
            Call::RaiseVirq(id, virq, vcpu) => agree!(self.raise_virq(DomainId(*id), *virq, VcpuId(*vcpu))),
            Call::RaiseGlobalVirq(virq) => agree!(self.raise_global_virq(*virq)),
            Call::NextUpcall => agree!(self.next_upcall()),
            Call::Take(id, pick, mask) => {
                let port = self.port(*id, pick);
                agree!(self.take(
                    DomainId(*id),
                    port,
                    if *mask { AfterTake::Masked } else { AfterTake::AsBefore }
                ));
            }
            Call::Mask(id, pick) => {
                let port = self.port(*id, pick);
                agree!(self.mask(DomainId(*id), port));
            }
            Call::Unmask(id, pick) => {
                let port = self.port(*id, pick);
                agree!(self.unmask(DomainId(*id), port));
            }
            Call::ClearPending(id, pick) => {
                let port = self.port(*id, pick);
                prop_assert_eq!(
                    self.xen.clear_pending(DomainId(*id), port),
                    self.model.take(DomainId(*id), port, AfterTake::AsBefore)
                );
            }
            Call::Status(id, domain, pick) => {
                let port = self.port(*domain, pick);
                agree!(self.status(DomainId(*id), DomainId(*domain), port));
            }
        }
        Ok(())
    }

    /// Compares all there is to see.
    fn compare(&self) -> Result<(), TestCaseError> {
        let mut ids: Vec<_> = self.model.domains.iter().map(|domain| domain.id).collect();
        ids.sort();
        prop_assert_eq!(self.xen.domains().collect::<Vec<_>>(), ids.clone());
        prop_assert_eq!(self.xen.upcalls_queued(), self.model.queue.len());
        for number in 0..24 {
            let virq = Virq::try_from(number).unwrap();
            prop_assert_eq!(self.xen.global_virq_handler(virq), self.model.handlers[number as usize]);
        }
        for id in ids {
            let domain = self.model.domain(id).unwrap();
            prop_assert_eq!(self.xen.is_dying(id), Ok(domain.dying));
            prop_assert_eq!(self.xen.abi(id), Ok(domain.params.abi));
            prop_assert_eq!(self.xen.nr_channels(id), Ok(domain.nr_channels()));
            prop_assert_eq!(self.xen.ports_in_use(id), Ok(domain.in_use().len()));
            for port in (0..200).chain([4095, 4096, 131_071, u32::MAX]).map(Port) {
                agree!(self.status(id, DomainId::SELF, port));
                agree!(self.event_bits(id, port));
            }
            for report in self.xen.ports(id).unwrap() {
                let slot =
                    domain.slots[report.port.0 as usize].as_ref().expect("only ports in use are reported");
                prop_assert_eq!(
                    (report.binding, report.vcpu, report.xens),
                    (slot.binding, slot.vcpu, slot.xens)
                );
                if !report.xens {
                    prop_assert_eq!(Ok(report.bits), self.model.event_bits(id, report.port));
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        // 256 by default, unless PROPTEST_CASES says otherwise: too few for the rarer meetings.
        cases: ProptestConfig::default().cases.max(1024),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/against_model.regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn agrees_with_the_model(by_handler in any::<bool>(), calls in prop::collection::vec(call(), 1..120)) {
        let mut both =
            Both::new(if by_handler { GlobalVirqs::BoundByHandler } else { GlobalVirqs::BoundByAny });
        both.settle()?;
        for call in &calls {
            both.make(call)?;
            both.compare()?;
        }
        while !both.model.queue.is_empty() {
            both.make(&Call::NextUpcall)?;
        }
        both.make(&Call::NextUpcall)?;
        both.compare()?;
    }
}
