//! A guest with pages to share, a client's memory, and a bench that puts a driver between.

use std::collections::{BTreeMap, BTreeSet};

use ioctlab_abi::gntalloc::{ALLOC_GREF, DEALLOC_GREF, SET_UNMAP_NOTIFY};
use ioctlab_chardev::{
    BadAddress, Errno, FileId, Frame, Mapping, MappingId, MmapRequest, Request, Stop, UserMemory, UserPtr,
};
use ioctlab_gntalloc::{Driver, PageOwner};

pub(crate) const PAGE: u64 = 4096;
/// The limit of the bench's driver.
pub(crate) const LIMIT: u32 = 40;

/// What the driver did to the guest, in order. A page goes by its reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Did {
    Share(u16, bool),
    End(u32),
    Clear(u32, u16),
    Hold(u32),
    LetGo(u32),
    Notify(u32),
}

/// A guest; ports 20 to 29 are programs'.
pub(crate) struct Guest {
    pub(crate) did: Vec<Did>,
    pub(crate) shared: BTreeSet<u32>,
    pub(crate) held: BTreeMap<u32, u32>,
    /// How many pages there are left to share.
    pub(crate) left: usize,
    next: u32,
}

pub(crate) fn frame_of(reference: u32) -> Frame {
    Frame(500 + u64::from(reference) * 3)
}

impl PageOwner for Guest {
    fn share(&mut self, remote: u16, read_only: bool) -> Result<(u32, Frame), Errno> {
        self.left = self.left.checked_sub(1).ok_or(Errno::ENOMEM)?;
        self.did.push(Did::Share(remote, read_only));
        self.next += 1;
        self.shared.insert(self.next);
        Ok((self.next, frame_of(self.next)))
    }

    fn end_access(&mut self, reference: u32, frame: Frame) {
        assert_eq!(frame, frame_of(reference));
        assert!(self.shared.remove(&reference), "access ends once");
        self.left += 1;
        self.did.push(Did::End(reference));
    }

    fn clear_byte(&mut self, frame: Frame, offset: u16) {
        let reference = self.shared.iter().find(|reference| frame_of(**reference) == frame);
        self.did.push(Did::Clear(*reference.expect("a page that is shared"), offset));
    }

    fn hold_port(&mut self, port: u32) -> Result<(), Errno> {
        if !(20..30).contains(&port) {
            return Err(Errno::EINVAL);
        }
        self.did.push(Did::Hold(port));
        *self.held.entry(port).or_default() += 1;
        Ok(())
    }

    fn let_port_go(&mut self, port: u32) {
        self.did.push(Did::LetGo(port));
        *self.held.get_mut(&port).expect("a port that is held") -= 1;
        self.held.retain(|_, count| *count > 0);
    }

    fn notify(&mut self, port: u32) {
        assert!(self.held.contains_key(&port), "a port is sent through while it is held");
        self.did.push(Did::Notify(port));
    }
}

/// A client's memory: some bytes from [`ARGUMENT`] on, which may be for reading only.
pub(crate) struct Client {
    bytes: Vec<u8>,
    pub(crate) read_only: bool,
}

pub(crate) const ARGUMENT: u64 = 0x10_0000;
const SIZE: usize = 8192;

impl Client {
    pub(crate) fn put(&mut self, at: u64, bytes: &[u8]) {
        let start = (at - ARGUMENT) as usize;
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn get<const N: usize>(&self, at: u64) -> [u8; N] {
        let start = (at - ARGUMENT) as usize;
        self.bytes[start..start + N].try_into().unwrap()
    }

    fn place(&self, at: UserPtr, length: usize) -> Result<usize, BadAddress> {
        let start = usize::try_from(at.0.checked_sub(ARGUMENT).ok_or(BadAddress)?).map_err(|_| BadAddress)?;
        if start.checked_add(length).is_some_and(|end| end <= self.bytes.len()) {
            Ok(start)
        } else {
            Err(BadAddress)
        }
    }
}

impl UserMemory for Client {
    fn read(&mut self, from: UserPtr, to: &mut [u8]) -> Result<(), BadAddress> {
        let start = self.place(from, to.len())?;
        to.copy_from_slice(&self.bytes[start..start + to.len()]);
        Ok(())
    }

    fn write(&mut self, to: UserPtr, from: &[u8]) -> Result<(), BadAddress> {
        let start = self.place(to, from.len())?;
        if self.read_only && !from.is_empty() {
            return Err(BadAddress);
        }
        self.bytes[start..start + from.len()].copy_from_slice(from);
        Ok(())
    }
}

/// An argument so placed that just `bytes` of it can be read.
pub(crate) fn cut_off(bytes: u64) -> u64 {
    ARGUMENT + SIZE as u64 - bytes
}

/// The file that is open from the start.
pub(crate) const FILE: FileId = FileId(1);

/// A driver, its guest and a client.
pub(crate) struct Bench {
    pub(crate) driver: Driver,
    pub(crate) guest: Guest,
    pub(crate) client: Client,
    next: u64,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let mut driver = Driver::new(LIMIT);
        driver.open(FILE);
        let guest =
            Guest { did: Vec::new(), shared: BTreeSet::new(), held: BTreeMap::new(), left: 1000, next: 7 };
        Self { driver, guest, client: Client { bytes: vec![0; SIZE], read_only: false }, next: 0 }
    }

    pub(crate) fn ioctl(&mut self, file: FileId, request: Request, argument: u64) -> Result<(), Errno> {
        match self.driver.ioctl(file, request, argument, &mut self.client, &mut self.guest) {
            Ok(value) => {
                assert_eq!(value, 0);
                Ok(())
            }
            Err(Stop::Fail(errno)) => Err(errno),
            Err(Stop::Wait) => panic!("nothing waits"),
        }
    }

    /// ALLOC_GREF for domain 3, writable: the index in pages, and the references.
    pub(crate) fn alloc(&mut self, file: FileId, count: u32) -> Result<(u64, Vec<u32>), Errno> {
        self.client.put(ARGUMENT, &[3, 0, 1, 0]);
        self.client.put(ARGUMENT + 4, &count.to_ne_bytes());
        self.ioctl(file, ALLOC_GREF, ARGUMENT)?;
        let index = u64::from_ne_bytes(self.client.get(ARGUMENT + 8));
        assert_eq!(index % PAGE, 0);
        let reference = |at: u32| u32::from_ne_bytes(self.client.get(ARGUMENT + 16 + u64::from(at) * 4));
        Ok((index / PAGE, (0..count).map(reference).collect()))
    }

    /// DEALLOC_GREF, by an index in bytes.
    pub(crate) fn dealloc_at(&mut self, file: FileId, index: u64, count: u32) -> Result<(), Errno> {
        self.client.put(ARGUMENT, &index.to_ne_bytes());
        self.client.put(ARGUMENT + 8, &u64::from(count).to_ne_bytes());
        self.ioctl(file, DEALLOC_GREF, ARGUMENT)
    }

    pub(crate) fn dealloc(&mut self, file: FileId, index: u64, count: u32) -> Result<(), Errno> {
        self.dealloc_at(file, index * PAGE, count)
    }

    /// SET_UNMAP_NOTIFY, by an index in bytes.
    pub(crate) fn notify(&mut self, file: FileId, index: u64, actions: u32, port: u32) -> Result<(), Errno> {
        self.client.put(ARGUMENT, &index.to_ne_bytes());
        self.client.put(ARGUMENT + 8, &actions.to_ne_bytes());
        self.client.put(ARGUMENT + 12, &port.to_ne_bytes());
        self.ioctl(file, SET_UNMAP_NOTIFY, ARGUMENT)
    }

    pub(crate) fn mmap(
        &mut self,
        file: FileId,
        page: u64,
        pages: u64,
        shared: bool,
    ) -> Result<(MappingId, Mapping), Errno> {
        self.next += 1;
        let mapping = MappingId(self.next);
        let made = self.driver.mmap(file, &MmapRequest { mapping, page, pages, shared, writable: true })?;
        Ok((mapping, made))
    }

    pub(crate) fn unmapped(&mut self, mapping: MappingId) {
        self.driver.unmapped(mapping, &mut self.guest);
    }

    pub(crate) fn release(&mut self, file: FileId) {
        self.driver.release(file, &mut self.guest);
    }

    /// What was done since this was asked last.
    pub(crate) fn did(&mut self) -> Vec<Did> {
        std::mem::take(&mut self.guest.did)
    }

    /// Nothing is left of anything.
    pub(crate) fn is_clean(&mut self) {
        assert_eq!((self.driver.pages(), self.guest.shared.len(), self.guest.held.len()), (0, 0, 0));
        assert!(self.driver.changed_by_unmapping().is_empty());
        self.driver.open(FileId(99));
        assert!(self.alloc(FileId(99), LIMIT).is_ok(), "all of the limit is there again");
        self.release(FileId(99));
    }
}
