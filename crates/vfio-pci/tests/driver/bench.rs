//! A device with a program that uses it.

use std::collections::{BTreeMap, BTreeSet};

use ioctlab_abi::vfio as v;
use ioctlab_chardev::{Errno, Event, EventId, FileId, MappingId, MmapRequest, Request, Stop, UserPtr};
use ioctlab_vfio_pci::{BarAccess, Device, Done, Role, Transfer};

use crate::caller::{Descriptor, Program};
use crate::fake::Fake;
use crate::memory::BASE;

/// Room for arguments, and for what is read and written.
pub(crate) const ARGUMENT: u64 = BASE;
pub(crate) const BUFFER: u64 = BASE + 0x4000;
pub(crate) const MEMORY: usize = 0x6000;
pub(crate) const CONFIG: u64 = 7 << 40;
/// Descriptors: two eventfds, something else, a group, an eventfd more.
pub(crate) const E: i32 = 10;
pub(crate) const E2: i32 = 11;
pub(crate) const OTHER: i32 = 12;
pub(crate) const GROUP: i32 = 13;
pub(crate) const E3: i32 = 14;
pub(crate) const GROUP_FILE: FileId = FileId(77);

pub(crate) const NONE: u32 = v::IRQ_SET_DATA_NONE;
pub(crate) const BOOL: u32 = v::IRQ_SET_DATA_BOOL;
pub(crate) const EVENTFD: u32 = v::IRQ_SET_DATA_EVENTFD;
pub(crate) const MASK: u32 = v::IRQ_SET_ACTION_MASK;
pub(crate) const UNMASK: u32 = v::IRQ_SET_ACTION_UNMASK;
pub(crate) const TRIGGER: u32 = v::IRQ_SET_ACTION_TRIGGER;

pub(crate) struct Bench {
    pub(crate) device: Device,
    pub(crate) function: Fake,
    pub(crate) program: Program,
    /// The counts of eventfds, by descriptor.
    pub(crate) counts: BTreeMap<i32, u64>,
    pub(crate) watched: BTreeSet<EventId>,
}

fn errno(stop: Stop) -> Errno {
    match stop {
        Stop::Fail(errno) => errno,
        Stop::Wait => panic!("nothing waits"),
    }
}

impl Bench {
    pub(crate) fn new(function: Fake) -> Self {
        Self::with_role(function, Role::Plain)
    }

    pub(crate) fn with_role(function: Fake, role: Role) -> Self {
        let mut program = Program::new(MEMORY);
        for descriptor in [E, E2, E3] {
            program.descriptors.insert(descriptor, Descriptor::Eventfd(descriptor as u64));
        }
        program.descriptors.insert(OTHER, Descriptor::Other);
        program.descriptors.insert(GROUP, Descriptor::File(GROUP_FILE));
        let mut bench = Self {
            device: Device::new(role),
            function,
            program,
            counts: BTreeMap::new(),
            watched: BTreeSet::new(),
        };
        bench.function.groups.push((GROUP_FILE, 3));
        bench.open();
        bench
    }

    pub(crate) fn open(&mut self) {
        self.device.open(&mut self.function);
        self.settle();
    }

    pub(crate) fn close(&mut self) {
        self.device.close(&mut self.function);
        self.function.reachable = None;
        self.settle();
    }

    /// Hands the device's interrupts to the driver, and does what the driver wants done.
    pub(crate) fn settle(&mut self) {
        loop {
            if let Some(interrupt) = self.function.sent.pop_front() {
                self.device.interrupt(interrupt, &mut self.function);
            } else if let Some(event) = self.device.next_event() {
                match event {
                    Event::Signal(id) => {
                        let eventfd = *self.program.events.get(&id).expect("an eventfd that is held");
                        *self.counts.entry(eventfd as i32).or_default() += 1;
                    }
                    Event::Watch(id) => assert!(self.watched.insert(id)),
                    Event::LetGo(id) => {
                        self.watched.remove(&id);
                        self.program.events.remove(&id).expect("let go once");
                    }
                }
            } else {
                return;
            }
        }
    }

    /// The count of an eventfd, which is 0 then.
    pub(crate) fn take(&mut self, descriptor: i32) -> u64 {
        self.counts.remove(&descriptor).unwrap_or(0)
    }

    /// The program writes an eventfd that the driver may be watching.
    pub(crate) fn write_eventfd(&mut self, descriptor: i32) {
        let watched: Vec<EventId> = self.watched.iter().copied().collect();
        for id in watched.into_iter().filter(|id| self.program.events[id] == descriptor as u64) {
            if let Some(write) = self.device.signalled(id, &mut self.function) {
                self.function.mmio_write(write.bar, write.offset, write.data as u32);
            }
        }
        self.settle();
    }

    pub(crate) fn call(&mut self, request: Request, argument: u64) -> Result<Done, Errno> {
        let result = self.device.ioctl(request, argument, &mut self.program, &mut self.function);
        self.settle();
        result.map_err(errno)
    }

    /// An ioctl with an argument, which is then what is written back.
    pub(crate) fn ioctl(&mut self, request: Request, argument: &mut [u8]) -> Result<i64, Errno> {
        self.program.put(ARGUMENT, argument);
        let result = self.call(request, ARGUMENT);
        let at = (ARGUMENT - BASE) as usize;
        argument.copy_from_slice(&self.program.memory.0[at..at + argument.len()]);
        result.map(|done| match done {
            Done::Value(value) => value,
            Done::Reset => 0,
            Done::HotReset(tokens) => {
                assert!(!tokens.is_empty());
                0
            }
        })
    }

    /// An ioctl whose argument is words.
    pub(crate) fn words<const N: usize>(
        &mut self,
        request: Request,
        words: [u32; N],
    ) -> (Result<i64, Errno>, [u32; N]) {
        let mut bytes = words.map(u32::to_ne_bytes).as_flattened().to_vec();
        let result = self.ioctl(request, &mut bytes);
        let mut words = bytes.as_chunks().0.iter().map(|word| u32::from_ne_bytes(*word));
        (result, core::array::from_fn(|_| words.next().unwrap()))
    }

    pub(crate) fn irq(
        &mut self,
        flags: u32,
        index: u32,
        start: u32,
        count: u32,
        data: &[u8],
    ) -> Result<i64, Errno> {
        let header = [20 + data.len() as u32, flags, index, start, count];
        let mut bytes = [header.map(u32::to_ne_bytes).as_flattened(), data].concat();
        self.ioctl(v::DEVICE_SET_IRQS, &mut bytes)
    }

    pub(crate) fn irq_fds(&mut self, index: u32, start: u32, descriptors: &[i32]) -> Result<i64, Errno> {
        let data: Vec<u8> = descriptors.iter().flat_map(|descriptor| descriptor.to_ne_bytes()).collect();
        self.irq(TRIGGER | EVENTFD, index, start, descriptors.len() as u32, &data)
    }

    pub(crate) fn pread_to(&mut self, position: u64, count: usize, to: u64) -> Result<usize, Errno> {
        let to = UserPtr(to);
        let result = self.device.read(position, to, count, &mut self.program, &mut self.function);
        self.settle();
        match result.map_err(errno)? {
            Transfer::Done(count) | Transfer::Reset(count) => Ok(count),
            Transfer::Bar(access) => {
                let bar = access.bar;
                let bytes = access.read_by(|offset, width| self.function.mmio_read(bar, offset, width));
                assert_eq!(bytes.len(), access.count);
                ioctlab_chardev::UserMemory::write(&mut self.program, to, &bytes)?;
                Ok(access.count)
            }
        }
    }

    pub(crate) fn pread(&mut self, position: u64, count: usize) -> Result<usize, Errno> {
        self.pread_to(position, count, BUFFER)
    }

    pub(crate) fn pwrite_from(&mut self, position: u64, count: usize, from: u64) -> Result<usize, Errno> {
        let from = UserPtr(from);
        let result = self.device.write(position, from, count, &mut self.program, &mut self.function);
        self.settle();
        let result = match result.map_err(errno)? {
            Transfer::Done(count) | Transfer::Reset(count) => Ok(count),
            Transfer::Bar(access) => self.write_bar(&access),
        };
        self.settle();
        result
    }

    fn write_bar(&mut self, access: &BarAccess) -> Result<usize, Errno> {
        access.write_by(|offset, _, value| self.function.mmio_write(access.bar, offset, value))
    }

    pub(crate) fn pwrite(&mut self, position: u64, bytes: &[u8]) -> Result<usize, Errno> {
        self.program.put(BUFFER, bytes);
        self.pwrite_from(position, bytes.len(), BUFFER)
    }

    /// Configuration space.
    pub(crate) fn cr(&mut self, offset: u64, bytes: usize) -> u32 {
        self.program.put(BUFFER, &[0; 4]);
        let _ = self.pread(CONFIG + offset, bytes);
        u32::from_ne_bytes(self.program.get(BUFFER))
    }

    pub(crate) fn cw(&mut self, offset: u64, bytes: usize, value: u32) -> Result<usize, Errno> {
        self.pwrite(CONFIG + offset, &value.to_le_bytes()[..bytes])
    }

    /// BAR 0.
    pub(crate) fn mr(&mut self, offset: u64) -> u32 {
        self.program.put(BUFFER, &0xa5a5_a5a5_u32.to_ne_bytes());
        let _ = self.pread(offset, 4);
        u32::from_ne_bytes(self.program.get(BUFFER))
    }

    pub(crate) fn mw(&mut self, offset: u64, value: u32) {
        self.pwrite(offset, &value.to_le_bytes()).unwrap();
    }

    /// Maps bytes, whole pages, at a position.
    pub(crate) fn mmap(&mut self, position: u64, bytes: u64, shared: bool) -> Result<(), Errno> {
        let (page, pages) = (position / 4096, bytes / 4096);
        let request = MmapRequest { mapping: MappingId(1), page, pages, shared, writable: true };
        let mapping = self.device.mmap(&request, &self.function)?;
        assert!(mapping.inherited && !mapping.read_only);
        Ok(())
    }
}
