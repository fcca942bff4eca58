//! A program with a container, and calls of it.

use ioctlab_abi::Request;
use ioctlab_abi::vfio::{
    IOMMU_DIRTY_PAGES, IOMMU_GET_INFO, IOMMU_MAP_DMA, IOMMU_UNMAP_DMA, TYPE1_IOMMU, TYPE1V2_IOMMU,
};
use ioctlab_chardev::{Errno, SpaceId, Stop};
use ioctlab_type1::{Driver, Parameters};
use ioctlab_vfio::{GroupId, Iommu, IommuDriver};

use crate::caller::Program;
use crate::fake::{Fake, Group};
use crate::memory::BASE;

pub(crate) const PAGE: u64 = 4096;
/// Where the program has memory that devices may read and write, and how much of it.
pub(crate) const BUFFER: u64 = 0x7f00_0000_0000;
pub(crate) const BUFFER_BYTES: u64 = 4096 * PAGE;
/// Where the program's structs are; bitmaps are in the second half.
pub(crate) const ARGUMENT: u64 = BASE;
pub(crate) const BITMAP: u64 = BASE + 0x1000;
const MEMORY: usize = 0x2000;
pub(crate) const GROUP: GroupId = GroupId(1);
pub(crate) const SPACE: SpaceId = SpaceId(1);

/// Flags of mappings.
pub(crate) const READ: u32 = 1;
pub(crate) const WRITE: u32 = 2;
pub(crate) const BOTH: u32 = READ | WRITE;
pub(crate) const VADDR: u32 = 4;

pub(crate) struct Lab {
    pub(crate) machine: Fake,
    pub(crate) program: Program,
    pub(crate) iommu: Box<dyn Iommu<Fake>>,
}

impl Lab {
    /// A container of the second version, with one group.
    pub(crate) fn v2() -> Self {
        Self::new(TYPE1V2_IOMMU, Parameters::default())
    }

    /// A container of the first version, with one group.
    pub(crate) fn v1() -> Self {
        Self::new(TYPE1_IOMMU, Parameters::default())
    }

    pub(crate) fn both() -> [(&'static str, Self); 2] {
        [("v1", Self::v1()), ("v2", Self::v2())]
    }

    pub(crate) fn new(kind: u64, parameters: Parameters) -> Self {
        let mut machine = Fake::with_group(GROUP.0, Group::default());
        let mut iommu = open(kind, parameters).expect("a kind of IOMMU");
        iommu.attach_group(GROUP, &mut machine).expect("a group as any");
        Self { machine, program: program(SPACE), iommu }
    }

    /// Attaches one more group.
    pub(crate) fn attach(&mut self, group: u32, like: Group) -> Result<(), Errno> {
        self.machine.groups.insert(GroupId(group), like);
        self.iommu.attach_group(GroupId(group), &mut self.machine)
    }

    pub(crate) fn detach(&mut self, group: u32) {
        self.iommu.detach_group(GroupId(group), &mut self.machine);
    }

    /// A call with a struct, which is read back.
    pub(crate) fn call(&mut self, request: Request, bytes: &mut [u8]) -> Result<(), Errno> {
        self.program.put(ARGUMENT, bytes);
        let result = self.call_at(request, ARGUMENT);
        let start = (ARGUMENT - BASE) as usize;
        bytes.copy_from_slice(&self.program.memory.0[start..start + bytes.len()]);
        result
    }

    pub(crate) fn call_at(&mut self, request: Request, argument: u64) -> Result<(), Errno> {
        match self.iommu.ioctl(request, argument, &mut self.program, &mut self.machine) {
            Ok(0) => Ok(()),
            Err(Stop::Fail(errno)) => Err(errno),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn map(&mut self, flags: u32, vaddr: u64, iova: u64, size: u64) -> Result<(), Errno> {
        self.call(IOMMU_MAP_DMA, &mut map_struct(32, flags, vaddr, iova, size))
    }

    /// The result, and the size that is in the struct then.
    pub(crate) fn unmap(&mut self, flags: u32, iova: u64, size: u64) -> (Result<(), Errno>, u64) {
        let mut bytes = unmap_struct(24, flags, iova, size);
        let result = self.call(IOMMU_UNMAP_DMA, &mut bytes);
        (result, u64::from_ne_bytes(bytes[16..24].try_into().expect("eight bytes")))
    }

    /// `UNMAP_DMA` with a bitmap of so many bytes at [`BITMAP`].
    pub(crate) fn unmap_dirty(&mut self, iova: u64, size: u64, bytes: u64) -> (Result<(), Errno>, u64) {
        let mut argument = unmap_struct(48, 1, iova, size);
        argument.extend(words(&[PAGE, bytes, BITMAP]));
        let result = self.call(IOMMU_UNMAP_DMA, &mut argument);
        (result, u64::from_ne_bytes(argument[16..24].try_into().expect("eight bytes")))
    }

    pub(crate) fn dirty(&mut self, flags: u32) -> Result<(), Errno> {
        self.call(IOMMU_DIRTY_PAGES, &mut halves(&[8, flags]))
    }

    /// `GET_BITMAP` to `data`.
    pub(crate) fn get_dirty(
        &mut self,
        iova: u64,
        size: u64,
        page: u64,
        bytes: u64,
        data: u64,
    ) -> Result<(), Errno> {
        let mut argument = halves(&[48, 4]);
        argument.extend(words(&[iova, size, page, bytes, data]));
        self.call(IOMMU_DIRTY_PAGES, &mut argument)
    }

    /// `GET_INFO` with an `argsz`: the result, and the struct with what is behind it.
    pub(crate) fn info(&mut self, argsz: u32) -> (Result<(), Errno>, Vec<u8>) {
        let mut bytes = vec![0; 1024];
        bytes[..4].copy_from_slice(&argsz.to_ne_bytes());
        let result = self.call(IOMMU_GET_INFO, &mut bytes);
        (result, bytes)
    }

    /// The value of `DMA_AVAIL`, and the valid IOVAs.
    pub(crate) fn capabilities(&mut self) -> (u32, Vec<(u64, u64)>) {
        let (result, bytes) = self.info(1024);
        assert_eq!(result, Ok(()));
        let ranges = (0..word(&bytes, 80)).map(|index| {
            let at = 88 + 16 * index as usize;
            (long(&bytes, at), long(&bytes, at + 8))
        });
        (word(&bytes, 64), ranges.collect())
    }

    pub(crate) fn locked(&self) -> u64 {
        self.machine.locked.pages(SPACE)
    }
}

pub(crate) fn open(kind: u64, parameters: Parameters) -> Result<Box<dyn Iommu<Fake>>, Errno> {
    IommuDriver::<Fake>::open(&mut Driver::new(parameters), kind)
}

/// A program that has [`BUFFER`].
pub(crate) fn program(space: SpaceId) -> Program {
    let mut program = Program::new(MEMORY);
    program.space = Some(space);
    program.make_pinnable(BUFFER, BUFFER_BYTES, true);
    program
}

pub(crate) fn map_struct(argsz: u32, flags: u32, vaddr: u64, iova: u64, size: u64) -> Vec<u8> {
    [halves(&[argsz, flags]), words(&[vaddr, iova, size])].concat()
}

pub(crate) fn unmap_struct(argsz: u32, flags: u32, iova: u64, size: u64) -> Vec<u8> {
    [halves(&[argsz, flags]), words(&[iova, size])].concat()
}

pub(crate) fn halves(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

pub(crate) fn words(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
