//! Areas of device memory, which programs map and devices read and write: the host's side of
//! [`DeviceMemory`].
//!
//! What programs map is a file of the store, one for each area: the *shown* file. While a device doesn't decode the area its
//! shown file is empty, which takes its pages out of all page tables, and makes each touch SIGBUS. Its contents are then in
//! another file, the *kept* one, which nobody maps. That is also where they are while no program has ever mapped the area.
//!
//! This process maps small areas, too, as their registers are accessed often. It only ever maps the file that has the contents,
//! and with room reserved for all of it: so nothing is missing there, unless a program has cut the file off on purpose. That is
//! no end of this process, either: see `sys/bus_error.rs`.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use ioctlab_kernel::{AreaId, DeviceMemory, Errno, MappingId};
use rustix::fs::{FallocateFlags, MemfdFlags};

use crate::extents;
use crate::store::Store;
use crate::sys::shared::Shared;

/// The size in bytes of the largest area that this process maps; room for such an area is reserved once a device uses it.
const WINDOW_MAX: u64 = 1 << 20;

/// All areas of a lab. There is room for them before a [`Server`](crate::Server) serves the lab, but they are only mapped then.
/// Clones are of the same areas.
#[derive(Clone, Default)]
pub struct Areas(Arc<All>);

#[derive(Default)]
struct All {
    areas: RwLock<HashMap<AreaId, Arc<Mutex<Area>>>>,
    next: AtomicU64,
    store: OnceLock<Arc<Store>>,
}

/// One area.
struct Area {
    bytes: u64,
    kept: File,
    /// Made when a program first maps it.
    shown: Option<File>,
    is_reachable: bool,
    is_removed: bool,
    window: Window,
}

/// This process's mapping of the file that has the contents.
enum Window {
    /// None yet.
    Unknown,
    /// There can't be one.
    Refused,
    /// All of the area.
    Open(Shared),
}

impl Areas {
    /// No areas.
    pub fn new() -> Self {
        Self::default()
    }

    /// From here on areas can be mapped, by way of this store's files.
    pub(crate) fn attach(&self, store: &Arc<Store>) {
        // Attached twice they stay with the first, which never happens: a lab has one server.
        let _ = self.0.store.set(Arc::clone(store));
    }

    /// An open file of an area that only the mapping `mapping` will refer to. Its pages are where they are in the area.
    ///
    /// # Errors
    /// `ENXIO` if there is no such area; `EMFILE`, `ENFILE`, `ENOMEM`, `ENOSPC`.
    pub(crate) fn open(&self, id: AreaId, mapping: MappingId, writable: bool) -> io::Result<OwnedFd> {
        let missing = || io::Error::from_raw_os_error(libc::ENXIO);
        let store = self.0.store.get().ok_or_else(missing)?;
        let area = self.get(id).ok_or_else(missing)?;
        let mut area = lock(&area);
        if area.is_removed {
            return Err(missing());
        }
        if area.shown.is_none() {
            area.show_for_the_first_time(store.create_area(id)?);
        }
        store.open_area(id, mapping, writable)
    }

    fn get(&self, id: AreaId) -> Option<Arc<Mutex<Area>>> {
        self.0.areas.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }
}

impl DeviceMemory for Areas {
    fn create(&self, bytes: u64) -> Result<AreaId, Errno> {
        let kept =
            rustix::fs::memfd_create("ioctlab-area", MemfdFlags::CLOEXEC).map_err(|_| Errno::ENOMEM)?;
        rustix::fs::ftruncate(&kept, bytes).map_err(|_| Errno::ENOMEM)?;
        let area = Area {
            bytes,
            kept: kept.into(),
            shown: None,
            is_reachable: false,
            is_removed: false,
            window: Window::Unknown,
        };
        let id = AreaId(self.0.next.fetch_add(1, Ordering::Relaxed));
        let mut areas = self.0.areas.write().unwrap_or_else(PoisonError::into_inner);
        areas.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        areas.insert(id, Arc::new(Mutex::new(area)));
        Ok(id)
    }

    fn remove(&self, id: AreaId) {
        let removed = self.0.areas.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let Some(area) = removed else { return };
        lock(&area).remove();
        if let Some(store) = self.0.store.get() {
            store.remove_area(id);
        }
    }

    fn read(&self, id: AreaId, offset: u64, to: &mut [u8]) {
        match self.get(id) {
            Some(area) => lock(&area).read(offset, to),
            None => to.fill(0xff),
        }
    }

    fn write(&self, id: AreaId, offset: u64, from: &[u8]) {
        if let Some(area) = self.get(id) {
            lock(&area).write(offset, from);
        }
    }

    fn set_reachable(&self, id: AreaId, reachable: bool) {
        if let Some(area) = self.get(id) {
            lock(&area).set_reachable(reachable);
        }
    }
}

/// Locks an area. A panic with it locked would be a bug; its contents are no worse for it.
fn lock(area: &Mutex<Area>) -> MutexGuard<'_, Area> {
    area.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Area {
    /// The file that has the contents.
    fn contents(&self) -> &File {
        self.shown.as_ref().filter(|_| self.is_reachable).unwrap_or(&self.kept)
    }

    fn read(&mut self, offset: u64, to: &mut [u8]) {
        let (within, beyond) = to.split_at_mut(self.within(offset, to.len()));
        beyond.fill(0xff);
        if let Some(window) = self.window() {
            window.read(offset as usize, within);
        } else if self.contents().read_exact_at(within, offset).is_err() {
            // Memory that the system can't give back (a broken disk behind its swap) is as good as gone from the bus.
            within.fill(0xff);
        }
    }

    fn write(&mut self, offset: u64, from: &[u8]) {
        let within = from.get(..self.within(offset, from.len())).unwrap_or_default();
        if let Some(window) = self.window() {
            window.write(offset as usize, within);
        } else {
            // Without room for it the write is lost, as one that nothing on the bus takes.
            let _ = self.contents().write_all_at(within, offset);
        }
    }

    /// How many of so many bytes at an offset lie within the area.
    fn within(&self, offset: u64, length: usize) -> usize {
        let room = if self.is_removed { 0 } else { self.bytes.saturating_sub(offset) };
        usize::try_from(room).unwrap_or(usize::MAX).min(length)
    }

    fn window(&mut self) -> Option<&Shared> {
        if matches!(self.window, Window::Unknown) {
            self.window = self.open_window().map_or(Window::Refused, Window::Open);
        }
        match &self.window {
            Window::Open(shared) => Some(shared),
            Window::Unknown | Window::Refused => None,
        }
    }

    fn open_window(&self) -> Option<Shared> {
        if self.is_removed || self.bytes == 0 || self.bytes > WINDOW_MAX {
            return None;
        }
        // A page for which there is no room when it is touched first would be SIGBUS.
        rustix::fs::fallocate(self.contents(), FallocateFlags::empty(), 0, self.bytes).ok()?;
        Shared::map(self.contents(), usize::try_from(self.bytes).ok()?).ok()
    }

    /// Gives programs a file to map, which is empty now.
    fn show_for_the_first_time(&mut self, shown: OwnedFd) {
        self.window = Window::Unknown;
        let shown = File::from(shown);
        if self.is_reachable {
            extents::show(&self.kept, &shown, self.bytes);
        }
        self.shown = Some(shown);
    }

    fn set_reachable(&mut self, reachable: bool) {
        if self.is_removed || self.is_reachable == reachable {
            return;
        }
        if let Some(shown) = &self.shown {
            self.window = Window::Unknown;
            if reachable {
                extents::show(&self.kept, shown, self.bytes);
            } else {
                extents::hide(shown, &self.kept, self.bytes);
            }
        }
        self.is_reachable = reachable;
    }

    fn remove(&mut self) {
        self.is_removed = true;
        self.window = Window::Refused;
        if let Some(shown) = self.shown.take() {
            // It can't fail: the file is this process's own and not sealed.
            let _ = rustix::fs::ftruncate(shown, 0);
        }
        let _ = rustix::fs::ftruncate(&self.kept, 0);
    }
}

#[cfg(test)]
#[path = "areas_tests.rs"]
mod tests;
