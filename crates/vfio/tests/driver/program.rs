//! A program on the small machine, with its descriptors.

use std::collections::BTreeMap;

use ioctlab_abi::vfio::{
    CHECK_EXTENSION, GROUP_GET_DEVICE_FD, GROUP_GET_STATUS, GROUP_SET_CONTAINER, GROUP_UNSET_CONTAINER,
    SET_IOMMU,
};
use ioctlab_chardev::{BadAddress, Caller, Capability, Errno, FileId, Request, Stop, UserMemory, UserPtr};
use ioctlab_vfio::{DeviceId, GroupId, GroupKind, GroupReply, MemberDriver, Vfio};

use crate::fake::{Machine, Type1};
use crate::memory::{BASE, Memory};

pub(crate) fn plain<T>(result: Result<T, Stop>) -> Result<T, Errno> {
    result.map_err(|stop| match stop {
        Stop::Fail(errno) => errno,
        Stop::Wait => panic!("no call waits"),
    })
}

/// The process: its memory, and its descriptors, which have the numbers of their files.
pub(crate) struct Process {
    pub(crate) memory: Memory,
    pub(crate) descriptors: BTreeMap<i32, Option<FileId>>,
    pub(crate) rawio: bool,
}

impl UserMemory for Process {
    fn read(&mut self, from: UserPtr, to: &mut [u8]) -> Result<(), BadAddress> {
        self.memory.read(from, to)
    }

    fn write(&mut self, to: UserPtr, from: &[u8]) -> Result<(), BadAddress> {
        self.memory.write(to, from)
    }
}

impl Caller for Process {
    fn descriptor(&mut self, number: i32) -> Result<Option<FileId>, Errno> {
        self.descriptors.get(&number).copied().ok_or(Errno::EBADF)
    }

    fn has_capability(&mut self, capability: Capability) -> bool {
        capability == Capability::SysRawio && self.rawio
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Container,
    Group,
    Device,
}

/// A program, and the kernel that it runs on.
pub(crate) struct Bench {
    pub(crate) vfio: Vfio<Machine>,
    pub(crate) machine: Machine,
    pub(crate) process: Process,
    kinds: BTreeMap<i32, Kind>,
    next: i32,
}

impl Bench {
    /// A machine with the type1 driver and no devices.
    pub(crate) fn new() -> Self {
        let mut vfio = Vfio::new();
        vfio.register_iommu_driver(Box::new(Type1::new())).unwrap();
        let process =
            Process { memory: Memory(vec![0; 3 * 4096]), descriptors: BTreeMap::new(), rawio: false };
        Self { vfio, machine: Machine::default(), process, kinds: BTreeMap::new(), next: 3 }
    }

    /// The same with devices 1 to 4, bound to VFIO: 1 and 2 in groups of their own, 11 and 12, and 3 and 4 in group 13.
    pub(crate) fn with_devices() -> Self {
        let mut bench = Self::new();
        for (device, group) in [(1, 11), (2, 12), (3, 13), (4, 13)] {
            bench.add(device, group);
        }
        bench
    }

    /// A device is bound to a driver that uses VFIO; it is called `dN`.
    pub(crate) fn add(&mut self, device: u32, group: u32) {
        self.machine.names.insert(DeviceId(device), format!("d{device}"));
        self.machine.bind(device, group, MemberDriver::Harmless);
        self.vfio.add_group_dev(DeviceId(device), GroupId(group), GroupKind::Iommu).unwrap();
    }

    fn number(&mut self) -> (i32, FileId) {
        let number = self.next;
        self.next += 1;
        (number, FileId(number as u64))
    }

    fn install(&mut self, number: i32, kind: Option<Kind>) -> i32 {
        self.process.descriptors.insert(number, kind.map(|_| FileId(number as u64)));
        if let Some(kind) = kind {
            self.kinds.insert(number, kind);
        }
        number
    }

    /// `/dev/null`, an eventfd, or whatever isn't the lab's.
    pub(crate) fn open_other(&mut self) -> i32 {
        let (number, _) = self.number();
        self.install(number, None)
    }

    pub(crate) fn open_container(&mut self) -> i32 {
        let (number, file) = self.number();
        self.vfio.open_container(file);
        self.install(number, Some(Kind::Container))
    }

    pub(crate) fn open_group(&mut self, group: u32) -> Result<i32, Errno> {
        let node = self.vfio.group_node(GroupId(group)).ok_or(Errno::ENOENT)?;
        let (number, file) = self.number();
        self.vfio.open_group(file, node.minor, self.process.rawio)?;
        Ok(self.install(number, Some(Kind::Group)))
    }

    pub(crate) fn close(&mut self, number: i32) {
        if self.process.descriptors.remove(&number).is_none() {
            return;
        }
        let file = FileId(number as u64);
        match self.kinds.get(&number) {
            Some(Kind::Container) => self.vfio.release_container(file),
            Some(Kind::Group) => self.vfio.release_group(file, &mut self.machine),
            Some(Kind::Device) => self.vfio.release_device(file, &mut self.machine),
            None => {}
        }
    }

    /// An ioctl as a process makes it; a new descriptor is its value.
    pub(crate) fn ioctl(&mut self, number: i32, request: Request, argument: u64) -> Result<i64, Errno> {
        let file = self.process.descriptors.get(&number).copied().flatten().ok_or(Errno::EBADF)?;
        let (vfio, process, machine) = (&mut self.vfio, &mut self.process, &mut self.machine);
        match self.kinds[&number] {
            Kind::Container => plain(vfio.container_ioctl(file, request, argument, process, machine)),
            Kind::Group => match plain(vfio.group_ioctl(file, request, argument, process, machine))? {
                GroupReply::Value(value) => Ok(value),
                GroupReply::Device(device) => self.open_device(device).map(i64::from),
            },
            Kind::Device => vfio.device_of(file).map(|_| 0).ok_or(Errno::EBADF),
        }
    }

    pub(crate) fn open_device(&mut self, device: DeviceId) -> Result<i32, Errno> {
        let (number, file) = self.number();
        self.vfio.open_device(file, device, &mut self.machine)?;
        Ok(self.install(number, Some(Kind::Device)))
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> u64 {
        self.process.memory.0[..bytes.len()].copy_from_slice(bytes);
        BASE
    }

    pub(crate) fn word(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.process.memory.0[offset..][..4].try_into().unwrap())
    }

    pub(crate) fn set_container(&mut self, group: i32, container: i32) -> Result<i64, Errno> {
        let at = self.put(&container.to_ne_bytes());
        self.ioctl(group, GROUP_SET_CONTAINER, at)
    }

    pub(crate) fn unset_container(&mut self, group: i32) -> Result<i64, Errno> {
        self.ioctl(group, GROUP_UNSET_CONTAINER, 0)
    }

    pub(crate) fn set_iommu(&mut self, container: i32, kind: u64) -> Result<i64, Errno> {
        self.ioctl(container, SET_IOMMU, kind)
    }

    pub(crate) fn check_extension(&mut self, container: i32, extension: u64) -> Result<i64, Errno> {
        self.ioctl(container, CHECK_EXTENSION, extension)
    }

    /// What it returns, and `argsz` and `flags` afterwards, which were `argsz` and 0xdead.
    pub(crate) fn status(&mut self, group: i32, argsz: u32) -> (Result<i64, Errno>, u32, u32) {
        let mut status = argsz.to_ne_bytes().to_vec();
        status.extend(0xdead_u32.to_ne_bytes());
        let at = self.put(&status);
        let result = self.ioctl(group, GROUP_GET_STATUS, at);
        (result, self.word(0), self.word(4))
    }

    /// The flags of `GET_STATUS`.
    pub(crate) fn flags(&mut self, group: i32) -> Result<u32, Errno> {
        let (result, _, flags) = self.status(group, 8);
        result.map(|_| flags)
    }

    pub(crate) fn get_device(&mut self, group: i32, name: &str) -> Result<i32, Errno> {
        let mut bytes = name.as_bytes().to_vec();
        bytes.push(0);
        let at = self.put(&bytes);
        self.ioctl(group, GROUP_GET_DEVICE_FD, at).map(|number| number as i32)
    }

    /// A container with an IOMMU, and a group in it.
    pub(crate) fn up(&mut self, group: u32) -> (i32, i32) {
        let (container, group) = (self.open_container(), self.open_group(group).unwrap());
        self.set_container(group, container).unwrap();
        self.set_iommu(container, 3).unwrap();
        (container, group)
    }
}
