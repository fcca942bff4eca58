//! What a process may do, as far as drivers ask: its limit of locked memory, and its capabilities.

use ioctlab_kernel::{Capability, PAGE_SIZE};

use crate::sys::misc;

/// The inode number of the first user namespace (`PROC_USER_INIT_INO`): capabilities in others mean nothing to drivers.
const FIRST_USER_NAMESPACE: u64 = 0xeffffffd;

/// A process's limit of locked memory in bytes; `None` if it has none.
pub(crate) fn locked_memory_limit(process: i32) -> Option<u64> {
    let limit = misc::locked_memory_limit(process).ok();
    // Another user's process tells only in its text. One that can't be asked any more has no use for memory.
    limit.or_else(|| limit_in_text(process)).map_or(Some(0), |limit| (limit != u64::MAX).then_some(limit))
}

/// `u64::MAX` if there is none.
fn limit_in_text(process: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
    let values = text.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    match values.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        value => value.parse().ok(),
    }
}

/// How many pages a process has locked by itself.
pub(crate) fn locked_pages(process: i32) -> u64 {
    let Ok(text) = std::fs::read_to_string(format!("/proc/{process}/status")) else { return 0 };
    let value = text.lines().find_map(|line| line.strip_prefix("VmLck:"));
    let kib: Option<u64> = value.and_then(|value| value.trim().strip_suffix(" kB")?.trim().parse().ok());
    kib.map_or(0, |kib| kib.saturating_mul(1024) / PAGE_SIZE)
}

/// Whether a thread has a capability, where drivers ask for it (`capable`): in the first user namespace.
pub(crate) fn has_capability(thread: i32, capability: Capability) -> bool {
    // `linux/capability.h`.
    let number = match capability {
        Capability::IpcLock => 14,
        Capability::SysRawio => 17,
    };
    let has_it = misc::capabilities(thread).is_ok_and(|set| set & 1 << number != 0);
    has_it
        && rustix::fs::stat(format!("/proc/{thread}/ns/user"))
            .is_ok_and(|namespace| namespace.st_ino == FIRST_USER_NAMESPACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_the_limit_agree() {
        let this = std::process::id() as i32;
        let asked = misc::locked_memory_limit(this).expect("this process's own");
        assert_eq!(limit_in_text(this), Some(asked));
        assert_eq!(locked_memory_limit(this), (asked != u64::MAX).then_some(asked));
        assert_eq!(locked_memory_limit(i32::MAX), Some(0), "no such process");
    }

    #[test]
    fn capabilities_are_those_that_status_shows() {
        let this = rustix::thread::gettid().as_raw_nonzero().get();
        let text = std::fs::read_to_string(format!("/proc/{this}/status")).expect("status");
        let shown = text.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("shown");
        assert_eq!(misc::capabilities(this).ok(), u64::from_str_radix(shown.trim(), 16).ok());
        assert!(!has_capability(i32::MAX, Capability::IpcLock), "no such thread");
    }

    #[test]
    fn locked_pages_are_counted() {
        // Other tests of this process lock nothing.
        let this = std::process::id() as i32;
        assert_eq!(locked_pages(this), 0);
        assert_eq!(locked_pages(i32::MAX), 0, "no such process");
    }
}
