//! A program in a lab that has a machine with VFIO.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ioctlab_abi::vfio::{
    DMA_MAP_READ, DMA_MAP_WRITE, GROUP_GET_DEVICE_FD, GROUP_SET_CONTAINER, IOMMU_MAP_DMA, SET_IOMMU,
};
use ioctlab_kernel::{
    Access, AreaId, BadAddress, CallResult, DeviceMemory, Errno, Event, EventId, FileId, Frame, Kernel,
    MachineMemory, NodeId, Opener, ProgramMemory, Reply, Request, SpaceId, Stop, Tree, UserPtr, Work,
};
use ioctlab_lab::{Lab, Memories, Request as FromOutside, VfioRequest, config};

use crate::caller::{Descriptor, Program};
use crate::memory::BASE;

/// Where arguments and buffers are.
const ARGUMENT: u64 = BASE;
pub(crate) const BUFFER: u64 = BASE + 0x1000;
/// Where the program's memory ends.
pub(crate) const END: u64 = BASE + 0x2000;
/// Where the memory is that devices reach, as the program and as they see it, and its size.
pub(crate) const SHARED: u64 = 0x7000_0000;
pub(crate) const IOVA: u64 = 0x10_0000;
const SIZE: usize = 0x4000;
/// The command register, and what lets a device do all that it can.
pub(crate) const COMMAND: u64 = 7 << 40 | 4;
pub(crate) const ALL: u16 = 7;

/// The memory of devices.
#[derive(Default)]
struct Areas(Mutex<BTreeMap<AreaId, Vec<u8>>>);

impl DeviceMemory for Areas {
    fn create(&self, bytes: u64) -> Result<AreaId, Errno> {
        let mut areas = self.0.lock().unwrap();
        let area = AreaId(areas.len() as u64);
        areas.insert(area, vec![0; usize::try_from(bytes).map_err(|_| Errno::ENOMEM)?]);
        Ok(area)
    }

    fn remove(&self, area: AreaId) {
        self.0.lock().unwrap().remove(&area);
    }

    fn read(&self, area: AreaId, offset: u64, to: &mut [u8]) {
        to.fill(0xff);
        let areas = self.0.lock().unwrap();
        let from = areas[&area].iter().skip(offset as usize);
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }

    fn write(&self, area: AreaId, offset: u64, from: &[u8]) {
        let mut areas = self.0.lock().unwrap();
        let to = areas.get_mut(&area).unwrap().iter_mut().skip(offset as usize);
        to.zip(from).for_each(|(to, from)| *to = *from);
    }

    fn set_reachable(&self, _: AreaId, _: bool) {}
}

/// The program's memory that devices reach.
struct Shared(Mutex<Vec<u8>>);

impl Shared {
    fn range(address: u64, length: usize) -> Result<std::ops::Range<usize>, BadAddress> {
        let start = address.checked_sub(SHARED).ok_or(BadAddress)? as usize;
        if start + length > SIZE { Err(BadAddress) } else { Ok(start..start + length) }
    }
}

impl ProgramMemory for Shared {
    fn read(&self, _: SpaceId, address: u64, to: &mut [u8]) -> Result<(), BadAddress> {
        to.copy_from_slice(&self.0.lock().unwrap()[Self::range(address, to.len())?]);
        Ok(())
    }

    fn write(&self, _: SpaceId, address: u64, from: &[u8]) -> Result<(), BadAddress> {
        self.0.lock().unwrap()[Self::range(address, from.len())?].copy_from_slice(from);
        Ok(())
    }
}

/// A lab without machines that share memory.
struct Nothing;

impl MachineMemory for Nothing {
    fn read(&self, _: Frame, _: usize, _: &mut [u8]) {}
    fn write(&self, _: Frame, _: usize, _: &[u8]) {}
    fn load(&self, _: Frame, _: usize) -> u32 {
        0
    }
    fn store(&self, _: Frame, _: usize, _: u32) {}
    fn scrub(&self, _: Frame) {}
}

pub(crate) struct Bench {
    pub(crate) lab: Lab,
    pub(crate) kernel: Kernel,
    pub(crate) program: Program,
    shared: Arc<Shared>,
    /// How often each eventfd was signalled, by its number.
    pub(crate) counts: BTreeMap<u64, u64>,
    pub(crate) watched: Vec<EventId>,
    next: i32,
}

pub(crate) fn plain<T>(result: CallResult<T>) -> Result<T, Errno> {
    result.map_err(|stop| match stop {
        Stop::Fail(errno) => errno,
        Stop::Wait => panic!("nothing waits"),
    })
}

/// What is wrong with a lab file, or can't be had.
pub(crate) fn problem(text: &str) -> Option<String> {
    Bench::try_new(text).err()
}

impl Bench {
    pub(crate) fn new(text: &str) -> Self {
        Self::try_new(text).unwrap_or_else(|problem| panic!("{problem}"))
    }

    fn try_new(text: &str) -> Result<Self, String> {
        let config = config::Lab::parse("x.toml", text).map_err(|errors| errors.to_string())?;
        let shared = Arc::new(Shared(Mutex::new(vec![0; SIZE])));
        let memories = Memories {
            machine: Box::new(Nothing),
            devices: Arc::new(Areas::default()),
            programs: Arc::clone(&shared) as Arc<dyn ProgramMemory>,
        };
        let (lab, kernel) = Lab::new(&config, memories)?;
        let mut program = Program::new((END - BASE) as usize);
        program.make_pinnable(SHARED, SIZE as u64, true);
        program.set_capability(ioctlab_kernel::Capability::SysRawio, true);
        Ok(Self { lab, kernel, program, shared, counts: BTreeMap::new(), watched: Vec::new(), next: 3 })
    }

    pub(crate) fn act(&self, request: VfioRequest) -> Result<String, String> {
        self.lab.act(&FromOutside::Vfio(request))
    }

    pub(crate) fn tree(&self) -> Arc<dyn Tree> {
        self.lab.trees().remove(0)
    }

    /// Writes an attribute of sysfs.
    pub(crate) fn store(&self, path: &str, text: &str) -> Result<usize, Errno> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let done = Box::new(move |result| sender.send(result).unwrap());
        self.tree().store(path, 0, text.as_bytes(), done);
        receiver.try_recv().expect("an answer at once")
    }

    fn install(&mut self, descriptor: Descriptor) -> i32 {
        let number = self.next;
        self.next += 1;
        self.program.descriptors.insert(number, descriptor);
        number
    }

    pub(crate) fn eventfd(&mut self) -> i32 {
        let number = self.next as u64;
        self.install(Descriptor::Eventfd(number))
    }

    pub(crate) fn open(&mut self, path: &str) -> Result<i32, Errno> {
        let opener = Opener { domain: 0, rawio: true };
        let node = self.kernel.nodes().iter().position(|node| node.path == path).ok_or(Errno::ENOENT)?;
        let file = self.kernel.open(NodeId(node), Access { read: true, write: true }, 0, opener)?;
        self.settle();
        Ok(self.install(Descriptor::File(file)))
    }

    pub(crate) fn file(&self, number: i32) -> FileId {
        match self.program.descriptors[&number] {
            Descriptor::File(file) => file,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn close(&mut self, number: i32) {
        let file = self.file(number);
        self.program.descriptors.remove(&number);
        self.kernel.release(file);
        self.settle();
    }

    /// Does what the kernel wants done with eventfds.
    fn settle(&mut self) {
        while let Some(event) = self.kernel.next_event() {
            match event {
                Event::Signal(id) => *self.counts.entry(self.program.events[&id]).or_default() += 1,
                Event::Watch(id) => self.watched.push(id),
                Event::LetGo(id) => {
                    self.watched.retain(|other| *other != id);
                    self.program.events.remove(&id).expect("let go once");
                }
            }
        }
        while self.kernel.next_node_change().is_some() {}
    }

    pub(crate) fn work(&mut self, mut work: Box<dyn Work>) -> Result<i64, Errno> {
        work.run();
        let result = work.finish(&mut self.program);
        self.settle();
        result
    }

    fn answer(&mut self, by: FileId, reply: CallResult<Reply>) -> Result<i64, Errno> {
        let result = match plain(reply)? {
            Reply::Value(value) => Ok(value),
            Reply::Open { device, name } => {
                let opener = Opener { domain: 0, rawio: true };
                let file = self.kernel.open_anonymous(by, device, name, opener)?;
                Ok(self.install(Descriptor::File(file)).into())
            }
            Reply::Work(work) => self.work(work),
        };
        self.settle();
        result
    }

    pub(crate) fn ioctl(&mut self, number: i32, request: Request, argument: u64) -> Result<i64, Errno> {
        let file = self.file(number);
        let reply = self.kernel.ioctl(file, request, argument, &mut self.program);
        self.answer(file, reply)
    }

    /// An ioctl whose argument is words, which are then what is written back.
    pub(crate) fn words(&mut self, number: i32, request: Request, words: &mut [u32]) -> Result<i64, Errno> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.program.put(ARGUMENT, &bytes);
        let result = self.ioctl(number, request, ARGUMENT);
        for (index, word) in words.iter_mut().enumerate() {
            *word = u32::from_ne_bytes(self.program.get(ARGUMENT + 4 * index as u64));
        }
        result
    }

    pub(crate) fn set_container(&mut self, group: i32, container: i32) -> Result<i64, Errno> {
        self.words(group, GROUP_SET_CONTAINER, &mut [container as u32])
    }

    pub(crate) fn device(&mut self, group: i32, address: &str) -> Result<i32, Errno> {
        self.program.put(ARGUMENT, format!("{address}\0").as_bytes());
        self.ioctl(group, GROUP_GET_DEVICE_FD, ARGUMENT).map(|number| number as i32)
    }

    /// A container with an IOMMU of this kind, and a group in it.
    pub(crate) fn up(&mut self, group: &str, kind: u64) -> (i32, i32) {
        let (container, group) = (self.open("/dev/vfio/vfio").unwrap(), self.open(group).unwrap());
        self.set_container(group, container).unwrap();
        self.ioctl(container, SET_IOMMU, kind).unwrap();
        (container, group)
    }

    /// An ioctl whose argument is words, which isn't gone on with.
    pub(crate) fn reply(&mut self, number: i32, request: Request, words: &[u32]) -> CallResult<Reply> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.program.put(ARGUMENT, &bytes);
        self.kernel.ioctl(self.file(number), request, ARGUMENT, &mut self.program)
    }

    /// Maps all of the shared memory.
    pub(crate) fn map(&mut self, container: i32) {
        self.map_at(container, IOVA, SIZE as u64);
    }

    /// Maps the start of the shared memory somewhere.
    pub(crate) fn map_at(&mut self, container: i32, iova: u64, bytes: u64) {
        let halves = |long: u64| [long as u32, (long >> 32) as u32];
        let numbers = [SHARED, iova, bytes].map(halves);
        let words = [&[32, DMA_MAP_READ | DMA_MAP_WRITE], numbers.as_flattened()].concat();
        self.words(container, IOMMU_MAP_DMA, &mut words.clone()).unwrap();
    }

    pub(crate) fn pread(&mut self, number: i32, position: u64, count: usize) -> Result<Vec<u8>, Errno> {
        let file = self.file(number);
        let to = UserPtr(BUFFER);
        let reply = self.kernel.read_at(file, Some(position), to, count as u64, &mut self.program);
        let count = self.answer(file, reply)? as usize;
        Ok(self.program.memory.0[(BUFFER - BASE) as usize..][..count].to_vec())
    }

    pub(crate) fn pwrite(&mut self, number: i32, position: u64, bytes: &[u8]) -> Result<i64, Errno> {
        self.program.put(BUFFER, bytes);
        let file = self.file(number);
        let from = UserPtr(BUFFER);
        let reply = self.kernel.write_at(file, Some(position), from, bytes.len() as u64, &mut self.program);
        self.answer(file, reply)
    }

    /// A word of BAR 0.
    pub(crate) fn register(&mut self, number: i32, offset: u64) -> u32 {
        let bytes = self.pread(number, offset, 4).unwrap();
        u32::from_le_bytes(bytes.try_into().unwrap())
    }

    pub(crate) fn set_register(&mut self, number: i32, offset: u64, value: u32) {
        self.pwrite(number, offset, &value.to_le_bytes()).unwrap();
    }

    /// What the program finds in its shared memory, from the start on.
    pub(crate) fn shared(&self, count: usize) -> Vec<u8> {
        self.shared.0.lock().unwrap()[..count].to_vec()
    }

    /// Has a test device fill 4 bytes of the shared memory; whether that went well.
    pub(crate) fn fill(&mut self, device: i32, byte: u8) -> bool {
        self.pwrite(device, COMMAND, &ALL.to_le_bytes()).unwrap();
        let (source, destination, length, pattern, status) = (0x20, 0x28, 0x30, 0x44, 0x40);
        self.set_register(device, source, 0);
        self.set_register(device, destination, IOVA as u32);
        self.set_register(device, length, 4);
        self.set_register(device, pattern, byte.into());
        self.set_register(device, 0x38, 2);
        self.register(device, status) == 2 && self.shared(4) == [byte; 4]
    }
}
