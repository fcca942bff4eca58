//! Random reads and writes of configuration space, compared with bytes and a mask.

use proptest::prelude::*;

use crate::config::everything;

/// Which bits of [`everything`] take what is written, by 4 bytes: from PCI's registers, and not from the code. No error is ever
/// pending, so that what is cleared by a 1 is 0.
const WRITABLE: &[(usize, u32)] = &[
    (0x04, 0x0507),
    (0x0c, 0xff),
    (0x10, 0xffff_0000),
    (0x14, 0xffff_ffe0),
    (0x1c, 0xffff_fffe),
    (0x20, 0xffff_fff0),
    (0x24, 0x8000_0000),
    (0x30, 0xfffc_0001),
    (0x3c, 0xff),
    (0x40, 0x0071_0000),
    (0x44, 0xffff_fffc),
    (0x48, 0xffff_ffff),
    (0x4c, 0xffff),
    (0x50, 0xc000_0000),
    (0x68, 0x78ff),
    (0x70, 0x01cb),
    (0x88, 0x675f),
    (0x90, 0x1fdf),
];

/// What a reset leaves of them.
const KEPT: &[(usize, u32)] = &[(0x68, 0x00e0), (0x70, 0x01cb), (0x90, 0x1fdf)];

fn mask(rows: &[(usize, u32)]) -> Vec<u8> {
    let mut mask = vec![0; 4096];
    for (at, bits) in rows {
        mask[*at..at + 4].copy_from_slice(&bits.to_le_bytes());
    }
    mask
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize, usize, u32),
    Read(usize, usize),
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    // Something is there, more often than not.
    let at = || prop_oneof![4 => 0..0x100_usize, 1 => 0..4100_usize];
    let width = || prop::sample::select(vec![1_usize, 2, 3, 4]);
    prop_oneof![
        10 => (at(), width(), any::<u32>()).prop_map(|(at, width, value)| Step::Write(at, width, value)),
        5 => (at(), width()).prop_map(|(at, width)| Step::Read(at, width)),
        1 => Just(Step::Reset),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn like_bytes_and_a_mask(steps in prop::collection::vec(step(), 1..150)) {
        let mut function = everything();
        let initial = function.config().bytes().to_vec();
        let (writable, kept) = (mask(WRITABLE), mask(KEPT));
        let mut bytes = initial.clone();
        let reset = |bytes: &mut Vec<u8>| {
            for (at, byte) in bytes.iter_mut().enumerate() {
                *byte = *byte & kept[at] | initial[at] & !kept[at];
            }
        };
        for step in steps {
            match step {
                Step::Write(at, width, value) => {
                    let is_reset = function.write_config(at, width, value);
                    let mut asks = false;
                    for (at, new) in (at..at + width).zip(value.to_le_bytes()).filter(|(at, _)| *at < 4096) {
                        bytes[at] = bytes[at] & !writable[at] | new & writable[at];
                        asks |= at == 0x69 && new & 0x80 != 0;
                    }
                    prop_assert_eq!(is_reset, asks);
                    if asks {
                        reset(&mut bytes);
                    }
                }
                Step::Read(at, width) => {
                    let byte = |at: usize| u32::from(bytes.get(at).copied().unwrap_or(0xff));
                    let expected = (0..width).fold(0, |value, index| value | byte(at + index) << (8 * index));
                    prop_assert_eq!(function.config().read(at, width), expected);
                }
                Step::Reset => {
                    function.reset();
                    reset(&mut bytes);
                }
            }
            prop_assert_eq!(function.config().bytes(), &bytes[..]);
        }
    }
}
