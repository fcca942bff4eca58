//! A device's model at work: on whatever thread has something for it to do, with nothing of the lab locked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ioctlab_kernel::{AreaId, DeviceMemory};
use ioctlab_pci::{Bus, DeviceModel, DmaFault, InterruptMode};

use super::dma::Way;

/// How long an access waits for a device that is at another one. Then it comes to nothing, as on a bus: all ones.
const COMPLETION_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a model may say that it isn't done yet, after one access.
const ROUNDS: u32 = 1 << 20;

/// A device, as far as it acts by itself.
pub(super) struct Cell {
    model: Mutex<Presence>,
    returned: Condvar,
    surroundings: Surroundings,
}

/// What a device has to do with.
pub(super) struct Surroundings {
    pub(super) memory: Arc<dyn DeviceMemory>,
    pub(super) way: Arc<Way>,
    pub(super) bars: [Option<Bar>; 6],
    conditions: Mutex<Conditions>,
    raised: Mutex<Vec<Raised>>,
    wanted: Mutex<Wanted>,
}

/// What is to be done as soon as the model is at hand.
#[derive(Clone, Copy, Default)]
struct Wanted {
    /// Programs have these BARs mapped: what is in their registers shows there.
    shown: [bool; 6],
    /// The device was reset.
    reset: bool,
}

/// A memory BAR.
#[derive(Clone, Copy)]
pub(super) struct Bar {
    pub(super) area: AreaId,
    /// How many bytes at its start are registers that mappings show, in whole words.
    pub(super) registers: u64,
    /// How many bytes behind those hold nothing, and read as all ones. The rest is memory.
    pub(super) empty: u64,
}

/// What the configuration space allows a device.
#[derive(Clone, Copy)]
pub(super) struct Conditions {
    pub(super) bus_master: bool,
    pub(super) mode: InterruptMode,
}

/// What a device has done to its interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raised {
    /// Its pin has this level now.
    Pin(bool),
    /// It has sent the message of this vector.
    Message(u16),
}

enum Presence {
    Here(Inner),
    /// Some thread is at it.
    Away,
    /// It has panicked, and does nothing any more.
    Broken,
}

struct Inner {
    model: Box<dyn DeviceModel>,
    /// What mappings of each BAR's registers show, if there have been any.
    shown: [Option<Vec<u8>>; 6],
}

impl Cell {
    pub(super) fn new(model: Box<dyn DeviceModel>, surroundings: Surroundings) -> Self {
        let inner = Inner { model, shown: Default::default() };
        Self { model: Mutex::new(Presence::Here(inner)), returned: Condvar::new(), surroundings }
    }

    /// Which part of a BAR is registers.
    pub(super) fn bar(&self, bar: u8) -> Option<Bar> {
        self.surroundings.bars.get(usize::from(bar)).copied().flatten()
    }

    /// The device may do so much from now on.
    pub(super) fn set_conditions(&self, conditions: Conditions) {
        *lock(&self.surroundings.conditions) = conditions;
    }

    /// What it has done to its interrupts since this was last asked.
    pub(super) fn take_raised(&self) -> Vec<Raised> {
        std::mem::take(&mut lock(&self.surroundings.raised))
    }

    /// A program has a BAR mapped from now on: what is in its registers shows there. If some thread is at the device, it does that.
    pub(super) fn show(&self, bar: u8) {
        let Some(Bar { registers: 1.., .. }) = self.bar(bar) else { return };
        if let Some(shown) = lock(&self.surroundings.wanted).shown.get_mut(usize::from(bar)) {
            *shown = true;
        }
        self.with_inner(Duration::ZERO, |inner, surroundings| inner.publish(surroundings));
    }

    /// The device was reset. If some thread is at it, it is reset when that has done, and in any case before anybody else gets at it.
    pub(super) fn reset(&self) {
        lock(&self.surroundings.wanted).reset = true;
        self.with_inner(Duration::ZERO, |_, _| ());
    }

    /// Has the device do something, and whatever that starts; `None` if it doesn't answer.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut dyn DeviceModel, &mut dyn Bus) -> T) -> Option<T> {
        self.with_inner(COMPLETION_TIMEOUT, |inner, surroundings| {
            inner.notice(surroundings);
            let mut bus = Attached(surroundings);
            let result = act(&mut *inner.model, &mut bus);
            for _ in 0..ROUNDS {
                if !inner.model.run(&mut bus) {
                    break;
                }
            }
            inner.publish(surroundings);
            result
        })
    }

    fn with_inner<T>(
        &self,
        patience: Duration,
        act: impl FnOnce(&mut Inner, &Surroundings) -> T,
    ) -> Option<T> {
        let mut inner = self.take(patience)?;
        // A model that panics is broken; nobody else is hurt.
        let result = catch_unwind(AssertUnwindSafe(|| {
            // It may have been wanted as the last one was on its way back.
            inner.reset_if_wanted(&self.surroundings);
            let result = act(&mut inner, &self.surroundings);
            inner.reset_if_wanted(&self.surroundings);
            result
        }));
        let mut presence = lock(&self.model);
        *presence = if result.is_ok() { Presence::Here(inner) } else { Presence::Broken };
        self.returned.notify_one();
        drop(presence);
        result.ok()
    }

    fn take(&self, patience: Duration) -> Option<Inner> {
        let deadline = Instant::now() + patience;
        let mut presence = lock(&self.model);
        loop {
            match std::mem::replace(&mut *presence, Presence::Away) {
                Presence::Here(inner) => return Some(inner),
                Presence::Away => {}
                Presence::Broken => {
                    *presence = Presence::Broken;
                    return None;
                }
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            presence = self.returned.wait_timeout(presence, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Inner {
    fn reset_if_wanted(&mut self, surroundings: &Surroundings) {
        if std::mem::take(&mut lock(&surroundings.wanted).reset) {
            self.model.reset(&mut Attached(surroundings));
            self.publish(surroundings);
        }
    }

    /// Takes note of what programs have written to registers through mappings: the device learns of it now.
    fn notice(&mut self, surroundings: &Surroundings) {
        for bar in 0..surroundings.bars.len() {
            let (Some(Some(Bar { area, .. })), Some(Some(shown))) =
                (surroundings.bars.get(bar), self.shown.get_mut(bar))
            else {
                continue;
            };
            let mut now = vec![0; shown.len()];
            surroundings.memory.read(*area, 0, &mut now);
            if now == *shown {
                continue;
            }
            let changed: Vec<(u64, u32)> = now
                .chunks_exact(4)
                .zip(shown.chunks_exact(4))
                .enumerate()
                .filter(|(_, (now, shown))| now != shown)
                .map(|(word, (now, _))| (word as u64 * 4, now.try_into().map_or(0, u32::from_le_bytes)))
                .collect();
            // It is what mappings show now, so that it is replaced by what the registers hold then.
            *shown = now;
            let mut bus = Attached(surroundings);
            for (offset, value) in changed {
                self.model.write(bar as u8, offset, 4, value.into(), &mut bus);
            }
        }
    }

    /// Shows what is in the registers of BARs that programs have mapped.
    fn publish(&mut self, surroundings: &Surroundings) {
        let wanted = lock(&surroundings.wanted).shown;
        for (bar, shown) in self.shown.iter_mut().enumerate() {
            let Some(Some(Bar { area, registers, empty })) = surroundings.bars.get(bar) else { continue };
            if shown.is_none() && wanted.get(bar) == Some(&true) {
                *shown = Some(Vec::new());
                surroundings.memory.write(*area, *registers, &vec![0xff; *empty as usize]);
            }
            let Some(shown) = shown else { continue };
            let now: Vec<u8> = (0..*registers)
                .step_by(4)
                .flat_map(|offset| self.model.peek(bar as u8, offset).to_le_bytes())
                .collect();
            // Only what differs is written: a program may be writing to the rest just now.
            for (offset, (now, _)) in now
                .chunks_exact(4)
                .zip(shown.chunks_exact(4).map(Some).chain(std::iter::repeat(None)))
                .enumerate()
                .filter(|(_, (now, shown))| Some(*now) != *shown)
            {
                surroundings.memory.write(*area, offset as u64 * 4, now);
            }
            *shown = now;
        }
    }
}

impl Surroundings {
    pub(super) fn new(memory: Arc<dyn DeviceMemory>, way: Arc<Way>, bars: [Option<Bar>; 6]) -> Self {
        let conditions = Conditions { bus_master: false, mode: InterruptMode::Intx };
        Self {
            memory,
            way,
            bars,
            conditions: Mutex::new(conditions),
            raised: Mutex::default(),
            wanted: Mutex::default(),
        }
    }
}

/// The bus, as a model at work has it.
struct Attached<'a>(&'a Surroundings);

impl Bus for Attached<'_> {
    fn dma_read(&mut self, iova: u64, to: &mut [u8]) -> Result<(), DmaFault> {
        if !self.bus_master() {
            return Err(DmaFault);
        }
        self.0.way.read(iova, to).map_err(|_| DmaFault)
    }

    fn dma_write(&mut self, iova: u64, from: &[u8]) -> Result<(), DmaFault> {
        if !self.bus_master() {
            return Err(DmaFault);
        }
        self.0.way.write(iova, from).map_err(|_| DmaFault)
    }

    fn set_intx(&mut self, asserted: bool) {
        lock(&self.0.raised).push(Raised::Pin(asserted));
    }

    fn message(&mut self, vector: u16) {
        // Messages are writes to memory.
        if self.bus_master() {
            lock(&self.0.raised).push(Raised::Message(vector));
        }
    }

    fn bus_master(&self) -> bool {
        lock(&self.0.conditions).bus_master
    }

    fn interrupt_mode(&self) -> InterruptMode {
        lock(&self.0.conditions).mode
    }

    fn ram_read(&mut self, bar: u8, offset: u64, to: &mut [u8]) {
        match self.0.bars.get(usize::from(bar)) {
            Some(Some(found)) => self.0.memory.read(found.area, offset, to),
            _ => to.fill(0xff),
        }
    }

    fn ram_write(&mut self, bar: u8, offset: u64, from: &[u8]) {
        if let Some(Some(found)) = self.0.bars.get(usize::from(bar)) {
            self.0.memory.write(found.area, offset, from);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
