//! Expansion ROMs.

/// What an image begins with, and its data structure.
const SIGNATURE: u16 = 0xaa55;
const STRUCTURE: &[u8] = b"PCIR";
/// Where an image says where its data structure is; and in that the image's length, in units of 512 bytes, and whether it is the last.
const POINTER: usize = 24;
const LENGTH: usize = 16;
const UNIT: usize = 512;
const INDICATOR: usize = 21;
const LAST: u8 = 0x80;

/// How many bytes at a ROM's start its images take, as the PCI core finds them (`pci_get_rom_size`); 0 if there is none.
pub(super) fn images(rom: &[u8]) -> u64 {
    let mut end = 0;
    while let Some((length, is_last)) = rom.get(end..).and_then(image) {
        end += length;
        if length == 0 || is_last {
            break;
        }
    }
    end.min(rom.len()) as u64
}

/// An image's length in bytes, and whether it is the last.
fn image(bytes: &[u8]) -> Option<(usize, bool)> {
    let word = |bytes: &[u8], at: usize| bytes.get(at..)?.first_chunk().map(|word| u16::from_le_bytes(*word));
    if word(bytes, 0)? != SIGNATURE {
        return None;
    }
    let structure = bytes.get(word(bytes, POINTER)?.into()..).filter(|bytes| bytes.starts_with(STRUCTURE))?;
    Some((usize::from(word(structure, LENGTH)?) * UNIT, structure.get(INDICATOR)? & LAST != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of so many units.
    fn made(units: u8, is_last: bool) -> Vec<u8> {
        let mut bytes = vec![0; usize::from(units) * UNIT];
        bytes[..2].copy_from_slice(&[0x55, 0xaa]);
        bytes[POINTER] = 0x40;
        bytes[0x40..0x44].copy_from_slice(STRUCTURE);
        bytes[0x40 + LENGTH] = units;
        bytes[0x40 + INDICATOR] = if is_last { LAST } else { 0 };
        bytes
    }

    #[test]
    fn images_are_counted_up_to_the_last() {
        let rom = |images: &[Vec<u8>], size| {
            let mut bytes = images.concat();
            bytes.resize(size, 0);
            super::images(&bytes)
        };
        assert_eq!((images(&[]), images(&[0x55]), images(&[0x55, 0xaa]), images(&[0; 2048])), (0, 0, 0, 0));
        assert_eq!(rom(&[made(2, true)], 4096), 1024);
        assert_eq!(rom(&[made(2, false), made(1, true), made(1, true)], 4096), 1536);
        // One that says that there are more, which there aren't; one that is longer than the ROM; one of no length.
        assert_eq!(rom(&[made(2, false)], 4096), 1024);
        assert_eq!(rom(&[made(2, false)], 1024), 1024);
        assert_eq!(rom(&[made(8, true)], 2048), 2048);
        let mut none = made(1, false);
        none[0x40 + LENGTH] = 0;
        assert_eq!(rom(&[none], 2048), 0);
        // Another data structure, or one that isn't there.
        let mut other = made(1, true);
        other[0x40] = b'Q';
        assert_eq!(rom(&[other], 2048), 0);
        let mut beyond = made(1, true);
        beyond[POINTER + 1] = 0xff;
        assert_eq!(rom(&[beyond], 2048), 0);
    }
}
