//! What a complete message of a program does.

use crate::{
    Bus,
    outgoing::{Purpose, Waiter},
    watches,
};
use ioctlab_abi::xenbus::{HEADER_SIZE, Header, kind};
use ioctlab_chardev::{Errno, FileId};

impl Bus {
    /// Acts on a message: watches are the kernel's, all else is the store's, of whatever kind.
    ///
    /// | kind | checks, in order, and the errors that are answered |
    /// | --- | --- |
    /// | `XS_WATCH`, `XS_UNWATCH` | `EINVAL` unless there are two strings that end; more is ignored, and so is the transaction |
    /// | `XS_TRANSACTION_START` | none; passed on |
    /// | `XS_TRANSACTION_END` | `ENOENT` for a transaction other than 0 that the file doesn't have; `EINVAL` if the payload is neither `T` nor `F`; passed on |
    /// | any other | `ENOENT` for a transaction other than 0 that the file doesn't have; passed on |
    ///
    /// # Errors
    /// `ENOMEM`: nothing is answered.
    pub(crate) fn act(&mut self, file: FileId, asked: Header, body: &[u8]) -> Result<(), Errno> {
        match asked.kind {
            kind::WATCH | kind::UNWATCH => match two_strings(body) {
                Some((path, token)) if asked.kind == kind::WATCH => self.watch(file, asked, path, token),
                Some((path, token)) => self.unwatch(file, asked, path, token),
                None => self.answer(file, kind::ERROR, asked, b"EINVAL\0"),
            },
            _ => self.forward(file, asked, body),
        }
    }

    /// `xenbus_write_transaction`
    fn forward(&mut self, file: FileId, asked: Header, body: &[u8]) -> Result<(), Errno> {
        let state = self.file_mut(file)?;
        let starts = asked.kind == kind::TRANSACTION_START;
        if starts {
            state.reserve_transaction()?;
        } else if asked.transaction != 0 && state.transaction(asked.transaction).is_none() {
            return self.answer(file, kind::ERROR, asked, b"ENOENT\0");
        } else if asked.kind == kind::TRANSACTION_END && !matches!(body, b"T\0" | b"F\0") {
            return self.answer(file, kind::ERROR, asked, b"EINVAL\0");
        }
        let waiter = Waiter::File(file, asked, Purpose::Forward);
        self.ask(asked.kind, asked.transaction, &[body], waiter)?;
        if starts {
            self.file_mut(file)?.transactions.push(0);
        }
        Ok(())
    }

    /// Sets up a watch. It stands from now on; the store's answer says whether it stays.
    fn watch(&mut self, file: FileId, asked: Header, path: &[u8], token: &[u8]) -> Result<(), Errno> {
        let cost = watches::cost(path, token);
        self.check_room(file, cost)?;
        let id = self.watches.add(file, path, token)?;
        self.hold(file, cost);
        let waiter = Waiter::File(file, asked, Purpose::Watch(id));
        let asked = self.ask(kind::WATCH, 0, &[path, b"\0", &id.token()], waiter);
        if asked.is_err() {
            self.watches.remove(id);
            self.let_go(file, cost);
        }
        asked
    }

    /// Ends the newest of the file's watches with this path and token, if there is one: there are no more events of it.
    fn unwatch(&mut self, file: FileId, asked: Header, path: &[u8], token: &[u8]) -> Result<(), Errno> {
        let Some(id) = self.watches.find(file, path, token) else {
            return self.answer(file, kind::UNWATCH, asked, b"OK\0");
        };
        let waiter = Waiter::File(file, asked, Purpose::Unwatch);
        self.ask(kind::UNWATCH, 0, &[path, b"\0", &id.token()], waiter)?;
        if let Some(watch) = self.watches.remove(id) {
            self.let_go(file, watch.cost());
        }
        Ok(())
    }

    /// Adds an answer to a file's unread data: with the numbers that the program chose.
    ///
    /// # Errors
    /// `EBADF`, `ENOMEM`
    pub(crate) fn answer(
        &mut self,
        file: FileId,
        kind: u32,
        asked: Header,
        body: &[u8],
    ) -> Result<(), Errno> {
        self.deliver(file, Header { kind, ..asked }, &[body])
    }

    /// Adds a message to a file's unread data. The header's length is set here.
    ///
    /// # Errors
    /// `EBADF`, `ENOMEM`
    pub(crate) fn deliver(&mut self, file: FileId, header: Header, body: &[&[u8]]) -> Result<(), Errno> {
        let length = body.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        let length = u32::try_from(length).map_err(|_| Errno::ENOMEM)?;
        let header: [u8; HEADER_SIZE] = Header { length, ..header }.to_bytes();
        let inbox = &mut self.file_mut(file)?.inbox;
        let grows = match body {
            [] => inbox.push(&[&header]),
            [only] => inbox.push(&[&header, only]),
            [first, second, ..] => inbox.push(&[&header, first, second]),
        }?;
        self.growths = self.growths.saturating_add(usize::from(grows));
        Ok(())
    }
}

/// The first two strings of a payload, without their NULs; `None` if there are not two that end.
fn two_strings(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut strings = body.split(|byte| *byte == 0);
    let (first, second) = (strings.next()?, strings.next()?);
    strings.next()?;
    Some((first, second))
}
