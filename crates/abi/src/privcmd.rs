//! `/dev/xen/privcmd`: request numbers and argument layouts of `include/uapi/xen/privcmd.h`.
//!
//! But for the last two all are `_IOC_NONE`, whatever way the argument goes. Integers are in the machine's byte order.

use crate::{Direction, Request};

/// The ioctl type byte.
pub const KIND: u8 = b'P';

const fn request(number: u8, size: u16) -> Request {
    Request::new(Direction::None, KIND, number, size)
}

/// A hypercall. Argument: `u64 op`, five `u64` arguments ([`words`]). Returns what the hypervisor does.
pub const HYPERCALL: Request = request(0, 48);
/// Map ranges of another domain's frames. Argument: `u32 num, u16 dom`, a pointer to so many `{u64 va, mfn, npages}`.
pub const MMAP: Request = request(2, 16);
/// Map another domain's frames. Argument: `u32 num, u16 dom, u64 addr`, a pointer to so many `u64` frame numbers, whose
/// upper bits are set where one could not be mapped.
pub const MMAPBATCH: Request = request(3, 24);
/// As [`MMAPBATCH`], and at the end a pointer to so many `int` for errors.
pub const MMAPBATCH_V2: Request = request(4, 32);
/// A device model's operation. Argument: `u16 dom, num`, a pointer to so many `{u64 uptr, size}`.
pub const DM_OP: Request = request(5, 16);
/// Restrict this file to one domain, for good. Argument: `u16 dom`.
pub const RESTRICT: Request = request(6, 2);
/// Map a resource of another domain. Argument: `u16 dom, u32 type, id, idx, u64 num, addr`. With neither number nor
/// address it asks for the number.
pub const MMAP_RESOURCE: Request = request(7, 32);
/// Have an eventfd raise an interrupt in a guest.
pub const IRQFD: Request = Request::new(Direction::Write, KIND, 8, 24);
/// Have a guest's access signal an eventfd.
pub const IOEVENTFD: Request = Request::new(Direction::Write, KIND, 9, 48);

/// What [`MMAPBATCH`] sets in a frame number that could not be mapped.
pub const FRAME_ERROR: u64 = 0xf000_0000;

/// An argument of 64-bit words, as many as it is long.
pub fn words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let mut words = [0; N];
    for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_ne_bytes(*chunk);
    }
    words
}
