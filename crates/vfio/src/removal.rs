//! How a driver gets a device back.

use crate::{Bus, DeviceId, Vfio};

/// How long a user has, each time, before a device is asked for again; in seconds.
pub const REQUEST_INTERVAL: u32 = 10;

/// Whether a driver has its device back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It has.
    Done,
    /// It must wait until nobody uses the device; [`Vfio::next_removed`] says when that is so.
    Waits,
}

/// A device that is in use while its driver wants it back.
#[derive(Default)]
pub(crate) struct Waiting {
    /// How often it was asked for.
    requests: u32,
    /// Seconds since it was asked for last.
    seconds: u32,
}

impl<M: Bus> Vfio<M> {
    /// A driver wants its device back (`vfio_del_group_dev`). Programs can't open it from now on; who uses it is asked for it, at
    /// once and then each [`REQUEST_INTERVAL`]. A device that isn't there is back already.
    pub fn del_group_dev(&mut self, id: DeviceId, machine: &mut M) -> Removal {
        let Some(device) = self.devices.get_mut(&id) else { return Removal::Done };
        if device.removal.is_some() {
            return Removal::Waits;
        }
        if let Some(group) = self.groups.get_mut(&device.minor) {
            group.devices.retain(|other| *other != id);
        }
        if !device.is_in_use() {
            self.finish_removal(id, machine);
            return Removal::Done;
        }
        device.removal = Some(Waiting { requests: 1, seconds: 0 });
        machine.request(id, 0);
        Removal::Waits
    }

    /// Whether a removal waits: then [`tick`](Self::tick) is to be called.
    pub fn has_waiting_removals(&self) -> bool {
        self.devices.values().any(|device| device.removal.is_some())
    }

    /// A second has passed.
    pub fn tick(&mut self, machine: &mut M) {
        for (id, device) in &mut self.devices {
            let Some(waiting) = &mut device.removal else { continue };
            waiting.seconds = waiting.seconds.saturating_add(1);
            if waiting.seconds >= REQUEST_INTERVAL {
                waiting.seconds = 0;
                machine.request(*id, waiting.requests);
                waiting.requests = waiting.requests.wrapping_add(1);
            }
        }
    }

    /// The next device whose removal had to wait, and is complete.
    pub fn next_removed(&mut self) -> Option<DeviceId> {
        self.removed.pop_front()
    }

    /// Completes a removal that waits, if nobody uses the device any more.
    pub(crate) fn remove_unused(&mut self, id: DeviceId, machine: &mut M) {
        if self.devices.get(&id).is_some_and(|device| device.removal.is_some() && !device.is_in_use()) {
            self.finish_removal(id, machine);
            self.removed.push_back(id);
        }
    }

    /// The device is gone. If it was its group's last, so is the node, and the group leaves its container; of an open file nothing can
    /// be done any more (`vfio_device_remove_group`).
    fn finish_removal(&mut self, id: DeviceId, machine: &mut M) {
        let Some(minor) = self.devices.remove(&id).map(|device| device.minor) else { return };
        let Some(group) = self.groups.get_mut(&minor) else { return };
        group.drivers = group.drivers.saturating_sub(1);
        if !group.is_there() {
            self.detach_container(minor, machine);
            self.drop_unused_group(minor);
        }
    }
}
