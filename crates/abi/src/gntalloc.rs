//! `/dev/xen/gntalloc`: request numbers and argument layouts of `include/uapi/xen/gntalloc.h`.
//!
//! All of them are `_IOC_NONE`, whatever way the argument goes. Integers are in the machine's byte order.

use crate::{Direction, Request, gntdev};

const fn request(number: u8, size: u16) -> Request {
    Request::new(Direction::None, gntdev::KIND, number, size)
}

/// Allocate pages and grant them. Argument: `u16 domid, u16 flags, u32 count, u64 index`, and room for `count` references.
pub const ALLOC_GREF: Request = request(5, 24);
/// Let pages go. Argument: `u64 index, u32 count`, padding.
pub const DEALLOC_GREF: Request = request(6, 16);
/// Say what is to happen as a page goes: number, argument and actions are those of gntdev's.
pub const SET_UNMAP_NOTIFY: Request = gntdev::SET_UNMAP_NOTIFY;

/// [`ALLOC_GREF`]'s flag: the other domain may write to the pages.
pub const FLAG_WRITABLE: u16 = 1;
/// The size of [`ALLOC_GREF`]'s argument up to its references, in bytes.
pub const ALLOC_HEADER: usize = 16;
/// The size of a reference in that argument, in bytes.
pub const REFERENCE_SIZE: usize = 4;
