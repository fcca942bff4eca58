//! Clones of anything: no text and no bytes make it panic, go on for ever, or take more memory than a device may.

use ioctlab_pci::lspci::{Dump, Overrides};
use proptest::prelude::*;

use crate::board::Board;
use crate::lspci::dump;

/// Lines that are nearly right.
const LINES: &str = "(([0-9a-f]{2,4}: ([0-9a-f]{2} ){0,17}|\
    \t?Region [0-9]: (Memory|I/O ports) at [0-9a-f]{1,9} \\[size=[0-9]{1,20}[KMGTX]?\\]?|\
    \t?(Memory|I/O ports|Expansion ROM) at [0-9a-f]{1,9} \\[size=[0-9]{1,20}[KMGTX]?\\]|\\PC{0,30})\r?\n){0,8}";

fn config() -> impl Strategy<Value = Vec<u8>> {
    let size = prop::sample::select(vec![64_usize, 256, 4096]);
    let links = prop::collection::vec((0..64_usize, 0..64_u8, 0..0x15_u8), 0..20);
    (size, any::<[u8; 64]>(), prop::collection::vec(any::<u8>(), 4096), links, any::<bool>()).prop_map(
        |(size, header, mut bytes, links, is_sparse)| {
            if is_sparse {
                bytes.fill(0);
            }
            bytes[..64].copy_from_slice(&header);
            // Capabilities of which there is something, in chains and rings.
            for (at, next, id) in links {
                bytes[at * 4] = id;
                bytes[at * 4 + 1] = next * 4;
                bytes[at * 64 + 3] = next;
            }
            bytes[0x06] |= 0x10;
            bytes[0x0e] &= 0x80;
            bytes.truncate(size);
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn texts(text in prop_oneof![LINES.boxed(), any::<String>().boxed()]) {
        if let Ok(dump) = Dump::parse(&text) {
            let _ = dump.device(&Overrides::default());
        }
    }

    #[test]
    fn bytes_as_text(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = Dump::parse(&String::from_utf8_lossy(&bytes));
    }

    /// A good dump of which a few bytes are others.
    #[test]
    fn damaged(
        bytes in config(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut text = dump(&bytes).into_bytes();
        for (at, byte) in damage {
            let at = at.index(text.len());
            text[at] = byte;
        }
        if let Ok(dump) = Dump::parse(&String::from_utf8_lossy(&text)) {
            let _ = dump.device(&Overrides::default());
        }
    }

    #[test]
    fn config_space(
        bytes in config(),
        sizes in prop::array::uniform6(prop::option::weighted(0.1, 0..66_u32)),
        accesses in prop::collection::vec((0..4100_usize, 1..5_usize, any::<u32>()), 0..60),
    ) {
        let overrides = Overrides {
            bars: sizes.map(|log| log.map(|log| 1_u64.checked_shl(log).unwrap_or(3))),
            rom: vec![],
        };
        let parsed = Dump::parse(&dump(&bytes)).unwrap();
        let firmware = parsed.firmware();
        let Ok(device) = parsed.device(&overrides) else { return Ok(()) };
        let mut function = device.function.clone();
        function.configure(&firmware);
        let mut board = Board::new(device);
        prop_assert!([256, 4096].contains(&board.function.config().size()));
        prop_assert!(board.function.rom().len() <= 16 << 20);
        for index in 0..8 {
            if let Some(bar) = board.function.bar(index) {
                prop_assert!(bar.size.is_power_of_two() && (4..=1 << 40).contains(&bar.size));
                prop_assert!(bar.registers == 0 || bar.registers == bar.size && bar.size <= 64 << 10);
            }
            prop_assert_eq!(function.bar_address(index) & (function.bar(index).map_or(1, |bar| bar.size) - 1), 0);
        }
        for (at, width, value) in accesses {
            board.configure(at, width, value);
            board.function.set_asserted(value & 1 != 0);
            board.function.enable_msi(value as u16);
            board.function.enable_msix(value & 2 != 0);
            let function = &board.function;
            let _ = (function.msix(), function.can_reset(), function.decodes(), function.config().read(at, width));
        }
        board.reset();
        // What identifies it is as dumped.
        let size = bytes.len().min(board.function.config().size());
        let identity = [0..4, 8..0xc, 0x2c..0x30, 0x3d..0x40];
        for range in identity {
            prop_assert_eq!(&board.function.config().bytes()[range.clone()], &bytes[range]);
        }
        prop_assert_eq!(size, bytes.len());
    }
}
