//! The device's ioctls.

use alloc::vec::Vec;

use ioctlab_abi::gntalloc::{
    ALLOC_GREF, ALLOC_HEADER, DEALLOC_GREF, FLAG_WRITABLE, REFERENCE_SIZE, SET_UNMAP_NOTIFY,
};
use ioctlab_abi::gntdev::{NOTIFY_CLEAR_BYTE, NOTIFY_SEND_EVENT};
use ioctlab_chardev::layout::{half_word, long, put, word};
use ioctlab_chardev::{CallResult, Errno, FileId, PAGE_SIZE, Request, UserMemory, UserPtr};

use crate::driver::{Notify, PageId};
use crate::{Driver, PageOwner};

impl Driver {
    /// `ioctl(2)`.
    ///
    /// # Errors
    /// `ENOTTY` for an unknown request; else those of the request, below.
    pub fn ioctl(
        &mut self,
        file: FileId,
        request: Request,
        argument: u64,
        memory: &mut dyn UserMemory,
        owner: &mut dyn PageOwner,
    ) -> CallResult<i64> {
        if !self.files.contains_key(&file) {
            return Err(Errno::EBADF.into());
        }
        let argument = UserPtr(argument);
        match request {
            ALLOC_GREF => self.alloc_gref(file, argument, memory, owner)?,
            DEALLOC_GREF => self.dealloc_gref(file, argument, memory, owner)?,
            SET_UNMAP_NOTIFY => self.set_unmap_notify(file, argument, memory, owner)?,
            _ => return Err(Errno::ENOTTY.into()),
        }
        Ok(0)
    }

    /// `ALLOC_GREF`: allocates and grants pages, and writes back the index of the first and all references.
    ///
    /// # Errors
    /// `EFAULT` for the first 24 bytes; `ENOSPC` beyond the limit; `ENOMEM`, or what sharing a page is refused with: then
    /// none is shared, but the indices are used up; `EFAULT` if the results can't be written: then the pages stay.
    fn alloc_gref(
        &mut self,
        file: FileId,
        argument: UserPtr,
        memory: &mut dyn UserMemory,
        owner: &mut dyn PageOwner,
    ) -> Result<(), Errno> {
        let bytes: [u8; 24] = memory.fetch(argument)?;
        let (remote, flags, count) = (half_word(&bytes, 0), half_word(&bytes, 2), word(&bytes, 4));
        if self.count.saturating_add(count.into()) > self.limit.into() {
            return Err(Errno::ENOSPC);
        }
        let count = usize::try_from(count).map_err(|_| Errno::ENOMEM)?;
        let index = self.files.get(&file).ok_or(Errno::EBADF)?.next_index;
        let read_only = flags & FLAG_WRITABLE == 0;
        let shared = self.share(file, count, |owner| owner.share(remote, read_only), owner)?;

        let mut answer = bytes;
        let index = index.saturating_mul(PAGE_SIZE).to_ne_bytes();
        put(&mut answer, 8, &index);
        memory.write(argument, &answer)?;
        memory.write(argument.behind(ALLOC_HEADER)?, &shared)?;
        Ok(())
    }

    /// Adds `count` pages to a file, or none; returns their references, as they are written back.
    fn share(
        &mut self,
        file: FileId,
        count: usize,
        mut share: impl FnMut(&mut dyn PageOwner) -> Result<(u32, ioctlab_chardev::Frame), Errno>,
        owner: &mut dyn PageOwner,
    ) -> Result<Vec<u8>, Errno> {
        let mut references = Vec::new();
        references.try_reserve_exact(count.saturating_mul(REFERENCE_SIZE)).map_err(|_| Errno::ENOMEM)?;
        let mut made: Vec<PageId> = Vec::new();
        made.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        let wide = u64::try_from(count).unwrap_or(u64::MAX);
        self.count = self.count.saturating_add(wide);
        let opened = self.files.get_mut(&file).ok_or(Errno::EBADF)?;
        let first = opened.next_index;
        opened.next_index = first.saturating_add(wide);
        for done in 0..wide {
            match share(owner) {
                Ok((reference, frame)) => {
                    references.extend_from_slice(&reference.to_ne_bytes());
                    made.push(self.add(reference, frame));
                }
                Err(errno) => {
                    self.count = self.count.saturating_sub(wide.saturating_sub(done));
                    for page in made {
                        self.let_go(page, owner);
                    }
                    return Err(errno);
                }
            }
        }
        if let Some(opened) = self.files.get_mut(&file) {
            opened.pages.extend((first..).zip(made));
        }
        Ok(references)
    }

    /// `DEALLOC_GREF`: a file refers to pages no longer. Those that are mapped stay until they are not.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` unless the file has a page at each of the indices, and the count isn't 0.
    fn dealloc_gref(
        &mut self,
        file: FileId,
        argument: UserPtr,
        memory: &mut dyn UserMemory,
        owner: &mut dyn PageOwner,
    ) -> Result<(), Errno> {
        let bytes: [u8; 16] = memory.fetch(argument)?;
        let (index, count) = (long(&bytes, 0), word(&bytes, 8));
        if !index.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let opened = self.files.get_mut(&file).ok_or(Errno::EBADF)?;
        let first = index.checked_div(PAGE_SIZE).unwrap_or(0);
        let pages = opened.find(first, count.into()).ok_or(Errno::EINVAL)??;
        for index in (first..).take(pages.len()) {
            opened.pages.remove(&index);
        }
        for page in pages {
            self.let_go(page, owner);
        }
        Ok(())
    }

    /// `SET_UNMAP_NOTIFY`. It replaces what was set before.
    ///
    /// # Errors
    /// `EFAULT`; `ENOENT` unless the index lies in a page of the file; `EINVAL` for an action that isn't one, or for an
    /// event's port that isn't a program's.
    fn set_unmap_notify(
        &mut self,
        file: FileId,
        argument: UserPtr,
        memory: &mut dyn UserMemory,
        owner: &mut dyn PageOwner,
    ) -> Result<(), Errno> {
        let bytes: [u8; 16] = memory.fetch(argument)?;
        let (index, actions, port) = (long(&bytes, 0), word(&bytes, 8), word(&bytes, 12));
        let opened = self.files.get(&file).ok_or(Errno::EBADF)?;
        let place = index.checked_div(PAGE_SIZE).unwrap_or(0);
        let id = *opened.pages.get(&place).ok_or(Errno::ENOENT)?;
        let page = self.pages.get_mut(&id).ok_or(Errno::ENOENT)?;
        if actions & !(NOTIFY_CLEAR_BYTE | NOTIFY_SEND_EVENT) != 0 {
            return Err(Errno::EINVAL);
        }
        let offset = u16::try_from(index.checked_rem(PAGE_SIZE).unwrap_or(0)).unwrap_or(0);
        let notify = Notify { actions, offset, port };
        // Before the one that is held already is let go: they may be the same.
        if let Some(port) = notify.held_port() {
            owner.hold_port(port).map_err(|_| Errno::EINVAL)?;
        }
        let before = core::mem::replace(&mut page.notify, notify);
        if actions & NOTIFY_CLEAR_BYTE != 0 {
            self.clearing.insert(id);
        } else {
            self.clearing.remove(&id);
        }
        if let Some(port) = before.held_port() {
            owner.let_port_go(port);
        }
        Ok(())
    }
}
