//! `CHECK_EXTENSION`, opening, unknown calls, and `GET_INFO`.

use ioctlab_abi::vfio::{CHECK_EXTENSION, IOMMU_GET_INFO, UPDATE_VADDR};
use ioctlab_abi::{Direction, Request};
use ioctlab_chardev::{Errno, UserPtr};
use ioctlab_type1::{Driver, IovaRange, Parameters, Warning};
use ioctlab_vfio::{Iommu, IommuDriver};

use crate::fake::{Fake, Group};
use crate::harness::{ARGUMENT, BOTH, BUFFER, GROUP, Lab, PAGE, long, open, word};
use crate::memory::{BAD, BASE};

#[test]
fn extensions() {
    let driver = Driver::default();
    let before = |extension| IommuDriver::<Fake>::check_extension(&driver, extension);
    let lab = Lab::v2();
    for extension in (0..=100).chain([0xffff_ffff, u64::MAX, (1 << 32) + 1, 1 << 63]) {
        let there = i64::from([1, 3, 6, 9].contains(&extension));
        assert_eq!(before(extension), there, "{extension}");
        let chosen = if extension == UPDATE_VADDR { 1 } else { there };
        assert_eq!(lab.iommu.check_extension(extension), chosen, "{extension}");
    }
    assert_eq!(IommuDriver::<Fake>::name(&driver), "vfio-iommu-type1");
}

#[test]
fn coherency_is_of_all_domains() {
    let mut machine = Fake::with_group(1, Group { coherent: true, ..Group::default() });
    let mut iommu = open(3, Parameters::default()).expect("the second version");
    assert_eq!(iommu.check_extension(4), 1, "no domain lacks it");
    iommu.attach_group(GROUP, &mut machine).expect("a group as any");
    assert_eq!(iommu.check_extension(4), 1);
    let program = crate::harness::program(crate::harness::SPACE);
    let mut lab = Lab { machine, program, iommu };
    assert_eq!(lab.attach(2, Group::default()), Ok(()));
    assert_eq!(lab.iommu.check_extension(4), 0);
    lab.detach(2);
    assert_eq!(lab.iommu.check_extension(4), 1);
}

#[test]
fn kinds() {
    for kind in 0..20 {
        let opened = open(kind, Parameters::default()).map(drop);
        let expected = if kind == 1 || kind == 3 { Ok(()) } else { Err(Errno::EINVAL) };
        assert_eq!(opened, expected, "{kind}");
    }
    assert_eq!(open((1 << 32) + 1, Parameters::default()).err(), Some(Errno::EINVAL));
}

#[test]
fn unknown_calls() {
    for (version, mut lab) in Lab::both() {
        let others = [
            Request::new(Direction::None, b';', 250, 0),
            Request::new(Direction::None, b';', 115, 0),
            Request::new(Direction::Read, b';', 112, 0),
            CHECK_EXTENSION,
        ];
        for request in others {
            assert_eq!(lab.call_at(request, ARGUMENT), Err(Errno::ENOTTY), "{version}");
        }
        let (program, machine) = (&mut lab.program, &mut lab.machine);
        assert_eq!(lab.iommu.read(UserPtr(ARGUMENT), 8, program, machine), Err(Errno::EINVAL.into()));
        assert_eq!(lab.iommu.write(UserPtr(ARGUMENT), 8, program, machine), Err(Errno::EINVAL.into()));
    }
}

#[test]
fn info_at_each_size() {
    let mut lab = Lab::v2();
    for argsz in [0, 1, 15] {
        let (result, bytes) = lab.info(argsz);
        assert_eq!(result, Err(Errno::EINVAL));
        assert!(bytes[4..].iter().all(|byte| *byte == 0));
    }
    for argsz in [16, 17, 19, 20, 23, 24, 64, 119] {
        let (result, bytes) = lab.info(argsz);
        assert_eq!(result, Ok(()));
        assert_eq!((word(&bytes, 0), word(&bytes, 4), long(&bytes, 8)), (120, 3, 0x4020_1000));
        assert!(bytes[16..].iter().all(|byte| *byte == 0), "{argsz}");
    }
    for argsz in [120, 121, 1024, u32::MAX] {
        let (result, bytes) = lab.info(argsz);
        assert_eq!(result, Ok(()));
        assert_eq!((word(&bytes, 0), word(&bytes, 4), word(&bytes, 16)), (argsz, 3, 24));
        let chain = [(24, 0x1_0002, 56), (56, 0x1_0003, 72), (72, 0x1_0001, 0)];
        for (at, id, next) in chain {
            assert_eq!((word(&bytes, at), word(&bytes, at + 4)), (id, next));
        }
        assert!(bytes[120..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn info_writes_no_more_than_it_is_given() {
    let mut lab = Lab::v2();
    for (argsz, written) in [(16_u32, 16), (18, 18), (24, 24), (119, 24)] {
        lab.program.memory.0.fill(0xa5);
        lab.program.put(ARGUMENT, &argsz.to_ne_bytes());
        assert_eq!(lab.call_at(IOMMU_GET_INFO, ARGUMENT), Ok(()));
        let rest = &lab.program.memory.0[written..];
        assert!(rest.iter().all(|byte| *byte == 0xa5), "{argsz}");
    }
}

#[test]
fn info_at_bad_addresses() {
    let mut lab = Lab::v2();
    let end = BASE + lab.program.memory.0.len() as u64;
    assert_eq!(lab.call_at(IOMMU_GET_INFO, BAD), Err(Errno::EFAULT));
    assert_eq!(lab.call_at(IOMMU_GET_INFO, u64::MAX - 3), Err(Errno::EFAULT));
    let rows = [
        (15, 16, Err(Errno::EFAULT)),
        (16, 16, Ok(())),
        (20, 20, Ok(())),
        // The last bytes that are to be written aren't there.
        (20, 24, Err(Errno::EFAULT)),
        (24, 119, Ok(())),
        (119, 120, Err(Errno::EFAULT)),
        (120, 120, Ok(())),
    ];
    for (there, argsz, expected) in rows {
        let at = end - there;
        lab.program.put(at, &u32::to_ne_bytes(argsz));
        assert_eq!(lab.call_at(IOMMU_GET_INFO, at), expected, "{there} {argsz}");
    }
}

#[test]
fn available_mappings_and_ranges() {
    let mut lab = Lab::v1();
    let ranges = vec![(0, 0xfedf_ffff), (0xfef0_0000, 0x7f_ffff_ffff)];
    assert_eq!(lab.capabilities(), (65535, ranges.clone()));
    assert_eq!(lab.map(BOTH, BUFFER, 0, PAGE), Ok(()));
    assert_eq!(lab.capabilities(), (65534, ranges.clone()));
    assert_eq!(lab.unmap(0, 0, PAGE), (Ok(()), PAGE));
    assert_eq!(lab.capabilities(), (65535, ranges));
}

#[test]
fn info_without_groups() {
    let mut iommu = open(3, Parameters::default()).expect("the second version");
    let mut lab = Lab::v2();
    std::mem::swap(&mut iommu, &mut lab.iommu);
    let (result, bytes) = lab.info(1024);
    assert_eq!(result, Ok(()));
    assert_eq!(long(&bytes, 8), !0xfff);
    // There are no ranges to tell of.
    assert_eq!((word(&bytes, 56), word(&bytes, 60)), (0x1_0003, 0));
    Iommu::release(iommu, &mut lab.machine);
}

#[test]
fn page_sizes_are_what_all_have() {
    let mut lab = Lab::v2();
    let sizes = |lab: &mut Lab| long(&lab.info(16).1, 8);
    let small = Group { page_sizes: 0x1000, coherent: true, ..Group::default() };
    assert_eq!(lab.attach(2, small), Ok(()));
    assert_eq!(sizes(&mut lab), 0x1000);
    lab.detach(2);
    assert_eq!(sizes(&mut lab), 0x4020_1000);
    // Pages smaller than the processor's.
    assert_eq!(lab.attach(2, Group { page_sizes: 0x4020_1200, coherent: true, ..Group::default() }), Ok(()));
    assert_eq!(sizes(&mut lab), 0x4020_1000);
    lab.detach(2);
    // Larger ones only: what isn't whole pages of those is refused.
    assert_eq!(lab.attach(2, Group { page_sizes: 0x20_0000, coherent: true, ..Group::default() }), Ok(()));
    assert_eq!(sizes(&mut lab), 0x20_0000);
    assert_eq!(lab.map(BOTH, BUFFER, 0x1000, PAGE), Err(Errno::EINVAL));
    assert_eq!(lab.map(BOTH, BUFFER, 0x20_0000, 0x20_0000), Ok(()));
    assert_eq!(lab.unmap(0, 0x20_0000, 0x1000).0, Err(Errno::EINVAL));
    assert_eq!(long(&lab.info(1024).1, 40), 0x20_0000);
}

#[test]
fn words_of_warnings() {
    let limit = Warning::LimitExceeded(65536).to_string();
    assert_eq!(limit, "vfio_pin_pages_remote: RLIMIT_MEMLOCK (65536) exceeded");
    let remapping = Warning::NoInterruptRemapping.to_string();
    assert!(remapping.contains("support.  Use the module param \"allow_unsafe_interrupts\" to enable"));
    assert_eq!(Group::default().aperture, IovaRange { start: 0, last: 0x7f_ffff_ffff });
}
