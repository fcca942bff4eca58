//! The parts of sysfs that a machine with VFIO shows: PCI devices and drivers, IOMMU groups, modules.
//!
//! Each path is taken apart and answered from the state as it is at that moment; nothing is kept.

use std::collections::BTreeSet;

use ioctlab_kernel::{Entry, Errno, Stored, Tree};

use super::device::Slot;
use super::drivers::{self, VFIO_PCI};
use super::{State, VfioHost};

/// Where the devices of the root bus are.
const ROOT_BUS: &str = "/sys/devices/pci0000:00";
const BUS: &str = "/sys/bus/pci";
const GROUPS: &str = "/sys/kernel/iommu_groups";
const MODULES: &str = "/sys/module";
const CLASS: &str = "/sys/class/vfio";
const CLASS_DEVICES: &str = "/sys/devices/virtual/vfio";

/// The size that `stat` shows of an attribute.
const PAGE: u64 = 4096;

/// The modules that are there, with their parameters.
const MODULES_WITH_PARAMETERS: &[(&str, &[&str])] = &[
    ("vfio", &["enable_unsafe_noiommu_mode"]),
    ("vfio_iommu_type1", &["allow_unsafe_interrupts", "disable_hugepages", "dma_entry_limit"]),
    (
        "vfio_pci",
        &["disable_denylist", "disable_idle_d3", "disable_vga", "enable_sriov", "ids", "nointxmask"],
    ),
    ("vfio_pci_core", &[]),
];

/// A device's attributes, and who may write them.
const DEVICE_ATTRIBUTES: &[(&str, u32)] = &[
    ("ari_enabled", 0o444),
    ("broken_parity_status", 0o644),
    ("class", 0o444),
    ("consistent_dma_mask_bits", 0o444),
    ("device", 0o444),
    ("dma_mask_bits", 0o444),
    ("driver_override", 0o644),
    ("enable", 0o644),
    ("irq", 0o444),
    ("local_cpulist", 0o444),
    ("local_cpus", 0o444),
    ("modalias", 0o444),
    ("msi_bus", 0o644),
    ("numa_node", 0o644),
    ("power_state", 0o444),
    ("remove", 0o220),
    ("rescan", 0o220),
    ("resource", 0o444),
    ("revision", 0o444),
    ("subsystem_device", 0o444),
    ("subsystem_vendor", 0o444),
    ("uevent", 0o644),
    ("vendor", 0o444),
];

/// A driver's attributes; all of them are written only.
const DRIVER_ATTRIBUTES: &[&str] = &["bind", "new_id", "remove_id", "uevent", "unbind"];

/// The bus's attributes.
const BUS_ATTRIBUTES: &[(&str, u32)] = &[
    ("drivers_autoprobe", 0o644),
    ("drivers_probe", 0o200),
    ("rescan", 0o220),
    ("resource_alignment", 0o644),
    ("uevent", 0o200),
];

/// What is at a path.
enum Place {
    Directory(Vec<String>),
    Link(String),
    Attribute { permissions: u32, size: u64, what: Attribute },
}

/// Which attribute.
enum Attribute {
    Device {
        address: String,
        name: String,
    },
    Config {
        address: String,
    },
    Driver {
        driver: String,
        name: String,
    },
    Bus {
        name: String,
    },
    /// Text that doesn't change by itself.
    Text(String),
}

/// A VFIO machine's part of sysfs.
pub(crate) struct Sysfs(pub(crate) VfioHost);

impl Tree for Sysfs {
    fn roots(&self) -> Vec<String> {
        [BUS, GROUPS, ROOT_BUS, CLASS, CLASS_DEVICES]
            .into_iter()
            .map(str::to_owned)
            .chain(MODULES_WITH_PARAMETERS.iter().map(|(module, _)| format!("{MODULES}/{module}")))
            .collect()
    }

    fn entry(&self, path: &str) -> Option<Entry> {
        Some(match find(&self.0.lock(), path)? {
            Place::Directory(_) => Entry::Directory,
            Place::Link(target) => Entry::Link(target),
            Place::Attribute { permissions, size, .. } => Entry::Attribute { permissions, size },
        })
    }

    fn list(&self, path: &str) -> Vec<String> {
        match find(&self.0.lock(), path) {
            Some(Place::Directory(names)) => names,
            _ => Vec::new(),
        }
    }

    fn show(&self, path: &str, offset: u64, size: usize) -> Result<Vec<u8>, Errno> {
        let state = self.0.lock();
        let Some(Place::Attribute { what, .. }) = find(&state, path) else { return Err(Errno::ENOENT) };
        let bytes = match what {
            Attribute::Config { address } => {
                return state.read_config(&address, offset, size).ok_or(Errno::ENODEV);
            }
            Attribute::Device { address, name } => {
                state.slot(&address).ok_or(Errno::ENODEV)?.attribute(&name).ok_or(Errno::EIO)?
            }
            Attribute::Bus { name } if name == "drivers_autoprobe" => "1\n".to_owned(),
            Attribute::Bus { name } if name == "resource_alignment" => String::new(),
            Attribute::Driver { .. } | Attribute::Bus { .. } => return Err(Errno::EIO),
            Attribute::Text(text) => text,
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes.as_bytes().iter().skip(start).take(size).copied().collect())
    }

    fn store(&self, path: &str, offset: u64, bytes: &[u8], done: Stored) {
        let mut state = self.0.lock();
        let Some(Place::Attribute { what, .. }) = find(&state, path) else {
            drop(state);
            return done(Err(Errno::ENOENT));
        };
        let text = String::from_utf8_lossy(bytes).into_owned();
        let length = bytes.len();
        let result = match what {
            Attribute::Config { address } => state.write_config(&address, offset, bytes),
            Attribute::Device { address, name } => match &*name {
                "driver_override" => state.set_override(&address, &text).map(Some),
                "remove" => match drivers::boolean(&text) {
                    Ok(true) => {
                        state.remove_device(&address, length, done);
                        return state.settle();
                    }
                    result => result.map(|_| Some(length)),
                },
                "rescan" => state.rescan_if(&text).map(|()| Some(length)),
                "broken_parity_status" | "msi_bus" | "numa_node" | "enable" | "uevent" => Ok(Some(length)),
                _ => Err(Errno::EIO),
            },
            Attribute::Driver { driver, name } => match &*name {
                "bind" => state.bind(&driver, drivers::word(&text)).map(|()| Some(length)),
                "unbind" => {
                    state.unbind(&driver, drivers::word(&text), length, done);
                    return state.settle();
                }
                "new_id" => state.new_id(&driver, &text).map(|()| Some(length)),
                "remove_id" => state.remove_id(&driver, &text).map(|()| Some(length)),
                "uevent" => Ok(Some(length)),
                _ => Err(Errno::EIO),
            },
            Attribute::Bus { name } => match &*name {
                "drivers_probe" => state.probe(drivers::word(&text)).map(|()| Some(length)),
                "rescan" => state.rescan_if(&text).map(|()| Some(length)),
                _ => Ok(Some(length)),
            },
            Attribute::Text(_) => Err(Errno::EIO),
        };
        state.settle();
        drop(state);
        done(result.map(|written| written.unwrap_or(length)));
    }
}

/// Follows a path.
fn find(state: &State, path: &str) -> Option<Place> {
    let below = |root: &str| {
        let rest = path.strip_prefix(root)?;
        if rest.is_empty() { Some(Vec::new()) } else { Some(rest.strip_prefix('/')?.split('/').collect()) }
    };
    if let Some(parts) = below(BUS) {
        return bus(state, &parts);
    }
    if let Some(parts) = below(GROUPS) {
        return groups(state, &parts);
    }
    if let Some(parts) = below(ROOT_BUS) {
        return devices(state, &parts);
    }
    if let Some(parts) = below(CLASS_DEVICES) {
        return class_devices(state, &parts);
    }
    if let Some(parts) = below(CLASS) {
        let names: Vec<String> = state.vfio_groups().iter().map(|(group, _)| group.clone()).collect();
        return match *parts {
            [] => Some(Place::Directory(names)),
            [group] if names.iter().any(|name| name == group) => {
                Some(Place::Link(format!("../../devices/virtual/vfio/{group}")))
            }
            _ => None,
        };
    }
    modules(state, &below(MODULES)?)
}

fn bus(state: &State, parts: &[&str]) -> Option<Place> {
    match *parts {
        [] => {
            let mut names = vec!["devices".to_owned(), "drivers".to_owned(), "slots".to_owned()];
            names.extend(BUS_ATTRIBUTES.iter().map(|(name, _)| (*name).to_owned()));
            Some(Place::Directory(names))
        }
        ["devices"] => Some(Place::Directory(state.slots().map(|slot| slot.address().to_owned()).collect())),
        ["devices", address] => {
            let slot = state.slot(address)?;
            Some(Place::Link(format!("../../../devices/{}", slot.path_below_devices())))
        }
        ["slots"] => Some(Place::Directory(Vec::new())),
        ["drivers"] => Some(Place::Directory(state.driver_names().into_iter().map(str::to_owned).collect())),
        ["drivers", driver, ref rest @ ..] if state.driver_names().contains(driver) => {
            driver_place(state, driver, rest)
        }
        [name] => BUS_ATTRIBUTES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, permissions)| writable(*permissions, Attribute::Bus { name: name.to_owned() })),
        _ => None,
    }
}

fn driver_place(state: &State, driver: &str, parts: &[&str]) -> Option<Place> {
    let bound = |slot: &&Slot| slot.driver() == Some(driver);
    match *parts {
        [] => {
            let mut names: Vec<String> = DRIVER_ATTRIBUTES.iter().map(|name| (*name).to_owned()).collect();
            names.extend(state.slots().filter(bound).map(|slot| slot.address().to_owned()));
            if driver == VFIO_PCI {
                names.push("module".to_owned());
            }
            Some(Place::Directory(names))
        }
        ["module"] if driver == VFIO_PCI => Some(Place::Link("../../../../module/vfio_pci".to_owned())),
        [name] if DRIVER_ATTRIBUTES.contains(&name) => {
            Some(writable(0o200, Attribute::Driver { driver: driver.to_owned(), name: name.to_owned() }))
        }
        [address] => {
            let slot = state.slot(address).filter(bound)?;
            Some(Place::Link(format!("../../../../devices/{}", slot.path_below_devices())))
        }
        _ => None,
    }
}

fn groups(state: &State, parts: &[&str]) -> Option<Place> {
    let numbers: BTreeSet<u32> = state.slots().filter_map(Slot::iommu_group).collect();
    let Some((number, rest)) = parts.split_first() else {
        return Some(Place::Directory(numbers.iter().map(u32::to_string).collect()));
    };
    let number: u32 = number.parse().ok().filter(|number| numbers.contains(number))?;
    let members = || state.slots().filter(move |slot| slot.iommu_group() == Some(number));
    let is_made_up = members().any(|slot| slot.group().is_none());
    match *rest {
        [] => {
            let mut names = ["devices", "reserved_regions", "type"].map(str::to_owned).to_vec();
            names.extend(is_made_up.then(|| "name".to_owned()));
            Some(Place::Directory(names))
        }
        ["name"] if is_made_up => Some(text("vfio-noiommu\n".to_owned())),
        ["type"] if is_made_up => Some(writable(0o644, Attribute::Text("unknown\n".to_owned()))),
        ["reserved_regions"] if is_made_up => Some(text(String::new())),
        ["devices"] => Some(Place::Directory(members().map(|slot| slot.address().to_owned()).collect())),
        ["devices", address] => {
            let slot = members().find(|slot| slot.address() == address)?;
            Some(Place::Link(format!("../../../../devices/{}", slot.path_below_devices())))
        }
        ["type"] => Some(writable(0o644, Attribute::Text("DMA\n".to_owned()))),
        ["reserved_regions"] => Some(text("0x00000000fee00000 0x00000000feefffff msi\n".to_owned())),
        _ => None,
    }
}

/// The devices, all of them as if on the root bus.
fn devices(state: &State, parts: &[&str]) -> Option<Place> {
    match *parts {
        [] => {
            let mut names: Vec<String> = state.slots().map(|slot| slot.address().to_owned()).collect();
            names.extend(["pci_bus", "power", "uevent"].map(str::to_owned));
            Some(Place::Directory(names))
        }
        ["uevent"] => Some(writable(0o644, Attribute::Text(String::new()))),
        ["pci_bus" | "power"] => Some(Place::Directory(Vec::new())),
        [address, ref rest @ ..] => device(state.slot(address)?, rest),
    }
}

fn device(slot: &Slot, parts: &[&str]) -> Option<Place> {
    let address = slot.address().to_owned();
    let up = "../../../";
    match *parts {
        [] => {
            let mut names: Vec<String> =
                DEVICE_ATTRIBUTES.iter().map(|(name, _)| (*name).to_owned()).collect();
            names.extend(["config", "subsystem", "power"].map(str::to_owned));
            names.extend(slot.driver().map(|_| "driver".to_owned()));
            names.extend(slot.iommu_group().map(|_| "iommu_group".to_owned()));
            names.extend(slot.vfio_number().map(|_| "vfio-dev".to_owned()));
            names.extend(slot.resources().map(|(name, _)| name));
            Some(Place::Directory(names))
        }
        ["config"] => Some(Place::Attribute {
            permissions: 0o644,
            size: slot.config_size(),
            what: Attribute::Config { address },
        }),
        ["subsystem"] => Some(Place::Link(format!("{up}bus/pci"))),
        ["driver"] => Some(Place::Link(format!("{up}bus/pci/drivers/{}", slot.driver()?))),
        ["iommu_group"] => Some(Place::Link(format!("{up}kernel/iommu_groups/{}", slot.iommu_group()?))),
        ["power"] => Some(Place::Directory(Vec::new())),
        ["vfio-dev"] => Some(Place::Directory(vec![format!("vfio{}", slot.vfio_number()?)])),
        ["vfio-dev", name] if name == format!("vfio{}", slot.vfio_number()?) => {
            Some(Place::Directory(Vec::new()))
        }
        [name] => {
            if let Some((_, permissions)) = DEVICE_ATTRIBUTES.iter().find(|(known, _)| *known == name) {
                let what = Attribute::Device { address, name: name.to_owned() };
                return Some(writable(*permissions, what));
            }
            let (_, size) = slot.resources().find(|(known, _)| known == name)?;
            // Their contents can't be had by this way: they are to be mapped, and this file system maps nothing.
            let what = Attribute::Device { address, name: name.to_owned() };
            Some(Place::Attribute { permissions: 0o600, size, what })
        }
        _ => None,
    }
}

fn class_devices(state: &State, parts: &[&str]) -> Option<Place> {
    let groups = state.vfio_groups();
    let Some((name, rest)) = parts.split_first() else {
        return Some(Place::Directory(groups.into_iter().map(|(name, _)| name).collect()));
    };
    let (_, number) = groups.iter().find(|(group, _)| group == name)?;
    match *rest {
        [] => Some(Place::Directory(["dev", "power", "subsystem", "uevent"].map(str::to_owned).to_vec())),
        ["dev"] => Some(text(format!("{}:{}\n", number.major, number.minor))),
        ["power"] => Some(Place::Directory(Vec::new())),
        ["subsystem"] => Some(Place::Link("../../../../class/vfio".to_owned())),
        ["uevent"] => {
            let (major, minor) = (number.major, number.minor);
            let lines = format!("MAJOR={major}\nMINOR={minor}\nDEVNAME=vfio/{name}\n");
            Some(writable(0o644, Attribute::Text(lines)))
        }
        _ => None,
    }
}

fn modules(state: &State, parts: &[&str]) -> Option<Place> {
    let (module, rest) = parts.split_first()?;
    let (_, parameters) = MODULES_WITH_PARAMETERS.iter().find(|(known, _)| known == module)?;
    match *rest {
        [] => {
            let mut names = ["initstate", "parameters", "refcnt"].map(str::to_owned).to_vec();
            names.extend((*module == "vfio_pci").then(|| "drivers".to_owned()));
            Some(Place::Directory(names))
        }
        ["initstate"] => Some(text("live\n".to_owned())),
        ["refcnt"] => Some(text(format!("{}\n", state.module_users(module)))),
        ["drivers"] if *module == "vfio_pci" => Some(Place::Directory(vec!["pci:vfio-pci".to_owned()])),
        ["drivers", "pci:vfio-pci"] if *module == "vfio_pci" => {
            Some(Place::Link("../../../bus/pci/drivers/vfio-pci".to_owned()))
        }
        ["parameters"] => Some(Place::Directory(parameters.iter().map(|name| (*name).to_owned()).collect())),
        ["parameters", name] if parameters.contains(&name) => {
            Some(text(format!("{}\n", state.parameter(module, name))))
        }
        _ => None,
    }
}

fn text(text: String) -> Place {
    writable(0o444, Attribute::Text(text))
}

fn writable(permissions: u32, what: Attribute) -> Place {
    Place::Attribute { permissions, size: PAGE, what }
}
