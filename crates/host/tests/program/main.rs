//! A program maps a device's memory, and lends the device its own: end to end, with `client.c` as the program, and a device
//! that does what its ioctls say.
//!
//! It is a program of its own and no test harness's, as a lab's server starts with one thread.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ioctlab_host::isolation::{self, Isolation, Placeholders, Tree};
use ioctlab_host::signals::{self, Change};
use ioctlab_host::{Memory, Run, Server, launch, probe};
use ioctlab_kernel::*;

/// As long as `client.c` has it.
const BYTES: u64 = 16 * PAGE_SIZE;

/// The device. Each ioctl is one thing to do; its argument is a number or an address.
struct Device {
    memory: Memory,
    area: AreaId,
    space: Option<SpaceId>,
    unmapped: AtomicI64,
    events: VecDeque<Event>,
    work: Arc<Manner>,
}

/// How a device goes about its work, and how often it has.
#[derive(Default)]
struct Manner {
    /// 1: it panics; 2: it waits for another manner.
    kind: AtomicI64,
    times: AtomicI64,
    finished: AtomicI64,
}

/// Work that a device does.
struct Piece {
    manner: Arc<Manner>,
    /// Where a byte is written to in the end, unless it is 0.
    to: UserPtr,
}

impl Work for Piece {
    fn run(&mut self) {
        self.manner.times.fetch_add(1, Ordering::Relaxed);
        if self.manner.kind.load(Ordering::Relaxed) == 1 {
            // As a panic, but nobody is told.
            std::panic::resume_unwind(Box::new(()));
        }
        while self.manner.kind.load(Ordering::Relaxed) == 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn finish(self: Box<Self>, caller: &mut dyn Caller) -> Result<i64, Errno> {
        self.manner.finished.fetch_add(1, Ordering::Relaxed);
        if self.to.0 != 0 {
            caller.write(self.to, &[0xff])?;
        }
        Ok(0)
    }
}

impl Subsystem for Device {
    fn open(&mut self, _: u32, _: FileId, _: Access, _: Opener) -> Result<(), Errno> {
        Ok(())
    }

    fn release(&mut self, _: FileId) {}

    fn read(&mut self, _: FileId, _: UserPtr, _: usize, _: &mut dyn UserMemory) -> CallResult<usize> {
        Err(Errno::EINVAL.into())
    }

    fn write(&mut self, _: FileId, _: UserPtr, _: usize, _: &mut dyn UserMemory) -> CallResult<usize> {
        Err(Errno::EINVAL.into())
    }

    fn ioctl(
        &mut self,
        _: FileId,
        request: Request,
        argument: u64,
        caller: &mut dyn Caller,
    ) -> CallResult<Reply> {
        let (areas, programs) = (self.memory.areas(), self.memory.programs());
        let mut byte = [0];
        let value = match request.0 & 0xff {
            1 => {
                areas.set_reachable(self.area, argument != 0);
                0
            }
            2 => {
                areas.read(self.area, argument, &mut byte);
                byte[0].into()
            }
            3 => {
                areas.write(self.area, argument >> 8, &[argument as u8]);
                0
            }
            4 => {
                areas.remove(self.area);
                self.area = areas.create(BYTES)?;
                0
            }
            5 => self.unmapped.load(Ordering::Relaxed),
            6 => {
                self.space = Some(caller.space()?);
                0
            }
            7 => i64::from(self.space == Some(caller.space()?)),
            8 => {
                let space = self.space.ok_or(Errno::ESRCH)?;
                programs.read(space, argument, &mut byte)?;
                programs.write(space, argument, &[byte[0].wrapping_add(1)])?;
                byte[0].into()
            }
            9 => {
                caller.check_pinnable(UserPtr(argument), PAGE_SIZE, true)?;
                0
            }
            10 => caller.locked_memory_limit().map_or(-1, |limit| (limit >> 10) as i64),
            11 => caller.locked_pages() as i64,
            12 => caller.has_capability(Capability::IpcLock).into(),
            13 => {
                let event = caller.event(argument as i32)?;
                self.events.push_back(Event::Watch(event));
                0
            }
            14 => self.work.times.load(Ordering::Relaxed),
            15 => {
                self.work.kind.store(argument as i64, Ordering::Relaxed);
                0
            }
            16 => {
                let (manner, to) = (Arc::clone(&self.work), UserPtr(argument));
                return Ok(Reply::Work(Box::new(Piece { manner, to })));
            }
            17 => self.work.finished.load(Ordering::Relaxed),
            _ => return Err(Errno::ENOTTY.into()),
        };
        Ok(value.into())
    }

    fn mmap(&mut self, _: FileId, request: &MmapRequest) -> Result<Mapping, Errno> {
        if !request.shared || (request.page + request.pages) * PAGE_SIZE > BYTES {
            return Err(Errno::EINVAL);
        }
        let pages = Pages::Area { area: self.area, first: request.page };
        Ok(Mapping { pages, read_only: false, inherited: true })
    }

    fn unmapped(&mut self, _: MappingId) {
        self.unmapped.fetch_add(1, Ordering::Relaxed);
    }

    fn poll(&self, _: FileId) -> PollEvents {
        PollEvents::default()
    }

    fn unread(&self, _: FileId) -> usize {
        0
    }

    fn would_read(&self, _: FileId, _: usize) -> usize {
        0
    }

    fn peek(&self, _: FileId, _: &mut [u8]) -> usize {
        0
    }

    fn consume(&mut self, _: FileId, _: usize) {}

    fn next_changed(&mut self) -> Option<FileId> {
        None
    }

    fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn signalled(&mut self, _: EventId) -> Option<Box<dyn Work>> {
        Some(Box::new(Piece { manner: Arc::clone(&self.work), to: UserPtr(0) }))
    }
}

fn main() {
    let client = build();
    let memory = Memory::new();
    let area = memory.areas().create(BYTES).expect("room");
    let device = Device {
        memory: memory.clone(),
        area,
        space: None,
        unmapped: AtomicI64::new(0),
        events: VecDeque::new(),
        work: Arc::default(),
    };
    let node = Node {
        path: "/dev/ioctlab-test".to_owned(),
        number: Some(DeviceNumber { major: 10, minor: 250 }),
        behind: Behind::File,
        hidden: false,
        permissions: 0o666,
        compat: false,
        subsystem: 0,
        device: 0,
    };
    let nodes = [node];
    let kernel = Kernel::new(vec![Box::new(device)], nodes.to_vec());
    let placeholders = if probe::mount_namespace().is_ok() {
        isolation::enter_namespace(&nodes).expect("a namespace");
        None
    } else {
        Some(Placeholders::make(&nodes).expect("placeholders"))
    };
    let (isolation, root) = match &placeholders {
        Some(placeholders) => (Isolation::Paths, placeholders.root().to_owned()),
        None => (Isolation::Namespace, PathBuf::from("/")),
    };
    let tree = Tree::new(isolation, root, "", &nodes).expect("nodes");
    let mut started = launch::start(&[client.into_os_string()], isolation, &nodes, &[]).expect("a child");
    let server = Server::new(kernel, &memory, None).expect("a server");
    server.watch().expect("a thread");
    let listener = started.take_listener().expect("a listener");
    server.supervise(Run::new(Opener { domain: 0, rawio: false }, tree, true), listener).expect("a thread");
    started.wait_for_exec().expect("it runs");
    assert_eq!(signals::wait_for(started.pid), Change::Exited(0));
}

/// Compiles the client.
fn build() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/client.c");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("areas-client");
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients");
    let mut compiler = Command::new("gcc");
    compiler
        .args(["-O1", "-Wall", "-Werror", "-pthread", "-I"])
        .arg(shared)
        .arg("-o")
        .arg(&program)
        .arg(source);
    assert!(compiler.status().expect("gcc").success());
    program
}
