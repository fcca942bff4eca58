//! Group `gc`: GRANT_COPY.

use ioctlab_abi::gntdev as gd;
use ioctlab_chardev::{Errno, FileId};

use crate::replay::{ARGUMENT, BAD, LOCAL, P, Replay, SEGMENTS};

/// A segment as the probe has it: both ends as unions of pointer and grant.
#[derive(Clone, Copy, Default)]
struct Segment {
    source: u64,
    dest: u64,
    length: u16,
    flags: u16,
    status: i16,
}

fn grant(reference: u32, offset: u16, domain: u16) -> u64 {
    u64::from(reference) | u64::from(offset) << 32 | u64::from(domain) << 48
}

/// Copies from the segments, which get their statuses back.
fn copy(r: &mut Replay, g: FileId, count: u32, at: u64, segments: &mut [Segment; 2]) -> Result<(), Errno> {
    let mut place = SEGMENTS;
    for segment in &*segments {
        let Segment { source, dest, length, flags, status } = *segment;
        let ends = [source.to_ne_bytes(), dest.to_ne_bytes()];
        let rest = [length.to_ne_bytes(), flags.to_ne_bytes(), status.to_ne_bytes(), [0; 2]];
        r.fill(place, &[ends.as_flattened(), rest.as_flattened()]);
        place += 24;
    }
    r.fill(ARGUMENT, &[&u64::from(count).to_ne_bytes(), &at.to_ne_bytes()]);
    let result = r.ioctl(g, gd::GRANT_COPY, ARGUMENT);
    for (index, segment) in segments.iter_mut().enumerate() {
        segment.status = i16::from_ne_bytes(r.client.get(SEGMENTS + 24 * index as u64 + 20));
    }
    result
}

pub(crate) fn steps(r: &mut Replay, g: FileId, refs: &[u32], s: u64) {
    let mut segments = [Segment::default(); 2];
    let step = |r: &mut Replay, name: &str, count, at, segments: &mut [Segment; 2]| {
        let result = copy(r, g, count, at, segments).map(|()| 0);
        let info = format!("status={},{}", segments[0].status, segments[1].status);
        r.say(&format!("gc.{name}"), result, info);
    };
    r.client.put(LOCAL, &[0x5c; 3 * P as usize]);
    segments[0].status = 99;
    step(r, "count-0", 0, SEGMENTS, &mut segments);
    segments[0] =
        Segment { source: LOCAL, dest: grant(refs[5], 100, 0), length: 64, flags: 2, ..segments[0] };
    step(r, "local-to-gref", 1, SEGMENTS, &mut segments);
    let (first, after) = (r.peek(s + 5 * P + 100), r.peek(s + 5 * P + 164));
    r.say("gc.local-to-gref-data", Ok(first), format!("expect=92 after={after}"));

    r.poke(s + 6 * P, 0x66);
    segments = Default::default();
    segments[0] = Segment {
        source: grant(refs[6], 0, 0),
        dest: LOCAL + P - 8,
        length: 64,
        flags: 1,
        ..Segment::default()
    };
    step(r, "gref-to-local-cross-page", 1, SEGMENTS, &mut segments);
    let [seen] = r.client.get::<1>(LOCAL + P - 8);
    r.say("gc.gref-to-local-data", Ok(i64::from(seen)), "expect=102");

    segments[0].flags = 0;
    step(r, "local-to-local", 1, SEGMENTS, &mut segments);
    segments[0] = Segment { source: grant(refs[6], 1, 0), length: 4096, flags: 1, ..segments[0] };
    step(r, "gref-cross-page", 1, SEGMENTS, &mut segments);
    segments[0] = Segment { source: grant(0x3f_ffff, 0, 0), length: 16, ..segments[0] };
    step(r, "bad-ref", 1, SEGMENTS, &mut segments);
    segments[0].source = grant(refs[6], 0, 5);
    step(r, "bad-dom", 1, SEGMENTS, &mut segments);
    segments[0] = Segment { source: grant(refs[6], 0, 0), length: 0, status: 99, ..segments[0] };
    step(r, "len-0", 1, SEGMENTS, &mut segments);
    segments[0] = Segment { length: 16, dest: BAD, ..segments[0] };
    step(r, "bad-local", 1, SEGMENTS, &mut segments);
    segments[0] = Segment { dest: LOCAL, flags: 4 | 1, ..segments[0] };
    step(r, "flag-4", 1, SEGMENTS, &mut segments);
    segments[1] = Segment { flags: 1, ..segments[0] };
    segments[0] = Segment { source: grant(0x3f_ffff, 0, 0), flags: 1, ..segments[0] };
    step(r, "first-bad-second-good", 2, SEGMENTS, &mut segments);
    step(r, "bad-segs", 2, BAD, &mut segments);
    segments[0] = Segment {
        source: grant(refs[6], 0, 0),
        dest: grant(refs[7], 0, 0),
        length: 32,
        flags: 3,
        ..segments[0]
    };
    step(r, "gref-to-gref", 1, SEGMENTS, &mut segments);
    let seen = r.peek(s + 7 * P);
    r.say("gc.gref-to-gref-data", Ok(seen), "expect=102");
}
