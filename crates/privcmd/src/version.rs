//! What hypervisor it is (`do_xen_version`).

use crate::Hypercalls;
use ioctlab_chardev::layout::{put, word};
use ioctlab_chardev::{Errno, PAGE_SIZE, UserMemory, UserPtr};

/// Xen 4.17.
const VERSION: i64 = 4 << 16 | 17;
const EXTRA_VERSION: &[u8] = b".7";
const CAPABILITIES: &[u8] = b"xen-3.0-x86_64 ";
const CHANGESET: &[u8] = b"unavailable";
const COMPILER: &[u8] = b"ioctlab";

/// Where Xen begins in a PV guest's address space.
const VIRT_START: u64 = 0xffff_8000_0000_0000;

/// What a PV guest on 4.17 has: `mmu_pt_update_preserve_ad`, `highmem_assist`, `gnttab_map_avail_bits`,
/// `memory_op_vnode_supported`, `not_direct_mapped`.
const FEATURES: u32 = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 13 | 1 << 17;
/// What the control domain has besides (`XENFEAT_dom0`).
const CONTROL_DOMAIN: u32 = 1 << 11;

/// No data available.
const ENODATA: i32 = 61;

/// `XENVER_*`. Strings are padded with NULs to the size of their struct.
///
/// # Errors
/// `EFAULT`; `EINVAL` for features past the first word, and for a page size with an argument; of a build id, which there is
/// none of, `EPERM` or `ENODATA`; `ENOSYS`.
pub(crate) fn xen_version(
    command: u64,
    argument: UserPtr,
    memory: &mut dyn UserMemory,
    xen: &dyn Hypercalls,
) -> Result<i64, Errno> {
    match command {
        0 => return Ok(VERSION),
        1 => memory.write(argument, &text::<16>(EXTRA_VERSION))?,
        2 => memory.write(argument, &text::<144>(COMPILER))?,
        3 => memory.write(argument, &text::<1024>(CAPABILITIES))?,
        4 => memory.write(argument, &text::<64>(CHANGESET))?,
        5 => memory.write(argument, &VIRT_START.to_ne_bytes())?,
        6 => {
            let mut bytes = memory.fetch::<8>(argument)?;
            if word(&bytes, 0) != 0 {
                return Err(Errno::EINVAL);
            }
            let features = FEATURES | if xen.is_privileged() { CONTROL_DOMAIN } else { 0 };
            put(&mut bytes, 4, &features.to_ne_bytes());
            memory.write(argument, &bytes)?;
        }
        7 if argument.0 != 0 => return Err(Errno::EINVAL),
        7 => return Ok(PAGE_SIZE.try_into().unwrap_or(i64::MAX)),
        8 => memory.write(argument, &xen.domain(xen.caller()).unwrap_or_default().handle)?,
        9 => {
            let line: &[u8] = if xen.is_privileged() { b"" } else { b"<denied>" };
            memory.write(argument, &text::<1024>(line))?;
        }
        10 if !xen.is_privileged() => return Err(Errno::EPERM),
        10 => return Err(Errno::from_raw(ENODATA)),
        _ => return Err(Errno::ENOSYS),
    }
    Ok(0)
}

fn text<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    put(&mut bytes, 0, text);
    bytes
}
