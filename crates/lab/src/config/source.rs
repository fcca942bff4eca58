//! A lab file's text: reading it from a file, and finding a place in it.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use super::diagnostic::{Errors, Place, Problem};

/// The largest file that is read, in bytes. Lab files are written by hand; this keeps `--lab /dev/zero` from filling memory.
const LARGEST: u64 = 1 << 20;

/// How many characters of a line are quoted at most.
const QUOTED: usize = 100;

/// How many characters are quoted before the column in a line that is longer.
const BEFORE: usize = 40;

/// A text, and what to call it.
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
}

/// Reads the lab file at `path`, which errors call `name`.
pub(super) fn read(path: &Path, name: &str) -> Result<String, Errors> {
    let bytes = bytes(path, "a lab file").map_err(|message| Errors::about_file(name, message))?;
    String::from_utf8(bytes).map_err(|error| not_utf8(name, &error))
}

/// Reads a file that is to be `what`.
///
/// # Errors
/// What follows the file's name in a sentence.
pub(super) fn bytes(path: &Path, what: &str) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("can't be read: {error}");
    let file = File::open(path).map_err(cannot)?;
    if file.metadata().map_err(cannot)?.is_dir() {
        return Err(format!("is a directory; expected {what}"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("is larger than {} KiB; expected {what}", LARGEST >> 10));
    }
    Ok(bytes)
}

/// The problem of bytes that are no text. Everything before the first such byte is, so a lossy copy has the same places.
fn not_utf8(name: &str, error: &std::string::FromUtf8Error) -> Errors {
    let at = error.utf8_error().valid_up_to();
    let byte = error.as_bytes().get(at).copied().unwrap_or_default();
    let text = String::from_utf8_lossy(error.as_bytes());
    let source = Source { name, text: &text };
    source.problem(at..at, format!("byte 0x{byte:02x} is not UTF-8; expected a TOML text")).into()
}

impl Source<'_> {
    /// A problem with the part of the text that `span` names, in bytes.
    pub(super) fn problem(&self, span: Range<usize>, message: impl Into<String>) -> Problem {
        Problem { file: self.name.into(), place: Some(self.place(span)), message: message.into() }
    }

    /// The line that the byte at `at` is on, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.before(at).matches('\n').count() + 1
    }

    fn place(&self, span: Range<usize>) -> Place {
        let before = self.before(span.start);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text.get(start..).unwrap_or_default();
        let line = line.split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let column = before.get(start..).unwrap_or_default().chars().count();
        let marked = self.text.get(span.start..span.end).unwrap_or_default();
        let marked = marked.split('\n').next().unwrap_or_default().chars().count();
        let (quote, indent) = quote(line, column);
        let carets = marked.min(quote.chars().count().saturating_sub(indent)).max(1);
        Place { line: self.line(span.start), column: column + 1, quote, indent, carets }
    }

    /// The text before the byte at `at`; all of it if that is beyond the end or inside a character.
    fn before(&self, at: usize) -> &str {
        self.text.get(..at).unwrap_or(self.text)
    }
}

/// The part of `line` worth showing for a problem at `column` (from 0), and where the column is in it.
fn quote(line: &str, column: usize) -> (String, usize) {
    let plain = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    if line.chars().count() <= QUOTED {
        return (line.chars().map(plain).collect(), column);
    }
    let skipped = column.saturating_sub(BEFORE);
    let start = if skipped > 0 { "..." } else { "" };
    let part = line.chars().skip(skipped).take(QUOTED).map(plain);
    (start.chars().chain(part).collect(), column - skipped + start.len())
}
