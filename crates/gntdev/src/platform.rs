//! What the driver needs of its platform, as one guest sees it.

use ioctlab_chardev::{Errno, Frame};

/// Why Xen refuses to map or copy a grant: `GNTST_*`, a negative number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub i16);

/// Part of a page that some domain has granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Whose grant it is.
    pub domain: u16,
    /// The grant's reference.
    pub reference: u32,
    /// The byte in the page.
    pub offset: u16,
}

/// Grants of other domains, and the guest's own event channels.
pub trait GrantTable {
    /// Maps a grant (`GNTTABOP_map_grant_ref`); returns the mapping's handle and the page.
    ///
    /// # Errors
    /// Xen's status.
    fn map(&mut self, domain: u16, reference: u32, read_only: bool) -> Result<(u32, Frame), Status>;

    /// Undoes a mapping (`GNTTABOP_unmap_grant_ref`), which can't fail for a handle that [`map`](Self::map) gave.
    fn unmap(&mut self, handle: u32);

    /// Sets a byte of a mapped page to 0.
    fn clear_byte(&mut self, frame: Frame, offset: u16);

    /// Copies from a grant (`GNTTABOP_copy`, to a page of the guest's own). The bytes lie within a page.
    ///
    /// # Errors
    /// Xen's status.
    fn copy_from(&mut self, source: Location, to: &mut [u8]) -> Result<(), Status>;

    /// Copies to a grant (`GNTTABOP_copy`, from a page of the guest's own). The bytes lie within a page.
    ///
    /// # Errors
    /// Xen's status.
    fn copy_to(&mut self, dest: Location, from: &[u8]) -> Result<(), Status>;

    /// Copies from a grant to a grant (`GNTTABOP_copy`).
    ///
    /// # Errors
    /// Xen's status.
    fn copy_between(&mut self, source: Location, dest: Location, length: u16) -> Result<(), Status>;

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
