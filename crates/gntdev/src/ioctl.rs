//! The device's ioctls.

use alloc::vec::Vec;

use ioctlab_abi::gntdev::{
    GET_OFFSET_FOR_VADDR, GRANT_COPY, GRANT_SIZE, MAP_GRANT_REF, MAP_HEADER, NOTIFY_CLEAR_BYTE,
    NOTIFY_SEND_EVENT, SET_UNMAP_NOTIFY, UNMAP_GRANT_REF,
};
use ioctlab_chardev::layout::{long, put, word};
use ioctlab_chardev::{CallResult, Errno, FileId, PAGE_SIZE, Request, UserMemory, UserPtr};

use crate::map::{Grant, Map, Notify};
use crate::{Driver, GrantTable, copy};

impl Driver {
    /// `ioctl(2)`.
    ///
    /// # Errors
    /// `ENOTTY` for a request that a paravirtualised guest's driver doesn't have; else those of the request, below.
    pub fn ioctl(
        &mut self,
        file: FileId,
        request: Request,
        argument: u64,
        memory: &mut dyn UserMemory,
        xen: &mut dyn GrantTable,
    ) -> CallResult<i64> {
        if !self.files.contains_key(&file) {
            return Err(Errno::EBADF.into());
        }
        let argument = UserPtr(argument);
        match request {
            MAP_GRANT_REF => self.map_grant_ref(file, argument, memory, xen)?,
            UNMAP_GRANT_REF => self.unmap_grant_ref(file, argument, memory, xen)?,
            GET_OFFSET_FOR_VADDR => self.get_offset_for_vaddr(argument, memory)?,
            SET_UNMAP_NOTIFY => self.set_unmap_notify(file, argument, memory, xen)?,
            GRANT_COPY => copy::grant_copy(argument, memory, xen)?,
            _ => return Err(Errno::ENOTTY.into()),
        }
        Ok(0)
    }

    /// `MAP_GRANT_REF`. The grants themselves aren't looked at.
    ///
    /// # Errors
    /// `EFAULT` for the first 24 bytes; `EINVAL` for a count of 0 or above the limit; `ENOMEM`; `EFAULT` for the grants, or
    /// if the index can't be written: then there is no map, as recorded.
    fn map_grant_ref(
        &mut self,
        file: FileId,
        argument: UserPtr,
        memory: &mut dyn UserMemory,
        xen: &mut dyn GrantTable,
    ) -> Result<(), Errno> {
        let header: [u8; 24] = memory.fetch(argument)?;
        let count = word(&header, 0);
        if !self.allows(count) {
            return Err(Errno::EINVAL);
        }
        let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
        let mut bytes = Vec::new();
        let size = count.checked_mul(GRANT_SIZE).ok_or(Errno::EINVAL)?;
        bytes.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
        bytes.resize(size, 0);
        let mut grants = Vec::new();
        grants.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        memory.read(argument.behind(MAP_HEADER)?, &mut bytes)?;
        let (pairs, _) = bytes.as_chunks::<GRANT_SIZE>();
        grants.extend(pairs.iter().map(|pair| Grant { domain: word(pair, 0), reference: word(pair, 4) }));
        let index = self.list(Map::new(file, grants))?;
        // The whole struct is written back; but for the index it is as it was.
        let mut answer = header;
        put(&mut answer, 8, &index.saturating_mul(PAGE_SIZE).to_ne_bytes());
        if memory.write(argument, &answer).is_err() {
            self.forget(file, index, xen);
            return Err(Errno::EFAULT);
        }
        Ok(())
    }

    fn forget(&mut self, file: FileId, index: u64, xen: &mut dyn GrantTable) {
        if let Some(id) = self.files.get_mut(&file).and_then(|list| list.remove(index, 0)) {
            self.unlist(id, xen);
        }
    }

    /// `UNMAP_GRANT_REF`: a map is in its file's list no longer. A mapping of it stays as it is.
    ///
    /// # Errors
    /// `EFAULT`; `ENOENT` unless there is a map of this index (whose lower 12 bits don't count) and count (0 is any).
    fn unmap_grant_ref(
        &mut self,
        file: FileId,
        argument: UserPtr,
        memory: &mut dyn UserMemory,
        xen: &mut dyn GrantTable,
    ) -> Result<(), Errno> {
        let bytes: [u8; 16] = memory.fetch(argument)?;
        // The page number goes through an int.
        let index = long(&bytes, 0).checked_div(PAGE_SIZE).unwrap_or(0) & u64::from(u32::MAX);
        let count = u64::from(word(&bytes, 8));
        let list = self.files.get_mut(&file).ok_or(Errno::EBADF)?;
        let id = list.remove(index, count).ok_or(Errno::ENOENT)?;
        self.unlist(id, xen);
        Ok(())
    }

    /// `GET_OFFSET_FOR_VADDR`, of whatever file's map is mapped at the address, or is the first thing above it.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` if that is no map.
    fn get_offset_for_vaddr(&mut self, argument: UserPtr, memory: &mut dyn UserMemory) -> Result<(), Errno> {
        let bytes: [u8; 24] = memory.fetch(argument)?;
        let mapping = memory.mapping_from(UserPtr(long(&bytes, 0))).ok_or(Errno::EINVAL)?;
        let map = self.map_of(mapping).ok_or(Errno::EINVAL)?;
        let count = u32::try_from(map.grants.len()).map_err(|_| Errno::EINVAL)?;
        let mut answer = bytes;
        put(&mut answer, 8, &map.index.saturating_mul(PAGE_SIZE).to_ne_bytes());
        put(&mut answer, 16, &count.to_ne_bytes());
        memory.write(argument, &answer)?;
        Ok(())
    }

    /// `SET_UNMAP_NOTIFY`. It replaces what was set before.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` for an action that isn't one, or for an event's port that isn't a program's; `ENOENT` unless the
    /// index lies in a map; `EINVAL` to clear a byte of one that is mapped for reading only.
    fn set_unmap_notify(
        &mut self,
        file: FileId,
        argument: UserPtr,
        memory: &mut dyn UserMemory,
        xen: &mut dyn GrantTable,
    ) -> Result<(), Errno> {
        let bytes: [u8; 16] = memory.fetch(argument)?;
        let (index, actions, port) = (long(&bytes, 0), word(&bytes, 8), word(&bytes, 12));
        if actions & !(NOTIFY_CLEAR_BYTE | NOTIFY_SEND_EVENT) != 0 {
            return Err(Errno::EINVAL);
        }
        let mut notify = Notify { actions, byte: 0, port };
        // Before the one that is held already is let go: they may be the same.
        if let Some(port) = notify.held_port() {
            xen.hold_port(port).map_err(|_| Errno::EINVAL)?;
        }
        let replaced = self.replace_notify(file, index, &mut notify);
        let let_go = match &replaced {
            Ok(before) => before.held_port(),
            Err(_) => notify.held_port(),
        };
        if let Some(port) = let_go {
            xen.let_port_go(port);
        }
        replaced.map(drop)
    }

    fn replace_notify(&mut self, file: FileId, index: u64, notify: &mut Notify) -> Result<Notify, Errno> {
        let list = self.files.get(&file).ok_or(Errno::EBADF)?;
        let page = index.checked_div(PAGE_SIZE).unwrap_or(0);
        let (first, id) = list.covering(page).ok_or(Errno::ENOENT)?;
        let map = self.map_mut(id).ok_or(Errno::ENOENT)?;
        if notify.actions & NOTIFY_CLEAR_BYTE != 0 && map.read_only {
            return Err(Errno::EINVAL);
        }
        notify.byte = index.saturating_sub(first.saturating_mul(PAGE_SIZE));
        let before = core::mem::replace(&mut map.notify, *notify);
        self.note_clearing(id);
        Ok(before)
    }
}
