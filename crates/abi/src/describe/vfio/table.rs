//! All requests: names, arguments, flags.

use super::{Argument, Field, Known, Role, Shown, Way};
use crate::{Request, vfio};

/// A field that the caller writes.
const fn given(name: &'static str, size: usize, shown: Shown) -> Field {
    Field { name, size, way: Way::Caller, shown }
}

/// A field that the driver writes.
const fn answered(name: &'static str, size: usize, shown: Shown) -> Field {
    Field { name, size, way: Way::Driver, shown }
}

pub(super) const ARGSZ: Field = given("argsz", 4, Shown::Decimal);
/// One that the driver may change.
const ARGSZ_BOTH: Field = Field { way: Way::Both, ..ARGSZ };
const FLAGS: Field = given("flags", 4, Shown::Hexadecimal);
const CAP_OFFSET: Field = answered("cap_offset", 4, Shown::Decimal);
const PADDING: Field = given("", 4, Shown::Decimal);

const INDEX_IRQ: Field = given("index", 4, Shown::Index(IRQS));

const GROUP_FLAGS: &[(u32, &str)] =
    &[(vfio::GROUP_VIABLE, "VIABLE"), (vfio::GROUP_CONTAINER_SET, "CONTAINER_SET")];

const DEVICE_FLAGS: &[(u32, &str)] = &[
    (vfio::DEVICE_FLAGS_RESET, "RESET"),
    (vfio::DEVICE_FLAGS_PCI, "PCI"),
    (vfio::DEVICE_FLAGS_CAPS, "CAPS"),
];

const REGION_FLAGS: &[(u32, &str)] = &[
    (vfio::REGION_READ, "READ"),
    (vfio::REGION_WRITE, "WRITE"),
    (vfio::REGION_MMAP, "MMAP"),
    (vfio::REGION_CAPS, "CAPS"),
];

const IRQ_FLAGS: &[(u32, &str)] = &[
    (vfio::IRQ_EVENTFD, "EVENTFD"),
    (vfio::IRQ_MASKABLE, "MASKABLE"),
    (vfio::IRQ_AUTOMASKED, "AUTOMASKED"),
    (vfio::IRQ_NORESIZE, "NORESIZE"),
];

const SET_FLAGS: &[(u32, &str)] = &[
    (vfio::IRQ_SET_DATA_NONE, "DATA_NONE"),
    (vfio::IRQ_SET_DATA_BOOL, "DATA_BOOL"),
    (vfio::IRQ_SET_DATA_EVENTFD, "DATA_EVENTFD"),
    (vfio::IRQ_SET_ACTION_MASK, "ACTION_MASK"),
    (vfio::IRQ_SET_ACTION_UNMASK, "ACTION_UNMASK"),
    (vfio::IRQ_SET_ACTION_TRIGGER, "ACTION_TRIGGER"),
];

pub(super) const FEATURE_FLAGS: &[(u32, &str)] =
    &[(vfio::FEATURE_GET, "GET"), (vfio::FEATURE_SET, "SET"), (vfio::FEATURE_PROBE, "PROBE")];

const INFO_FLAGS: &[(u32, &str)] = &[(vfio::IOMMU_INFO_PGSIZES, "PGSIZES"), (vfio::IOMMU_INFO_CAPS, "CAPS")];

const MAP_FLAGS: &[(u32, &str)] =
    &[(vfio::DMA_MAP_READ, "READ"), (vfio::DMA_MAP_WRITE, "WRITE"), (vfio::DMA_MAP_VADDR, "VADDR")];

const UNMAP_FLAGS: &[(u32, &str)] = &[
    (vfio::DMA_UNMAP_GET_DIRTY_BITMAP, "GET_DIRTY_BITMAP"),
    (vfio::DMA_UNMAP_ALL, "ALL"),
    (vfio::DMA_UNMAP_VADDR, "VADDR"),
];

const DIRTY_FLAGS: &[(u32, &str)] = &[
    (vfio::DIRTY_PAGES_START, "START"),
    (vfio::DIRTY_PAGES_STOP, "STOP"),
    (vfio::DIRTY_PAGES_GET_BITMAP, "GET_BITMAP"),
];

/// How wide a register is that an eventfd writes (`VFIO_DEVICE_IOEVENTFD_8` and so on).
const IOEVENTFD_FLAGS: &[(u32, &str)] = &[(1, "8"), (2, "16"), (4, "32"), (8, "64")];

pub(super) const EXTENSIONS: &[&str] = &[
    "",
    "VFIO_TYPE1_IOMMU",
    "VFIO_SPAPR_TCE_IOMMU",
    "VFIO_TYPE1v2_IOMMU",
    "VFIO_DMA_CC_IOMMU",
    "VFIO_EEH",
    "VFIO_TYPE1_NESTING_IOMMU",
    "VFIO_SPAPR_TCE_v2_IOMMU",
    "VFIO_NOIOMMU_IOMMU",
    "VFIO_UNMAP_ALL",
    "VFIO_UPDATE_VADDR",
];

/// PCI's regions and interrupts, without `VFIO_PCI_` and `_REGION_INDEX` or `_IRQ_INDEX`.
const REGIONS: &[&str] = &["BAR0", "BAR1", "BAR2", "BAR3", "BAR4", "BAR5", "ROM", "CONFIG", "VGA"];
const IRQS: &[&str] = &["INTX", "MSI", "MSIX", "ERR", "REQ"];

/// `VFIO_DEVICE_FEATURE_*`.
pub(super) const FEATURES: &[&str] = &[
    "PCI_VF_TOKEN",
    "MIGRATION",
    "MIG_DEVICE_STATE",
    "LOW_POWER_ENTRY",
    "LOW_POWER_ENTRY_WITH_WAKEUP",
    "LOW_POWER_EXIT",
    "DMA_LOGGING_START",
    "DMA_LOGGING_STOP",
    "DMA_LOGGING_REPORT",
    "MIG_DATA_SIZE",
    "BUS_MASTER",
];

pub(super) const SET_IRQS: &[Field] = &[
    ARGSZ,
    given("flags", 4, Shown::Flags(SET_FLAGS)),
    INDEX_IRQ,
    given("start", 4, Shown::Decimal),
    given("count", 4, Shown::Decimal),
];

const fn of(role: Role, request: Request, name: &'static str, argument: Argument) -> Known {
    Known { request, role, name, argument }
}

const fn container(request: Request, name: &'static str, argument: Argument) -> Known {
    of(Role::VfioContainer, request, name, argument)
}

const fn group(request: Request, name: &'static str, argument: Argument) -> Known {
    of(Role::VfioGroup, request, name, argument)
}

const fn device(request: Request, name: &'static str, argument: Argument) -> Known {
    of(Role::VfioDevice, request, name, argument)
}

pub(super) const KNOWN: &[Known] = &[
    container(vfio::GET_API_VERSION, "VFIO_GET_API_VERSION", Argument::None),
    container(vfio::CHECK_EXTENSION, "VFIO_CHECK_EXTENSION", Argument::Extension),
    container(vfio::SET_IOMMU, "VFIO_SET_IOMMU", Argument::Extension),
    container(
        vfio::IOMMU_GET_INFO,
        "VFIO_IOMMU_GET_INFO",
        Argument::Fields(&[
            ARGSZ_BOTH,
            answered("flags", 4, Shown::Flags(INFO_FLAGS)),
            answered("iova_pgsizes", 8, Shown::Hexadecimal),
            CAP_OFFSET,
            PADDING,
        ]),
    ),
    container(
        vfio::IOMMU_MAP_DMA,
        "VFIO_IOMMU_MAP_DMA",
        Argument::Fields(&[
            ARGSZ,
            given("flags", 4, Shown::Flags(MAP_FLAGS)),
            given("vaddr", 8, Shown::Hexadecimal),
            given("iova", 8, Shown::Hexadecimal),
            given("size", 8, Shown::Hexadecimal),
        ]),
    ),
    container(
        vfio::IOMMU_UNMAP_DMA,
        "VFIO_IOMMU_UNMAP_DMA",
        Argument::Fields(&[
            ARGSZ,
            given("flags", 4, Shown::Flags(UNMAP_FLAGS)),
            given("iova", 8, Shown::Hexadecimal),
            Field { name: "size", size: 8, way: Way::Both, shown: Shown::Hexadecimal },
        ]),
    ),
    container(
        vfio::IOMMU_DIRTY_PAGES,
        "VFIO_IOMMU_DIRTY_PAGES",
        Argument::Fields(&[ARGSZ, given("flags", 4, Shown::Flags(DIRTY_FLAGS))]),
    ),
    group(
        vfio::GROUP_GET_STATUS,
        "VFIO_GROUP_GET_STATUS",
        Argument::Fields(&[ARGSZ, answered("flags", 4, Shown::Flags(GROUP_FLAGS))]),
    ),
    group(
        vfio::GROUP_SET_CONTAINER,
        "VFIO_GROUP_SET_CONTAINER",
        Argument::Fields(&[given("fd", 4, Shown::Signed)]),
    ),
    group(vfio::GROUP_UNSET_CONTAINER, "VFIO_GROUP_UNSET_CONTAINER", Argument::None),
    group(vfio::GROUP_GET_DEVICE_FD, "VFIO_GROUP_GET_DEVICE_FD", Argument::Text),
    device(
        vfio::DEVICE_GET_INFO,
        "VFIO_DEVICE_GET_INFO",
        Argument::Fields(&[
            ARGSZ_BOTH,
            answered("flags", 4, Shown::Flags(DEVICE_FLAGS)),
            answered("num_regions", 4, Shown::Decimal),
            answered("num_irqs", 4, Shown::Decimal),
            CAP_OFFSET,
            PADDING,
        ]),
    ),
    device(
        vfio::DEVICE_GET_REGION_INFO,
        "VFIO_DEVICE_GET_REGION_INFO",
        Argument::Fields(&[
            ARGSZ_BOTH,
            answered("flags", 4, Shown::Flags(REGION_FLAGS)),
            given("index", 4, Shown::Index(REGIONS)),
            CAP_OFFSET,
            answered("size", 8, Shown::Hexadecimal),
            answered("offset", 8, Shown::Hexadecimal),
        ]),
    ),
    device(
        vfio::DEVICE_GET_IRQ_INFO,
        "VFIO_DEVICE_GET_IRQ_INFO",
        Argument::Fields(&[
            ARGSZ,
            answered("flags", 4, Shown::Flags(IRQ_FLAGS)),
            INDEX_IRQ,
            answered("count", 4, Shown::Decimal),
        ]),
    ),
    device(vfio::DEVICE_SET_IRQS, "VFIO_DEVICE_SET_IRQS", Argument::Descriptors(SET_IRQS)),
    device(vfio::DEVICE_RESET, "VFIO_DEVICE_RESET", Argument::None),
    device(
        vfio::DEVICE_GET_PCI_HOT_RESET_INFO,
        "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO",
        Argument::Fields(&[
            ARGSZ,
            answered("flags", 4, Shown::Hexadecimal),
            answered("count", 4, Shown::Decimal),
        ]),
    ),
    device(
        vfio::DEVICE_PCI_HOT_RESET,
        "VFIO_DEVICE_PCI_HOT_RESET",
        Argument::Descriptors(&[ARGSZ, FLAGS, given("count", 4, Shown::Decimal)]),
    ),
    device(vfio::DEVICE_QUERY_GFX_PLANE, "VFIO_DEVICE_QUERY_GFX_PLANE", Argument::Fields(&[ARGSZ, FLAGS])),
    device(
        vfio::DEVICE_IOEVENTFD,
        "VFIO_DEVICE_IOEVENTFD",
        Argument::Fields(&[
            ARGSZ,
            given("flags", 4, Shown::Flags(IOEVENTFD_FLAGS)),
            given("offset", 8, Shown::Hexadecimal),
            given("data", 8, Shown::Hexadecimal),
            given("fd", 4, Shown::Signed),
            PADDING,
        ]),
    ),
    device(
        vfio::DEVICE_FEATURE,
        "VFIO_DEVICE_FEATURE",
        Argument::Fields(&[ARGSZ, given("flags", 4, Shown::Feature)]),
    ),
];
