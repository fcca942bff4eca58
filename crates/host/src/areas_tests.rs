//! Areas, as devices and mappings see them. This process maps them as a program would; what it touches it touches by its
//! `/proc/self/mem`, where a page that would be SIGBUS is an error.

use std::os::linux::fs::MetadataExt;
use std::sync::atomic::AtomicBool;

use super::*;

const PAGE: u64 = 4096;

struct Lab {
    areas: Areas,
    me: File,
}

fn store() -> Arc<Store> {
    Arc::new(Store::new().expect("a tmpfs"))
}

/// A number for a mapping that no other has.
fn new_mapping() -> MappingId {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    MappingId(NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Lab {
    fn new() -> Self {
        let areas = Areas::new();
        areas.attach(&store());
        let me = File::options().read(true).write(true).open("/proc/self/mem").expect("own memory");
        Self { areas, me }
    }

    fn map(&self, area: AreaId, bytes: u64) -> Shared {
        let mapping = new_mapping();
        let file = self.areas.open(area, mapping, true).expect("an area");
        Shared::map(file, bytes as usize).expect("room")
    }

    /// A byte of a mapping, unless it is SIGBUS.
    fn peek(&self, mapping: &Shared, at: u64) -> Option<u8> {
        let mut byte = [0];
        self.me.read_exact_at(&mut byte, mapping.address() + at).ok().map(|()| byte[0])
    }

    fn poke(&self, mapping: &Shared, at: u64, value: u8) -> bool {
        self.me.write_all_at(&[value], mapping.address() + at).is_ok()
    }

    fn read(&self, area: AreaId, at: u64) -> u8 {
        let mut byte = [0x55];
        self.areas.read(area, at, &mut byte);
        byte[0]
    }

    /// How much memory an area takes, in bytes.
    fn room(&self, area: AreaId) -> u64 {
        let area = self.areas.get(area).expect("an area");
        let area = lock(&area);
        let files = [Some(&area.kept), area.shown.as_ref()];
        files.into_iter().flatten().map(|file| file.metadata().expect("a file").st_blocks() * 512).sum()
    }
}

/// Of both kinds: those that this process maps, and larger ones.
const SIZES: [u64; 4] = [PAGE, 16 * PAGE, WINDOW_MAX, WINDOW_MAX + PAGE];

#[test]
fn a_device_reads_what_it_wrote_whether_the_area_is_reachable_or_not() {
    let lab = Lab::new();
    for bytes in SIZES {
        let area = lab.areas.create(bytes).expect("room");
        let mut all = vec![1; bytes as usize + 10];
        lab.areas.read(area, 0, &mut all);
        assert!(all[..bytes as usize].iter().all(|byte| *byte == 0));
        assert_eq!(all[bytes as usize..], [0xff; 10]);
        for (round, reachable) in [false, true, false, true, true, false].into_iter().enumerate() {
            lab.areas.set_reachable(area, reachable);
            let value = [round as u8 + 1; 8];
            lab.areas.write(area, bytes - 4, &value);
            let mut back = [0; 8];
            lab.areas.read(area, bytes - 4, &mut back);
            assert_eq!(back, [value[0], value[0], value[0], value[0], 0xff, 0xff, 0xff, 0xff]);
            if round == 2 {
                // From here on there is a file that programs map.
                lab.map(area, bytes);
            }
        }
        for offset in [bytes, bytes + 1, u64::MAX - 3, u64::MAX] {
            lab.areas.write(area, offset, &[1; 8]);
            let mut beyond = [0; 8];
            lab.areas.read(area, offset, &mut beyond);
            assert_eq!(beyond, [0xff; 8], "{offset:#x}");
        }
    }
}

#[test]
fn mappings_reach_an_area_when_they_may() {
    let lab = Lab::new();
    for bytes in SIZES {
        let area = lab.areas.create(bytes).expect("room");
        lab.areas.write(area, bytes - 1, &[7]);
        let early = lab.map(area, bytes);
        assert_eq!((lab.peek(&early, 0), lab.peek(&early, bytes - 1)), (None, None));
        for round in 1..=3 {
            lab.areas.set_reachable(area, true);
            let late = lab.map(area, bytes);
            for mapping in [&early, &late] {
                assert_eq!(lab.peek(mapping, bytes - 1), Some(7));
            }
            assert!(lab.poke(&early, 0, round));
            assert_eq!((lab.peek(&late, 0), lab.read(area, 0)), (Some(round), round));
            lab.areas.write(area, 1, &[round]);
            assert_eq!(lab.peek(&early, 1), Some(round));
            lab.areas.set_reachable(area, false);
            for mapping in [&early, &late] {
                assert_eq!(lab.peek(mapping, 0), None);
                assert!(!lab.poke(mapping, bytes - 1, 1));
            }
            assert_eq!((lab.read(area, 0), lab.read(area, 1), lab.read(area, bytes - 1)), (round, round, 7));
        }
    }
}

#[test]
fn a_removed_area_is_gone_for_all() {
    let lab = Lab::new();
    for reachable in [true, false] {
        let area = lab.areas.create(4 * PAGE).expect("room");
        lab.areas.set_reachable(area, reachable);
        let mapping = lab.map(area, 4 * PAGE);
        lab.areas.write(area, 0, &[1]);
        lab.areas.remove(area);
        assert_eq!(lab.peek(&mapping, 0), None);
        assert_eq!(lab.read(area, 0), 0xff);
        lab.areas.write(area, 0, &[1]);
        lab.areas.set_reachable(area, true);
        assert_eq!(lab.peek(&mapping, 0), None);
        let error = lab.areas.open(area, new_mapping(), true).expect_err("it is gone");
        assert_eq!(error.raw_os_error(), Some(libc::ENXIO));
        lab.areas.remove(area);
    }
    let unmapped = lab.areas.create(PAGE).expect("room");
    lab.areas.remove(unmapped);
    assert_ne!(lab.areas.create(PAGE), Ok(unmapped), "numbers are never used twice");
}

#[test]
fn an_area_is_there_before_its_lab_is_served() {
    let areas = Areas::new();
    let area = areas.create(2 * PAGE).expect("room");
    areas.write(area, PAGE, b"reset");
    areas.set_reachable(area, true);
    areas.write(area, 0, &[9]);
    let lab = Lab { areas, ..Lab::new() };
    assert!(lab.areas.open(area, new_mapping(), true).is_err(), "nobody maps anything yet");
    lab.areas.attach(&store());
    let mapping = lab.map(area, 2 * PAGE);
    assert_eq!((lab.peek(&mapping, 0), lab.peek(&mapping, PAGE)), (Some(9), Some(b'r')));
}

#[test]
fn what_is_not_touched_takes_no_room() {
    let lab = Lab::new();
    let (bytes, touched) = (1 << 30, [0, 5 << 20, (5 << 20) + PAGE, (1 << 30) - 1]);
    let area = lab.areas.create(bytes).expect("room");
    assert_eq!(lab.room(area), 0);
    touched.iter().for_each(|at| lab.areas.write(area, *at, &[(at % 251) as u8 + 1]));
    let mapping = lab.map(area, bytes);
    for _ in 0..3 {
        lab.areas.set_reachable(area, true);
        assert_eq!(lab.room(area), 4 * PAGE);
        touched.iter().for_each(|at| assert_eq!(lab.peek(&mapping, *at), Some((at % 251) as u8 + 1)));
        lab.areas.set_reachable(area, false);
        assert_eq!(lab.room(area), 4 * PAGE);
        touched.iter().for_each(|at| assert_eq!(lab.read(area, *at), (at % 251) as u8 + 1));
    }
    assert_eq!(lab.areas.create(u64::MAX), Err(Errno::ENOMEM));
    // A small one that no device has looked at takes none, either.
    let small = lab.areas.create(WINDOW_MAX).expect("room");
    lab.areas.set_reachable(small, true);
    let mapping = lab.map(small, WINDOW_MAX);
    assert_eq!(lab.room(small), 0);
    lab.areas.set_reachable(small, false);
    assert_eq!(lab.peek(&mapping, 0), None);
}

#[test]
fn a_mapping_is_only_as_writable_as_its_file() {
    let lab = Lab::new();
    let area = lab.areas.create(PAGE).expect("room");
    let file = lab.areas.open(area, new_mapping(), false).expect("an area");
    assert!(Shared::map(&file, 4096).is_err(), "for writing");
    assert!(rustix::fs::ftruncate(&file, 0).is_err());
}

/// What is touched while an area comes and goes is there in full or not at all, and the server lives.
#[test]
fn nothing_is_seen_halfway() {
    const PAGES: u64 = 64;
    let lab = Lab::new();
    for bytes in [PAGES * PAGE, WINDOW_MAX + PAGES * PAGE] {
        let area = lab.areas.create(bytes).expect("room");
        (0..PAGES).for_each(|page| lab.areas.write(area, page * PAGE, &[page as u8 + 1]));
        let mapping = lab.map(area, bytes);
        let done = AtomicBool::new(false);
        let touch = |seen: &mut u64| {
            while !done.load(Ordering::Relaxed) {
                for page in 0..PAGES {
                    if let Some(value) = lab.peek(&mapping, page * PAGE) {
                        assert_eq!(value, page as u8 + 1);
                        *seen += 1;
                    }
                }
            }
        };
        let use_it = || {
            while !done.load(Ordering::Relaxed) {
                for page in 0..PAGES {
                    assert_eq!(lab.read(area, page * PAGE), page as u8 + 1);
                    lab.areas.write(area, page * PAGE + 8, &[1]);
                }
            }
        };
        let mut seen = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| touch(&mut seen));
            scope.spawn(use_it);
            for _ in 0..2000 {
                lab.areas.set_reachable(area, true);
                lab.areas.set_reachable(area, false);
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(seen > 0);
    }
}

/// What a program wrote before an area goes is there when it is back.
#[test]
fn no_write_is_lost_between_two_reachable_times() {
    let lab = Lab::new();
    let area = lab.areas.create(8 * PAGE).expect("room");
    let mapping = lab.map(area, 8 * PAGE);
    for round in 0..3000u32 {
        lab.areas.set_reachable(area, true);
        let at = u64::from(round % 8) * PAGE;
        if round >= 8 {
            assert_eq!(lab.peek(&mapping, at), Some((round - 8) as u8));
        }
        assert!(lab.poke(&mapping, at, round as u8));
        lab.areas.set_reachable(area, false);
    }
}
