//! Each ioctl but `SET_IRQS`: what the record doesn't show.

use ioctlab_abi::{Request, vfio as v};
use ioctlab_chardev::{Errno, FileId, MappingId, MmapRequest, Pages};
use ioctlab_vfio_pci::{Bar, BarKind, Done, MAX_IOEVENTFDS, Neighbour, Role};

use crate::bench::{ARGUMENT, Bench, CONFIG, E, E2, E3, GROUP, MEMORY, OTHER};
use crate::caller::Descriptor;
use crate::fake::{AREA, Fake, memory};
use crate::memory::BASE;

/// An argument of which only so many bytes are there.
fn short(bench: &mut Bench, request: Request, words: &[u32], there: usize) -> Result<Done, Errno> {
    let at = BASE + (MEMORY - there) as u64;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    bench.program.put(at, &bytes[..there.min(bytes.len())]);
    bench.call(request, at)
}

#[test]
fn arguments_are_read_and_written_as_far_as_they_go() {
    for (request, words, needs) in [
        (v::DEVICE_GET_INFO, &[16, 0, 0, 0][..], 16),
        (v::DEVICE_GET_INFO, &[17, 0, 0, 0, 0], 17),
        (v::DEVICE_GET_INFO, &[99, 0, 0, 0, 0, 0], 24),
        (v::DEVICE_GET_REGION_INFO, &[32, 0, 0, 0, 0, 0, 0, 0], 32),
        (v::DEVICE_GET_REGION_INFO, &[40, 0, 0, 0, 0, 0, 0, 0, 0, 0], 40),
        (v::DEVICE_GET_REGION_INFO, &[40, 0, 7, 0, 0, 0, 0, 0], 32),
        (v::DEVICE_GET_IRQ_INFO, &[16, 0, 0, 0], 16),
        (v::DEVICE_SET_IRQS, &[24, 0x24, 4, 0, 1, E as u32], 24),
        (v::DEVICE_IOEVENTFD, &[28, 4, 0, 0, 0, 0, E as u32], 28),
        (v::DEVICE_FEATURE, &[8, 3 | v::FEATURE_SET], 8),
        (v::DEVICE_FEATURE, &[16, 4 | v::FEATURE_SET, E as u32, 0], 16),
    ] {
        assert_eq!(
            short(&mut Bench::new(Fake::nvme()), request, words, needs),
            Ok(Done::Value(0)),
            "{request:?}"
        );
        let result = short(&mut Bench::new(Fake::nvme()), request, words, needs - 1);
        assert_eq!(result, Err(Errno::EFAULT), "{request:?}");
    }
}

#[test]
fn what_has_no_room_stays_as_it_was() {
    let mut bench = Bench::new(Fake::nvme());
    let (result, info) = bench.words(v::DEVICE_GET_INFO, [20, 1, 1, 1, 1, 1]);
    assert_eq!((result, info), (Ok(0), [20, 3, 9, 5, 0, 1]));
    // Without capabilities what says where they are is the program's.
    let (_, info) = bench.words(v::DEVICE_GET_REGION_INFO, [32, 0, 7, 99, 0, 0, 0, 0]);
    assert_eq!(info, [32, 3, 7, 99, 0x1000, 0, 0, 0x700]);
    let (_, info) = bench.words(v::DEVICE_GET_REGION_INFO, [39, 0, 0, 99, 0, 0, 0, 0, 7, 7]);
    assert_eq!(info, [40, 0xf, 0, 0, 0x4000, 0, 0, 0, 7, 7]);
    let (_, info) = bench.words(v::DEVICE_GET_REGION_INFO, [40, 0, 0, 99, 0, 0, 0, 0, 7, 7]);
    assert_eq!(info, [40, 0xf, 0, 32, 0x4000, 0, 0, 0, 0x1_0003, 0]);
}

#[test]
fn bars_are_mapped_in_whole_pages() {
    let mut fake = Fake::edu();
    fake.bars[0] = memory(0xfe80_0000, 0x3000, false);
    fake.bars[1] = memory(0xfe90_0000, 0x80, false);
    fake.bars[2] = memory(0xfe90_0080, 0x80, false);
    fake.bars[3] = Some(Bar {
        address: 0xfea0_0000,
        size: 0x1000,
        kind: BarKind::Memory { wide: false, prefetchable: true, area: None },
    });
    fake.bars[4] = memory(0, 0x2000, false);
    let mut bench = Bench::new(fake);
    for (region, flags, size) in
        [(0, 7, 0x3000), (1, 7, 0x80), (2, 3, 0x80), (3, 3, 0x1000), (4, 7, 0x2000), (5, 0, 0)]
    {
        let (_, info) = bench.words(v::DEVICE_GET_REGION_INFO, [32, 0, region, 0, 0, 0, 0, 0]);
        assert_eq!((info[1], info[4]), (flags, size), "{region}");
        let result = bench.mmap(u64::from(region) << 40, 4096, true);
        assert_eq!(result.is_ok(), flags == 7, "{region}");
        assert_eq!(bench.mmap(u64::from(region) << 40, 4096, false), Err(Errno::EINVAL));
    }
    for (page, pages, result) in
        [(0, 3, true), (1, 2, true), (1, 3, false), (3, 1, false), (u64::MAX >> 12, 1, false)]
    {
        let request = MmapRequest { mapping: MappingId(0), page, pages, shared: true, writable: false };
        let mapping = bench.device.mmap(&request, &bench.function);
        match mapping {
            Ok(mapping) => {
                assert_eq!((mapping.pages, result), (Pages::Area { area: AREA, first: page }, true))
            }
            Err(errno) => assert_eq!((errno, result), (Errno::EINVAL, false)),
        }
    }
}

#[test]
fn a_rom_that_is_not_valid_is_not_there() {
    let mut bench = Bench::new(Fake::e1000e());
    bench.function.rom.as_mut().unwrap().image = 0;
    let (_, info) = bench.words(v::DEVICE_GET_REGION_INFO, [32, 9, 6, 0, 9, 9, 0, 0]);
    assert_eq!(info, [32, 0, 6, 0, 0, 0, 0, 0x600]);
}

#[test]
fn eventfds_write_registers() {
    let mut bench = Bench::new(Fake::edu());
    let set = |bench: &mut Bench, size, flags, position: u64, data: u64, descriptor: i32| {
        let words = [
            size,
            flags,
            position as u32,
            (position >> 32) as u32,
            data as u32,
            (data >> 32) as u32,
            descriptor as u32,
        ];
        bench.words(v::DEVICE_IOEVENTFD, words).0
    };
    for (size, flags, position, descriptor, result) in [
        (27, 4, 4, E, Err(Errno::EINVAL)),
        (28, 0, 4, E, Err(Errno::EINVAL)),
        (28, 0x14, 4, E, Err(Errno::EINVAL)),
        (28, 8, 0, E, Err(Errno::EINVAL)),
        (28, 4, 4, -2, Err(Errno::EINVAL)),
        (28, 4, 0xf_fffd, E, Err(Errno::EINVAL)),
        (28, 4, 1 << 40, E, Err(Errno::EINVAL)),
        (28, 4, CONFIG, E, Err(Errno::EINVAL)),
        (28, 4, u64::MAX, E, Err(Errno::EINVAL)),
        (28, 4, 4, 99, Err(Errno::EBADF)),
        (28, 4, 4, OTHER, Err(Errno::EINVAL)),
        (28, 4, 0xf_fffc, E3, Ok(0)),
        (28, 4, 4, E, Ok(0)),
        (28, 2, 4, E, Ok(0)),
        (28, 2, 4, E, Err(Errno::EEXIST)),
        (28, 1, 4, -1, Err(Errno::ENODEV)),
        (28, 2, 4, -1, Ok(0)),
        (28, 2, 4, -1, Err(Errno::ENODEV)),
    ] {
        assert_eq!(
            set(&mut bench, size, flags, position, 0x1111, descriptor),
            result,
            "{flags} {position:#x}"
        );
    }
    bench.write_eventfd(E);
    assert_eq!(bench.mr(4), !0x1111);
    bench.mw(4, 0);
    bench.cw(4, 2, 0).unwrap();
    bench.write_eventfd(E);
    bench.cw(4, 2, 6).unwrap();
    assert_eq!(bench.mr(4), u32::MAX);
    for data in 0..MAX_IOEVENTFDS as u64 - 2 {
        assert_eq!(set(&mut bench, 28, 4, 8, data, E2), Ok(0));
    }
    assert_eq!(set(&mut bench, 28, 4, 8, 1 << 60, 99), Err(Errno::ENOSPC));
    bench.close();
    assert!(bench.program.events.is_empty() && bench.watched.is_empty());
    // Not in the MSI-X table, 0x2000 to 0x2410; the last byte before and the first after are no part of it.
    let mut bench = Bench::new(Fake::nvme());
    for (offset, result) in [
        (0x1ffc, Ok(0)),
        (0x1ffd, Err(Errno::EINVAL)),
        (0x2000, Err(Errno::EINVAL)),
        (0x240f, Err(Errno::EINVAL)),
        (0x2410, Ok(0)),
    ] {
        assert_eq!(set(&mut bench, 28, 4, offset, 0, E), result, "{offset:#x}");
    }
}

fn two() -> Vec<Neighbour> {
    let one = Neighbour { group: Some(3), segment: 1, bus: 2, devfn: 8, token: 41, is_bound: true };
    vec![one, Neighbour { devfn: 16, token: 42, ..one }]
}

#[test]
fn a_hot_reset_says_who_is_affected() {
    let mut bench = Bench::new(Fake::e1000e());
    bench.function.neighbours = Some(two());
    let devices = [3, 1 | 2 << 16 | 8 << 24, 3, 1 | 2 << 16 | 16 << 24];
    let mut call = |size| bench.words(v::DEVICE_GET_PCI_HOT_RESET_INFO, [size, 5, 5, 0, 0, 0, 0]);
    for size in [28, 300] {
        let [first, second, third, fourth] = devices;
        assert_eq!(call(size), (Ok(0), [size, 0, 2, first, second, third, fourth]));
    }
    // All of them or none.
    for size in [27, 20, 12] {
        assert_eq!(call(size), (Err(Errno::ENOSPC), [size, 0, 2, 0, 0, 0, 0]));
    }
    bench.function.neighbours.as_mut().unwrap()[1].group = None;
    let mut call = |size| bench.words(v::DEVICE_GET_PCI_HOT_RESET_INFO, [size, 5, 5, 0, 0, 0, 0]).0;
    assert_eq!((call(28), call(27)), (Err(Errno::EPERM), Err(Errno::ENOSPC)));
}

#[test]
fn a_hot_reset_needs_all_groups() {
    let mut bench = Bench::new(Fake::e1000e());
    bench.program.descriptors.insert(20, Descriptor::File(FileId(5)));
    bench.program.descriptors.insert(21, Descriptor::File(FileId(6)));
    bench.function.groups.push((FileId(5), 4));
    let mut call = |neighbours: &[Neighbour], size, flags, groups: &[i32]| {
        bench.function.neighbours = Some(neighbours.to_vec());
        let mut words = vec![size, flags, groups.len() as u32];
        words.extend(groups.iter().map(|group| *group as u32));
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bench.program.put(ARGUMENT, &bytes);
        bench.call(v::DEVICE_PCI_HOT_RESET, ARGUMENT)
    };
    let same = two();
    let mut apart = two();
    apart[1].group = Some(4);
    let mut unbound = two();
    unbound[1].is_bound = false;
    let all = || Ok(Done::HotReset(vec![41, 42]));
    assert_eq!(call(&same, 12, 0, &[GROUP]), all());
    assert_eq!(call(&same, 16, 0, &[GROUP, GROUP]), all());
    assert_eq!(call(&apart, 16, 0, &[GROUP, 20]), all());
    for (neighbours, size, flags, groups, errno) in [
        (&same, 11, 0, &[GROUP][..], Errno::EINVAL),
        (&same, 16, 1, &[GROUP], Errno::EINVAL),
        (&same, 16, 0, &[], Errno::EINVAL),
        (&same, 16, 0, &[GROUP, GROUP, GROUP], Errno::EINVAL),
        (&same, 16, 0, &[99], Errno::EBADF),
        (&same, 16, 0, &[-1], Errno::EBADF),
        (&same, 16, 0, &[OTHER], Errno::EINVAL),
        (&same, 16, 0, &[21], Errno::EINVAL),
        (&same, 16, 0, &[20], Errno::EINVAL),
        (&apart, 16, 0, &[GROUP], Errno::EINVAL),
        (&unbound, 16, 0, &[GROUP], Errno::EINVAL),
    ] {
        assert_eq!(call(neighbours, size, flags, groups), Err(errno), "{size} {flags} {groups:?}");
    }
}

#[test]
fn features_are_checked_in_order() {
    let mut bench = Bench::new(Fake::edu());
    let (get, set, probe) = (v::FEATURE_GET, v::FEATURE_SET, v::FEATURE_PROBE);
    for (size, flags, result) in [
        (7, 3 | set, Err(Errno::EINVAL)),
        (8, 3 | get | set, Err(Errno::EINVAL)),
        (8, 99 | get | set, Err(Errno::EINVAL)),
        (8, 99 | set, Err(Errno::ENOTTY)),
        (8, 3 | get | set | probe, Err(Errno::EINVAL)),
        (8, 99 | get | set | probe, Err(Errno::ENOTTY)),
        (8, 3, Err(Errno::EINVAL)),
        (8, 3 | probe, Ok(0)),
        (8, 4 | set | probe, Ok(0)),
        (8, 4 | set, Err(Errno::EINVAL)),
        (15, 4 | set, Err(Errno::EINVAL)),
        (8, set, Err(Errno::ENOTTY)),
        (8, 5 | set, Ok(0)),
    ] {
        assert_eq!(bench.words(v::DEVICE_FEATURE, [size, flags, E as u32, 0]).0, result, "{size} {flags:#x}");
    }
    for (descriptor, errno) in [(-1, Errno::EINVAL), (99, Errno::EBADF), (OTHER, Errno::EINVAL)] {
        let words = [16, 4 | set, descriptor as u32, 0];
        assert_eq!(bench.words(v::DEVICE_FEATURE, words).0, Err(errno));
    }
}

#[test]
fn low_power_ends_as_the_device_is_used() {
    let mut bench = Bench::new(Fake::edu());
    let set = v::FEATURE_SET;
    let feature =
        |bench: &mut Bench, number| bench.words(v::DEVICE_FEATURE, [16, number | set, E as u32, 0]).0;
    assert_eq!(feature(&mut bench, 3), Ok(0));
    assert_eq!(bench.function.reachable, Some(false));
    assert_eq!(feature(&mut bench, 3), Err(Errno::EINVAL));
    assert_eq!(feature(&mut bench, 4), Err(Errno::EINVAL));
    assert!(bench.program.events.is_empty());
    assert_eq!((bench.mr(0), bench.function.reachable), (0x0100_00ed, Some(false)));
    assert_eq!(feature(&mut bench, 5), Ok(0));
    assert_eq!(bench.function.reachable, Some(true));
    // With an eventfd, any call ends it.
    assert_eq!(feature(&mut bench, 4), Ok(0));
    assert_eq!((bench.function.reachable, bench.take(E)), (Some(false), 0));
    bench.cr(0, 4);
    assert_eq!((bench.function.reachable, bench.take(E)), (Some(true), 1));
    assert!(bench.program.events.is_empty());
    assert_eq!(feature(&mut bench, 4), Ok(0));
    bench.close();
    assert!(bench.program.events.is_empty() && bench.take(E) == 0);
}

/// Linux suspends the device, by way of D0.
#[test]
fn low_power_ends_d3() {
    let mut bench = Bench::new(Fake::nvme());
    let feature = |bench: &mut Bench, number| bench.words(v::DEVICE_FEATURE, [8, number | v::FEATURE_SET]).0;
    bench.cw(0x64, 2, 3).unwrap();
    assert_eq!(feature(&mut bench, 3), Ok(0));
    assert_eq!((bench.cr(0x64, 2), bench.mr(0), bench.function.reachable), (8, 0x0f01_07ff, Some(false)));
    assert_eq!(feature(&mut bench, 5), Ok(0));
    assert_eq!((bench.cr(0x64, 2), bench.function.reachable), (8, Some(true)));
}

#[test]
fn only_a_physical_function_has_a_token() {
    let mut bench = Bench::with_role(Fake::edu(), Role::Physical { token: [1; 16] });
    let probe = v::FEATURE_PROBE;
    for (flags, result) in [
        (v::FEATURE_GET | probe, Err(Errno::EINVAL)),
        (v::FEATURE_SET | probe, Ok(0)),
        (v::FEATURE_SET, Err(Errno::EINVAL)),
    ] {
        assert_eq!(bench.words(v::DEVICE_FEATURE, [23, flags]).0, result);
    }
    let set = v::FEATURE_SET;
    assert_eq!(bench.words(v::DEVICE_FEATURE, [24, set, 0, 0, 0, 0]).0, Ok(0));
    bench.device.add_virtual_user();
    let name = "a vf_token=00000000-0000-0000-0000-000000000000";
    assert_eq!(bench.device.matches(name.as_bytes(), "a", None), Ok(true));
    assert_eq!(bench.device.matches(b"a", "a", None), Err(Errno::EACCES));
}
