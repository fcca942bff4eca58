//! One reading of one lab file: its source, and the problems found so far.

use std::cell::RefCell;
use std::ops::Range;

use toml::de::DeTable;

use super::diagnostic::{Errors, Problem};
use super::source::Source;

/// Where every part of the file's reading reports what it finds wrong. Reading goes on after a report, so that one run
/// shows all problems.
pub(super) struct Reader<'a> {
    source: Source<'a>,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(name: &'a str, text: &'a str) -> Self {
        Self { source: Source { name, text }, problems: RefCell::default() }
    }

    /// The text as TOML; `None`, and the problems reported, when it is none. What could be made of a text that isn't
    /// TOML is not looked at: half of what it would be blamed for follows from the first mistake.
    pub(super) fn parse(&self) -> Option<DeTable<'a>> {
        let (tree, errors) = DeTable::parse_recoverable(self.source.text);
        for error in &errors {
            self.report(error.span().unwrap_or_default(), format!("not TOML: {}", error.message()));
        }
        errors.is_empty().then(|| tree.into_inner())
    }

    /// Reports a problem with the part of the text that `span` names.
    pub(super) fn report(&self, span: Range<usize>, message: impl Into<String>) {
        self.problems.borrow_mut().push(self.source.problem(span, message));
    }

    /// Reports a problem with the file as a whole.
    pub(super) fn report_file(&self, message: impl Into<String>) {
        let file = self.source.name.into();
        self.problems.borrow_mut().push(Problem { file, place: None, message: message.into() });
    }

    /// How many problems were reported so far: what the same number brackets was read without one.
    pub(super) fn reported(&self) -> usize {
        self.problems.borrow().len()
    }

    /// The line that a byte of the text is on, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.source.line(at)
    }

    /// What was read, unless something was reported.
    pub(super) fn finish<T>(self, read: Option<T>) -> Result<T, Errors> {
        match (Errors::new(self.problems.into_inner()), read) {
            (None, Some(read)) => Ok(read),
            (Some(errors), _) => Err(errors),
            (None, None) => Err(Errors::about_file(self.source.name, "is not a lab file")),
        }
    }
}
