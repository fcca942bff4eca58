//! A device's name, and the token that users of a physical function and of its virtual ones share
//! (`vfio_pci_core_match`, `vfio_pci_validate_vf_token`).

use ioctlab_chardev::Errno;

use crate::{Device, Role};

const OPTION: &[u8] = b"vf_token=";
const UUID_LENGTH: usize = 36;

/// The token of a physical function.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) uuid: [u8; 16],
    /// How many of its virtual functions are open.
    users: u32,
}

impl Token {
    pub(crate) const fn new(uuid: [u8; 16]) -> Self {
        Self { uuid, users: 0 }
    }
}

impl Device {
    /// Whether the device has this name, and may be had by it: its own, such as `0000:00:05.0`, then nothing, or a space and
    /// options (` vf_token=UUID`, once). `physical` is a virtual function's physical one, if that is bound to vfio-pci, too.
    /// A token that is given for a physical function whose virtual ones nobody uses becomes its token.
    ///
    /// # Errors
    /// `EINVAL` for options that aren't right, and for a token that isn't needed; `EACCES` for one that is missing or wrong.
    pub fn matches(&mut self, name: &[u8], own: &str, physical: Option<&Self>) -> Result<bool, Errno> {
        let Some(options) = name.strip_prefix(own.as_bytes()) else { return Ok(false) };
        if options.first().is_some_and(|byte| *byte != b' ') {
            return Ok(false);
        }
        let given = parse_options(options)?;
        match (self.role, physical.and_then(|device| device.token.as_ref()), &mut self.token) {
            (Role::Virtual { .. }, Some(token), _) if given == Some(token.uuid) => Ok(true),
            (Role::Virtual { .. }, Some(_), _) => Err(Errno::EACCES),
            (Role::Virtual { .. } | Role::Plain, _, _) | (_, _, None) => match given {
                None => Ok(true),
                Some(_) => Err(Errno::EINVAL),
            },
            (Role::Physical { .. }, _, Some(token)) => {
                if token.users > 0 && given != Some(token.uuid) {
                    return Err(Errno::EACCES);
                }
                token.uuid = given.unwrap_or(token.uuid);
                Ok(true)
            }
        }
    }

    /// A virtual function of this physical one was opened.
    pub fn add_virtual_user(&mut self) {
        if let Some(token) = &mut self.token {
            token.users = token.users.saturating_add(1);
        }
    }

    /// A virtual function of this physical one was closed.
    pub fn remove_virtual_user(&mut self) {
        if let Some(token) = &mut self.token {
            token.users = token.users.saturating_sub(1);
        }
    }
}

/// What follows the name: spaces, and at most one token.
fn parse_options(mut options: &[u8]) -> Result<Option<[u8; 16]>, Errno> {
    let mut token = None;
    while let Some((first, rest)) = options.split_first() {
        if *first == b' ' {
            options = rest;
            continue;
        }
        let text = options.strip_prefix(OPTION).filter(|_| token.is_none()).ok_or(Errno::EINVAL)?;
        let (text, rest) = text.split_at_checked(UUID_LENGTH).ok_or(Errno::EINVAL)?;
        token = Some(parse_uuid(text).ok_or(Errno::EINVAL)?);
        options = rest;
    }
    Ok(token)
}

/// A UUID's bytes, in the order of the text (`uuid_parse`).
fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    let mut uuid = [0; 16];
    let mut bytes = uuid.iter_mut();
    let mut rest = text;
    for (index, group) in [4, 2, 2, 2, 6].into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix(b"-")?;
        }
        for _ in 0..group {
            let (digits, after) = rest.split_first_chunk::<2>()?;
            let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
            *bytes.next()? = (high? << 4 | low?) as u8;
            rest = after;
        }
    }
    Some(uuid)
}
