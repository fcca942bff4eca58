//! Random `GRANT_COPY` calls, and a model that goes about them as Linux does: pins each page, sixteen parts at a time.

use ioctlab_abi::gntdev::{GRANT_COPY, SEGMENT_STATUS};
use ioctlab_chardev::{Errno, UserMemory, UserPtr};
use ioctlab_gntdev::{GrantTable, Location, Status};
use proptest::prelude::*;

use crate::fake::{ARGUMENT, Bench, FILE, GRANTER, PAGE};

const PAGE_SIZE: u64 = PAGE as u64;
/// The program's pages, two that can be written, one for reading only, and nothing behind it.
const LOCAL: u64 = ARGUMENT + 5 * PAGE_SIZE;
/// As many pages as there are.
const MEMORY_END: u64 = ARGUMENT + 8 * PAGE_SIZE;

#[derive(Clone, Copy, Debug)]
enum End {
    Local(u64),
    Grant(Location),
}

impl End {
    fn bytes(self) -> [u8; 8] {
        match self {
            Self::Local(at) => at,
            Self::Grant(Location { domain, reference, offset }) => {
                u64::from(reference) | u64::from(offset) << 32 | u64::from(domain) << 48
            }
        }
        .to_ne_bytes()
    }

    fn is_grant(self) -> bool {
        matches!(self, Self::Grant(_))
    }

    fn advanced(self, by: u64) -> Self {
        match self {
            Self::Local(at) => Self::Local(at + by),
            Self::Grant(at) => Self::Grant(Location { offset: at.offset + by as u16, ..at }),
        }
    }

    /// The bytes up to the end of a page of the program's own.
    fn room(self) -> u64 {
        match self {
            Self::Local(at) => PAGE_SIZE - at % PAGE_SIZE,
            Self::Grant(_) => u64::MAX,
        }
    }
}

#[derive(Clone, Debug)]
struct Segment {
    source: End,
    dest: End,
    length: u16,
    status: i16,
}

impl Segment {
    fn bytes(&self) -> [u8; 24] {
        let flags = u16::from(self.source.is_grant()) | u16::from(self.dest.is_grant()) << 1;
        let rest = [self.length.to_ne_bytes(), flags.to_ne_bytes(), self.status.to_ne_bytes(), [0; 2]];
        [self.source.bytes(), self.dest.bytes(), rest.concat().try_into().unwrap()]
            .concat()
            .try_into()
            .unwrap()
    }
}

fn segments() -> impl Strategy<Value = Vec<Segment>> {
    let reference = prop_oneof![30 => 8u32..10, 1 => Just(32), 2 => Just(999)];
    let domain = prop_oneof![30 => Just(GRANTER), 1 => Just(5)];
    let offset = prop_oneof![6 => 0u16..64, 3 => 4060u16..4096, 1 => Just(4096)];
    let grant = (domain, reference, offset)
        .prop_map(|(domain, reference, offset)| End::Grant(Location { domain, reference, offset }));
    let near = |page: u64| LOCAL + page * PAGE_SIZE;
    let local = prop_oneof![
        12 => (0u64..64).prop_map(move |at| near(0) + at),
        12 => (0u64..64).prop_map(move |at| near(1) - at),
        1 => (0u64..64).prop_map(move |at| near(2) - at),
        1 => (0u64..64).prop_map(move |at| near(3) - at),
        1 => Just(8),
    ];
    let ends = prop_oneof![
        10 => (local.clone(), grant.clone()).prop_map(|(l, g)| (End::Local(l), g)),
        10 => (grant.clone(), local.clone()).prop_map(|(g, l)| (g, End::Local(l))),
        5 => (grant.clone(), grant),
        1 => (local.clone(), local).prop_map(|(l, m)| (End::Local(l), End::Local(m))),
    ];
    let length = prop_oneof![20 => 0u16..40, 1 => Just(4096), 1 => any::<u16>()];
    let segment = (ends, length, prop_oneof![Just(0i16), Just(99)])
        .prop_map(|((source, dest), length, status)| Segment { source, dest, length, status });
    prop_oneof![3 => prop::collection::vec(segment.clone(), 0..4), 1 => prop::collection::vec(segment, 4..40)]
}

/// A bench with the segments from `at` on.
fn bench(segments: &[Segment], at: u64) -> Bench {
    let mut bench = Bench::new();
    for (index, byte) in (LOCAL..MEMORY_END).enumerate() {
        bench.client.put(byte, &[index as u8 | 1]);
    }
    bench.client.protect(LOCAL + 2 * PAGE_SIZE);
    // And one between those of the segments.
    bench.client.protect(ARGUMENT + 3 * PAGE_SIZE);
    for (segment, place) in segments.iter().zip((at..).step_by(24)) {
        bench.client.put(place, &segment.bytes());
    }
    bench
}

/// A part, and where its segment's status is.
type Part = (End, End, usize, UserPtr);

fn linux(bench: &mut Bench, count: u64, segments: u64) -> Result<(), Errno> {
    let mut parts: Vec<Part> = Vec::new();
    for at in (segments..).step_by(24).take(count as usize) {
        let bytes: [u8; 24] = <dyn UserMemory>::fetch(&mut bench.client, UserPtr(at))?;
        let half = |at: usize| u16::from_ne_bytes(bytes[at..at + 2].try_into().unwrap());
        let reference = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let end = |at: usize, flag: u16| match half(18) & flag {
            0 => End::Local(u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())),
            _ => {
                End::Grant(Location { reference: reference(at), offset: half(at + 4), domain: half(at + 6) })
            }
        };
        let (source, dest, length) = (end(0, 1), end(8, 2), u64::from(half(16)));
        if !source.is_grant() && !dest.is_grant() {
            return Err(Errno::EINVAL);
        }
        for end in [source, dest] {
            if let End::Grant(location) = end
                && u64::from(location.offset) + length > PAGE_SIZE
            {
                return Err(Errno::EINVAL);
            }
        }
        let status = UserPtr(at + SEGMENT_STATUS);
        bench.client.write(status, &[0; 2])?;
        let mut done = 0;
        while done < length {
            if parts.len() == 16 {
                carry_out(bench, &mut parts)?;
            }
            let (source, dest) = (source.advanced(done), dest.advanced(done));
            if let End::Local(at) = source {
                bench.client.read(UserPtr(at), &mut [0])?;
            }
            if let End::Local(at) = dest {
                bench.client.check_writable(UserPtr(at), 1)?;
            }
            let size = (length - done).min(source.room()).min(dest.room());
            parts.push((source, dest, size as usize, status));
            done += size;
        }
    }
    carry_out(bench, &mut parts)
}

fn carry_out(bench: &mut Bench, parts: &mut Vec<Part>) -> Result<(), Errno> {
    let mut failed = Vec::new();
    for (source, dest, size, at) in parts.drain(..) {
        let mut bytes = vec![0; size];
        let result = (|| {
            match source {
                End::Local(at) => bench.client.read(UserPtr(at), &mut bytes).unwrap(),
                End::Grant(location) => bench.guest.copy_from(location, &mut bytes)?,
            }
            match dest {
                End::Local(at) => bench.client.write(UserPtr(at), &bytes).unwrap(),
                End::Grant(location) => bench.guest.copy_to(location, &bytes)?,
            }
            Ok(())
        })();
        failed.extend(result.err().map(|Status(status)| (at, status)));
    }
    for (at, status) in failed {
        if bench.client.get(at.0) == [0; 2] {
            bench.client.write(at, &status.to_ne_bytes())?;
        }
    }
    Ok(())
}

fn run(segments: &[Segment], more: u64, room: Option<u64>) {
    // At the start of a page; or with room for so many before one that can't be written.
    let at = ARGUMENT + room.map_or(PAGE_SIZE, |room| 3 * PAGE_SIZE - 24 * room);
    let count = segments.len() as u64 + more;
    let (mut real, mut model) = (bench(segments, at), bench(segments, at));
    for bench in [&mut real, &mut model] {
        bench.client.put(ARGUMENT, &count.to_ne_bytes());
        bench.client.put(ARGUMENT + 8, &at.to_ne_bytes());
    }
    let result = real.ioctl(FILE, GRANT_COPY, ARGUMENT);
    assert_eq!(result, linux(&mut model, count, at));
    assert_eq!(real.guest.bytes, model.guest.bytes);
    let memory = |bench: &mut Bench| {
        let mut bytes = vec![0; 8 * PAGE];
        bench.client.read(UserPtr(ARGUMENT), &mut bytes).unwrap();
        bytes
    };
    let (real, model) = (memory(&mut real), memory(&mut model));
    let difference = (0..real.len()).find(|at| real[*at] != model[*at]);
    assert_eq!(difference, None, "segments are from {:#x} on", at - ARGUMENT);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn copies_are_linuxs(
        segments in segments(),
        more in prop_oneof![9 => Just(0u64), 1 => Just(1)],
        room in prop_oneof![3 => Just(None), 1 => (0u64..40).prop_map(Some)],
    ) {
        run(&segments, more, room);
    }
}
