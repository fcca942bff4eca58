//! Random calls on the driver and on a model of it that counts references by looking at everything.

use ioctlab_chardev::{Errno, FileId, MappingId};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::fake::{Bench, Did, FILE, LIMIT, PAGE, frame_of};

#[derive(Clone, Debug)]
enum Call {
    Alloc(u64, u32),
    Dealloc(u64, u64, u32),
    Mmap(u64, u64, u64),
    Unmapped(Index),
    Notify(u64, u64, u32, u32),
    Release(u64),
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let file = 1u64..4;
    let call = prop_oneof![
        5 => (file.clone(), 0u32..12).prop_map(|(f, c)| Call::Alloc(f, c)),
        4 => (file.clone(), 0u64..12, 0u32..4).prop_map(|(f, i, c)| Call::Dealloc(f, i, c)),
        5 => (file.clone(), 0u64..12, 0u64..4).prop_map(|(f, i, c)| Call::Mmap(f, i, c)),
        4 => any::<Index>().prop_map(Call::Unmapped),
        4 => (file.clone(), 0u64..12 * PAGE, 0u32..5, 19u32..22).prop_map(|(f, i, a, p)| Call::Notify(f, i, a, p)),
        1 => file.prop_map(Call::Release),
    ];
    prop::collection::vec(call, 1..80)
}

/// A page: whose it is at which index, and what is to happen as it goes.
#[derive(Clone, Debug)]
struct Page {
    reference: u32,
    place: Option<(u64, u64)>,
    notify: (u32, u64, u32),
}

#[derive(Default)]
struct Model {
    pages: Vec<Page>,
    next: [u64; 4],
    mappings: Vec<(MappingId, u64, Vec<u32>)>,
    did: Vec<Did>,
}

impl Model {
    fn at(&self, file: u64, index: u64) -> Option<usize> {
        self.pages.iter().position(|page| page.place == Some((file, index)))
    }

    /// Consecutive pages, if all are there.
    fn find(&self, file: u64, index: u64, count: u64) -> Option<Vec<u32>> {
        let pages =
            (index..index + count).map(|index| self.at(file, index).map(|at| self.pages[at].reference));
        pages.collect::<Option<Vec<u32>>>().filter(|pages| !pages.is_empty())
    }

    /// Ends those of these pages that nothing refers to.
    fn end(&mut self, references: &[u32]) {
        for reference in references {
            let is_mapped = self.mappings.iter().any(|(.., pages)| pages.contains(reference));
            let Some(at) = self.pages.iter().position(|page| page.reference == *reference) else { continue };
            if is_mapped || self.pages[at].place.is_some() {
                continue;
            }
            let (actions, byte, port) = self.pages.remove(at).notify;
            if actions & 1 != 0 {
                self.did.push(Did::Clear(*reference, byte as u16));
            }
            if actions & 2 != 0 {
                self.did.extend([Did::Notify(port), Did::LetGo(port)]);
            }
            self.did.push(Did::End(*reference));
        }
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
        assert_eq!(bench.driver.pages(), model.pages.len());
        assert_eq!(bench.guest.shared.len(), model.pages.len());
    }
    for (mapping, ..) in model.mappings {
        bench.unmapped(mapping);
    }
    (1..4).for_each(|file| bench.release(FileId(file)));
    bench.driver.open(FILE);
    bench.is_clean();
}

fn apply(bench: &mut Bench, model: &mut Model, call: &Call) {
    match *call {
        Call::Alloc(file, count) => {
            let made = bench.alloc(FileId(file), count);
            if model.pages.len() + count as usize > LIMIT as usize {
                assert_eq!(made, Err(Errno::ENOSPC));
                return;
            }
            let (index, references) = made.unwrap();
            let next = &mut model.next[file as usize];
            assert_eq!((index, references.len()), (*next, count as usize));
            for reference in references {
                model.pages.push(Page { reference, place: Some((file, *next)), notify: (0, 0, 0) });
                model.did.push(Did::Share(3, false));
                *next += 1;
            }
        }
        Call::Dealloc(file, index, count) => {
            let result = bench.dealloc(FileId(file), index, count);
            let Some(pages) = model.find(file, index, count.into()) else {
                assert_eq!(result, Err(Errno::EINVAL));
                return;
            };
            assert_eq!(result, Ok(()));
            for page in model.pages.iter_mut().filter(|page| pages.contains(&page.reference)) {
                page.place = None;
            }
            model.end(&pages);
        }
        Call::Mmap(file, index, count) => {
            let made = bench.mmap(FileId(file), index, count, true);
            let Some(pages) = model.find(file, index, count) else {
                assert_eq!(made.err(), Some(Errno::ENOENT));
                return;
            };
            let (id, mapping) = made.unwrap();
            assert_eq!(mapping.frames(), pages.iter().copied().map(frame_of).collect::<Vec<_>>());
            model.mappings.push((id, file, pages));
        }
        Call::Unmapped(ref which) => {
            if model.mappings.is_empty() {
                return;
            }
            let (id, _, pages) = model.mappings.remove(which.index(model.mappings.len()));
            bench.unmapped(id);
            model.end(&pages);
        }
        Call::Notify(file, byte, actions, port) => {
            let result = bench.notify(FileId(file), byte, actions, port);
            let Some(at) = model.at(file, byte / PAGE) else {
                assert_eq!(result, Err(Errno::ENOENT));
                return;
            };
            if actions > 3 || actions & 2 != 0 && !(20..30).contains(&port) {
                assert_eq!(result, Err(Errno::EINVAL));
                return;
            }
            assert_eq!(result, Ok(()));
            let before = std::mem::replace(&mut model.pages[at].notify, (actions, byte % PAGE, port));
            model.did.extend((actions & 2 != 0).then_some(Did::Hold(port)));
            model.did.extend((before.0 & 2 != 0).then_some(Did::LetGo(before.2)));
        }
        Call::Release(file) => {
            // The kernel releases a file only when nothing of it is mapped any more.
            if model.mappings.iter().any(|(_, of, _)| *of == file) {
                return;
            }
            bench.release(FileId(file));
            let mut own: Vec<(u64, u32)> = Vec::new();
            for page in &mut model.pages {
                if let Some((_, index)) = page.place.take_if(|(of, _)| *of == file) {
                    own.push((index, page.reference));
                }
            }
            own.sort_unstable();
            model.end(&own.into_iter().map(|(_, reference)| reference).collect::<Vec<_>>());
            model.next[file as usize] = 0;
            bench.driver.open(FileId(file));
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
