//! `read` and `write` of files that have positions.

use crate::files::transfer_size;
use crate::{CallResult, Caller, Errno, FileId, Kernel, Reply, UserPtr};

impl Kernel {
    /// `pread` at `position`, or `read` at the file's own position if that is `None`: whoever calls it says how far that got
    /// by [`Kernel::advance`].
    ///
    /// # Errors
    /// In the VFS's order: [`Errno::EINVAL`] for a position beyond `LLONG_MAX`, [`Errno::EBADF`] if the file is not open for
    /// reading, [`Errno::EFAULT`] if the buffer can't be a process's, [`Errno::EINVAL`] for a count or an end beyond
    /// `LLONG_MAX`; then the driver's.
    pub fn read_at(
        &mut self,
        file: FileId,
        position: Option<u64>,
        to: UserPtr,
        count: u64,
        caller: &mut dyn Caller,
    ) -> CallResult<Reply> {
        let (position, count) = self.check_transfer(file, position, to, count, true)?;
        let (_, subsystem) = self.lookup(file)?;
        subsystem.read_at(file, position, to, count, caller)
    }

    /// `pwrite` at `position`, or `write` at the file's own position.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at)'s, for writing.
    pub fn write_at(
        &mut self,
        file: FileId,
        position: Option<u64>,
        from: UserPtr,
        count: u64,
        caller: &mut dyn Caller,
    ) -> CallResult<Reply> {
        let (position, count) = self.check_transfer(file, position, from, count, false)?;
        let (_, subsystem) = self.lookup(file)?;
        subsystem.write_at(file, position, from, count, caller)
    }

    fn check_transfer(
        &self,
        file: FileId,
        position: Option<u64>,
        buffer: UserPtr,
        count: u64,
        reading: bool,
    ) -> Result<(u64, usize), Errno> {
        let position = position.unwrap_or_else(|| self.position(file));
        if i64::try_from(position).is_err() {
            return Err(Errno::EINVAL);
        }
        let access = self.file(file).ok_or(Errno::EBADF)?.access;
        if !(if reading { access.read } else { access.write }) {
            return Err(Errno::EBADF);
        }
        let size = transfer_size(buffer, count)?;
        let end = position.checked_add(count).and_then(|end| i64::try_from(end).ok());
        if end.is_none() { Err(Errno::EINVAL) } else { Ok((position, size)) }
    }
}
