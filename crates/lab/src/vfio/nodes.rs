//! The nodes in `/dev/vfio`.

use ioctlab_kernel::{Behind, DeviceNumber, Node};
use ioctlab_vfio::DeviceId;

/// What `/proc/PID/fd` shows of an open device.
pub(super) const ANONYMOUS: &str = "anon_inode:[vfio-device]";

/// Linux's major number of miscellaneous devices, and the minor number of `/dev/vfio/vfio` (`VFIO_MINOR`).
const MISC_MAJOR: u32 = 10;
const CONTAINER_MINOR: u32 = 196;
/// The major number of groups' nodes: one that Linux gives to whoever asks first.
pub(super) const GROUP_MAJOR: u32 = 242;

/// Device numbers within the subsystem: the container's, then groups' by their places, then devices'.
const FIRST_GROUP: u32 = 1;
const FIRST_DEVICE: u32 = 1 << 24;

/// What a node, or a file that has none, is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Device {
    Container,
    /// The group at this place of the machine's list of them.
    Group(u32),
    Open(DeviceId),
}

impl Device {
    pub(super) fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Container,
            FIRST_GROUP..FIRST_DEVICE => Self::Group(number - FIRST_GROUP),
            _ => Self::Open(DeviceId(number - FIRST_DEVICE)),
        }
    }

    pub(super) fn number(self) -> u32 {
        match self {
            Self::Container => 0,
            Self::Group(place) => FIRST_GROUP + place,
            Self::Open(DeviceId(id)) => FIRST_DEVICE + id,
        }
    }
}

/// The nodes of a machine whose groups have these names; those that aren't there yet are hidden.
pub(super) fn nodes<'a>(groups: impl Iterator<Item = (&'a str, bool)>, subsystem: usize) -> Vec<Node> {
    let node = |path: String, device: Device, number, behind, permissions, hidden| Node {
        path,
        number,
        behind,
        hidden,
        compat: true,
        permissions,
        subsystem,
        device: device.number(),
    };
    let container = DeviceNumber { major: MISC_MAJOR, minor: CONTAINER_MINOR };
    let mut nodes = vec![
        node("/dev/vfio/vfio".into(), Device::Container, Some(container), Behind::Addressed, 0o666, false),
        node(ANONYMOUS.into(), Device::Open(DeviceId(0)), None, Behind::Addressed, 0o600, false),
    ];
    for (place, (name, is_there)) in groups.enumerate() {
        let place = place as u32;
        let number = DeviceNumber { major: GROUP_MAJOR, minor: place };
        let path = format!("/dev/vfio/{name}");
        nodes.push(node(path, Device::Group(place), Some(number), Behind::File, 0o600, !is_there));
    }
    nodes
}
