//! The control domain's calls about domains (`do_domctl`, `do_sysctl`).

use crate::{Hypercalls, address::element, info::INFO_SIZE, xen::DOMID_SELF};
use ioctlab_chardev::layout::{half_word, long, put, word};
use ioctlab_chardev::{Errno, UserMemory, UserPtr};

/// What programs for Xen 4.17 say that they were made for.
const INTERFACE_VERSION: u32 = 0x15;

/// `XEN_DOMCTL_getdomaininfo`
const GET_DOMAIN_INFO: u32 = 5;
/// `XEN_SYSCTL_getdomaininfolist`
const GET_DOMAIN_INFO_LIST: u32 = 6;

/// `XEN_DOMCTL_getdomaininfo`: the domain with a number, or the one with the next higher.
///
/// # Errors
/// `EFAULT`; `EACCES` for another interface version; for other commands `ESRCH`; `EPERM`; for other commands `ENOSYS`;
/// `EINVAL` for a number that no domain can have; `ESRCH`; `EFAULT`.
pub(crate) fn domctl(
    argument: UserPtr,
    memory: &mut dyn UserMemory,
    xen: &dyn Hypercalls,
) -> Result<(), Errno> {
    let mut bytes = memory.fetch::<144>(argument)?;
    check_version(&bytes)?;
    let (command, domain) = (word(&bytes, 0), half_word(&bytes, 8));
    if command != GET_DOMAIN_INFO && xen.domain(domain).is_none() {
        return Err(Errno::ESRCH);
    }
    check_privileged(xen)?;
    if command != GET_DOMAIN_INFO {
        return Err(Errno::ENOSYS);
    }
    if domain >= DOMID_SELF {
        return Err(Errno::EINVAL);
    }
    let info = xen.domain_from(domain).ok_or(Errno::ESRCH)?;
    put(&mut bytes, 8, &info.domain.to_ne_bytes());
    put(&mut bytes, 16, &info.to_bytes());
    Ok(memory.write(argument, &bytes)?)
}

/// `XEN_SYSCTL_getdomaininfolist`: as many domains as there is room for, from a number on.
///
/// # Errors
/// `EFAULT`; `EACCES` for another interface version; `EPERM`; `ENOSYS` for other commands; `EFAULT`.
pub(crate) fn sysctl(
    argument: UserPtr,
    memory: &mut dyn UserMemory,
    xen: &dyn Hypercalls,
) -> Result<(), Errno> {
    let mut bytes = memory.fetch::<136>(argument)?;
    check_version(&bytes)?;
    check_privileged(xen)?;
    if word(&bytes, 0) != GET_DOMAIN_INFO_LIST {
        return Err(Errno::ENOSYS);
    }
    let (room, list) = (word(&bytes, 12), long(&bytes, 16));
    let mut next = Some(half_word(&bytes, 8));
    let mut count: u32 = 0;
    while count < room
        && let Some(info) = next.and_then(|first| xen.domain_from(first))
    {
        let place = element(list, count.into(), INFO_SIZE.try_into().unwrap_or(u64::MAX))?;
        memory.write(place, &info.to_bytes())?;
        count = count.saturating_add(1);
        next = info.domain.checked_add(1);
    }
    put(&mut bytes, 24, &count.to_ne_bytes());
    Ok(memory.write(argument, &bytes)?)
}

fn check_version(bytes: &[u8]) -> Result<(), Errno> {
    if word(bytes, 4) == INTERFACE_VERSION { Ok(()) } else { Err(Errno::EACCES) }
}

fn check_privileged(xen: &dyn Hypercalls) -> Result<(), Errno> {
    if xen.is_privileged() { Ok(()) } else { Err(Errno::EPERM) }
}
