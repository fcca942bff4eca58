//! What is wrong with a lab file, in words, with the line quoted.

use std::fmt;

/// Everything found wrong with a lab file, in the order of the file. Never empty.
///
/// Prints as a compiler prints its errors, without a newline at the end:
/// ```text
/// labs/x.toml:7:1: unknown key `vcpu` in [[xen.domain]]; expected one of: id, ...; did you mean `vcpus`?
///   7 | vcpu = 2
///     | ^^^^
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    problems: Vec<Problem>,
}

/// One thing wrong with a lab file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as the user named it.
    pub file: String,
    /// Where in the file; `None` when the file as a whole is meant.
    pub place: Option<Place>,
    /// What is wrong, and what was expected: one line, no full stop.
    pub message: String,
}

/// A place in a lab file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
    /// The line's text, or the part of it around the column; without control characters.
    pub quote: String,
    /// How many characters of [`Place::quote`] stand before the carets.
    pub indent: usize,
    /// How many carets.
    pub carets: usize,
}

/// How many problems are printed; a file that isn't a lab file at all could have thousands.
const PRINTED: usize = 20;

impl Errors {
    /// Sorts the problems into the file's order; `None` when there are none.
    pub(super) fn new(mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort_by_key(|problem| problem.place.as_ref().map(|place| (place.line, place.column)));
        problems.dedup();
        (!problems.is_empty()).then_some(Self { problems })
    }

    /// An error about the file as a whole.
    pub(super) fn about_file(file: &str, message: impl Into<String>) -> Self {
        Self { problems: vec![Problem { file: file.into(), place: None, message: message.into() }] }
    }

    /// The problems, in the order of the file.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for Errors {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().take(PRINTED).enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        match self.problems.len().saturating_sub(PRINTED) {
            0 => Ok(()),
            1 => write!(f, "\n... and one more error"),
            more => write!(f, "\n... and {more} more errors"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, place, message } = self;
        let Some(Place { line, column, quote, indent, carets }) = place else {
            return write!(f, "{file}: {message}");
        };
        let gutter = line.to_string().len().max(3);
        writeln!(f, "{file}:{line}:{column}: {message}")?;
        writeln!(f, "{line:>gutter$} | {quote}")?;
        write!(f, "{:gutter$} | {:indent$}{:^>carets$}", "", "", "")
    }
}

impl std::error::Error for Errors {}
