//! Random reads and writes of configuration space, compared with bytes and masks.

use ioctlab_pci::Function;
use proptest::prelude::*;

use crate::config::everything;
use crate::lspci::{clone_of, text};

/// A function's bits, by 4 bytes: from PCI's registers, and not from the code.
struct Bits {
    /// They take what is written.
    writable: &'static [(usize, u32)],
    /// They are cleared by a 1.
    cleared: &'static [(usize, u32)],
    /// A reset leaves them.
    kept: &'static [(usize, u32)],
    /// Where a 1 asks for a reset, and in which bit.
    reset: (usize, u8),
}

const OF_EVERYTHING: Bits = Bits {
    writable: &[
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
    ],
    cleared: &[],
    kept: &[(0x68, 0x00e0), (0x70, 0x01cb), (0x90, 0x1fdf)],
    reset: (0x69, 0x80),
};

/// A device that had errors: MSI with masks, advanced features, an endpoint of the root complex, error reporting. All of its
/// other bytes are ones.
fn with_errors() -> Function {
    let ones = [0xff; 4096];
    clone_of(&text(
        4096,
        &[
            (0, &ones),
            (0x04, &[0, 0]),
            (0x0e, &[0]),
            (0x10, &[0; 24]),
            (0x34, &[0x40]),
            (0x40, &[5, 0x60, 0x8a, 0x01]),
            (0x60, &[0x13, 0x70]),
            (0x70, &[0x10, 0x00, 0x91, 0, 0, 0, 0, 0]),
            (0x100, &[1, 0, 2, 0]),
        ],
    ))
}

const OF_ERRORS: Bits = Bits {
    writable: &[
        (0x04, 0x0507),
        (0x0c, 0xff),
        (0x3c, 0xff),
        (0x40, 0x0071_0000),
        (0x44, 0xffff_fffc),
        (0x48, 0xffff_ffff),
        (0x4c, 0xffff),
        (0x50, 0xffff_ffff),
        (0x78, 0x78ff),
        (0x108, 0x03ff_f030),
        (0x10c, 0x03ff_f030),
        (0x114, 0xf1c1),
        (0x118, 0x0140),
    ],
    cleared: &[(0x04, 0xf900_0000), (0x78, 0x000f_0000), (0x104, 0x03ff_f030), (0x110, 0xf1c1)],
    kept: &[
        (0x78, 0x00e0),
        (0x104, u32::MAX),
        (0x108, u32::MAX),
        (0x10c, u32::MAX),
        (0x110, u32::MAX),
        (0x114, u32::MAX),
        (0x118, u32::MAX),
    ],
    reset: (0x64, 1),
};

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

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Something is there, more often than not.
    let at = || prop_oneof![8 => 0..0x120_usize, 1 => 0..4100_usize];
    let width = || prop::sample::select(vec![1_usize, 2, 3, 4]);
    let step = prop_oneof![
        20 => (at(), width(), any::<u32>()).prop_map(|(at, width, value)| Step::Write(at, width, value)),
        10 => (at(), width()).prop_map(|(at, width)| Step::Read(at, width)),
        1 => Just(Step::Reset),
    ];
    prop::collection::vec(step, 1..150)
}

fn compare(mut function: Function, bits: &Bits, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let [writable, cleared, kept] = [bits.writable, bits.cleared, bits.kept].map(mask);
    let mut bytes = function.config().bytes().to_vec();
    let mut after_reset = function.clone();
    after_reset.reset();
    let after_reset = after_reset.config().bytes().to_vec();
    let reset = |bytes: &mut Vec<u8>| {
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = *byte & kept[at] | after_reset[at] & !kept[at];
        }
    };
    // A reset clears what it doesn't keep, and leaves what can't be changed.
    for (at, byte) in after_reset.iter().enumerate() {
        prop_assert_eq!(byte & !(writable[at] | cleared[at]), bytes[at] & !(writable[at] | cleared[at]));
        prop_assert_eq!(byte & cleared[at] & !kept[at], 0);
    }
    for step in steps {
        match step {
            Step::Write(at, width, value) => {
                let is_reset = function.write_config(at, width, value);
                let mut asks = false;
                for (at, new) in (at..at + width).zip(value.to_le_bytes()).filter(|(at, _)| *at < 4096) {
                    bytes[at] = (bytes[at] & !writable[at] | new & writable[at]) & !(new & cleared[at]);
                    asks |= at == bits.reset.0 && new & bits.reset.1 != 0;
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
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_described_device(steps in steps()) {
        compare(everything(), &OF_EVERYTHING, steps)?;
    }

    #[test]
    fn a_clone_with_errors(steps in steps()) {
        compare(with_errors(), &OF_ERRORS, steps)?;
    }
}
