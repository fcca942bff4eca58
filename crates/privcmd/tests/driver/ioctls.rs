//! The device's calls and the ioctls that map nothing.

use crate::fake::{BAD, BASE, Bench, F, failed};
use ioctlab_abi::privcmd;
use ioctlab_chardev::{Errno, FileId, MappingId, MmapRequest, PollEvents, Request, UserPtr};
use ioctlab_privcmd::Driver;

pub(crate) const WITH_ARGUMENT: [Request; 7] = [
    privcmd::HYPERCALL,
    privcmd::MMAP,
    privcmd::MMAPBATCH,
    privcmd::MMAPBATCH_V2,
    privcmd::DM_OP,
    privcmd::RESTRICT,
    privcmd::MMAP_RESOURCE,
];

#[test]
fn the_driver_is_send() {
    fn send<T: Send>() {}
    send::<Driver>();
}

#[test]
fn numbers_are_those_of_the_header() {
    let numbers = [0x30_5000, 0x10_5002, 0x18_5003, 0x20_5004, 0x10_5005, 0x2_5006, 0x20_5007];
    assert_eq!(WITH_ARGUMENT.map(|request| request.0), numbers);
}

#[test]
fn other_requests_are_enotty() {
    let mut bench = Bench::new(0);
    for number in [0x50ff, 0x5401, 0x4_4500, 0, u32::MAX, 0x8030_5000] {
        assert_eq!(bench.ioctl_at(Request(number), BAD), failed(Errno::ENOTTY), "{number:#x}");
    }
    for request in WITH_ARGUMENT {
        for bit in 0..32 {
            let other = Request(request.0 ^ 1 << bit);
            if !WITH_ARGUMENT.contains(&other) {
                assert_eq!(bench.ioctl_at(other, BAD), failed(Errno::ENOTTY), "{other:?}");
            }
        }
    }
    for request in [privcmd::IRQFD, privcmd::IOEVENTFD] {
        assert_eq!(bench.ioctl_at(request, BAD), failed(Errno::EOPNOTSUPP));
    }
}

#[test]
fn an_argument_that_faults_at_any_byte_is_efault() {
    for request in WITH_ARGUMENT {
        let mut bench = Bench::new(0);
        let size = request.size() as u64;
        let past_the_end = (1..=size).map(|missing| bench.end() - size + missing);
        let before = (1..=size).map(|missing| BASE - missing);
        for at in past_the_end.chain(before).chain([0, BAD, u64::MAX]).collect::<Vec<_>>() {
            assert_eq!(bench.ioctl_at(request, at), failed(Errno::EFAULT), "{request:?} at {at:#x}");
        }
        let end = bench.end();
        assert_ne!(bench.ioctl_at(request, end - size), failed(Errno::EFAULT), "{request:?}");
    }
}

#[test]
fn there_is_nothing_to_read_or_write() {
    let mut bench = Bench::new(0);
    assert_eq!(bench.driver.read(F, UserPtr(BASE), 1, &mut bench.memory), failed(Errno::EINVAL));
    assert_eq!(bench.driver.write(F, UserPtr(BASE), 0, &mut bench.memory), failed(Errno::EINVAL));
    let all = PollEvents::IN | PollEvents::OUT | PollEvents::RDNORM | PollEvents::WRNORM;
    assert_eq!(bench.driver.poll(F), all);
}

#[test]
fn a_file_that_is_not_open_is_ebadf() {
    let mut bench = Bench::new(0);
    bench.driver.release(F);
    let mapping = MmapRequest { mapping: MappingId(1), page: 0, pages: 1, shared: true, writable: true };
    for file in [F, FileId(9)] {
        assert_eq!(bench.driver.read(file, UserPtr(BASE), 1, &mut bench.memory), failed(Errno::EBADF));
        assert_eq!(bench.driver.write(file, UserPtr(BASE), 1, &mut bench.memory), failed(Errno::EBADF));
        assert_eq!(bench.driver.mmap(file, mapping), Err(Errno::EBADF));
        assert_eq!(bench.driver.poll(file), PollEvents::default());
        for request in WITH_ARGUMENT.into_iter().chain([Request(0x50ff)]) {
            let result = bench.driver.ioctl(file, request, BASE, &mut bench.memory, &bench.xen);
            assert_eq!(result, failed(Errno::EBADF));
        }
        bench.driver.release(file);
    }
}

#[test]
fn a_file_is_restricted_to_one_domain_for_good() {
    let mut bench = Bench::new(0);
    // No domain's number is no restriction.
    for _ in 0..2 {
        assert_eq!(bench.restrict(0x7ff4), Ok(0));
    }
    for (domain, result) in
        [(3, Ok(0)), (3, Ok(0)), (4, failed(Errno::EINVAL)), (0x7ff4, failed(Errno::EINVAL))]
    {
        assert_eq!(bench.restrict(domain), result);
    }
    assert_eq!(bench.ioctl_at(privcmd::HYPERCALL, BAD), failed(Errno::EPERM), "before the argument");
    for request in [privcmd::MMAP, privcmd::MMAPBATCH, privcmd::MMAPBATCH_V2] {
        assert_eq!(bench.ioctl_at(request, BAD), failed(Errno::EFAULT));
        assert_eq!(bench.ioctl(request, &[&[0; 4], &[4, 0], &[0; 26]]), failed(Errno::EPERM));
        assert_ne!(bench.ioctl(request, &[&[0; 4], &[3, 0], &[0; 26]]), failed(Errno::EPERM));
    }
    for request in [privcmd::DM_OP, privcmd::MMAP_RESOURCE] {
        assert_eq!(bench.ioctl(request, &[&[4, 0], &[0; 30]]), failed(Errno::EPERM));
        assert_ne!(bench.ioctl(request, &[&[3, 0], &[0; 30]]), failed(Errno::EPERM));
    }
    // Another file isn't.
    bench.driver.open(FileId(2));
    let result = bench.driver.ioctl(FileId(2), privcmd::HYPERCALL, BAD, &mut bench.memory, &bench.xen);
    assert_eq!(result, failed(Errno::EFAULT));
    bench.driver.open(F);
    assert_eq!(bench.restrict(4), failed(Errno::EINVAL), "opening it again changes nothing");
}

#[test]
fn a_device_models_operation_has_its_buffers_checked() {
    let buffers = |list: &[(u64, u64)]| -> Vec<u8> {
        list.iter().flat_map(|(address, size)| [address.to_ne_bytes(), size.to_ne_bytes()].concat()).collect()
    };
    let good = (BASE, 4096);
    for (domain, count, list, expected) in [
        // What libxendevicemodel asks at first.
        (0x7ff4, 0, vec![], Ok(0)),
        (3, 17, vec![], failed(Errno::E2BIG)),
        (3, 16, vec![good; 15], failed(Errno::EFAULT)),
        (3, 2, vec![good, (BASE, 4097)], failed(Errno::E2BIG)),
        (3, 2, vec![(0x7fff_ffff_e001, 4096), (BASE, 4097)], failed(Errno::EFAULT)),
        (3, 2, vec![(u64::MAX, 2), good], failed(Errno::EFAULT)),
        (3, 2, vec![good, (BASE - 1, 1)], failed(Errno::EFAULT)),
        (3, 2, vec![good, (BASE + 4097, 4096)], failed(Errno::EFAULT)),
        (3, 1, vec![(BAD, 0)], failed(Errno::EINVAL)),
        (3, 4, vec![good; 4], failed(Errno::E2BIG)),
        (3, 3, vec![good; 3], failed(Errno::EINVAL)),
        (0, 3, vec![good; 3], failed(Errno::EPERM)),
        (4, 3, vec![good; 3], failed(Errno::ESRCH)),
    ] {
        let mut bench = Bench::new(0);
        let bytes = buffers(&list);
        let at = bench.end() - bytes.len() as u64;
        bench.put((at - BASE) as usize, &bytes);
        let (domain, count): (u16, u16) = (domain, count);
        let argument: [&[u8]; 4] = [&domain.to_ne_bytes(), &count.to_ne_bytes(), &[9; 4], &at.to_ne_bytes()];
        assert_eq!(bench.ioctl(privcmd::DM_OP, &argument), expected, "{domain} {count} {list:?}");
    }
}
