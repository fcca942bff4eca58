//! What is mapped in an address space, asked of an open `/proc/PID/maps`: range by range with PROCMAP_QUERY, or (before Linux
//! 6.11) in its text.

use std::fs::File;
use std::io::Read;

use crate::sys::memory as raw;

/// A way to ask. The text, if it is needed, is read once.
pub(crate) struct AddressMap<'a> {
    maps: &'a File,
    text: Option<Vec<(u64, raw::Mapping)>>,
    /// How often something was asked.
    pub(crate) questions: usize,
}

impl<'a> AddressMap<'a> {
    pub(crate) fn new(maps: &'a File) -> Self {
        Self { maps, text: None, questions: 0 }
    }

    /// The same by the text alone.
    #[cfg(test)]
    pub(crate) fn in_text(maps: &'a File) -> Self {
        Self { maps, text: Some(read(maps)), questions: 0 }
    }

    /// What is mapped at an address; `None` if nothing is, or the address space is gone.
    pub(crate) fn at(&mut self, address: u64) -> Option<raw::Mapping> {
        self.questions = self.questions.saturating_add(1);
        if self.text.is_none() {
            match raw::mapping_at(self.maps, address) {
                Ok(mapping) => return Some(mapping),
                Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => {}
                Err(_) => return None,
            }
        }
        let text = self.text.get_or_insert_with(|| read(self.maps));
        let above = text.partition_point(|(_, mapping)| mapping.end <= address);
        text.get(above).filter(|(start, _)| *start <= address).map(|(_, mapping)| *mapping)
    }
}

/// All that is mapped, by address.
fn read(maps: &File) -> Vec<(u64, raw::Mapping)> {
    let mut text = Vec::new();
    // A copy of the descriptor has the same position, which nobody else uses.
    let mut reader = maps;
    let rewound = std::io::Seek::rewind(&mut reader);
    if rewound.and_then(|()| reader.read_to_end(&mut text)).is_err() {
        return Vec::new();
    }
    // Paths may be anything; all else is ASCII.
    String::from_utf8_lossy(&text).lines().filter_map(parse).collect()
}

/// A line of the text: where it starts, and what it is.
pub(crate) fn parse(line: &str) -> Option<(u64, raw::Mapping)> {
    // `START-END PERMISSIONS OFFSET MAJOR:MINOR INODE   PATH`
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    let permissions = fields.next()?.as_bytes();
    let (major, minor) = fields.nth(1)?.split_once(':')?;
    let (major, minor) = (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
    let inode = fields.next()?.parse().ok()?;
    let mapping = raw::Mapping {
        end,
        readable: permissions.first() == Some(&b'r'),
        writable: permissions.get(1) == Some(&b'w'),
        shared: permissions.get(3) == Some(&b's'),
        device: rustix::fs::makedev(major, minor),
        inode,
    };
    Some((start, mapping))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_the_text_agree() {
        let maps = File::open("/proc/self/maps").expect("maps");
        let starts: Vec<u64> = read(&maps).into_iter().map(|(start, _)| start).collect();
        assert!(starts.len() > 5);
        let (mut asked, mut text) = (AddressMap::new(&maps), AddressMap::in_text(&maps));
        for start in starts {
            // Other tests' threads map things at the same time; what is the same in both was there all along.
            for address in [start.saturating_sub(1), start, start + 4095] {
                let (by_question, by_text) = (asked.at(address), text.at(address));
                // The vsyscall page is in the text alone.
                if address < 1 << 47 && by_question != by_text {
                    let again = AddressMap::in_text(&maps).at(address);
                    assert!(by_question == again || asked.at(address) == again, "{address:x}");
                }
            }
        }
        assert_eq!(asked.at(0), None);
        assert_eq!(text.at(0), None);
    }

    #[test]
    fn a_line_is_taken_apart() {
        let line = "7f0000001000-7f0000003000 rw-s 00002000 08:01 1234567                    /tmp/a name with blanks";
        let (start, mapping) = parse(line).expect("a line");
        assert_eq!((start, mapping.end, mapping.inode), (0x7f00_0000_1000, 0x7f00_0000_3000, 1_234_567));
        assert!(mapping.readable && mapping.writable && mapping.shared);
        assert_eq!(mapping.device, rustix::fs::makedev(8, 1));
        let (_, mapping) = parse("00400000-00401000 --xp 00000000 00:00 0 ").expect("no file");
        assert!(!mapping.readable && !mapping.writable && !mapping.shared);
        assert_eq!((mapping.device, mapping.inode), (0, 0));
        assert_eq!(parse(""), None);
    }
}
