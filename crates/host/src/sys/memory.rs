//! Another process's memory, by `process_vm_readv` and `process_vm_writev`.

use std::io;
use std::os::fd::AsRawFd;

/// Reads up to `to.len()` bytes at `from` in the memory of thread `thread`; returns how many could be read.
///
/// # Errors
/// `EFAULT` if not even the first byte can be read; `EPERM` where it isn't allowed; `ESRCH` if the thread is gone.
pub(crate) fn read(thread: i32, from: u64, to: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: to.as_mut_ptr().cast(), iov_len: to.len() };
    let remote = libc::iovec { iov_base: from as *mut libc::c_void, iov_len: to.len() };
    // SAFETY: `local` is this process's writable `to`; `remote` is never dereferenced here, the kernel checks it.
    let n = unsafe { libc::process_vm_readv(thread, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Writes up to `from.len()` bytes at `to` in the memory of thread `thread`; returns how many could be written.
///
/// # Errors
/// As [`read`]'s.
pub(crate) fn write(thread: i32, to: u64, from: &[u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: from.as_ptr().cast_mut().cast(), iov_len: from.len() };
    let remote = libc::iovec { iov_base: to as *mut libc::c_void, iov_len: from.len() };
    // SAFETY: `local` is only read from, for `from.len()` bytes; `remote` is checked by the kernel.
    let n = unsafe { libc::process_vm_writev(thread, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// A range of another process's address space that is mapped in one way, as `PROCMAP_QUERY` reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// First address past the mapping.
    pub(crate) end: u64,
    /// May be read by its process.
    pub(crate) readable: bool,
    /// May be written by its process.
    pub(crate) writable: bool,
    /// What is written is the file's (or other processes') as well.
    pub(crate) shared: bool,
    /// The device number of its file's file system; 0 if it has no file.
    pub(crate) device: u64,
    /// Its file's inode number; 0 if it has no file.
    pub(crate) inode: u64,
}

/// `struct procmap_query` of `linux/fs.h`.
#[repr(C)]
#[derive(Default)]
struct ProcmapQuery {
    size: u64,
    query_flags: u64,
    query_addr: u64,
    vma_start: u64,
    vma_end: u64,
    vma_flags: u64,
    vma_page_size: u64,
    vma_offset: u64,
    inode: u64,
    dev_major: u32,
    dev_minor: u32,
    vma_name_size: u32,
    build_id_size: u32,
    vma_name_addr: u64,
    build_id_addr: u64,
}

/// `PROCMAP_QUERY`, as `linux/fs.h` numbers it.
const PROCMAP_QUERY: libc::Ioctl =
    (3u32 << 30 | (size_of::<ProcmapQuery>() as u32) << 16 | 0x66 << 8 | 17) as libc::Ioctl;
/// `PROCMAP_QUERY_COVERING_OR_NEXT_VMA`.
const OR_NEXT: u64 = 0x10;

/// The file that a range of another process's address space is a mapping of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MappedFile {
    /// The device number of its file system.
    pub(crate) device: u64,
    /// Its path, as `/proc/PID/maps` shows it; empty for memory without a file.
    pub(crate) path: Vec<u8>,
}

/// What file is mapped at `address`, or (`or_above`) by the first mapping that ends above it; asked of an open
/// `/proc/PID/maps`.
///
/// # Errors
/// `ENOENT` if nothing is mapped there; `ENOTTY` before Linux 6.11.
pub(crate) fn mapped_file(maps: &std::fs::File, address: u64, or_above: bool) -> io::Result<MappedFile> {
    let mut path = vec![0; 4096];
    let mut query = ProcmapQuery {
        size: size_of::<ProcmapQuery>() as u64,
        query_flags: if or_above { OR_NEXT } else { 0 },
        query_addr: address,
        vma_name_size: path.len() as u32,
        vma_name_addr: path.as_mut_ptr() as u64,
        ..ProcmapQuery::default()
    };
    // SAFETY: `query` is a writable procmap_query of the size it says; the one buffer it names is `path`, with its length.
    if unsafe { libc::ioctl(maps.as_raw_fd(), PROCMAP_QUERY, &raw mut query) } < 0 {
        return Err(io::Error::last_os_error());
    }
    path.truncate((query.vma_name_size as usize).saturating_sub(1));
    Ok(MappedFile { device: rustix::fs::makedev(query.dev_major, query.dev_minor), path })
}

/// The mapping that covers `address`, asked of an open `/proc/PID/maps`.
///
/// # Errors
/// `ENOENT` if nothing is mapped there; `ENOTTY` before Linux 6.11.
pub(crate) fn mapping_at(maps: &std::fs::File, address: u64) -> io::Result<Mapping> {
    let mut query = ProcmapQuery {
        size: size_of::<ProcmapQuery>() as u64,
        query_addr: address,
        ..ProcmapQuery::default()
    };
    // SAFETY: `query` is a writable procmap_query of the size it says; it names no buffers.
    if unsafe { libc::ioctl(maps.as_raw_fd(), PROCMAP_QUERY, &raw mut query) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // PROCMAP_QUERY_VMA_READABLE, _WRITABLE, _EXECUTABLE, _SHARED.
    let has = |flag: u64| query.vma_flags & flag != 0;
    Ok(Mapping {
        end: query.vma_end,
        readable: has(1),
        writable: has(2),
        shared: has(8),
        device: rustix::fs::makedev(query.dev_major, query.dev_minor),
        inode: query.inode,
    })
}
