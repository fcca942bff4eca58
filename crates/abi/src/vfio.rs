//! `/dev/vfio/*`: request numbers, argument layouts and constants of `include/uapi/linux/vfio.h`.
//!
//! All requests are `_IO`, whatever way their arguments go: a struct says its own size in its first word, `argsz`. Two files
//! of different kinds may know the same number by different names. Integers are in the machine's byte order.

use crate::{Direction, Request};

/// The ioctl type byte.
pub const KIND: u8 = b';';

const fn request(number: u8) -> Request {
    Request::new(Direction::None, KIND, number, 0)
}

/// What `GET_API_VERSION` answers.
pub const API_VERSION: i64 = 0;

/// Container: the version of the interface.
pub const GET_API_VERSION: Request = request(100);
/// Container: whether an extension is there. Argument: its number.
pub const CHECK_EXTENSION: Request = request(101);
/// Container: choose the kind of IOMMU. Argument: the number of its extension.
pub const SET_IOMMU: Request = request(102);
/// Group: `u32 argsz, u32 flags`.
pub const GROUP_GET_STATUS: Request = request(103);
/// Group: be of a container. Argument: a pointer to its descriptor, an `i32`.
pub const GROUP_SET_CONTAINER: Request = request(104);
/// Group: be of no container.
pub const GROUP_UNSET_CONTAINER: Request = request(105);
/// Group: a descriptor of a device. Argument: its name, a string.
pub const GROUP_GET_DEVICE_FD: Request = request(106);
/// Device: `u32 argsz, u32 flags, u32 num_regions, u32 num_irqs, u32 cap_offset, u32 pad`.
pub const DEVICE_GET_INFO: Request = request(107);
/// Device: `u32 argsz, u32 flags, u32 index, u32 cap_offset, u64 size, u64 offset`.
pub const DEVICE_GET_REGION_INFO: Request = request(108);
/// Device: `u32 argsz, u32 flags, u32 index, u32 count`.
pub const DEVICE_GET_IRQ_INFO: Request = request(109);
/// Device: `u32 argsz, u32 flags, u32 index, u32 start, u32 count`, and data.
pub const DEVICE_SET_IRQS: Request = request(110);
/// Device: reset it.
pub const DEVICE_RESET: Request = request(111);
/// PCI device: who shares its reset. `u32 argsz, u32 flags, u32 count`, and so many `u32 group, u16 segment, u8 bus, u8 devfn`.
pub const DEVICE_GET_PCI_HOT_RESET_INFO: Request = request(112);
/// PCI device: reset it with those who share it. `u32 argsz, u32 flags, u32 count`, and so many `i32` group descriptors.
pub const DEVICE_PCI_HOT_RESET: Request = request(113);
/// Device: `u32 argsz, u32 flags, u32 head, u32 drm_plane_type, ...`.
pub const DEVICE_QUERY_GFX_PLANE: Request = request(114);
/// Device: an eventfd that writes a register. `u32 argsz, u32 flags, u64 offset, u64 data, i32 fd, u32 reserved`.
pub const DEVICE_IOEVENTFD: Request = request(116);
/// Device: features by number. `u32 argsz, u32 flags`, and data.
pub const DEVICE_FEATURE: Request = request(117);
/// type1: `u32 argsz, u32 flags, u64 iova_pgsizes, u32 cap_offset, u32 pad`.
pub const IOMMU_GET_INFO: Request = request(112);
/// type1: `u32 argsz, u32 flags, u64 vaddr, u64 iova, u64 size`.
pub const IOMMU_MAP_DMA: Request = request(113);
/// type1: `u32 argsz, u32 flags, u64 iova, u64 size`, and a bitmap's description if a flag says so.
pub const IOMMU_UNMAP_DMA: Request = request(114);
/// type1: `u32 argsz, u32 flags`, and data.
pub const IOMMU_DIRTY_PAGES: Request = request(117);

/// IOMMU type: type1.
pub const TYPE1_IOMMU: u64 = 1;
/// IOMMU type: sPAPR TCE, of POWER machines.
pub const SPAPR_TCE_IOMMU: u64 = 2;
/// IOMMU type: type1 whose unmaps don't split mappings.
pub const TYPE1V2_IOMMU: u64 = 3;
/// Extension: DMA is coherent with caches.
pub const DMA_CC_IOMMU: u64 = 4;
/// Extension: EEH, of POWER machines.
pub const EEH: u64 = 5;
/// IOMMU type: nested type1, an extension only.
pub const TYPE1_NESTING_IOMMU: u64 = 6;
/// IOMMU type: sPAPR TCE, second version.
pub const SPAPR_TCE_V2_IOMMU: u64 = 7;
/// IOMMU type: none.
pub const NOIOMMU_IOMMU: u64 = 8;
/// Extension: unmapping everything at once.
pub const UNMAP_ALL: u64 = 9;
/// Extension: changing the addresses that mappings are of.
pub const UPDATE_VADDR: u64 = 10;

/// `GROUP_GET_STATUS`: all its devices may be used.
pub const GROUP_VIABLE: u32 = 1 << 0;
/// `GROUP_GET_STATUS`: it is of a container.
pub const GROUP_CONTAINER_SET: u32 = 1 << 1;

/// `DEVICE_GET_INFO`: `RESET` works.
pub const DEVICE_FLAGS_RESET: u32 = 1 << 0;
/// `DEVICE_GET_INFO`: a PCI device.
pub const DEVICE_FLAGS_PCI: u32 = 1 << 1;
/// `DEVICE_GET_INFO`: capabilities follow.
pub const DEVICE_FLAGS_CAPS: u32 = 1 << 7;

/// `DEVICE_GET_REGION_INFO`: it can be read.
pub const REGION_READ: u32 = 1 << 0;
/// `DEVICE_GET_REGION_INFO`: it can be written.
pub const REGION_WRITE: u32 = 1 << 1;
/// `DEVICE_GET_REGION_INFO`: it can be mapped.
pub const REGION_MMAP: u32 = 1 << 2;
/// `DEVICE_GET_REGION_INFO`: capabilities follow.
pub const REGION_CAPS: u32 = 1 << 3;
/// Region capability: parts that can be mapped.
pub const REGION_CAP_SPARSE_MMAP: u16 = 1;
/// Region capability: its kind.
pub const REGION_CAP_TYPE: u16 = 2;
/// Region capability: the MSI-X table in it can be mapped.
pub const REGION_CAP_MSIX_MAPPABLE: u16 = 3;

/// PCI regions by index: BAR 0 to 5, then these.
pub const PCI_ROM_REGION: u32 = 6;
/// Configuration space.
pub const PCI_CONFIG_REGION: u32 = 7;
/// VGA's legacy ranges.
pub const PCI_VGA_REGION: u32 = 8;
/// How many regions a PCI device has.
pub const PCI_NUM_REGIONS: u32 = 9;
/// A region's offset in the device's file is its index, shifted by this.
pub const PCI_OFFSET_SHIFT: u32 = 40;

/// PCI interrupts by index: the pin.
pub const PCI_INTX_IRQ: u32 = 0;
/// Message signalled interrupts.
pub const PCI_MSI_IRQ: u32 = 1;
/// The same, extended.
pub const PCI_MSIX_IRQ: u32 = 2;
/// An error was reported.
pub const PCI_ERR_IRQ: u32 = 3;
/// The device is to be given back.
pub const PCI_REQ_IRQ: u32 = 4;
/// How many interrupt indices a PCI device has.
pub const PCI_NUM_IRQS: u32 = 5;

/// `DEVICE_GET_IRQ_INFO`: signals eventfds.
pub const IRQ_EVENTFD: u32 = 1 << 0;
/// `DEVICE_GET_IRQ_INFO`: can be masked.
pub const IRQ_MASKABLE: u32 = 1 << 1;
/// `DEVICE_GET_IRQ_INFO`: masks itself when it is signalled.
pub const IRQ_AUTOMASKED: u32 = 1 << 2;
/// `DEVICE_GET_IRQ_INFO`: what is enabled at first can't be grown.
pub const IRQ_NORESIZE: u32 = 1 << 3;

/// `DEVICE_SET_IRQS`: no data.
pub const IRQ_SET_DATA_NONE: u32 = 1 << 0;
/// `DEVICE_SET_IRQS`: a byte for each.
pub const IRQ_SET_DATA_BOOL: u32 = 1 << 1;
/// `DEVICE_SET_IRQS`: a descriptor for each.
pub const IRQ_SET_DATA_EVENTFD: u32 = 1 << 2;
/// `DEVICE_SET_IRQS`: mask.
pub const IRQ_SET_ACTION_MASK: u32 = 1 << 3;
/// `DEVICE_SET_IRQS`: unmask.
pub const IRQ_SET_ACTION_UNMASK: u32 = 1 << 4;
/// `DEVICE_SET_IRQS`: set what is signalled, or signal it.
pub const IRQ_SET_ACTION_TRIGGER: u32 = 1 << 5;
/// `DEVICE_SET_IRQS`: all flags that say what the data is.
pub const IRQ_SET_DATA_TYPE_MASK: u32 = 0b111;
/// `DEVICE_SET_IRQS`: all flags that say what to do.
pub const IRQ_SET_ACTION_TYPE_MASK: u32 = 0b111 << 3;

/// `DEVICE_FEATURE`: the feature's number.
pub const FEATURE_MASK: u32 = 0xffff;
/// `DEVICE_FEATURE`: read it.
pub const FEATURE_GET: u32 = 1 << 16;
/// `DEVICE_FEATURE`: write it.
pub const FEATURE_SET: u32 = 1 << 17;
/// `DEVICE_FEATURE`: say whether that can be done.
pub const FEATURE_PROBE: u32 = 1 << 18;

/// `IOMMU_GET_INFO`: page sizes are there.
pub const IOMMU_INFO_PGSIZES: u32 = 1 << 0;
/// `IOMMU_GET_INFO`: capabilities follow.
pub const IOMMU_INFO_CAPS: u32 = 1 << 1;
/// IOMMU capability: which IOVAs can be mapped.
pub const IOMMU_INFO_CAP_IOVA_RANGE: u16 = 1;
/// IOMMU capability: dirty pages are tracked.
pub const IOMMU_INFO_CAP_MIGRATION: u16 = 2;
/// IOMMU capability: how many more mappings can be made.
pub const IOMMU_INFO_CAP_DMA_AVAIL: u16 = 3;

/// `IOMMU_MAP_DMA`: devices may read.
pub const DMA_MAP_READ: u32 = 1 << 0;
/// `IOMMU_MAP_DMA`: devices may write.
pub const DMA_MAP_WRITE: u32 = 1 << 1;
/// `IOMMU_MAP_DMA`: give a mapping another address.
pub const DMA_MAP_VADDR: u32 = 1 << 2;
/// `IOMMU_UNMAP_DMA`: report dirty pages, too.
pub const DMA_UNMAP_GET_DIRTY_BITMAP: u32 = 1 << 0;
/// `IOMMU_UNMAP_DMA`: everything.
pub const DMA_UNMAP_ALL: u32 = 1 << 1;
/// `IOMMU_UNMAP_DMA`: only the address becomes invalid.
pub const DMA_UNMAP_VADDR: u32 = 1 << 2;
/// `IOMMU_DIRTY_PAGES`: start tracking.
pub const DIRTY_PAGES_START: u32 = 1 << 0;
/// `IOMMU_DIRTY_PAGES`: stop tracking.
pub const DIRTY_PAGES_STOP: u32 = 1 << 1;
/// `IOMMU_DIRTY_PAGES`: report.
pub const DIRTY_PAGES_GET_BITMAP: u32 = 1 << 2;
