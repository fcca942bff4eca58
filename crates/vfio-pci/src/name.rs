//! Which device a name is of, with its options.

use ioctlab_chardev::Errno;

/// The option that gives a virtual function's token.
const TOKEN: &[u8] = b"vf_token=";
/// The length of a UUID as text.
const UUID: usize = 36;

/// Whether `name`, as it was given to `GET_DEVICE_FD`, is that of the function at `address`, with options that it takes
/// (`vfio_pci_core_match`). It is no virtual function, and has none, so it takes no token.
///
/// # Errors
/// `EINVAL` for options that it doesn't take.
pub fn matches(name: &[u8], address: &str) -> Result<bool, Errno> {
    let Some(mut rest) = name.strip_prefix(address.as_bytes()) else { return Ok(false) };
    if rest.first().is_some_and(|byte| *byte != b' ') {
        return Ok(false);
    }
    let mut has_token = false;
    while let Some(byte) = rest.first() {
        if *byte == b' ' {
            rest = rest.get(1..).unwrap_or_default();
            continue;
        }
        let token = rest.strip_prefix(TOKEN).filter(|_| !has_token).ok_or(Errno::EINVAL)?;
        let uuid = token.get(..UUID).filter(|uuid| is_uuid(uuid)).ok_or(Errno::EINVAL)?;
        has_token = true;
        rest = token.get(uuid.len()..).unwrap_or_default();
    }
    if has_token { Err(Errno::EINVAL) } else { Ok(true) }
}

fn is_uuid(text: &[u8]) -> bool {
    text.iter().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}
