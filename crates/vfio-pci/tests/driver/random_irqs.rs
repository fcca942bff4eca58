//! Random sequences of `SET_IRQS`, interrupts and what a program does about them, against a model that only counts.

use std::collections::BTreeMap;

use ioctlab_chardev::Errno;
use ioctlab_vfio_pci::Interrupt;
use proptest::prelude::*;

use crate::bench::{Bench, E, E2, E3, EVENTFD, MASK, NONE, TRIGGER, UNMASK};
use crate::fake::Fake;

#[derive(Clone, Debug)]
enum Step {
    /// What signals: an index, the first vector, descriptors.
    Set(u32, u32, Vec<i32>),
    /// Signals an index, by the program itself.
    Loopback(u32, u32, u32),
    Disable(u32),
    Mask,
    Unmask,
    UnmaskBy(i32),
    WriteEventfd,
    Level(bool),
    Message(bool, u32),
    DisableBit(bool),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let descriptor = prop_oneof![4 => Just(E), 4 => Just(E2), 2 => Just(-1), 1 => Just(99)];
    let index = 0u32..3;
    let step = prop_oneof![
        5 => (index.clone(), 0u32..6, prop::collection::vec(descriptor, 1..4))
            .prop_map(|(index, start, fds)| Step::Set(index, if index == 0 { start / 5 } else { start }, fds)),
        2 => (index.clone(), 0u32..4, 1u32..3).prop_map(|(i, s, c)| Step::Loopback(i, s, c)),
        2 => index.prop_map(Step::Disable),
        2 => Just(Step::Mask),
        4 => Just(Step::Unmask),
        2 => prop_oneof![Just(E3), Just(-1)].prop_map(Step::UnmaskBy),
        2 => Just(Step::WriteEventfd),
        6 => any::<bool>().prop_map(Step::Level),
        4 => (any::<bool>(), 0u32..6).prop_map(|(msix, vector)| Step::Message(msix, vector)),
        2 => any::<bool>().prop_map(Step::DisableBit),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

/// How many interrupts each index has.
const COUNTS: [u32; 3] = [1, 1, 5];

#[derive(Default)]
struct Model {
    /// Which index is enabled, and what its vectors signal.
    enabled: Option<u32>,
    vectors: BTreeMap<u32, i32>,
    masked: bool,
    disabled: bool,
    unmask_by: bool,
    level: bool,
    counts: BTreeMap<i32, u64>,
}

impl Model {
    fn signal(&mut self, vector: u32) {
        if let Some(descriptor) = self.vectors.get(&vector) {
            *self.counts.entry(*descriptor).or_default() += 1;
        }
    }

    /// The level gets through.
    fn deliver(&mut self) {
        if self.enabled == Some(0) && self.level && !self.masked {
            self.masked = true;
            self.signal_intx();
        }
    }

    fn signal_intx(&mut self) {
        if !self.disabled {
            self.signal(0);
        }
    }

    fn unmask(&mut self) {
        if !self.disabled {
            self.masked = false;
        }
        self.deliver();
    }

    fn disable(&mut self) {
        self.enabled = None;
        self.vectors.clear();
        self.unmask_by = false;
    }

    fn set(&mut self, index: u32, start: u32, descriptors: &[i32]) -> Result<i64, Errno> {
        let count = descriptors.len() as u32;
        if start + count > COUNTS[index as usize] || self.enabled.is_some_and(|enabled| enabled != index) {
            return Err(Errno::EINVAL);
        }
        let was_enabled = self.enabled.is_some();
        if index == 0 && descriptors[0] == 99 {
            return Err(Errno::EBADF);
        }
        self.enabled = Some(index);
        if index == 0 && !was_enabled {
            self.masked = self.disabled;
        }
        for (vector, descriptor) in (start..).zip(descriptors) {
            self.vectors.remove(&vector);
            if *descriptor == 99 {
                self.vectors.retain(|at, _| !(start..vector).contains(at));
                if !was_enabled {
                    self.disable();
                }
                return Err(Errno::EBADF);
            }
            if *descriptor >= 0 {
                self.vectors.insert(vector, *descriptor);
            }
        }
        self.deliver();
        Ok(0)
    }

    fn loopback(&mut self, index: u32, start: u32, count: u32) -> Result<i64, Errno> {
        if start + count > COUNTS[index as usize] || self.enabled != Some(index) {
            return Err(Errno::EINVAL);
        }
        match index {
            0 => self.signal_intx(),
            _ => (start..start + count).for_each(|vector| self.signal(vector)),
        }
        Ok(0)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn interrupts_are_signalled_as_often_as_they_should(steps in steps(), can_mask in any::<bool>()) {
        let mut fake = Fake::e1000e();
        if !can_mask {
            fake.allow(4, 0x0107);
        }
        // A reset at the next open would change the level.
        fake.can_reset = false;
        let mut bench = Bench::new(fake);
        let mut model = Model::default();
        for step in steps {
            let not_intx = if model.enabled == Some(0) { Ok(0) } else { Err(Errno::EINVAL) };
            match step.clone() {
                Step::Set(index, start, descriptors) => {
                    let result = bench.irq_fds(index, start, &descriptors);
                    prop_assert_eq!(result, model.set(index, start, &descriptors));
                }
                Step::Loopback(index, start, count) => {
                    let result = bench.irq(TRIGGER | NONE, index, start, count, &[]);
                    prop_assert_eq!(result, model.loopback(index, start, count));
                }
                Step::Disable(index) => {
                    let result = bench.irq(TRIGGER | NONE, index, 0, 0, &[]);
                    let is_enabled = model.enabled == Some(index);
                    // Without anything enabled, or with something else.
                    prop_assert_eq!(result.is_ok(), is_enabled, "{:?}", result);
                    if is_enabled {
                        model.disable();
                    }
                }
                Step::Mask => {
                    prop_assert_eq!(bench.irq(MASK | NONE, 0, 0, 1, &[]), not_intx);
                    model.masked = true;
                }
                Step::Unmask => {
                    prop_assert_eq!(bench.irq(UNMASK | NONE, 0, 0, 1, &[]), not_intx);
                    model.unmask();
                }
                Step::UnmaskBy(descriptor) => {
                    let result = bench.irq(UNMASK | EVENTFD, 0, 0, 1, &descriptor.to_ne_bytes());
                    let is_busy = descriptor >= 0 && model.unmask_by;
                    let expected = if is_busy { Err(Errno::EBUSY) } else { not_intx };
                    prop_assert_eq!(result, expected);
                    model.unmask_by = model.enabled == Some(0) && (descriptor >= 0 || is_busy);
                }
                Step::WriteEventfd => {
                    bench.write_eventfd(E3);
                    if model.unmask_by {
                        model.unmask();
                    }
                }
                Step::Level(level) => {
                    bench.function.set_intx(level);
                    bench.settle();
                    model.level = level;
                    model.deliver();
                }
                Step::Message(is_msix, vector) => {
                    let interrupt = if is_msix { Interrupt::Msix(vector) } else { Interrupt::Msi(vector) };
                    bench.device.interrupt(interrupt, &mut bench.function);
                    bench.settle();
                    if model.enabled == Some(if is_msix { 2 } else { 1 }) {
                        model.signal(vector);
                    }
                }
                Step::DisableBit(disabled) => {
                    bench.cw(5, 1, if disabled { 4 } else { 0 }).unwrap();
                    if disabled != model.disabled {
                        model.disabled = disabled;
                        if disabled { model.masked = true } else { model.unmask() }
                    }
                }
                Step::Reopen => {
                    bench.close();
                    prop_assert!(bench.program.events.is_empty());
                    bench.open();
                    model.disable();
                    model.disabled = false;
                }
            }
            for descriptor in [E, E2, E3] {
                let expected = model.counts.remove(&descriptor).unwrap_or(0);
                prop_assert_eq!(bench.take(descriptor), expected, "{} after {:?}", descriptor, &step);
            }
            let held = model.vectors.len() + usize::from(model.unmask_by);
            prop_assert_eq!(bench.program.events.len(), held);
        }
    }
}
