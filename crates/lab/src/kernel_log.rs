//! Writing to a kernel's log, `/dev/kmsg`, as far as a machine notices: what goes to the console.

use ioctlab_abi::Errno;
use ioctlab_kernel::{Access, CallResult, UserMemory, UserPtr};

/// The longest message, in bytes (`PRINTKRB_RECORD_MAX`).
const RECORD_MAX: usize = 1024;
/// Messages of a lower level than this go to the console (`CONSOLE_LOGLEVEL_DEFAULT`).
const CONSOLE_LEVEL: u32 = 7;
/// The level of a message that names none (`MESSAGE_LOGLEVEL_DEFAULT`).
const DEFAULT_LEVEL: u32 = 4;

/// A message, as far as it matters here.
pub(crate) struct Message {
    level: u32,
}

impl Message {
    /// Whether it goes to the console.
    pub(crate) fn is_shown(&self) -> bool {
        self.level < CONSOLE_LEVEL
    }
}

/// Opening the log.
///
/// # Errors
/// `EPERM` for reading, as for users without `CAP_SYSLOG` where `kernel.dmesg_restrict` is set: no messages are kept.
pub(crate) fn open(access: Access) -> Result<(), Errno> {
    if access.read { Err(Errno::EPERM) } else { Ok(()) }
}

/// Writing one message, with or without its level in front (`<0>text`; facilities above it are taken off).
///
/// # Errors
/// `EINVAL` if it is longer than 1024 bytes; `EFAULT`.
pub(crate) fn write(from: UserPtr, count: usize, memory: &mut dyn UserMemory) -> CallResult<Message> {
    if count > RECORD_MAX {
        return Err(Errno::EINVAL.into());
    }
    let mut text = vec![0; count];
    memory.read(from, &mut text)?;
    Ok(Message { level: level(&text).unwrap_or(DEFAULT_LEVEL) })
}

fn level(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text.strip_prefix(b"<")?.get(..4)?).ok()?;
    let digits = text.split('>').next().filter(|digits| digits.len() < text.len())?;
    digits.parse::<u32>().ok().map(|number| number & 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_in_front() {
        for (text, expected) in
            [("<0>con-ring", Some(0)), ("<14>user", Some(6)), ("text", None), ("<x>text", None), ("<1", None)]
        {
            assert_eq!(level(text.as_bytes()), expected, "{text}");
        }
    }
}
