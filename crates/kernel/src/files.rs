//! Open files and the calls on them.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::mappings::Mappings;
use crate::{
    Behind, CallResult, Caller, Errno, Event, EventId, FileId, MappingId, Node, NodeId, Opener, PollEvents,
    Reply, Request, Subsystem, UserMemory, UserPtr, Work,
};

/// One more than the highest address that a process may name on x86-64 with four-level page tables (`TASK_SIZE_MAX`).
pub(crate) const ADDRESS_LIMIT: u64 = 0x7fff_ffff_f000;

/// The access mode of an open file (`O_ACCMODE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// May be read (`FMODE_READ`).
    pub read: bool,
    /// May be written (`FMODE_WRITE`).
    pub write: bool,
}

impl Access {
    /// The access mode in `open`'s flags. Linux's odd mode 3 may neither be read nor written, only controlled.
    pub const fn from_flags(flags: u32) -> Self {
        match flags & 3 {
            0 => Self { read: true, write: false },
            1 => Self { read: false, write: true },
            2 => Self { read: true, write: true },
            _ => Self { read: false, write: false },
        }
    }

    /// The access mode as `F_GETFL` shows it.
    pub const fn flags(self) -> u32 {
        match (self.read, self.write) {
            (true, false) => 0,
            (false, true) => 1,
            (true, true) => 2,
            (false, false) => 3,
        }
    }
}

/// An open file description.
#[derive(Clone, Copy, Debug)]
pub struct OpenFile {
    /// The node it was opened by.
    pub node: NodeId,
    /// Its access mode.
    pub access: Access,
    /// Those of `open`'s flags that show in `F_GETFL` and never change; no access mode.
    pub flags: u32,
    subsystem: usize,
}

/// An open file description, and what keeps it.
struct Entry {
    open: OpenFile,
    /// What refers to it: all its descriptors together count as one, each mapping and each call as one more.
    references: usize,
    /// There are descriptors of it.
    described: bool,
    /// Where its next `read` or `write` is, if it is read and written at positions.
    position: u64,
}

/// A lab's devices and open files.
pub struct Kernel {
    nodes: Vec<Node>,
    subsystems: Vec<Box<dyn Subsystem>>,
    files: BTreeMap<FileId, Entry>,
    next_file: u64,
    pub(crate) mappings: Mappings,
}

impl Kernel {
    /// A kernel with these subsystems and nodes; a node's `subsystem` is a place in `subsystems`.
    pub fn new(subsystems: Vec<Box<dyn Subsystem>>, nodes: Vec<Node>) -> Self {
        Self { nodes, subsystems, files: BTreeMap::new(), next_file: 1, mappings: Mappings::new() }
    }

    /// The lab's device nodes; a [`NodeId`] is a place here.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node with this id.
    pub fn node(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(node.0)
    }

    /// What is known of an open file.
    pub fn file(&self, file: FileId) -> Option<&OpenFile> {
        self.files.get(&file).map(|entry| &entry.open)
    }

    /// How many files are open.
    pub fn open_files(&self) -> usize {
        self.files.len()
    }

    /// Opens a node; `flags` are kept as [`OpenFile::flags`].
    ///
    /// # Errors
    /// The driver's; [`Errno::ENXIO`] if nothing serves the node.
    pub fn open(
        &mut self,
        node: NodeId,
        access: Access,
        flags: u32,
        opener: Opener,
    ) -> Result<FileId, Errno> {
        let (subsystem, device) =
            self.nodes.get(node.0).map(|n| (n.subsystem, n.device)).ok_or(Errno::ENXIO)?;
        self.open_device(node, subsystem, device, access, flags, opener)
    }

    fn open_device(
        &mut self,
        node: NodeId,
        subsystem: usize,
        device: u32,
        access: Access,
        flags: u32,
        opener: Opener,
    ) -> Result<FileId, Errno> {
        let file = FileId(self.next_file);
        self.subsystems.get_mut(subsystem).ok_or(Errno::ENXIO)?.open(device, file, access, opener)?;
        self.next_file = self.next_file.saturating_add(1);
        let open = OpenFile { node, access, flags, subsystem };
        self.files.insert(file, Entry { open, references: 1, described: true, position: 0 });
        Ok(file)
    }

    /// The last descriptor of a file is gone. The driver is told when its last mapping is gone, too, and no call is going on. A
    /// file that has no descriptors is left alone.
    pub fn release(&mut self, file: FileId) {
        if let Some(entry) = self.files.get_mut(&file)
            && core::mem::take(&mut entry.described)
        {
            self.let_go(file);
        }
    }

    /// Something more refers to a file: a mapping, or a call that is gone on with while the kernel isn't locked (`fget`).
    pub fn hold(&mut self, file: FileId) {
        if let Some(entry) = self.files.get_mut(&file) {
            entry.references = entry.references.saturating_add(1);
        }
    }

    /// Something that [held](Self::hold) a file does so no longer (`fput`); the driver's `release` comes with the last.
    pub fn let_go(&mut self, file: FileId) {
        let Some(entry) = self.files.get_mut(&file) else { return };
        entry.references = entry.references.saturating_sub(1);
        if entry.references > 0 {
            return;
        }
        if let Some(entry) = self.files.remove(&file)
            && let Some(subsystem) = self.subsystems.get_mut(entry.open.subsystem)
        {
            subsystem.release(file);
        }
    }

    /// `read`.
    ///
    /// # Errors
    /// In the VFS's order: [`Errno::EBADF`] if the file is not open for reading, [`Errno::EINVAL`] if its driver doesn't
    /// read, [`Errno::EFAULT`] if the buffer can't be a
    /// process's, [`Errno::EINVAL`] for a count beyond `SSIZE_MAX`; then the driver's.
    pub fn read(
        &mut self,
        file: FileId,
        to: UserPtr,
        count: u64,
        memory: &mut dyn UserMemory,
    ) -> CallResult<usize> {
        let (open, _) = self.lookup(file)?;
        if !open.access.read {
            return Err(Errno::EBADF.into());
        }
        self.check_reads(open.node)?;
        let (_, subsystem) = self.lookup(file)?;
        let count = transfer_size(to, count)?;
        subsystem.read(file, to, count, memory)
    }

    /// `write`.
    ///
    /// # Errors
    /// As [`read`](Self::read)'s, for writing.
    pub fn write(
        &mut self,
        file: FileId,
        from: UserPtr,
        count: u64,
        memory: &mut dyn UserMemory,
    ) -> CallResult<usize> {
        let (open, _) = self.lookup(file)?;
        if !open.access.write {
            return Err(Errno::EBADF.into());
        }
        self.check_reads(open.node)?;
        let (_, subsystem) = self.lookup(file)?;
        let count = transfer_size(from, count)?;
        subsystem.write(file, from, count, memory)
    }

    /// `ioctl`. Requests that the VFS answers itself (`FIONBIO`, `FIOCLEX`, ...) never get here.
    ///
    /// # Errors
    /// The driver's.
    pub fn ioctl(
        &mut self,
        file: FileId,
        request: Request,
        argument: u64,
        caller: &mut dyn Caller,
    ) -> CallResult<Reply> {
        let (_, subsystem) = self.lookup(file)?;
        subsystem.ioctl(file, request, argument, caller)
    }

    /// Opens what an ioctl on `by` has answered with ([`Reply::Open`]).
    ///
    /// # Errors
    /// The driver's; [`Errno::ENXIO`] if no node has that name.
    pub fn open_anonymous(
        &mut self,
        by: FileId,
        device: u32,
        name: &str,
        opener: Opener,
    ) -> Result<FileId, Errno> {
        let subsystem = self.file(by).ok_or(Errno::EBADF)?.subsystem;
        let is_it = |node: &Node| node.subsystem == subsystem && node.path == name;
        let node = NodeId(self.nodes.iter().position(is_it).ok_or(Errno::ENXIO)?);
        self.open_device(node, subsystem, device, Access { read: true, write: true }, 0, opener)
    }

    /// What `poll` reports now; nothing for a file that is not open.
    pub fn poll(&self, file: FileId) -> PollEvents {
        self.serving(file).map_or(PollEvents::default(), |s| s.poll(file))
    }

    /// A file's unread data in bytes.
    pub fn unread(&self, file: FileId) -> usize {
        self.serving(file).map_or(0, |s| s.unread(file))
    }

    /// How many bytes a `read` of `count` bytes would take now.
    pub fn would_read(&self, file: FileId, count: u64) -> usize {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.serving(file).map_or(0, |s| s.would_read(file, count))
    }

    /// Copies unread data without taking it; see [`Subsystem::peek`].
    pub fn peek(&self, file: FileId, to: &mut [u8]) -> usize {
        self.serving(file).map_or(0, |s| s.peek(file, to))
    }

    /// Takes unread data; see [`Subsystem::consume`].
    pub fn consume(&mut self, file: FileId, bytes: usize) {
        if let Ok((_, subsystem)) = self.lookup(file) {
            subsystem.consume(file, bytes);
        }
    }

    /// What reading a file gives, if it has contents of its own; see [`Subsystem::contents`].
    pub fn contents(&self, file: FileId) -> Option<Vec<u8>> {
        self.serving(file)?.contents(file)
    }

    /// See [`Subsystem::changed_by_unmapping`].
    pub fn changed_by_unmapping(&self) -> Vec<(MappingId, Option<u64>)> {
        self.subsystems.iter().flat_map(|s| s.changed_by_unmapping()).collect()
    }

    /// See [`Subsystem::change_ahead`].
    pub fn change_ahead(&mut self, mapping: MappingId) {
        self.subsystems.iter_mut().for_each(|s| s.change_ahead(mapping));
    }

    /// Whether something is to be tried again after a second; see [`Subsystem::has_deferred`].
    pub fn has_deferred(&self) -> bool {
        self.subsystems.iter().any(|s| s.has_deferred())
    }

    /// Tries again what was put off.
    pub fn retry_deferred(&mut self) {
        self.subsystems.iter_mut().for_each(|s| s.retry_deferred());
    }

    /// The next file whose unread data has grown. To be drained after every call.
    pub fn next_changed(&mut self) -> Option<FileId> {
        self.subsystems.iter_mut().find_map(|s| s.next_changed())
    }

    /// The next thing to be done with a program's eventfd. To be drained after every call.
    pub fn next_event(&mut self) -> Option<Event> {
        self.subsystems.iter_mut().find_map(|s| s.next_event())
    }

    /// The next node that has come or gone. To be drained after every call; [`Node::hidden`] says which it is.
    pub fn next_node_change(&mut self) -> Option<NodeId> {
        for (index, subsystem) in self.subsystems.iter_mut().enumerate() {
            while let Some((device, is_there)) = subsystem.next_node_change() {
                let is_it = |node: &Node| node.subsystem == index && node.device == device && node.has_path();
                let Some(place) = self.nodes.iter().position(is_it) else { continue };
                if let Some(node) = self.nodes.get_mut(place).filter(|node| node.hidden == is_there) {
                    node.hidden = !is_there;
                    return Some(NodeId(place));
                }
            }
        }
        None
    }

    /// An eventfd that is being watched was signalled: what that leads to, if it takes its time.
    pub fn signalled(&mut self, event: EventId) -> Option<Box<dyn Work>> {
        self.subsystems.iter_mut().find_map(|s| s.signalled(event))
    }

    /// Where the next `read` or `write` of a file is.
    pub(crate) fn position(&self, file: FileId) -> u64 {
        self.files.get(&file).map_or(0, |entry| entry.position)
    }

    /// A file was read or written at its own position.
    pub fn advance(&mut self, file: FileId, bytes: u64) {
        if let Some(entry) = self.files.get_mut(&file) {
            entry.position = entry.position.saturating_add(bytes);
        }
    }

    /// A driver without `read` and `write` is EINVAL before the buffer is looked at.
    fn check_reads(&self, node: NodeId) -> Result<(), Errno> {
        match self.node(node) {
            Some(node) if node.behind == Behind::File => Err(Errno::EINVAL),
            _ => Ok(()),
        }
    }

    pub(crate) fn lookup(&mut self, file: FileId) -> Result<(OpenFile, &mut Box<dyn Subsystem>), Errno> {
        let open = self.files.get(&file).ok_or(Errno::EBADF)?.open;
        let subsystem = self.subsystems.get_mut(open.subsystem).ok_or(Errno::ENXIO)?;
        Ok((open, subsystem))
    }

    fn serving(&self, file: FileId) -> Option<&dyn Subsystem> {
        let open = self.file(file)?;
        self.subsystems.get(open.subsystem).map(|s| &**s)
    }
}

/// The checks of `vfs_read` and `vfs_write` on a buffer: `access_ok`, then `rw_verify_area`, then `MAX_RW_COUNT`.
pub(crate) fn transfer_size(buffer: UserPtr, count: u64) -> Result<usize, Errno> {
    let end = buffer.0.checked_add(count).ok_or(Errno::EFAULT)?;
    if end > ADDRESS_LIMIT {
        return Err(Errno::EFAULT);
    }
    if count > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    Ok(usize::try_from(count.min(0x7fff_f000)).unwrap_or(usize::MAX))
}
