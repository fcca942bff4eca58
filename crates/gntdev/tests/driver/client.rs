//! A client's address space.

use std::collections::{BTreeMap, BTreeSet};

use ioctlab_chardev::{BadAddress, MappingId, UserMemory, UserPtr};

pub(crate) const PAGE: usize = 4096;

/// A client's memory: pages that are there, some for reading only; and which mappings are where.
#[derive(Default)]
pub(crate) struct Client {
    pages: BTreeMap<u64, [u8; PAGE]>,
    read_only: BTreeSet<u64>,
    /// Mappings by their first and last address.
    pub(crate) mappings: Vec<(u64, u64, Option<MappingId>)>,
}

impl Client {
    pub(crate) fn add(&mut self, page: u64) {
        assert_eq!(page % PAGE as u64, 0);
        self.pages.insert(page, [0; PAGE]);
    }

    pub(crate) fn protect(&mut self, page: u64) {
        self.read_only.insert(page);
    }

    fn byte(&mut self, at: u64) -> Option<&mut u8> {
        let page = at - at % PAGE as u64;
        Some(&mut self.pages.get_mut(&page)?[(at - page) as usize])
    }

    /// Puts bytes there, whatever the protection.
    pub(crate) fn put(&mut self, at: u64, bytes: &[u8]) {
        for (index, byte) in bytes.iter().enumerate() {
            *self.byte(at + index as u64).expect("memory to put something in") = *byte;
        }
    }

    pub(crate) fn get<const N: usize>(&mut self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.read(UserPtr(at), &mut bytes).expect("memory");
        bytes
    }
}

impl UserMemory for Client {
    fn read(&mut self, from: UserPtr, to: &mut [u8]) -> Result<(), BadAddress> {
        for (index, byte) in to.iter_mut().enumerate() {
            let at = from.0.checked_add(index as u64).ok_or(BadAddress)?;
            *byte = *self.byte(at).ok_or(BadAddress)?;
        }
        Ok(())
    }

    fn write(&mut self, to: UserPtr, from: &[u8]) -> Result<(), BadAddress> {
        for (index, byte) in from.iter().enumerate() {
            let at = to.0.checked_add(index as u64).ok_or(BadAddress)?;
            self.check_writable(UserPtr(at), 1)?;
            *self.byte(at).ok_or(BadAddress)? = *byte;
        }
        Ok(())
    }

    fn check_writable(&mut self, to: UserPtr, length: usize) -> Result<(), BadAddress> {
        for at in to.0..to.0.checked_add(length as u64).ok_or(BadAddress)? {
            let page = at - at % PAGE as u64;
            if !self.pages.contains_key(&page) || self.read_only.contains(&page) {
                return Err(BadAddress);
            }
        }
        Ok(())
    }

    fn mapping_from(&mut self, address: UserPtr) -> Option<MappingId> {
        let above = self.mappings.iter().filter(|(_, end, _)| *end > address.0);
        above.min_by_key(|(start, ..)| *start).and_then(|(.., mapping)| *mapping)
    }
}
