//! Each ioctl: what it does, what it refuses and in which order, and a fault at every byte of its argument.

use crate::fake::{Asked, BAD, BASE, Bench, F, G, failed};
use ioctlab_abi::{Direction, evtchn};
use ioctlab_chardev::{CallResult, Errno, FileId, PollEvents, Request, UserPtr};
use ioctlab_evtchn::{ChannelAbi, Driver, Hypervisor, Port};

const ALL: [Request; 8] = [
    evtchn::BIND_VIRQ,
    evtchn::BIND_INTERDOMAIN,
    evtchn::BIND_UNBOUND_PORT,
    evtchn::UNBIND,
    evtchn::NOTIFY,
    evtchn::RESET,
    evtchn::RESTRICT_DOMID,
    evtchn::BIND_STATIC,
];

fn fifo() -> Bench {
    Bench::new(ChannelAbi::Fifo)
}

fn restrict(bench: &mut Bench, file: FileId, domain: u16) -> CallResult<i64> {
    bench.ioctl(file, evtchn::RESTRICT_DOMID, &domain.to_ne_bytes())
}

#[test]
fn the_driver_is_send() {
    fn send<T: Send>() {}
    send::<Driver>();
}

#[test]
fn an_argument_that_faults_at_any_byte_is_efault_and_nothing_happens() {
    for request in ALL.into_iter().filter(|request| *request != evtchn::RESET) {
        let mut bench = fifo();
        let end = BASE + bench.memory.0.len() as u64;
        let size = request.size() as u64;
        // The last byte, the last two ... all but none are past the end; then before the beginning; then nowhere.
        let past_the_end = (1..=size).map(|missing| end - size + missing);
        let before = (1..=size).map(|missing| BASE - missing);
        for at in past_the_end.chain(before).chain([0, BAD, u64::MAX, u64::MAX - size + 1]) {
            assert_eq!(bench.ioctl_at(F, request, at), failed(Errno::EFAULT), "{request:?} at {at:#x}");
        }
        assert_eq!(bench.asked(), []);
        assert_ne!(bench.ioctl_at(F, request, end - size), failed(Errno::EFAULT));
    }
}

#[test]
fn an_argument_may_be_unaligned() {
    let mut bench = fifo();
    bench.memory.0[1..5].copy_from_slice(&3_u32.to_ne_bytes());
    assert_eq!(bench.ioctl_at(F, evtchn::BIND_VIRQ, BASE + 1), Ok(1));
    assert_eq!(bench.asked(), [Asked::Virq(3, 0), Asked::Unmask(1)]);
}

#[test]
fn requests_match_in_all_32_bits_or_are_enosys() {
    let mut bench = fifo();
    for request in ALL {
        for bit in 0..32 {
            let other = Request(request.0 ^ 1 << bit);
            if !ALL.contains(&other) {
                assert_eq!(bench.ioctl_at(F, other, BASE), failed(Errno::ENOSYS), "{other:?}");
            }
        }
        for direction in [Direction::Read, Direction::Write, Direction::ReadWrite] {
            let other = Request::new(direction, request.kind(), request.number(), request.size() as u16);
            assert_eq!(bench.ioctl_at(F, other, BASE), failed(Errno::ENOSYS));
        }
    }
    assert_eq!(bench.asked(), []);
}

#[test]
fn a_file_that_is_not_open_is_ebadf() {
    let mut bench = fifo();
    let stranger = FileId(99);
    for request in ALL {
        assert_eq!(bench.ioctl_at(stranger, request, BASE), failed(Errno::EBADF));
    }
    assert_eq!(bench.ioctl_at(stranger, Request(0), BASE), failed(Errno::EBADF));
    assert_eq!(bench.read_at(stranger, BASE, 0), failed(Errno::EBADF));
    assert_eq!(bench.write_at(stranger, BASE, 0), failed(Errno::EBADF));
    assert_eq!(bench.driver.poll(stranger), PollEvents::default());
    assert_eq!(bench.driver.unread(stranger), 0);
    assert_eq!(bench.driver.peek(stranger, 0, &mut [0; 4]), 0);
    assert!(!bench.driver.is_overflowed(stranger));
    bench.driver.consume(stranger, 1);
    bench.release(stranger);
    assert_eq!(bench.asked(), []);
}

#[test]
fn opening_a_file_again_leaves_it_as_it_is() {
    let mut bench = fifo();
    let (_, b) = bench.pair(F);
    bench.driver.open(F);
    assert_eq!(bench.notify(F, b), Ok(0));
}

#[test]
fn binds_pass_on_the_hypervisors_errors() {
    let mut bench = fifo();
    for virq in [24, 25, u32::MAX] {
        assert_eq!(bench.word(F, evtchn::BIND_VIRQ, virq), failed(Errno::EINVAL));
        assert_eq!(bench.asked(), [Asked::Virq(virq, 0)]);
    }
    assert_eq!(bench.interdomain(F, 5, 1), failed(Errno::ESRCH));
    assert_eq!(bench.interdomain(F, 0, 1), failed(Errno::EINVAL));
    assert_eq!(bench.asked(), [Asked::Interdomain(5, 1), Asked::Interdomain(0, 1)]);
}

#[test]
fn domains_are_cut_to_16_bits_for_the_hypervisor() {
    let mut bench = fifo();
    for (domain, cut) in [(0, 0), (0x7ff0, 0x7ff0), (0x1_0005, 5), (u32::MAX, 0xffff)] {
        let port = bench.word(F, evtchn::BIND_UNBOUND_PORT, domain).unwrap() as u32;
        assert_eq!(bench.asked(), [Asked::Unbound(cut), Asked::Unmask(port)]);
    }
    assert_eq!(bench.interdomain(F, 0x1_0000, 1), Ok(5));
    assert_eq!(bench.asked(), [Asked::Interdomain(0, 1), Asked::Unmask(5)]);
}

#[test]
fn a_new_port_that_has_no_place_is_closed_again() {
    for abi in [ChannelAbi::TwoLevel, ChannelAbi::Fifo] {
        let mut bench = Bench::new(abi);
        let limit = bench.xen.max_channels();
        bench.xen.first = limit;
        assert_eq!(bench.word(F, evtchn::BIND_UNBOUND_PORT, 0), failed(Errno::ENOMEM));
        assert_eq!(bench.asked(), [Asked::Unbound(0), Asked::Close(limit)]);
        assert_eq!(bench.word(F, evtchn::BIND_VIRQ, 3), failed(Errno::ENOMEM));
        assert_eq!(bench.asked(), [Asked::Virq(3, 0), Asked::Close(limit)]);
        bench.xen.first = limit - 1;
        assert_eq!(bench.unbound(F), limit - 1);
        assert_eq!(bench.interdomain(F, 0, limit - 1), failed(Errno::ENOMEM));
        assert!(bench.xen.is_free(limit));
    }
}

#[test]
fn a_port_unbound_is_masked_then_closed() {
    let mut bench = fifo();
    let a = bench.unbound(F);
    bench.asked();
    assert_eq!(bench.unbind(F, a), Ok(0));
    assert_eq!(bench.asked(), [Asked::Mask(a), Asked::Close(a)]);
    for request in [evtchn::UNBIND, evtchn::NOTIFY] {
        assert_eq!(bench.word(F, request, a), failed(Errno::ENOTCONN));
    }
    assert_eq!(bench.asked(), []);
}

#[test]
fn a_masked_and_pending_port_can_be_unbound_and_its_number_starts_afresh() {
    let mut bench = fifo();
    let (a, b) = bench.pair(F);
    bench.notify(F, a).unwrap();
    bench.pump();
    bench.notify(F, a).unwrap();
    bench.asked();
    assert_eq!(bench.unbind(F, b), Ok(0));
    assert_eq!(bench.asked(), [Asked::Mask(b), Asked::Close(b)]);
    let again = bench.interdomain(F, 0, a).unwrap() as u32;
    assert_eq!(again, b);
    // The stale number, then an event of the new binding, which starts enabled.
    bench.pump();
    assert_eq!(bench.read(F, 64), Ok(vec![b, b]));
}

#[test]
fn release_unbinds_every_port_and_only_those_of_the_file() {
    let mut bench = fifo();
    let (a, b) = bench.pair(F);
    let other = bench.unbound(G);
    bench.asked();
    bench.release(F);
    assert_eq!(bench.asked(), [Asked::Mask(a), Asked::Close(a), Asked::Mask(b), Asked::Close(b)]);
    assert_eq!(bench.notify(G, other), Ok(0));
    assert_eq!(bench.notify(F, a), failed(Errno::EBADF));
    bench.asked();
    bench.release(F);
    assert_eq!(bench.asked(), []);
}

#[test]
fn notify_is_0_for_a_bound_port_whatever_send_says() {
    let mut bench = fifo();
    let virq = bench.word(F, evtchn::BIND_VIRQ, 3).unwrap() as u32;
    assert_eq!(bench.xen.send(Port(virq)), Err(Errno::EINVAL));
    assert_eq!(bench.notify(F, virq), Ok(0));
    assert_eq!(bench.notify(G, virq), failed(Errno::ENOTCONN));
    for port in [0, 131_072, u32::MAX] {
        assert_eq!(bench.notify(F, port), failed(Errno::ENOTCONN));
    }
}

/// The least port that `UNBIND` calls invalid.
fn channel_count(bench: &mut Bench) -> u32 {
    let (mut low, mut high) = (0, 1 << 20);
    while low < high {
        let middle = (low + high) / 2;
        match bench.unbind(F, middle) {
            Err(stop) if stop == Errno::EINVAL.into() => high = middle,
            other => {
                assert_eq!(other, failed(Errno::ENOTCONN));
                low = middle + 1;
            }
        }
    }
    low
}

#[test]
fn two_levels_always_have_4096_channels() {
    let mut bench = Bench::new(ChannelAbi::TwoLevel);
    assert_eq!(channel_count(&mut bench), 4096);
    assert_eq!(bench.word(G, evtchn::BIND_STATIC, 4096), failed(Errno::ENOMEM));
    assert_eq!(bench.word(G, evtchn::BIND_STATIC, 4095), Ok(0));
    assert_eq!(channel_count(&mut bench), 4096);
}

#[test]
fn fifo_channels_come_in_pages_and_stay() {
    let mut bench = fifo();
    assert_eq!(channel_count(&mut bench), 1024);
    for (port, count) in [(1023, 1024), (1024, 2048), (5, 2048), (3000, 3072), (131_071, 131_072)] {
        assert_eq!(bench.word(G, evtchn::BIND_STATIC, port), Ok(0));
        assert_eq!(channel_count(&mut bench), count);
    }
    assert_eq!(bench.word(G, evtchn::BIND_STATIC, 131_072), failed(Errno::ENOMEM));
    bench.release(G);
    assert_eq!(channel_count(&mut bench), 131_072);
}

#[test]
fn ports_of_the_kernels_own_count_too() {
    let mut bench = fifo();
    bench.driver.claim_for_kernel(Port(2047)).unwrap();
    assert_eq!(channel_count(&mut bench), 2048);
    bench.asked();
    assert_eq!(bench.word(F, evtchn::BIND_STATIC, 2047), failed(Errno::EBUSY));
    assert_eq!(bench.notify(F, 2047), failed(Errno::ENOTCONN));
    assert_eq!(bench.asked(), []);
}

#[test]
fn a_restriction_is_for_good_and_takes_real_domains() {
    let mut bench = fifo();
    for domain in [0, 0x7ff0, 0x7ff1, 0x7fff, 0x8000, 0xffff] {
        assert_eq!(restrict(&mut bench, F, domain), failed(Errno::EINVAL));
    }
    for (file, domain) in [(F, 0x7fef), (G, 1)] {
        assert_eq!(restrict(&mut bench, file, domain), Ok(0));
        assert_eq!(restrict(&mut bench, file, domain), failed(Errno::EACCES));
        assert_eq!(bench.ioctl_at(file, evtchn::RESTRICT_DOMID, BAD), failed(Errno::EACCES));
    }
}

#[test]
fn a_restricted_file_binds_to_its_domain_only() {
    let mut bench = fifo();
    let (a, b) = bench.pair(F);
    restrict(&mut bench, F, 5).unwrap();
    bench.asked();
    for at in [BASE, BAD] {
        assert_eq!(bench.ioctl_at(F, evtchn::BIND_VIRQ, at), failed(Errno::EACCES));
        assert_eq!(bench.ioctl_at(F, evtchn::BIND_UNBOUND_PORT, at), failed(Errno::EACCES));
    }
    assert_eq!(bench.ioctl_at(F, evtchn::BIND_INTERDOMAIN, BAD), failed(Errno::EFAULT));
    for domain in [0, 4, 6, 0x1_0005, 0x8000_0005] {
        assert_eq!(bench.interdomain(F, domain, a), failed(Errno::EACCES));
    }
    assert_eq!(bench.asked(), []);
    assert_eq!(bench.interdomain(F, 5, a), failed(Errno::ESRCH));
    assert_eq!(bench.asked(), [Asked::Interdomain(5, a)]);
    assert_eq!(bench.notify(F, a), Ok(0));
    assert_eq!(bench.unbind(F, b), Ok(0));
    assert_eq!(bench.word(F, evtchn::BIND_STATIC, 77), Ok(0));
    assert_eq!(bench.ioctl_at(F, evtchn::RESET, BAD), Ok(0));
    // Another file is not restricted.
    bench.unbound(G);
}

#[test]
fn reset_empties_the_ring_and_leaves_delivered_ports_masked() {
    let mut bench = fifo();
    let (a, b) = bench.pair(F);
    bench.notify(F, a).unwrap();
    bench.pump();
    assert_eq!(bench.ioctl_at(F, evtchn::RESET, BAD), Ok(0));
    assert_eq!(bench.driver.unread(F), 0);
    bench.notify(F, a).unwrap();
    bench.pump();
    assert_eq!(bench.driver.unread(F), 0);
    assert!(bench.xen.is_masked(b));
    bench.write(F, &[b]).unwrap();
    assert!(!bench.xen.is_masked(b));
    bench.pump();
    assert_eq!(bench.read(F, 4), Ok(vec![b]));
}

#[test]
fn write_enables_delivered_ports_of_its_own_file_only() {
    let mut bench = fifo();
    let (a, b) = bench.pair(F);
    let (c, d) = bench.pair(G);
    bench.notify(F, a).unwrap();
    bench.notify(G, c).unwrap();
    bench.pump();
    bench.asked();
    assert_eq!(bench.write(F, &[a, d, 0, u32::MAX, b, b]), Ok(24));
    assert_eq!(bench.asked(), [Asked::Unmask(b)]);
    // The count is rounded down and cut to a page, and a fault comes before any effect.
    assert_eq!(bench.write(G, &[0, d]), Ok(8));
    bench.notify(G, c).unwrap();
    bench.pump();
    bench.asked();
    bench.memory.0.fill(0);
    bench.memory.0[4096..4100].copy_from_slice(&d.to_ne_bytes());
    assert_eq!(bench.write_at(G, BASE, 8192), Ok(4096));
    assert_eq!(bench.write_at(G, BASE + 4096, 3), Ok(0));
    let end = BASE + bench.memory.0.len() as u64;
    let len = bench.memory.0.len();
    bench.memory.0[len - 4..].copy_from_slice(&d.to_ne_bytes());
    assert_eq!(bench.write_at(G, end - 4, 8), failed(Errno::EFAULT));
    assert_eq!(bench.write_at(G, end - 3, 4), failed(Errno::EFAULT));
    assert_eq!(bench.write_at(G, end, usize::MAX), failed(Errno::EFAULT));
    assert_eq!(bench.asked(), []);
    assert_eq!(bench.write_at(G, end - 4, 7), Ok(4));
    assert_eq!(bench.asked(), [Asked::Unmask(d)]);
}

#[test]
fn a_pointer_at_the_top_of_the_address_space_is_a_fault() {
    let mut bench = fifo();
    let (a, b) = bench.pair(F);
    bench.notify(F, a).unwrap();
    bench.pump();
    for at in [u64::MAX, u64::MAX - 3] {
        assert_eq!(bench.read_at(F, at, 4), failed(Errno::EFAULT));
        let result = bench.driver.write(F, UserPtr(at), 4, &mut bench.memory, &mut bench.xen);
        assert_eq!(result, failed(Errno::EFAULT));
    }
    assert_eq!(bench.read(F, 4), Ok(vec![b]));
}
