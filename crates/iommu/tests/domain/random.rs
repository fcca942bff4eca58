//! A naive model: a map of pages.

use std::collections::BTreeMap;

use ioctlab_iommu::{Access, Domain, Permissions, Properties, Reason, Refused, Target};
use proptest::prelude::*;

const PAGE: u64 = 4096;
/// Few pages, so that ranges meet; the last of them lie beyond the aperture.
const PAGES: u64 = 40;

#[derive(Clone, Debug)]
enum Step {
    Map { page: u64, pages: u64, target: u64, read: bool, write: bool },
    Unmap { page: u64, pages: u64 },
    Retarget { page: u64, target: u64 },
    Access { at: u64, length: u64, write: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let (page, pages, target) = (0..PAGES, 0..10_u64, 0..1000_u64);
    prop_oneof![
        4 => (page.clone(), pages.clone(), target.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(page, pages, target, read, write)| Step::Map { page, pages, target, read, write }),
        3 => (page.clone(), pages).prop_map(|(page, pages)| Step::Unmap { page, pages }),
        1 => (page, target).prop_map(|(page, target)| Step::Retarget { page, target }),
        2 => (0..PAGES * PAGE, 0..5 * PAGE, any::<bool>())
            .prop_map(|(at, length, write)| Step::Access { at, length, write }),
    ]
}

/// A page's target, what may be done with it, and the first page and number of the `map` that it is of.
type Model = BTreeMap<u64, (u64, bool, bool, u64, u32)>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn like_a_map_of_pages(steps in proptest::collection::vec(step(), 1..80)) {
        // 17 bits: 32 pages.
        let mut domain = Domain::new(&Properties { address_bits: 17, ..Properties::default() });
        let mut model = Model::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Map { page, pages, target, read, write } => {
                    let expected = if pages == 0 {
                        Err(Refused::Malformed)
                    } else if page + pages > 32 {
                        Err(Refused::BeyondAperture)
                    } else if model.range(page..page + pages).next().is_some() {
                        Err(Refused::Mapped)
                    } else {
                        for offset in 0..pages {
                            let entry = (target + offset, read, write, page, number as u32);
                            model.insert(page + offset, entry);
                        }
                        Ok(())
                    };
                    let target = Target { space: 3, address: target * PAGE };
                    let mapped = domain.map(page * PAGE, pages * PAGE, target, Permissions { read, write });
                    prop_assert_eq!(mapped, expected);
                }
                Step::Unmap { page, pages } => {
                    let before = model.len();
                    for page in page..page + pages {
                        // What lies behind a gap is a range of its own.
                        if let Some((.., start, number)) = model.remove(&page) {
                            let of_it = model.range_mut(page + 1..).map(|(_, entry)| entry);
                            let of_it = of_it.filter(|entry| (entry.3, entry.4) == (start, number));
                            of_it.for_each(|entry| entry.3 = page + 1);
                        }
                    }
                    let unmapped = (before - model.len()) as u64 * PAGE;
                    prop_assert_eq!(domain.unmap(page * PAGE, pages * PAGE), unmapped);
                }
                Step::Retarget { page, target } => {
                    let start = model.get(&page).filter(|entry| entry.3 == page).map(|entry| entry.4);
                    let moved = domain.retarget(page * PAGE, Target { space: 3, address: target * PAGE });
                    prop_assert_eq!(moved, start.is_some());
                    for (at, entry) in &mut model {
                        if start == Some(entry.4) && entry.3 == page {
                            entry.0 = target + (at - page);
                        }
                    }
                }
                Step::Access { at, length, write } => {
                    let access = if write { Access::Write } else { Access::Read };
                    let got = domain.translate(at, length, access);
                    match model.get(&(at / PAGE)) {
                        None => {
                            let reason = if at >= 32 * PAGE { Reason::BeyondWidth } else { Reason::NotPresent };
                            prop_assert_eq!(got.map_err(|fault| fault.reason), Err(reason));
                        }
                        Some((_, read, writable, ..)) if !(if write { *writable } else { *read }) => {
                            let reason = if write { Reason::NoWritePermission } else { Reason::NoReadPermission };
                            prop_assert_eq!(got.map_err(|fault| fault.reason), Err(reason));
                        }
                        Some((target, .., start, number)) => {
                            let run = got.expect("it is mapped");
                            prop_assert_eq!(run.target, Target { space: 3, address: target * PAGE + at % PAGE });
                            let of_it = |entry: &&(u64, bool, bool, u64, u32)| (entry.3, entry.4) == (*start, *number);
                            let end = model.values().filter(of_it).count() as u64 + start;
                            prop_assert_eq!(run.length, length.min(end * PAGE - at));
                        }
                    }
                }
            }
        }
    }
}
