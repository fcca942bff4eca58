//! `SET_IRQS` past what the record shows, and what comes of interrupts.

use ioctlab_chardev::Errno;
use ioctlab_vfio_pci::{Interrupt, Messages, Role};

use crate::bench::{BOOL, Bench, E, E2, E3, EVENTFD, MASK, NONE, OTHER, TRIGGER, UNMASK};
use crate::fake::Fake;

const INTX: u32 = 0;
const MSI: u32 = 1;
const MSIX: u32 = 2;
const ERR: u32 = 3;
const REQ: u32 = 4;

#[test]
fn a_level_is_signalled_once_until_it_is_dealt_with() {
    let mut bench = Bench::new(Fake::edu());
    bench.irq_fds(INTX, 0, &[E]).unwrap();
    bench.function.set_intx(true);
    bench.settle();
    assert_eq!((bench.take(E), bench.function.command() & 0x400), (1, 0x400));
    // Another edge, as of a shared line.
    bench.function.sent.push_back(Interrupt::Intx);
    bench.settle();
    assert_eq!(bench.take(E), 0);
    // A program doesn't see the bit.
    assert_eq!(bench.cr(4, 2) & 0x400, 0);
    bench.irq(UNMASK | BOOL, INTX, 0, 1, &[0]).unwrap();
    assert_eq!(bench.take(E), 0);
    bench.irq(UNMASK | BOOL, INTX, 0, 1, &[1]).unwrap();
    assert_eq!(bench.take(E), 1);
    bench.function.set_intx(false);
    bench.irq(UNMASK | NONE, INTX, 0, 1, &[]).unwrap();
    assert_eq!((bench.take(E), bench.function.command() & 0x400), (0, 0));
}

#[test]
fn a_level_that_is_there_already_is_signalled_as_intx_is_enabled() {
    for can_mask in [true, false] {
        let mut fake = Fake::edu();
        if !can_mask {
            fake.allow(4, 0x0107);
        }
        let mut bench = Bench::new(fake);
        bench.function.set_intx(true);
        bench.settle();
        bench.irq_fds(INTX, 0, &[E]).unwrap();
        assert_eq!(bench.take(E), 1, "{can_mask}");
    }
}

#[test]
fn a_device_that_cannot_stop_intx_is_masked_elsewhere() {
    let mut fake = Fake::edu();
    fake.allow(4, 0x0107);
    let mut bench = Bench::new(fake);
    bench.irq_fds(INTX, 0, &[E]).unwrap();
    bench.function.set_intx(true);
    bench.settle();
    assert_eq!((bench.take(E), bench.function.command() & 0x400), (1, 0));
    bench.irq(UNMASK | NONE, INTX, 0, 1, &[]).unwrap();
    assert_eq!(bench.take(E), 1);
    bench.function.set_intx(false);
    bench.irq(UNMASK | NONE, INTX, 0, 1, &[]).unwrap();
    bench.irq(MASK | NONE, INTX, 0, 1, &[]).unwrap();
    bench.function.set_intx(true);
    bench.settle();
    assert_eq!(bench.take(E), 0);
    // Emulated: the program's own disable bit.
    bench.cw(4, 2, 0x406).unwrap();
    bench.irq(UNMASK | NONE, INTX, 0, 1, &[]).unwrap();
    assert_eq!((bench.take(E), bench.cr(4, 2)), (0, 0x406));
    bench.cw(4, 2, 6).unwrap();
    assert_eq!(bench.take(E), 1);
}

#[test]
fn the_disable_bit_holds_while_intx_is_enabled_and_before() {
    let mut bench = Bench::new(Fake::edu());
    bench.cw(5, 1, 4).unwrap();
    assert_eq!(bench.function.command() & 0x400, 0x400);
    bench.irq_fds(INTX, 0, &[E]).unwrap();
    assert_eq!(bench.function.command() & 0x400, 0x400);
    bench.irq(UNMASK | NONE, INTX, 0, 1, &[]).unwrap();
    assert_eq!(bench.function.command() & 0x400, 0x400);
    bench.function.set_intx(true);
    bench.irq(UNMASK | NONE, INTX, 0, 1, &[]).unwrap();
    bench.irq(TRIGGER | NONE, INTX, 0, 1, &[]).unwrap();
    assert_eq!((bench.take(E), bench.function.command() & 0x400), (0, 0x400));
    bench.cw(5, 1, 0).unwrap();
    assert_eq!(bench.take(E), 1);
}

#[test]
fn an_eventfd_unmasks() {
    let mut bench = Bench::new(Fake::edu());
    assert_eq!(bench.irq(UNMASK | EVENTFD, INTX, 0, 1, &E2.to_ne_bytes()), Err(Errno::EINVAL));
    bench.irq_fds(INTX, 0, &[E]).unwrap();
    for (descriptor, result) in
        [(99, Err(Errno::EBADF)), (OTHER, Err(Errno::EINVAL)), (-7, Ok(0)), (E2, Ok(0))]
    {
        assert_eq!(bench.irq(UNMASK | EVENTFD, INTX, 0, 1, &descriptor.to_ne_bytes()), result);
    }
    // There is one already; the descriptor is looked at first.
    assert_eq!(bench.irq(UNMASK | EVENTFD, INTX, 0, 1, &E3.to_ne_bytes()), Err(Errno::EBUSY));
    assert_eq!(bench.irq(UNMASK | EVENTFD, INTX, 0, 1, &99_i32.to_ne_bytes()), Err(Errno::EBADF));
    bench.function.set_intx(true);
    bench.settle();
    for _ in 0..3 {
        assert_eq!(bench.take(E), 1);
        bench.write_eventfd(E2);
    }
    bench.take(E);
    bench.irq(TRIGGER | NONE, INTX, 0, 0, &[]).unwrap();
    assert!(bench.watched.is_empty() && bench.program.events.is_empty());
    bench.write_eventfd(E2);
    assert_eq!(bench.take(E), 0);
}

#[test]
fn a_failed_block_leaves_nothing_of_it() {
    let mut bench = Bench::new(Fake::e1000e());
    assert_eq!(bench.irq_fds(MSIX, 0, &[E, 99]), Err(Errno::EBADF));
    assert_eq!((bench.program.events.len(), &bench.function.messages), (0, &None));
    bench.irq_fds(MSIX, 0, &[E, E2, E3]).unwrap();
    assert_eq!(bench.irq_fds(MSIX, 1, &[E, OTHER]), Err(Errno::EINVAL));
    // Vector 0 is as it was.
    bench.irq(TRIGGER | NONE, MSIX, 0, 3, &[]).unwrap();
    assert_eq!((bench.take(E), bench.take(E2), bench.take(E3)), (1, 0, 0));
    assert_eq!(bench.program.events.len(), 1);
}

#[test]
fn messages_are_not_enabled_in_d3() {
    let mut bench = Bench::new(Fake::nvme());
    bench.cw(0x64, 2, 3).unwrap();
    assert_eq!(bench.irq_fds(MSIX, 0, &[E]), Err(Errno::EINVAL));
    assert_eq!((bench.program.events.len(), &bench.function.messages), (0, &None));
    bench.cw(0x64, 2, 0).unwrap();
    assert_eq!(bench.irq_fds(MSIX, 0, &[E]), Ok(0));
}

#[test]
fn vectors_are_added_to_msix_only() {
    let mut bench = Bench::new(Fake::e1000e());
    bench.irq_fds(MSIX, 0, &[E]).unwrap();
    bench.irq_fds(MSIX, 4, &[E2]).unwrap();
    bench.irq_fds(MSIX, 3, &[-1]).unwrap();
    let (kind, vectors) = bench.function.messages.clone().unwrap();
    assert_eq!((kind, vectors.into_iter().collect::<Vec<_>>()), (Messages::Msix, vec![0, 4]));
    for vector in [0, 1, 4, 4] {
        bench.device.interrupt(Interrupt::Msix(vector), &mut bench.function);
        bench.device.interrupt(Interrupt::Msi(vector), &mut bench.function);
    }
    bench.settle();
    assert_eq!((bench.take(E), bench.take(E2)), (1, 2));
    bench.irq(TRIGGER | BOOL, MSIX, 0, 5, &[0, 1, 1, 1, 1]).unwrap();
    assert_eq!((bench.take(E), bench.take(E2)), (0, 1));
    // Enabled by a block that doesn't start at 0: those before have messages, too.
    bench.irq(TRIGGER | NONE, MSIX, 0, 0, &[]).unwrap();
    bench.irq_fds(MSIX, 2, &[E]).unwrap();
    assert_eq!(bench.function.messages.as_ref().unwrap().1.len(), 3);
    let mut fake = Fake::edu();
    fake.put(0x40, 0x0084_0005);
    fake.power_on[0x42] = 0x84;
    let mut bench = Bench::new(fake);
    bench.irq_fds(MSI, 0, &[E, E]).unwrap();
    assert_eq!(bench.irq_fds(MSI, 2, &[E]), Err(Errno::EINVAL));
    assert_eq!(bench.irq_fds(MSI, 2, &[-1]), Ok(0));
    assert_eq!(bench.irq_fds(MSI, 4, &[E]), Err(Errno::EINVAL));
}

#[test]
fn no_vector_cannot_be_enabled() {
    let mut bench = Bench::new(Fake::e1000e());
    assert_eq!(bench.irq(TRIGGER | EVENTFD, MSIX, 0, 0, &[]), Err(Errno::ERANGE));
    assert_eq!(bench.irq(TRIGGER | EVENTFD, MSIX, 2, 0, &[]), Ok(0));
    assert_eq!(bench.function.messages.as_ref().unwrap().1.len(), 2);
    assert_eq!(bench.irq(TRIGGER | BOOL, MSIX, 0, 0, &[]), Ok(0));
    assert_eq!(bench.irq(TRIGGER | BOOL, REQ, 0, 0, &[]), Err(Errno::EINVAL));
    assert_eq!(bench.irq(TRIGGER | EVENTFD, ERR, 0, 0, &[]), Err(Errno::EINVAL));
}

#[test]
fn data_are_as_long_as_the_count_says() {
    let mut bench = Bench::new(Fake::e1000e());
    assert_eq!(bench.irq(TRIGGER | EVENTFD, MSIX, 0, 2, &[0; 7]), Err(Errno::EINVAL));
    assert_eq!(bench.irq(TRIGGER | BOOL, MSIX, 0, 2, &[0; 1]), Err(Errno::EINVAL));
    // More is no harm.
    bench.irq(TRIGGER | EVENTFD, MSIX, 0, 1, &[E.to_ne_bytes(), [9; 4]].concat()).unwrap();
    // The whole argument has to be there, but only as much data as is said.
    let (at, words) = (crate::memory::BASE + crate::bench::MEMORY as u64 - 20, [24, 0x21, 2, 0, 1]);
    bench.program.put(at, words.map(u32::to_ne_bytes).as_flattened());
    assert_eq!(bench.call(ioctlab_abi::vfio::DEVICE_SET_IRQS, at).map(drop), Ok(()));
    let words: [u32; 5] = [24, 0x24, 2, 0, 1];
    bench.program.put(at, words.map(u32::to_ne_bytes).as_flattened());
    assert_eq!(bench.call(ioctlab_abi::vfio::DEVICE_SET_IRQS, at), Err(Errno::EFAULT));
}

#[test]
fn errors_and_requests_are_told() {
    let mut bench = Bench::new(Fake::e1000e());
    bench.device.error();
    bench.device.request(0);
    bench.irq_fds(ERR, 0, &[E]).unwrap();
    bench.irq_fds(REQ, 0, &[E2]).unwrap();
    // As recorded, another negative number changes nothing.
    bench.irq_fds(REQ, 0, &[-2]).unwrap();
    bench.device.error();
    (0..3).for_each(|count| bench.device.request(count));
    bench.settle();
    assert_eq!((bench.take(E), bench.take(E2)), (1, 3));
    bench.irq_fds(REQ, 0, &[E3]).unwrap();
    bench.irq(TRIGGER | NONE, ERR, 0, 0, &[]).unwrap();
    assert_eq!(bench.program.events.len(), 1);
    assert_eq!(bench.irq(TRIGGER | NONE, ERR, 0, 0, &[]), Err(Errno::EINVAL));
    assert_eq!(bench.irq(TRIGGER | BOOL, ERR, 0, 1, &[1]), Ok(0));
    bench.close();
    assert!(bench.program.events.is_empty());
    bench.device.request(3);
    bench.settle();
}

#[test]
fn messages_and_intx_exclude_each_other_in_the_hardware() {
    let mut bench = Bench::new(Fake::e1000e());
    bench.irq_fds(MSI, 0, &[E]).unwrap();
    assert_eq!(bench.function.command() & 0x400, 0x400);
    bench.irq(TRIGGER | NONE, MSI, 0, 0, &[]).unwrap();
    assert_eq!(bench.function.command() & 0x400, 0);
}

#[test]
fn some_have_no_intx() {
    let virtual_function = Role::Virtual { vendor: 0x8086, device: 0x10ca };
    let mut broken = Fake::edu();
    broken.put(0, 0x1572_8086);
    broken.power_on[..4].copy_from_slice(&0x1572_8086_u32.to_le_bytes());
    for mut bench in [Bench::with_role(Fake::edu(), virtual_function), Bench::new(broken)] {
        assert_eq!(bench.cr(0x3d, 1), 0);
        assert_eq!(bench.irq_fds(INTX, 0, &[E]), Err(Errno::EINVAL));
    }
    let mut fake = Fake::edu();
    fake.put(0, 0x1572_8086);
    let mut bench = Bench::new(fake);
    assert_eq!(bench.function.command() & 0x400, 0x400);
    bench.irq_fds(MSI, 0, &[E]).unwrap();
    bench.irq(TRIGGER | NONE, MSI, 0, 0, &[]).unwrap();
    assert_eq!(bench.function.command() & 0x400, 0x400);
}
