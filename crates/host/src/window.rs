//! The window: the descriptor numbers that devices are given.
//!
//! A filter sees numbers, not files. So devices get numbers of their own, out of the way of the lowest free ones, and a
//! program's reads and writes of everything else cost nothing. The window lies below `FD_SETSIZE`, for `select`.

/// The lowest number of the window.
pub(crate) const FIRST: u32 = 768;
/// How many numbers the window has.
pub(crate) const SIZE: usize = 256;
/// The highest number of the window.
pub(crate) const LAST: u32 = FIRST + SIZE as u32 - 1;

/// The number by which a program is passed the file that it is made to map; just below the window, so that an `mmap` of it
/// isn't trapped.
pub(crate) const PASSAGE: u32 = FIRST - 1;

/// A number's place in the window, or `None` outside of it.
///
/// A descriptor is an `int`: the upper half of its register counts for nothing, as in Linux.
pub(crate) fn place(argument: u64) -> Option<usize> {
    let number = argument as u32;
    (FIRST..=LAST).contains(&number).then(|| (number - FIRST) as usize)
}
