//! A process that does what the probe program does, on the drivers themselves, and prints what it prints.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use ioctlab_abi::{evtchn as ev, gntalloc as ga, gntdev as gd};
use ioctlab_chardev::{
    CallResult, Errno, FileId, Frame, MappingId, MmapRequest, Request, Stop, UserMemory, UserPtr,
};
use ioctlab_gntalloc as gntalloc;
use ioctlab_gntdev as gntdev;

use crate::client::{Client, PAGE};
use crate::guest::Guest;

pub(crate) const P: u64 = PAGE as u64;
/// Memory of the process: room for arguments, then three pages for copies, then one that ends where nothing follows.
pub(crate) const ARGUMENT: u64 = 0x10_0000;
pub(crate) const SEGMENTS: u64 = ARGUMENT + 2 * P;
pub(crate) const LOCAL: u64 = ARGUMENT + 3 * P;
pub(crate) const LAST: u64 = ARGUMENT + 6 * P;
const MEMORY_END: u64 = ARGUMENT + 7 * P;
/// An address of nothing.
pub(crate) const BAD: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    Gntdev,
    Gntalloc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Shared,
    SharedRead,
    Private,
    PrivateRead,
}

/// A mapping, by its first page's address. A page that is not in the address space has no entry; one that was zapped has
/// no frame.
#[derive(Debug)]
struct Area {
    file: FileId,
    mapping: MappingId,
    start: u64,
    pages: BTreeMap<u64, Option<Frame>>,
}

pub(crate) struct Replay {
    pub(crate) guest: Guest,
    pub(crate) gntdev: gntdev::Driver,
    pub(crate) gntalloc: gntalloc::Driver,
    pub(crate) client: Client,
    pub(crate) lines: String,
    /// Open files, and those that are closed but mapped.
    files: BTreeMap<FileId, (Device, bool)>,
    areas: Vec<Area>,
    next: u64,
    /// Mappings are made from the top down.
    top: u64,
    /// What the last call of each kind has written back.
    pub(crate) map_index: u64,
    pub(crate) alloc_index: u64,
    pub(crate) references: Vec<u32>,
}

pub(crate) fn hex(value: u64) -> String {
    if value == 0 { "0".into() } else { format!("{value:#x}") }
}

impl Replay {
    pub(crate) fn new() -> Self {
        let mut client = Client::default();
        (0..7).for_each(|page| client.add(ARGUMENT + page * P));
        client.mappings.push((ARGUMENT, MEMORY_END, None));
        Self {
            guest: Guest::new(),
            gntdev: gntdev::Driver::new(gntdev::DEFAULT_LIMIT),
            gntalloc: gntalloc::Driver::new(gntalloc::DEFAULT_LIMIT),
            client,
            lines: String::new(),
            files: BTreeMap::new(),
            areas: Vec::new(),
            next: 0,
            top: 0x7f00_0000_0000,
            map_index: 0,
            alloc_index: 0,
            references: Vec::new(),
        }
    }

    pub(crate) fn say(&mut self, name: &str, result: Result<i64, Errno>, info: impl Display) {
        let _ = match result {
            Ok(value) => writeln!(self.lines, "{name} -> {value} 0 {info}"),
            Err(errno) => writeln!(self.lines, "{name} -> -1 {errno} {info}"),
        };
    }

    /// A step that shows no more than whether it went well.
    pub(crate) fn run<T>(&mut self, name: &str, result: Result<T, Errno>) {
        self.say(name, result.map(|_| 0), "-");
    }

    pub(crate) fn open(&mut self, device: Device) -> FileId {
        self.next += 1;
        let file = FileId(self.next);
        match device {
            Device::Gntdev => self.gntdev.open(file),
            Device::Gntalloc => self.gntalloc.open(file),
        }
        self.files.insert(file, (device, true));
        file
    }

    pub(crate) fn close(&mut self, file: FileId) {
        self.files.get_mut(&file).unwrap().1 = false;
        self.release_unless_in_use(file);
    }

    fn release_unless_in_use(&mut self, file: FileId) {
        let (device, is_open) = self.files[&file];
        if is_open || self.areas.iter().any(|area| area.file == file) {
            return;
        }
        self.files.remove(&file);
        match device {
            Device::Gntdev => self.gntdev.release(file, &mut self.guest),
            Device::Gntalloc => self.gntalloc.release(file, &mut self.guest),
        }
    }

    pub(crate) fn ioctl(&mut self, file: FileId, request: Request, argument: u64) -> Result<(), Errno> {
        let (memory, guest) = (&mut self.client, &mut self.guest);
        let result: CallResult<i64> = match self.files[&file].0 {
            Device::Gntdev => self.gntdev.ioctl(file, request, argument, memory, guest),
            Device::Gntalloc => self.gntalloc.ioctl(file, request, argument, memory, guest),
        };
        match result {
            Ok(value) => assert_eq!(value, 0),
            Err(Stop::Fail(errno)) => return Err(errno),
            Err(Stop::Wait) => panic!("nothing waits"),
        }
        Ok(())
    }

    /// Writes an argument's fields, one after the other.
    pub(crate) fn fill(&mut self, at: u64, fields: &[&[u8]]) {
        let bytes = fields.concat();
        self.client.put(at, &bytes);
    }

    pub(crate) fn long(&mut self, at: u64) -> u64 {
        u64::from_ne_bytes(self.client.get(at))
    }

    pub(crate) fn word(&mut self, at: u64) -> u32 {
        u32::from_ne_bytes(self.client.get(at))
    }

    pub(crate) fn alloc(&mut self, file: FileId, domain: u16, flags: u16, count: u32) -> Result<(), Errno> {
        let header = [&domain.to_ne_bytes()[..], &flags.to_ne_bytes(), &count.to_ne_bytes()];
        self.fill(ARGUMENT, &header);
        self.ioctl(file, ga::ALLOC_GREF, ARGUMENT)?;
        self.alloc_index = self.long(ARGUMENT + 8);
        self.references = (0..count.min(64)).map(|at| self.word(ARGUMENT + 16 + 4 * u64::from(at))).collect();
        Ok(())
    }

    pub(crate) fn dealloc(&mut self, file: FileId, index: u64, count: u32) -> Result<(), Errno> {
        self.fill(ARGUMENT, &[&index.to_ne_bytes(), &u64::from(count).to_ne_bytes()]);
        self.ioctl(file, ga::DEALLOC_GREF, ARGUMENT)
    }

    pub(crate) fn map(&mut self, file: FileId, references: &[u32]) -> Result<(), Errno> {
        self.map_of(file, references, 0)
    }

    pub(crate) fn map_of(&mut self, file: FileId, references: &[u32], domain: u32) -> Result<(), Errno> {
        self.fill(ARGUMENT, &[&(references.len() as u64).to_ne_bytes(), &[0; 8]]);
        for (at, reference) in (ARGUMENT + 16..).step_by(8).zip(references) {
            self.fill(at, &[&domain.to_ne_bytes(), &reference.to_ne_bytes()]);
        }
        let result = self.ioctl(file, gd::MAP_GRANT_REF, ARGUMENT);
        self.map_index = self.long(ARGUMENT + 8);
        result
    }

    pub(crate) fn unmap(&mut self, file: FileId, index: u64, count: u32) -> Result<(), Errno> {
        self.fill(ARGUMENT, &[&index.to_ne_bytes(), &u64::from(count).to_ne_bytes()]);
        self.ioctl(file, gd::UNMAP_GRANT_REF, ARGUMENT)
    }

    /// Both devices' SET_UNMAP_NOTIFY.
    pub(crate) fn notify(&mut self, file: FileId, index: u64, action: u32, port: u32) -> Result<(), Errno> {
        self.fill(ARGUMENT, &[&index.to_ne_bytes(), &action.to_ne_bytes(), &port.to_ne_bytes()]);
        self.ioctl(file, gd::SET_UNMAP_NOTIFY, ARGUMENT)
    }

    pub(crate) fn evtchn(&mut self, file: FileId, request: Request, fields: &[u32]) -> Result<u32, Errno> {
        let fields: Vec<[u8; 4]> = fields.iter().map(|field| field.to_ne_bytes()).collect();
        self.client.put(ARGUMENT, fields.as_flattened());
        let Guest { evtchn, xen, .. } = &mut self.guest;
        match evtchn.ioctl(file, request, ARGUMENT, &mut self.client, xen) {
            Ok(value) => Ok(value as u32),
            Err(Stop::Fail(errno)) => Err(errno),
            Err(Stop::Wait) => panic!("nothing waits"),
        }
    }

    /// The ports that an evtchn file has to read, which are written back.
    pub(crate) fn events(&mut self, file: FileId) -> Vec<u32> {
        self.guest.pump();
        let Guest { evtchn, xen, .. } = &mut self.guest;
        let at = UserPtr(ARGUMENT);
        let Ok(length) = evtchn.read(file, at, 256, &mut self.client) else { return Vec::new() };
        evtchn.write(file, at, length, &mut self.client, xen).unwrap();
        self.guest.pump();
        let mut bytes = vec![0; length];
        self.client.read(at, &mut bytes).unwrap();
        bytes.chunks(ev::PORT_SIZE).map(|port| u32::from_ne_bytes(port.try_into().unwrap())).collect()
    }

    pub(crate) fn mmap(
        &mut self,
        file: FileId,
        pages: u64,
        access: Access,
        offset: u64,
    ) -> Result<u64, Errno> {
        self.top -= pages * P;
        self.mmap_at(self.top, file, pages, access, offset)
    }

    pub(crate) fn mmap_at(
        &mut self,
        start: u64,
        file: FileId,
        pages: u64,
        access: Access,
        offset: u64,
    ) -> Result<u64, Errno> {
        self.next += 1;
        let mapping = MappingId(self.next);
        let shared = matches!(access, Access::Shared | Access::SharedRead);
        let writable = matches!(access, Access::Shared | Access::Private);
        let request = MmapRequest { mapping, page: offset / P, pages, shared, writable };
        let made = match self.files[&file].0 {
            Device::Gntdev => self.gntdev.mmap(file, &request, &mut self.guest)?,
            Device::Gntalloc => self.gntalloc.mmap(file, &request)?,
        };
        assert_eq!(made.frames().len() as u64, pages);
        let pages_of = |(index, frame)| (start + index as u64 * P, Some(frame));
        let frames = made.frames().iter().copied().enumerate().map(pages_of).collect();
        self.areas.push(Area { file, mapping, start, pages: frames });
        self.note_mappings();
        Ok(start)
    }

    fn note_mappings(&mut self) {
        self.client.mappings.truncate(1);
        let pages = self.areas.iter().flat_map(|area| area.pages.keys().map(|at| (*at, area.mapping)));
        self.client.mappings.extend(pages.map(|(at, mapping)| (at, at + P, Some(mapping))));
    }

    /// Pages go: of the mapping's contents only (MADV_DONTNEED), or of the address space (munmap).
    pub(crate) fn zap(&mut self, start: u64, pages: u64, and_unmap: bool) {
        let range = start..start + pages * P;
        for area in &mut self.areas {
            let there: Vec<u64> = area.pages.range(range.clone()).map(|(at, _)| *at).collect();
            let (Some(first), Some(last)) = (there.first(), there.last()) else { continue };
            if self.files[&area.file].0 == Device::Gntdev {
                let (first, pages) = ((first - area.start) / P, (last - first) / P + 1);
                self.gntdev.zap(area.mapping, first, pages, &mut self.guest);
            }
            for at in there {
                if and_unmap {
                    area.pages.remove(&at);
                } else {
                    area.pages.insert(at, None);
                }
            }
        }
        while let Some(at) = self.areas.iter().position(|area| area.pages.is_empty()) {
            let Area { file, mapping, .. } = self.areas.remove(at);
            match self.files[&file].0 {
                Device::Gntdev => self.gntdev.unmapped(mapping, &mut self.guest),
                Device::Gntalloc => self.gntalloc.unmapped(mapping, &mut self.guest),
            }
            self.release_unless_in_use(file);
        }
        self.note_mappings();
    }

    pub(crate) fn munmap(&mut self, start: u64, pages: u64) {
        self.zap(start, pages, true);
    }

    /// As at the end of a process: all that is mapped of a file goes.
    pub(crate) fn unmap_all_of(&mut self, file: FileId) {
        let pages: Vec<u64> = self
            .areas
            .iter()
            .filter(|area| area.file == file)
            .flat_map(|area| area.pages.keys().copied())
            .collect();
        pages.into_iter().for_each(|page| self.munmap(page, 1));
    }

    fn byte(&mut self, at: u64) -> Result<&mut u8, i64> {
        let page = at - at % P;
        let found = self.areas.iter().find_map(|area| area.pages.get(&page));
        let frame = found.ok_or(-11)?.ok_or(-7)?;
        Ok(&mut self.guest.pages.get_mut(&frame.0).expect("a page that is there")[(at - page) as usize])
    }

    /// The byte there; or the signal, negative.
    pub(crate) fn peek(&mut self, at: u64) -> i64 {
        self.byte(at).map_or_else(|signal| signal, |byte| i64::from(*byte))
    }

    pub(crate) fn poke(&mut self, at: u64, byte: u8) {
        *self.byte(at).unwrap() = byte;
    }
}
