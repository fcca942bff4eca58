//! Random calls on the driver and on a model of it that knows no more than what refers to what.

use std::collections::BTreeMap;

use ioctlab_chardev::{Errno, FileId, MappingId};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::fake::{Bench, Did, Kind, PAGE, frame_of};

#[derive(Clone, Debug)]
enum Call {
    Map(u64, Vec<u32>),
    Unmap(u64, Index, u32),
    Mmap(u64, Index, bool),
    Zap(Index, u64, u64),
    Unmapped(Index),
    Notify(u64, Index, u64, u32, u32),
    Release(u64),
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let file = 1u64..4;
    let reference = prop_oneof![12 => 8u32..16, 1 => 32u32..34, 1 => Just(999)];
    let call = prop_oneof![
        6 => (file.clone(), prop::collection::vec(reference, 1..5)).prop_map(|(f, r)| Call::Map(f, r)),
        3 => (file.clone(), any::<Index>(), 0u32..5).prop_map(|(f, m, c)| Call::Unmap(f, m, c)),
        5 => (file.clone(), any::<Index>(), any::<bool>()).prop_map(|(f, m, w)| Call::Mmap(f, m, w)),
        4 => (any::<Index>(), 0u64..5, 0u64..5).prop_map(|(m, f, p)| Call::Zap(m, f, p)),
        3 => any::<Index>().prop_map(Call::Unmapped),
        4 => (file.clone(), any::<Index>(), 0u64..5 * PAGE as u64, 0u32..5, 19u32..23)
            .prop_map(|(f, m, b, a, p)| Call::Notify(f, m, b, a, p)),
        1 => file.prop_map(Call::Release),
    ];
    prop::collection::vec(call, 1..80)
}

/// A map: everything written out.
#[derive(Clone, Debug)]
struct Map {
    file: u64,
    index: u64,
    references: Vec<u32>,
    listed: bool,
    spent: bool,
    writable: bool,
    mapping: Option<MappingId>,
    live: Vec<bool>,
    notify: (u32, u64, u32),
}

#[derive(Default)]
struct Model {
    maps: Vec<Map>,
    did: Vec<Did>,
}

impl Model {
    fn unmap_pages(&mut self, at: usize, first: u64, pages: u64) {
        let map = &mut self.maps[at];
        let range = |page: &usize| (first..first.saturating_add(pages)).contains(&(*page as u64));
        let (actions, byte, _) = map.notify;
        let page = (byte / PAGE as u64) as usize;
        if actions & 1 != 0 && map.writable && range(&page) && map.live.get(page) == Some(&true) {
            self.did.push(Did::Clear(frame_of(map.references[page]), (byte % PAGE as u64) as u16));
            map.notify.0 &= !1;
        }
        for page in (0..map.references.len()).filter(range) {
            if std::mem::take(&mut map.live[page]) {
                self.did.push(Did::Unmap(map.references[page]));
            }
        }
    }

    fn drop_unused(&mut self, at: usize) {
        let map = &self.maps[at];
        if map.listed || map.mapping.is_some() {
            return;
        }
        if map.notify.0 & 2 != 0 {
            self.did.extend([Did::Notify(map.notify.2), Did::LetGo(map.notify.2)]);
        }
        self.maps.remove(at);
    }

    /// Where a map goes: Linux's walk over the list, which takes the first gap that is larger.
    fn vacancy(&self, file: u64, count: u64) -> u64 {
        let mut index = 0;
        for map in self.listed(file).into_iter().map(|at| &self.maps[at]) {
            if index + count < map.index {
                break;
            }
            index = map.index + map.references.len() as u64;
        }
        index
    }

    fn listed(&self, file: u64) -> Vec<usize> {
        let mut listed: Vec<usize> =
            (0..self.maps.len()).filter(|at| self.maps[*at].listed && self.maps[*at].file == file).collect();
        listed.sort_by_key(|at| self.maps[*at].index);
        listed
    }
}

fn run(calls: Vec<Call>) {
    let (mut bench, mut model) = (Bench::new(), Model::default());
    for file in 2..4 {
        bench.driver.open(FileId(file));
    }
    for call in calls {
        apply(&mut bench, &mut model, &call);
        assert_eq!(bench.did(), std::mem::take(&mut model.did), "{call:?}");
        assert_eq!(bench.driver.maps(), model.maps.len());
        let live = model.maps.iter().flat_map(|map| &map.live).filter(|live| **live).count();
        assert_eq!((bench.driver.live_grants(), bench.guest.mapped.len()), (live, live));
        let mut held: BTreeMap<u32, u32> = BTreeMap::new();
        for map in model.maps.iter().filter(|map| map.notify.0 & 2 != 0) {
            *held.entry(map.notify.2).or_default() += 1;
        }
        assert_eq!(bench.guest.held, held);
    }
    let mappings: Vec<MappingId> = model.maps.iter().filter_map(|map| map.mapping).collect();
    mappings.into_iter().for_each(|mapping| bench.unmapped(mapping));
    (1..4).for_each(|file| bench.release(FileId(file)));
    bench.is_clean();
}

fn apply(bench: &mut Bench, model: &mut Model, call: &Call) {
    match call {
        Call::Map(file, references) => {
            let index = bench.map(FileId(*file), references).unwrap();
            assert_eq!(index, model.vacancy(*file, references.len() as u64));
            let (references, live) = (references.clone(), vec![false; references.len()]);
            let (file, notify) = (*file, (0, 0, 0));
            let (listed, spent, writable, mapping) = (true, false, false, None);
            model.maps.push(Map { file, index, references, listed, spent, writable, mapping, live, notify });
        }
        Call::Unmap(file, which, count) => {
            let listed = model.listed(*file);
            let Some(&at) = (!listed.is_empty()).then(|| which.get(&listed)) else { return };
            let map = &mut model.maps[at];
            let fits = *count == 0 || *count as usize == map.references.len();
            let expected = if fits { Ok(()) } else { Err(Errno::ENOENT) };
            assert_eq!(bench.unmap(FileId(*file), map.index, *count), expected);
            if fits {
                map.listed = false;
                model.drop_unused(at);
            } else {
                bench.did();
            }
        }
        Call::Mmap(file, which, writable) => {
            let listed = model.listed(*file);
            let Some(&at) = (!listed.is_empty()).then(|| which.get(&listed)) else { return };
            let map = &mut model.maps[at];
            let (kind, pages) =
                (if *writable { Kind::Writable } else { Kind::ReadOnly }, map.references.len());
            let made = bench.mmap(FileId(*file), map.index, pages as u64, kind);
            if std::mem::replace(&mut map.spent, true) {
                assert_eq!(made.err(), Some(Errno::EINVAL));
                return;
            }
            map.writable = *writable;
            let allowed = |reference: &u32| *reference < 32 || *reference < 40 && !*writable;
            map.live = map.references.iter().map(allowed).collect();
            let mapped = map.references.iter().filter(|r| allowed(r)).map(|r| Did::Map(*r, !*writable));
            model.did.extend(mapped);
            match made {
                Ok((mapping, _)) if map.live.iter().all(|live| *live) => map.mapping = Some(mapping),
                Err(Errno::EINVAL) if map.live.iter().any(|live| !*live) => {
                    model.unmap_pages(at, 0, u64::MAX)
                }
                other => panic!("{other:?}"),
            }
        }
        Call::Zap(which, first, pages) => {
            let mapped: Vec<usize> =
                (0..model.maps.len()).filter(|at| model.maps[*at].mapping.is_some()).collect();
            let Some(&at) = (!mapped.is_empty()).then(|| which.get(&mapped)) else { return };
            bench.zap(model.maps[at].mapping.unwrap(), *first, *pages);
            model.unmap_pages(at, *first, *pages);
        }
        Call::Unmapped(which) => {
            let mapped: Vec<usize> =
                (0..model.maps.len()).filter(|at| model.maps[*at].mapping.is_some()).collect();
            let Some(&at) = (!mapped.is_empty()).then(|| which.get(&mapped)) else { return };
            bench.unmapped(model.maps[at].mapping.unwrap());
            model.unmap_pages(at, 0, u64::MAX);
            model.maps[at].mapping = None;
            model.drop_unused(at);
        }
        Call::Notify(file, which, byte, actions, port) => {
            let listed = model.listed(*file);
            let Some(&at) = (!listed.is_empty()).then(|| which.get(&listed)) else { return };
            let map = &mut model.maps[at];
            let byte = byte % (map.references.len() * PAGE) as u64;
            let result = bench.notify(FileId(*file), map.index * PAGE as u64 + byte, *actions, *port);
            let sends = *actions & 2 != 0;
            if *actions > 3 || sends && !(20..30).contains(port) {
                assert_eq!(result, Err(Errno::EINVAL));
                return;
            }
            if sends {
                model.did.push(Did::Hold(*port));
            }
            let let_go = if *actions & 1 != 0 && map.spent && !map.writable {
                assert_eq!(result, Err(Errno::EINVAL));
                sends.then_some(*port)
            } else {
                assert_eq!(result, Ok(()));
                let (before, _, port_before) = std::mem::replace(&mut map.notify, (*actions, byte, *port));
                (before & 2 != 0).then_some(port_before)
            };
            model.did.extend(let_go.map(Did::LetGo));
        }
        Call::Release(file) => {
            // The kernel releases a file only when nothing of it is mapped any more.
            let is_mapped = |map: &Map| map.file == *file && map.mapping.is_some();
            if model.maps.iter().any(is_mapped) {
                return;
            }
            bench.release(FileId(*file));
            while let Some(&at) = model.listed(*file).first() {
                model.maps[at].listed = false;
                model.drop_unused(at);
            }
            bench.driver.open(FileId(*file));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_driver_does_as_the_naive_model(calls in calls()) {
        run(calls);
    }
}
