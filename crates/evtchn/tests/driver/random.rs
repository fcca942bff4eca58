//! Random operations on several files, compared at every step with a naive model: results, bytes, polls, wakes, and all
//! that is asked of Xen. `PROPTEST_CASES` sets how many sequences.

use crate::fake::{BAD, BASE, Bench, failed, ports};
use crate::model::{File, KERNEL_PORT, Model, Op, REQUESTS};
use ioctlab_abi::evtchn;
use ioctlab_chardev::{CallResult, Errno, FileId, PollEvents};
use ioctlab_evtchn::{ChannelAbi, Port};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn op() -> impl Strategy<Value = Op> {
    let port = || prop_oneof![10 => 3_u32..7, 4 => 0_u32..12, 1 => Just(1024), 1 => Just(4095), 1 => Just(131_072), 1 => any::<u32>()];
    let domain = || prop_oneof![6 => Just(0_u32), 1 => Just(5), 1 => Just(0x1_0000), 1 => Just(0x1_0005)];
    prop_oneof![
        2 => Just(Op::Open),
        1 => Just(Op::Release),
        2 => (0_u32..26).prop_map(Op::Virq),
        6 => (domain(), port()).prop_map(|(domain, port)| Op::Interdomain(domain, port)),
        5 => domain().prop_map(Op::Unbound),
        4 => port().prop_map(Op::Static),
        4 => port().prop_map(Op::Unbind),
        8 => port().prop_map(Op::Notify),
        1 => Just(Op::Reset),
        1 => prop_oneof![Just(0_u16), Just(5), Just(0x7fef), Just(0x7ff0)].prop_map(Op::Restrict),
        1 => (0..REQUESTS.len()).prop_map(Op::BadPointer),
        6 => (0_usize..40, prop_oneof![4 => Just(usize::MAX), 1 => 0_usize..40])
            .prop_map(|(count, reachable)| Op::Read(count, reachable)),
        1 => Just(Op::Read(8192, usize::MAX)),
        8 => (prop::collection::vec(port(), 0..8), prop_oneof![6 => Just(usize::MAX), 1 => 0_usize..32])
            .prop_map(|(ports, reachable)| Op::Write(ports, reachable)),
        2 => (0_usize..70, 0_usize..40).prop_map(|(skip, size)| Op::Peek(skip, size)),
        1 => (0_usize..70).prop_map(Op::Consume),
        8 => (3_u32..8).prop_map(Op::Raise),
        8 => (0_usize..6).prop_map(Op::Upcalls),
        4 => (0_usize..4).prop_map(Op::Wakes),
        3 => port().prop_map(Op::Hold),
        3 => port().prop_map(Op::LetGo),
        2 => prop_oneof![1_usize..8, 50_usize..70].prop_map(Op::Stale),
        1 => (1_usize..70).prop_map(Op::Grow),
    ]
}

/// The driver's side of an ioctl.
fn ioctl(bench: &mut Bench, file: FileId, op: &Op) -> CallResult<i64> {
    match *op {
        Op::Virq(virq) => bench.word(file, evtchn::BIND_VIRQ, virq),
        Op::Unbound(domain) => bench.word(file, evtchn::BIND_UNBOUND_PORT, domain),
        Op::Interdomain(domain, port) => bench.interdomain(file, domain, port),
        Op::Static(port) => bench.word(file, evtchn::BIND_STATIC, port),
        Op::Unbind(port) => bench.unbind(file, port),
        Op::Notify(port) => bench.notify(file, port),
        Op::Reset => bench.ioctl_at(file, evtchn::RESET, BAD),
        Op::Restrict(domain) => bench.ioctl(file, evtchn::RESTRICT_DOMID, &domain.to_ne_bytes()),
        Op::BadPointer(request) => bench.ioctl_at(file, REQUESTS[request], BAD),
        _ => unreachable!(),
    }
}

fn step(bench: &mut Bench, model: &mut Model, file: u64, op: &Op) {
    let id = FileId(file);
    let open = model.files.contains_key(&file);
    let end = BASE + bench.memory.0.len() as u64;
    match op {
        Op::Open => {
            bench.driver.open(id);
            model.files.entry(file).or_default();
        }
        Op::Release => {
            bench.release(id);
            let ports: BTreeSet<_> = model
                .bindings
                .iter()
                .filter(|binding| binding.file == file)
                .map(|binding| binding.port)
                .collect();
            for port in ports {
                model.unbind(file, port).unwrap();
            }
            model.files.remove(&file);
        }
        Op::Raise(port) => {
            bench.xen.raise(*port);
            model.xen.raise(*port);
        }
        Op::Upcalls(most) => {
            for _ in 0..*most {
                if let Some(port) = bench.xen.next_upcall() {
                    bench.driver.interrupt(port, &mut bench.xen);
                }
                if let Some(port) = model.xen.next_upcall() {
                    model.interrupt(port.0);
                }
            }
        }
        Op::Wakes(most) => {
            for _ in 0..*most {
                let expected = model.files.iter_mut().find(|(_, file)| file.wake);
                let expected = expected.map(|(id, file)| {
                    file.wake = false;
                    FileId(*id)
                });
                assert_eq!(bench.driver.next_wake(), expected);
            }
        }
        Op::Hold(port) => assert_eq!(bench.driver.hold_port(Port(*port)), model.hold(*port)),
        Op::LetGo(port) => {
            bench.driver.let_port_go(Port(*port), &mut bench.xen);
            model.let_go(*port);
        }
        Op::Stale(entries) => {
            for _ in 0..*entries {
                for op in [Op::Static(900), Op::Raise(900), Op::Upcalls(64), Op::Unbind(900)] {
                    step(bench, model, file, &op);
                }
            }
        }
        Op::Grow(ports) => {
            for port in 0..*ports {
                step(bench, model, file, &Op::Static(800 - port as u32));
            }
        }
        _ if !open => {
            assert_eq!(bench.read_at(id, BASE, 4), failed(Errno::EBADF));
            assert_eq!(bench.write_at(id, BASE, 4), failed(Errno::EBADF));
            assert_eq!(bench.ioctl_at(id, evtchn::RESET, BASE), failed(Errno::EBADF));
        }
        Op::Read(count, reachable) => {
            let at = end - (*reachable).min(8192) as u64;
            let read = bench.read_at(id, at, *count);
            let start = bench.memory.0.len() - (end - at) as usize;
            let read = read.map(|len| ports(&bench.memory.0[start..start + len]));
            assert_eq!(read, model.read(file, *count, *reachable));
        }
        Op::Write(written, reachable) => {
            let bytes: Vec<_> = written.iter().flat_map(|port| port.to_ne_bytes()).collect();
            let reachable = (*reachable).min(bytes.len());
            let start = bench.memory.0.len() - reachable;
            bench.memory.0[start..].copy_from_slice(&bytes[..reachable]);
            let result = bench.write_at(id, end - reachable as u64, bytes.len());
            if reachable < bytes.len() {
                assert_eq!(result, failed(Errno::EFAULT));
            } else {
                assert_eq!(result, Ok(bytes.len()));
                written.iter().for_each(|port| model.enable(file, *port));
            }
        }
        Op::Peek(skip, size) => {
            let mut seen = vec![0; *size];
            let len = bench.driver.peek(id, *skip, &mut seen);
            let expected: Vec<_> =
                model.files[&file].ring.iter().skip(*skip).take(*size / 4).copied().collect();
            assert_eq!(ports(&seen[..len]), expected);
        }
        Op::Consume(ports) => {
            bench.driver.consume(id, *ports);
            let ring = &mut model.files.get_mut(&file).unwrap().ring;
            ring.drain(..(*ports).min(ring.len()));
        }
        _ => assert_eq!(ioctl(bench, id, op), model.ioctl(file, op)),
    }
    check(bench, model);
}

fn check(bench: &mut Bench, model: &mut Model) {
    assert_eq!(bench.xen, model.xen);
    bench.xen.asked.clear();
    model.xen.asked.clear();
    for id in 0..4 {
        let file = model.files.get(&id);
        assert_eq!(bench.driver.poll(FileId(id)), PollEvents(model.poll(id)));
        assert_eq!(bench.driver.unread(FileId(id)), file.map_or(0, |file| file.ring.len()));
        assert_eq!(bench.driver.is_overflowed(FileId(id)), file.is_some_and(|file| file.overflowed));
    }
    // What a client relies on: a port that is masked can be unmasked by somebody.
    for port in &model.masked {
        assert!(model.bindings.iter().any(|binding| binding.port == *port && !binding.enabled));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_driver_does_as_the_naive_model(
        fifo in any::<bool>(),
        ops in prop::collection::vec((0_u64..3, op()), 1..150),
    ) {
        let (abi, channels) = if fifo { (ChannelAbi::Fifo, 1024) } else { (ChannelAbi::TwoLevel, 4096) };
        let mut bench = Bench::new(abi);
        bench.driver.claim_for_kernel(Port(KERNEL_PORT)).unwrap();
        bench.xen.first = 4;
        let files = [1, 2].map(|file| (file, File::default())).into();
        let xen = bench.xen.clone();
        let (bindings, held) = (vec![], vec![]);
        let (masked, orphans) = (BTreeSet::new(), BTreeSet::new());
        let mut model = Model { xen, files, bindings, masked, channels, held, orphans };
        for (file, op) in &ops {
            step(&mut bench, &mut model, *file, op);
        }
        // Everything can be closed, and what the files had made is free then.
        for file in 0..3 {
            step(&mut bench, &mut model, file, &Op::Release);
        }
        for port in model.held.clone() {
            assert!(!model.orphans.contains(&port) || !bench.xen.is_free(port), "a port is there while it is held");
            step(&mut bench, &mut model, 0, &Op::LetGo(port));
        }
        assert!((4..200).all(|port| bench.xen.is_free(port)));
        assert_eq!(bench.driver.next_wake(), None);
    }
}
