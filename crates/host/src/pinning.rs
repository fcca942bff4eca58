//! Whether memory could be pinned, as Linux pins what a program lends to a device for long (`pin_user_pages_remote` with
//! `FOLL_LONGTERM`). Nothing is pinned: the answer holds for now.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use ioctlab_kernel::{BadAddress, PAGE_SIZE};

use crate::address_map::AddressMap;
use crate::sys::memory::Mapping;

/// Whether all pages of a range could be pinned, for writing or only for reading. It costs a question or two for each thing
/// that is mapped there, however long it is. `mem` is the `/proc/PID/mem` of the address space that `map` tells of.
///
/// # Errors
/// [`BadAddress`] if not.
pub(crate) fn check(
    map: &mut AddressMap<'_>,
    mem: &File,
    from: u64,
    bytes: u64,
    writable: bool,
) -> Result<(), BadAddress> {
    if bytes == 0 {
        return Ok(());
    }
    let end =
        from.checked_add(bytes).and_then(|end| end.checked_next_multiple_of(PAGE_SIZE)).ok_or(BadAddress)?;
    let mut at = from - from % PAGE_SIZE;
    touch(mem, at)?;
    while at < end {
        let mapping =
            map.at(at).filter(|mapping| mapping.end > at && allows(mapping, writable)).ok_or(BadAddress)?;
        at = mapping.end.min(end);
        // Beyond the end of a file there is nothing; what other mappings there are have all of their pages.
        if mapping.inode != 0 || at == end {
            touch(mem, at - PAGE_SIZE)?;
        }
    }
    Ok(())
}

/// Whether a mapping's kind and protection allow it. What a device wrote to a file's pages would be lost on their way back to a
/// disk, so Linux (from 6.5 on) doesn't pin these for writing (`writable_file_mapping_allowed`). File systems without a disk are
/// those on no block device.
fn allows(mapping: &Mapping, writable: bool) -> bool {
    if !writable {
        return mapping.readable;
    }
    let has_disk = mapping.shared && rustix::fs::major(mapping.device) != 0;
    mapping.writable && !has_disk
}

/// Whether there is a page at an address.
fn touch(mem: &File, address: u64) -> Result<(), BadAddress> {
    loop {
        match mem.read_at(&mut [0], address) {
            Ok(1..) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return Err(BadAddress),
        }
    }
}

#[cfg(test)]
#[path = "pinning_tests.rs"]
mod tests;
