//! Device models' operations (`privcmd_ioctl_dm_op`).

use crate::{
    Hypercalls,
    address::{access_ok, element},
};
use ioctlab_abi::privcmd::words;
use ioctlab_chardev::layout::{half_word, long};
use ioctlab_chardev::{Errno, PAGE_SIZE, UserMemory};

/// The most buffers that Linux passes on, and that Xen takes.
const MAX_BUFFERS: u16 = 16;
const MAX_BUFFERS_OF_XEN: u16 = 3;
const BUFFER_SIZE: u64 = 16;

/// Checks the buffers, then asks Xen: no domain here has a device model.
pub(crate) fn dm_op(
    argument: &[u8; 16],
    allowed: impl Fn(u16) -> Result<(), Errno>,
    memory: &mut dyn UserMemory,
    xen: &dyn Hypercalls,
) -> Result<(), Errno> {
    let (domain, count, buffers) = (half_word(argument, 0), half_word(argument, 2), long(argument, 8));
    allowed(domain)?;
    if count == 0 {
        return Ok(());
    }
    if count > MAX_BUFFERS {
        return Err(Errno::E2BIG);
    }
    let buffer = |index: u16, memory: &mut dyn UserMemory| -> Result<[u64; 2], Errno> {
        Ok(words(&memory.fetch::<16>(element(buffers, index.into(), BUFFER_SIZE)?)?))
    };
    // All are copied before the first is looked at.
    let mut copies = [[0; 2]; MAX_BUFFERS as usize];
    for (index, copy) in (0..count).zip(&mut copies) {
        *copy = buffer(index, memory)?;
    }
    let copies = copies.get(..count.into()).unwrap_or_default();
    for [address, size] in copies {
        if *size > PAGE_SIZE {
            return Err(Errno::E2BIG);
        }
        if !access_ok(*address, *size) {
            return Err(Errno::EFAULT);
        }
    }
    for [address, size] in copies {
        // Its first and its last byte: they lie in all of its pages.
        if let Some(last) = size.checked_sub(1) {
            memory.fetch::<1>(element(*address, 0, 1)?)?;
            memory.fetch::<1>(element(*address, last, 1)?)?;
        }
    }
    if count > MAX_BUFFERS_OF_XEN {
        return Err(Errno::E2BIG);
    }
    xen.remote_domain(domain)?;
    Err(Errno::EINVAL)
}
