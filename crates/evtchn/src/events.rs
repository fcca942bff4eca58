//! The guest kernel's event-channel core that the driver stands on (Linux's `drivers/xen/events`): which files handle
//! which port, which ports await their end of interrupt, and how many channels there are.

use crate::{ChannelAbi, Hypervisor, Port, holds::Holds, sorted::SortedMap};
use alloc::vec::Vec;
use ioctlab_chardev::{Errno, FileId};

/// Whether a binding's end closes the hypervisor's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// The file had the hypervisor make the port; it is closed when the last such file unbinds it.
    Owned,
    /// The port was there before (`BIND_STATIC`), and stays.
    Static,
}

/// A file's handler of a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handler {
    ownership: Ownership,
    /// Cleared when an event is delivered, set when the port is written back.
    enabled: bool,
    /// An event came while disabled. Only a shared port can have one: for others the mask keeps it in the hypervisor.
    missed: bool,
}

/// What is known of a port that has a handler, or several.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Channel {
    /// Masked since an event was delivered, until one of its handlers says that it is done with it ("late EOI").
    /// Then at least one handler is disabled, so that somebody can.
    masked: bool,
}

/// A block of memory for the table of channels.
pub(crate) type ChannelBlock = Vec<(Port, Channel)>;
/// A block of memory for the table of handlers.
pub(crate) type HandlerBlock = Vec<((Port, FileId), Handler)>;

/// Channels whose words fit in one page of the FIFO ABI's event array.
const CHANNELS_PER_PAGE: u32 = 1024;
/// `EVTCHN_2L_NR_CHANNELS` for 64-bit guests.
const TWO_LEVEL_CHANNELS: u32 = 4096;

/// All ports of the guest that have a handler.
#[derive(Debug)]
pub(crate) struct Events {
    channels: SortedMap<Port, Channel>,
    handlers: SortedMap<(Port, FileId), Handler>,
    /// Ports that the kernel uses itself.
    kernel_ports: SortedMap<Port, ()>,
    holds: Holds,
    /// Pages of the FIFO ABI's event array. The kernel's own ports need the first; it never shrinks.
    pages: u32,
}

impl Events {
    pub(crate) const fn new() -> Self {
        Self {
            channels: SortedMap::new(),
            handlers: SortedMap::new(),
            kernel_ports: SortedMap::new(),
            holds: Holds::new(),
            pages: 1,
        }
    }

    /// The channels that there are just now (`xen_evtchn_nr_channels`).
    pub(crate) fn channel_count(&self, xen: &dyn Hypervisor) -> u32 {
        match xen.abi() {
            ChannelAbi::TwoLevel => TWO_LEVEL_CHANNELS,
            ChannelAbi::Fifo => self.pages.saturating_mul(CHANNELS_PER_PAGE),
        }
    }

    /// Notes a port that the kernel uses itself.
    pub(crate) fn claim_for_kernel(&mut self, port: Port) -> Result<(), Errno> {
        self.kernel_ports.reserve_one()?;
        self.kernel_ports.insert(port, ());
        self.set_up(port);
        Ok(())
    }

    /// Sizes of the blocks that one more handler needs: for channels, for handlers.
    pub(crate) fn lacking(&self) -> (Option<usize>, Option<usize>) {
        (self.channels.lacking(), self.handlers.lacking())
    }

    /// Moves the tables to larger blocks; leaves the old ones in their place.
    pub(crate) fn adopt(&mut self, channels: &mut ChannelBlock, handlers: &mut HandlerBlock) {
        self.channels.adopt(channels);
        self.handlers.adopt(handlers);
    }

    /// Makes a file handle a port's events, enabled, in room that was made before (`bind_evtchn_to_irqhandler_lateeoi`).
    ///
    /// # Errors
    /// `ENOMEM` for a port that the ABI has no room for, `EBUSY` for one of the kernel's own.
    pub(crate) fn attach(
        &mut self,
        file: FileId,
        port: Port,
        ownership: Ownership,
        xen: &mut dyn Hypervisor,
    ) -> Result<(), Errno> {
        if port.0 >= xen.max_channels() {
            return Err(Errno::ENOMEM);
        }
        if self.kernel_ports.contains(port) {
            return Err(Errno::EBUSY);
        }
        self.set_up(port);
        let masked = match self.channels.get_mut(port) {
            Some(channel) => channel.masked,
            None => {
                self.channels.insert(port, Channel::default());
                false
            }
        };
        self.handlers.insert((port, file), Handler { ownership, enabled: true, missed: false });
        if ownership == Ownership::Owned {
            self.holds.adopt(port);
        }
        // A fresh port is masked, or may be. One that awaits its end of interrupt stays so for the newcomer too.
        if !masked {
            xen.unmask(port);
        }
        Ok(())
    }

    /// Ends a file's handling of a port, and closes the port with its last owner (`unbind_from_irqhandler`).
    pub(crate) fn detach(&mut self, file: FileId, port: Port, xen: &mut dyn Hypervisor) {
        let Some(gone) = self.handlers.remove((port, file)) else { return };
        let (mut in_use, mut owned, mut disabled) = (false, false, false);
        for (_, other) in self.handlers_of(port) {
            in_use = true;
            owned |= other.ownership == Ownership::Owned;
            disabled |= !other.enabled;
        }
        if !in_use {
            xen.mask(port);
        }
        let close = gone.ownership == Ownership::Owned && !owned;
        if close {
            self.holds.close(port, xen);
        }
        if !in_use {
            self.channels.remove(port);
        } else if close || !disabled {
            // Nobody may be left to end the interrupt, or the number may come back for another channel.
            self.end_interrupt(port, xen);
        }
    }

    /// Keeps a port from being closed (`evtchn_get`).
    ///
    /// # Errors
    /// `EINVAL` unless a file has it bound, or it is held already; `EINVAL` beyond 32,767 references; `ENOMEM`.
    pub(crate) fn hold(&mut self, port: Port) -> Result<(), Errno> {
        self.holds.hold(port, self.channels.contains(port))
    }

    /// Undoes one [`Events::hold`] (`evtchn_put`).
    pub(crate) fn let_go(&mut self, port: Port, xen: &mut dyn Hypervisor) {
        if self.holds.let_go(port, xen) {
            // As with any other close: files may have the port statically, and the number may come back.
            self.end_interrupt(port, xen);
        }
    }

    /// An upcall for a port: masks it, disables its handlers, and calls `deliver` with each file whose handler was enabled.
    /// A port without handlers is ignored (`handle_irq_for_port`).
    pub(crate) fn interrupt(
        &mut self,
        port: Port,
        xen: &mut dyn Hypervisor,
        mut deliver: impl FnMut(FileId),
    ) {
        let Some(channel) = self.channels.get_mut(port) else { return };
        if !channel.masked {
            channel.masked = true;
            xen.mask(port);
        }
        for (file, handler) in self.handlers_of(port) {
            if handler.enabled {
                handler.enabled = false;
                deliver(file);
            } else {
                handler.missed = true;
            }
        }
    }

    /// A file is done with a port's event: enables its handler and ends the interrupt. Of no effect unless the file's
    /// handler is disabled. True if the file is to be given an event that came meanwhile; its handler then stays disabled.
    pub(crate) fn enable(&mut self, file: FileId, port: Port, xen: &mut dyn Hypervisor) -> bool {
        let Some(handler) = self.handlers.get_mut((port, file)) else { return false };
        if handler.enabled {
            return false;
        }
        let missed = core::mem::take(&mut handler.missed);
        handler.enabled = !missed;
        self.end_interrupt(port, xen);
        missed
    }

    /// Unmasks a port if it awaits that (`xen_irq_lateeoi`).
    fn end_interrupt(&mut self, port: Port, xen: &mut dyn Hypervisor) {
        if let Some(channel) = self.channels.get_mut(port)
            && core::mem::take(&mut channel.masked)
        {
            xen.unmask(port);
        }
    }

    /// Extends the FIFO ABI's event array so that it holds the port (`evtchn_fifo_setup`).
    fn set_up(&mut self, port: Port) {
        let page = port.0.checked_div(CHANNELS_PER_PAGE).unwrap_or(0);
        self.pages = self.pages.max(page.saturating_add(1));
    }

    /// The handlers of a port, by file.
    fn handlers_of(&mut self, port: Port) -> impl Iterator<Item = (FileId, &mut Handler)> {
        self.handlers
            .between_mut((port, FileId(u64::MIN)), (port, FileId(u64::MAX)))
            .map(|((_, file), handler)| (file, handler))
    }
}
