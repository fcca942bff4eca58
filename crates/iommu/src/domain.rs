//! A domain: what the devices that are attached to it reach, at which addresses.

use alloc::collections::BTreeMap;

use ioctlab_abi::Errno;

use crate::{AddressRange, Fault, Properties, Reason};

/// Where something is: an address in an address space, whose number is the business of whoever maps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address space.
    pub space: u64,
    /// The address in it.
    pub address: u64,
}

impl Target {
    fn behind(self, bytes: u64) -> Self {
        Self { address: self.address.wrapping_add(bytes), ..self }
    }
}

/// What devices may do with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Read it.
    pub read: bool,
    /// Write it.
    pub write: bool,
}

/// What a device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads memory.
    Read,
    /// It writes memory.
    Write,
}

/// A piece of an access that lies in one range, translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where its first byte is.
    pub target: Target,
    /// How many bytes it has; the others lie elsewhere.
    pub length: u64,
}

/// Why a range wasn't mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is empty, wraps, or isn't whole pages.
    Malformed,
    /// It leaves the aperture.
    BeyondAperture,
    /// Something is mapped in it.
    Mapped,
}

impl From<Refused> for Errno {
    /// As Linux's drivers of IOMMUs answer.
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed => Self::EINVAL,
            Refused::BeyondAperture => Self::EFAULT,
            Refused::Mapped => Self::EEXIST,
        }
    }
}

/// What is mapped from some address on.
#[derive(Clone, Copy, Debug)]
struct Mapped {
    last: u64,
    target: Target,
    permissions: Permissions,
}

/// A domain. Every call takes time in the logarithm of the number of ranges, not in their sizes.
#[derive(Clone, Debug)]
pub struct Domain {
    aperture: AddressRange,
    page: u64,
    /// By their first address. They don't overlap; neighbours stay two.
    ranges: BTreeMap<u64, Mapped>,
}

impl Domain {
    /// An empty domain of an IOMMU.
    pub fn new(properties: &Properties) -> Self {
        Self { aperture: properties.aperture(), page: properties.smallest_page(), ranges: BTreeMap::new() }
    }

    /// How many ranges are mapped.
    pub fn ranges(&self) -> usize {
        self.ranges.len()
    }

    /// Maps `bytes` bytes from `iova` on to as many at the target.
    ///
    /// # Errors
    /// [`Refused`]; then nothing has changed.
    pub fn map(
        &mut self,
        iova: u64,
        bytes: u64,
        target: Target,
        permissions: Permissions,
    ) -> Result<(), Refused> {
        let range = AddressRange::new(iova, bytes).ok_or(Refused::Malformed)?;
        if ![iova, bytes, target.address].into_iter().all(|number| number.is_multiple_of(self.page)) {
            return Err(Refused::Malformed);
        }
        if range.start < self.aperture.start || range.last > self.aperture.last {
            return Err(Refused::BeyondAperture);
        }
        if self.last_up_to(range.last).is_some_and(|(_, mapped)| mapped.last >= iova) {
            return Err(Refused::Mapped);
        }
        self.ranges.insert(iova, Mapped { last: range.last, target, permissions });
        Ok(())
    }

    /// Unmaps what is mapped of `bytes` bytes from `iova` on, and returns how many bytes that was. What a range has on
    /// either side stays. Nothing happens unless both numbers are whole pages.
    pub fn unmap(&mut self, iova: u64, bytes: u64) -> u64 {
        let Some(gone) = AddressRange::new(iova, bytes) else { return 0 };
        if !iova.is_multiple_of(self.page) || !bytes.is_multiple_of(self.page) {
            return 0;
        }
        let mut unmapped = 0_u64;
        while let Some((start, mapped)) = self.last_up_to(gone.last) {
            if mapped.last < gone.start {
                break;
            }
            self.ranges.remove(&start);
            let first = start.max(gone.start);
            let last = mapped.last.min(gone.last);
            if start < first {
                self.ranges.insert(start, Mapped { last: first.saturating_sub(1), ..mapped });
            }
            if last < mapped.last {
                let behind = last.saturating_add(1);
                let target = mapped.target.behind(behind.wrapping_sub(start));
                self.ranges.insert(behind, Mapped { target, ..mapped });
            }
            unmapped = unmapped.saturating_add(last.saturating_sub(first)).saturating_add(1);
        }
        unmapped
    }

    /// The range from `iova` on, as it was mapped, is of other memory from now on, as if it had been all the time. Returns
    /// whether there is one.
    pub fn retarget(&mut self, iova: u64, target: Target) -> bool {
        match self.ranges.get_mut(&iova) {
            Some(mapped) => {
                mapped.target = target;
                true
            }
            None => false,
        }
    }

    /// Where a device finds the first of `length` bytes from `iova` on, and how many of them lie there in a row. The others
    /// are to be asked for by a further call. A length of 0 only asks whether the access would be allowed.
    ///
    /// # Errors
    /// The fault of the first byte.
    pub fn translate(&self, iova: u64, length: u64, access: Access) -> Result<Run, Fault> {
        let fault = |reason| Fault { address: iova, access, reason };
        if iova > self.aperture.last {
            return Err(fault(Reason::BeyondWidth));
        }
        let found = self.last_up_to(iova).filter(|(_, mapped)| iova <= mapped.last);
        let (start, mapped) = found.ok_or(fault(Reason::NotPresent))?;
        match access {
            Access::Read if !mapped.permissions.read => return Err(fault(Reason::NoReadPermission)),
            Access::Write if !mapped.permissions.write => return Err(fault(Reason::NoWritePermission)),
            Access::Read | Access::Write => {}
        }
        // A range of all 2^64 bytes is one longer than a number can be; nobody asks for so much.
        let there = mapped.last.saturating_sub(iova).saturating_add(1);
        Ok(Run { target: mapped.target.behind(iova.saturating_sub(start)), length: length.min(there) })
    }

    /// The last range that starts at or below an address.
    fn last_up_to(&self, address: u64) -> Option<(u64, Mapped)> {
        self.ranges.range(..=address).next_back().map(|(start, mapped)| (*start, *mapped))
    }
}
