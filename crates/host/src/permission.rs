//! Who a thread is: whether it may open a node, by the node's permission bits (`inode_permission`).

use std::fs;

use ioctlab_kernel::Access;
use rustix::fs::Stat;

/// `CAP_DAC_OVERRIDE`, as a bit in a set of capabilities.
const OVERRIDE: u64 = 1 << 1;

/// `CAP_SYS_RAWIO`, as a bit in a set of capabilities.
const RAWIO: u64 = 1 << 17;

/// Who a thread is to a file system, and to drivers.
pub(crate) struct Identity {
    user: u32,
    group: u32,
    groups: Vec<u32>,
    capabilities: u64,
}

impl Identity {
    /// A thread's; `None` if it can't be asked any more: then nobody will miss the answer.
    pub(crate) fn of(thread: i32) -> Option<Self> {
        identity(&fs::read_to_string(format!("/proc/{thread}/status")).ok()?)
    }

    /// Whether it may open a file with this metadata.
    pub(crate) fn may_open(&self, stat: &Stat, access: Access) -> bool {
        allows(stat.st_mode, stat.st_uid, stat.st_gid, self, access)
    }

    /// Whether it has `CAP_SYS_RAWIO`.
    pub(crate) fn has_rawio(&self) -> bool {
        self.capabilities & RAWIO != 0
    }
}

fn allows(mode: u32, owner: u32, group: u32, identity: &Identity, access: Access) -> bool {
    if identity.capabilities & OVERRIDE != 0 {
        return true;
    }
    let bits = if identity.user == owner {
        mode >> 6
    } else if identity.group == group || identity.groups.contains(&group) {
        mode >> 3
    } else {
        mode
    };
    // Access mode 3 needs both permissions, although it gives neither.
    let neither = !access.read && !access.write;
    let needed = if access.read || neither { 4 } else { 0 } | if access.write || neither { 2 } else { 0 };
    bits & needed == needed
}

/// Reads `/proc/PID/status`: the file system's ids are the last of four.
fn identity(status: &str) -> Option<Identity> {
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
    let last = |name| field(name)?.split_whitespace().last()?.parse().ok();
    Some(Identity {
        user: last("Uid:")?,
        group: last("Gid:")?,
        groups: field("Groups:")?.split_whitespace().filter_map(|group| group.parse().ok()).collect(),
        capabilities: u64::from_str_radix(field("CapEff:")?.trim(), 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_bits_are_read_as_the_kernel_reads_them() {
        let status =
            "Name:\tx\nUid:\t1\t1\t1\t1000\nGid:\t1\t1\t1\t100\nGroups:\t4 24 \nCapEff:\t0000000000000000\n";
        let user = identity(status).expect("a whole status");
        for (mode, owner, group, flags, expected) in [
            (0o600, 1000, 0, 2, true),
            (0o600, 0, 0, 0, false),
            (0o640, 0, 100, 0, true),
            (0o640, 0, 24, 0, true),
            (0o640, 0, 24, 1, false),
            (0o604, 0, 0, 0, true),
            // The owner's bits count for the owner, even if others may do more.
            (0o066, 1000, 100, 0, false),
            (0o400, 1000, 0, 3, false),
        ] {
            let access = Access::from_flags(flags);
            assert_eq!(
                allows(mode, owner, group, &user, access),
                expected,
                "{mode:o} {owner} {group} {flags}"
            );
        }
        let root = identity(&status.replace("CapEff:\t0000000000000000", "CapEff:\t000001ffffffffff"));
        assert!(allows(0, 0, 0, &root.expect("a whole status"), Access::from_flags(2)));
        assert!(identity("Name:\tx\n").is_none());
    }
}
