//! Ports that others of the guest's drivers have a use for: they aren't closed meanwhile (`evtchn_get`, `evtchn_put`).

use crate::{Hypervisor, Port, sorted::SortedMap};
use ioctlab_chardev::Errno;

/// The most references to a port, of which its being bound is one (`SHRT_MAX`).
const MOST_REFERENCES: u32 = 0x7fff;

/// A port that is held.
#[derive(Clone, Copy, Debug)]
struct Hold {
    /// How many times.
    count: u32,
    /// Its last owner has unbound it: it is closed when it is held no longer.
    orphaned: bool,
}

/// The ports that are held.
#[derive(Debug)]
pub(crate) struct Holds(SortedMap<Port, Hold>);

impl Holds {
    pub(crate) const fn new() -> Self {
        Self(SortedMap::new())
    }

    /// Holds a port once more, if that is allowed: a file has it bound, or it is held already.
    ///
    /// # Errors
    /// `EINVAL` if neither, or for the 32,768th reference; `ENOMEM`.
    pub(crate) fn hold(&mut self, port: Port, is_bound: bool) -> Result<(), Errno> {
        if let Some(hold) = self.0.get_mut(port) {
            if hold.count.saturating_add(u32::from(is_bound)) >= MOST_REFERENCES {
                return Err(Errno::EINVAL);
            }
            hold.count = hold.count.saturating_add(1);
            return Ok(());
        }
        if !is_bound {
            return Err(Errno::EINVAL);
        }
        self.0.reserve_one()?;
        self.0.insert(port, Hold { count: 1, orphaned: false });
        Ok(())
    }

    /// A file has become a port's owner: the port isn't closed by letting it go.
    pub(crate) fn adopt(&mut self, port: Port) {
        if let Some(hold) = self.0.get_mut(port) {
            hold.orphaned = false;
        }
    }

    /// Undoes one hold; true if that closed the port.
    pub(crate) fn let_go(&mut self, port: Port, xen: &mut dyn Hypervisor) -> bool {
        let Some(hold) = self.0.get_mut(port) else { return false };
        hold.count = hold.count.saturating_sub(1);
        if hold.count > 0 {
            return false;
        }
        let orphaned = hold.orphaned;
        self.0.remove(port);
        if orphaned {
            xen.close(port);
        }
        orphaned
    }

    /// Closes a port, at once or when it is held no longer.
    pub(crate) fn close(&mut self, port: Port, xen: &mut dyn Hypervisor) {
        match self.0.get_mut(port) {
            Some(hold) => hold.orphaned = true,
            None => xen.close(port),
        }
    }
}
