//! What stands behind a process's descriptor.

use rustix::fs::{AtFlags, CWD, StatxFlags};

/// Device and inode number of a file, by which those are known that stand behind devices' descriptors.
pub(crate) type Identity = (u64, u64);

/// What stands behind a descriptor of a process's, any of which it may be.
///
/// Nobody is asked who serves the file: that may be a program of the lab's, or the lab itself, which shows its trees as a file
/// system, and answers for them with the lock of what its caller here may have locked. Neither number ever changes.
///
/// # Errors
/// `ENOENT` if there is nothing behind it.
pub(crate) fn behind(process: i32, number: u32) -> rustix::io::Result<Identity> {
    let path = format!("/proc/{process}/fd/{number}");
    let stat = rustix::fs::statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::INO)?;
    Ok((rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn it_is_what_stat_says() {
        let this = std::process::id() as i32;
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        for number in [reader.as_raw_fd(), file.as_raw_fd()] {
            let stat = rustix::fs::stat(format!("/proc/self/fd/{number}")).unwrap();
            assert_eq!(behind(this, number as u32), Ok((stat.st_dev, stat.st_ino)));
        }
        let number = writer.as_raw_fd() as u32;
        assert_eq!(behind(this, number), behind(this, reader.as_raw_fd() as u32));
        assert_eq!(behind(this, u32::MAX), Err(rustix::io::Errno::NOENT));
    }
}
