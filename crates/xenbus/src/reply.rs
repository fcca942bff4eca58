//! What the store's answers and events do.

use crate::{
    Bus, Complaint,
    outgoing::{Purpose, Request, Waiter},
};
use ioctlab_abi::xenbus::{Header, kind};
use ioctlab_chardev::{Errno, FileId};

impl Bus {
    /// A request got its answer.
    pub(crate) fn settle(&mut self, request: Request, kind: u32, body: &[u8]) {
        match request.waiter {
            Waiter::File(file, asked, purpose) => {
                self.let_go(file, request.cost);
                if let Some(state) = self.files.get_mut(&file) {
                    state.in_flight = state.in_flight.saturating_sub(1);
                }
                self.answered(file, asked, purpose, kind, body);
                self.end_if_done(file);
            }
            Waiter::Kernel(ticket, asked) => {
                self.held = self.held.saturating_sub(request.cost);
                self.client.answered(ticket, asked, kind, body);
            }
            Waiter::Nobody => self.held = self.held.saturating_sub(request.cost),
        }
    }

    /// A file's request got its answer (`xenbus_dev_queue_reply`, or the end of `xenbus_write_watch`).
    fn answered(&mut self, file: FileId, asked: Header, purpose: Purpose, kind: u32, body: &[u8]) {
        match purpose {
            Purpose::Forward => {
                if let Err(complaint) = self.note_transaction(file, asked, kind, body) {
                    self.complaints.push(complaint);
                    return;
                }
                self.answer_late(file, kind, asked, body);
            }
            Purpose::Watch(id) => {
                if kind == kind::WATCH {
                    return self.answer_late(file, kind::WATCH, asked, b"OK\0");
                }
                if let Some(watch) = self.watches.remove(id) {
                    self.let_go(file, watch.cost());
                }
                let body = if kind == kind::ERROR { body } else { b"EINVAL\0" };
                self.answer_late(file, kind::ERROR, asked, body);
            }
            Purpose::Unwatch => self.answer_late(file, kind::UNWATCH, asked, b"OK\0"),
        }
    }

    /// Keeps track of a file's transactions.
    ///
    /// # Errors
    /// Why the answer is not passed on.
    fn note_transaction(
        &mut self,
        file: FileId,
        asked: Header,
        kind: u32,
        body: &[u8],
    ) -> Result<(), Complaint> {
        let Some(state) = self.files.get_mut(&file) else { return Ok(()) };
        match asked.kind {
            kind::TRANSACTION_START => {
                let place = state.transaction(0).ok_or(Complaint::NoTransaction(file))?;
                let number = if kind == kind::ERROR { None } else { number(body) };
                match (number, state.transactions.get_mut(place)) {
                    (Some(number), Some(transaction)) => *transaction = number,
                    _ => state.end_transaction(place),
                }
                if number.is_none() && kind != kind::ERROR {
                    return Err(Complaint::BadTransaction(file));
                }
            }
            kind::TRANSACTION_END => {
                let place = state.transaction(asked.transaction).ok_or(Complaint::NoTransaction(file))?;
                state.end_transaction(place);
            }
            _ => {}
        }
        Ok(())
    }

    /// A watch has fired: the file that it belongs to gets an event, with the token of its own (`watch_fired`).
    pub(crate) fn watch_event(&mut self, body: &[u8]) {
        let ended = body.strip_suffix(b"\0").unwrap_or(body);
        let mut strings = ended.split(|byte| *byte == 0);
        let (Some(path), Some(token), None) = (strings.next(), strings.next(), strings.next()) else {
            return self.complaints.push(Complaint::BadEvent);
        };
        let Some(watch) = self.watches.by_token(token) else { return };
        let file = watch.file;
        // Path and token, each with its NUL.
        let mut event = alloc::vec::Vec::new();
        let length = path.len().saturating_add(watch.token.len()).saturating_add(2);
        if event.try_reserve_exact(length).is_ok() {
            event.extend_from_slice(path);
            event.push(0);
            event.extend_from_slice(&watch.token);
            event.push(0);
            self.answer_late(file, kind::WATCH_EVENT, Header::default(), &event);
        } else {
            self.complaints.push(Complaint::Lost(file));
        }
    }

    /// Answers, if somebody is still there to be answered.
    fn answer_late(&mut self, file: FileId, kind: u32, asked: Header, body: &[u8]) {
        if self.answer(file, kind, asked, body) == Err(Errno::ENOMEM) {
            self.complaints.push(Complaint::Lost(file));
        }
    }

    /// If a file is released and all its requests are answered: aborts its transactions and ends its watches, and forgets
    /// it (`xenbus_worker`). Of what there is no memory for, the store isn't told.
    pub(crate) fn end_if_done(&mut self, file: FileId) {
        if !self.files.get(&file).is_some_and(|state| state.released && state.in_flight == 0) {
            return;
        }
        let transactions = self.files.get_mut(&file).map(|state| core::mem::take(&mut state.transactions));
        for transaction in transactions.unwrap_or_default().into_iter().rev() {
            let _ = self.ask(kind::TRANSACTION_END, transaction, &[b"F\0"], Waiter::Nobody);
        }
        while let Some(watch) = self.watches.pop(file) {
            self.let_go(file, watch.cost());
            let _ = self.ask(kind::UNWATCH, 0, &[&watch.path, b"\0", &watch.id().token()], Waiter::Nobody);
        }
        self.files.remove(&file);
    }
}

/// A decimal number as a string, perhaps with a plus before it, or a new line after it (`kstrtou32`).
pub(crate) fn number(body: &[u8]) -> Option<u32> {
    let text = body.split(|byte| *byte == 0).next()?;
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    core::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_as_the_kernel_reads_them() {
        for (text, expected) in [
            (&b"1\0"[..], Some(1)),
            (b"1", Some(1)),
            (b"+7\n\0", Some(7)),
            (b"4294967295\0", Some(u32::MAX)),
            (b"4294967296\0", None),
            (b"007\0x", Some(7)),
            (b"", None),
            (b"\0", None),
            (b"-1\0", None),
            (b"0x1\0", None),
            (b" 1\0", None),
            (b"1\n\n\0", None),
            (b"OK\0", None),
        ] {
            assert_eq!(number(text), expected, "{text:?}");
        }
    }
}
