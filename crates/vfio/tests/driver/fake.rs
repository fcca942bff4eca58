//! A small machine: devices with names, and an IOMMU driver that answers as type1 does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ioctlab_abi::vfio::{
    IOMMU_MAP_DMA, IOMMU_UNMAP_DMA, TYPE1_IOMMU, TYPE1_NESTING_IOMMU, TYPE1V2_IOMMU, UNMAP_ALL, UPDATE_VADDR,
};
use ioctlab_chardev::layout::{long, put};
use ioctlab_chardev::{
    CallResult, Caller, Errno, Frame, Mapping, MmapRequest, Pages, Request, UserMemory, UserPtr,
};
use ioctlab_vfio::{Bus, DeviceId, GroupId, Iommu, IommuDriver, Member, MemberDriver};

/// What the core asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Open(DeviceId),
    Close(DeviceId),
    Request(DeviceId, u32),
    /// Of which driver, and which of its IOMMUs, counted from 0.
    Attach(&'static str, u32, GroupId),
    Detach(&'static str, u32, GroupId),
    Release(&'static str, u32),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) names: BTreeMap<DeviceId, String>,
    pub(crate) members: BTreeMap<GroupId, BTreeMap<DeviceId, MemberDriver>>,
    /// Devices that can't be opened.
    pub(crate) broken: BTreeSet<DeviceId>,
    /// Groups that an IOMMU driver can't attach.
    pub(crate) refused: BTreeMap<(&'static str, GroupId), Errno>,
    pub(crate) asked: Vec<Asked>,
}

impl Machine {
    pub(crate) fn bind(&mut self, device: u32, group: u32, driver: MemberDriver) {
        self.members.entry(GroupId(group)).or_default().insert(DeviceId(device), driver);
    }

    pub(crate) fn take_asked(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.asked)
    }
}

impl Bus for Machine {
    fn members(&self, group: GroupId) -> Vec<Member> {
        let members = self.members.get(&group).into_iter().flatten();
        members.map(|(device, driver)| Member { device: *device, driver: *driver }).collect()
    }

    fn matches(&mut self, device: DeviceId, name: &[u8]) -> Result<bool, Errno> {
        let Some(options) = name.strip_prefix(self.names[&device].as_bytes()) else { return Ok(false) };
        if !options.is_empty() && options[0] != b' ' {
            return Ok(false);
        }
        if options.windows(9).any(|option| option == b"vf_token=") { Err(Errno::EINVAL) } else { Ok(true) }
    }

    fn open_device(&mut self, device: DeviceId) -> Result<(), Errno> {
        if self.broken.contains(&device) {
            return Err(Errno::EIO);
        }
        self.asked.push(Asked::Open(device));
        Ok(())
    }

    fn close_device(&mut self, device: DeviceId) {
        self.asked.push(Asked::Close(device));
    }

    fn request(&mut self, device: DeviceId, count: u32) {
        self.asked.push(Asked::Request(device, count));
    }
}

/// An IOMMU driver.
pub(crate) struct Type1 {
    pub(crate) name: &'static str,
    /// What it knows before it is chosen.
    pub(crate) extensions: Vec<u64>,
    /// What it answers for those.
    pub(crate) answer: i64,
    /// Types that it knows, but can't be opened as.
    pub(crate) fails: Vec<u64>,
    /// How many of its IOMMUs there have ever been, and how many there are.
    pub(crate) opened: Arc<AtomicU32>,
    pub(crate) alive: Arc<AtomicU32>,
}

impl Type1 {
    pub(crate) fn new() -> Self {
        Self {
            name: "type1",
            extensions: vec![TYPE1_IOMMU, TYPE1V2_IOMMU, TYPE1_NESTING_IOMMU, UNMAP_ALL],
            answer: 1,
            fails: vec![TYPE1_NESTING_IOMMU, UNMAP_ALL],
            opened: Arc::default(),
            alive: Arc::default(),
        }
    }
}

impl IommuDriver<Machine> for Type1 {
    fn name(&self) -> &'static str {
        self.name
    }

    fn check_extension(&self, extension: u64) -> i64 {
        if self.extensions.contains(&extension) { self.answer } else { 0 }
    }

    fn open(&mut self, extension: u64) -> Result<Box<dyn Iommu<Machine>>, Errno> {
        if self.fails.contains(&extension) {
            return Err(Errno::EINVAL);
        }
        self.alive.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Opened {
            driver: self.name,
            extensions: self.extensions.clone(),
            number: self.opened.fetch_add(1, Ordering::Relaxed),
            alive: self.alive.clone(),
            groups: BTreeSet::new(),
            maps: BTreeMap::new(),
        }))
    }
}

/// One of its IOMMUs.
struct Opened {
    driver: &'static str,
    extensions: Vec<u64>,
    number: u32,
    alive: Arc<AtomicU32>,
    groups: BTreeSet<GroupId>,
    maps: BTreeMap<u64, u64>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Iommu<Machine> for Opened {
    fn attach_group(&mut self, group: GroupId, machine: &mut Machine) -> Result<(), Errno> {
        if let Some(errno) = machine.refused.get(&(self.driver, group)) {
            return Err(*errno);
        }
        assert!(self.groups.insert(group), "attached once");
        machine.asked.push(Asked::Attach(self.driver, self.number, group));
        Ok(())
    }

    fn detach_group(&mut self, group: GroupId, machine: &mut Machine) {
        assert!(self.groups.remove(&group), "detached once");
        machine.asked.push(Asked::Detach(self.driver, self.number, group));
    }

    fn check_extension(&self, extension: u64) -> i64 {
        i64::from(self.extensions.contains(&extension) || extension == UPDATE_VADDR)
    }

    fn ioctl(
        &mut self,
        request: Request,
        argument: u64,
        caller: &mut dyn Caller,
        _: &mut Machine,
    ) -> CallResult<i64> {
        let memory: &mut dyn UserMemory = caller;
        match request {
            IOMMU_MAP_DMA => {
                let map: [u8; 32] = memory.fetch(UserPtr(argument))?;
                self.maps.insert(long(&map, 16), long(&map, 24));
            }
            IOMMU_UNMAP_DMA => {
                let mut unmap: [u8; 24] = memory.fetch(UserPtr(argument))?;
                let size = self.maps.remove(&long(&unmap, 8)).unwrap_or(0);
                put(&mut unmap, 16, &size.to_ne_bytes());
                memory.write(UserPtr(argument), &unmap)?;
            }
            _ => return Err(Errno::ENOTTY.into()),
        }
        Ok(0)
    }

    fn read(&mut self, _: UserPtr, count: usize, _: &mut dyn Caller, _: &mut Machine) -> CallResult<usize> {
        Ok(count)
    }

    fn mmap(&mut self, request: &MmapRequest, _: &mut Machine) -> Result<Mapping, Errno> {
        let pages = Pages::Frames(vec![Frame(request.page)]);
        Ok(Mapping { pages, read_only: false, inherited: true })
    }

    fn release(self: Box<Self>, machine: &mut Machine) {
        assert!(self.groups.is_empty(), "nothing is attached any more");
        machine.asked.push(Asked::Release(self.driver, self.number));
    }
}
