//! The IOVAs that can be mapped: the aperture, less what is reserved for some group (`iommu->iova_list`).

use alloc::vec::Vec;

use ioctlab_chardev::Errno;

use crate::IovaRange;

/// Ranges in order. None at all, before any group is there, is all IOVAs.
#[derive(Clone, Debug, Default)]
pub(crate) struct ValidIovas(Vec<IovaRange>);

impl ValidIovas {
    pub(crate) fn ranges(&self) -> &[IovaRange] {
        &self.0
    }

    /// From the first byte to the last, with what is left out in between.
    pub(crate) fn span(&self) -> Option<IovaRange> {
        let (first, last) = (self.0.first()?, self.0.last()?);
        Some(IovaRange { start: first.start, last: last.last })
    }

    /// Whether a range can be mapped (`vfio_iommu_iova_dma_valid`): it must lie within one.
    pub(crate) fn allow(&self, range: IovaRange) -> bool {
        self.0.is_empty() || self.0.iter().any(|valid| valid.start <= range.start && range.last <= valid.last)
    }

    /// Leaves out what is not in an aperture (`vfio_iommu_aper_resize`), which must meet the span.
    pub(crate) fn narrow(&mut self, aperture: IovaRange) {
        if self.0.is_empty() {
            self.0.push(aperture);
            return;
        }
        self.0.retain_mut(|range| {
            range.start = range.start.max(aperture.start);
            range.last = range.last.min(aperture.last);
            range.start <= range.last
        });
    }

    /// Leaves out what is reserved (`vfio_iommu_resv_exclude`).
    ///
    /// # Errors
    /// `EINVAL` if nothing is left.
    pub(crate) fn exclude(&mut self, reserved: &[IovaRange]) -> Result<(), Errno> {
        for hole in reserved {
            let mut left = Vec::new();
            for range in &self.0 {
                if hole.start > range.last || hole.last < range.start {
                    left.push(*range);
                    continue;
                }
                // A hole that starts at 0, or ends with the last IOVA, leaves nothing there.
                if let Some(last) = hole.start.checked_sub(1).filter(|last| *last >= range.start) {
                    left.push(IovaRange { start: range.start, last });
                }
                if let Some(start) = hole.last.checked_add(1).filter(|start| *start <= range.last) {
                    left.push(IovaRange { start, last: range.last });
                }
            }
            self.0 = left;
        }
        if self.0.is_empty() { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// A domain is gone (`vfio_iommu_aper_expand`): the span is this, or the whole of 64 bits.
    pub(crate) fn widen(&mut self, span: IovaRange) {
        if let Some(first) = self.0.first_mut() {
            first.start = span.start;
        }
        if let Some(last) = self.0.last_mut() {
            last.last = span.last;
        }
    }
}
