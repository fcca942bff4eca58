//! The trace: one line per device call, as strace would print it.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use ioctlab_abi::{Errno, describe};
use ioctlab_kernel::{FileId, Kernel, MmapCall, Request, Segment, UserPtr};

use crate::memory::ClientMemory;
use crate::sys::seccomp::Answer;

/// Bytes of a buffer that are printed.
const SHOWN: usize = 32;

/// The result of a read that finds nothing: the kernel goes on with it.
const WAITS: &str = "(waits, or EAGAIN)";

/// Where the trace goes.
pub struct Trace(Mutex<Box<dyn Write + Send>>);

impl Trace {
    /// A trace that is written to `out`, a line at a time.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self(Mutex::new(Box::new(out)))
    }

    /// Logs data that clients received from what was shown, without a call of theirs that ended here.
    pub(crate) fn log_received(&self, path: &str, bytes: &[u8]) {
        self.write(&format!("[-] ... read(<{path}>, {}) = {}\n", describe::Words(bytes), bytes.len()));
    }

    pub(crate) fn log(&self, thread: i32, record: &Record, answer: Answer, took: Duration) {
        let mut line = format!("[{thread}] {}{} = ", record.text, record.rest);
        let _ = match answer {
            Answer::Value(value) => write!(line, "{value}"),
            Answer::Fail(errno) => write!(line, "-1 {errno}"),
            Answer::Continue => write!(line, "{}", record.otherwise),
            Answer::Given(number) => write!(line, "{number}"),
            Answer::Made(value @ -4095..=-1) => write!(line, "-1 {}", Errno::from_raw(-value as i32)),
            Answer::Made(value) => write!(line, "{value:#x}"),
        };
        if !record.reason.is_empty() {
            let _ = write!(line, " ({})", record.reason);
        }
        let _ = writeln!(line, " <{}.{:06}>", took.as_secs(), took.subsec_micros());
        self.write(&line);
    }

    /// A trace that can't be written is no reason to fail a call.
    fn write(&self, line: &str) {
        let mut out = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}

/// What the trace says of a call before it is served.
pub(crate) struct Record {
    text: String,
    /// The rest of the text, after the data that a read returned (or the buffer's address).
    rest: String,
    /// The ioctl, and its argument.
    asked: Option<(describe::Call, u64)>,
    /// What is said of the result if the kernel goes on with the call.
    otherwise: &'static str,
    /// Why the result is what it is, where that is not the driver's doing.
    reason: String,
}

impl Record {
    fn new(text: String) -> Self {
        Self { text, rest: String::new(), asked: None, otherwise: "?", reason: String::new() }
    }

    pub(crate) fn open(path: &[u8], flags: i32) -> Self {
        let text = format!("open(\"{}\", {})", path.escape_ascii(), describe::open_flags(flags as u32));
        Self::new(text)
    }

    pub(crate) fn ioctl(
        kernel: &Kernel,
        file: FileId,
        descriptor: u64,
        request: Request,
        argument: u64,
        memory: &mut ClientMemory,
    ) -> Self {
        let path = path(kernel, file);
        let call = describe::Call { request, role: describe::Role::of(path) };
        let bytes = bytes(memory, argument, call.argument_size());
        let shown = describe::Ioctl { call, value: argument, bytes: &bytes };
        let text = format!("ioctl({}<{path}>, {shown}", descriptor as i32);
        Self { rest: ")".into(), asked: Some((call, argument)), ..Self::new(text) }
    }

    /// Shows what an ioctl has written to its argument. The caller must not have been answered yet.
    pub(crate) fn add_answer(&mut self, answer: Answer, memory: &mut ClientMemory) {
        let (Some((call, argument)), Answer::Value(0..)) = (self.asked, answer) else { return };
        let bytes = bytes(memory, argument, call.argument_size());
        let _ = write!(self.text, "{}", describe::Answered { call, bytes: &bytes });
    }

    pub(crate) fn read(kernel: &Kernel, file: FileId, descriptor: u64, segment: Segment) -> Self {
        let text = format!("read({}, ", name(kernel, file, descriptor));
        let rest = format!("{:#x}, {})", segment.base.0, segment.length);
        Self { rest, otherwise: WAITS, ..Self::new(text) }
    }

    /// Shows what a read returned in place of the buffer's address.
    pub(crate) fn add_data(&mut self, from: UserPtr, length: usize, memory: &mut ClientMemory) {
        let (_, count) = self.rest.split_once(", ").unwrap_or_default();
        self.rest = format!("{}, {count}", words(memory, from, length));
    }

    pub(crate) fn write(
        kernel: &Kernel,
        file: FileId,
        descriptor: u64,
        segment: Segment,
        memory: &mut ClientMemory,
    ) -> Self {
        let data = words(memory, segment.base, segment.length);
        Self::new(format!("write({}, {data}, {})", name(kernel, file, descriptor), segment.length))
    }

    pub(crate) fn mmap(kernel: &Kernel, file: FileId, descriptor: u64, call: &MmapCall, flags: i32) -> Self {
        let kind = if call.shared { "MAP_SHARED" } else { "MAP_PRIVATE" };
        let access = if call.writable { "PROT_READ|PROT_WRITE" } else { "PROT_READ" };
        let fixed = if flags & libc::MAP_FIXED != 0 { "|MAP_FIXED" } else { "" };
        let (length, offset) = (call.length, call.offset);
        Self::new(format!(
            "mmap({length}, {access}, {kind}{fixed}, {}, {offset:#x})",
            name(kernel, file, descriptor)
        ))
    }

    /// Says why the result is what it is.
    pub(crate) fn explain(&mut self, reason: &str) {
        reason.clone_into(&mut self.reason);
    }

    pub(crate) fn vectored(
        kernel: &Kernel,
        file: FileId,
        descriptor: u64,
        segments: &[Segment],
        reading: bool,
    ) -> Self {
        let call = if reading { "readv" } else { "writev" };
        let lengths: Vec<usize> = segments.iter().map(|s| s.length).collect();
        let text = format!("{call}({}, {lengths:?})", name(kernel, file, descriptor));
        Self { otherwise: WAITS, ..Self::new(text) }
    }
}

fn words(memory: &mut ClientMemory, from: UserPtr, length: usize) -> String {
    let mut bytes = [0; SHOWN];
    let got = bytes.get_mut(..length.min(SHOWN)).map_or(0, |room| memory.read_some(from.0, room));
    let more = if length > SHOWN { "..." } else { "" };
    format!("{}{more}", describe::Words(bytes.get(..got).unwrap_or_default()))
}

/// As many bytes as can be read.
fn bytes(memory: &mut ClientMemory, from: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let got = memory.read_some(from, &mut bytes);
    bytes.truncate(got);
    bytes
}

fn name(kernel: &Kernel, file: FileId, descriptor: u64) -> String {
    format!("{}<{}>", descriptor as i32, path(kernel, file))
}

fn path(kernel: &Kernel, file: FileId) -> &str {
    kernel.file(file).and_then(|open| kernel.node(open.node)).map_or("?", |node| &node.path)
}
