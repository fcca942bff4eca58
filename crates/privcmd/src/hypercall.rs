//! `HYPERCALL`: which call it is, and the small ones.

use crate::{Hypercalls, control, events, version, xen::DOMID_SELF};
use ioctlab_chardev::layout::{half_word, put, word};
use ioctlab_chardev::{Errno, UserMemory, UserPtr};

/// The first number that Linux's table of calls has no place for.
const TABLE_SIZE: u32 = 128;

const XEN_VERSION: u32 = 17;
const EVENT_CHANNEL_OP: u32 = 32;
const HVM_OP: u32 = 34;
const SYSCTL: u32 = 35;
const DOMCTL: u32 = 36;

/// `HVMOP_get_param`, and how many parameters there are.
const GET_PARAM: u64 = 1;
const PARAMS: u32 = 39;

/// Makes a hypercall with the program's arguments. Buffers are in its memory.
///
/// # Errors
/// `EINVAL` for a number out of Linux's table; `ENOSYS` for a call that isn't there; else the call's.
pub(crate) fn call(
    op: u64,
    arguments: [u64; 5],
    memory: &mut dyn UserMemory,
    xen: &dyn Hypercalls,
) -> Result<i64, Errno> {
    let [first, second, ..] = arguments;
    // The upper half is dropped, as the number is an `int` on its way.
    match u32::try_from(op & u64::from(u32::MAX)).unwrap_or(u32::MAX) {
        TABLE_SIZE.. => Err(Errno::EINVAL),
        XEN_VERSION => version::xen_version(first, UserPtr(second), memory, xen),
        EVENT_CHANNEL_OP => events::event_channel_op(first, UserPtr(second), memory, xen).map(|()| 0),
        HVM_OP if first == GET_PARAM => get_param(UserPtr(second), memory, xen).map(|()| 0),
        SYSCTL => control::sysctl(UserPtr(first), memory, xen).map(|()| 0),
        DOMCTL => control::domctl(UserPtr(first), memory, xen).map(|()| 0),
        _ => Err(Errno::ENOSYS),
    }
}

/// `HVMOP_get_param`.
///
/// # Errors
/// `EFAULT`, `EINVAL` (no such parameter), `ESRCH`, `EINVAL` (no HVM guest), `EPERM`, `EFAULT`.
fn get_param(argument: UserPtr, memory: &mut dyn UserMemory, xen: &dyn Hypercalls) -> Result<(), Errno> {
    let mut bytes = memory.fetch::<16>(argument)?;
    let index = word(&bytes, 4);
    if index >= PARAMS {
        return Err(Errno::EINVAL);
    }
    let domain = match half_word(&bytes, 0) {
        DOMID_SELF => xen.caller(),
        domain => domain,
    };
    xen.domain(domain).ok_or(Errno::ESRCH)?;
    let value = xen.hvm_param(domain, index).ok_or(Errno::EINVAL)?;
    if domain != xen.caller() && !xen.is_privileged() {
        return Err(Errno::EPERM);
    }
    put(&mut bytes, 8, &value.to_ne_bytes());
    Ok(memory.write(argument, &bytes)?)
}
