//! Addresses of programs.

use ioctlab_chardev::{Errno, UserPtr};

/// The first address that no program has (`TASK_SIZE_MAX`).
const USER_END: u64 = 0x7fff_ffff_f000;

/// An address so many elements of a size after another.
///
/// # Errors
/// `EFAULT` if there is none.
pub(crate) fn element(array: u64, index: u64, size: u64) -> Result<UserPtr, Errno> {
    index.checked_mul(size).and_then(|offset| array.checked_add(offset)).map(UserPtr).ok_or(Errno::EFAULT)
}

/// Whether a program may have such a range (`access_ok`).
pub(crate) fn access_ok(address: u64, size: u64) -> bool {
    address.checked_add(size).is_some_and(|end| end <= USER_END)
}
