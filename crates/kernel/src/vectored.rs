//! `readv` and `writev` for drivers that only read and write: segment by segment, as the VFS does.

use crate::{CallResult, Stop, UserPtr};

/// One `struct iovec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where the segment starts in the caller's memory.
    pub base: UserPtr,
    /// Its length in bytes.
    pub length: usize,
}

/// Calls `one` (a `read` or a `write`) for each segment until one falls short, and adds up what was moved.
///
/// The first segment's failure is the call's; a later one's only ends it. That holds for a wait too: where Linux would
/// wait in a later segment with the earlier ones already moved, the call ends short here, since a call that waits must
/// have changed nothing.
///
/// # Errors
/// The first segment's.
pub fn each_segment(
    segments: &[Segment],
    mut one: impl FnMut(Segment) -> CallResult<usize>,
) -> CallResult<usize> {
    let mut moved: usize = 0;
    for segment in segments {
        match one(*segment) {
            Ok(n) => {
                moved = moved.saturating_add(n);
                if n != segment.length {
                    break;
                }
            }
            Err(stop) if moved == 0 => return Err(stop),
            Err(Stop::Fail(_) | Stop::Wait) => break,
        }
    }
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Errno;

    fn segments(lengths: &[usize]) -> alloc::vec::Vec<Segment> {
        lengths.iter().map(|&length| Segment { base: UserPtr(0), length }).collect()
    }

    #[test]
    fn a_short_segment_ends_the_call() {
        let mut seen = 0;
        let moved = each_segment(&segments(&[2, 6]), |_| {
            seen += 1;
            Ok(0)
        });
        assert_eq!((moved, seen), (Ok(0), 1));
    }

    #[test]
    fn full_segments_add_up_and_a_later_failure_only_ends_the_call() {
        let mut left = [Ok(4), Ok(4), Err(Stop::Fail(Errno::EFAULT))].into_iter();
        assert_eq!(each_segment(&segments(&[4, 4, 4]), |_| left.next().unwrap()), Ok(8));
    }

    #[test]
    fn the_first_failure_is_the_calls() {
        assert_eq!(each_segment(&segments(&[4]), |_| Err(Stop::Wait)), Err(Stop::Wait));
        assert_eq!(each_segment(&segments(&[]), |_| Err(Stop::Wait)), Ok(0));
    }
}
