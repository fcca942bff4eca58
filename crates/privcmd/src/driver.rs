//! The calls of the device.

use crate::{Hypercalls, foreign::Area};
use alloc::{collections::BTreeMap, vec::Vec};
use ioctlab_abi::privcmd::{self, words};
use ioctlab_chardev::{
    CallResult, Errno, FileId, Mapping, MappingId, MmapRequest, Pages, PollEvents, Request, UserMemory,
    UserPtr,
};

/// `/dev/xen/privcmd` of one guest kernel, with all its open files.
///
/// Calls on a file that is not open are `EBADF`.
#[derive(Debug, Default)]
pub struct Driver {
    /// The domain that each file is restricted to, if it is.
    files: BTreeMap<FileId, Option<u16>>,
    pub(crate) areas: BTreeMap<MappingId, Area>,
}

impl Driver {
    /// A driver with no open files.
    pub const fn new() -> Self {
        Self { files: BTreeMap::new(), areas: BTreeMap::new() }
    }

    /// A file was opened. Of no effect if it is open already.
    pub fn open(&mut self, file: FileId) {
        self.files.entry(file).or_insert(None);
    }

    /// The last reference to a file went; its mappings have references. Of no effect if it is not open.
    pub fn release(&mut self, file: FileId) {
        self.files.remove(&file);
    }

    /// `read(2)`: the device has none.
    ///
    /// # Errors
    /// `EINVAL`, always.
    pub fn read(
        &mut self,
        file: FileId,
        _to: UserPtr,
        _count: usize,
        _memory: &mut dyn UserMemory,
    ) -> CallResult<usize> {
        self.restriction(file)?;
        Err(Errno::EINVAL.into())
    }

    /// `write(2)`: the device has none.
    ///
    /// # Errors
    /// `EINVAL`, always.
    pub fn write(
        &mut self,
        file: FileId,
        _from: UserPtr,
        _count: usize,
        _memory: &mut dyn UserMemory,
    ) -> CallResult<usize> {
        self.restriction(file)?;
        Err(Errno::EINVAL.into())
    }

    /// `poll(2)`: the device has none, so it is always ready. Of a file that is not open: nothing.
    pub fn poll(&self, file: FileId) -> PollEvents {
        if self.files.contains_key(&file) {
            PollEvents::IN | PollEvents::OUT | PollEvents::RDNORM | PollEvents::WRNORM
        } else {
            PollEvents::default()
        }
    }

    /// `mmap(2)`: anything goes, shared or private, wherever in the device (`privcmd_mmap`).
    ///
    /// The mapping has no frames: nothing is mapped until an ioctl does so, and each access is `SIGBUS`. A child doesn't
    /// inherit it.
    ///
    /// # Errors
    /// None, of an open file.
    pub fn mmap(&mut self, file: FileId, request: MmapRequest) -> Result<Mapping, Errno> {
        self.restriction(file)?;
        self.areas.insert(request.mapping, Area { pages: request.pages, used: false });
        Ok(Mapping { pages: Pages::Frames(Vec::new()), read_only: false, inherited: false })
    }

    /// All of a mapping is gone.
    pub fn unmap(&mut self, mapping: MappingId) {
        self.areas.remove(&mapping);
    }

    /// `ioctl(2)`. Returns what the hypervisor returns for `HYPERCALL`, else 0.
    ///
    /// | request | checks, in order |
    /// | --- | --- |
    /// | `HYPERCALL` | `EPERM` if restricted, `EFAULT`, `EINVAL` for a number of 128 or more, Xen's |
    /// | `MMAP` | `EFAULT`, `EPERM` if restricted to another domain, `EFAULT` for the entries, done if there are none, `EINVAL` unless the first lies in a mapping that no ioctl has used; then each that isn't empty: `EINVAL` if it doesn't fit there, Xen's |
    /// | `MMAPBATCH` | `EFAULT`, `EPERM` if restricted to another domain, `EINVAL` for none, `EFAULT` for the frames, `EINVAL` unless they fill a mapping, or lie in one that was used; then each frame is marked |
    /// | `MMAPBATCH_V2` | the same, with each frame's error as a number |
    /// | `DM_OP` | `EFAULT`, `EPERM` if restricted to another domain, done if there are no buffers, `E2BIG` for more than 16, `EFAULT`, for each `E2BIG` (over a page) and `EFAULT`, Xen's |
    /// | `RESTRICT` | `EFAULT`, `EINVAL` if restricted to another domain |
    /// | `MMAP_RESOURCE` | `EFAULT`, `EPERM` if restricted to another domain, `EINVAL` for an address without a number or the reverse, `EINVAL` unless the address lies in a mapping, `ENOMEM`, Xen's |
    /// | `IRQFD`, `IOEVENTFD` | `EOPNOTSUPP` |
    /// | any other | `ENOTTY` |
    ///
    /// # Errors
    /// Those of the table; never [`Stop::Wait`](ioctlab_chardev::Stop::Wait).
    pub fn ioctl(
        &mut self,
        file: FileId,
        request: Request,
        argument: u64,
        memory: &mut dyn UserMemory,
        xen: &dyn Hypercalls,
    ) -> CallResult<i64> {
        let restriction = self.restriction(file)?;
        let argument = UserPtr(argument);
        let allowed = move |domain: u16| match restriction {
            Some(only) if only != domain => Err(Errno::EPERM),
            _ => Ok(()),
        };
        match request {
            privcmd::HYPERCALL if restriction.is_some() => Err(Errno::EPERM),
            privcmd::HYPERCALL => {
                let [op, arguments @ ..]: [u64; 6] = words(&memory.fetch::<48>(argument)?);
                return Ok(crate::hypercall::call(op, arguments, memory, xen)?);
            }
            privcmd::MMAP => self.map_ranges(&memory.fetch(argument)?, allowed, memory, xen),
            privcmd::MMAPBATCH => self.map_batch(&memory.fetch::<24>(argument)?, None, allowed, memory, xen),
            privcmd::MMAPBATCH_V2 => {
                let bytes = memory.fetch::<32>(argument)?;
                let [_, _, _, errors]: [u64; 4] = words(&bytes);
                self.map_batch(&bytes, Some(errors), allowed, memory, xen)
            }
            privcmd::DM_OP => crate::dm_op::dm_op(&memory.fetch(argument)?, allowed, memory, xen),
            privcmd::RESTRICT => self.restrict(file, u16::from_ne_bytes(memory.fetch(argument)?)),
            privcmd::MMAP_RESOURCE => self.map_resource(&memory.fetch(argument)?, allowed, memory, xen),
            privcmd::IRQFD | privcmd::IOEVENTFD => Err(Errno::EOPNOTSUPP),
            _ => Err(Errno::ENOTTY),
        }?;
        Ok(0)
    }

    /// Restricts a file to a domain, whether there is such a domain or not. Once more is fine, if it is the same.
    fn restrict(&mut self, file: FileId, domain: u16) -> Result<(), Errno> {
        match self.files.get_mut(&file).ok_or(Errno::EBADF)? {
            Some(only) if *only != domain => Err(Errno::EINVAL),
            restriction => {
                // `DOMID_INVALID` is how Linux says that there is none.
                *restriction = Some(domain).filter(|domain| *domain != DOMID_INVALID);
                Ok(())
            }
        }
    }

    /// What a file is restricted to.
    ///
    /// # Errors
    /// `EBADF`
    fn restriction(&self, file: FileId) -> Result<Option<u16>, Errno> {
        self.files.get(&file).copied().ok_or(Errno::EBADF)
    }
}

/// No domain's number.
const DOMID_INVALID: u16 = 0x7ff4;
