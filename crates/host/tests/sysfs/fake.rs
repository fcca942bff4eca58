//! A tree with a device that can be bound, taken away and brought back.

use std::mem::take;
use std::sync::{Mutex, MutexGuard};

use ioctlab_kernel::{Entry, Errno, Stored, Tree};

/// The device's directory.
const DEVICE: &str = "/sys/devices/pci0000:00/0000:00:01.0";

#[derive(Default)]
pub(crate) struct Fake(Mutex<State>);

#[derive(Default)]
struct State {
    is_removed: bool,
    reads: u32,
    config: Vec<u8>,
    driver_override: String,
    /// Writes to `unbind`, which wait for one to `release`.
    waiting: Vec<(usize, Stored)>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { config: (0..=255).collect(), ..State::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

fn attribute(permissions: u32) -> Entry {
    Entry::Attribute { permissions, size: 4096 }
}

fn entries(is_removed: bool) -> Vec<(String, Entry)> {
    let link = |to: &str| Entry::Link(to.to_owned());
    let mut entries = vec![
        ("/sys/bus/pci", Entry::Directory),
        ("/sys/bus/pci/rescan", attribute(0o200)),
        ("/sys/bus/pci/devices", Entry::Directory),
        ("/sys/bus/pci/drivers", Entry::Directory),
        ("/sys/bus/pci/drivers/vfio-pci", Entry::Directory),
        ("/sys/bus/pci/drivers/vfio-pci/bind", attribute(0o200)),
        ("/sys/bus/pci/drivers/vfio-pci/unbind", attribute(0o200)),
        ("/sys/bus/pci/drivers/vfio-pci/release", attribute(0o200)),
        ("/sys/devices/pci0000:00", Entry::Directory),
        ("/sys/kernel/iommu_groups", Entry::Directory),
        ("/sys/kernel/iommu_groups/3", Entry::Directory),
        ("/sys/kernel/iommu_groups/3/type", attribute(0o644)),
        ("/sys/module/vfio_pci", Entry::Directory),
        ("/sys/module/vfio_pci/parameters", Entry::Directory),
    ];
    if !is_removed {
        entries.extend([
            ("/sys/bus/pci/devices/0000:00:01.0", link("../../../devices/pci0000:00/0000:00:01.0")),
            (DEVICE, Entry::Directory),
        ]);
    }
    let mut entries: Vec<(String, Entry)> =
        entries.into_iter().map(|(path, entry)| (path.to_owned(), entry)).collect();
    if !is_removed {
        entries.extend(
            [
                ("vendor", attribute(0o444)),
                ("reads", attribute(0o444)),
                ("broken", attribute(0o444)),
                ("remove", attribute(0o200)),
                ("driver_override", attribute(0o644)),
                ("config", Entry::Attribute { permissions: 0o644, size: 256 }),
                ("iommu_group", link("../../../kernel/iommu_groups/3")),
                ("subsystem", link("../../../bus/pci")),
                ("online", link("../../system/cpu/online")),
            ]
            .map(|(name, entry)| (format!("{DEVICE}/{name}"), entry)),
        );
    }
    entries
}

impl Tree for Fake {
    fn roots(&self) -> Vec<String> {
        ["/sys/bus/pci", "/sys/devices/pci0000:00", "/sys/kernel/iommu_groups", "/sys/module/vfio_pci"]
            .map(str::to_owned)
            .into()
    }

    fn entry(&self, path: &str) -> Option<Entry> {
        entries(self.state().is_removed).into_iter().find(|entry| entry.0 == path).map(|entry| entry.1)
    }

    fn list(&self, path: &str) -> Vec<String> {
        let name = |(other, _): (String, Entry)| {
            let name = other.strip_prefix(path)?.strip_prefix('/')?;
            (!name.contains('/')).then(|| name.to_owned())
        };
        entries(self.state().is_removed).into_iter().filter_map(name).collect()
    }

    fn show(&self, path: &str, offset: u64, size: usize) -> Result<Vec<u8>, Errno> {
        let mut state = self.state();
        let name = path.strip_prefix(DEVICE).filter(|_| !state.is_removed).ok_or(Errno::ENOENT)?;
        let bytes = match name {
            "/vendor" => b"0x8086\n".to_vec(),
            "/reads" => {
                state.reads += u32::from(offset == 0);
                format!("{}\n", state.reads).into_bytes()
            }
            "/broken" => return Err(Errno::EIO),
            "/driver_override" => format!("{}\n", state.driver_override).into_bytes(),
            "/config" => state.config.clone(),
            _ => return Err(Errno::ENOENT),
        };
        Ok(bytes.into_iter().skip(offset as usize).take(size).collect())
    }

    fn store(&self, path: &str, offset: u64, bytes: &[u8], done: Stored) {
        assert_ne!(bytes, b"panic\n", "a bug in an attribute");
        let mut state = self.state();
        let text = String::from_utf8_lossy(bytes).trim_end().to_owned();
        let result = match path.rsplit('/').next().unwrap_or_default() {
            "bind" => match &*text {
                "0000:00:01.0" => Ok(bytes.len()),
                "busy" => Err(Errno::EBUSY),
                _ => Err(Errno::ENODEV),
            },
            "unbind" => return state.waiting.push((bytes.len(), done)),
            "release" => {
                let waiting = take(&mut state.waiting);
                drop(state);
                // From another thread, as when a device's last user goes.
                std::thread::spawn(|| waiting.into_iter().for_each(|(length, done)| done(Ok(length))));
                return done(Ok(bytes.len()));
            }
            "remove" | "rescan" => {
                state.is_removed = path.ends_with("remove");
                Ok(bytes.len())
            }
            "driver_override" if !state.is_removed => {
                state.driver_override =
                    if text.len() > 100 { format!("{} bytes", bytes.len()) } else { text };
                Ok(bytes.len())
            }
            "config" => {
                let room = state.config.iter_mut().skip(offset as usize);
                Ok(room.zip(bytes).map(|(to, from)| *to = *from).count())
            }
            _ => Err(Errno::ENOENT),
        };
        drop(state);
        done(result);
    }
}
