//! The device nodes of a Xen guest, and the files of its `/proc/xen`.

use ioctlab_kernel::{Behind, DeviceNumber, Node};

use crate::config;

/// Linux's major number of miscellaneous devices.
const MISC_MAJOR: u32 = 10;
/// Linux's major number of `/dev/null` and its like, and its minor number of `/dev/kmsg`.
const MEMORY_MAJOR: u32 = 1;
const KMSG_MINOR: u32 = 11;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Device {
    Evtchn,
    Gntdev,
    Gntalloc,
    Privcmd,
    Xenbus,
    /// `/proc/xen/capabilities`.
    Capabilities,
    /// `/proc/xen/xsd_port`, in domain 0 only.
    StorePort,
    /// `/proc/xen/xsd_kva`, in domain 0 only.
    StorePage,
    Kmsg,
}

/// All devices; one's number within the subsystem is its place here.
const DEVICES: [Device; 9] = [
    Device::Evtchn,
    Device::Gntdev,
    Device::Gntalloc,
    Device::Privcmd,
    Device::Xenbus,
    Device::Capabilities,
    Device::StorePort,
    Device::StorePage,
    Device::Kmsg,
];

impl Device {
    pub(super) fn from_number(number: u32) -> Option<Self> {
        DEVICES.get(number as usize).copied()
    }

    fn number(self) -> u32 {
        DEVICES.iter().position(|device| *device == self).unwrap_or(0) as u32
    }
}

/// The nodes that a host's guests have.
pub(super) fn nodes(config: &config::Xen, subsystem: usize) -> Vec<Node> {
    let node = |device: Device, path: &str, number, behind, permissions| Node {
        path: path.into(),
        number,
        behind,
        hidden: false,
        compat: false,
        permissions,
        subsystem,
        device: device.number(),
    };
    // Each takes the next lower minor number that is free.
    let mut minor = config.evtchn_minor;
    let mut misc = |device, path, behind| {
        let number = DeviceNumber { major: MISC_MAJOR, minor };
        minor = minor.checked_sub(1).unwrap_or(254);
        node(device, path, Some(number), behind, 0o600)
    };
    let mut nodes = vec![
        misc(Device::Evtchn, "/dev/xen/evtchn", Behind::Stream),
        misc(Device::Gntdev, "/dev/xen/gntdev", Behind::File),
        misc(Device::Gntalloc, "/dev/xen/gntalloc", Behind::File),
        misc(Device::Privcmd, "/dev/xen/privcmd", Behind::File),
        misc(Device::Xenbus, "/dev/xen/xenbus", Behind::Stream),
    ];
    nodes.extend([
        node(Device::Privcmd, "/proc/xen/privcmd", None, Behind::File, 0o600),
        node(Device::Xenbus, "/proc/xen/xenbus", None, Behind::Stream, 0o600),
        node(Device::Capabilities, "/proc/xen/capabilities", None, Behind::File, 0o444),
        node(Device::StorePort, "/proc/xen/xsd_port", None, Behind::File, 0o400),
        node(Device::StorePage, "/proc/xen/xsd_kva", None, Behind::File, 0o600),
    ]);
    if config.console_to_ring {
        let number = DeviceNumber { major: MEMORY_MAJOR, minor: KMSG_MINOR };
        nodes.push(node(Device::Kmsg, "/dev/kmsg", Some(number), Behind::Stream, 0o644));
    }
    nodes
}
