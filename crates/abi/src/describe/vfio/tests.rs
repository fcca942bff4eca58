//! VFIO's requests, as a trace prints them.

extern crate std;
use std::string::{String, ToString};
use std::vec::Vec;

use super::super::{Answered, Call, Ioctl};
use super::*;

const CONTAINER: &str = "/dev/vfio/vfio";
const GROUP: &str = "/dev/vfio/26";
const NOIOMMU: &str = "/dev/vfio/noiommu-0";
const DEVICE: &str = "anon_inode:[vfio-device]";

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn call(path: &str, request: Request) -> Call {
    Call { request, role: Role::of(path) }
}

fn asked(path: &str, request: Request, value: u64, bytes: &[u8]) -> String {
    Ioctl { call: call(path, request), value, bytes }.to_string()
}

fn answer(path: &str, request: Request, bytes: &[u8]) -> String {
    Answered { call: call(path, request), bytes }.to_string()
}

#[test]
fn roles_of_files() {
    let roles = [CONTAINER, GROUP, NOIOMMU, DEVICE, "/dev/xen/evtchn", "/dev/vfio", ""].map(Role::of);
    let (container, group, device) = (Role::VfioContainer, Role::VfioGroup, Role::VfioDevice);
    assert_eq!(roles, [container, group, group, device, Role::Other, Role::Other, Role::Other]);
}

#[test]
fn a_number_means_what_the_file_makes_of_it() {
    for (number, of_container, of_device) in [
        (112, "VFIO_IOMMU_GET_INFO", "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO"),
        (113, "VFIO_IOMMU_MAP_DMA", "VFIO_DEVICE_PCI_HOT_RESET"),
        (114, "VFIO_IOMMU_UNMAP_DMA", "VFIO_DEVICE_QUERY_GFX_PLANE"),
        (117, "VFIO_IOMMU_DIRTY_PAGES", "VFIO_DEVICE_FEATURE"),
    ] {
        let request = Request(0x3b00 | number);
        assert_eq!(call(CONTAINER, request).to_string(), of_container);
        assert_eq!(call(DEVICE, request).to_string(), of_device);
    }
    // One that this file doesn't know is called what it is elsewhere.
    assert_eq!(call(CONTAINER, vfio::DEVICE_RESET).to_string(), "VFIO_DEVICE_RESET");
    assert_eq!(call(GROUP, vfio::GET_API_VERSION).to_string(), "VFIO_GET_API_VERSION");
    assert_eq!(call(DEVICE, Request(0x3bff)).to_string(), "0x3bff");
}

#[test]
fn arguments() {
    let table: &[(&str, Request, u64, &[u8], &str)] = &[
        (CONTAINER, vfio::GET_API_VERSION, 7, b"", "VFIO_GET_API_VERSION"),
        (CONTAINER, vfio::CHECK_EXTENSION, 3, b"", "VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU"),
        (CONTAINER, vfio::SET_IOMMU, 1, b"", "VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU"),
        (CONTAINER, vfio::SET_IOMMU, 0, b"", "VFIO_SET_IOMMU, 0"),
        (CONTAINER, vfio::SET_IOMMU, u64::MAX, b"", "VFIO_SET_IOMMU, 18446744073709551615"),
        (
            CONTAINER,
            vfio::IOMMU_MAP_DMA,
            0,
            &words(&[32, 3, 0x1000, 0x7fff, 0, 1, 0x2000, 0]),
            "VFIO_IOMMU_MAP_DMA, {argsz=32, flags=READ|WRITE, vaddr=0x7fff00001000, iova=0x100000000, size=0x2000}",
        ),
        (
            CONTAINER,
            vfio::IOMMU_UNMAP_DMA,
            0,
            &words(&[24, 2, 0, 0, 0, 0]),
            "VFIO_IOMMU_UNMAP_DMA, {argsz=24, flags=ALL, iova=0x0, size=0x0}",
        ),
        (
            CONTAINER,
            vfio::IOMMU_DIRTY_PAGES,
            0,
            &words(&[8, 9]),
            "VFIO_IOMMU_DIRTY_PAGES, {argsz=8, flags=START|0x8}",
        ),
        (GROUP, vfio::GROUP_GET_STATUS, 0, &words(&[8, 0xdead]), "VFIO_GROUP_GET_STATUS, {argsz=8}"),
        (GROUP, vfio::GROUP_SET_CONTAINER, 0, &words(&[u32::MAX]), "VFIO_GROUP_SET_CONTAINER, {fd=-1}"),
        (GROUP, vfio::GROUP_UNSET_CONTAINER, 1, b"", "VFIO_GROUP_UNSET_CONTAINER"),
        (
            NOIOMMU,
            vfio::GROUP_GET_DEVICE_FD,
            0,
            b"0000:00:05.0\0rest",
            "VFIO_GROUP_GET_DEVICE_FD, \"0000:00:05.0\"",
        ),
        (GROUP, vfio::GROUP_GET_DEVICE_FD, 0, b"no\nend", "VFIO_GROUP_GET_DEVICE_FD, \"no\\nend\"..."),
        (
            DEVICE,
            vfio::DEVICE_GET_REGION_INFO,
            0,
            &words(&[32, 0xdead, 7, 5, 5, 5, 5, 5]),
            "VFIO_DEVICE_GET_REGION_INFO, {argsz=32, index=CONFIG}",
        ),
        (
            DEVICE,
            vfio::DEVICE_GET_IRQ_INFO,
            0,
            &words(&[16, 0, 5, 0]),
            "VFIO_DEVICE_GET_IRQ_INFO, {argsz=16, index=5}",
        ),
        // Only what the caller says there is.
        (
            DEVICE,
            vfio::DEVICE_GET_REGION_INFO,
            0,
            &words(&[8, 0, 7, 0]),
            "VFIO_DEVICE_GET_REGION_INFO, {argsz=8}",
        ),
        (DEVICE, vfio::DEVICE_GET_INFO, 0, &words(&[0, 0]), "VFIO_DEVICE_GET_INFO, {argsz=0}"),
        (DEVICE, vfio::DEVICE_GET_INFO, 0, &[1, 2], "VFIO_DEVICE_GET_INFO, {}"),
        (DEVICE, vfio::DEVICE_GET_INFO, 0x10, b"", "VFIO_DEVICE_GET_INFO, 0x10 (bad address)"),
        (DEVICE, vfio::DEVICE_RESET, 0, b"", "VFIO_DEVICE_RESET"),
        (
            DEVICE,
            vfio::DEVICE_SET_IRQS,
            0,
            &words(&[28, 0x24, 2, 0, 2, 7, u32::MAX, 99]),
            "VFIO_DEVICE_SET_IRQS, {argsz=28, flags=DATA_EVENTFD|ACTION_TRIGGER, index=MSIX, start=0, count=2, fds=[7, -1]}",
        ),
        (
            DEVICE,
            vfio::DEVICE_SET_IRQS,
            0,
            &words(&[24, 0x24, 2, 0, 2, 7, 8]),
            "VFIO_DEVICE_SET_IRQS, {argsz=24, flags=DATA_EVENTFD|ACTION_TRIGGER, index=MSIX, start=0, count=2, fds=[7, ...]}",
        ),
        (
            DEVICE,
            vfio::DEVICE_SET_IRQS,
            0,
            &words(&[20, 0x21, 0, 0, 0]),
            "VFIO_DEVICE_SET_IRQS, {argsz=20, flags=DATA_NONE|ACTION_TRIGGER, index=INTX, start=0, count=0}",
        ),
        (
            DEVICE,
            vfio::DEVICE_PCI_HOT_RESET,
            0,
            &words(&[16, 0, 1, 5]),
            "VFIO_DEVICE_PCI_HOT_RESET, {argsz=16, flags=0x0, count=1, fds=[5]}",
        ),
        (
            DEVICE,
            vfio::DEVICE_IOEVENTFD,
            0,
            &words(&[40, 4, 0x10, 0x700, 1, 0, 9, 0]),
            "VFIO_DEVICE_IOEVENTFD, {argsz=40, flags=32, offset=0x70000000010, data=0x1, fd=9}",
        ),
        (
            DEVICE,
            vfio::DEVICE_FEATURE,
            0,
            &words(&[8, 0x5_0001]),
            "VFIO_DEVICE_FEATURE, {argsz=8, flags=GET|PROBE|MIGRATION}",
        ),
        (DEVICE, vfio::DEVICE_FEATURE, 0, &words(&[8, 99]), "VFIO_DEVICE_FEATURE, {argsz=8, flags=99}"),
    ];
    for (path, request, value, bytes, expected) in table {
        assert_eq!(asked(path, *request, *value, bytes), *expected);
    }
}

#[test]
fn answers() {
    let table: &[(&str, Request, &[u8], &str)] = &[
        (CONTAINER, vfio::GET_API_VERSION, b"", ""),
        (
            CONTAINER,
            vfio::IOMMU_GET_INFO,
            &words(&[120, 3, 0x4020_1000, 0, 24, 0]),
            " => {argsz=120, flags=PGSIZES|CAPS, iova_pgsizes=0x40201000, cap_offset=24}",
        ),
        // Before Linux 5.8 there was no cap_offset.
        (
            CONTAINER,
            vfio::IOMMU_GET_INFO,
            &words(&[16, 1, 0x1000, 0, 24, 0]),
            " => {argsz=16, flags=PGSIZES, iova_pgsizes=0x1000}",
        ),
        (CONTAINER, vfio::IOMMU_MAP_DMA, &words(&[32, 3, 0, 0, 0, 0, 0, 0]), ""),
        (CONTAINER, vfio::IOMMU_UNMAP_DMA, &words(&[24, 0, 0, 0, 0x1000, 0]), " => {size=0x1000}"),
        (GROUP, vfio::GROUP_GET_STATUS, &words(&[8, 3]), " => {flags=VIABLE|CONTAINER_SET}"),
        (GROUP, vfio::GROUP_GET_STATUS, &words(&[8, 0]), " => {flags=0x0}"),
        (GROUP, vfio::GROUP_GET_STATUS, b"", ""),
        (GROUP, vfio::GROUP_GET_DEVICE_FD, b"0000:00:05.0", ""),
        (
            DEVICE,
            vfio::DEVICE_GET_INFO,
            &words(&[20, 3, 9, 5, 0, 0]),
            " => {argsz=20, flags=RESET|PCI, num_regions=9, num_irqs=5, cap_offset=0}",
        ),
        (
            DEVICE,
            vfio::DEVICE_GET_REGION_INFO,
            &words(&[32, 7, 1, 0, 0x10_0000, 0, 0, 0x100]),
            " => {argsz=32, flags=READ|WRITE|MMAP, cap_offset=0, size=0x100000, offset=0x10000000000}",
        ),
        (DEVICE, vfio::DEVICE_GET_IRQ_INFO, &words(&[16, 9, 1, 8]), " => {flags=EVENTFD|NORESIZE, count=8}"),
        (DEVICE, vfio::DEVICE_SET_IRQS, &words(&[20, 0x21, 0, 0, 0]), ""),
        (DEVICE, vfio::DEVICE_FEATURE, &words(&[8, 0x1_0001]), ""),
    ];
    for (path, request, bytes, expected) in table {
        assert_eq!(answer(path, *request, bytes), *expected);
    }
}

#[test]
fn every_request_has_a_name_and_room_for_its_argument() {
    for number in (100..=114).chain([116, 117]) {
        let request = Request(0x3b00 | number);
        let names = [CONTAINER, GROUP, DEVICE].map(|path| call(path, request).to_string());
        assert!(names.iter().all(|name| name.starts_with("VFIO_")), "{number}: {names:?}");
    }
    let sizes = [
        (CONTAINER, vfio::IOMMU_GET_INFO, 24),
        (CONTAINER, vfio::IOMMU_MAP_DMA, 32),
        (CONTAINER, vfio::IOMMU_UNMAP_DMA, 24),
        (GROUP, vfio::GROUP_GET_STATUS, 8),
        (DEVICE, vfio::DEVICE_GET_INFO, 24),
        (DEVICE, vfio::DEVICE_GET_REGION_INFO, 32),
        (DEVICE, vfio::DEVICE_GET_IRQ_INFO, 16),
        (DEVICE, vfio::DEVICE_IOEVENTFD, 32),
        (DEVICE, vfio::DEVICE_RESET, 0),
    ];
    for (path, request, size) in sizes {
        assert_eq!(call(path, request).argument_size(), size, "{}", call(path, request));
    }
}

/// Whatever is in memory prints, on one line.
#[test]
fn any_bytes_print() {
    for known in KNOWN {
        for length in 0..=known.argument_size() {
            for byte in [0, 1, 0x0a, 0xff] {
                let bytes = std::vec![byte; length];
                let call = Call { request: known.request, role: known.role };
                let printed = std::format!(
                    "{}{}",
                    Ioctl { call, value: u64::MAX, bytes: &bytes },
                    Answered { call, bytes: &bytes }
                );
                assert!(printed.starts_with(known.name) && !printed.contains(char::is_control), "{printed}");
            }
        }
    }
}
