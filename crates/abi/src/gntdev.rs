//! `/dev/xen/gntdev`: request numbers and argument layouts of `include/uapi/xen/gntdev.h`.
//!
//! All of them are `_IOC_NONE`, whatever way the argument goes. Integers are in the machine's byte order.

use crate::{Direction, Request};

/// The ioctl type byte, which [`gntalloc`](crate::gntalloc) has, too.
pub const KIND: u8 = b'G';

const fn request(number: u8, size: u16) -> Request {
    Request::new(Direction::None, KIND, number, size)
}

/// Note grants to be mapped by an `mmap` of the index that is written back. Argument: `u32 count, u32 pad, u64 index`, and
/// `count` grants.
pub const MAP_GRANT_REF: Request = request(0, 24);
/// Forget a map. Argument: `u64 index, u32 count, u32 pad`.
pub const UNMAP_GRANT_REF: Request = request(1, 16);
/// Find the map that an address is mapped by. Argument: `u64 vaddr, u64 offset, u32 count, u32 pad`.
pub const GET_OFFSET_FOR_VADDR: Request = request(2, 24);
/// Set a limit; today's driver doesn't know it any more. Argument: `u32 count`.
pub const SET_MAX_GRANTS: Request = request(3, 4);
/// Say what is to happen as a map goes. Argument: `u64 index, u32 action, u32 port`.
pub const SET_UNMAP_NOTIFY: Request = request(7, 16);
/// Copy from and to grants without mapping them. Argument: `u32 count`, padding, and a pointer to so many segments.
pub const GRANT_COPY: Request = request(8, 16);

/// The size of [`MAP_GRANT_REF`]'s argument up to its grants, in bytes.
pub const MAP_HEADER: usize = 16;
/// The size of a grant in that argument, in bytes: `u32 domid, u32 ref`.
pub const GRANT_SIZE: usize = 8;

/// [`SET_UNMAP_NOTIFY`]: a byte of the page is set to 0.
pub const NOTIFY_CLEAR_BYTE: u32 = 1;
/// [`SET_UNMAP_NOTIFY`]: an event is sent.
pub const NOTIFY_SEND_EVENT: u32 = 2;

/// The size of a segment of [`GRANT_COPY`], in bytes.
pub const SEGMENT_SIZE: usize = 24;
/// Where in a segment its status is, in bytes: an `i16`.
pub const SEGMENT_STATUS: u64 = 20;
/// A segment's flag: the source is a grant.
pub const COPY_SOURCE_GRANT: u16 = 1;
/// A segment's flag: the destination is a grant.
pub const COPY_DEST_GRANT: u16 = 2;
