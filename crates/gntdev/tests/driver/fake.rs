//! A guest with pages granted to it, a client's memory, and a bench that puts a driver between.

use std::collections::BTreeMap;

use ioctlab_abi::gntdev;
use ioctlab_chardev::{CallResult, Errno, FileId, Frame, Mapping, MappingId, MmapRequest, Request, Stop};
use ioctlab_gntdev::{Driver, GrantTable, Location, Status};

use crate::client::Client;
pub(crate) use crate::client::PAGE;

/// The domain that has granted pages; references are those of [`Guest::new`].
pub(crate) const GRANTER: u16 = 7;
pub(crate) const BAD_REFERENCE: Status = Status(-3);
pub(crate) const BAD_DOMAIN: Status = Status(-2);

/// What the driver did to the guest, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Did {
    Map(u32, bool),
    Unmap(u32),
    Clear(u64, u16),
    Hold(u32),
    LetGo(u32),
    Notify(u32),
}

/// A guest: grants 8 to 39 of domain 7 are its to use, those from 32 on for reading only; ports 20 to 29 are programs'.
pub(crate) struct Guest {
    pub(crate) did: Vec<Did>,
    /// Grants that are mapped, by handle.
    pub(crate) mapped: BTreeMap<u32, u32>,
    pub(crate) held: BTreeMap<u32, u32>,
    pub(crate) bytes: BTreeMap<u64, Vec<u8>>,
    next_handle: u32,
}

/// The page behind a reference.
pub(crate) fn frame_of(reference: u32) -> u64 {
    1000 + u64::from(reference) * 2
}

impl Guest {
    fn new() -> Self {
        let bytes = (8..40).map(|reference| (frame_of(reference), vec![reference as u8; PAGE])).collect();
        Self { did: Vec::new(), mapped: BTreeMap::new(), held: BTreeMap::new(), bytes, next_handle: 100 }
    }

    fn check(&self, domain: u16, reference: u32, writes: bool) -> Result<u64, Status> {
        match (domain, reference) {
            (GRANTER, 8..32) => Ok(frame_of(reference)),
            (GRANTER, 32..40) if !writes => Ok(frame_of(reference)),
            (GRANTER, 32..40) => Err(Status(-1)),
            (GRANTER, _) => Err(BAD_REFERENCE),
            _ => Err(BAD_DOMAIN),
        }
    }
}

impl GrantTable for Guest {
    fn map(&mut self, domain: u16, reference: u32, read_only: bool) -> Result<(u32, Frame), Status> {
        let frame = self.check(domain, reference, !read_only)?;
        self.did.push(Did::Map(reference, read_only));
        self.next_handle += 1;
        self.mapped.insert(self.next_handle, reference);
        Ok((self.next_handle, Frame(frame)))
    }

    fn unmap(&mut self, handle: u32) {
        let reference = self.mapped.remove(&handle).expect("a handle is unmapped once");
        self.did.push(Did::Unmap(reference));
    }

    fn clear_byte(&mut self, frame: Frame, offset: u16) {
        self.did.push(Did::Clear(frame.0, offset));
        assert!(
            self.mapped.values().any(|reference| frame_of(*reference) == frame.0),
            "only of a mapped page"
        );
        self.bytes.get_mut(&frame.0).unwrap()[usize::from(offset)] = 0;
    }

    fn copy_from(&mut self, source: Location, to: &mut [u8]) -> Result<(), Status> {
        let frame = self.check(source.domain, source.reference, false)?;
        let start = usize::from(source.offset);
        to.copy_from_slice(&self.bytes[&frame][start..start + to.len()]);
        Ok(())
    }

    fn copy_to(&mut self, dest: Location, from: &[u8]) -> Result<(), Status> {
        let frame = self.check(dest.domain, dest.reference, true)?;
        let start = usize::from(dest.offset);
        self.bytes.get_mut(&frame).unwrap()[start..start + from.len()].copy_from_slice(from);
        Ok(())
    }

    fn copy_between(&mut self, source: Location, dest: Location, length: u16) -> Result<(), Status> {
        let mut bytes = vec![0; length.into()];
        self.copy_from(source, &mut bytes)?;
        self.copy_to(dest, &bytes)
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
        let count = self.held.get_mut(&port).expect("a port that is held");
        *count -= 1;
        self.held.retain(|_, count| *count > 0);
    }

    fn notify(&mut self, port: u32) {
        assert!(self.held.contains_key(&port), "a port is sent through while it is held");
        self.did.push(Did::Notify(port));
    }
}

/// Where the bench has arguments.
pub(crate) const ARGUMENT: u64 = 0x10_0000;

/// A driver, its guest and a client.
pub(crate) struct Bench {
    pub(crate) driver: Driver,
    pub(crate) guest: Guest,
    pub(crate) client: Client,
    next: u64,
}

impl Bench {
    /// With one file, number 1, and memory for arguments.
    pub(crate) fn new() -> Self {
        let mut client = Client::default();
        for page in 0..8 {
            client.add(ARGUMENT + page * PAGE as u64);
        }
        let mut driver = Driver::new(64);
        driver.open(FILE);
        Self { driver, guest: Guest::new(), client, next: 0 }
    }

    pub(crate) fn ioctl(&mut self, file: FileId, request: Request, argument: u64) -> Result<(), Errno> {
        let result: CallResult<i64> =
            self.driver.ioctl(file, request, argument, &mut self.client, &mut self.guest);
        match result {
            Ok(value) => {
                assert_eq!(value, 0);
                Ok(())
            }
            Err(Stop::Fail(errno)) => Err(errno),
            Err(Stop::Wait) => panic!("nothing waits"),
        }
    }

    /// MAP_GRANT_REF of grants of domain 7; the index in pages.
    pub(crate) fn map(&mut self, file: FileId, references: &[u32]) -> Result<u64, Errno> {
        let grants: Vec<(u32, u32)> = references.iter().map(|r| (u32::from(GRANTER), *r)).collect();
        self.map_of(file, &grants)
    }

    pub(crate) fn map_of(&mut self, file: FileId, grants: &[(u32, u32)]) -> Result<u64, Errno> {
        self.client.put(ARGUMENT, &[0; 24]);
        self.client.put(ARGUMENT, &(grants.len() as u32).to_ne_bytes());
        for (index, (domain, reference)) in grants.iter().enumerate() {
            let at = ARGUMENT + 16 + index as u64 * 8;
            self.client.put(at, &domain.to_ne_bytes());
            self.client.put(at + 4, &reference.to_ne_bytes());
        }
        self.ioctl(file, gntdev::MAP_GRANT_REF, ARGUMENT)?;
        Ok(u64::from_ne_bytes(self.client.get(ARGUMENT + 8)) / PAGE as u64)
    }

    /// UNMAP_GRANT_REF, by an index in bytes.
    pub(crate) fn unmap_at(&mut self, file: FileId, index: u64, count: u32) -> Result<(), Errno> {
        self.client.put(ARGUMENT, &index.to_ne_bytes());
        self.client.put(ARGUMENT + 8, &u64::from(count).to_ne_bytes());
        self.ioctl(file, gntdev::UNMAP_GRANT_REF, ARGUMENT)
    }

    pub(crate) fn unmap(&mut self, file: FileId, index: u64, count: u32) -> Result<(), Errno> {
        self.unmap_at(file, index * PAGE as u64, count)
    }

    /// SET_UNMAP_NOTIFY, by an index in bytes.
    pub(crate) fn notify(&mut self, file: FileId, index: u64, actions: u32, port: u32) -> Result<(), Errno> {
        self.client.put(ARGUMENT, &index.to_ne_bytes());
        self.client.put(ARGUMENT + 8, &actions.to_ne_bytes());
        self.client.put(ARGUMENT + 12, &port.to_ne_bytes());
        self.ioctl(file, gntdev::SET_UNMAP_NOTIFY, ARGUMENT)
    }

    pub(crate) fn mmap(
        &mut self,
        file: FileId,
        page: u64,
        pages: u64,
        kind: Kind,
    ) -> Result<(MappingId, Mapping), Errno> {
        self.next += 1;
        let mapping = MappingId(self.next);
        let (shared, writable) = (kind != Kind::Private && kind != Kind::PrivateWritable, kind.writes());
        let request = MmapRequest { mapping, page, pages, shared, writable };
        self.driver.mmap(file, &request, &mut self.guest).map(|made| (mapping, made))
    }

    /// A map that is mapped for writing.
    pub(crate) fn mapped(&mut self, file: FileId, references: &[u32]) -> (u64, MappingId) {
        let index = self.map(file, references).unwrap();
        let (mapping, _) = self.mmap(file, index, references.len() as u64, Kind::Writable).unwrap();
        (index, mapping)
    }

    pub(crate) fn zap(&mut self, mapping: MappingId, first: u64, pages: u64) {
        self.driver.zap(mapping, first, pages, &mut self.guest);
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
    pub(crate) fn is_clean(&self) {
        assert_eq!((self.driver.maps(), self.driver.live_grants()), (0, 0));
        assert!(self.guest.mapped.is_empty() && self.guest.held.is_empty());
        assert!(self.driver.changed_by_unmapping().is_empty());
    }
}

/// The file that is open from the start.
pub(crate) const FILE: FileId = FileId(1);

/// What an mmap asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Writable,
    ReadOnly,
    Private,
    PrivateWritable,
}

impl Kind {
    pub(crate) fn writes(self) -> bool {
        matches!(self, Self::Writable | Self::PrivateWritable)
    }
}
