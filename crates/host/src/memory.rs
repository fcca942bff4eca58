//! The calling thread's memory.

use std::fs::File;
use std::os::unix::fs::FileExt;

use ioctlab_kernel::{BadAddress, Caller, MappingId, UserMemory, UserPtr};

use crate::address_map;
use crate::store;
use crate::sys::memory as raw;

/// A page, in bytes. An access that stays within one needs no look at what is mapped beside it.
const PAGE: u64 = 4096;

/// The memory of the process that a thread belongs to.
///
/// `process_vm_readv` is quick and refuses what the thread itself couldn't do. Where it isn't allowed (containers), what is
/// left is `/proc/PID/mem`, which overrides protections; there the mappings are looked up first.
pub(crate) struct ClientMemory {
    thread: i32,
    /// The device number of the file that mappings of devices are of.
    device: u64,
    fallback: Option<Proc>,
    fetched: Option<Fetched>,
}

/// A copy of some of it.
struct Fetched {
    from: u64,
    bytes: Vec<u8>,
}

struct Proc {
    mem: File,
    maps: File,
}

impl ClientMemory {
    pub(crate) fn new(thread: i32, device: u64) -> Self {
        Self { thread, device, fallback: None, fetched: None }
    }

    /// Copies an argument whose place and size are known before anything else is.
    ///
    /// Memory may take its time: a page of it may have to come from a file system that the client itself serves. What is
    /// copied here is not waited for later, with the lab's lock held.
    pub(crate) fn fetch_ahead(&mut self, from: u64, length: usize) {
        let mut bytes = vec![0; length];
        if length > 0 && self.read_some(from, &mut bytes) == length {
            self.fetched = Some(Fetched { from, bytes });
        }
    }

    /// Reads as many of `to.len()` bytes as can be read from the start; returns how many.
    pub(crate) fn read_some(&mut self, from: u64, to: &mut [u8]) -> usize {
        if to.is_empty() {
            return 0;
        }
        match raw::read(self.thread, from, to) {
            Ok(n) => n,
            Err(error) if is_denied(&error) => {
                let length = self.allowed(from, to.len(), |m| m.readable);
                let Some(room) = to.get_mut(..length) else { return 0 };
                self.fallback().map_or(0, |p| p.mem.read_at(room, from).unwrap_or(0))
            }
            Err(_) => 0,
        }
    }

    /// Reads a NUL-terminated string of at most `limit` bytes without the NUL; `None` if there is none.
    pub(crate) fn read_string(&mut self, from: u64, limit: usize) -> Option<Vec<u8>> {
        let mut string = Vec::new();
        // Paths are short: one small read gets most of them, within a page so that it can't fail halfway.
        while string.len() <= limit {
            let mut chunk = [0; 256];
            let at = from.checked_add(string.len() as u64)?;
            let to_page_end = (PAGE - at % PAGE) as usize;
            let room = chunk.get_mut(..to_page_end.min(256))?;
            let got = self.read_some(at, room);
            let got = room.get(..got).filter(|g| !g.is_empty())?;
            if let Some(end) = got.iter().position(|&byte| byte == 0) {
                string.extend_from_slice(got.get(..end)?);
                return (string.len() <= limit).then_some(string);
            }
            string.extend_from_slice(got);
        }
        None
    }

    /// How many bytes from `address` on, `length` at most, lie in mappings that allow the access.
    fn allowed(&mut self, address: u64, length: usize, permits: impl Fn(&raw::Mapping) -> bool) -> usize {
        let Some(end) = address.checked_add(length as u64) else { return 0 };
        let mut at = address;
        while at < end {
            match self.mapping_at(at) {
                Some(mapping) if permits(&mapping) && mapping.end > at => at = mapping.end,
                _ => break,
            }
        }
        (at.min(end) - address) as usize
    }

    fn mapping_at(&mut self, address: u64) -> Option<raw::Mapping> {
        let proc = self.fallback()?;
        match raw::mapping_at(&proc.maps, address) {
            Ok(mapping) => Some(mapping),
            // Before Linux 6.11 there is only the text.
            Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => mapping_in_text(self.thread, address),
            Err(_) => None,
        }
    }

    fn fallback(&mut self) -> Option<&Proc> {
        if self.fallback.is_none() {
            let mem =
                File::options().read(true).write(true).open(format!("/proc/{}/mem", self.thread)).ok()?;
            let maps = File::open(format!("/proc/{}/maps", self.thread)).ok()?;
            self.fallback = Some(Proc { mem, maps });
        }
        self.fallback.as_ref()
    }
}

impl Caller for ClientMemory {}

impl UserMemory for ClientMemory {
    fn read(&mut self, from: UserPtr, to: &mut [u8]) -> Result<(), BadAddress> {
        if let Some(fetched) = self.fetched.as_ref().filter(|f| f.from == from.0)
            && let Some(bytes) = fetched.bytes.get(..to.len())
        {
            to.copy_from_slice(bytes);
            return Ok(());
        }
        let length = to.len();
        if self.read_some(from.0, to) == length { Ok(()) } else { Err(BadAddress) }
    }

    fn write(&mut self, to: UserPtr, from: &[u8]) -> Result<(), BadAddress> {
        if from.is_empty() {
            return Ok(());
        }
        let written = match raw::write(self.thread, to.0, from) {
            Ok(n) => n,
            Err(error) if is_denied(&error) => {
                let length = self.allowed(to.0, from.len(), |m| m.writable);
                let bytes = from.get(..length).unwrap_or_default();
                self.fallback().map_or(0, |p| p.mem.write_at(bytes, to.0).unwrap_or(0))
            }
            Err(_) => 0,
        };
        if written == from.len() { Ok(()) } else { Err(BadAddress) }
    }

    fn check_writable(&mut self, to: UserPtr, length: usize) -> Result<(), BadAddress> {
        if self.allowed(to.0, length, |mapping| mapping.writable) == length {
            Ok(())
        } else {
            Err(BadAddress)
        }
    }

    fn mapping_from(&mut self, address: UserPtr) -> Option<MappingId> {
        let found = mapped(self.thread, address.0, true)?;
        device_mapping(&found, self.device)
    }
}

/// The device's mapping that has `address` in it, in a process's address space.
pub(crate) fn mapping_at(process: i32, address: u64, device: u64) -> Option<MappingId> {
    device_mapping(&mapped(process, address, false)?, device)
}

/// Whether any process but this one has a mapping of a device's.
pub(crate) fn is_mapped_elsewhere(process: i32, mapping: MappingId, device: u64) -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else { return false };
    let others = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    others.filter(|other| *other != process).any(|other| {
        // Those of other users can't be looked at, and have no mappings of this lab's.
        let text = std::fs::read_to_string(format!("/proc/{other}/maps")).unwrap_or_default();
        let files = text.lines().filter_map(mapped_file);
        files.map(|(_, file)| file).any(|file| device_mapping(&file, device) == Some(mapping))
    })
}

/// Only mappings of devices have files on this device number.
fn device_mapping(found: &raw::MappedFile, device: u64) -> Option<MappingId> {
    if found.device != device { None } else { store::mapping_in_path(&found.path) }
}

/// What is mapped at an address, or (`or_above`) the first thing above it.
fn mapped(process: i32, address: u64, or_above: bool) -> Option<raw::MappedFile> {
    let maps = File::open(format!("/proc/{process}/maps")).ok()?;
    match raw::mapped_file(&maps, address, or_above) {
        Ok(found) => Some(found),
        // Before Linux 6.11 there is only the text.
        Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => {
            mapped_in_text(&std::fs::read_to_string(format!("/proc/{process}/maps")).ok()?, address, or_above)
        }
        Err(_) => None,
    }
}

fn mapped_in_text(text: &str, address: u64, or_above: bool) -> Option<raw::MappedFile> {
    text.lines().find_map(|line| {
        let ((start, end), file) = mapped_file(line)?;
        (address < end && (address >= start || or_above)).then_some(file)
    })
}

/// A line of `/proc/PID/maps`: where it is, and what file.
fn mapped_file(line: &str) -> Option<((u64, u64), raw::MappedFile)> {
    // `START-END PERMISSIONS OFFSET MAJOR:MINOR INODE   PATH`
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let range = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    let (major, minor) = fields.nth(2)?.split_once(':')?;
    let (major, minor) = (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
    let path = fields.nth(1).unwrap_or_default().trim_start().as_bytes().to_vec();
    Some((range, raw::MappedFile { device: rustix::fs::makedev(major, minor), path }))
}

/// Bytes that stand for a caller's memory, from address 0 on: data that arrived by another way than a trapped call.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl UserMemory for Bytes<'_> {
    fn read(&mut self, from: UserPtr, to: &mut [u8]) -> Result<(), BadAddress> {
        let start = usize::try_from(from.0).map_err(|_| BadAddress)?;
        let end = start.checked_add(to.len()).ok_or(BadAddress)?;
        to.copy_from_slice(self.0.get(start..end).ok_or(BadAddress)?);
        Ok(())
    }

    fn write(&mut self, _: UserPtr, _: &[u8]) -> Result<(), BadAddress> {
        Err(BadAddress)
    }
}

fn is_denied(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS | libc::EACCES))
}

fn mapping_in_text(thread: i32, address: u64) -> Option<raw::Mapping> {
    let text = std::fs::read_to_string(format!("/proc/{thread}/maps")).ok()?;
    text.lines()
        .filter_map(address_map::parse)
        .find(|(start, found)| (*start..found.end).contains(&address))
        .map(|(_, found)| found)
}
