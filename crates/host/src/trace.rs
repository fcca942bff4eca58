//! The trace: one line per device call, as strace would print it.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use ioctlab_abi::describe;
use ioctlab_kernel::{FileId, Kernel, Request, Segment};

use crate::memory::ClientMemory;
use crate::sys::seccomp::Answer;

/// Bytes of a buffer that are printed.
const SHOWN: usize = 32;

/// Where the trace goes.
pub struct Trace(Mutex<Box<dyn Write + Send>>);

impl Trace {
    /// A trace that is written to `out`, a line at a time.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self(Mutex::new(Box::new(out)))
    }

    pub(crate) fn log(&self, thread: i32, record: &Record, answer: Answer, took: Duration) {
        let mut line = format!("[{thread}] {} = ", record.text);
        let _ = match answer {
            Answer::Value(value) => write!(line, "{value}"),
            Answer::Fail(errno) => write!(line, "-1 {errno}"),
            Answer::Continue => write!(line, "{}", record.otherwise),
            Answer::Done => write!(line, "(a descriptor)"),
        };
        let _ = writeln!(line, " <{}.{:06}>", took.as_secs(), took.subsec_micros());
        // A trace that can't be written is no reason to fail a call.
        let mut out = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}

/// What the trace says of a call before it is served.
pub(crate) struct Record {
    text: String,
    /// What is said of the result if the kernel goes on with the call.
    otherwise: &'static str,
}

impl Record {
    pub(crate) fn open(path: &[u8], flags: i32) -> Self {
        let text = format!("open(\"{}\", {})", path.escape_ascii(), describe::open_flags(flags as u32));
        Self { text, otherwise: "?" }
    }

    pub(crate) fn ioctl(
        kernel: &Kernel,
        file: FileId,
        descriptor: u64,
        request: Request,
        argument: u64,
        memory: &mut ClientMemory,
    ) -> Self {
        let mut text = format!("ioctl({}, ", name(kernel, file, descriptor));
        let mut bytes = vec![0; request.size()];
        let got = memory.read_some(argument, &mut bytes);
        let _ = match bytes.get(..got).filter(|got| got.len() == request.size()) {
            Some(bytes) => write!(text, "{}", describe::Ioctl { request, argument: bytes }),
            None => write!(text, "{}, {argument:#x} (bad address)", describe::IoctlName(request)),
        };
        text.push(')');
        Self { text, otherwise: "?" }
    }

    pub(crate) fn read(kernel: &Kernel, file: FileId, descriptor: u64, segment: Segment) -> Self {
        let text =
            format!("read({}, {:#x}, {})", name(kernel, file, descriptor), segment.base.0, segment.length);
        Self { text, otherwise: "(waits, or EAGAIN)" }
    }

    pub(crate) fn write(
        kernel: &Kernel,
        file: FileId,
        descriptor: u64,
        segment: Segment,
        memory: &mut ClientMemory,
    ) -> Self {
        let mut bytes = [0; SHOWN];
        let wanted = segment.length.min(SHOWN);
        let got = bytes.get_mut(..wanted).map_or(0, |room| memory.read_some(segment.base.0, room));
        let mut text = format!("write({}, ", name(kernel, file, descriptor));
        let _ = write!(text, "{}", describe::Words(bytes.get(..got).unwrap_or_default()));
        let more = if segment.length > SHOWN { "..." } else { "" };
        let _ = write!(text, "{more}, {})", segment.length);
        Self { text, otherwise: "?" }
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
        Self { text, otherwise: "(waits, or EAGAIN)" }
    }
}

fn name(kernel: &Kernel, file: FileId, descriptor: u64) -> String {
    let path = kernel.file(file).and_then(|open| kernel.node(open.node)).map_or("?", |node| &node.path);
    format!("{}<{path}>", descriptor as i32)
}
