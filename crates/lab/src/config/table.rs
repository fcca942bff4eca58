//! A table of the lab file: which keys it may have, and getting at them.

use std::ops::Range;

use toml::de::DeTable;

use super::reader::Reader;
use super::suggest;
use super::value::Value;

/// A table, as the file's reader sees it.
#[derive(Clone)]
pub(super) struct Table<'a> {
    pub(super) reader: &'a Reader<'a>,
    /// What errors call it: `[xen]`, `[[xen.domain]]`.
    pub(super) heading: &'static str,
    /// Its header, or all of an inline table.
    span: Range<usize>,
    entries: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    /// The file's top level, whose keys are sections.
    pub(super) fn root(reader: &'a Reader<'a>, entries: &'a DeTable<'a>) -> Self {
        Self { reader, heading: "the lab file", span: 0..0, entries }
    }

    /// A table that may have these `keys`; others are reported.
    pub(super) fn new(
        reader: &'a Reader<'a>,
        heading: &'static str,
        span: Range<usize>,
        entries: &'a DeTable<'a>,
        keys: &[&str],
    ) -> Self {
        let table = Self { reader, heading, span, entries };
        for (key, span) in table.keys().filter(|(key, _)| !keys.contains(key)) {
            reader.report(span, suggest::unknown("key", key, &format!(" in {heading}"), keys));
        }
        table
    }

    /// The keys that are there, and where.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&'a str, Range<usize>)> + use<'a> {
        self.entries.iter().map(|(key, _)| (key.get_ref().as_ref(), key.span()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of `key`, if it is there.
    pub(super) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        let value = self.entries.get(key)?;
        Some(Value {
            reader: self.reader,
            heading: self.heading,
            key,
            span: value.span(),
            tree: value.get_ref(),
        })
    }

    /// The value of `key`; reported as missing if it isn't there. `expected` says what it would be.
    pub(super) fn require(&self, key: &'static str, expected: &str) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            self.reject(format!("`{key}` is missing; expected {expected}"));
        }
        value
    }

    /// Reports a problem with the table as a whole.
    pub(super) fn reject(&self, message: impl AsRef<str>) {
        self.reader.report(self.span.clone(), format!("{}: {}", self.heading, message.as_ref()));
    }
}
