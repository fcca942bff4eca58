//! Devices come and go, and are reset.

use ioctlab_abi::vfio::{
    DEVICE_GET_PCI_HOT_RESET_INFO, DEVICE_GET_REGION_INFO, DEVICE_IOEVENTFD, DEVICE_PCI_HOT_RESET,
    DIRTY_PAGES_START, DMA_UNMAP_GET_DIRTY_BITMAP, GROUP_UNSET_CONTAINER, IOMMU_DIRTY_PAGES, IOMMU_UNMAP_DMA,
    NOIOMMU_IOMMU, TYPE1V2_IOMMU,
};
use ioctlab_kernel::{Errno, Reply, Stop, UserPtr};
use ioctlab_lab::VfioRequest;

use crate::bench::{ALL, BUFFER, Bench, COMMAND, END, IOVA, problem};

const FIRST: &str = "0000:00:05.0";
const SECOND: &str = "0000:00:06.0";

/// A lab file with test devices: addresses, and lines of theirs.
fn file(devices: &[(&str, &str)]) -> String {
    let device = |(address, lines): &(&str, &str)| {
        let model = if lines.contains("model") { "" } else { "model = \"test\"\n" };
        format!("[[vfio.device]]\naddress = \"{address}\"\n{model}{lines}\n")
    };
    let devices: String = devices.iter().map(device).collect();
    format!("[vfio]\nnoiommu = true\n{devices}")
}

fn two_in_a_group() -> Bench {
    Bench::new(&file(&[(FIRST, "group = 1"), (SECOND, "group = 1")]))
}

fn replug(bench: &Bench, address: &str) {
    bench.act(VfioRequest::Plug(address.into())).unwrap();
    bench.act(VfioRequest::Bind(address.into(), "vfio-pci".into())).unwrap();
}

#[test]
fn a_device_that_is_put_into_a_group_in_use_reaches_what_the_group_does() {
    let mut bench = two_in_a_group();
    bench.act(VfioRequest::Unplug(SECOND.into())).unwrap();
    let (container, group) = bench.up("/dev/vfio/1", TYPE1V2_IOMMU);
    bench.map(container);
    replug(&bench, SECOND);
    let device = bench.device(group, SECOND).unwrap();
    assert!(bench.fill(device, 0x5a));
}

#[test]
fn a_device_that_is_pulled_out_of_a_group_in_use_reaches_nothing_when_it_is_back() {
    let mut bench = two_in_a_group();
    let (container, group) = bench.up("/dev/vfio/1", TYPE1V2_IOMMU);
    bench.map(container);
    bench.act(VfioRequest::Unplug(SECOND.into())).unwrap();
    bench.ioctl(group, GROUP_UNSET_CONTAINER, 0).unwrap();
    replug(&bench, SECOND);
    bench.set_container(group, container).unwrap();
    bench.ioctl(container, ioctlab_abi::vfio::SET_IOMMU, TYPE1V2_IOMMU).unwrap();
    let device = bench.device(group, SECOND).unwrap();
    assert!(!bench.fill(device, 0x5a));
    bench.map(container);
    assert!(bench.fill(device, 0x5b));
}

#[test]
fn a_native_driver_doesnt_get_what_is_put_into_a_group_in_use() {
    let mut bench = Bench::new(&file(&[(FIRST, "group = 1"), (SECOND, "group = 1\ndriver = \"e1000\"")]));
    bench.act(VfioRequest::Unplug(SECOND.into())).unwrap();
    bench.up("/dev/vfio/1", TYPE1V2_IOMMU);
    assert_eq!(bench.act(VfioRequest::Plug(SECOND.into())), Ok(String::new()));
    let list = bench.act(VfioRequest::List).unwrap();
    assert!(list.contains(&format!("{SECOND} 1af4:10f0 group 1, no driver\n")), "{list}");
    // The same by sysfs, for all that were pulled.
    bench.act(VfioRequest::Unplug(SECOND.into())).unwrap();
    assert_eq!(bench.store("/sys/bus/pci/rescan", "1\n"), Ok(2));
    let list = bench.act(VfioRequest::List).unwrap();
    assert!(!list.contains("unplugged"), "{list}");
}

#[test]
fn groups_that_are_made_up_have_numbers_of_their_own() {
    let text = file(&[(FIRST, "group = \"none\""), (SECOND, ""), ("0000:00:07.0", "group = \"none\"")]);
    assert_eq!(problem(&text), None);
    let mut bench = Bench::new(&text);
    let mut names: Vec<String> = bench.kernel.nodes().iter().map(|node| node.path.clone()).collect();
    names.retain(|name| name.starts_with("/dev/vfio/") && name != "/dev/vfio/vfio");
    assert_eq!(names, ["/dev/vfio/0", "/dev/vfio/noiommu-1", "/dev/vfio/noiommu-2"]);
    let (_, group) = bench.up("/dev/vfio/noiommu-1", NOIOMMU_IOMMU);
    assert!(bench.device(group, FIRST).is_ok());
    let (_, group) = bench.up("/dev/vfio/0", TYPE1V2_IOMMU);
    assert!(bench.device(group, SECOND).is_ok());
}

#[test]
fn devices_without_an_iommu_are_reset_together() {
    let (first, second) = ("0000:01:00.0", "0000:01:00.1");
    let mut bench = Bench::new(&file(&[(first, "group = \"none\""), (second, "group = \"none\"")]));
    let (_, group) = bench.up("/dev/vfio/noiommu-0", NOIOMMU_IOMMU);
    let (_, other) = bench.up("/dev/vfio/noiommu-1", NOIOMMU_IOMMU);
    let device = bench.device(group, first).unwrap();
    let mut words = [28, 0, 0, 9, 9, 9, 9];
    assert_eq!(bench.words(device, DEVICE_GET_PCI_HOT_RESET_INFO, &mut words), Ok(0));
    assert_eq!(words, [28, 0, 2, 0, 0x0001_0000, 1, 0x0101_0000]);
    let mut words = [20, 0, 2, group as u32, other as u32];
    assert_eq!(bench.words(device, DEVICE_PCI_HOT_RESET, &mut words), Ok(0));
}

/// `edu` can't be reset by itself: behind a bridge it is with the last of its bus that is closed.
#[test]
fn a_bus_is_reset_when_nobody_uses_it() {
    let edu = "model = \"edu\"\ngroup = 1";
    let (first, second) = ("0000:01:01.0", "0000:01:02.0");
    let mut bench = Bench::new(&file(&[(first, edu), (second, edu), (FIRST, "model = \"edu\"")]));
    // An interrupt that nobody acknowledges is pending until the reset.
    let open = |bench: &mut Bench, group, address| {
        let device = bench.device(group, address).unwrap();
        let status = bench.pread(device, COMMAND + 2, 1).unwrap();
        (device, status[0] & 8 != 0)
    };
    let interrupt = |bench: &mut Bench, device| bench.set_register(device, 0x60, 1);
    let (_, group) = bench.up("/dev/vfio/1", TYPE1V2_IOMMU);
    let ((one, _), (two, _)) = (open(&mut bench, group, first), open(&mut bench, group, second));
    interrupt(&mut bench, one);
    interrupt(&mut bench, two);
    bench.close(one);
    let (one, pending) = open(&mut bench, group, first);
    assert!(pending, "the other one was open");
    bench.close(one);
    bench.close(two);
    let (one, two) = (open(&mut bench, group, first), open(&mut bench, group, second));
    assert_eq!((one.1, two.1), (false, false));
    // One that isn't VFIO's keeps the others from it.
    interrupt(&mut bench, one.0);
    bench.close(two.0);
    bench.act(VfioRequest::Unbind(second.into())).unwrap();
    bench.close(one.0);
    assert!(open(&mut bench, group, first).1);
    // On the root bus there is no such reset.
    let (_, group) = bench.up("/dev/vfio/0", TYPE1V2_IOMMU);
    let (device, _) = open(&mut bench, group, FIRST);
    interrupt(&mut bench, device);
    bench.close(device);
    assert!(open(&mut bench, group, FIRST).1);
}

/// A program that signals faster than the device writes doesn't make writes pile up.
#[test]
fn an_eventfd_has_one_write_waiting_at_most() {
    let mut bench = Bench::new(&file(&[(FIRST, "")]));
    let (_, group) = bench.up("/dev/vfio/0", TYPE1V2_IOMMU);
    let device = bench.device(group, FIRST).unwrap();
    bench.pwrite(device, COMMAND, &ALL.to_le_bytes()).unwrap();
    let (eventfd, source) = (bench.eventfd(), 0x20);
    bench.words(device, DEVICE_IOEVENTFD, &mut [32, 4, source, 0, 7, 0, eventfd as u32, 0]).unwrap();
    let event = bench.watched[0];
    let work = bench.kernel.signalled(event).expect("a write");
    assert!(bench.kernel.signalled(event).is_none(), "it is still to be done");
    assert_eq!(bench.work(work), Ok(4));
    assert_eq!(bench.register(device, source.into()), 7);
    // What comes after it has begun is another one.
    let mut work = bench.kernel.signalled(event).expect("a write");
    work.run();
    assert!(bench.kernel.signalled(event).is_some());
    assert_eq!(bench.words(device, DEVICE_IOEVENTFD, &mut [32, 4, source, 0, 7, 0, u32::MAX, 0]), Ok(0));
    assert!(bench.kernel.signalled(event).is_none());
}

#[test]
fn what_cant_be_opened_leaves_the_rest_as_it_was() {
    let mut bench = Bench::new(&file(&[(FIRST, "")]));
    let group = bench.open("/dev/vfio/0").unwrap();
    assert_eq!(bench.device(group, FIRST), Err(Errno::EINVAL));
    assert_eq!(bench.open("/dev/vfio/0"), Err(Errno::EBUSY));
    bench.close(group);
    assert!(bench.open("/dev/vfio/0").is_ok());
}

/// A ROM without a valid image is none to programs.
#[test]
fn a_rom_is_as_large_as_its_images() {
    let directory = std::env::temp_dir().join(format!("ioctlab-rom-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let dump = "\
00:05.0 Unassigned class [00ff]: Device 1234:11e8 (rev 10)
00: 34 12 e8 11 03 01 00 00 10 00 ff 00 00 00 00 00
10: 00 00 80 fe 00 00 00 00 00 00 00 00 00 00 00 00
20: 00 00 00 00 00 00 00 00 00 00 00 00 f4 1a 00 11
30: 00 00 90 fe 00 00 00 00 00 00 00 00 0b 01 00 00
";
    let path = directory.join("dump");
    std::fs::write(&path, dump).unwrap();
    // An image of 512 bytes, whose data structure is at 0x1c.
    let image =
        format!("55 aa {}1c 00 00 00 50 43 49 52 {}01 00 00 00 00 80", "00 ".repeat(22), "00 ".repeat(12));
    let rom = 6 << 40;
    for (contents, flags_and_size, read) in
        [(image.as_str(), (1, 2048), Ok(vec![0, 0, 0xff, 0xff])), ("55 aa", (0, 0), Err(Errno::ENOMEM))]
    {
        let lines = format!(
            "model = \"clone\"\nlspci = {path:?}\nbars = [4096]\nrom = 2048\ncontents = {{ rom = \"{contents}\" }}"
        );
        let mut bench = Bench::new(&file(&[(FIRST, &lines)]));
        let (_, group) = bench.up("/dev/vfio/0", TYPE1V2_IOMMU);
        let device = bench.device(group, FIRST).unwrap();
        let mut info = [32, 0, 6, 0, 0, 0, 0, 0];
        bench.words(device, DEVICE_GET_REGION_INFO, &mut info).unwrap();
        assert_eq!((info[1], info[4]), flags_and_size);
        assert_eq!(bench.pread(device, rom | 510, 4), read);
    }
    std::fs::remove_dir_all(directory).unwrap();
}

/// `UNMAP_DMA` with a bitmap that can't be written all has unmapped something by then: its answer, too, comes when no device moves
/// data there any more.
#[test]
fn a_failed_unmap_waits_for_devices_too() {
    let mut bench = Bench::new(&file(&[(FIRST, "")]));
    let (container, _) = bench.up("/dev/vfio/0", TYPE1V2_IOMMU);
    let far = IOVA + (64 << 12);
    bench.map_at(container, IOVA, 4096);
    bench.map_at(container, far, 4096);
    bench.words(container, IOMMU_DIRTY_PAGES, &mut [8, DIRTY_PAGES_START]).unwrap();
    // The bitmap's second word is past the end of memory.
    let bitmap = END - 8;
    let halves = |long: u64| [long as u32, (long >> 32) as u32];
    let numbers = [IOVA, far - IOVA + 4096, 4096, 16, bitmap].map(halves);
    let words = [&[48, DMA_UNMAP_GET_DIRTY_BITMAP], numbers.as_flattened()].concat();
    let reply = bench.reply(container, IOMMU_UNMAP_DMA, &words);
    let Ok(Reply::Work(work)) = reply else { panic!("it waits for nothing") };
    assert_eq!(bench.work(work), Err(Errno::EFAULT));
    let reply = bench.reply(container, IOMMU_UNMAP_DMA, &words);
    assert!(matches!(reply, Err(Stop::Fail(Errno::EFAULT))), "nothing is left to be unmapped before it");
}

/// Whoever closes a device while a call is at it doesn't get rid of it before the call is over, and nothing of the call is left
/// then.
#[test]
fn a_call_at_the_device_keeps_it_open() {
    let mut bench = Bench::new(&file(&[(FIRST, "")]));
    let (container, group) = bench.up("/dev/vfio/0", TYPE1V2_IOMMU);
    let device = bench.device(group, FIRST).unwrap();
    let file = bench.file(device);
    let raise = 0x18;
    bench.program.put(BUFFER, &[0; 4]);
    let write = bench.kernel.write_at(file, Some(raise), UserPtr(BUFFER), 4, &mut bench.program);
    let Ok(Reply::Work(mut work)) = write else { panic!("registers aren't written at once") };
    bench.kernel.hold(file);
    work.run();
    for number in [container, group, device] {
        bench.close(number);
    }
    assert_eq!(bench.open("/dev/vfio/0"), Err(Errno::EBUSY));
    assert_eq!(work.finish(&mut bench.program), Ok(4));
    bench.kernel.let_go(file);
    let (_, group) = bench.up("/dev/vfio/0", TYPE1V2_IOMMU);
    let device = bench.device(group, FIRST).unwrap();
    assert_eq!(bench.pread(device, COMMAND + 2, 1), Ok(vec![0x10]), "no interrupt is pending");
}
