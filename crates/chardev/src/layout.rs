//! Fields of the structs that programs pass, at their offsets.

/// Puts a field at its offset, if it lies within the struct.
pub fn put(bytes: &mut [u8], offset: usize, field: &[u8]) {
    let end = offset.saturating_add(field.len());
    if let Some(place) = bytes.get_mut(offset..end) {
        place.copy_from_slice(field);
    }
}

/// The 16-bit number at an offset; 0 if it doesn't lie within the struct.
pub fn half_word(bytes: &[u8], offset: usize) -> u16 {
    u16::from_ne_bytes(get(bytes, offset))
}

/// The 32-bit number at an offset; 0 if it doesn't lie within the struct.
pub fn word(bytes: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes(get(bytes, offset))
}

/// The 64-bit number at an offset; 0 if it doesn't lie within the struct.
pub fn long(bytes: &[u8], offset: usize) -> u64 {
    u64::from_ne_bytes(get(bytes, offset))
}

fn get<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}
