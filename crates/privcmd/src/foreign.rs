//! The ioctls that map other domains' pages. There are none: each is refused, after Linux's checks.

use crate::{
    Driver, Hypercalls,
    address::{access_ok, element},
};
use ioctlab_abi::privcmd::{FRAME_ERROR, words};
use ioctlab_chardev::layout::{half_word, long, word};
use ioctlab_chardev::{BadAddress, Errno, UserMemory, UserPtr};

/// The most frames that can be asked for at a time.
pub const MAX_FRAMES: u32 = 1 << 20;

/// The most frames of a resource: what the kernel can allocate the list for.
const MAX_RESOURCE_FRAMES: u64 = 1 << 19;

/// The size of an entry of `MMAP`, and of a frame number, in bytes.
const ENTRY_SIZE: u64 = 24;
const FRAME_SIZE: u64 = 8;
/// The size of an error of `MMAPBATCH_V2`, in bytes.
const ERROR_SIZE: u64 = 4;

/// The size of what is copied at a time, in bytes; whole elements of each array.
const PIECE: usize = 512;

/// A mapping of the device.
#[derive(Debug)]
pub(crate) struct Area {
    /// How long it is, in pages.
    pub(crate) pages: u64,
    /// An ioctl has been at it.
    pub(crate) used: bool,
}

impl Driver {
    /// `MMAP` (`privcmd_ioctl_mmap`).
    pub(crate) fn map_ranges(
        &mut self,
        argument: &[u8; 16],
        allowed: impl Fn(u16) -> Result<(), Errno>,
        memory: &mut dyn UserMemory,
        xen: &dyn Hypercalls,
    ) -> Result<(), Errno> {
        let (count, domain, entries) = (word(argument, 0), half_word(argument, 4), long(argument, 8));
        allowed(domain)?;
        check_readable(entries, count, ENTRY_SIZE, memory)?;
        let mut left: Option<u64> = None;
        for index in 0..count {
            let [address, _, pages] =
                words(&memory.fetch::<24>(element(entries, index.into(), ENTRY_SIZE)?)?);
            let room = match left {
                Some(room) => room,
                None => {
                    let area = self.area(address, memory).filter(|area| !area.used).ok_or(Errno::EINVAL)?;
                    area.used = true;
                    area.pages
                }
            };
            left = Some(room);
            if pages > room {
                return Err(Errno::EINVAL);
            }
            if pages > 0 {
                return Err(xen.refused_frame(domain));
            }
        }
        Ok(())
    }

    /// `MMAPBATCH`, or with a place for errors `MMAPBATCH_V2` (`privcmd_ioctl_mmap_batch`).
    pub(crate) fn map_batch(
        &mut self,
        argument: &[u8],
        errors: Option<u64>,
        allowed: impl Fn(u16) -> Result<(), Errno>,
        memory: &mut dyn UserMemory,
        xen: &dyn Hypercalls,
    ) -> Result<(), Errno> {
        let (count, domain) = (word(argument, 0), half_word(argument, 4));
        let (address, frames) = (long(argument, 8), long(argument, 16));
        let (array, size) = errors.map_or((frames, FRAME_SIZE), |errors| (errors, ERROR_SIZE));
        if !access_ok(array, u64::from(count).saturating_mul(size)) {
            return Err(Errno::EFAULT);
        }
        allowed(domain)?;
        if count == 0 {
            return Err(Errno::EINVAL);
        }
        check_readable(frames, count, FRAME_SIZE, memory)?;
        if let Some(errors) = errors {
            fill(errors, count, [0; ERROR_SIZE as usize], memory)?;
        }
        let pages = u64::from(count);
        let area = self.area(address, memory).ok_or(Errno::EINVAL)?;
        if pages > area.pages || (pages < area.pages && !area.used) {
            return Err(Errno::EINVAL);
        }
        area.used = true;
        match errors {
            Some(errors) => {
                let error = xen.refused_frame(domain).raw().saturating_neg();
                fill(errors, count, error.to_ne_bytes(), memory)
            }
            None => mark(frames, count, memory),
        }
    }

    /// `MMAP_RESOURCE` (`privcmd_ioctl_mmap_resource`, and `XENMEM_acquire_resource`). No domain has any.
    pub(crate) fn map_resource(
        &mut self,
        argument: &[u8; 32],
        allowed: impl Fn(u16) -> Result<(), Errno>,
        memory: &mut dyn UserMemory,
        xen: &dyn Hypercalls,
    ) -> Result<(), Errno> {
        let (domain, count, address) = (half_word(argument, 0), long(argument, 16), long(argument, 24));
        allowed(domain)?;
        if (count == 0) != (address == 0) {
            return Err(Errno::EINVAL);
        }
        if count != 0 {
            let area = self.area(address, memory).ok_or(Errno::EINVAL)?;
            if count > MAX_RESOURCE_FRAMES {
                return Err(Errno::ENOMEM);
            }
            area.used = true;
        }
        xen.remote_domain(domain)?;
        Err(if xen.is_privileged() { Errno::EINVAL } else { Errno::EPERM })
    }

    /// The mapping of this device that lies at an address, or after it before any other.
    fn area(&mut self, address: u64, memory: &mut dyn UserMemory) -> Option<&mut Area> {
        self.areas.get_mut(&memory.mapping_from(UserPtr(address))?)
    }
}

/// The pieces of an array, each at its address and not longer than a buffer.
///
/// # Errors
/// Those of the piece; `EFAULT` past the end of all addresses.
fn in_pieces(
    array: u64,
    bytes: u64,
    mut piece: impl FnMut(UserPtr, &mut [u8]) -> Result<(), BadAddress>,
) -> Result<(), Errno> {
    let mut buffer = [0; PIECE];
    let mut done: u64 = 0;
    while done < bytes {
        let size = usize::try_from(bytes.saturating_sub(done)).unwrap_or(PIECE).min(PIECE);
        piece(element(array, done, 1)?, buffer.get_mut(..size).unwrap_or_default())?;
        done = done.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
    }
    Ok(())
}

/// Reads an array through, as Linux copies it (`gather_array`).
///
/// # Errors
/// `ENOMEM`, `EFAULT`
fn check_readable(array: u64, count: u32, size: u64, memory: &mut dyn UserMemory) -> Result<(), Errno> {
    if count > MAX_FRAMES {
        return Err(Errno::ENOMEM);
    }
    in_pieces(array, u64::from(count).saturating_mul(size), |at, piece| memory.read(at, piece))
}

/// Writes the same to all of an array of errors.
fn fill(array: u64, count: u32, value: [u8; 4], memory: &mut dyn UserMemory) -> Result<(), Errno> {
    in_pieces(array, u64::from(count).saturating_mul(ERROR_SIZE), |at, piece| {
        piece.as_chunks_mut().0.fill(value);
        memory.write(at, piece)
    })
}

/// Marks all frame numbers of an array.
fn mark(array: u64, count: u32, memory: &mut dyn UserMemory) -> Result<(), Errno> {
    in_pieces(array, u64::from(count).saturating_mul(FRAME_SIZE), |at, piece| {
        memory.read(at, piece)?;
        for frame in piece.as_chunks_mut().0 {
            *frame = (u64::from_ne_bytes(*frame) | FRAME_ERROR).to_ne_bytes();
        }
        memory.write(at, piece)
    })
}
