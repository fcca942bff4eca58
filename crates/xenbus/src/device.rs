//! The calls of the device (`xenbus_dev_frontend.c`).

use crate::{
    Bus,
    file::{BUFFER_SIZE, File},
};
use alloc::collections::btree_map::Entry;
use ioctlab_abi::xenbus::{HEADER_SIZE, Header};
use ioctlab_chardev::{
    BadAddress, CallResult, Errno, FileId, PollEvents, Request, Stop, UserMemory, UserPtr,
};

/// The size of the copy between the stream and user memory, in bytes: small enough for a kernel's stack.
const BOUNCE_SIZE: usize = 512;

impl Bus {
    /// A file was opened. Of no effect if it is open already.
    ///
    /// # Errors
    /// `ENOENT` if there is no store, `ENOMEM`.
    pub fn open(&mut self, file: FileId) -> Result<(), Errno> {
        if self.port == 0 {
            return Err(Errno::ENOENT);
        }
        if let Entry::Vacant(vacant) = self.files.entry(file) {
            vacant.insert(File::new()?);
        }
        Ok(())
    }

    /// The last reference to a file went. When all its requests are answered, its open transactions are aborted and its
    /// watches ended, newest first. Of no effect if it is not open.
    pub fn release(&mut self, file: FileId) {
        let Ok(state) = self.file_mut(file) else { return };
        state.released = true;
        state.inbox.consume(usize::MAX);
        if state.inbox.take_growth() {
            self.growths = self.growths.saturating_sub(1);
        }
        self.end_if_done(file);
    }

    /// `read(2)`: takes up to `count` bytes, of however many messages. Returns the bytes read.
    ///
    /// # Errors
    /// [`Stop::Wait`] if there are none (`EAGAIN` for a non-blocking file), whatever the count; then `EFAULT` if not even
    /// the first byte can be written. What could be written is read.
    pub fn read(
        &mut self,
        file: FileId,
        to: UserPtr,
        count: usize,
        memory: &mut dyn UserMemory,
    ) -> CallResult<usize> {
        let inbox = &mut self.file_mut(file)?.inbox;
        if inbox.len() == 0 {
            return Err(Stop::Wait);
        }
        let total = count.min(inbox.len());
        let mut done: usize = 0;
        while done < total {
            let mut bounce = [0; BOUNCE_SIZE];
            let chunk = bounce.get_mut(..total.saturating_sub(done).min(BOUNCE_SIZE)).unwrap_or_default();
            inbox.peek(done, chunk);
            let written = write_as_far_as_possible(to, done, chunk, memory);
            done = done.saturating_add(written);
            if written < chunk.len() {
                if done == 0 {
                    return Err(Errno::EFAULT.into());
                }
                break;
            }
        }
        inbox.consume(done);
        Ok(done)
    }

    /// `write(2)`: adds bytes to the message that is being put together, and acts on it when it is complete. Returns
    /// `count`.
    ///
    /// What follows a complete message in the same write is dropped. So is the message, when acting on it fails.
    ///
    /// # Errors
    /// A count of 0 is 0. `EINVAL` if there would be more than 4096 bytes, header included, which drops all there is;
    /// `EFAULT`; `E2BIG` if the header announces more than that, which drops all there is; then `ENOMEM`. Never
    /// [`Stop::Wait`]. What else is wrong with a request is said in a message.
    pub fn write(
        &mut self,
        file: FileId,
        from: UserPtr,
        count: usize,
        memory: &mut dyn UserMemory,
    ) -> CallResult<usize> {
        let state = self.file_mut(file)?;
        if count == 0 {
            return Ok(0);
        }
        let before = state.partial.len();
        if count > BUFFER_SIZE.saturating_sub(before) {
            state.partial.clear();
            return Err(Errno::EINVAL.into());
        }
        state.partial.resize(before.saturating_add(count), 0);
        let copied = memory.read(from, state.partial.get_mut(before..).unwrap_or_default());
        if copied.is_err() {
            state.partial.truncate(before);
            return Err(Errno::EFAULT.into());
        }
        let Some((header, rest)) = state.partial.split_first_chunk::<HEADER_SIZE>() else { return Ok(count) };
        let header = Header::from_bytes(*header);
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        if length > BUFFER_SIZE.saturating_sub(HEADER_SIZE) {
            state.partial.clear();
            return Err(Errno::E2BIG.into());
        }
        if rest.len() < length {
            return Ok(count);
        }
        let mut buffer = core::mem::take(&mut state.partial);
        let body = buffer.get(HEADER_SIZE..HEADER_SIZE.saturating_add(length)).unwrap_or_default();
        let acted = self.act(file, header, body);
        buffer.clear();
        if let Ok(state) = self.file_mut(file) {
            state.partial = buffer;
        }
        acted?;
        Ok(count)
    }

    /// `ioctl(2)`: there are none.
    ///
    /// # Errors
    /// `ENOTTY`, always.
    pub fn ioctl(
        &mut self,
        file: FileId,
        _request: Request,
        _argument: u64,
        _memory: &mut dyn UserMemory,
    ) -> CallResult<i64> {
        self.file_mut(file)?;
        Err(Errno::ENOTTY.into())
    }

    /// `poll(2)`: readable if there is unread data. It is never said to be writable, though it always is.
    ///
    /// Of a file that is not open: nothing.
    pub fn poll(&self, file: FileId) -> PollEvents {
        if self.unread(file) == 0 { PollEvents::default() } else { PollEvents::IN | PollEvents::RDNORM }
    }

    /// A file's unread data, in bytes; 0 if it is not open.
    pub fn unread(&self, file: FileId) -> usize {
        self.files.get(&file).map_or(0, |state| state.inbox.len())
    }

    /// How many bytes a read of `count` bytes would take now; 0 if it would wait or take none.
    pub fn would_read(&self, file: FileId, count: usize) -> usize {
        count.min(self.unread(file))
    }

    /// Copies unread data to `to` without taking it; returns how many bytes.
    pub fn peek(&self, file: FileId, to: &mut [u8]) -> usize {
        self.files.get(&file).map_or(0, |state| state.inbox.peek(0, to))
    }

    /// Takes unread data, at most as much as there is.
    pub fn consume(&mut self, file: FileId, bytes: usize) {
        if let Ok(state) = self.file_mut(file) {
            state.inbox.consume(bytes);
        }
    }

    /// The next file whose unread data has grown since it was last returned here, in ascending order of files.
    pub fn next_growth(&mut self) -> Option<FileId> {
        if self.growths == 0 {
            return None;
        }
        self.growths = self.growths.saturating_sub(1);
        self.files.iter_mut().find_map(|(file, state)| state.inbox.take_growth().then_some(*file))
    }

    /// An open file.
    ///
    /// # Errors
    /// `EBADF`
    pub(crate) fn file_mut(&mut self, file: FileId) -> Result<&mut File, Errno> {
        self.files.get_mut(&file).filter(|state| !state.released).ok_or(Errno::EBADF)
    }
}

/// Writes bytes to `to` and an offset, up to the first that can't be written; returns how many could (`copy_to_user`).
fn write_as_far_as_possible(to: UserPtr, offset: usize, bytes: &[u8], memory: &mut dyn UserMemory) -> usize {
    let mut write = |length: usize| -> Result<(), BadAddress> {
        let offset = u64::try_from(offset).map_err(|_| BadAddress)?;
        let address = to.0.checked_add(offset).ok_or(BadAddress)?;
        memory.write(UserPtr(address), bytes.get(..length).unwrap_or_default())
    };
    if write(bytes.len()).is_ok() {
        return bytes.len();
    }
    // So many can be written, and so many can't.
    let (mut low, mut high) = (0, bytes.len());
    while high.saturating_sub(low) > 1 {
        let middle = low.midpoint(high);
        if write(middle).is_ok() {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}
