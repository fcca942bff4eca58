//! How devices get at programs' memory: through the IOMMU, while programs map and unmap it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ioctlab_iommu::{Access, Domain, Fault, FaultLog, Properties, Reason, SourceId};
use ioctlab_kernel::{ProgramMemory, SpaceId};

/// How many faults are kept that nobody has read, as in QEMU's emulated one.
const FAULTS: usize = 64;

/// The machine's IOMMU.
pub(super) struct Unit {
    pub(super) properties: Properties,
    faults: Mutex<FaultLog>,
    programs: Arc<dyn ProgramMemory>,
}

impl Unit {
    pub(super) fn new(properties: Properties, programs: Arc<dyn ProgramMemory>) -> Self {
        Self { properties, faults: Mutex::new(FaultLog::new(FAULTS)), programs }
    }

    /// The faults that nobody has read yet, a line each; they are in the log no longer.
    pub(super) fn take_faults(&self) -> String {
        let mut log = lock(&self.faults);
        let mut lines: String = std::iter::from_fn(|| log.take()).map(|fault| format!("{fault}\n")).collect();
        match log.take_lost() {
            0 => {}
            lost => lines.push_str(&format!("{lost} more were lost\n")),
        }
        lines
    }
}

/// A domain that devices use while it is changed.
pub(super) struct SharedDomain {
    table: Mutex<Domain>,
    /// Held for reading by who moves bytes.
    gate: RwLock<()>,
}

impl SharedDomain {
    pub(super) fn new(properties: &Properties) -> Self {
        Self { table: Mutex::new(Domain::new(properties)), gate: RwLock::new(()) }
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Domain> {
        lock(&self.table)
    }

    /// Waits until what devices are moving has been moved: what was unmapped before this isn't touched after it.
    pub(super) fn quiesce(&self) {
        drop(self.gate.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A device's way to memory. Shared between the device, which uses it, and the machine, which attaches it to domains.
pub(super) struct Way {
    source: SourceId,
    unit: Arc<Unit>,
    domain: RwLock<Option<Arc<SharedDomain>>>,
}

impl Way {
    pub(super) fn new(source: SourceId, unit: Arc<Unit>) -> Self {
        Self { source, unit, domain: RwLock::new(None) }
    }

    /// From now on the device is of this domain, or of none.
    pub(super) fn attach(&self, domain: Option<Arc<SharedDomain>>) {
        *self.domain.write().unwrap_or_else(PoisonError::into_inner) = domain;
    }

    /// The domain that it is of.
    pub(super) fn domain(&self) -> Option<Arc<SharedDomain>> {
        self.domain.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The device reads memory.
    ///
    /// # Errors
    /// The fault, which has been recorded.
    pub(super) fn read(&self, iova: u64, to: &mut [u8]) -> Result<(), Fault> {
        let mut done = 0;
        while let Some(rest) = to.get_mut(done..).filter(|rest| !rest.is_empty()) {
            done += self.piece(iova, done, rest.len(), Access::Read, |space, address, length| {
                rest.get_mut(..length)
                    .is_some_and(|piece| self.unit.programs.read(space, address, piece).is_ok())
            })?;
        }
        Ok(())
    }

    /// The device writes memory.
    ///
    /// # Errors
    /// The fault, which has been recorded; what lies before it has been written.
    pub(super) fn write(&self, iova: u64, from: &[u8]) -> Result<(), Fault> {
        let mut done = 0;
        while let Some(rest) = from.get(done..).filter(|rest| !rest.is_empty()) {
            done += self.piece(iova, done, rest.len(), Access::Write, |space, address, length| {
                rest.get(..length)
                    .is_some_and(|piece| self.unit.programs.write(space, address, piece).is_ok())
            })?;
        }
        Ok(())
    }

    /// Translates as much as lies in one place, and moves it; returns how much that was.
    fn piece(
        &self,
        iova: u64,
        done: usize,
        length: usize,
        access: Access,
        mut transfer: impl FnMut(SpaceId, u64, usize) -> bool,
    ) -> Result<usize, Fault> {
        let address = iova.wrapping_add(done as u64);
        let failed = |reason| {
            let fault = Fault { address, access, reason };
            lock(&self.unit.faults).record(self.source, fault);
            fault
        };
        let domain = self.domain().ok_or_else(|| failed(Reason::NotAttached))?;
        let _moving = domain.gate.read().unwrap_or_else(PoisonError::into_inner);
        let translated = domain.table().translate(address, length as u64, access);
        let run = translated.map_err(|fault| failed(fault.reason))?;
        let length = usize::try_from(run.length).unwrap_or(length).min(length);
        if transfer(SpaceId(run.target.space), run.target.address, length) {
            Ok(length)
        } else {
            // The program has unmapped it. On a machine its pages would still be there, as they are pinned.
            Err(failed(Reason::NotPresent))
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
