//! The transcripts' group `g`: a group's life, and what may be closed in which order.

use ioctlab_abi::vfio::{
    GET_API_VERSION, GROUP_GET_DEVICE_FD, GROUP_GET_STATUS, GROUP_SET_CONTAINER, GROUP_UNSET_CONTAINER,
};

use crate::memory::BAD;
use crate::oracle::{Replay, UNKNOWN, f01};

const DEVICE: &str = "0000:00:05.0";

pub(crate) fn group(r: &mut Replay) {
    let c = r.bench.open_container();
    let g = r.bench.open_group(1);
    r.run("g.open", f01(g));
    let g = g.unwrap();
    let again = r.bench.open_group(1);
    r.run("g.open-twice", f01(again));
    before_a_container(r, g);
    containers(r, c, g);
    let d = devices(r, c, g);
    after_a_device(r, c, g, d);
    let g = container_first(r, c, g);
    group_first(r, g);
}

fn before_a_container(r: &mut Replay, g: i32) {
    r.status("g.status", g, 8);
    for argsz in [0, 4, 7, 100] {
        r.status(&format!("g.status-argsz-{argsz}"), g, argsz);
    }
    r.ioctl("g.status-badptr", g, GROUP_GET_STATUS, BAD);
    r.ioctl("g.unknown", g, UNKNOWN, 0);
    r.ioctl("g.api-on-group", g, GET_API_VERSION, 0);
    r.ioctl("g.unset-before-set", g, GROUP_UNSET_CONTAINER, 0);
    let device = r.bench.get_device(g, DEVICE);
    r.run("g.devfd-before-set", f01(device));
    r.ioctl("g.devfd-badptr", g, GROUP_GET_DEVICE_FD, BAD);
    let device = r.bench.get_device(g, "nope");
    r.run("g.devfd-wrong-before-set", f01(device));
    r.ioctl("g.set-badptr", g, GROUP_SET_CONTAINER, BAD);
    r.set("g.set-neg1", g, -1);
    r.set("g.set-neg5", g, -5);
    r.set("g.set-9999", g, 9999);
    for name in ["g.set-devnull", "g.set-eventfd"] {
        let other = r.bench.open_other();
        r.set(name, g, other);
        r.bench.close(other);
    }
    r.set("g.set-self", g, g);
    let read_only = r.bench.open_container();
    r.set("g.set-rdonly-container", g, read_only);
    r.unset("g.unset-rdonly", g);
    r.bench.close(read_only);
}

fn containers(r: &mut Replay, c: i32, g: i32) {
    r.set("g.set", g, c);
    r.status("g.status-set", g, 8);
    r.set("g.set-again", g, c);
    let other = r.bench.open_container();
    r.set("g.set-other", g, other);
    r.bench.close(other);
    let device = r.bench.get_device(g, DEVICE);
    r.run("g.devfd-before-iommu", f01(device));
    extensions(r, c, "noiommu");
    for (name, kind) in [("0", 0), ("99", 99), ("2-spapr", 2), ("4-cc", 4), ("8-noiommu", 8)] {
        r.set_iommu(&format!("g.set-iommu-{name}"), c, kind);
    }
    r.unset("g.unset-before-iommu", g);
    r.status("g.status-unset", g, 8);
    r.set("g.reset-container", g, c);
    for (name, kind) in [("v2", 3), ("twice", 3), ("other", 1)] {
        r.set_iommu(&format!("g.set-iommu-{name}"), c, kind);
    }
    extensions(r, c, "v2");
    r.extension("g.ext-v2-99", c, 99);
    r.ioctl("g.unknown-c-iommu-set", c, UNKNOWN, 0);
}

fn extensions(r: &mut Replay, c: i32, when: &str) {
    for extension in 0..=10 {
        r.extension(&format!("g.ext-{when}-{extension}"), c, extension);
    }
}

/// Returns the device's descriptor; -1 if there is none.
fn devices(r: &mut Replay, c: i32, g: i32) -> i32 {
    for (name, device) in [
        ("wrong", "0000:ff:1f.7"),
        ("empty", ""),
        ("4095", &"a".repeat(4095)),
        ("prefix", "0000:00"),
        ("trailing-space", &format!("{DEVICE} ")),
        ("trailing-xyz", &format!("{DEVICE}xyz")),
        ("bad-token", &format!("{DEVICE} vf_token=1")),
        ("token-not-vf", &format!("{DEVICE} vf_token=2ab74924-c335-45f4-9b16-8569e5b08258")),
        ("short", "0000:00:05"),
    ] {
        let number = r.bench.get_device(g, device);
        r.run(&format!("g.devfd-{name}"), f01(number));
        r.bench.close(number.unwrap_or(-1));
    }
    let device = r.bench.get_device(g, DEVICE);
    r.run("g.devfd", f01(device));
    if device.is_ok() {
        let second = r.bench.get_device(g, DEVICE);
        r.run("g.devfd-second", f01(second));
        r.bench.close(second.unwrap_or(-1));
    }
    r.unset("g.unset-dev-open", g);
    r.set("g.set-dev-open", g, c);
    device.unwrap_or(-1)
}

fn after_a_device(r: &mut Replay, c: i32, g: i32, device: i32) {
    r.bench.close(device);
    r.unset("g.unset-dev-closed", g);
    r.status("g.status-after-unset", g, 8);
    let mapped = r.map(c, 0);
    r.run("g.map-after-unset", mapped);
    r.extension("g.ext-after-unset-3", c, 3);
    r.set("g.set-again-v1", g, c);
    r.set_iommu("g.set-iommu-v1", c, 1);
    extensions(r, c, "v1");
}

/// Returns the group's new descriptor.
fn container_first(r: &mut Replay, c: i32, g: i32) -> i32 {
    let device = r.device(g, DEVICE);
    r.bench.close(c);
    r.device_info("g.o1-container-closed-devinfo", device);
    r.status("g.o1-status", g, 8);
    r.bench.close(g);
    r.device_info("g.o1-group-closed-devinfo", device);
    let again = r.bench.open_group(1);
    r.run("g.o1-reopen-group-dev-open", f01(again));
    r.bench.close(again.unwrap_or(-1));
    r.bench.close(device);
    let g = r.bench.open_group(1);
    r.run("g.o1-reopen-all-closed", f01(g));
    let g = g.unwrap_or(-1);
    r.status("g.o1-status-reopened", g, 8);
    g
}

fn group_first(r: &mut Replay, g: i32) {
    let c = r.bench.open_container();
    let _ = r.bench.set_container(g, c);
    let _ = r.bench.set_iommu(c, 3);
    let device = r.device(g, DEVICE);
    r.bench.close(g);
    r.device_info("g.o2-group-first-devinfo", device);
    let mapped = r.map(c, 0x10_0000);
    r.run("g.o2-map-ok", mapped);
    // The probe doesn't close this one.
    let forgotten = r.bench.open_group(1);
    r.run("g.o2-reopen-busy", f01(forgotten));
    r.bench.close(device);
    let g = r.bench.open_group(1);
    r.run("g.o2-reopen-after-dev-close", f01(g));
    let g = g.unwrap_or(-1);
    r.status("g.o2-status", g, 8);
    r.set_iommu("g.o2-iommu-set-on-empty-container", c, 3);
    let mapped = r.map(c, 0x20_0000);
    r.run("g.o2-map-after", mapped);
    let g = if g < 0 { r.open(1) } else { g };

    let _ = r.bench.set_container(g, c);
    let _ = r.bench.set_iommu(c, 3);
    let _ = r.map(c, 0x30_0000);
    let _ = r.bench.unset_container(g);
    r.set("g.o3-reset", g, c);
    r.set_iommu("g.o3-iommu", c, 3);
    r.unmap("g.o3-old-map-gone", c, 0x30_0000);
    let device = r.device(g, DEVICE);
    for number in [device, g, c, forgotten.unwrap_or(-1)] {
        r.bench.close(number);
    }
}
