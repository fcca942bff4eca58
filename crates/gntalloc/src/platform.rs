//! What the driver needs of its platform, as one guest sees it.

use ioctlab_chardev::{Errno, Frame};

/// The guest's own pages and grants, and its event channels.
pub trait PageOwner {
    /// Allocates a page of zeros and grants it to a domain (`gnttab_grant_foreign_access`); returns the reference.
    ///
    /// # Errors
    /// `ENOMEM` without memory, `ENOSPC` without a free reference.
    fn share(&mut self, remote: u16, read_only: bool) -> Result<(u32, Frame), Errno>;

    /// Ends a grant and lets its page go: both as soon as the other domain has it mapped no longer
    /// (`gnttab_end_foreign_access`).
    fn end_access(&mut self, reference: u32, frame: Frame);

    /// Sets a byte of a page to 0.
    fn clear_byte(&mut self, frame: Frame, offset: u16);

    /// Keeps a port from being closed (`evtchn_get`).
    ///
    /// # Errors
    /// `EINVAL` unless it is bound by a program.
    fn hold_port(&mut self, port: u32) -> Result<(), Errno>;

    /// Undoes one [`hold_port`](Self::hold_port) (`evtchn_put`).
    fn let_port_go(&mut self, port: u32);

    /// Sends an event through a port (`notify_remote_via_evtchn`).
    fn notify(&mut self, port: u32);
}
