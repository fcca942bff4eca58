//! Random operations on several containers, groups and devices, compared at every step with a naive model: results, and all
//! that is asked of buses and IOMMU drivers. `PROPTEST_CASES` sets how many sequences.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ioctlab_chardev::{Errno, FileId};
use ioctlab_vfio::{DeviceId, ExternalUser, GroupId, GroupKind, MemberDriver, Removal};
use proptest::prelude::*;

use crate::fake::Type1;
use crate::model::{Model, Open, REFUSED_BY_OTHER};
use crate::program::Bench;

/// Device and group. Those of group 15 and 16 have no IOMMU.
const DEVICES: [(u32, u32); 6] = [(1, 11), (2, 12), (3, 13), (4, 13), (5, 15), (6, 16)];

#[derive(Clone, Copy, Debug)]
enum Op {
    OpenContainer,
    OpenGroup(usize),
    /// Of what is open, which; by a number that is taken modulo how many there are.
    Close(usize),
    SetContainer(usize, usize),
    UnsetContainer(usize),
    SetIommu(usize, u64),
    CheckExtension(usize, u64),
    GetDevice(usize, usize),
    GetExternal(usize),
    GetReference(usize),
    Add(usize),
    Remove(usize),
    Bind(usize, MemberDriver),
    Break(usize, bool),
    Tick(usize),
    Rawio(bool),
    Noiommu(bool),
}

fn op() -> impl Strategy<Value = Op> {
    let file = || 0_usize..24;
    let device = || 0..DEVICES.len();
    let kind = || prop_oneof![4 => Just(3_u64), 2 => Just(1), 2 => Just(8), 2 => 0_u64..12];
    let driver =
        prop_oneof![Just(MemberDriver::None), Just(MemberDriver::Harmless), Just(MemberDriver::Native)];
    prop_oneof![
        3 => Just(Op::OpenContainer),
        8 => device().prop_map(Op::OpenGroup),
        8 => file().prop_map(Op::Close),
        10 => (file(), file()).prop_map(|(group, container)| Op::SetContainer(group, container)),
        3 => file().prop_map(Op::UnsetContainer),
        8 => (file(), kind()).prop_map(|(container, kind)| Op::SetIommu(container, kind)),
        3 => (file(), kind()).prop_map(|(container, kind)| Op::CheckExtension(container, kind)),
        10 => (file(), device()).prop_map(|(group, device)| Op::GetDevice(group, device)),
        3 => file().prop_map(Op::GetExternal),
        2 => device().prop_map(Op::GetReference),
        5 => device().prop_map(Op::Add),
        4 => device().prop_map(Op::Remove),
        2 => (device(), driver).prop_map(|(group, driver)| Op::Bind(group, driver)),
        1 => (device(), any::<bool>()).prop_map(|(device, broken)| Op::Break(device, broken)),
        2 => (1_usize..25).prop_map(Op::Tick),
        1 => prop_oneof![3 => Just(true), 1 => Just(false)].prop_map(Op::Rawio),
        1 => prop_oneof![3 => Just(true), 1 => Just(false)].prop_map(Op::Noiommu),
    ]
}

fn kind_of(group: u32) -> GroupKind {
    if group < 15 { GroupKind::Iommu } else { GroupKind::Noiommu }
}

/// The core and the model, side by side.
struct Pair {
    bench: Bench,
    model: Model,
    /// By a number that no file has.
    users: BTreeMap<i32, ExternalUser>,
    next_user: i32,
    alive: Arc<AtomicU32>,
    other_alive: Arc<AtomicU32>,
}

impl Pair {
    fn new() -> Self {
        let mut bench = Bench::new();
        bench.vfio.unregister_iommu_driver("type1").unwrap();
        let type1 = Type1::new();
        let other = Type1 { name: "other", extensions: vec![3], ..Type1::new() };
        let (alive, other_alive) = (type1.alive.clone(), other.alive.clone());
        bench.vfio.register_iommu_driver(Box::new(type1)).unwrap();
        bench.vfio.register_iommu_driver(Box::new(other)).unwrap();
        bench.machine.refused.insert(("other", GroupId(REFUSED_BY_OTHER)), Errno::EIO);
        for (device, group) in DEVICES {
            bench.machine.names.insert(DeviceId(device), format!("d{device}"));
            bench.machine.bind(device, group, MemberDriver::Harmless);
        }
        let (model, users) = (Model::default(), BTreeMap::new());
        let mut pair = Self { bench, model, users, next_user: 1_000_000, alive, other_alive };
        pair.step(Op::Noiommu(true));
        pair.step(Op::Rawio(true));
        (0..DEVICES.len()).for_each(|device| pair.step(Op::Add(device)));
        pair
    }

    /// One of the open files of a kind; now and then one of any kind.
    fn pick(&self, index: usize, is_right: impl Fn(&Open) -> bool) -> i32 {
        let right = |open: &Open| index.is_multiple_of(23) || is_right(open);
        let numbers = self.model.open.iter().filter(|(_, open)| right(open)).map(|(number, _)| *number);
        let numbers: Vec<_> = numbers.filter(|number| !self.is_the_kernels(*number)).collect();
        numbers.get(index % numbers.len().max(1)).copied().unwrap_or(9999)
    }

    fn is_the_kernels(&self, number: i32) -> bool {
        number >= 1_000_000
    }

    fn pick_group(&self, index: usize) -> Option<(i32, u32)> {
        let number = self.pick(index, |open| matches!(open, Open::Group(_)));
        match self.model.open.get(&number) {
            Some(Open::Group(group)) => Some((number, *group)),
            _ => None,
        }
    }

    fn pick_container(&self, index: usize) -> Option<i32> {
        let number = self.pick(index, |open| *open == Open::Container);
        (self.model.open.get(&number) == Some(&Open::Container)).then_some(number)
    }

    fn close(&mut self, number: i32) {
        let Bench { vfio, machine, .. } = &mut self.bench;
        match self.model.open.get(&number) {
            Some(Open::External(_)) => vfio.put_external_user(self.users.remove(&number).unwrap(), machine),
            Some(Open::Reference(device)) => vfio.put_device(DeviceId(*device), machine),
            _ => self.bench.close(number),
        }
        self.model.close(number);
    }

    fn step(&mut self, op: Op) {
        let (bench, model) = (&mut self.bench, &mut self.model);
        match op {
            Op::OpenContainer => {
                let number = bench.open_container();
                model.open.insert(number, Open::Container);
            }
            Op::OpenGroup(device) => {
                let group = DEVICES[device].1;
                let number = bench.open_group(group);
                let expected = model.open_group(number.unwrap_or(-1), group);
                assert_eq!(number.map(drop), expected);
            }
            Op::Close(index) => {
                let number = model.open.keys().nth(index % model.open.len().max(1)).copied();
                if let Some(number) = number {
                    self.close(number);
                }
            }
            Op::SetContainer(group, container) => {
                let container = self.pick(container, |open| *open == Open::Container);
                if let Some((number, group)) = self.pick_group(group) {
                    let result = self.bench.set_container(number, container);
                    assert_eq!(result, self.model.set_container(group, container));
                }
            }
            Op::UnsetContainer(group) => {
                if let Some((number, group)) = self.pick_group(group) {
                    assert_eq!(self.bench.unset_container(number), self.model.unset_container(group));
                }
            }
            Op::SetIommu(container, kind) => {
                if let Some(container) = self.pick_container(container) {
                    let result = self.bench.set_iommu(container, kind);
                    assert_eq!(result, self.model.set_iommu(container, kind));
                }
            }
            Op::CheckExtension(container, extension) => {
                if let Some(container) = self.pick_container(container) {
                    let result = self.bench.check_extension(container, extension);
                    assert_eq!(result, Ok(self.model.check_extension(container, extension)));
                }
            }
            Op::GetDevice(group, device) => {
                let device = DEVICES[device].0;
                if let Some((number, group)) = self.pick_group(group) {
                    let result = self.bench.get_device(number, &format!("d{device}"));
                    let broken = self.bench.machine.broken.contains(&DeviceId(device));
                    let expected = self.model.get_device(group, device, broken, result.unwrap_or(-1));
                    assert_eq!(result.map(drop), expected);
                }
            }
            Op::GetExternal(group) => {
                let number = self.pick(group, |open| matches!(open, Open::Group(_)));
                let user = self.bench.vfio.get_external_user(FileId(number as u64));
                let expected = self.model.get_external(number, self.next_user);
                assert_eq!(user.is_ok(), expected.is_ok());
                match user {
                    Ok(user) => _ = self.users.insert(self.next_user, user),
                    Err(errno) => assert_eq!(Err(errno), expected),
                }
                self.next_user += 1;
            }
            Op::GetReference(device) => {
                let device = DEVICES[device].0;
                let result = bench.vfio.get_device_from_dev(DeviceId(device));
                assert_eq!(result, model.get_reference(device, self.next_user));
                self.next_user += 1;
            }
            Op::Add(device) => {
                let (device, group) = DEVICES[device];
                let kind = kind_of(group);
                let result = bench.vfio.add_group_dev(DeviceId(device), GroupId(group), kind);
                assert_eq!(result, model.add(device, group, kind));
            }
            Op::Remove(device) => {
                let device = DEVICES[device].0;
                let removal = bench.vfio.del_group_dev(DeviceId(device), &mut bench.machine);
                assert_eq!(removal == Removal::Done, model.remove(device));
            }
            // Each group has another device, 90 and up, which is the one that is bound to something.
            Op::Bind(device, driver) => {
                let group = DEVICES[device].1;
                let may = bench.vfio.may_bind(GroupId(group), driver);
                assert_eq!(may.is_ok(), model.may_bind(group, driver));
                if may.is_ok() {
                    bench.machine.bind(90 + group, group, driver);
                    model.native.insert(group, driver == MemberDriver::Native);
                }
            }
            Op::Break(device, true) => _ = bench.machine.broken.insert(DeviceId(DEVICES[device].0)),
            Op::Break(device, false) => _ = bench.machine.broken.remove(&DeviceId(DEVICES[device].0)),
            Op::Tick(seconds) => {
                for _ in 0..seconds {
                    bench.vfio.tick(&mut bench.machine);
                    model.tick();
                }
            }
            Op::Rawio(rawio) => (bench.process.rawio, model.rawio) = (rawio, rawio),
            Op::Noiommu(enabled) => {
                bench.vfio.set_unsafe_noiommu_mode(enabled);
                model.noiommu = enabled;
            }
        }
        self.check();
    }

    fn check(&mut self) {
        let (bench, model) = (&mut self.bench, &mut self.model);
        assert_eq!(bench.machine.take_asked(), std::mem::take(&mut model.asked));
        let removed: Vec<_> =
            std::iter::from_fn(|| bench.vfio.next_removed()).map(|device| device.0).collect();
        assert_eq!(removed, std::mem::take(&mut model.removed));
        assert_eq!(bench.vfio.has_waiting_removals(), !model.wanted.is_empty());
        let nodes: Vec<_> = bench.vfio.groups().map(|node| (node.minor.0, node.group.0, node.kind)).collect();
        let is_there = |group: &&crate::model::Group| !group.devices.is_empty();
        let mut expected: Vec<_> = model.groups.values().filter(is_there).collect();
        expected.sort_by_key(|group| group.minor);
        let expected: Vec<_> = expected.iter().map(|group| (group.minor, group.id, group.kind)).collect();
        assert_eq!(nodes, expected);
        assert_eq!(bench.vfio.minors(), model.groups.len());
        assert_eq!(bench.vfio.containers(), model.containers());
        assert_eq!(bench.vfio.iommus(), model.chosen.len());
        let devices: usize = model.groups.values().map(|group| group.devices.len()).sum();
        assert_eq!(bench.vfio.devices(), devices);
        // Each IOMMU that there is belongs to a container, and to one alone.
        let alive = self.alive.load(Ordering::Relaxed) + self.other_alive.load(Ordering::Relaxed);
        let noiommu = model.chosen.values().filter(|chosen| **chosen == crate::model::Chosen::Noiommu);
        assert_eq!(alive as usize, model.chosen.len() - noiommu.count());
        for (number, open) in model.open.clone() {
            let file = FileId(number as u64);
            match open {
                Open::Group(group) => {
                    assert_eq!(bench.flags(number), model.status(group));
                    let there = (!model.groups[&group].devices.is_empty()).then(|| model.groups[&group].id);
                    assert_eq!(bench.vfio.group_of(file), there.map(GroupId));
                }
                Open::Device(device) => assert_eq!(bench.vfio.device_of(file), Some(DeviceId(device))),
                _ => assert_eq!(bench.vfio.device_of(file), None),
            }
        }
    }

    /// Everything is closed and taken back, in some order, and nothing is left.
    fn end(mut self, order: usize) {
        let mut turn = order;
        while !self.model.open.is_empty() {
            self.step(Op::Close(turn));
            turn = turn.wrapping_mul(7).wrapping_add(3);
            if turn.is_multiple_of(3) {
                self.step(Op::Remove(turn % DEVICES.len()));
            }
        }
        (0..DEVICES.len()).for_each(|device| self.step(Op::Remove(device)));
        let vfio = &self.bench.vfio;
        assert_eq!((vfio.containers(), vfio.iommus(), vfio.minors(), vfio.devices()), (0, 0, 0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_core_does_as_the_naive_model(ops in prop::collection::vec(op(), 1..200), order in 0_usize..1000) {
        let mut pair = Pair::new();
        for op in ops {
            pair.step(op);
        }
        pair.end(order);
    }
}
