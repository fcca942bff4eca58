//! Two domains, several open files in each, and random calls on their grant devices: what one shares the other sees, nobody
//! sees what isn't shared, and in the end every page is back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use ioctlab_abi::{gntalloc, gntdev};
use ioctlab_kernel::{
    Access, AreaId, BadAddress, Caller, DeviceMemory, Errno, FileId, Frame, Kernel, MachineMemory, MappingId,
    MmapCall, NodeId, Opener, PAGE_SIZE, ProgramMemory, Request, SpaceId, UserMemory, UserPtr,
};
use ioctlab_lab::{Lab, Memories, config};
use proptest::prelude::*;
use proptest::sample::Index;

/// Machine memory that remembers which frames were given back.
#[derive(Clone, Default)]
struct Bytes(Arc<Mutex<BTreeMap<u64, Vec<u8>>>>);

impl MachineMemory for Bytes {
    fn read(&self, frame: Frame, offset: usize, to: &mut [u8]) {
        let bytes = self.0.lock().unwrap();
        match bytes.get(&frame.0) {
            Some(page) => to.copy_from_slice(&page[offset..offset + to.len()]),
            None => to.fill(0),
        }
    }

    fn write(&self, frame: Frame, offset: usize, from: &[u8]) {
        let mut bytes = self.0.lock().unwrap();
        let page = bytes.entry(frame.0).or_insert_with(|| vec![0; PAGE_SIZE as usize]);
        page[offset..offset + from.len()].copy_from_slice(from);
    }

    fn load(&self, frame: Frame, offset: usize) -> u32 {
        let mut word = [0; 4];
        self.read(frame, offset, &mut word);
        u32::from_ne_bytes(word)
    }

    fn store(&self, frame: Frame, offset: usize, value: u32) {
        self.write(frame, offset, &value.to_ne_bytes());
    }

    fn scrub(&self, frame: Frame) {
        self.0.lock().unwrap().remove(&frame.0);
    }
}

/// A client's memory: an argument at address 0.
struct Argument(Vec<u8>);

impl Caller for Argument {}

impl UserMemory for Argument {
    fn read(&mut self, from: UserPtr, to: &mut [u8]) -> Result<(), BadAddress> {
        let start = usize::try_from(from.0).map_err(|_| BadAddress)?;
        to.copy_from_slice(self.0.get(start..start + to.len()).ok_or(BadAddress)?);
        Ok(())
    }

    fn write(&mut self, to: UserPtr, from: &[u8]) -> Result<(), BadAddress> {
        let start = usize::try_from(to.0).map_err(|_| BadAddress)?;
        self.0.get_mut(start..start + from.len()).ok_or(BadAddress)?.copy_from_slice(from);
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Open(u16, bool),
    Share(Index, u16, u32, bool),
    Dealloc(Index),
    MapOwn(Index),
    MapForeign(Index, Vec<Index>, bool),
    Write(Index, u8),
    Zap(Index, u64),
    Unmap(Index),
    Forget(Index),
    Close(Index),
    Second,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<Index>;
    let step = prop_oneof![
        3 => (0u16..2, any::<bool>()).prop_map(|(domain, allocates)| Step::Open(domain, allocates)),
        5 => (index(), 0u16..2, 1u32..4, any::<bool>()).prop_map(|(f, r, c, w)| Step::Share(f, r, c, w)),
        2 => index().prop_map(Step::Dealloc),
        3 => index().prop_map(Step::MapOwn),
        6 => (index(), prop::collection::vec(index(), 1..4), any::<bool>()).prop_map(|(f, p, w)| Step::MapForeign(f, p, w)),
        6 => (index(), any::<u8>()).prop_map(|(m, b)| Step::Write(m, b)),
        2 => (index(), 0u64..3).prop_map(|(m, p)| Step::Zap(m, p)),
        3 => index().prop_map(Step::Unmap),
        2 => index().prop_map(Step::Forget),
        2 => index().prop_map(Step::Close),
        1 => Just(Step::Second),
    ];
    prop::collection::vec(step, 1..100)
}

/// A page that a domain shares: how it is known, and its first byte.
#[derive(Clone, Debug)]
struct Shared {
    owner: u16,
    remote: u16,
    writable: bool,
    file: FileId,
    index: u64,
    reference: u32,
    /// It hasn't been deallocated.
    listed: bool,
    byte: u8,
}

/// A mapping: of which pages, by their numbers in the model; `None` for those that were dropped.
#[derive(Clone, Debug)]
struct Mapped {
    mapping: MappingId,
    file: FileId,
    writable: bool,
    foreign: bool,
    pages: Vec<Option<usize>>,
    frames: Vec<Frame>,
}

struct World {
    kernel: Kernel,
    memory: Bytes,
    /// Open files: domain, and whether it is gntalloc's.
    files: Vec<(FileId, u16, bool)>,
    shared: Vec<Shared>,
    mapped: Vec<Mapped>,
    /// Maps of gntdev's that are in a list: file, index in pages, count.
    listed: Vec<(FileId, u64, u32)>,
}

fn pick<'a, T>(index: &Index, all: &'a [T]) -> Option<&'a T> {
    if all.is_empty() { None } else { Some(index.get(all)) }
}

/// Machine memory, for a lab that has no devices.
fn memories(machine: &Bytes) -> Memories {
    struct Nothing;
    impl DeviceMemory for Nothing {
        fn create(&self, _: u64) -> Result<AreaId, Errno> {
            Err(Errno::ENOMEM)
        }
        fn remove(&self, _: AreaId) {}
        fn read(&self, _: AreaId, _: u64, _: &mut [u8]) {}
        fn write(&self, _: AreaId, _: u64, _: &[u8]) {}
        fn set_reachable(&self, _: AreaId, _: bool) {}
    }
    impl ProgramMemory for Nothing {
        fn read(&self, _: SpaceId, _: u64, _: &mut [u8]) -> Result<(), BadAddress> {
            Err(BadAddress)
        }
        fn write(&self, _: SpaceId, _: u64, _: &[u8]) -> Result<(), BadAddress> {
            Err(BadAddress)
        }
    }
    Memories { machine: Box::new(machine.clone()), devices: Arc::new(Nothing), programs: Arc::new(Nothing) }
}

impl World {
    fn new() -> Self {
        let memory = Bytes::default();
        let lab = "[xen]\n[[xen.domain]]\nid = 0\n[[xen.domain]]\nid = 1\n";
        let config = config::Lab::parse("two domains", lab).expect("a good file");
        let (_, kernel) = Lab::new(&config, memories(&memory)).expect("a lab");
        Self { kernel, memory, files: vec![], shared: vec![], mapped: vec![], listed: vec![] }
    }

    fn node(&self, path: &str) -> NodeId {
        NodeId(self.kernel.nodes().iter().position(|node| node.path == path).expect("a node"))
    }

    fn ioctl(&mut self, file: FileId, request: Request, argument: Vec<u8>) -> Option<Vec<u8>> {
        let mut memory = Argument(argument);
        self.kernel.ioctl(file, request, 0, &mut memory).ok().map(|_| memory.0)
    }

    fn is_alive(&self, page: usize) -> bool {
        self.shared[page].listed || self.mapped.iter().any(|m| m.pages.contains(&Some(page)))
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Open(domain, allocates) => {
                let path = if *allocates { "/dev/xen/gntalloc" } else { "/dev/xen/gntdev" };
                let opener = Opener { domain: *domain, rawio: false };
                let file = self.kernel.open(self.node(path), Access::from_flags(2), 0, opener).unwrap();
                self.files.push((file, *domain, *allocates));
            }
            Step::Share(which, remote, count, writable) => {
                let allocators: Vec<_> =
                    self.files.iter().copied().filter(|(.., allocates)| *allocates).collect();
                let Some(&(file, owner, _)) = pick(which, &allocators) else { return };
                let mut argument = vec![0; 32];
                argument[..2].copy_from_slice(&remote.to_ne_bytes());
                argument[2] = u8::from(*writable);
                argument[4..8].copy_from_slice(&count.to_ne_bytes());
                let answer = self.ioctl(file, gntalloc::ALLOC_GREF, argument).expect("there is enough");
                let first = u64::from_ne_bytes(answer[8..16].try_into().unwrap()) / PAGE_SIZE;
                for page in 0..*count as usize {
                    let at = 16 + page * 4;
                    let reference = u32::from_ne_bytes(answer[at..at + 4].try_into().unwrap());
                    let index = first + page as u64;
                    let (owner, remote, writable) = (owner, *remote, *writable);
                    self.shared.push(Shared {
                        owner,
                        remote,
                        writable,
                        file,
                        index,
                        reference,
                        listed: true,
                        byte: 0,
                    });
                }
            }
            Step::Dealloc(which) => {
                let listed: Vec<usize> =
                    (0..self.shared.len()).filter(|page| self.shared[*page].listed).collect();
                let Some(&page) = pick(which, &listed) else { return };
                let mut argument = vec![0; 16];
                argument[..8].copy_from_slice(&(self.shared[page].index * PAGE_SIZE).to_ne_bytes());
                argument[8] = 1;
                self.ioctl(self.shared[page].file, gntalloc::DEALLOC_GREF, argument).expect("it is listed");
                self.shared[page].listed = false;
            }
            Step::MapOwn(which) => {
                let listed: Vec<usize> =
                    (0..self.shared.len()).filter(|page| self.shared[*page].listed).collect();
                let Some(&page) = pick(which, &listed) else { return };
                let Shared { file, index, .. } = self.shared[page];
                self.map(file, index, 1, true, false, vec![page]).expect("it is listed");
            }
            Step::MapForeign(which, pages, writable) => {
                let mappers: Vec<_> =
                    self.files.iter().copied().filter(|(.., allocates)| !*allocates).collect();
                let (Some(&(file, domain, _)), false) = (pick(which, &mappers), self.shared.is_empty())
                else {
                    return;
                };
                let pages: Vec<usize> = pages.iter().map(|page| page.index(self.shared.len())).collect();
                let mut argument = vec![0; 16 + 8 * pages.len().max(1)];
                argument[..4].copy_from_slice(&(pages.len() as u32).to_ne_bytes());
                for (at, page) in pages.iter().enumerate() {
                    let place = &mut argument[16 + at * 8..][..8];
                    place[..2].copy_from_slice(&self.shared[*page].owner.to_ne_bytes());
                    place[4..].copy_from_slice(&self.shared[*page].reference.to_ne_bytes());
                }
                let answer =
                    self.ioctl(file, gntdev::MAP_GRANT_REF, argument).expect("grants aren't looked at");
                let index = u64::from_ne_bytes(answer[8..16].try_into().unwrap()) / PAGE_SIZE;
                self.listed.push((file, index, pages.len() as u32));
                // A reference of a page that is gone may be another page's by now: that is left out.
                if pages.iter().any(|page| !self.is_alive(*page)) {
                    return;
                }
                let may = |page: &usize| {
                    let shared = &self.shared[*page];
                    shared.remote == domain && (shared.writable || !*writable)
                };
                let allowed = pages.iter().all(may);
                let made = self.map(file, index, pages.len() as u64, *writable, true, pages);
                assert_eq!(made.is_some(), allowed, "{step:?}");
            }
            Step::Write(which, byte) => {
                let writable: Vec<Mapped> =
                    self.mapped.iter().filter(|mapped| mapped.writable).cloned().collect();
                let Some(mapped) = pick(which, &writable) else { return };
                for (page, frame) in mapped.pages.iter().zip(&mapped.frames) {
                    if let Some(page) = page {
                        self.memory.write(*frame, 0, &[*byte]);
                        self.shared[*page].byte = *byte;
                    }
                }
            }
            Step::Zap(which, page) => {
                let foreign: Vec<usize> =
                    (0..self.mapped.len()).filter(|at| self.mapped[*at].foreign).collect();
                let Some(&at) = pick(which, &foreign) else { return };
                self.kernel.zap(self.mapped[at].mapping, *page, 1);
                if let Some(place) = self.mapped[at].pages.get_mut(*page as usize) {
                    *place = None;
                }
            }
            Step::Unmap(which) => {
                if self.mapped.is_empty() {
                    return;
                }
                let mapped = self.mapped.remove(which.index(self.mapped.len()));
                self.kernel.unmapped(mapped.mapping);
            }
            Step::Forget(which) => {
                if self.listed.is_empty() {
                    return;
                }
                let (file, index, count) = self.listed.remove(which.index(self.listed.len()));
                let mut argument = vec![0; 16];
                argument[..8].copy_from_slice(&(index * PAGE_SIZE).to_ne_bytes());
                argument[8..12].copy_from_slice(&count.to_ne_bytes());
                self.ioctl(file, gntdev::UNMAP_GRANT_REF, argument).expect("it is listed");
            }
            Step::Close(which) => {
                if self.files.is_empty() {
                    return;
                }
                let (file, _, allocates) = self.files.remove(which.index(self.files.len()));
                self.kernel.release(file);
                self.listed.retain(|(of, ..)| *of != file);
                // A file that is mapped is released with the last of its mappings.
                if allocates && !self.mapped.iter().any(|mapped| mapped.file == file) {
                    self.shared
                        .iter_mut()
                        .filter(|page| page.file == file)
                        .for_each(|page| page.listed = false);
                }
            }
            Step::Second => self.kernel.retry_deferred(),
        }
        // Released late: what only a mapping had kept open.
        let open = |file: FileId| self.kernel.file(file).is_some();
        let gone: Vec<usize> = (0..self.shared.len()).filter(|page| !open(self.shared[*page].file)).collect();
        gone.into_iter().for_each(|page| self.shared[page].listed = false);
    }

    fn map(
        &mut self,
        file: FileId,
        index: u64,
        count: u64,
        writable: bool,
        foreign: bool,
        pages: Vec<usize>,
    ) -> Option<()> {
        let call = MmapCall { offset: index * PAGE_SIZE, length: count * PAGE_SIZE, shared: true, writable };
        let (mapping, made) = self.kernel.mmap(file, &call).ok()?;
        let pages = pages.into_iter().map(Some).collect();
        self.mapped.push(Mapped { mapping, file, writable, foreign, pages, frames: made.frames().to_vec() });
        Some(())
    }

    /// Each page that is mapped anywhere has its own bytes, and each has a frame of its own.
    fn check(&self) {
        let mut frames: BTreeMap<usize, Frame> = BTreeMap::new();
        for mapped in &self.mapped {
            for (page, frame) in mapped.pages.iter().zip(&mapped.frames) {
                let Some(page) = page else { continue };
                assert_eq!(*frames.entry(*page).or_insert(*frame), *frame, "a page has one frame");
                let mut byte = [0];
                self.memory.read(*frame, 0, &mut byte);
                assert_eq!(byte[0], self.shared[*page].byte, "page {page} through {mapped:?}");
            }
        }
        let distinct: BTreeSet<Frame> = frames.values().copied().collect();
        assert_eq!(distinct.len(), frames.len(), "a frame is one page's");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_domains_share_what_they_share(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.check();
        }
        for mapped in std::mem::take(&mut world.mapped) {
            world.kernel.unmapped(mapped.mapping);
        }
        for (file, ..) in std::mem::take(&mut world.files) {
            world.kernel.release(file);
        }
        // What was put off is tried again ten at a time.
        for _ in 0..100 {
            world.kernel.retry_deferred();
        }
        prop_assert!(!world.kernel.has_deferred());
        prop_assert_eq!((world.kernel.open_files(), world.kernel.mappings()), (0, 0));
        prop_assert!(world.memory.0.lock().unwrap().is_empty(), "every page was given back");
    }
}
