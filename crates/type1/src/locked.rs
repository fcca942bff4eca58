//! Locked memory.

use alloc::collections::BTreeMap;

use ioctlab_chardev::{Caller, Capability, Errno, PAGE_SIZE, SpaceId, UserPtr};

use crate::{Machine, Warning};

/// How many pages are locked for devices, by address space: the account that a machine has for all containers.
#[derive(Clone, Debug, Default)]
pub struct LockedMemory(BTreeMap<SpaceId, u64>);

impl LockedMemory {
    /// The pages of an address space.
    pub fn pages(&self, space: SpaceId) -> u64 {
        self.0.get(&space).copied().unwrap_or(0)
    }

    /// So many pages more.
    pub fn lock(&mut self, space: SpaceId, pages: u64) {
        if pages > 0 {
            let account = self.0.entry(space).or_default();
            *account = account.saturating_add(pages);
        }
    }

    /// So many pages fewer. An account without pages is none.
    pub fn unlock(&mut self, space: SpaceId, pages: u64) {
        if let Some(account) = self.0.get_mut(&space) {
            *account = account.saturating_sub(pages);
            if *account == 0 {
                self.0.remove(&space);
            }
        }
    }
}

/// Whether a range could be pinned and locked as Linux does it, page after page: `EFAULT` and `ENOMEM` are for whichever
/// page comes first.
///
/// # Errors
/// `EFAULT` for memory that isn't there, or may not be written; `ENOMEM` for more than may be locked.
pub(crate) fn check_pinnable(
    from: u64,
    bytes: u64,
    writable: bool,
    space: SpaceId,
    caller: &mut dyn Caller,
    machine: &mut (impl Machine + ?Sized),
) -> Result<(), Errno> {
    let Some((limit, room)) = room(space, caller, machine) else {
        return caller.check_pinnable(UserPtr(from), bytes, writable);
    };
    // The page that is one too many has been pinned when it is counted.
    let one_too_many = room.saturating_add(1).saturating_mul(PAGE_SIZE);
    caller.check_pinnable(UserPtr(from), bytes.min(one_too_many), writable)?;
    if bytes >= one_too_many {
        machine.warn(Warning::LimitExceeded(limit));
        return Err(Errno::ENOMEM);
    }
    Ok(())
}

/// Whether so many pages more may be locked.
///
/// # Errors
/// `ENOMEM`.
pub(crate) fn check_room(
    pages: u64,
    space: SpaceId,
    caller: &mut dyn Caller,
    machine: &mut (impl Machine + ?Sized),
) -> Result<(), Errno> {
    match room(space, caller, machine) {
        Some((_, room)) if pages > room => Err(Errno::ENOMEM),
        _ => Ok(()),
    }
}

/// The caller's limit in bytes (whole pages), and how many pages more it may lock; `None` if it has no limit.
fn room(
    space: SpaceId,
    caller: &mut dyn Caller,
    machine: &mut (impl Machine + ?Sized),
) -> Option<(u64, u64)> {
    if caller.has_capability(Capability::IpcLock) {
        return None;
    }
    let limit = machine.locked_memory_limit(caller.locked_memory_limit())? & !(PAGE_SIZE.saturating_sub(1));
    let locked = machine.locked_pages(space).saturating_add(caller.locked_pages());
    let pages = limit.checked_div(PAGE_SIZE).unwrap_or(0);
    Some((limit, pages.saturating_sub(locked)))
}
