//! Random calls of two programs with a container of two groups, next to a naive model: a map of pages.

use std::collections::BTreeMap;

use ioctlab_chardev::{Errno, SpaceId};
use ioctlab_type1::{IovaRange, Parameters};
use ioctlab_vfio::{GroupId, Iommu};
use proptest::prelude::*;

use crate::caller::Program;
use crate::fake::Group;
use crate::harness::{BITMAP, BUFFER, GROUP, Lab, PAGE, VADDR, words};
use crate::memory::{BAD, BASE};

/// IOVAs are a few pages, so that ranges meet; some more aren't valid. So is the program's memory.
const PAGES: u64 = 40;
const APERTURE: u64 = 36;
const RESERVED: std::ops::Range<u64> = 20..22;
/// What the second group reserves, too.
const RESERVED_TOO: std::ops::Range<u64> = 10..11;
const MEMORY: u64 = 24;
const READ_ONLY: u64 = 16;
const ALL: u32 = 2;
const SECOND: GroupId = GroupId(2);

#[derive(Clone, Debug)]
enum Step {
    Map { flags: u32, vaddr: u64, iova: u64, pages: u64, crooked: u64 },
    Unmap { flags: u32, iova: u64, pages: u64, crooked: u64 },
    UnmapDirty { iova: u64, pages: u64, reachable: bool },
    Track(bool),
    GetDirty { iova: u64, pages: u64 },
    Caller(bool),
    Limit(Option<u64>),
    Attach { coherent: bool },
    Detach,
}

fn step() -> impl Strategy<Value = Step> {
    let crooked = || prop_oneof![20 => Just(0_u64), 1 => Just(1), 1 => Just(0x800)];
    let (page, pages) = (|| 0..PAGES, || 0..7_u64);
    let map_flags = prop_oneof![12 => 1..4_u32, 3 => Just(VADDR), 1 => any::<u32>()];
    let unmap_flags =
        prop_oneof![12 => Just(0), 1 => Just(ALL), 3 => Just(VADDR), 1 => Just(ALL | VADDR), 1 => Just(8)];
    prop_oneof![
        12 => (map_flags, 0..MEMORY + 2, page(), pages(), crooked())
            .prop_map(|(flags, vaddr, iova, pages, crooked)| Step::Map { flags, vaddr, iova, pages, crooked }),
        8 => (unmap_flags, page(), pages(), crooked())
            .prop_map(|(flags, iova, pages, crooked)| Step::Unmap { flags, iova, pages, crooked }),
        2 => (page(), pages(), any::<bool>())
            .prop_map(|(iova, pages, reachable)| Step::UnmapDirty { iova, pages, reachable }),
        1 => any::<bool>().prop_map(Step::Track),
        2 => (page(), 0..PAGES).prop_map(|(iova, pages)| Step::GetDirty { iova, pages }),
        1 => any::<bool>().prop_map(Step::Caller),
        1 => prop_oneof![Just(None), (0..20_u64).prop_map(Some)].prop_map(Step::Limit),
        1 => any::<bool>().prop_map(|coherent| Step::Attach { coherent }),
        1 => Just(Step::Detach),
    ]
}

/// What is mapped at one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    mapping: u32,
    space: SpaceId,
    vaddr: u64,
    read: bool,
    write: bool,
    invalid: bool,
}

#[derive(Debug)]
struct Model {
    v2: bool,
    limit: usize,
    pages: BTreeMap<u64, Page>,
    made: u32,
    tracking: bool,
    second: bool,
}

impl Model {
    /// The mappings that have a page in a range, each with its first page and how many it has.
    fn mappings(&self, range: std::ops::Range<u64>) -> Vec<(u32, u64, u64)> {
        let mut found: Vec<(u32, u64, u64)> = Vec::new();
        for (_, page) in self.pages.range(range) {
            if found.last().is_none_or(|last| last.0 != page.mapping) {
                let mut of_it = self.pages.iter().filter(|(_, other)| other.mapping == page.mapping);
                let (first, more) = (*of_it.next().expect("itself").0, of_it.count() as u64);
                found.push((page.mapping, first, 1 + more));
            }
        }
        found
    }

    fn count(&self) -> usize {
        self.mappings(0..PAGES).len()
    }

    fn locked(&self, space: SpaceId) -> u64 {
        self.pages.values().filter(|page| page.space == space).count() as u64
    }

    fn valid(&self, page: u64) -> bool {
        page < APERTURE && !RESERVED.contains(&page) && !(self.second && RESERVED_TOO.contains(&page))
    }

    fn map(&mut self, step: (u32, u64, u64, u64, u64), program: &Program) -> Result<(), Errno> {
        let (flags, vaddr, iova, pages, crooked) = step;
        let rights = flags & 3;
        if flags > 7 || (rights == 0) != (flags & VADDR != 0) || pages == 0 || crooked != 0 {
            return Err(Errno::EINVAL);
        }
        let space = program.space.expect("a living program");
        let there = self.mappings(iova..iova + pages);
        if flags & VADDR != 0 {
            let &[(mapping, first, count)] = there.as_slice() else {
                return Err(if there.is_empty() { Errno::ENOENT } else { Errno::EINVAL });
            };
            let page = self.pages[&first];
            if (first, count) != (iova, pages) || !page.invalid {
                return Err(Errno::EINVAL);
            }
            let room = program.locked_memory_limit.map(|limit| limit / PAGE);
            if space != page.space && room.is_some_and(|room| self.locked(space) + count > room) {
                return Err(Errno::ENOMEM);
            }
            for (at, page) in self.pages.iter_mut().filter(|(_, page)| page.mapping == mapping) {
                *page = Page { space, vaddr: vaddr + (at - first), invalid: false, ..*page };
            }
            return Ok(());
        }
        if !there.is_empty() {
            return Err(Errno::EEXIST);
        }
        if self.count() >= self.limit {
            return Err(Errno::ENOSPC);
        }
        if !(iova..iova + pages).all(|page| self.valid(page)) {
            return Err(Errno::EINVAL);
        }
        let (read, write) = (flags & 1 != 0, flags & 2 != 0);
        // Page after page, as Linux pins them.
        for done in 0..pages {
            if vaddr + done >= if write { READ_ONLY } else { MEMORY } {
                return Err(Errno::EFAULT);
            }
            let limit = program.locked_memory_limit.map(|limit| limit / PAGE);
            if limit.is_some_and(|limit| self.locked(space) + done + 1 > limit) {
                return Err(Errno::ENOMEM);
            }
        }
        self.made += 1;
        for done in 0..pages {
            let (mapping, vaddr) = (self.made, vaddr + done);
            self.pages.insert(iova + done, Page { mapping, space, vaddr, read, write, invalid: false });
        }
        Ok(())
    }

    /// The mappings that a range is for.
    fn taken(&self, all: bool, iova: u64, pages: u64) -> Result<Vec<(u32, u64, u64)>, Errno> {
        let range = if all { 0..PAGES } else { iova..iova + pages };
        let there = self.mappings(range.clone());
        let starts_before = there.iter().any(|(_, first, _)| *first < range.start);
        let ends_behind = there.iter().any(|(_, first, count)| first + count > range.end);
        match (self.v2, starts_before || ends_behind) {
            (true, true) => Err(Errno::EINVAL),
            (false, true) if starts_before => Ok(Vec::new()),
            _ => Ok(there),
        }
    }

    fn unmap(&mut self, flags: u32, iova: u64, pages: u64, crooked: u64) -> Result<u64, Errno> {
        let all = flags & ALL != 0;
        let whole = if all { iova == 0 && pages == 0 } else { pages > 0 };
        if flags & 8 != 0 || !whole || crooked != 0 {
            return Err(Errno::EINVAL);
        }
        let taken = self.taken(all, iova, pages)?;
        let is_taken = |page: &Page| taken.iter().any(|(mapping, ..)| *mapping == page.mapping);
        if flags & VADDR == 0 {
            self.pages.retain(|_, page| !is_taken(page));
        } else if self.pages.values().any(|page| is_taken(page) && page.invalid) {
            return Err(Errno::EINVAL);
        } else {
            self.pages.values_mut().filter(|page| is_taken(page)).for_each(|page| page.invalid = true);
        }
        Ok(taken.iter().map(|(.., count)| count).sum())
    }

    fn get_dirty(&self, iova: u64, pages: u64) -> Result<u64, Errno> {
        if !self.tracking || pages == 0 {
            return Err(Errno::EINVAL);
        }
        self.taken(false, iova, pages)?;
        let dirty = self.pages.range(iova..iova + pages);
        Ok(dirty.fold(0, |bits, (page, _)| bits | 1 << (page - iova)))
    }
}

/// A program whose memory can be pinned, from some page on for reading only.
fn program(space: SpaceId) -> Program {
    let mut program = crate::harness::program(space);
    program.pinnable.clear();
    program.make_pinnable(BUFFER, READ_ONLY * PAGE, true);
    program.make_pinnable(BUFFER + READ_ONLY * PAGE, (MEMORY - READ_ONLY) * PAGE, false);
    program
}

fn group(coherent: bool, reserved: &[std::ops::Range<u64>]) -> Group {
    let bytes =
        |pages: &std::ops::Range<u64>| IovaRange { start: pages.start * PAGE, last: pages.end * PAGE - 1 };
    let aperture = bytes(&(0..APERTURE));
    Group { aperture, coherent, reserved: reserved.iter().map(bytes).collect(), ..Group::default() }
}

fn check(lab: &mut Lab, model: &Model) {
    let attached = [(GROUP, true), (SECOND, model.second)];
    for (group, _) in attached.iter().filter(|(_, there)| *there) {
        for page in 0..PAGES {
            let expected = model.pages.get(&page);
            let expected =
                expected.map(|page| (page.space, BUFFER + page.vaddr * PAGE + 5, page.read, page.write));
            assert_eq!(lab.machine.translate(*group, page * PAGE + 5), expected, "{group:?} {page}");
        }
    }
    for space in [SpaceId(1), SpaceId(2)] {
        assert_eq!(lab.machine.locked.pages(space), model.locked(space));
    }
    let (available, ranges) = lab.capabilities();
    assert_eq!(available as usize, model.limit - model.count());
    let valid = ranges.iter().flat_map(|(start, last)| start / PAGE..(last + 1) / PAGE);
    assert!(valid.eq((0..PAGES).filter(|page| model.valid(*page))));
}

fn play(v2: bool, limit: usize, steps: Vec<Step>) {
    let parameters = Parameters { dma_entry_limit: limit as u32, ..Parameters::default() };
    let mut lab = Lab::new(if v2 { 3 } else { 1 }, parameters);
    lab.detach(1);
    lab.attach(1, group(false, &[RESERVED])).expect("a group as any");
    lab.program = program(SpaceId(1));
    let mut other = program(SpaceId(2));
    let mut model = Model { v2, limit, pages: BTreeMap::new(), made: 0, tracking: false, second: false };
    for step in steps {
        match step {
            Step::Map { flags, vaddr, iova, pages, crooked } => {
                let expected = model.map((flags, vaddr, iova, pages, crooked), &lab.program);
                let result = lab.map(flags, BUFFER + vaddr * PAGE, iova * PAGE + crooked, pages * PAGE);
                assert_eq!(result, expected, "{step:?}");
            }
            Step::Unmap { flags, iova, pages, crooked } => {
                let (iova, pages) = if flags & ALL != 0 && iova > 2 { (0, 0) } else { (iova, pages) };
                let expected = model.unmap(flags, iova, pages, crooked);
                let (result, size) = lab.unmap(flags, iova * PAGE + crooked, pages * PAGE);
                assert_eq!(result, expected.map(drop), "{step:?}");
                assert_eq!(size, expected.unwrap_or(pages) * PAGE, "{step:?}");
            }
            Step::UnmapDirty { iova, pages, reachable } => {
                let dirty = model.get_dirty(iova, pages);
                let taken = dirty.and_then(|_| model.taken(false, iova, pages));
                lab.program.put(BITMAP, &[0; 8]);
                let data = if reachable { BITMAP } else { BAD };
                let mut argument = crate::harness::unmap_struct(48, 1, iova * PAGE, pages * PAGE);
                argument.extend(words(&[PAGE, 8, data]));
                let result = lab.call(ioctlab_abi::vfio::IOMMU_UNMAP_DMA, &mut argument);
                let fault = !reachable && taken.as_ref().is_ok_and(|taken| !taken.is_empty());
                if fault {
                    assert_eq!(result, Err(Errno::EFAULT), "{step:?}");
                } else {
                    assert_eq!(result, taken.map(drop), "{step:?}");
                }
                if result.is_ok() {
                    let bits = u64::from_ne_bytes(lab.program.get(BITMAP));
                    assert_eq!(Ok(bits), dirty, "{step:?}");
                    model.unmap(0, iova, pages, 0).expect("it was taken");
                }
            }
            Step::Track(on) => {
                let expected = if v2 { Ok(()) } else { Err(Errno::EACCES) };
                assert_eq!(lab.dirty(if on { 1 } else { 2 }), expected);
                model.tracking = v2 && on;
            }
            Step::GetDirty { iova, pages } => {
                let expected = if v2 { model.get_dirty(iova, pages) } else { Err(Errno::EACCES) };
                lab.program.put(BITMAP, &[0; 8]);
                let result = lab.get_dirty(iova * PAGE, pages * PAGE, PAGE, 8, BITMAP);
                let bits = u64::from_ne_bytes(lab.program.get(BITMAP));
                assert_eq!(result.map(|()| bits), expected, "{step:?}");
            }
            Step::Caller(second) => {
                if (lab.program.space == Some(SpaceId(2))) != second {
                    std::mem::swap(&mut lab.program, &mut other);
                }
            }
            Step::Limit(pages) => lab.program.locked_memory_limit = pages.map(|pages| pages * PAGE),
            Step::Attach { coherent } => {
                let conflict = RESERVED_TOO.into_iter().any(|page| model.pages.contains_key(&page));
                let expected = if model.pages.values().any(|page| page.invalid) {
                    Err(Errno::EBUSY)
                } else if model.second || conflict {
                    Err(Errno::EINVAL)
                } else {
                    Ok(())
                };
                if !model.second {
                    lab.machine.groups.insert(SECOND, group(coherent, &[RESERVED, RESERVED_TOO]));
                }
                assert_eq!(lab.iommu.attach_group(SECOND, &mut lab.machine), expected);
                model.second |= expected.is_ok();
            }
            Step::Detach => {
                lab.detach(2);
                model.second = false;
            }
        }
        check(&mut lab, &model);
    }
    Iommu::release(lab.iommu, &mut lab.machine);
    assert!(lab.machine.domains.is_empty());
    assert_eq!([1, 2].map(|space| lab.machine.locked.pages(SpaceId(space))), [0, 0]);
    assert_eq!(BITMAP - BASE, 0x1000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn like_a_map_of_pages(
        v2 in any::<bool>(),
        limit in prop_oneof![3 => Just(1000_usize), 1 => 0..6_usize],
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        play(v2, limit, steps);
    }
}
