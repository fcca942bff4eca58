//! The device of one's own in `docs/device-model.md`: it is `counter.rs`, word for word, and does what is said of it.

use crate::board::Board;
use crate::counter;

#[test]
fn the_document_has_this_file() {
    let document = include_str!("../../../../docs/device-model.md");
    assert!(document.contains(&format!("```rust\n{}```\n", include_str!("counter.rs"))));
}

#[test]
fn it_counts_and_interrupts() {
    let mut board = Board::new(counter::device());
    assert_eq!(board.function.config().read(0, 4), 0x10f1_1af4);
    assert_eq!((board.get(0), board.get(0), board.peek(0)), (1, 2, 2));
    assert_eq!((board.get(4), board.peek(4)), (u32::MAX, u32::MAX));
    board.set(0, 0xffff_ffff);
    assert_eq!((board.take().pin, board.get(0)), (vec![true], 0));
    board.function.enable_msi(1);
    board.set(0, 7);
    assert_eq!(board.take().messages, [0]);
    board.reset();
    assert_eq!(board.get(0), 1);
}
